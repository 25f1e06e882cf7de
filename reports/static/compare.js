// Two to four trials side by side; which ones is what the address says: compare.html#KEY,KEY.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const { el, figure } = arbench, { strip, title, value, stack, table, shared, PARTS } = arbench.parts;
  const { trials, paired } = arbench.data.compare;
  const LETTERS = ["A", "B", "C", "D"], known = new Map(trials.map(([key, method, settings]) => [key, `${method}, ${settings}`]));
  const form = document.getElementById("picks"), place = document.getElementById("comparison"), said = document.getElementById("said");
  const keys = () => location.hash.slice(1).split(",").filter((key) => known.has(key)).slice(0, 4);
  const choose = () => { // what stands in the fields becomes the address
    const asked = fields.map((field) => byName.get(field.value.trim()) ?? field.value.trim()).filter((key) => known.has(key));
    location.hash = [...new Set(asked)].join(",");
  };
  const byName = new Map([...known].map(([key, words]) => [`${words} · ${key}`, key]));
  const options = el("datalist", { id: "trials" }, [...byName.keys()].slice(0, 2000).map((words) => el("option", { value: words })));
  const fields = LETTERS.map((letter) => el("input", { list: "trials", size: 34, "aria-label": `Trial ${letter}`, placeholder: "method, settings or key", onchange: choose }));
  form.append(options, ...fields.map((field, number) => el("label", {}, LETTERS[number], field)));
  form.addEventListener("submit", (event) => event.preventDefault());

  // Differences of a pair, other - one, by figure; null where they were not computed.
  const between = async (one, other) => {
    if (!paired.includes(one) || !paired.includes(other)) return null;
    const [first, second] = paired.indexOf(one) < paired.indexOf(other) ? [one, other] : [other, one];
    const found = (await arbench.load(`pairs-${first}`))[second];
    if (!found) return null;
    const turned = { one: "other", other: "one", "": "" };
    return found.map(([name, apart, low, high, both, better]) => (first === one ? { name, apart, low, high, both, better } : { name, apart: -apart, low: -high, high: -low, both, better: turned[better] }));
  };
  const percent = (log) => `${log >= 0 ? "+" : "−"}${figure(Math.abs(100 * Math.expm1(log)), 3)} %`;
  const signed = (number) => `${number >= 0 ? "+" : "−"}${figure(Math.abs(number), 3)}`;
  const TIMES = { latency: "latency (time, relative)", throughput: "batch of 64 (time, relative)", eager_latency: "eager latency (time, relative)", eager_throughput: "eager batch of 64 (time, relative)", joules: "energy of an image (relative)" };
  const NAMES = { ...TIMES, macs: "MACs" };
  const line = (found, letters) => {
    const write = found.name in TIMES ? percent : signed;
    const verdict = found.better ? `${letters[found.better === "one" ? 0 : 1]} is better` : "undecided";
    return [NAMES[found.name] ?? found.name, write(found.apart), `${write(found.low)} to ${write(found.high)}`, found.both ? "paired" : found.name === "macs" ? "counted" : "not paired", el("span", { class: found.better ? "badge on" : "badge un" }, verdict)];
  };
  const show = async () => {
    const asked = keys();
    fields.forEach((field, number) => { field.value = asked[number] ? `${known.get(asked[number])} · ${asked[number]}` : ""; });
    place.replaceChildren();
    if (asked.length < 2) said.textContent = "Choose two to four trials.";
    else said.textContent = `${asked.length} trials compared.`;
    const loaded = await Promise.all(asked.map(arbench.trial));
    const seeds = new Set(loaded.map((trial) => trial.trial.seed));
    const cards = loaded.map((trial, number) => el("article", { class: "card" }, el("h2", {}, `${LETTERS[number]}: `, el("a", { href: `trial.html#${asked[number]}` }, trial.trial.method)), el("p", {}, trial.settings), strip(trial), trial.flops ? stack(PARTS.filter((name) => name in trial.flops.by_part).map((name) => [name, trial.flops.by_part[name] / 1e6]), "M MACs") : ""));
    if (cards.length) place.append(el("p", { class: "soft" }, loaded.some((trial) => trial.foreign) ? "Another program made some of these images: of other labels and noise." : seeds.size === 1 ? "One seed: the same labels and the same noise, image by image." : "Seeds differ, and so does the noise; labels are the same."), el("div", { class: "cards" }, cards));
    const setups = loaded.map((trial, number) => [LETTERS[number], { ...trial.trial.setup, ...trial.setup }]).filter(([, setup]) => Object.keys(setup).length);
    const differ = Object.keys(setups[0]?.[1] ?? {}).filter((name) => new Set(setups.map(([, setup]) => String(setup[name]))).size > 1);
    if (differ.length) place.append(el("p", { class: "fault", id: "setups" }, `Their setups differ, and their figures differ for that reason, too: ${differ.map((name) => `${name} ${setups.map(([letter, setup]) => `${letter} ${setup[name]}`).join(", ")}`).join("; ")}.`));
    const clocks = loaded.map((trial, number) => [LETTERS[number], trial.clock ?? (trial.timing ? "eager" : "")]).filter(([, clock]) => clock);
    if (new Set(clocks.map(([, clock]) => clock.split(" ")[0])).size > 1) place.append(el("p", { class: "fault", id: "clocks" }, `They were timed in different ways, and their times differ for that reason, too: ${clocks.map(([letter, clock]) => `${letter} ${clock}`).join(", ")}.`));
    if (loaded.length) {
      const measures = shared().measures.filter((measure) => loaded.some((trial) => trial.figures[measure.name]));
      const extractors = new Set(loaded.filter((trial) => trial.figures.fid).map((trial) => trial.fid));
      if (extractors.size > 1) place.append(el("p", { class: "fault" }, `Their FIDs are of different extractors and do not compare: ${[...extractors].join(", ")}.`));
      place.append(el("h2", {}, "Figures"), table("Figures of the compared trials", ["Measure", ...loaded.map((_, number) => LETTERS[number])], measures.map((measure) => [extractors.size > 1 ? measure.title : title(loaded[0], measure), ...loaded.map((trial) => { const [middle, ends] = value(trial, measure); return el("span", {}, middle, ends ? el("span", { class: "small" }, ends) : ""); })])));
    }
    for (let one = 0; one < asked.length; one++) for (let other = one + 1; other < asked.length; other++) {
      const letters = [LETTERS[one], LETTERS[other]], found = await between(asked[one], asked[other]);
      place.append(el("h2", {}, `${letters[1]} − ${letters[0]}`), found ? table(`Differences, ${letters[1]} minus ${letters[0]}`, ["Figure", "Difference", "95 % interval", "How", "Verdict"], found.map((each) => line(each, letters))) : el("p", {}, "No differences were computed for this pair; ", el("code", {}, `arbench compare ${asked[one]} ${asked[other]} --store DIR`), " gives them."));
    }
    document.documentElement.dataset.ready = "yes";
  };
  addEventListener("hashchange", show);
  show();
});
