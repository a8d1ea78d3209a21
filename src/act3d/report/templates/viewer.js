// Clouds that turn. canvas[data-p] holds points as base64 integers, see report/viewer.py. Nothing is fetched.
"use strict";
(() => {
  const still = matchMedia("(prefers-reduced-motion: reduce)"), RAMP = "5c389e3b6bc71aa3b373d48c";
  const views = new Map(), poses = new Map(), stills = new WeakMap(), shown = new Set(), stamps = {}, page = document;
  const { min, max, round, floor, sin, cos, sqrt, abs, hypot } = Math;
  const within = (x, low, high) => max(low, min(high, x));
  const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const fresh = () => ({ a: 0.61, e: 0.44, zoom: 1, turns: !still.matches });
  let asked = 0, last = 0, pause = 33;

  // data: p points (base64, or an ArrayBuffer), w two bytes a number, v one byte a point, k colours, m colours are a ramp, r radius of a point
  function load(view, data) {
    const raw = data.p.length ? bytes(data.p).buffer : data.p;
    view.data = data;
    view.points = data.w ? new Int16Array(raw) : new Int8Array(raw);
    view.unit = data.w ? 32767 : 127;
    const points = view.points, values = view.plain || !data.v ? null : bytes(data.v), n = points.length / 3;
    const k = (view.plain || !data.k ? RAMP : data.k).match(/../g).map(hex => parseInt(hex, 16)), top = k.length / 3 - 1;
    let low = 1e9, high = -1e9;
    for (let i = 1; i < points.length; i += 3) low = min(low, points[i]), high = max(high, points[i]);
    view.rgb = new Float32Array(3 * n);
    for (let i = 0; i < n; i++) {
      const share = values ? values[i] / 255 : (points[3 * i + 1] - low) / (high - low || 1);
      const at = values && !data.m ? min(values[i], top) : share * top, left = min(floor(at), max(top - 1, 0));
      for (let c = 0; c < 3; c++) {
        const a = k[3 * left + c], b = k[3 * min(left + 1, top) + c];
        view.rgb[3 * i + c] = a + (b - a) * (at - left);
      }
    }
    wake(view);
  }

  function stamp(reach) {  // the pixels of a lit half ball: x, y, height, light
    const found = [];
    for (let y = -reach; y <= reach; y++) for (let x = -reach; x <= reach; x++) {
      const u = x / reach, v = y / reach, bulge = sqrt(max(0, 1 - u * u - v * v));
      if (bulge > 0) found.push(x, y, bulge, 0.55 + 0.5 * max(0, 0.7 * bulge - 0.45 * u - 0.55 * v));
    }
    return stamps[reach] = Float32Array.from(found);
  }

  function draw(view) {
    const { canvas, points, rgb, pose } = view, context = canvas.getContext("2d");
    const size = min(1300, round(canvas.clientWidth * within(devicePixelRatio, 1.6, 2)));
    view.stale = false;
    if (!size) return;
    if (canvas.width !== size || !view.image) {
      canvas.width = canvas.height = size;
      view.image = context.createImageData(size, size);
      view.near = new Float32Array(size * size);
    }
    const pixels = new Uint32Array(view.image.data.buffer).fill(0), near = view.near.fill(-9);
    const sa = sin(pose.a), ca = cos(pose.a), se = sin(pose.e), ce = cos(pose.e);
    const scale = pose.zoom / view.unit, half = size / 2, radius = (view.data.r || 0.028) * pose.zoom;
    const reach = max(1, round(radius * half)), ball = stamps[reach] || stamp(reach);
    for (let i = 0; i < points.length; i += 3) {
      const x = points[i] * scale, y = points[i + 1] * scale, z = points[i + 2] * scale, front = sa * x + ca * z;
      const column = round(half + half * (ca * x - sa * z)), row = round(half - half * (ce * y - se * front));
      if (min(column, row) < reach || max(column, row) >= size - reach) continue;
      const depth = ce * front + se * y, dim = 0.86 + 0.14 * within(depth / pose.zoom, -1, 1);
      const r = rgb[i] * dim, g = rgb[i + 1] * dim, b = rgb[i + 2] * dim;
      for (let s = 0; s < ball.length; s += 4) {
        const at = (row + ball[s + 1]) * size + column + ball[s], height = depth + radius * ball[s + 2];
        if (height <= near[at]) continue;
        near[at] = height;
        const lit = ball[s + 3];
        pixels[at] = 255 << 24 | min(255, b * lit) << 16 | min(255, g * lit) << 8 | min(255, r * lit);
      }
    }
    context.putImageData(view.image, 0, 0);
    canvas.parentNode.classList.add("drawn");
  }

  function frame(now) {
    const passed = min(now - last, 250), turn = passed >= pause, moved = new Set(), began = performance.now();
    asked = 0;
    for (const view of shown) {
      const pose = view.pose;
      if (turn && pose.turns && !moved.has(pose)) pose.a += passed / 4000, moved.add(pose);
      if (view.stale || turn && pose.turns) draw(view);
    }
    if (turn) last = now, pause = within(3 * (performance.now() - began), 33, 200);  // a slow machine: larger steps
    if ([...shown].some(view => view.pose.turns)) wake();
  }

  function wake(view) {
    if (view) view.stale = true;
    asked = asked || requestAnimationFrame(frame);
  }

  function settle(view) {  // within bounds, and shown by all that share the pose
    view.pose.e = within(view.pose.e, -1.57, 1.57);
    view.pose.zoom = within(view.pose.zoom, 0.5, 8);
    for (const other of views.values()) if (other.pose === view.pose) wake(other);
  }

  function press(view, key) {
    const pose = view.pose, turn = { ArrowLeft: [0.15, 0], ArrowRight: [-0.15, 0], ArrowUp: [0, 0.15], ArrowDown: [0, -0.15] }[key];
    if (turn) pose.a += turn[0], pose.e += turn[1], pose.turns = false;
    else if (key === "+" || key === "-") pose.zoom *= key === "+" ? 1.15 : 1 / 1.15;
    else if (key === " ") pose.turns = !pose.turns;
    else if (key === "0") Object.assign(pose, fresh());
    else if (key === "c") view.plain = !view.plain, load(view, view.data);
    else if (key === "Enter") open(view);
    else return false;
    settle(view);
    return true;
  }

  function paint(canvas, data) {  // a still picture
    const view = stills.get(canvas) || { canvas, pose: fresh() };
    stills.set(canvas, view);
    load(view, data);
    draw(view);
  }

  function listen(view) {
    const canvas = view.canvas, down = new Map(), spread = () => hypot(...[0, 1].map(i => [...down.values()][0][i] - [...down.values()][1][i]));
    let travelled = 0;
    canvas.onpointerdown = event => {
      canvas.setPointerCapture(event.pointerId);
      down.set(event.pointerId, [event.clientX, event.clientY]);
      travelled = down.size > 1 ? 99 : 0;
    };
    canvas.onpointermove = event => {
      const was = down.get(event.pointerId), now = [event.clientX, event.clientY], pose = view.pose;
      if (!was) return;
      const apart = down.size === 2 && spread(), dx = now[0] - was[0], dy = now[1] - was[1];
      down.set(event.pointerId, now);
      travelled += abs(dx) + abs(dy);
      if (apart) pose.zoom *= spread() / apart;
      else pose.a -= dx / 110, pose.e += dy / 110;
      if (travelled > 4) pose.turns = false;
      settle(view);
    };
    canvas.onpointerup = canvas.onpointercancel = event => {
      if (down.delete(event.pointerId) && event.type === "pointerup" && travelled <= 4) open(view);
    };
    canvas.addEventListener("wheel", event => {  // the page scrolls on, unless this cloud was chosen
      if (page.activeElement === canvas || event.ctrlKey) event.preventDefault(), press(view, event.deltaY < 0 ? "+" : "-");
    }, { passive: false });
    canvas.onkeydown = event => { if (!event.metaKey && !event.altKey && press(view, event.key)) event.preventDefault(); };
  }

  function add(canvas, data, pose, plain) {
    const view = { canvas, pose, plain };
    views.set(canvas, view);
    load(view, data);
    listen(view);
    seen.observe(canvas);
    sized.observe(canvas);
    return view;
  }

  function open(view) {
    if (view.canvas.closest("dialog")) return;
    const dialog = page.createElement("dialog");
    dialog.innerHTML = '<form method="dialog"><b></b><button>Close</button></form><canvas tabindex="0"></canvas>'
      + "<small>Drag or arrow keys turn, wheel or + and - zoom, space stops, 0 starts again, c changes the colours.</small>";
    dialog.querySelector("b").textContent = view.canvas.getAttribute("aria-label");
    page.body.append(dialog);
    const canvas = dialog.querySelector("canvas"), large = add(canvas, view.data, { ...view.pose }, view.plain);
    dialog.onclose = () => { shown.delete(large); views.delete(canvas); dialog.remove(); view.canvas.focus(); };
    dialog.onclick = event => { if (event.target === dialog) dialog.close(); };
    dialog.showModal();
    canvas.focus();
  }

  const seen = new IntersectionObserver(changes => changes.forEach(({ target, isIntersecting }) => {
    const view = views.get(target);
    if (isIntersecting && view) shown.add(view), wake(view);
    else shown.delete(view);
  }), { rootMargin: "80px" });
  const sized = new ResizeObserver(changes => changes.forEach(({ target }) => views.has(target) && wake(views.get(target))));

  window.clouds = { views, fresh, add, load, paint };  // for the scripts of act3d app
  page.documentElement.classList.add("live");
  for (const canvas of page.querySelectorAll("canvas[data-p]")) {
    const group = canvas.closest("[data-together]") || canvas;
    if (!poses.has(group)) poses.set(group, fresh());
    add(canvas, { ...canvas.dataset }, poses.get(group));
  }
  still.onchange = () => views.forEach(view => { view.pose.turns = !still.matches; wake(view); });

  for (const map of page.querySelectorAll("[data-map]")) {  // a point of a map shows its shape
    const canvas = map.querySelector("canvas"), text = map.querySelector("[data-title]"), dots = [...map.querySelectorAll(".spot[data-p]")];
    let chosen = null;
    const show = dot => {
      if (!dot || !dot.dataset || !dot.dataset.p) return;
      if (chosen) chosen.classList.remove("chosen");
      chosen = dot;
      dot.classList.add("chosen");
      canvas.setAttribute("aria-label", text.textContent = dot.querySelector("title").textContent);
      load(views.get(canvas), { ...canvas.dataset, ...dot.dataset });
    };
    const svg = map.querySelector("svg");
    svg.onpointerover = svg.onpointerdown = event => show(event.target);
    svg.onkeydown = event => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) event.preventDefault(), show(dots[(dots.indexOf(chosen) + step + dots.length) % dots.length]);
    };
  }
  for (const field of page.querySelectorAll("input[data-filter]")) field.oninput = () => {  // cards whose text has every word
    const words = field.value.toLowerCase().split(/\s+/), cards = page.querySelectorAll("[data-text]");
    for (const card of cards) card.hidden = !words.every(word => card.dataset.text.toLowerCase().includes(word));
  };
})();
