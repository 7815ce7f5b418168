"use strict";
// Draws the picture that stands in #graph. `arrange` and what it calls has the rules of layout.py.
const graph = JSON.parse(document.getElementById("graph").textContent);
const MARGIN = 10, LABEL = 18, BESIDE = 5, BETWEEN = 20, GAP = 26, STACK = 8, SWEEPS = 13;
const BEND = 8, SKIP = 0.01;


function complete(body) {
  body.segments = body.segments.map(([upper, port, lower, slot, weights, pull]) => (
    { upper, port, lower, slot, weights, pull }
  ));
  const empty = { type: "", more: "", path: "", width: 0, height: 0, count: 1, plain: false, open: false, body: null };
  body.boxes = body.boxes.map((box) => (
    { ...empty, labels: [], ports: [], facts: [], reads: [], places: [], name: "", ...box }
  ));
  for (const box of body.boxes) if (box.body) complete(box.body);
}
complete(graph.body);

// --- layout

function arrange(body) {
  const placed = body.boxes.map(sized), boxes = placed.length;
  const bends = body.ranks.flat().filter((item) => item >= boxes).length;
  const left = placed.map((each) => each.left).concat(Array(bends).fill(4));
  const right = placed.map((each) => each.right).concat(Array(bends).fill(4));
  const x = columns(body, placed, left, right);
  const low = x.length ? Math.min(...x.map((at, i) => at - left[i])) : 0;
  for (let i = 0; i < x.length; i++) x[i] -= low;
  const width = x.length ? Math.max(...x.map((at, i) => at + right[i])) : 0;
  const result = { width, height: 0, boxes: placed, lines: [] };
  rows(body, result, x);
  return result;
}

function sized(box) {
  const behind = box.count > 1 ? STACK : 0;
  if (!box.body || !box.open) {
    const ports = spread(box.labels), half = Math.max(box.width / 2, 4);
    return {
      box, width: box.width, height: box.height, ports, slots: [], x: 0, y: 0, body: null, head: 0,
      starts: ports.map(() => box.height),
      left: Math.max(half, ...ports.map((at) => -at)),
      right: Math.max(half + behind, ...ports.map((at, i) => at + BESIDE + box.labels[i])),
      reach: box.height + behind + (box.labels.some((width) => width) ? LABEL : 0),
    };
  }
  const body = arrange(box.body);
  const ends = (kind) => body.boxes.filter((each) => each.box.kind === kind);
  const entries = ends("entry"), exits = ends("exit"), middle = (each) => each.x - body.width / 2;
  const head = box.height + (entries.some((each) => each.width) ? MARGIN : 0);
  const width = Math.max(body.width + 2 * MARGIN, box.width), height = head + body.height + MARGIN;
  return {
    box, width, height, ports: exits.map(middle), slots: entries.map(middle), x: 0, y: 0, body, head,
    starts: exits.map((each) => (each.width ? height - MARGIN : height)),
    left: width / 2, right: width / 2 + behind, reach: height + behind,
  };
}

function spread(widths) {
  if (widths.length === 1) return [0];
  let at = -(widths.reduce((a, b) => a + b, 0) + (BESIDE + MARGIN) * widths.length - MARGIN) / 2;
  return widths.map((width) => {
    const start = at;
    at += width + BESIDE + MARGIN;
    return start;
  });
}

function slotAt(placed, segment) {
  if (segment.weights && placed.body) return MARGIN - placed.width / 2;
  return segment.slot === null || !placed.slots.length ? 0 : placed.slots[segment.slot];
}

const startOf = (s, placed) => (s.upper < placed.length ? placed[s.upper].ports[s.port] : 0);
const endOf = (s, placed) => (s.lower < placed.length ? slotAt(placed[s.lower], s) : 0);

function columns(body, placed, left, right) {
  const above = left.map(() => []), below = left.map(() => []), x = left.map(() => 0);
  for (const segment of body.segments) {
    const start = startOf(segment, placed), end = endOf(segment, placed);
    above[segment.lower].push([segment.upper, start - end, segment.pull]);
    below[segment.upper].push([segment.lower, end - start, segment.pull]);
  }
  for (const { upper, lower, pull } of body.segments) {
    if (pull === BEND && above[upper].every((each) => each[2] === SKIP)) above[upper].push([lower, 0, BEND]);
    if (pull === BEND && below[lower].every((each) => each[2] === SKIP)) below[lower].push([upper, 0, BEND]);
  }
  for (const rank of body.ranks) {
    let at = 0;
    for (const item of rank) {
      x[item] = at + left[item];
      at += left[item] + right[item] + BETWEEN;
    }
    for (const item of rank) x[item] -= at / 2;
  }
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const down = sweep % 2 === 0;
    for (const rank of down ? body.ranks : [...body.ranks].reverse())
      settle(rank, down ? above : below, x, left, right);
  }
  return x;
}

