// What all charts share: plotly's settings, and how a method is drawn. Charts are on paper, light in both schemes, so
// that a method's colour is the same everywhere, in print too.
"use strict";
arbench.charts = (() => {
  const SYMBOLS = { o: "circle", D: "diamond", s: "square", p: "pentagon", "^": "triangle-up", P: "cross", v: "triangle-down", X: "x", "<": "triangle-left", ">": "triangle-right", h: "hexagon", "*": "star", d: "diamond-tall" };
  const INK = "#1b1f24", GRID = "#e6e8eb", PAPER = "#ffffff";
  // plotly reads a few tags and entities in texts: what records say is shown as it is.
  const clean = (text) => text.replace(/[<>&]/g, (c) => ({ "<": "‹", ">": "›", "&": "＆" })[c]);
  const axis = (title, log) => ({ title: { text: clean(title), standoff: 8 }, type: log ? "log" : "linear", gridcolor: GRID, linecolor: "#8b949e", zeroline: false, automargin: true, ...(log ? { nticks: 9, tickformat: "~g" } : {}) });
  const layout = (x, y, more = {}) => ({ paper_bgcolor: PAPER, plot_bgcolor: PAPER, font: { color: INK, size: 13, family: "system-ui, sans-serif" }, margin: { l: 56, r: 12, t: 12, b: 48 }, hovermode: "closest", legend: { orientation: "h", y: -0.22, font: { size: 12 } }, xaxis: x, yaxis: y, ...more });
  const config = { displaylogo: false, responsive: true, showTips: false, modeBarButtonsToRemove: ["lasso2d", "autoScale2d"], toImageButtonOptions: { format: "svg", filename: "arbench" } };
  const marker = (about, hollow, size = 10) => ({ symbol: (SYMBOLS[about?.mark] ?? "circle") + (hollow ? "-open" : ""), color: about?.colour ?? "#6e7781", size, line: { width: hollow ? 1.6 : 0.6, color: hollow ? about?.colour ?? "#6e7781" : "#ffffff" } });
  const bars = (values, low, high, colour) => (low.length ? { type: "data", symmetric: false, array: values.map((value, place) => (high[place] ?? value) - value), arrayminus: values.map((value, place) => value - (low[place] ?? value)), color: colour, thickness: 1, width: 2 } : undefined);
  // The points that no other beats on both axes, from one end of x to the other: [index]; better: "low" or "high" each.
  const frontier = (x, y, better) => {
    const sx = better[0] === "high" ? -1 : 1, sy = better[1] === "high" ? -1 : 1;
    const order = x.map((_, place) => place).sort((a, b) => sx * (x[a] - x[b]) || sy * (y[a] - y[b]));
    const on = [];
    for (const place of order) {
      const last = on.at(-1);
      if (last === undefined || sy * y[place] < sy * y[last] || (x[place] === x[last] && y[place] === y[last])) on.push(place);
    }
    return on;
  };
  const seen = new ResizeObserver((entries) => { for (const { target } of entries) Plotly.Plots.resize(target); });
  const draw = async (place, traces, { height, ...lay }) => {
    place.style.height = `${height}px`;
    const safe = traces.map((trace) => ({ ...trace, name: clean(trace.name), ...(trace.text ? { text: trace.text.map(clean) } : {}) }));
    await Plotly.react(place, safe, { ...lay, autosize: true }, config);
    seen.observe(place); // a neighbour that comes later makes it narrower
  };
  return { axis, layout, marker, bars, frontier, draw };
})();
