// Draws plotly figures in the places that ask for them, and sorts a table by the heading whose button is clicked.
// Colours in figures are the names of CSS variables, so that one figure serves the light and the dark scheme.
"use strict";

const withColours = (value, style) => {
  if (Array.isArray(value)) return value.map((item) => withColours(item, style));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withColours(item, style)]));
  }
  const found = typeof value === "string" && /^var\((--[a-z-]+)\)$/.exec(value);
  return found ? style.getPropertyValue(found[1]).trim() : value;
};

const NARROW_PIXELS = 600;

function drawFigure(place, given) {
  const figure = withColours(given, getComputedStyle(document.documentElement));
  const { fontFamily } = getComputedStyle(document.body);
  figure.layout.dragmode = false;
  figure.layout.font.family = fontFamily;
  figure.layout.hoverlabel.font.family = fontFamily;
  // On a narrow page a panel's unit goes below its title.
  if (place.clientWidth < NARROW_PIXELS) {
    for (const note of figure.layout.annotations ?? []) note.text = note.text.replace("</b>  <span", "</b><br><span");
  }
  Plotly.react(place, figure.data, figure.layout, { responsive: true, displayModeBar: false });
}

function drawFigures(figures) {
  for (const place of document.querySelectorAll("[data-figure]")) {
    const figure = figures[place.dataset.figure];
    if (figure) drawFigure(place, figure);
  }
}

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
  for (const cell of head.parentElement.cells) cell.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  body.append(...[...body.rows].sort(compare));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("th button");
  if (button) sortTable(button);
});