function settle(rank, neighbours, x, left, right) {
  const offsets = [], pools = [];
  let offset = 0;
  rank.forEach((item, at) => {
    if (at) offset += right[rank[at - 1]] + BETWEEN + left[item];
    offsets.push(offset);
    const wish = median(neighbours[item], x);
    const pull = neighbours[item].length ? Math.max(...neighbours[item].map((each) => each[2])) : 0.1;
    pools.push([(wish === null ? x[item] : wish) - offset, pull, 1]);
    while (pools.length > 1 && pools[pools.length - 2][0] >= pools[pools.length - 1][0]) {
      const [other, weight, count] = pools.pop(), last = pools[pools.length - 1], total = last[1] + weight;
      last[0] = (last[0] * last[1] + other * weight) / total;
      last[1] = total;
      last[2] += count;
    }
  });
  let at = 0;
  for (const [middle, , count] of pools)
    for (let i = 0; i < count; i++, at++) x[rank[at]] = middle + offsets[at];
}

function median(neighbours, x) {
  if (!neighbours.length) return null;
  const wishes = neighbours.map(([other, shift, weight]) => [x[other] + shift, weight]);
  wishes.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const half = wishes.reduce((sum, each) => sum + each[1], 0) / 2;
  let total = 0;
  for (let i = 0; i < wishes.length; i++) {
    total += wishes[i][1];
    if (total > half) return wishes[i][0];
    if (total === half) return (wishes[i][0] + wishes[Math.min(i + 1, wishes.length - 1)][0]) / 2;
  }
  return wishes[wishes.length - 1][0];
}

function rows(body, result, x) {
  const placed = result.boxes, gaps = body.ranks.map(() => []), depth = [];
  body.ranks.forEach((rank, number) => rank.forEach((item) => (depth[item] = number)));
  for (const segment of body.segments) gaps[depth[segment.upper]].push(segment);
  const tops = [];
  let y = 0;
  body.ranks.forEach((rank, number) => {
    const inside = rank.filter((item) => item < placed.length);
    const height = Math.max(0, ...inside.map((item) => placed[item].reach));
    for (const item of inside) Object.assign(placed[item], { x: x[item], y });
    const start = (s) => x[s.upper] + startOf(s, placed), end = (s) => x[s.lower] + endOf(s, placed);
    const far = Math.max(0, ...gaps[number].map((s) => Math.abs(start(s) - end(s))));
    tops.push([y, y + height, y + height + GAP + Math.min(40, far / 12)]);
    y = tops[number][2];
  });
  result.height = tops.length ? tops[tops.length - 1][1] : 0;
  gaps.forEach((gap, number) => {
    const [top, bottom, following] = tops[number];
    for (const s of gap) {
      const target = placed[s.lower], kind = target && target.box.kind;
      const begin = s.upper < placed.length ? top + placed[s.upper].starts[s.port] : top;
      const border = kind === "exit" && !target.width ? MARGIN : 0;
      result.lines.push({
        x0: x[s.upper] + startOf(s, placed), y0: begin, y1: bottom,
        x2: x[s.lower] + endOf(s, placed), y2: following + border,
        arrow: Boolean(target) && kind !== "exit" && kind !== "entry" && !s.weights, weights: s.weights,
      });
    }
  });
}

// --- drawing

const canvas = document.getElementById("canvas"), stage = document.getElementById("stage");
const panel = document.getElementById("panel"), search = document.getElementById("search");
const view = { x: 0, y: 0, scale: 1 };
let drawn = null, chosen = null;

function make(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  element.append(...children);
  return element;
}

const tenth = (number) => Math.round(number * 10) / 10;

function draw() {
  drawn = arrange(graph.body);
  const into = document.createDocumentFragment();
  drawBody(drawn, 0, 0, into);
  stage.replaceChildren(into);
}

function drawBody(placed, x, y, into) {
  for (const each of placed.boxes) {
    each.left = x + each.x - each.width / 2;
    each.top = y + each.y;
    if (!each.body) continue;
    outline(each, each.left, each.top, each.height, "frame", into);
    drawBody(each.body, x + each.x - each.body.width / 2, each.top + each.head, into);
  }
  for (const line of placed.lines) drawLine(line, x, y, into);
  for (const each of placed.boxes) if (each.width) drawBox(each, into);
}

function outline(placed, x, y, height, kind, into) {
  const size = { width: tenth(placed.width), height, rx: 5 };
  if (placed.box.count > 1)
    for (const shift of [STACK, STACK / 2])
      into.append(make("rect", { class: "behind", x: tenth(x + shift), y: tenth(y + shift), ...size }));
  into.append(make("rect", { ...(kind && { class: kind }), x: tenth(x), y: tenth(y), ...size }));
}

