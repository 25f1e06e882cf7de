// A trial's page; compare.js uses its parts.
"use strict";
arbench.parts = (() => {
  const { el, figure } = arbench;
  const shared = () => arbench.data.shared;
  const words = (value) => {
    if (value === null || value === undefined) return "–";
    if (Array.isArray(value)) return value.map(words).join(", ");
    if (typeof value === "object") return Object.entries(value).map(([name, part]) => `${name} ${words(part)}`).join(", ");
    return String(value);
  };
  const pairs = (given) => el("dl", { class: "pairs" }, given.filter(([, said]) => said !== undefined).map(([name, said]) => el("div", {}, el("dt", {}, name), el("dd", {}, said instanceof Node ? said : words(said)))));
  const strip = (trial, scale = 1) => {
    if (!trial.images.file) return el("p", { class: "fault" }, trial.images.reason);
    const classes = shared().classes;
    return el("img", { class: "pixels", src: `images/${trial.images.file}`, alt: `The first ${trial.images.count} images of ${trial.name}${classes.length ? `; columns: ${classes.join(", ")}` : ""}` });
  };
  const title = (trial, measure) => (measure.name === "fid" ? trial.fid : measure.title);
  const print = (measure, number) => figure(number, measure.digits, measure.places);
  const value = (trial, measure) => {
    const found = trial.figures[measure.name];
    if (!found) return ["–", ""];
    return [print(measure, found[0]), found.length === 3 ? `${print(measure, found[1])} – ${print(measure, found[2])}` : ""];
  };
  // Bars of named numbers, stacked; each with its share in words, so that no colour carries what text does not.
  const PARTS = ["attention", "ffn", "router", "condition", "embedding", "head", "tokenizer"];
  const stack = (named, unit) => {
    const total = named.reduce((sum, [, number]) => sum + number, 0) || 1;
    return el("div", {}, el("div", { class: "stack", role: "img", "aria-label": named.map(([name, number]) => `${name} ${figure(100 * number / total, 2)} %`).join(", ") },
      named.filter(([, number]) => number > 0).map(([name, number]) => el("span", { class: `part part-${PARTS.indexOf(name)}`, style: `width:${100 * number / total}%`, title: `${name}: ${figure(number)} ${unit}` }))),
      el("ul", { class: "legend" }, named.map(([name, number]) => el("li", {}, el("span", { class: `swatch part-${PARTS.indexOf(name)}`, "aria-hidden": "true" }), `${name} ${figure(number)} ${unit} (${figure(100 * number / total, 2)} %)`))));
  };
  const SVG = "http://www.w3.org/2000/svg";
  const svg = (tag, attributes) => { const made = document.createElementNS(SVG, tag); for (const [name, said] of Object.entries(attributes)) made.setAttribute(name, said); return made; };
  // Small upright bars: numbers in order.
  const columns = (numbers, label) => {
    const most = Math.max(...numbers, 1e-30), wide = 600 / numbers.length;
    const drawn = svg("svg", { viewBox: "0 0 600 120", class: "columns", role: "img", "aria-label": label, preserveAspectRatio: "none" });
    numbers.forEach((number, place) => drawn.append(svg("rect", { x: place * wide + wide * 0.1, y: 120 - 116 * number / most, width: wide * 0.8, height: 116 * number / most })));
    return drawn;
  };
  // One dot a sample, in the order of the rounds, hollow if it was disturbed; the line is their median.
  const dots = (numbers, label, disturbed = []) => {
    const sorted = [...numbers].sort((a, b) => a - b), low = sorted[0], span = sorted.at(-1) - low || 1, middle = sorted[sorted.length >> 1];
    const high = (number) => 112 - 104 * (number - low) / span;
    const drawn = svg("svg", { viewBox: "0 0 600 120", class: "dots", role: "img", "aria-label": label });
    drawn.append(svg("line", { x1: 0, x2: 600, y1: high(middle), y2: high(middle) }));
    numbers.forEach((number, place) => drawn.append(svg("circle", { cx: 6 + 588 * place / Math.max(1, numbers.length - 1), cy: high(number), r: 3.5, ...(disturbed.includes(place) ? { class: "disturbed" } : {}) })));
    return drawn;
  };
  const table = (caption, header, rows) => el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, header.map((cell, place) => el("th", { scope: "col", class: place ? "n" : null }, cell)))), el("tbody", {}, rows.map(([first, ...rest]) => el("tr", {}, el("th", { scope: "row" }, first), rest.map((cell) => el("td", { class: "n" }, cell)))))));
  return { words, pairs, strip, title, print, value, stack, columns, dots, table, shared, PARTS };
})();

