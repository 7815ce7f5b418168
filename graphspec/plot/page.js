"use strict";
// Draws the picture that stands in #graph. `arrange` and what it calls has the rules of layout.py.
const graph = JSON.parse(document.getElementById("graph").textContent);
const MARGIN = 10, LABEL = 18, BESIDE = 5, BETWEEN = 20, GAP = 26, STACK = 8, SWEEPS = 13;
const LISTED = 40;
const BEND = 8, SKIP = 0.01, LETTERS = 14;
const RIGHT = graph.right;

function complete(body) {
  body.segments = body.segments.map(([upper, port, lower, slot, weights, pull]) => (
    { upper, port, lower, slot, weights, pull }
  ));
  const empty = { type: "", more: "", path: "", width: 0, height: 0, count: 1, plain: false, open: false, body: null };
  body.boxes = body.boxes.map((box) => (
    { ...empty, labels: [], ports: [], facts: [], reads: [], arguments: [], weights: [], places: [], costs: [0, 0, 0], name: "", ...box }
  ));
  for (const box of body.boxes) if (box.body) complete(box.body);
}
complete(graph.body);

// --- layout

// `x` and `width` lie across the flow, `y` and `height` along it; drawing exchanges them where it runs right.
function arrange(body, room = 0) {
  const placed = body.boxes.map((box) => (box.body && box.open ? opened(box) : folded(box))), boxes = placed.length;
  const bends = body.ranks.flat().filter((item) => item >= boxes).length;
  const left = placed.map((each) => each.left).concat(Array(bends).fill(4));
  const right = placed.map((each) => each.right).concat(Array(bends).fill(4));
  const x = columns(body, placed, left, right);
  const low = x.length ? Math.min(...x.map((at, i) => at - left[i])) : 0;
  for (let i = 0; i < x.length; i++) x[i] -= low;
  const width = x.length ? Math.max(...x.map((at, i) => at + right[i])) : 0;
  const result = { width, height: 0, boxes: placed, lines: [] };
  rows(body, result, x, room);
  return result;
}

function folded(box) {
  const behind = box.count > 1 ? STACK : 0, [narrow, height] = RIGHT ? [box.height, box.width] : [box.width, box.height];
  const middle = (box.labels.length - 1) / 2, labelled = box.labels.filter((label) => label);
  const ports = RIGHT ? box.labels.map((_, at) => LABEL * (at - middle)) : spread(box.labels);
  const width = ports.length > 1 ? Math.max(narrow, 2 * Math.max(...ports.map(Math.abs)) + 2 * MARGIN) : narrow;
  const half = Math.max(width / 2, 4), above = (label) => (RIGHT && label ? LETTERS : 0);
  const beside = (label) => (RIGHT ? 0 : BESIDE + label);
  const below = RIGHT ? Math.max(0, ...labelled.map((label) => label + BESIDE)) : labelled.length ? LABEL : 0;
  return {
    box, width, height, ports, slots: [], x: 0, y: 0, body: null, side: 0, head: 0,
    starts: ports.map(() => height),
    left: Math.max(half, ...ports.map((at, i) => above(box.labels[i]) - at)),
    right: Math.max(half + behind, ...ports.map((at, i) => at + beside(box.labels[i]))),
    reach: height + behind + below,
  };
}

function opened(box) {
  const behind = box.count > 1 ? STACK : 0, border = box.body.boxes.some((each) => each.kind === "entry" && each.name) ? MARGIN : 0;
  const body = arrange(box.body, RIGHT ? box.width - border - MARGIN : 0);
  const width = RIGHT ? box.height + body.width + 2 * MARGIN : Math.max(body.width + 2 * MARGIN, box.width);
  const head = RIGHT ? border : box.height + border, height = head + body.height + MARGIN;
  const side = RIGHT ? box.height + MARGIN : (width - body.width) / 2;
  const ends = (kind) => body.boxes.filter((each) => each.box.kind === kind);
  const exits = ends("exit"), middle = (each) => each.x + side - width / 2;
  return {
    box, width, height, ports: exits.map(middle), slots: ends("entry").map(middle), x: 0, y: 0, body, side, head,
    starts: exits.map((each) => (each.width ? height - MARGIN : height)),
    left: width / 2, right: width / 2 + behind, reach: height + behind,
  };
}

