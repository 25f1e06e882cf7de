// Loaded by every page, first and at once: data that scripts hand over, the colour scheme, elements made safely.
"use strict";
globalThis.arbench = { data: {} };

(() => {
  const THEMES = ["auto", "light", "dark"];
  const kept = () => { try { return localStorage.getItem("arbench-theme") || "auto"; } catch { return "auto"; } };
  let theme = THEMES.includes(kept()) ? kept() : "auto";
  const apply = () => {
    document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) button.textContent = `Theme: ${theme}`;
    document.dispatchEvent(new CustomEvent("theme"));
  };
  document.documentElement.dataset.theme = theme; // before the page is drawn
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    document.getElementById("theme").addEventListener("click", () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      try { localStorage.setItem("arbench-theme", theme); } catch { /* a reader who keeps nothing */ }
      apply();
    });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new CustomEvent("theme")));
})();

// An element. Text is text: nothing that a record says is ever read as HTML. Attributes starting with "on" are listeners.
arbench.el = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
};

// A colour of the style sheet, as it is in the present scheme.
arbench.colour = (name) => {
  const probe = arbench.el("span", { style: `color: var(--${name})`, hidden: true });
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
};

// Data of data/NAME.js, loaded once.
arbench.load = (name) => new Promise((resolve, reject) => {
  if (name in arbench.data) { resolve(arbench.data[name]); return; }
  const script = arbench.el("script", { src: `data/${encodeURIComponent(name)}.js` });
  script.onload = () => resolve(arbench.data[name]);
  script.onerror = () => reject(new Error(`data/${name}.js is missing`));
  document.head.append(script);
});

// All that is known of a trial. What many say alike lies once in data/shared.js, and {shared: n} in its place.
arbench.trial = async (key) => {
  const [{ values }, found] = await Promise.all([arbench.load("shared"), arbench.load(`trial-${key}`)]);
  const whole = (value) => {
    if (Array.isArray(value) || value === null || typeof value !== "object") return value;
    const names = Object.keys(value);
    if (names.length === 1 && names[0] === "shared" && Number.isInteger(value.shared)) return values[value.shared];
    return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, whole(part)]));
  };
  return whole(found);
};

// A number for people: so many significant digits, or decimals, never an exponent; an en dash for none.
arbench.figure = (value, digits = 3, places = null) => {
  if (typeof value !== "number" || !Number.isFinite(value)) return "–";
  if (places === null) {
    if (Number.isInteger(value)) return value.toLocaleString("en");
    places = Math.min(Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value)))), 12);
  }
  return value.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places });
};