document.addEventListener("DOMContentLoaded", () => {
  const place = document.getElementById("trial");
  if (!place) return;
  const { el, figure } = arbench, { words, pairs, strip, title, value, stack, columns, dots, table, shared, PARTS } = arbench.parts;
  const section = (heading, ...parts) => el("section", {}, el("h2", {}, heading), parts);
  const mega = (macs) => [macs / 1e6, "M MACs"];
  const read = (found) => {
    if (!found?.weights || !found.cache) return null;
    const megabytes = (list) => figure(list.reduce((sum, bytes) => sum + bytes, 0) / 1e6);
    return el("p", {}, `The steps of an image read ${megabytes(found.weights)} MB of weights and ${megabytes(found.cache)} MB of keys and values, the decoder ${megabytes([found.decoder])} MB of weights (${found.convention}).`);
  };
  const flops = (found) => {
    if (!found) return null;
    const parts = PARTS.filter((name) => name in found.by_part).concat(Object.keys(found.by_part).filter((name) => !PARTS.includes(name)));
    const steps = (found.by_step ?? []).map((macs) => macs / 1e6);
    return section("FLOPs", el("p", {}, `${figure(found.macs / 1e9)} GMACs an image are ${figure(found.flops / 1e9)} GFLOPs. ${found.convention}.`),
      read(found.bytes),
      el("h3", {}, "By part"), stack(parts.map((name) => [name, ...mega(found.by_part[name])]), "M MACs"),
      steps.length ? [el("h3", {}, "By step"), columns(steps, `Million MACs of each of ${steps.length} steps`), el("p", { class: "soft" }, `${steps.length} steps, from ${figure(Math.min(...steps))} to ${figure(Math.max(...steps))} million MACs; the decoder comes after them.`),
        el("details", {}, el("summary", {}, "As a table"), table("MACs by step", ["Step", "M MACs"], steps.map((macs, step) => [String(step + 1), figure(macs)])))] : null);
  };
  const state = (gpu) => {
    if (!gpu) return "";
    const range = (name, words, unit) => (gpu[name] ? `${words} ${figure(gpu[name][0])} to ${figure(gpu[name][2])} ${unit}` : null);
    const parts = [range("sm_mhz", "clock", "MHz"), range("memory_mhz", "memory", "MHz"), range("celsius", "temperature", "°C"), range("watts", "power", "W"), gpu.watts_limit ? `limit ${figure(gpu.watts_limit[1])} W` : null].filter(Boolean);
    return parts.length ? ` The GPU meanwhile: ${parts.join(", ")}.` : "";
  };
  const timing = (found, device, clock) => {
    if (!found) return null;
    const tail = (seconds) => (seconds?.p90 ? `, p90 ${figure(1000 * seconds.p90)} ms, p99 ${figure(1000 * seconds.p99)} ms` : "");
    const kind = (one, words) => {
      if (!one) return null;
      const ms = one.samples.map((seconds) => 1000 * seconds), lost = one.disturbed ?? [];
      return [el("h3", {}, words), dots(ms, `${ms.length} samples in the order of the rounds, from ${figure(Math.min(...ms))} to ${figure(Math.max(...ms))} ms${lost.length ? `; disturbed: ${lost.length}` : ""}`, lost),
        el("p", { class: "soft" }, `${ms.length} rounds, ${figure(Math.min(...ms))} to ${figure(Math.max(...ms))} ms; median ${figure(1000 * one.total_s)} ms, of it decoder ${figure(1000 * one.decoder_s)} ms${tail(one.percentiles)}.${lost.length ? ` Hollow dots: ${lost.length} rounds in which steal, waiting for a core or a CPU limit took over 2 % of the time; they count like the others.` : ""}${one.noisy ? ` Noisy: the interval is over 10 % of the median, or there are too few rounds (${one.why ?? "the cause was not recorded"}).` : one.gpu?.disturbed ? ` Disturbed: ${one.why}.` : ""}${state(one.gpu)}`)];
    };
    const energy = (one) => (one?.joules_per_image_why || one?.joules_per_image_gpu ? el("p", { class: "soft" }, one.joules_per_image_why ? `Energy: ${one.joules_per_image_why}.` : "Energy was measured in runs of its own.", state(one.joules_per_image_gpu)) : null);
    return section("Timing samples", kind(found.latency, "One image (batch 1)"), kind(found.throughput, `A batch of ${found.throughput?.batch}`), energy(found.throughput), kind(found.eager?.latency, "One image (batch 1), eager"), kind(found.eager?.throughput, `A batch of ${found.throughput?.batch}, eager`), pairs([["timed", clock], ["no eager times", found.eager_why ?? undefined], ["timed on", device], ["threads", found.threads], ["threads wait", found.wait_policy ?? undefined], ["reads memory at", found.rates ? `${figure(found.rates.bandwidth / 1e9)} GB/s` : undefined], ["multiplies at", found.rates ? `${figure(found.rates.matrix / 1e12)} TFLOP/s (${found.rates.precision})` : undefined], ["protocol", found.protocol], ["session", found.session]]));
  };
  const show = async () => {
    const key = location.hash.slice(1), known = /^[A-Za-z0-9_-]{1,60}$/.test(key);
    document.getElementById("choose").hidden = Boolean(key);
    place.replaceChildren();
    if (!key) { document.documentElement.dataset.ready = "yes"; return; }
    let trial;
    try { if (!known) throw new Error("that is no key"); trial = await arbench.trial(key); } catch (error) {
      place.append(el("p", { class: "fault" }, `No trial is called ${key}: ${error.message}`));
      document.documentElement.dataset.ready = "yes";
      return;
    }
    const about = shared().methods[trial.trial.method];
    document.title = `${trial.trial.method}, ${trial.settings} · arbench`;
    document.querySelector("h1").textContent = `${trial.trial.method}, ${trial.settings}`;
    const rows = shared().measures.filter((measure) => trial.figures[measure.name]).map((measure) => [el("abbr", { title: measure.about }, title(trial, measure)), ...value(trial, measure)]);
    const commit = String(trial.provenance.commit ?? ""), exact = /^[0-9a-f]{7,40}$/.test(commit) ? `git checkout ${commit}\n` : "";
    place.append(
      el("p", { class: "lead" }, el("a", { href: about.page }, about.title), about.family ? `, ${about.family}` : "", trial.foreign ? "" : `, seed ${trial.trial.seed}`, `, ${trial.trial.images.toLocaleString("en")} images. `, el("a", { href: `compare.html#${key}` }, "Compare with others"), "."),
      el("p", {}, el("code", {}, trial.name)),
      trial.failure.stage ? section("Failure", el("p", { class: "fault" }, `Stage ${trial.failure.stage}: ${trial.failure.reason}`), trial.failure.log ? el("pre", { tabindex: "0" }, trial.failure.log) : null) : "",
      trial.flags.length ? el("ul", { class: "notes" }, trial.flags.map((flag) => el("li", {}, flag))) : "",
      section("Images", el("p", {}, trial.images.file ? `Images 0 to ${trial.images.count - 1}, not selected${trial.foreign ? ", made by another program." : "; the same labels and the same noise in every trial of this seed."}` : ""), strip(trial)),
      rows.length ? section("Figures", table("Figures", ["Measure", "Value", "95 % interval"], rows)) : "",
      flops(trial.flops) ?? "", timing(trial.timing, trial.device, trial.clock) ?? "",
      trial.foreign ? section("Foreign samples", el("p", { id: "foreign" }, "Another program made these images: they were scored here, and cannot be made again here. They have no FLOPs and no times."), pairs(Object.entries(trial.foreign))) :
      section("Reproduce", el("p", {}, "This runs the trial again, from the record, and tells whether its figures come out:"), el("pre", { tabindex: "0", id: "command" }, `${exact}arbench verify STORE/records/${trial.file}`)),
      section("Provenance", pairs([...Object.entries(trial.trial).map(([name, said]) => [name, said]), ["key", trial.key], ["parameters", trial.parameters], ["generate", trial.generate], ["reference", trial.reference], ...Object.entries(trial.provenance).map(([name, said]) => [name, name === "command" ? said.join(" ") : said])])),
      section("Log", trial.log ? el("pre", { tabindex: "0" }, trial.log) : el("p", { class: "soft" }, trial.failure.log ? "See the failure above." : "A finished trial keeps no log; what weakens its figures is said as flags above. Flags: " + (trial.flags.length || "none") + ".")));
    document.documentElement.dataset.ready = "yes";
  };
  addEventListener("hashchange", show);
  show();
});
