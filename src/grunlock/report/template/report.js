"use strict";

const ROOT = document.documentElement;
const ROLES = {
  "@ink": "--ink", "@quiet": "--quiet", "@grid": "--grid", "@paper": "--paper", "@heat": "--heat",
  "@1": "--c1", "@2": "--c2", "@3": "--c3", "@4": "--c4", "@5": "--c5", "@6": "--c6",
};
const PRINTED_WIDTH = 660;  // CSS pixels between the margins of A4 and Letter
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const charts = [...document.querySelectorAll("script[data-for]")].map((script) => ({
  box: document.getElementById(script.dataset.for),
  figure: JSON.parse(script.textContent),
}));
let chosen = null;  // by the reader; null: as the system has it

function theme() {
  return chosen ?? (prefersDark.matches ? "dark" : "light");
}

function colours() {
  const style = getComputedStyle(ROOT);
  return Object.fromEntries(
    Object.entries(ROLES).map(([role, name]) => [role, style.getPropertyValue(name).trim()]));
}

// Roles stand only where Plotly expects a colour, so that no text of the user's is taken for one.
function coloured(value, palette, isColour = false) {
  if (typeof value === "string") {
    return isColour ? palette[value] ?? value : value;
  }
  if (Array.isArray(value)) {
    return value.map((each) => coloured(each, palette, isColour));
  }
  if (value === null || typeof value !== "object") {
    return value;
  }
  return Object.fromEntries(Object.entries(value).map(
    ([key, each]) => [key, coloured(each, palette, isColour || /colou?r(scale)?$/i.test(key))]));
}

function axis(own, palette) {
  const grid = { gridcolor: palette["@grid"], zerolinecolor: palette["@grid"], linecolor: palette["@grid"] };
  const title = own.title ? { title: { standoff: 10, ...own.title } } : {};
  return { automargin: true, fixedrange: true, ...grid, ...own, ...title };
}

function layout(own, palette, width) {
  const found = {
    ...own,
    autosize: width === null,
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: palette["@ink"] },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 48, r: 12, t: own.showlegend ? 36 : 12, b: 44, ...own.margin },
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom" },
    hoverlabel: { bgcolor: palette["@paper"], bordercolor: palette["@quiet"], font: { color: palette["@ink"] } },
    dragmode: false,
  };
  if (width !== null) {
    found.width = width;
  }
  for (const name of Object.keys(own).filter((key) => /^[xy]axis\d*$/.test(key))) {
    found[name] = axis(own[name], palette);
  }
  return found;
}

function draw(width = null) {
  const palette = colours();
  for (const { box, figure } of charts) {
    const data = coloured(figure.data, palette);
    const drawn = layout(coloured(figure.layout, palette), palette, width);
    Plotly.react(box, data, drawn, { displayModeBar: false, responsive: true, showTips: false });
  }
}

function show(name) {
  ROOT.dataset.theme = name;
  button.textContent = name === "dark" ? "Light" : "Dark";
  button.setAttribute("aria-label", `Show the ${name === "dark" ? "light" : "dark"} version`);
}

const button = document.getElementById("theme");
button.hidden = false;
button.addEventListener("click", () => {
  chosen = theme() === "dark" ? "light" : "dark";
  show(theme());
  draw();
});
prefersDark.addEventListener("change", () => {
  show(theme());
  draw();
});

// Paper is white, and narrower than most windows.
addEventListener("beforeprint", () => {
  show("light");
  draw(PRINTED_WIDTH);
});
addEventListener("afterprint", () => {
  show(theme());
  draw();
});

function keyOf(row, column) {
  const cell = row.cells[column];
  return cell.dataset.order === undefined ? cell.textContent.trim() : Number(cell.dataset.order);
}

function compared(a, b) {
  if (typeof a === "number" && typeof b === "number") {
    return a - b;
  }
  if (typeof a !== typeof b) {
    return typeof a === "number" ? -1 : 1;
  }
  return a.localeCompare(b, undefined, { numeric: true });
}

function sortBy(table, heading, column) {
  const rises = heading.getAttribute("aria-sort") !== "ascending";
  for (const each of table.tHead.rows[0].cells) {
    each.removeAttribute("aria-sort");
  }
  heading.setAttribute("aria-sort", rises ? "ascending" : "descending");
  const body = table.tBodies[0];
  const rows = [...body.rows].sort((a, b) => compared(keyOf(a, column), keyOf(b, column)) * (rises ? 1 : -1));
  body.append(...rows);
}

for (const table of document.querySelectorAll("table.sorts")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const name = document.createElement("button");
    name.type = "button";
    name.append(...heading.childNodes);
    name.addEventListener("click", () => sortBy(table, heading, column));
    heading.append(name);
  });
}

show(theme());
if (charts.length) {
  draw();
}
ROOT.dataset.drawn = "yes";
