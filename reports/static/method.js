// A method's page: its curves, its cost by part, the order in which an image was decoded, and what was computed of it.
"use strict";
document.addEventListener("DOMContentLoaded", async () => {
  const { el, figure } = arbench, { stack, PARTS } = arbench.parts, { axis, layout, marker, bars, draw } = arbench.charts;
  const rows = arbench.rows();
  const mine = Object.entries(arbench.data).find(([name]) => name.startsWith("method-"))[1];

  // Cost by part
  const costs = document.getElementById("costs");
  const most = Math.max(...mine.costs.map((one) => Object.values(one.parts).reduce((a, b) => a + b, 0)));
  for (const { key, settings, parts } of mine.costs) {
    const named = PARTS.filter((part) => part in parts).concat(Object.keys(parts).filter((part) => !PARTS.includes(part))).map((part) => [part, parts[part]]);
    const total = named.reduce((sum, [, number]) => sum + number, 0);
    costs.append(el("div", { class: "cost" }, el("p", {}, el("a", { href: `trial.html#${key}` }, settings || "as it is"), ` ${figure(total)} M MACs`), el("div", { style: `width:${Math.max(4, 100 * total / most)}%` }, stack(named, "M MACs"))));
  }
  if (!mine.costs.length) costs.append(el("p", { class: "soft" }, "No FLOPs were counted."));

  // Curves
  const curves = document.getElementById("curves");
  const { of, value, figures, title, data } = rows;
  const known = Array.from({ length: rows.total }, (_, row) => row).filter((row) => of.set[row] === 0 && of.tuned[row] && value("fid", row) !== null);
  const curve = (cost) => {
    const place = el("div", { class: "chart", role: "group", "aria-label": `${title("fid", 0)} against ${title(cost, 0)}: this method's settings among all others; every figure is on the leaderboard` });
    curves.append(place);
    const there = known.filter((row) => value(cost, row) !== null);
    const own = there.filter((row) => of.method[row] === mine.name).sort((a, b) => value(cost, a) - value(cost, b)), rest = there.filter((row) => of.method[row] !== mine.name);
    const about = data.methods[mine.name];
    const xy = (of) => ({ x: of.map((row) => value(cost, row)), y: of.map((row) => value("fid", row)), customdata: of, text: of.map((row) => rows.of.settings[row]), hovertemplate: "%{text}<br>%{x:.3g}, %{y:.3g}<extra></extra>" });
    const ends = [1, 2].map((end) => (figures("fid")[end].length ? own.map((row) => figures("fid")[end][row]) : []));
    draw(place, [{ type: "scatter", mode: "markers", name: "other methods", ...xy(rest), marker: { color: "#c9ced4", size: 7 } }, { type: "scatter", mode: "markers", name: mine.name, ...xy(own), marker: marker(about), error_y: bars(own.map((row) => value("fid", row)), ...ends, about?.colour) }], layout(axis(title(cost, 0), cost !== "steps"), axis(title("fid", 0), true), { height: 340 }));
    place.on("plotly_click", ({ points }) => { const key = of.key[points[0].customdata]; if (key) location.href = `trial.html#${key}`; });
  };
  data.costs.forEach(([cost]) => curve(cost));

  // Decode order and sparsity, of a recorded trace
  if (!mine.traces.length) { document.documentElement.dataset.ready = "yes"; return; }
  document.getElementById("traces").hidden = false;
  const CELL = 168;
  let trace, picture, timer = null, image = 0, step = 0, layer = -1, expert = -1;
  const animation = document.getElementById("animation"), maps = document.getElementById("maps");
  const trials = el("select", { onchange: (event) => open(event.target.value) }, mine.traces.map(({ key, settings }) => el("option", { value: key }, settings || "as it is")));
  const images = el("select", { onchange: (event) => { image = Number(event.target.value); redraw(); } });
  document.getElementById("trace-pick").append(el("label", {}, "Setting", trials), el("label", {}, "Image", images));
  document.getElementById("trace-pick").addEventListener("submit", (event) => event.preventDefault());
  const starts = () => trace.grids.reduce((found, side) => [...found, found.at(-1) + side * side], [0]);
  const steps = () => Math.max(...trace.order[image]) + 1;
  // The finished image in a grid's coarseness, or whole if there is but one grid, on a canvas of CELL pixels.
  const painted = (side) => {
    const canvas = el("canvas", { width: CELL, height: CELL }), pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = trace.grids.length > 1;
    if (!picture) { pen.fillStyle = "#8b949e"; pen.fillRect(0, 0, CELL, CELL); return canvas; }
    const wide = picture.naturalWidth / Math.min(picture.count, 10), down = wide * picture.high;
    const from = [(image % 10) * wide, Math.floor(image / 10) * down, wide, down];
    if (trace.grids.length === 1) { pen.drawImage(picture, ...from, 0, 0, CELL, CELL); return canvas; }
    const small = el("canvas", { width: side, height: side }), thin = small.getContext("2d");
    thin.imageSmoothingQuality = "high";
    thin.drawImage(picture, ...from, 0, 0, side, side);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, CELL, CELL);
    return canvas;
  };
  // A grid of which cells are shown, faded by how much each counts (0 to 1), and some outlined.
  const grid = (side, share, outlined, label, whole = painted(side)) => {
    const canvas = el("canvas", { width: CELL, height: CELL, role: "img", "aria-label": label }), pen = canvas.getContext("2d"), cell = CELL / side;
    pen.fillStyle = "#3a4048"; pen.fillRect(0, 0, CELL, CELL);
    for (let place = 0; place < side * side; place++) {
      const x = (place % side) * cell, y = Math.floor(place / side) * cell;
      pen.globalAlpha = share(place);
      if (pen.globalAlpha > 0) pen.drawImage(whole, x, y, cell, cell, x, y, cell, cell);
      pen.globalAlpha = 1;
      pen.strokeStyle = "rgba(140,150,160,.35)"; pen.lineWidth = 1; pen.strokeRect(x + .5, y + .5, cell - 1, cell - 1);
      if (outlined(place)) { pen.strokeStyle = "#ffb000"; pen.lineWidth = Math.min(3, cell / 4); pen.strokeRect(x + 1, y + 1, cell - 2, cell - 2); }
    }
    return canvas;
  };
  const white = el("canvas", { width: CELL, height: CELL }); // a map shows shares, not the picture, which may be dark itself
  white.getContext("2d").fillStyle = "#f6f8fa";
  white.getContext("2d").fillRect(0, 0, CELL, CELL);
  const grids = el("div", { class: "grids" }), said = el("p", { class: "soft", id: "step-said", "aria-live": "polite" });
  const slider = el("input", { type: "range", min: 0, value: 0, "aria-label": "Step", oninput: () => { stop(); step = Number(slider.value); redraw(); } });
  const play = el("button", { type: "button", onclick: () => (timer ? stop() : start()) }, "Play");
  const stop = () => { clearInterval(timer); timer = null; play.textContent = "Play"; };
  const start = () => {
    if (step >= steps() - 1) step = -1;
    play.textContent = "Pause";
    timer = setInterval(() => { step += 1; redraw(); if (step >= steps() - 1) stop(); }, Math.max(120, Math.min(700, 6000 / steps())));
  };
  animation.append(grids, el("div", { class: "slide" }, play, slider), said);
  const redraw = () => {
    const order = trace.order[image], at = starts(), count = steps();
    step = Math.min(step, count - 1);
    slider.max = count - 1; slider.value = step;
    slider.setAttribute("aria-valuetext", `step ${step + 1} of ${count}`);
    grids.replaceChildren(...trace.grids.map((side, number) => grid(side, (place) => (order[at[number] + place] <= step ? 1 : 0), (place) => order[at[number] + place] === step, `Grid of ${side} by ${side} at step ${step + 1}`)));
    const now = order.filter((one) => one === step).length, done = order.filter((one) => one <= step).length;
    said.textContent = `Step ${step + 1} of ${count}: ${now} token${now === 1 ? "" : "s"} decided (outlined), ${done} of ${order.length} so far.`;
    sparsity();
  };
  const bitsOf = (mask) => { let count = 0; for (let rest = mask >>> 0; rest; rest &= rest - 1) count++; return count; };
  const sparsity = () => {
    if (!trace.tokens && !trace.experts) { maps.replaceChildren(); return; }
    const at = starts(), layers = (trace.tokens ?? trace.experts)[image].length, chosen = layer < 0 ? [...Array(layers).keys()] : [Math.min(layer, layers - 1)];
    const mean = (numbers) => numbers.reduce((sum, one) => sum + one, 0) / numbers.length;
    const tokens = (place) => (trace.tokens ? mean(chosen.map((one) => trace.tokens[image][one][place])) : 1);
    const experts = (place) => mean(chosen.map((one) => { const mask = trace.experts[image][one][place]; return expert < 0 ? bitsOf(mask) / trace.experts_of : (mask >>> expert) & 1; }));
    const sparse = trace.grids.map((side, number) => [side, number]).filter(([side, number]) => Array.from({ length: side * side }, (_, place) => at[number] + place).some((place) => tokens(place) < 1 || (trace.experts && bitsOf(trace.experts[image][0][place]) < trace.experts_of) || (trace.experts && experts(place) < 1)));
    const where = layer < 0 ? `all ${layers} layers` : `layer ${layer + 1}`;
    const part = (heading, share, words) => [el("h3", {}, heading), el("div", { class: "grids" }, sparse.map(([side, number]) => grid(side, (place) => share(at[number] + place), () => false, `${heading}, grid of ${side} by ${side}, ${where}`, white))),
      el("p", { class: "soft" }, sparse.map(([side, number]) => `${side} × ${side}: ${figure(100 * mean(Array.from({ length: side * side }, (_, place) => share(at[number] + place))), 3)} % ${words}`).join("; ") + ".")];
    const pick = (words, count, get, set, all) => { const made = el("select", { onchange: (event) => { set(Number(event.target.value)); sparsity(); maps.querySelector(`[data-pick="${words}"]`).focus(); }, "data-pick": words }, el("option", { value: -1 }, all), Array.from({ length: count }, (_, number) => el("option", { value: number }, `${words.toLowerCase()} ${number + 1}`))); made.value = get; return el("label", {}, words, made); };
    maps.replaceChildren(el("h2", {}, "Sparsity maps"), el("p", {}, "The brighter a token, the more of it was computed; dark tokens were reconstructed by the light path. Grids that are not shown were computed whole."),
      el("div", { class: "filters" }, pick("Layer", layers, layer, (one) => { layer = one; }, "all, mean"), trace.experts ? pick("Expert", trace.experts_of, expert, (one) => { expert = one; }, "how many") : null),
      ...(trace.tokens ? part("Tokens computed", tokens, "of tokens computed") : []), ...(trace.experts ? part(expert < 0 ? "Experts computed" : `Expert ${expert + 1}`, experts, expert < 0 ? "of experts computed" : "of tokens use it") : []));
  };
  const open = async (key) => {
    stop();
    trace = await arbench.load(`trace-${key}`);
    const trial = await arbench.trial(key);
    picture = null;
    if (trial.images.file) {
      picture = new Image();
      picture.src = `images/${trial.images.file}`;
      picture.alt = "";
      await picture.decode().catch(() => { picture = null; });
    }
    if (picture) { picture.count = trial.images.count; picture.high = picture.naturalHeight / Math.ceil(picture.count / Math.min(picture.count, 10)) / (picture.naturalWidth / Math.min(picture.count, 10)); }
    image = 0; layer = -1; expert = -1;
    images.replaceChildren(...trace.order.map((_, number) => el("option", { value: number }, `image ${number}`)));
    step = Math.max(0, Math.floor(steps() / 2));
    redraw();
    document.documentElement.dataset.ready = "yes";
  };
  await open(mine.traces[0].key);
});
