// The rows of data/leaderboard.js, column by column, for the leaderboard and the charts alike.
"use strict";
arbench.rows = () => {
  const data = arbench.data.leaderboard;
  const decode = (found) => (Array.isArray(found) ? found : found.at.map((place) => found.words[place]));
  const of = Object.fromEntries(Object.entries(data.columns).map(([name, found]) => [name, decode(found)]));
  const lastSet = data.sets.length - 1;
  of.set = of.set.map((number) => (number < 0 ? lastSet : number)); // what was published comes last
  const measures = new Map(data.measures.map((measure) => [measure.name, measure]));
  let more = {};
  const figures = (name) => data.figures[name] ?? more[name] ?? [[], [], []];
  return {
    data, of, measures, lastSet, figures, total: of.method.length,
    value: (name, row) => figures(name)[0][row] ?? null,
    // Figures of columns that are not shown at first are loaded when one of them is asked for.
    need: async (names) => { if (names.some((name) => measures.has(name) && !(name in data.figures))) more = await arbench.load("leaderboard-more"); },
    title: (name, set) => (name === "fid" ? data.sets[set].fid : measures.get(name).title),
    print: (name, number) => arbench.figure(number, measures.get(name).digits, measures.get(name).places),
    // Of a row against a cost: "on", "un" (decided), "of" (f), "--" where that was not asked.
    standing: (row, cost) => { const place = data.costs.findIndex(([name]) => name === cost); return (of.standing[row] || "").slice(2 * place, 2 * place + 2); },
  };
};

// What an address says after #, with these defaults; and the reverse, where only what differs is said.
arbench.said = (first) => {
  const asked = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(Object.entries(first).map(([name, value]) => [name, asked.get(name) ?? value]));
};
arbench.say = (first, state) => history.replaceState(null, "", `#${new URLSearchParams(Object.entries(state).filter(([name, value]) => value !== first[name]))}`);