function drawBox(placed, into) {
  const box = placed.box, { left, top } = placed, open = Boolean(placed.body);
  const node = make("g", { class: `box ${box.kind}${box.plain ? " plain" : ""}`, tabindex: 0, role: "button" });
  node.setAttribute("aria-label", [box.name, box.type, box.more].filter(Boolean).join(", "));
  if (box.body) node.setAttribute("aria-expanded", open);
  if (open) node.append(make("rect", { x: tenth(left), y: tenth(top), width: tenth(placed.width), height: box.height, rx: 5 }));
  else outline(placed, left, top, box.height, "", node);
  const text = make("text", { x: tenth(left + MARGIN), y: tenth(top + 17) });
  text.append(make("tspan", { class: "name" }, box.name));
  if (box.type) text.append(" ", make("tspan", { class: "type" }, box.type));
  node.append(text);
  if (box.more) node.append(make("text", { class: "more", x: tenth(left + MARGIN), y: tenth(top + 34) }, box.more));
  if (box.body) node.append(make("path", { class: "fold", d: mark(left + placed.width - 14, top + 13, open) }));
  node.box = box;
  box.element = node;
  box.placed = placed;
  if (box === chosen) node.classList.add("chosen");
  into.append(node);
  if (open) return;
  const below = top + box.height + (box.count > 1 ? STACK : 0) + 14;
  box.ports.forEach(([, label], i) => {
    const x = left + placed.width / 2 + placed.ports[i] + BESIDE;
    if (label) into.append(make("text", { class: "shape", x: tenth(x), y: tenth(below) }, label));
  });
}

// A plus where a click opens, a minus where it closes.
const mark = (x, y, open) => `M${tenth(x - 4)} ${tenth(y)}h8${open ? "" : `M${tenth(x)} ${tenth(y - 4)}v8`}`;

function drawLine(line, x, y, into) {
  const [x0, x2] = [tenth(x + line.x0), tenth(x + line.x2)];
  const [y0, y1, y2] = [tenth(y + line.y0), tenth(y + line.y1), tenth(y + line.y2)], middle = tenth((y1 + y2) / 2);
  const d = x0 === x2 ? `M${x0} ${y0}V${y2}` : `M${x0} ${y0}V${y1}C${x0} ${middle} ${x2} ${middle} ${x2} ${y2}`;
  into.append(make("path", { class: line.weights ? "weights" : "edge", d }));
  if (line.arrow) into.append(make("path", { class: "head", d: `M${x2} ${y2}l-4 -7h8z` }));
}

// --- moving about

