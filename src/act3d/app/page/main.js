// The page: what is shown of the library, what is chosen, and the buttons.
import { ask, forget, json, posted, send } from "./ask.js";
import { Grid, cloudsOf, forgetCloud } from "./grid.js";
import { closePanel, loadMap, placeOf, rowAt, showShape } from "./panel.js";

const $ = id => document.getElementById(id);
let library = null, shown = null, chosen = null, state = {};  // shown: {title, words, rows, similarity} of a search

const grid = new Grid($("grid"), $("space"), describe, choose);

function describe(row) {
  const near = shown?.similarity.get(row);
  return {
    id: library.ids[row], name: library.names[row], file: library.fileOf(row),
    remark: [near === undefined ? "" : near.toFixed(3), library.classOf(row)].filter(Boolean).join(" · "),
  };
}

function say(error) {
  $("error").hidden = !error;
  $("error").textContent = error ? error.message : "";
}

let running = 0;

/** Run what a person asked for, say while it runs that it does, and what went wrong. */
const tried = run => async (...given) => {
  say(null);
  $("busy").hidden = !++running;
  try { return await run(...given); } catch (error) { say(error); } finally { $("busy").hidden = !--running; }
};

function fits(row) {
  const words = $("filter").value.toLowerCase().split(/\s+/), wanted = $("class").value;
  return (wanted === "" || library.labels[row] === Number(wanted)) && words.every(word => library.search[row].includes(word));
}

function refill() {
  if (!library) return;
  const rows = (shown ? shown.rows : library.all).filter(fits);
  grid.show(rows);
  $("empty").hidden = rows.length > 0 || !library.ids.length;
  const all = library.ids.length.toLocaleString("en");
  $("count").textContent = rows.length === library.ids.length ? `${all} shapes` : `${rows.length.toLocaleString("en")} of ${all} shapes`;
  for (const id of ["csv", "share"]) $(id).disabled = !rows.length;
}

/** Order the grid by a search, or show all (null). */
function order(title, found, words = "") {
  shown = null;
  $("words").value = words;  // of another search they would mean nothing
  if (found) {
    const rows = found.ids.map(id => library.rowOf.get(id)), pairs = rows.map((row, i) => [row, found.similarity[i]]);
    shown = { title, words, rows: rows.filter(row => row !== undefined), similarity: new Map(pairs) };
  }
  $("asked").hidden = !found;
  $("asked").firstElementChild.textContent = title;
  refill();
}

async function choose(row) {
  say(null);
  grid.chosen = row;
  grid.draw();
  try {
    const id = library.ids[row], path = `/api/shape?id=${id}`;
    const [found, clouds] = await Promise.all([json("shape", path), cloudsOf("chosen", [id])]);
    if (!found || !clouds) return;
    const size = found.size.every(side => side !== null) ? `${found.size.map(side => Number(side.toPrecision(3))).join(" × ")} in its file's units` : "";
    const about = [library.classOf(row), size, found.turned ? `turned: ${found.turned} is up` : ""];
    const classes = library.labels[row] < 0 ? found.classes : [];
    chosen = { row, id, path: found.path, name: library.names[row] };
    await showShape({ ...chosen, about, cloud: clouds[0], classes, by: found.by, place: placeOf(row), tips: Boolean(found.path) }, found, library, choose);
  } catch (error) { say(error); }
}

const drop = tried(async (file, up = "auto") => {  // up: which axis of the file is up
  if (!library) throw new Error("the shapes are being indexed; nothing can be searched yet");
  $("asked").hidden = false;
  $("asked").firstElementChild.textContent = `Reading ${file.name} …`;
  let found;
  try {
    found = await json("drop", `/api/drop?name=${encodeURIComponent(file.name)}&up=${up}`, { method: "POST", body: file });
  } catch (error) {
    $("asked").hidden = !shown;
    if (shown) $("asked").firstElementChild.textContent = shown.title;
    throw error;
  }
  if (!found) return;
  chosen = { row: -1, file, up: found.up, name: found.name, path: "", found };
  grid.chosen = -1;
  order(`Nearest to ${found.name}`, found);
  await showShape({ ...chosen, about: [`${found.up} is up`, ...found.notes], cloud: found.cloud, classes: found.classes, by: found.by, place: found.place, tips: true }, found, library, choose);
});

const searchWords = tried(async () => {
  const text = $("words").value.trim();
  if (!text) return order("", null);
  const found = await json("words", `/api/words?text=${encodeURIComponent(text)}`);
  if (found) order(`Nearest to the words “${text}”`, found, text);
});

const tip = tried(async how => {
  const { row, id, file, found } = chosen;
  if (file) return drop(file, found.tips[how]);
  $("kept").textContent = "Turning …";
  if (!await send("tip", "/api/tip", { id, how })) return;
  forgetCloud(id);
  await choose(row);
  $("kept").textContent = "Turned; kept in the index";
  poll();
});

