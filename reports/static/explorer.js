// Any measure against any other; and two walks along an axis, decode length and sparsity, with images at each place.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const { el } = arbench, { axis, layout, marker, bars, frontier, draw } = arbench.charts;
  const { data, of, measures, figures, value, need, title, print, standing, total, lastSet } = arbench.rows();
  const FIRST = { x: "latency", y: "fid", set: "0", rows: "tuned", logx: "1", logy: "1", bars: "1" };
  const read = () => { const asked = arbench.said(FIRST); for (const axis of ["x", "y"]) if (!measures.has(asked[axis])) asked[axis] = FIRST[axis]; return asked; };
  let state = read();
  const every = Array.from({ length: total }, (_, row) => row);
  const own = (name) => data.methods[name] ?? Object.values(data.methods).find((method) => method.published === name);
  const byMethod = (rows) => { const found = new Map(); for (const row of rows) found.set(of.method[row], [...(found.get(of.method[row]) ?? []), row]); return found; };
  const strip = (row) => (of.key[row] ? el("img", { class: "pixels", src: `images/${of.key[row]}.webp`, alt: `Images of ${of.method[row]}, ${of.settings[row]}`, onerror: (event) => event.target.replaceWith(el("p", { class: "soft" }, "no images")) }) : null);

  // The explorer
  const chart = document.getElementById("chart"), side = document.getElementById("point"), brushed = document.getElementById("brushed");
  const clear = () => side.replaceChildren(el("p", { class: "soft" }, "Hover or focus a point to see its images; click it, or its row below, to open its trial. Drag over points to brush them."));
  const point = (row) => {
    const figures = [state.x, state.y].map((name) => `${title(name, of.set[row])} ${print(name, value(name, row))}`);
    side.replaceChildren(el("h3", {}, of.key[row] ? el("a", { href: `trial.html#${of.key[row]}` }, of.method[row]) : of.method[row]), el("p", {}, of.settings[row] || "as it is"), el("p", { class: "soft" }, figures.join("; ")), of.source[row] === "published" ? el("p", { class: "soft" }, of.note[row]) : strip(row) ?? "");
    side.dataset.row = row;
  };
  const list = (rows, caption) => el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, ["Method", "Settings", title(state.x, state.set), title(state.y, state.set), "At 95 %"].map((cell, place) => el("th", { scope: "col", class: place === 2 || place === 3 ? "n" : null }, cell)))),
    el("tbody", {}, rows.map((row) => el("tr", { onmouseenter: () => point(row), onfocusin: () => point(row) }, el("th", { scope: "row" }, of.method[row]), el("td", {}, of.key[row] ? el("a", { href: `trial.html#${of.key[row]}` }, of.settings[row] || "as it is") : of.settings[row]), [state.x, state.y].map((name) => el("td", { class: "n" }, print(name, value(name, row)))), el("td", {}, state.y === "fid" ? { on: "on", un: "undecided", of: "off" }[standing(row, state.x)] ?? "–" : "–"))))));
  const isPublished = (row) => of.source[row] === "published";
  let wired = false;
  const show = async () => {
    await need([state.x, state.y]);
    arbench.say(FIRST, state);
    const set = Number(state.set), beside = data.sets[set].fid === data.sets[lastSet].fid;
    const rows = every.filter((row) => of.status[row] === "done" && (of.set[row] === set || (beside && isPublished(row))) && (state.rows === "all" || isPublished(row) || set || /[a-z]/.test(of.standing[row])) && value(state.x, row) !== null && value(state.y, row) !== null);
    const traces = [], few = rows.length <= 1500;
    for (const [name, mine] of byMethod(rows)) {
      const about = own(name), xs = mine.map((row) => value(state.x, row)), ys = mine.map((row) => value(state.y, row)), hollow = isPublished(mine[0]);
      const ends = (axis, values) => (state.bars && few ? bars(values, ...[1, 2].map((end) => (figures(axis)[end].length ? mine.map((row) => figures(axis)[end][row]) : [])), about?.colour) : undefined);
      traces.push({ type: "scatter", mode: "markers", name: hollow ? `${name}, published` : name, x: xs, y: ys, customdata: mine, error_x: ends(state.x, xs), error_y: ends(state.y, ys), marker: marker(about, hollow), hovertemplate: "%{text}<extra></extra>", text: mine.map((row) => `${of.method[row]}, ${of.settings[row]}`), opacity: 0.9, selected: { marker: { opacity: 1 } }, unselected: { marker: { opacity: 0.25 } } });
    }
    const measured = rows.filter((row) => !isPublished(row) || set === lastSet), ends = [measures.get(state.x).better ?? "low", measures.get(state.y).better ?? "low"];
    const on = frontier(measured.map((row) => value(state.x, row)), measured.map((row) => value(state.y, row)), ends).map((place) => measured[place]);
    traces.unshift({ type: "scatter", mode: "lines", name: "frontier", x: on.map((row) => value(state.x, row)), y: on.map((row) => value(state.y, row)), line: { shape: "hv", color: "#c9ced4", width: 6 }, hoverinfo: "skip" });
    const log = (name, asked) => asked && rows.every((row) => value(name, row) > 0);
    await draw(chart, traces, layout(axis(title(state.x, set), log(state.x, state.logx)), axis(title(state.y, set), log(state.y, state.logy)), { dragmode: "select", height: 520 }));
    if (!wired) { wired = true; wire(); }
    document.getElementById("on").replaceChildren(list(on, "Settings on this frontier, from one end to the other"));
    document.getElementById("said").textContent = rows.length ? `${rows.length} settings, ${on.length} on the frontier that is drawn.${few ? "" : " Error bars are left out above 1,500 points."}` : "No row has both measures.";
    document.documentElement.dataset.ready = "yes";
  };
  const wire = () => {
    chart.on("plotly_hover", ({ points }) => { if (Number.isInteger(points[0].customdata)) point(points[0].customdata); });
    chart.on("plotly_click", ({ points }) => { const row = points[0].customdata; if (Number.isInteger(row) && of.key[row]) location.href = `trial.html#${of.key[row]}`; });
    chart.on("plotly_selected", (event) => {
      const rows = (event?.points ?? []).map((one) => one.customdata).filter(Number.isInteger);
      brushed.replaceChildren(...(rows.length ? [el("h3", {}, `${rows.length} brushed`), list(rows.slice(0, 50), "Brushed settings"), rows.filter((row) => of.key[row]).length > 1 ? el("p", {}, el("a", { href: `compare.html#${rows.map((row) => of.key[row]).filter(Boolean).slice(0, 4).join(",")}` }, `Compare ${rows.length > 4 ? "the first four" : "them"}`)) : ""] : []));
    });
    chart.on("plotly_deselect", () => brushed.replaceChildren());
  };
  const change = (changes) => { Object.assign(state, changes); brushed.replaceChildren(); show(); };
  const select = (name, words, options) => { const made = el("select", { name, onchange: (event) => change({ [name]: event.target.value }) }, options.map(([key, said]) => el("option", { value: key }, said))); made.value = state[name]; return el("label", {}, words, made); };
  const tick = (name, words) => { const made = el("input", { type: "checkbox", name, onchange: (event) => change({ [name]: event.target.checked ? "1" : "" }) }); made.checked = Boolean(state[name]); return el("label", { class: "tick" }, made, words); };
  const named = data.measures.map((measure) => [measure.name, title(measure.name, 0)]);
  document.getElementById("axes").append(select("y", "Score (up)", named), select("x", "Cost (across)", named), select("set", "Compared set", data.sets.map((set, number) => [String(number), set.title])), select("rows", "Settings", [["tuned", "at best guidance"], ["all", "all"]]), tick("logx", "log across"), tick("logy", "log up"), tick("bars", "error bars"));
  document.getElementById("axes").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", () => { state = read(); for (const field of document.querySelectorAll("#axes [name]")) field.type === "checkbox" ? (field.checked = Boolean(state[field.name])) : (field.value = state[field.name]); show(); });

  // The walks: value of the axis of a row, or null; rows beside the slider are each method's best at its value.
  const walk = (place, words, at, among) => {
    const rows = every.filter((row) => of.set[row] === 0 && of.tuned[row] && at(row) !== null && value("fid", row) !== null && among(row));
    const grouped = [...byMethod(rows)].filter(([, mine]) => new Set(mine.map(at)).size > 1);
    if (!grouped.length) { place.closest("section").hidden = true; return; }
    const best = new Map(grouped.map(([name, mine]) => { const found = new Map(); for (const row of mine) if (!found.has(at(row)) || value("fid", row) < value("fid", found.get(at(row)))) found.set(at(row), row); return [name, found]; }));
    const stops = [...new Set(grouped.flatMap(([, mine]) => mine.map(at)))].sort((a, b) => a - b);
    const curve = el("div", { class: "chart", role: "group", "aria-label": `${title("fid", 0)} against ${words}, a curve a method; the same figures stand beside it` }), strips = el("div", { class: "strips" }), said = el("output", {});
    const slider = el("input", { type: "range", min: 0, max: stops.length - 1, step: 1, value: Math.floor(stops.length / 2), "aria-label": words, oninput: () => move() });
    place.replaceChildren(el("div", { class: "beside" }, el("div", {}, curve, el("label", { class: "slide" }, words, slider, said)), strips));
    const paint = (stop) => {
      const traces = [...best].map(([name, found]) => { const mine = [...found.values()].sort((a, b) => at(a) - at(b)); return { type: "scatter", mode: "lines+markers", name, x: mine.map(at), y: mine.map((row) => value("fid", row)), error_y: bars(mine.map((row) => value("fid", row)), ...[1, 2].map((end) => (figures("fid")[end].length ? mine.map((row) => figures("fid")[end][row]) : [])), own(name)?.colour), marker: marker(own(name), false, mine.map((row) => (at(row) === stop ? 15 : 8))), line: { color: own(name)?.colour, width: 2 }, hovertemplate: "%{y:.3g}" }; });
      draw(curve, traces, layout({ ...axis(words, false), tickvals: stops, ticktext: stops.map((one) => arbench.figure(one)) }, axis(title("fid", 0), true), { height: 400, shapes: [{ type: "line", x0: stop, x1: stop, yref: "paper", y0: 0, y1: 1, line: { color: "#8b949e", width: 1, dash: "dot" } }] }));
    };
    const move = () => {
      const stop = stops[Number(slider.value)];
      said.textContent = arbench.figure(stop);
      slider.setAttribute("aria-valuetext", `${words} ${arbench.figure(stop)}`);
      strips.replaceChildren(...[...best].filter(([, found]) => found.has(stop)).map(([name, found]) => { const row = found.get(stop); return el("div", { class: "strip" }, el("p", {}, el("img", { class: "mark", src: own(name).icon, alt: "" }), el("a", { class: "name", href: `trial.html#${of.key[row]}` }, name), ` ${title("fid", 0)} ${print("fid", value("fid", row))}`), strip(row)); }));
      paint(stop);
    };
    move();
  };
  const fixed = (row) => !(of.steps_std[row] > 0) && of.ffn_sparsity[row] === null && of.token_sparsity[row] === null;
  walk(document.getElementById("walk-steps"), "Decode length (steps)", (row) => value("steps", row), fixed);
  const kinds = { ffn_sparsity: ["FFN sparsity", "token_sparsity"], token_sparsity: ["Token sparsity", "ffn_sparsity"] };
  const sparse = (knob) => walk(document.getElementById("walk-sparsity"), kinds[knob][0], (row) => of[knob][row], (row) => of[kinds[knob][1]][row] === 0 || of[kinds[knob][1]][row] === null);
  document.getElementById("which").addEventListener("change", (event) => sparse(event.target.value));
  sparse("ffn_sparsity");
  clear();
  show();
});
