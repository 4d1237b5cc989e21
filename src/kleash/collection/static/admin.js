// Draws the charts of the admin pages, sorts their tables, asks before what cannot be taken back. The figures are the
// JSON in #figures; their colours are the names of style.css's variables.
"use strict";

// ---------------------------------------------------------------------------------------------------------- figures
const withColours = (value, style) => {
  if (Array.isArray(value)) return value.map((item) => withColours(item, style));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withColours(item, style)]));
  }
  const found = typeof value === "string" && /^var\((--[a-z-]+)\)$/.exec(value);
  return found ? style.getPropertyValue(found[1]).trim() : value;
};

function drawFigures(figures) {
  const style = getComputedStyle(document.documentElement);
  const { fontFamily } = getComputedStyle(document.body);
  for (const place of document.querySelectorAll("[data-figure]")) {
    const figure = withColours(figures[place.dataset.figure], style);
    figure.layout.dragmode = false;
    figure.layout.font.family = fontFamily;
    figure.layout.hoverlabel.font.family = fontFamily;
    Plotly.react(place, figure.data, figure.layout, { responsive: true, displayModeBar: false });
  }
}

// ----------------------------------------------------------------------------------------------------------- tables
function sortTable(button) {
  const head = button.closest("th");
  const body = head.closest("table").tBodies[0];
  const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const key = (row) => row.cells[head.cellIndex].dataset.key ?? row.cells[head.cellIndex].textContent;
  const compare = (one, other) => {
    const [a, b] = [key(one), key(other)];
    if (a === "" || b === "") return (a === "") - (b === "");
    const [x, y] = [Number(a), Number(b)];
    return direction * (Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y);
  };
  for (const cell of head.parentElement.cells) cell.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  body.append(...[...body.rows].sort(compare));
}

function makeSortable(table) {
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortTable(button));
    head.append(button);
  }
}

document.addEventListener("DOMContentLoaded", () => {
  const data = document.getElementById("figures");
  if (data) {
    const figures = JSON.parse(data.textContent);
    drawFigures(figures);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawFigures(figures));
  }
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  for (const button of document.querySelectorAll("[data-confirm]")) {
    button.addEventListener("click", (event) => {
      if (!confirm(button.dataset.confirm)) event.preventDefault();
    });
  }
});
