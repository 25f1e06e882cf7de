// The leaderboard: a view is what the address says after #, so that a link to it is a link to this very table.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const { el, figure } = arbench;
  const { data, of, measures, figures, value, need, print, standing, total, ...rows } = arbench.rows();
  const shownAtFirst = data.measures.filter((measure) => measure.shown).map((measure) => measure.name);
  const PAGE = 100, FRONTIER = "frontier";
  const FIRST = { rows: "best", set: "0", source: "", family: "", device: "", find: "", steps: "", sparsity: "", on: "", sort: "fid", down: "", cols: `${shownAtFirst.join(" ")} ${FRONTIER}` };
  let state, limit = PAGE;
  const read = () => {
    state = arbench.said(FIRST);
    if (!(Number(state.set) in data.sets)) state.set = FIRST.set;
    if (!measures.has(state.sort) && !["method", "settings", FRONTIER].includes(state.sort)) state.sort = FIRST.sort;
  };
  const change = async (changes) => {
    Object.assign(state, changes);
    limit = PAGE;
    arbench.say(FIRST, state);
    await draw();
  };
  const columns = () => state.cols.split(" ").filter((name) => measures.has(name) || name === FRONTIER);

  const range = (text) => { // "4-13", "4-", "-13", "7"
    const found = /^\s*(\d*\.?\d*)\s*(-?)\s*(\d*\.?\d*)\s*$/.exec(text);
    if (!found || !(found[1] || found[3])) return null;
    const low = found[1] === "" ? -Infinity : Number(found[1]);
    return [low, found[3] !== "" ? Number(found[3]) : found[2] ? Infinity : low];
  };
  const matches = () => {
    const steps = range(state.steps), sparsity = range(state.sparsity), words = state.find.toLowerCase().split(/\s+/).filter(Boolean);
    return (row) => {
      if (of.set[row] !== Number(state.set)) return false;
      if (state.rows === "best" && !of.best[row]) return false;
      if (state.source && of.source[row] !== state.source) return false;
      if (state.family && of.family[row] !== state.family) return false;
      if (state.device && of.device[row] !== state.device) return false;
      const length = value("steps", row);
      if (steps && (length === null || length < steps[0] || length > steps[1])) return false;
      const both = [of.ffn_sparsity[row], of.token_sparsity[row]].filter((part) => part !== null);
      if (sparsity && !both.some((part) => part >= sparsity[0] && part <= sparsity[1])) return false;
      if (state.on && !["on", "un"].includes(standing(row, state.on))) return false;
      const text = `${of.method[row]} ${of.title[row]} ${of.settings[row]} ${of.note[row] ?? ""}`.toLowerCase();
      return words.every((word) => text.includes(word));
    };
  };
  const sorted = (rows) => {
    const sign = state.down ? -1 : 1, named = { method: of.method, settings: of.settings }[state.sort];
    const key = named ? (row) => named[row] : state.sort === FRONTIER
      ? (row) => -(of.standing[row] || "").split("on").length : (row) => value(state.sort, row);
    return rows.sort((a, b) => { // what was not measured comes last, whichever way
      const one = key(a), other = key(b);
      if (one === null || other === null) return (one === null) - (other === null) || a - b;
      return sign * (one < other ? -1 : one > other ? 1 : 0) || a - b;
    });
  };

  const title = (name) => (name === FRONTIER ? "Frontier of FID and" : rows.title(name, state.set));
  const badges = (row) => data.costs.map(([cost, words]) => [words, standing(row, cost)]);
  const text = (name, row) => { // a cell as it is exported
    if (name === FRONTIER) return badges(row).filter(([, code]) => code === "on" || code === "un").map(([words, code]) => `${words} ${code === "on" ? "●" : "◐"}`).join(", ");
    const [, low, high] = figures(name), number = value(name, row);
    if (number === null) return "–";
    const spread = name === "steps" && of.steps_std[row] > 0 ? ` ± ${figure(of.steps_std[row], 2)}` : "";
    const ends = low[row] === null || low[row] === undefined ? "" : ` [${print(name, low[row])}, ${print(name, high[row])}]`;
    return print(name, number) + spread + ends;
  };

  const cell = (name, row, best) => {
    if (name === FRONTIER) {
      const parts = badges(row).filter(([, code]) => code && code !== "--");
      const reached = parts.filter(([, code]) => code === "on" || code === "un");
      return el("td", { class: "badges" }, reached.length ? reached.map(([words, code]) => el("span", { class: `badge ${code}`, title: code === "on" ? `on the frontier of FID and ${words}` : `undecided: FID and ${words}` }, `${words} ${code === "on" ? "●" : "◐"}`)) : parts.length ? el("span", { class: "soft" }, "off") : "");
    }
    const number = value(name, row), [, low, high] = figures(name);
    if (number === null) return el("td", { class: "n" }, "–");
    // Energy is measured in runs of its own: it is never noisy, and has a mark of its own.
    const clock = measures.get(name).clock, eager = clock === "eager", energy = name === "joules", first = clock === "first" && !energy;
    const noisy = (eager && of.eager_noisy?.[row]) || (first && of.noisy[row]);
    const disturbed = (eager && of.eager_disturbed?.[row]) || (first && of.gpu_disturbed?.[row]) || (energy && of.energy_disturbed?.[row]);
    const spread = name === "steps" && of.steps_std[row] > 0 ? ` ± ${figure(of.steps_std[row], 2)}` : "";
    const ends = low[row] === null || low[row] === undefined ? null : el("span", { class: "small" }, `${print(name, low[row])} – ${print(name, high[row])}`);
    const macs = name === "gflops" ? el("span", { class: "small" }, `${figure(number / 2)} GMACs`) : null;
    return el("td", { class: number === best.get(name) ? "n best" : "n" }, noisy ? el("abbr", { title: `noisy: interval over 10 % of the median; the ${eager ? "trial's page" : "row"} says what disturbed it` }, "≈") : null, disturbed ? el("abbr", { title: `the GPU was throttled, or other processes used it; the ${first ? "row" : "trial's page"} says how` }, "†") : null, print(name, number) + spread, ends, macs);
  };
  const bestOf = (rows) => new Map([...measures.values()].filter((measure) => measure.better).map((measure) => {
    const known = rows.map((row) => value(measure.name, row)).filter((number) => number !== null);
    return [measure.name, known.reduce((a, b) => ((measure.better === "low" ? b < a : b > a) ? b : a), known[0] ?? NaN)];
  }));

  const line = (row, names, best) => {
    const about = data.methods[of.method[row]], published = of.source[row] === "published";
    const id = `settings-${row}`;
    const button = el("button", { type: "button", class: "quiet", "aria-expanded": "false", "aria-controls": id, onclick: () => toggle(row, button, made, names) }, "Settings");
    const head = el("th", { scope: "row" },
      about ? el("img", { class: "mark", src: about.icon, alt: "" }) : el("span", { class: "hollow", "aria-hidden": "true" }),
      about ? el("a", { class: "name", href: about.page }, of.method[row]) : el("span", { class: "name" }, of.method[row]),
      el("span", { class: "title" }, of.title[row]));
    const settings = el("td", { class: "settings" },
      of.key[row] ? el("a", { href: `trial.html#${of.key[row]}` }, of.settings[row] || "as it is") : of.settings[row] || "",
      of.seeds[row] > 1 ? el("span", { class: "small" }, `mean of ${of.seeds[row]} seeds`) : null,
      of.random[row] ? el("span", { class: "fault" }, "random weights: cost and time alone") : null,
      of.source[row] !== "measured" ? el("span", { class: "small" }, of.source[row]) : null,
      of.note[row] && !published ? el("span", { class: of.status[row] !== "done" ? "fault" : "small" }, of.note[row]) : null, button);
    const made = el("tr", { class: published ? "published" : of.status[row] === "done" ? null : "failed" }, head, settings, names.map((name) => cell(name, row, best)));
    return made;
  };
  // Every knob, sampling and setup value of a row, from the trial's own data.
  const toggle = async (row, button, made, names) => {
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) { document.getElementById(`settings-${row}`)?.remove(); return; }
    const pairs = el("dl", { class: "pairs" });
    const add = (name, said) => pairs.append(el("div", {}, el("dt", {}, name), el("dd", {}, String(said))));
    made.after(el("tr", { id: `settings-${row}`, class: "opened" }, el("td", { colspan: names.length + 2 }, pairs)));
    if (of.source[row] === "published") { add("as printed", of.settings[row]); add("source", of.note[row]); return; }
    const { trial } = await arbench.trial(of.key[row]);
    for (const group of ["knobs", "sampling", "setup"]) for (const [name, said] of Object.entries(trial[group] ?? {})) add(name, said);
    add("preset", trial.preset); add("seed", trial.seed); add("images", trial.images.toLocaleString("en")); add("timed on", of.device[row] || "–");
    pairs.append(el("div", {}, el("dt", {}, "more"), el("dd", {}, el("a", { href: `trial.html#${of.key[row]}` }, "the trial"), ", ", el("a", { href: `compare.html#${of.key[row]}` }, "compare it"))));
  };
  const limits = (names) => (Number(state.set) ? [] : data.limits.map((one) => el("tr", { class: "level" }, el("th", { scope: "row" }, one.title), el("td", { class: "settings" }, one.settings),
    names.map((name) => el("td", { class: "n" }, typeof one.figures[name] === "number" ? print(name, one.figures[name]) : "")))));

  const heading = (name, words, measure) => {
    const by = state.sort === name, better = measure?.better;
    const button = el("button", { type: "button", class: "sort", onclick: () => sort(name, better) }, words,
      better ? el("span", { class: "end", "aria-hidden": "true" }, better === "low" ? " ↓" : " ↑") : null, by ? el("span", { "aria-hidden": "true" }, state.down ? " ▼" : " ▲") : null);
    return el("th", { scope: "col", class: measure ? "n" : null, title: measure?.about, "aria-sort": by ? (state.down ? "descending" : "ascending") : null }, button);
  };
  const sort = async (name, better) => {
    const down = state.sort === name ? (state.down ? "" : "1") : better === "high" ? "1" : "";
    await change({ sort: name, down });
    document.querySelector("#board th[aria-sort] button")?.focus(); // the button was drawn anew: the keyboard stays on it
  };

  let current = [];
  const draw = async () => {
    await need([...columns(), state.sort]);
    current = sorted(Array.from({ length: total }, (_, row) => row).filter(matches()));
    const names = columns(), best = bestOf(current), some = current.slice(0, limit);
    document.getElementById("board").replaceChildren(
      el("caption", {}, `Leaderboard, sorted by ${state.sort}`),
      el("thead", {}, el("tr", {}, heading("method", "Method"), heading("settings", "Settings"), names.map((name) => heading(name, title(name), measures.get(name))))),
      el("tbody", {}, some.map((row) => line(row, names, best)), limits(names)));
    const missing = current.length ? "" : " Loosen a filter.";
    document.getElementById("count").textContent = `${some.length} of ${current.length} matching rows shown; ${total} in all.${missing}`;
    document.getElementById("more").hidden = some.length === current.length;
    syncForm();
    document.documentElement.dataset.ready = "yes";
  };
  document.getElementById("more").addEventListener("click", () => { limit += 10 * PAGE; draw(); });

  // The form
  const form = document.getElementById("filters");
  const unique = (name) => [...new Set(of[name].filter(Boolean))].sort();
  const option = (value, words) => el("option", { value }, words);
  const select = (name, words, options) => el("label", {}, words, el("select", { name, onchange: (event) => pick(name, event.target.value) }, options));
  const input = (name, words, hint) => el("label", {}, words, el("input", { name, placeholder: hint, size: 9, oninput: (event) => change({ [name]: event.target.value }) }));
  const pick = (name, chosen) => {
    const changes = { [name]: chosen };
    if (name === "source" && chosen && !of.source.some((source, row) => source === chosen && of.set[row] === Number(state.set))) changes.set = String(of.set[of.source.indexOf(chosen)]);
    if (name === "set" && !of.best.some((best, row) => best && of.set[row] === Number(chosen))) changes.rows = "all";
    change(changes);
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  const any = (words) => option("", words);
  const boxes = el("details", { class: "picker" }, el("summary", {}, "Columns"), el("fieldset", {}, el("legend", {}, "Columns shown"),
    [[FRONTIER, "Frontier"], ...data.measures.map((measure) => [measure.name, measure.title])].map(([name, words]) => el("label", { class: "tick" }, el("input", { type: "checkbox", value: name, onchange: () => {
      const ticked = new Set([...boxes.querySelectorAll("input:checked")].map((box) => box.value));
      change({ cols: [...data.measures.map((measure) => measure.name), FRONTIER].filter((one) => ticked.has(one)).join(" ") });
    } }), words))));
  form.append(
    select("rows", "Rows", [option("best", "each method's best"), option("all", "all settings")]),
    select("set", "Compared set", data.sets.map((set, number) => option(String(number), set.title))),
    select("source", "Source", [any("any"), ...unique("source").map((one) => option(one, one))]),
    select("family", "Family", [any("all"), ...unique("family").map((one) => option(one, one))]),
    select("device", "Device", [any("all"), ...unique("device").map((one) => option(one, one))]),
    select("on", "On the frontier of", [any("any"), ...data.costs.map(([name, words]) => option(name, words))]),
    input("steps", "Steps", "4-13"), input("sparsity", "Sparsity", "0.25-0.75"), input("find", "Find", "method, knob"), boxes);
  const syncForm = () => {
    for (const field of form.querySelectorAll("select, input[name]")) if (document.activeElement !== field || field.tagName === "SELECT") field.value = state[field.name];
    const ticked = new Set(columns());
    for (const box of boxes.querySelectorAll("input")) box.checked = ticked.has(box.value);
  };

  const table = () => {
    const names = columns();
    return [["Method", "Settings", ...names.map(title)], current.map((row) => [of.method[row], of.settings[row] ?? "", ...names.map((name) => text(name, row))])];
  };
  const bibtex = () => [...new Set([data.cite, ...current.map((row) => data.methods[of.method[row]]?.bibtex).filter(Boolean)])].join("\n\n") + "\n";
  document.getElementById("tools").append(
    ...Object.entries(arbench.formats).map(([kind, make]) => el("button", { type: "button", onclick: () => arbench.offer(kind, make(...table())) }, `Copy ${kind}`)),
    el("button", { type: "button", onclick: () => arbench.offer("BibTeX", bibtex()) }, "Copy BibTeX"),
    el("button", { type: "button", onclick: () => arbench.offer("a link", location.href) }, "Copy link to this view"),
    el("button", { type: "button", onclick: () => change({ ...FIRST }) }, "Reset"));

  addEventListener("hashchange", () => { read(); draw(); });
  read();
  draw();
});
