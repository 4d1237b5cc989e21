// Has the charts of the admin pages drawn and their tables sorted by figures.js; asks before what cannot be taken back.
// The figures are the JSON in #figures.
"use strict";

function makeSortable(table) {
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
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