function look() {
  stage.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.scale})`);
  canvas.classList.toggle("far", view.scale < 0.2);
}

function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const scale = Math.min(4, Math.max(0.02, view.scale * factor));
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  look();
}

// The whole picture, unless its text would be too small to read: then its upper part.
function fit(whole) {
  const across = canvas.clientWidth / (drawn.width + 60), down = canvas.clientHeight / (drawn.height + 60);
  view.scale = Math.min(1, across, whole ? down : Math.max(down, 0.75));
  view.x = (canvas.clientWidth - drawn.width * view.scale) / 2;
  view.y = 30 * view.scale;
  look();
}

function reveal(box) {
  const { left, top } = box.placed, width = Math.min(box.placed.width, 300), x = view.x + left * view.scale, y = view.y + top * view.scale;
  const right = x + width * view.scale, bottom = y + box.height * view.scale;
  if (x < 0 || right > canvas.clientWidth) view.x += canvas.clientWidth / 2 - (x + right) / 2;
  if (y < 0 || bottom > canvas.clientHeight) view.y += canvas.clientHeight / 2 - (y + bottom) / 2;
  look();
}

let held = null, dragged = false;
canvas.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  held = { x: event.clientX, y: event.clientY };
  dragged = false;
});
window.addEventListener("pointermove", (event) => {
  if (!held) return;
  const x = event.clientX - held.x, y = event.clientY - held.y;
  if (!dragged && Math.hypot(x, y) < 4) return;
  dragged = true;
  view.x += x;
  view.y += y;
  held = { x: event.clientX, y: event.clientY };
  look();
});
window.addEventListener("pointerup", () => (held = null));
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const bounds = canvas.getBoundingClientRect();
  const amount = event.deltaMode ? event.deltaY * 30 : event.deltaY;
  zoom(Math.exp(-amount / 500), event.clientX - bounds.left, event.clientY - bounds.top);
}, { passive: false });

// --- choosing, opening, closing

function choose(box) {
  if (chosen && chosen.element) chosen.element.classList.remove("chosen");
  chosen = box;
  panel.hidden = !box;
  if (!box) return;
  box.element.classList.add("chosen");
  describe(box);
}

function toggle(box) {
  const before = box.placed;
  box.open = !box.open;
  draw();
  view.x += (before.left + before.width / 2 - box.placed.left - box.placed.width / 2) * view.scale;
  view.y += (before.top - box.placed.top) * view.scale;
  look();
}

function act(box) {
  if (box.body) toggle(box);
  choose(box);
  reveal(box);
}

canvas.addEventListener("click", (event) => {
  if (dragged) return;
  const node = event.target.closest(".box");
  if (node) act(node.box);
  else choose(null);
});

function every(body, action) {
  for (const box of body.boxes) {
    action(box);
    if (box.body) every(box.body, action);
  }
}

function setAll(open) {
  every(graph.body, (box) => (box.open = open));
  choose(null);
  draw();
  fit(false);
}

document.addEventListener("keydown", (event) => {
  const node = event.target.closest(".box"), step = 60;
  const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
  if (event.key === "Escape") choose(null);
  else if (event.target === search || event.ctrlKey || event.metaKey || event.altKey) return;
  else if (node && (event.key === "Enter" || event.key === " ")) {
    act(node.box);
    node.box.element.focus();
  } else if (event.key in moves && !panel.contains(event.target)) {
    view.x += moves[event.key][0];
    view.y += moves[event.key][1];
    look();
  } else if (event.key === "+" || event.key === "=") zoom(1.25);
  else if (event.key === "-") zoom(0.8);
  else if (event.key === "0") fit(true);
  else if (event.key === "/") search.focus();
  else return;
  event.preventDefault();
});
stage.addEventListener("focusin", (event) => {
  const node = event.target.closest(".box");
  if (node && node.matches(":focus-visible")) reveal(node.box);
});

// --- finding

let hits = { text: "", at: 0 };
search.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  const text = search.value.trim().toLowerCase(), found = [];
  const seek = (body, above) => {
    for (const box of body.boxes) {
      const named = box.path && `${box.path} ${box.type}`.toLowerCase().includes(text);
      if (named && box.kind !== "section" && box.kind !== "entry") found.push([box, above]);
      if (box.body) seek(box.body, [...above, box]);
    }
  };
  if (text) seek(graph.body, []);
  search.setAttribute("aria-invalid", text !== "" && !found.length);
  if (!found.length) return;
  hits = { text, at: hits.text === text ? (hits.at + 1) % found.length : 0 };
  const [box, above] = found[hits.at];
  for (const each of above) each.open = true;
  draw();
  choose(box);
  reveal(box);
});

// --- the panel

function add(parent, name, text, kind) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  parent.append(element);
  return element;
}

function describe(box) {
  panel.replaceChildren();
  const close = add(panel, "button", "×", "close");
  close.setAttribute("aria-label", "Close");
  close.addEventListener("click", () => choose(null));
  add(panel, "h2", box.path);
  add(panel, "p", box.type, "type");
  const facts = add(panel, "dl");
  for (const [key, value] of box.facts) {
    add(facts, "dt", key);
    add(facts, "dd", value);
  }
  for (const [title, items] of [["Inputs", box.reads], ["Outputs", box.ports]]) {
    if (!items.some(([, shape]) => shape)) continue;
    add(panel, "h3", title);
    const list = add(panel, "ul");
    for (const [name, shape] of items) {
      if (!shape) continue;
      const item = add(list, "li");
      if (name) add(item, "span", name, "name");
      add(item, "code", shape);
    }
  }
  const places = box.places.map((index) => graph.places[index]);
  for (const { place, text } of places) {
    add(panel, "h3", "YAML").append(add(panel, "span", place, "place"));
    add(panel, "pre", text, "yaml");
  }
  const code = places.flatMap((each) => each.code);
  if (!code.length) return;
  add(panel, "h3", "Python");
  const indent = Math.min(...code.map(([, text]) => text.search(/\S|$/)));
  const listing = add(panel, "pre", undefined, "python");
  code.forEach(([number, text], i) => {
    if (i && code[i - 1][0] + 1 < number) add(listing, "span", "⋮\n", "number");
    add(listing, "span", `${String(number).padStart(graph.digits)}  `, "number");
    listing.append(`${text.slice(indent)}\n`);
  });
}

// --- the start

const buttons = { fold: () => setAll(false), unfold: () => setAll(true), whole: () => fit(true) };
for (const id in buttons) document.getElementById(id).addEventListener("click", buttons[id]);
document.getElementById("nearer").addEventListener("click", () => zoom(1.25));
document.getElementById("farther").addEventListener("click", () => zoom(0.8));
draw();
fit(false);
