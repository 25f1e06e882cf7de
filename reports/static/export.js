// A table of strings as text for papers and pages. header: [title]; rows: [[cell]].
"use strict";
arbench.formats = {
  Markdown: (header, rows) => {
    const line = (cells) => `| ${cells.map((cell) => cell.replace(/\\/g, "\\\\").replace(/\|/g, "\\|").replace(/\s+/g, " ")).join(" | ")} |`;
    return [line(header), line(header.map((_, place) => (place < 2 ? "---" : "---:"))), ...rows.map(line)].join("\n") + "\n";
  },
  CSV: (header, rows) => {
    // A cell that a spreadsheet would take for a formula gets a quote before it.
    const cell = (text) => {
      const safe = /^[=+@\t\r]|^-(?![\d.])/.test(text) ? `'${text}` : text;
      return /[",\n\r]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
    };
    return [header, ...rows].map((cells) => cells.map(cell).join(",")).join("\r\n") + "\r\n";
  },
  LaTeX: (header, rows) => {
    const special = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "×": "$\\times$", "–": "--", "∞": "$\\infty$", "³": "$^3$", "±": "$\\pm$", "≈": "$\\approx$", "●": "on", "◐": "undecided" };
    const cell = (text) => text.replace(/[\\~^×–∞³±≈●◐]|[&%$#_{}]/g, (c) => special[c] ?? `\\${c}`);
    const line = (cells) => `${cells.map(cell).join(" & ")} \\\\`;
    return [`% needs \\usepackage{booktabs}`, `\\begin{tabular}{ll${"r".repeat(Math.max(0, header.length - 2))}}`, "\\toprule", line(header), "\\midrule", ...rows.map(line), "\\bottomrule", "\\end{tabular}"].join("\n") + "\n";
  },
};

// Show a text in the page's dialog, selected, and copy it where the browser lets us.
arbench.offer = async (kind, text) => {
  const dialog = document.getElementById("export");
  const area = dialog.querySelector("textarea"), said = dialog.querySelector("[role=status]");
  dialog.querySelector("h2").textContent = `Copy as ${kind}`;
  area.value = text;
  said.textContent = "";
  dialog.showModal();
  area.focus();
  area.select();
  try {
    await navigator.clipboard.writeText(text);
    said.textContent = "Copied.";
  } catch {
    said.textContent = "This browser does not let a page copy: the text is selected, press Ctrl+C.";
  }
};
