// Elements and numbers. What a user wrote becomes text nodes, or is escaped for Plotly, which reads some markup.
"use strict";

function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "style") Object.assign(made.style, value);
    else if (value !== false && value !== null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

const escaped = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

const STEPS = {
  s: [["s", 1], ["ms", 1e-3], ["µs", 1e-6], ["ns", 1e-9]],
  B: [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10], ["B", 1]],
  J: [["J", 1], ["mJ", 1e-3], ["µJ", 1e-6]],
  "1": [["G", 1e9], ["M", 1e6], ["k", 1e3], ["", 1]],
  "%": [["%", 0.01]],
};

function stepOf(value, unit) {
  if (unit === "1" && Math.abs(value) < 1e3) return ["", 1];
  const steps = STEPS[unit] || [[unit === "1/s" ? "/s" : unit, 1]];
  return steps.find(([, factor]) => Math.abs(value) >= factor) || steps[steps.length - 1];
}

function show(value, unit) {
  if (value === null || value === undefined) return "-";
  const [suffix, factor] = stepOf(value, unit);
  const digits = unit === "%" ? 3 : 4;
  return `${Number((value / factor).toPrecision(digits))}${suffix && unit !== "1" ? " " : ""}${suffix}`;
}

// Numbers are lists of value, low, high and, where it is doubtful, 1.
const exact = (numbers) => numbers.length === 1 || numbers[1] === numbers[2];
const shown = (numbers, unit) =>
  !numbers ? "-" : show(numbers[0], unit) + (exact(numbers) ? "" : ` [${show(numbers[1], unit)}, ${show(numbers[2], unit)}]`);

// An interval in the unit of its value, which is not said again.
function interval(numbers, unit) {
  const [, factor] = stepOf(numbers[0], unit);
  return `[${[numbers[1], numbers[2]].map((end) => Number((end / factor).toPrecision(unit === "%" ? 3 : 4))).join(", ")}]`;
}

// The end of a dotted name, which tells more than its beginning.
const short = (name, most = 22) => (name.length > most ? `…${name.slice(1 - most)}` : name);

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// Of Okabe and Ito; with the symbols and dashes no run is told by its colour alone.
const RUNS = ["#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#999999"];
const SYMBOLS = ["circle", "diamond", "square", "triangle-up", "triangle-down", "pentagon"];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const runColour = (place, runs) => (place % RUNS.length ? RUNS[place % RUNS.length] : colour("front"));

function layout(more) {
  const axis = { gridcolor: colour("grid"), linecolor: colour("line"), zerolinecolor: colour("line"), automargin: true };
  const { xaxis, yaxis, ...others } = more;
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 50, r: 15, t: 10, b: 45 },
    font: { color: colour("ink"), size: 13, family: "system-ui, 'Segoe UI', sans-serif" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("trial"), activecolor: colour("ink") },
    hoverlabel: { bgcolor: colour("panel"), bordercolor: colour("line"), font: { color: colour("ink") }, align: "left" },
    xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis }, ...others,
  };
}

const CONFIG = { responsive: true, displaylogo: false, scrollZoom: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