function spread(widths) {
  if (widths.length === 1) return [0];
  let at = -(widths.slice(0, -1).reduce((a, b) => a + b, 0) + (BESIDE + MARGIN) * (widths.length - 1)) / 2;
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

function rows(body, result, x, room) {
  const placed = result.boxes, gaps = body.ranks.map(() => []), depth = [];
  body.ranks.forEach((rank, number) => rank.forEach((item) => (depth[item] = number)));
  for (const segment of body.segments) gaps[depth[segment.upper]].push(segment);
  const start = (s) => x[s.upper] + startOf(s, placed), end = (s) => x[s.lower] + endOf(s, placed);
  const insides = body.ranks.map((rank) => rank.filter((item) => item < placed.length));
  const heights = insides.map((inside) => Math.max(0, ...inside.map((item) => placed[item].reach)));
  const spaces = gaps.map((gap) => GAP + Math.min(40, Math.max(0, ...gap.map((s) => Math.abs(start(s) - end(s)))) / 12));
  const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
  result.height = sum(heights) + sum(spaces.slice(0, -1));
  if (spaces.length > 1 && result.height < room) {
    spaces[spaces.length - 2] += room - result.height;
    result.height = room;
  }
  const tops = [];
  let y = 0;
  insides.forEach((inside, number) => {
    for (const item of inside) Object.assign(placed[item], { x: x[item], y });
    tops.push([y, y + heights[number], y + heights[number] + spaces[number]]);
    y = tops[number][2];
  });
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
const chart = document.getElementById("chart"), costs = document.getElementById("costs"), legend = document.getElementById("legend");
const finds = document.getElementById("finds");
const frame = make("rect", { class: "view" });
const view = { x: 0, y: 0, scale: 1 };
let drawn = null, chosen = null;

function make(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  element.append(...children);
  return element;
}

const tenth = (number) => Math.round(number * 10) / 10;
const turned = (x, y) => (RIGHT ? [y, x] : [x, y]);
const extent = (placed) => turned(placed.width, placed.height);

function draw() {
  drawn = arrange(graph.body);
  [drawn.across, drawn.down] = extent(drawn);
  const into = document.createDocumentFragment(), small = document.createDocumentFragment();
  drawBody(drawn, 0, 0, into, small);
  stage.replaceChildren(into);
  chart.replaceChildren(small, frame);
  colour();
}

function drawBody(placed, x, y, into, small) {
  for (const each of placed.boxes) {
    const [left, top] = turned(each.x - each.width / 2, each.y);
    each.left = x + left;
    each.top = y + top;
    if (!each.body) continue;
    outline(each, each.left, each.top, "frame", into);
    small.append(sheet(each, each.left, each.top, extent(each), "frame"));
    const [side, head] = turned(each.side, each.head);
    drawBody(each.body, each.left + side, each.top + head, into, small);
  }
  for (const line of placed.lines) drawLine(line, x, y, into);
  for (const each of placed.boxes) if (each.width) drawBox(each, into, small);
}

function sheet(placed, x, y, [width, height], kind) {
  return make("rect", { ...(kind && { class: kind }), x: tenth(x), y: tenth(y), width: tenth(width), height: tenth(height), rx: 5 });
}

function outline(placed, x, y, kind, into) {
  if (placed.box.count > 1)
    for (const shift of [STACK, STACK / 2]) into.append(sheet(placed, x + shift, y + shift, extent(placed), "behind"));
  into.append(sheet(placed, x, y, extent(placed), kind));
}

function drawBox(placed, into, small) {
  const box = placed.box, { left, top } = placed, open = Boolean(placed.body), [width] = extent(placed);
  const kind = `box ${box.kind}${box.plain ? " plain" : ""}`;
  const node = make("g", { class: kind, tabindex: 0, role: "button" });
  node.setAttribute("aria-label", [box.name, box.type, box.more].filter(Boolean).join(", "));
  if (box.body) node.setAttribute("aria-expanded", open);
  if (open) node.append(sheet(placed, left, top, [width, box.height], ""));
  else outline(placed, left, top, "", node);
  if (!open) small.append(make("g", { class: kind }, sheet(placed, left, top, extent(placed), "")));
  const text = make("text", { x: tenth(left + MARGIN), y: tenth(top + 17) });
  text.append(make("tspan", { class: "name" }, box.name));
  if (box.type) text.append(" ", make("tspan", { class: "type" }, box.type));
  node.append(text);
  if (box.more) node.append(make("text", { class: "more", x: tenth(left + MARGIN), y: tenth(top + 34) }, box.more));
  if (box.body) node.append(make("path", { class: "fold", d: mark(left + width - 14, top + 13, open) }));
  node.box = box;
  box.element = node;
  box.placed = placed;
  if (box === chosen) node.classList.add("chosen");
  into.append(node);
  if (open) return;
  const end = placed.height + (box.count > 1 ? STACK : 0);
  box.ports.forEach(([, label], i) => {
    const beside = placed.width / 2 + placed.ports[i];
    const [x, y] = RIGHT ? [end + BESIDE, beside - BESIDE] : [beside + BESIDE, end + 14];
    if (label) into.append(make("text", { class: "shape", x: tenth(left + x), y: tenth(top + y) }, label));
  });
}

// A plus where a click opens, a minus where it closes.
const mark = (x, y, open) => `M${tenth(x - 4)} ${tenth(y)}h8${open ? "" : `M${tenth(x)} ${tenth(y - 4)}v8`}`;

function drawLine(line, x, y, into) {
  const at = (across, along) => {
    const [right, down] = turned(across, along);
    return [tenth(x + right), tenth(y + down)];
  };
  const [[x0, y0], [x1, y1], [x2, y2]] = [at(line.x0, line.y0), at(line.x0, line.y1), at(line.x2, line.y2)];
  const mx = tenth((x1 + x2) / 2), my = tenth((y1 + y2) / 2);
  const down = x0 === x2 ? `V${y2}` : `V${y1}C${x0} ${my} ${x2} ${my} ${x2} ${y2}`;
  const right = y0 === y2 ? `H${x2}` : `H${x1}C${mx} ${y0} ${mx} ${y2} ${x2} ${y2}`;
  const d = `M${x0} ${y0}${RIGHT ? right : down}`;
  into.append(make("path", { class: line.weights ? "weights" : "edge", d }));
  if (line.arrow) into.append(make("path", { class: "head", d: `M${x2} ${y2}${RIGHT ? "l-7 -4v8z" : "l-4 -7h8z"}` }));
}

// --- moving about

function look() {
  stage.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.scale})`);
  canvas.classList.toggle("far", view.scale < 0.2);
  lookAtChart();
}

function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const scale = Math.min(4, Math.max(0.02, view.scale * factor));
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  look();
}

// The whole picture; or, where its text would be too small to read, its beginning.
function fit(whole) {
  const across = canvas.clientWidth / (drawn.across + 60), down = canvas.clientHeight / (drawn.down + 60);
  view.scale = Math.min(1, whole ? Math.min(across, down) : Math.max(Math.min(across, down), 0.75));
  const middle = (room, size) => Math.max((room - size * view.scale) / 2, 30 * view.scale);
  view.x = RIGHT || drawn.across * view.scale <= canvas.clientWidth ? middle(canvas.clientWidth, drawn.across) : (canvas.clientWidth - drawn.across * view.scale) / 2;
  view.y = RIGHT ? middle(canvas.clientHeight, drawn.down) : 30 * view.scale;
  look();
}

// What is open stays open while the whole picture can be read; then the innermost groups are closed first.
function start() {
  draw();
  fit(true);
  while (!graph.fixed && view.scale < 0.5) {
    const open = [];
    const seek = (body, depth) => {
      for (const box of body.boxes) if (box.body && box.open) (open[depth] ||= []).push(box), seek(box.body, depth + 1);
    };
    seek(graph.body, 0);
    if (!open.length) break;
    for (const box of open.at(-1)) box.open = false;
    draw();
    fit(true);
  }
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

// `key` is the key of the state dict by which the box was found.
function choose(box, key) {
  if (chosen && chosen.element) chosen.element.classList.remove("chosen");
  chosen = box;
  panel.hidden = !box;
  if (location.protocol !== "about:") history.replaceState(null, "", box && box.path ? `#${encodeURIComponent(box.path)}` : location.pathname + location.search);
  if (!box) return;
  box.element.classList.add("chosen");
  describe(box, key);
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
  fit(!open);
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

// A stack stands for several instances: the path of one of them becomes that of the first, which is drawn.
function ofFirst(text, box) {
  const [, stem, first, last] = /^(.*\.)(\d+) … (\d+)$/.exec(box.path) || [];
  if (!stem || !text.startsWith(bare(stem))) return text;
  const [number] = text.slice(bare(stem).length).split(".", 1), rest = text.slice(bare(stem).length + number.length);
  const inside = /^\d+$/.test(number) && Number(number) >= Number(first) && Number(number) <= Number(last);
  return inside ? `${bare(stem)}${first}${rest}` : text;
}

// A name that Python has a meaning for has an underscore behind it in the state dict.
const bare = (path) => path.replace(/_(?=\.|$)/g, "");

// The boxes whose path or type has the text, and the innermost that a key of the state dict belongs to.
function matches(text) {
  const found = [], keys = [];
  const seek = (body, above, key) => {
    for (const box of body.boxes) {
      const own = ofFirst(key, box), path = bare(box.path.replace(/ … \d+$/, ""));
      if (box.path && box.kind !== "section" && box.kind !== "entry") {
        if (own === path || own.startsWith(`${path}.`)) keys.push([box, above]);
        else if (`${box.path} ${box.type}`.toLowerCase().includes(text.toLowerCase())) found.push([box, above]);
      }
      if (box.body) seek(box.body, [...above, box], own);
    }
  };
  seek(graph.body, [], bare(text));
  const longest = Math.max(...keys.map(([box]) => box.path.length));
  return [...keys.filter(([box]) => box.path.length === longest).map((hit) => [...hit, text]), ...found];
}

// Opens what hides a box, and shows it.
function go([box, above, key]) {
  for (const each of above) each.open = true;
  draw();
  if (view.scale < 0.5) zoom(0.75 / view.scale);
  choose(box, key);
  reveal(box);
}

// The hit of a path: its box, or the innermost that has it.
function hitOf(path) {
  let best = null;
  const seek = (body, above) => {
    for (const box of body.boxes) {
      const inside = box.path && (path === box.path || path.startsWith(`${box.path}.`) || ofFirst(path, box) !== path);
      if (inside && (!best || box.path.length > best[0].path.length)) best = [box, above];
      if (box.body) seek(box.body, [...above, box]);
    }
  };
  seek(graph.body, []);
  return best;
}

let hits = { text: "", at: 0 };
search.addEventListener("keydown", (event) => {
  if (event.key === "Escape") list([]);
  if (event.key !== "Enter") return;
  const text = search.value.trim(), found = text ? matches(text) : [];
  search.setAttribute("aria-invalid", text !== "" && !found.length);
  if (!found.length) return;
  hits = { text, at: hits.text === text ? (hits.at + 1) % found.length : 0 };
  list(found, hits.at);
  go(found[hits.at]);
});
search.addEventListener("input", () => {
  const text = search.value.trim();
  list(text ? matches(text) : []);
});

// What is found, below the field; `at` is the one that is shown.
function list(found, at = -1) {
  finds.replaceChildren();
  finds.hidden = !found.length;
  found.slice(0, LISTED).forEach((hit, i) => {
    const item = add(finds, "li"), button = add(item, "button");
    add(button, "span", hit[0].path, "name");
    add(button, "span", hit[0].type, "type");
    button.setAttribute("aria-current", i === at);
    button.addEventListener("click", () => {
      list([]);
      go(hit);
    });
  });
  if (found.length > LISTED) add(finds, "li", `${found.length - LISTED} more`, "more");
}

function follow() {
  let path = location.hash.slice(1);
  try {
    path = decodeURIComponent(path);
  } catch {} // as it is written, then
  const hit = path && hitOf(path);
  if (hit && hit[0] !== chosen) go(hit);
}
window.addEventListener("hashchange", follow);

// --- the chart: the whole picture, small, and where the view is

function lookAtChart() {
  const room = { x: canvas.clientWidth, y: canvas.clientHeight };
  const all = view.x >= 0 && view.y >= 0 && view.x + drawn.across * view.scale <= room.x && view.y + drawn.down * view.scale <= room.y;
  chart.classList.toggle("hidden", all);
  chart.setAttribute("viewBox", `-10 -10 ${tenth(drawn.across + 20)} ${tenth(drawn.down + 20)}`);
  const size = Math.min(180 / (drawn.across + 20), 240 / (drawn.down + 20));
  chart.setAttribute("width", Math.max(24, tenth((drawn.across + 20) * size)));
  chart.setAttribute("height", Math.max(24, tenth((drawn.down + 20) * size)));
  const place = { x: -view.x / view.scale, y: -view.y / view.scale, width: room.x / view.scale, height: room.y / view.scale };
  for (const key in place) frame.setAttribute(key, tenth(place[key]));
}

let leading = false;
function lead(event) {
  const bounds = chart.getBoundingClientRect(), scale = Math.max((drawn.across + 20) / bounds.width, (drawn.down + 20) / bounds.height);
  const x = drawn.across / 2 + (event.clientX - bounds.left - bounds.width / 2) * scale;
  const y = drawn.down / 2 + (event.clientY - bounds.top - bounds.height / 2) * scale;
  view.x = canvas.clientWidth / 2 - x * view.scale;
  view.y = canvas.clientHeight / 2 - y * view.scale;
  look();
}
chart.addEventListener("pointerdown", (event) => {
  leading = true;
  lead(event);
});
window.addEventListener("pointermove", (event) => leading && lead(event));
window.addEventListener("pointerup", () => (leading = false));

// --- colours by cost

// In RGB, as every reader of a saved picture knows it.
function blend(one, other, part) {
  const style = getComputedStyle(document.documentElement);
  const [first, second] = [one, other].map((name) => style.getPropertyValue(name).match(/[0-9a-f]{2}/gi).map((each) => parseInt(each, 16)));
  return `rgb(${first.map((value, i) => Math.round(value * part + second[i] * (1 - part))).join(", ")})`;
}

function colour() {
  const at = ["params", "flops", "memory"].indexOf(costs.value), shown = [];
  every(graph.body, (box) => box.placed && box.element && box.element.isConnected && box.kind !== "section" && shown.push(box));
  const leaves = shown.filter((box) => !box.placed.body), top = Math.max(0, ...leaves.map((box) => box.costs[at] || 0));
  const total = graph.body.boxes.reduce((sum, box) => sum + (box.costs[at] || 0), 0);
  for (const box of shown) {
    const share = at < 0 || !top || box.placed.body ? 0 : box.costs[at] / top;
    const fill = at < 0 || box.placed.body ? "" : blend("--hot", "--plain", Math.sqrt(share));
    for (const rect of box.element.querySelectorAll("rect")) rect.style.fill = fill;
    box.element.querySelector("title")?.remove();
    const percent = at < 0 || !total ? "" : `: ${tenth((100 * box.costs[at]) / total)} % of ${costs.selectedOptions[0].text}`;
    box.element.prepend(make("title", {}, `${box.path}${percent}`));
  }
  const most = leaves.find((box) => box.costs[at] === top);
  if (at < 0 || !most) explain(shown);
  else legend.textContent = `red: most, ${most.path} has ${tenth((100 * top) / total)} %`;
}

const KINDS = [
  ["layer with weights", (box) => box.kind === "layer" && !box.plain, "box layer"],
  ["layer without weights", (box) => box.kind === "layer" && box.plain, "box layer plain"],
  ["merge or op", (box) => ["merge", "op", "compute"].includes(box.kind), "box merge"],
  ["block or model", (box) => box.body, "box block"],
  ["shared weights", (box) => ["shared", "parameter", "constant"].includes(box.kind), "box shared"],
  ["input or output", (box) => ["input", "output", "entry", "exit"].includes(box.kind), "box input"],
];

// What the colours of the boxes that are shown mean.
function explain(shown) {
  legend.replaceChildren();
  for (const [text, of, kind] of KINDS) {
    if (!shown.some(of)) continue;
    const item = add(legend, "span");
    const sign = make("svg", { width: 14, height: 10, "aria-hidden": true }, make("g", { class: kind }, make("rect", { x: 1, y: 1, width: 12, height: 8, rx: 2 })));
    item.append(sign, ` ${text}`);
  }
}
costs.addEventListener("change", colour);

// --- a file of what is seen

const LOOK = ["fill", "stroke", "stroke-width", "stroke-dasharray", "font-size", "font-weight", "font-family"];

function picture() {
  canvas.classList.remove("far");
  const left = Math.max(-20, -view.x / view.scale), top = Math.max(-20, -view.y / view.scale);
  const width = Math.min(drawn.across + 20, (canvas.clientWidth - view.x) / view.scale) - left;
  const height = Math.min(drawn.down + 20, (canvas.clientHeight - view.y) / view.scale) - top;
  const box = [left, top, width, height].map(tenth);
  const file = make("svg", { xmlns: "http://www.w3.org/2000/svg", width: box[2], height: box[3], viewBox: box.join(" ") });
  const page = getComputedStyle(document.body).backgroundColor;
  file.append(make("rect", { x: box[0], y: box[1], width: box[2], height: box[3], fill: page }));
  const copy = stage.cloneNode(true), from = stage.querySelectorAll("*"), to = copy.querySelectorAll("*");
  copy.removeAttribute("transform");
  copy.removeAttribute("id");
  to.forEach((element, i) => {
    const style = getComputedStyle(from[i]);
    for (const name of ["style", "tabindex", "role", "aria-label", "aria-expanded"]) element.removeAttribute(name);
    if (["g", "title"].includes(element.tagName)) return;
    for (const name of LOOK) if (name.startsWith("font") === /^t/.test(element.tagName) || name === "fill") element.setAttribute(name, style.getPropertyValue(name));
  });
  for (const element of copy.querySelectorAll(".fold")) element.remove();
  for (const element of copy.querySelectorAll("[class]")) element.removeAttribute("class");
  file.append(copy);
  look();
  return new XMLSerializer().serializeToString(file);
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([picture()], { type: "image/svg+xml" }));
  link.download = `${graph.name}.svg`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// --- the panel

function add(parent, name, text, kind) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  parent.append(element);
  return element;
}