const write = tried(async kind => {
  const ids = grid.rows.map(row => library.ids[row]), similarity = shown ? grid.rows.map(row => shown.similarity.get(row)) : null;
  const title = shown ? shown.title : state.title;
  const response = await ask("export", "/api/export", posted({ kind, title, ids, similarity }));
  if (!response) return;
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(await response.blob()), download: `${state.title}.${kind}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  if (kind === "html" && ids.length > state.shared) say(new Error(`The page holds the first ${state.shared} of ${ids.length} shapes; filter or search to choose others.`));
});

function showJob(job) {
  $("job").hidden = !job.running && !job.error && !job.failed;
  $("bar").hidden = $("stop").hidden = !job.running;
  if (job.total) $("bar").value = job.done / job.total; else $("bar").removeAttribute("value");
  const counts = job.total ? `${job.done} of ${job.total} shapes` : "", left = job.left ? `${job.left} left` : "";
  $("doing").textContent = job.error ? `Indexing failed: ${job.error}` : [job.text, counts, left].filter(Boolean).join(" · ");
  $("doing").classList.toggle("problem", Boolean(job.error));
  $("failures").hidden = !job.failed;
  $("failures").firstElementChild.textContent = `${job.failed} files could not be read`;
  $("failures").lastElementChild.replaceChildren(...job.failures.map(text => Object.assign(document.createElement("li"), { textContent: text })));
}

async function open() {
  const rows = await json("rows", "/api/rows");
  if (!rows) return;
  const search = rows.names.map((name, i) => `${name} ${rows.classes[rows.labels[i]] || ""} ${rows.places[i]} ${rows.texts[i]}`.toLowerCase());
  const classOf = row => rows.classes[rows.labels[row]] || "";
  const fileOf = row => {  // the name without the folder that is the class: the class stands below it
    const name = rows.names[row], folder = `${classOf(row)}/`;
    return name.startsWith(folder) ? name.slice(folder.length) : name;
  };
  library = { ...rows, search, classOf, fileOf, all: rows.ids.map((_, row) => row), rowOf: new Map(rows.ids.map((id, row) => [id, row])) };
  const wanted = $("class").value && $("class").selectedOptions[0].textContent;
  $("class").replaceChildren(new Option("all", ""), ...rows.classes.map((name, i) => new Option(name, i, false, name === wanted)));
  rows.ids.forEach(forgetCloud);
  const words = shown?.words;
  order("", null, $("words").value);  // places have changed; what is being typed stays
  if (words) searchWords();
  loadMap(library).catch(say);
}

let waiting = 0;
async function poll() {
  clearTimeout(waiting);
  try {
    state = await json("state", "/api/state") || state;
    $("title").textContent = document.title = state.title;
    $("refresh").hidden = !state.refresh;
    $("words").disabled = $("words-form").lastElementChild.disabled = Boolean(state.words);
    $("why").textContent = state.words;
    if ($("phrases").children.length !== state.phrases.length) $("phrases").replaceChildren(...state.phrases.map(text => new Option(text)));
    $("why").hidden = !state.words;
    showJob(state.job);
    if (state.number && state.number !== library?.number) await open();
    waiting = setTimeout(poll, state.job.running ? 400 : 3000);
  } catch (error) {
    say(error);
    waiting = setTimeout(poll, 3000);
  }
}

$("filter").oninput = $("class").onchange = refill;
$("words-form").onsubmit = event => { event.preventDefault(); searchWords(); };
$("clear").onclick = () => { forget("drop"); order("", null); };
$("choose").onclick = () => $("file").click();
$("file").onchange = () => { if ($("file").files[0]) drop($("file").files[0]); $("file").value = ""; };
$("csv").onclick = () => write("csv");
$("share").onclick = () => write("html");
$("refresh").onclick = tried(async () => { await send("work", "/api/work", { what: "start" }); poll(); });
$("stop").onclick = tried(async () => { await send("work", "/api/work", { what: "stop" }); poll(); });
$("copy").onclick = tried(async () => { await navigator.clipboard.writeText(chosen.path); $("copy").textContent = "Copied"; setTimeout(() => $("copy").textContent = "Copy path", 1500); });
$("all-near").onclick = tried(async () => {
  if (chosen.found) return order(`Nearest to ${chosen.name}`, chosen.found);
  const found = await json("near", `/api/shape?id=${chosen.id}&k=200`);
  if (found) order(`Nearest to ${chosen.name}`, found);
});
$("close").onclick = () => { closePanel(); grid.chosen = -1; grid.draw(); $("grid").focus(); };
$("tips").onclick = event => { if (event.target.dataset.how) tip(event.target.dataset.how); };
$("map").onclick = event => { const row = rowAt(event); if (row >= 0) choose(row); };

let over = 0;
document.addEventListener("dragenter", event => { event.preventDefault(); over++; $("over").hidden = false; });
document.addEventListener("dragleave", () => { if (--over <= 0) $("over").hidden = true; });
document.addEventListener("dragover", event => event.preventDefault());
document.addEventListener("drop", event => {
  event.preventDefault();
  over = 0;
  $("over").hidden = true;
  if (event.dataTransfer.files[0]) drop(event.dataTransfer.files[0]);
});
document.addEventListener("keydown", event => {
  if (event.key === "Escape" && !$("panel").hidden && !document.querySelector("dialog")) $("close").click();
  if (event.key === "/" && !/INPUT|SELECT/.test(event.target.tagName)) { event.preventDefault(); $("filter").focus(); }
});
poll();
