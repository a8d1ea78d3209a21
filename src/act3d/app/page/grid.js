// A grid that holds as many cards as fit the screen, however many shapes there are. Clouds come once, many at a time.
import { ask } from "./ask.js";

const POINTS = 1536, KEPT = 20000, WIDE = 150, BELOW = 62;  // bytes of a cloud, clouds kept, least width, text of a card
const TAIL = 12;  // letters at the end of a name that are always shown
const clouds = new Map();  // id -> ArrayBuffer

/** The clouds of some ids, from here or from the server; undefined where a later call of the same kind came. */
export async function cloudsOf(kind, ids) {
  const missing = ids.filter(id => !clouds.has(id)).slice(0, 400);
  if (missing.length) {
    const response = await ask(kind, `/api/clouds?ids=${missing.join(",")}`);
    if (!response) return undefined;
    const raw = await response.arrayBuffer();
    missing.forEach((id, i) => clouds.set(id, raw.slice(i * POINTS, (i + 1) * POINTS)));
    for (const id of clouds.keys()) if (clouds.size > KEPT && !ids.includes(id)) clouds.delete(id); else break;
  }
  return ids.map(id => clouds.get(id));
}

/** Show a name that is cut before its end where it does not fit: files of a kind often differ only there. */
export function showName(element, name) {
  const letters = [...name], at = Math.max(0, letters.length - TAIL);
  element.classList.add("name-of");
  element.replaceChildren(...[letters.slice(0, at), letters.slice(at)].map(part =>
    Object.assign(document.createElement("span"), { textContent: part.join("") })));
}

export const forgetCloud = id => clouds.delete(id);

export class Grid {
  /** box scrolls, space is as high as all rows; describe(row) gives {id, name, file (what a card shows of the name), remark}; choose(row) is called by a click or Enter. */
  constructor(box, space, describe, choose) {
    Object.assign(this, { box, space, describe, choose, rows: [], cards: [], active: 0, chosen: -1 });
    box.addEventListener("scroll", () => this.soon(), { passive: true });
    new ResizeObserver(() => this.measure()).observe(box);
    box.addEventListener("keydown", event => this.key(event));
  }

  /** Show these rows, from the top. */
  show(rows) {
    this.rows = rows;
    this.active = 0;
    this.box.scrollTop = 0;
    this.measure();
  }

  measure() {
    const width = this.box.clientWidth;
    if (!width) return;
    this.columns = Math.max(2, Math.floor(width / Math.max(WIDE, Math.min(220, width / 9))));
    this.wide = width / this.columns;
    this.high = this.wide + BELOW - 22;
    this.space.style.height = `${Math.ceil(this.rows.length / this.columns) * this.high}px`;
    this.draw();
  }

  soon() {
    this.frame ||= requestAnimationFrame(() => { this.frame = 0; this.draw(); });
  }

  draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / this.high) - 1) * this.columns;
    const fit = (Math.ceil(this.box.clientHeight / this.high) + 3) * this.columns;
    const last = Math.min(this.rows.length, first + fit), missing = [];
    while (this.cards.length < fit) this.cards.push(this.card());
    this.cards.forEach((card, i) => {  // place p is always shown by card p % fit, so scrolling changes few of them
      const place = first + ((i - first) % this.cards.length + this.cards.length) % this.cards.length;
      const there = place < last;
      card.box.hidden = !there;
      if (!there) { card.place = -1; return; }
      if (!this.fill(card, place)) missing.push(this.describe(this.rows[place]).id);
    });
    if (missing.length) this.fetch(missing);
    const at = this.cards.find(card => card.place === this.active);
    if (at) this.box.setAttribute("aria-activedescendant", at.box.id); else this.box.removeAttribute("aria-activedescendant");
  }

  card() {
    const box = document.createElement("div"), inner = document.createElement("div");
    const [canvas, name, remark] = ["canvas", "b", "small"].map(tag => inner.appendChild(document.createElement(tag)));
    box.className = "card";
    box.id = `card-${this.cards.length}`;
    box.setAttribute("role", "option");
    box.append(inner);
    const card = { box, canvas, name, remark, place: -1, id: "" };
    box.addEventListener("click", () => { this.active = card.place; this.choose(this.rows[card.place]); this.draw(); });
    this.space.append(box);
    return card;
  }

  /** Make a card show a place; false if its cloud is not here yet. */
  fill(card, place) {
    const row = this.rows[place], { id, name, file, remark } = this.describe(row), style = card.box.style;
    const column = place % this.columns, line = (place - column) / this.columns;
    style.width = `${this.wide}px`;
    style.height = `${this.high}px`;
    style.transform = `translate(${column * this.wide}px, ${line * this.high}px)`;
    card.box.classList.toggle("active", place === this.active);
    card.box.setAttribute("aria-selected", row === this.chosen);
    card.box.setAttribute("aria-posinset", place + 1);
    card.box.setAttribute("aria-setsize", this.rows.length);
    if (card.box.title !== name) { card.box.title = name; showName(card.name, file); }
    card.remark.textContent = remark;
    card.box.setAttribute("aria-label", [name, remark].filter(Boolean).join(", "));
    card.place = place;
    const cloud = clouds.get(id);
    if (card.id === id && card.cloud === cloud && card.drawn === this.wide) return Boolean(cloud);
    Object.assign(card, { id, cloud, drawn: cloud ? this.wide : 0 });
    if (cloud) window.clouds.paint(card.canvas, { p: cloud, r: 0.037 });
    else card.canvas.width = 0;
    return Boolean(cloud);
  }

  async fetch(ids) {
    if (await cloudsOf("grid", ids).catch(() => undefined)) this.draw();
  }

  go(place) {
    if (!this.rows.length) return;
    this.active = Math.max(0, Math.min(this.rows.length - 1, place));
    const top = Math.floor(this.active / this.columns) * this.high, box = this.box;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + this.high > box.scrollTop + box.clientHeight) box.scrollTop = top + this.high - box.clientHeight;
    this.draw();
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.box.clientHeight / this.high)) * this.columns, last = this.rows.length - 1;
    const step = {
      ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns, PageDown: page, PageUp: -page,
      Home: -last, End: last,
    }[event.key];
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (step) this.go(this.active + step);
    else if (event.key === "Enter" || event.key === " ") { if (this.rows.length) this.choose(this.rows[this.active]); }
    else return;
    event.preventDefault();
  }
}