// What a box reads and what reads it, each a link.
function describeNeighbours(box) {
  const readers = [], seek = (body) => {
    for (const each of body.boxes) {
      if (each !== box && each.reads.some(([name]) => hitOf(name)?.[0] === box)) readers.push([each.path, ""]);
      if (each.body) seek(each.body);
    }
  };
  if (box.path) seek(graph.body);
  for (const [title, items, links] of [["Inputs", box.reads, true], ["Outputs", box.ports], ["Read by", readers, true]]) {
    const told = items.filter(([name, shape]) => shape || links);
    if (!told.length) continue;
    add(panel, "h3", title);
    const list = add(panel, "ul");
    for (const [name, shape] of told) {
      const item = add(list, "li"), hit = links && hitOf(name);
      if (hit) add(item, "button", name, "name link").addEventListener("click", () => go(hit));
      else if (name) add(item, "span", name, "name");
      if (shape) add(item, "code", shape);
    }
  }
}

function describe(box, key) {
  panel.replaceChildren();
  const close = add(panel, "button", "×", "close");
  close.setAttribute("aria-label", "Close");
  close.addEventListener("click", () => choose(null));
  add(panel, "h2", box.path);
  add(panel, "p", box.type, "type");
  if (key && key !== box.path) add(panel, "p", `found: ${key}`, "key");
  const facts = add(panel, "dl");
  for (const [key, value] of box.facts) {
    add(facts, "dt", key);
    add(facts, "dd", value);
  }
  if (box.arguments.length) {
    add(panel, "h3", "Arguments");
    const list = add(panel, "dl", undefined, "arguments");
    for (const [key, value, isDefault] of box.arguments) {
      add(list, "dt", key);
      add(list, "dd", value, isDefault ? "default" : "");
    }
  }
  describeNeighbours(box);
  if (box.weights.length) {
    add(panel, "h3", "Weights");
    const list = add(panel, "ul");
    for (const [name, shape] of box.weights) {
      const item = add(list, "li");
      add(item, "span", name, "name");
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

const buttons = { fold: () => setAll(false), unfold: () => setAll(true), whole: () => fit(true), save };
for (const id in buttons) document.getElementById(id).addEventListener("click", buttons[id]);
document.getElementById("nearer").addEventListener("click", () => zoom(1.25));
document.getElementById("farther").addEventListener("click", () => zoom(0.8));
start();
follow();
window.addEventListener("resize", look);
