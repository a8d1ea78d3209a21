// The chosen shape: turning, with its class, its neighbours that turn along, and its place on the map.
import { json } from "./ask.js";
import { cloudsOf, showName } from "./grid.js";

const $ = id => document.getElementById(id);
const views = new Map();  // canvas -> view
let colors = [], places = null, spot = null;

/** Let a canvas show a cloud that turns with `pose`. */
function turning(canvas, cloud, pose, radius) {
  const data = { p: cloud, r: radius };
  if (!views.has(canvas)) views.set(canvas, window.clouds.add(canvas, data, pose));
  else window.clouds.load(views.get(canvas), data);
}

let pose = null;

/** Show a shape: {name, about, path, cloud (buffer or base64), classes, by, up, tips} and what was found for it. */
export async function showShape(shape, found, library, choose) {
  pose ||= window.clouds.fresh();
  document.body.classList.add("chosen");
  $("panel").hidden = false;
  // A long name breaks behind what parts it; elsewhere only where nothing else helps.
  $("name").replaceChildren(...shape.name.split(/(?<=[/#_.\- ])/).flatMap(part => [part, document.createElement("wbr")]));
  $("large").setAttribute("aria-label", shape.name);
  $("about").textContent = shape.about.filter(Boolean).join(" · ");
  $("path").textContent = shape.path;
  $("path-line").hidden = !shape.path;
  $("tips").hidden = !shape.tips;
  $("kept").textContent = "";
  turning($("large"), shape.cloud, pose, shape.cloud.length ? 0.028 : 0.037);
  showClasses(shape.classes, shape.by);
  spot = shape.place;
  drawMap();
  await showNearest(found, library, choose);
}

function showClasses(classes, by) {
  const list = $("classes");
  $("classes-title").textContent = classes.length ? { classifier: "Class, by the classifier", labels: "Class, by the 10 nearest labelled shapes" }[by] : "";
  list.replaceChildren(...classes.slice(0, 5).map(([name, share]) => {
    const line = document.createElement("li"), bar = document.createElement("meter");
    const [text, number] = [name, `${Math.round(100 * share)} %`].map(said => Object.assign(document.createElement("span"), { textContent: said }));
    bar.value = share;
    bar.setAttribute("aria-label", name);
    line.append(text, bar, number);
    return line;
  }));
}

async function showNearest(found, library, choose) {
  const list = $("nearest"), ids = found.ids.slice(0, 8).filter(id => library.rowOf.has(id));
  list.setAttribute("aria-busy", true);  // until the neighbours of this shape stand in the place of the last one's
  while (list.children.length < ids.length) list.append(neighbour());
  const got = await cloudsOf("nearest", ids);
  if (!got) return;
  [...list.children].forEach((item, i) => {
    item.hidden = i >= ids.length;
    if (item.hidden) return;
    const row = library.rowOf.get(ids[i]), button = item.firstChild, [view, name, remark] = button.children;
    turning(view.firstChild, got[i], pose, 0.037);
    button.title = library.names[row];
    showName(name, library.fileOf(row));
    remark.textContent = [found.similarity[i].toFixed(3), library.classOf(row)].filter(Boolean).join(" · ");
    button.setAttribute("aria-label", [button.title, remark.textContent].join(", "));
    button.onclick = () => choose(row);
  });
  list.setAttribute("aria-busy", false);
}

function neighbour() {
  const item = document.createElement("li"), button = document.createElement("button"), view = document.createElement("div");
  view.className = "view";
  view.append(document.createElement("canvas"));
  button.type = "button";
  button.append(view, document.createElement("span"), document.createElement("span"));
  item.append(button);
  return item;
}

/** Ask for the map until it is there. */
export async function loadMap(library) {
  const found = await json("map", "/api/map");
  if (!found || found.number !== library.number) return;
  places = found.places;
  colors = library.labels.map(label => label < 0 ? "#888" : `hsl(${label * 137.5 % 360} 60% 52%)`);
  drawMap();
  if (!places) setTimeout(() => loadMap(library).catch(() => 0), 1000);
}

export const placeOf = row => places && places[row];

function drawMap() {
  const canvas = $("map"), size = canvas.clientWidth * (devicePixelRatio || 1), context = canvas.getContext("2d");
  $("map-note").textContent = places ? "Neighbours are similar; distances between groups mean little. Click a dot to see its shape." : "The map is being made …";
  if (!size) return;
  canvas.width = size;
  canvas.height = size / 1.2;
  if (!places) return;
  const [wide, high, edge] = [canvas.width, canvas.height, 0.04];
  const dot = size * Math.max(1 / 260, Math.min(1 / 60, 0.25 / Math.sqrt(places.length)));  // few dots are larger
  const at = ([x, y]) => [(edge + x * (1 - 2 * edge)) * wide, (1 - edge - y * (1 - 2 * edge)) * high];
  context.globalAlpha = 0.75;
  places.forEach((place, row) => {
    const [x, y] = at(place);
    context.fillStyle = colors[row];
    context.fillRect(x - dot / 2, y - dot / 2, dot, dot);
  });
  if (!spot) return;
  const [x, y] = at(spot);
  context.globalAlpha = 1;
  context.lineWidth = Math.max(2, size / 150);
  context.strokeStyle = getComputedStyle(canvas).color;
  context.beginPath();
  context.arc(x, y, size / 40, 0, 7);
  context.stroke();
}

/** The row whose dot is nearest to a click on the map. */
export function rowAt(event) {
  if (!places) return -1;
  const box = $("map").getBoundingClientRect(), edge = 0.04;
  const x = ((event.clientX - box.left) / box.width - edge) / (1 - 2 * edge);
  const y = (1 - edge - (event.clientY - box.top) / box.height) / (1 - 2 * edge);
  let best = -1, least = Infinity;
  places.forEach(([a, b], row) => {
    const far = (a - x) ** 2 + ((b - y) / 1.2) ** 2;
    if (far < least) [best, least] = [row, far];
  });
  return best;
}

export function closePanel() {
  document.body.classList.remove("chosen");
  $("panel").hidden = true;
}

new ResizeObserver(drawMap).observe($("map"));
