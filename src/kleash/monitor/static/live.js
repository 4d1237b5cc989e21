// Keeps a page as new as its run: asks the address in data-source again and again, and puts in only what changed.
// The answer is {html: {id: HTML that the server escaped}, figures: {place: figure}, poll_seconds}; see app.py.
"use strict";

const page = document.body;
const liveState = document.getElementById("live-state");
const RETRY_SECONDS = 3;

let etag = "";
let figures = {};
let drawn = {};
const shown = {};
let timer = 0;
let asking = null;

function address() {
  const found = new URL(page.dataset.source, location.href);
  for (const menu of document.querySelectorAll("[data-parameter]")) {
    if (menu.value) found.searchParams.set(menu.dataset.parameter, menu.value);
  }
  return found;
}

function putIn(id, html) {
  const place = document.getElementById(id);
  if (!place || shown[id] === html) return;
  shown[id] = html;
  const open = [...place.querySelectorAll("details[open][id]")].map((found) => found.id);
  const sorted = place.querySelector("th[aria-sort=ascending], th[aria-sort=descending]");
  const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
  place.innerHTML = html;
  for (const name of open) document.getElementById(name)?.setAttribute("open", "");
  if (sorted) sortAgain(place, sorted.cellIndex, sorted.getAttribute("aria-sort"));
  if (focused) document.getElementById(focused)?.focus();
  // Places for charts that came with this part are empty.
  for (const chart of place.querySelectorAll("[data-figure]")) delete drawn[chart.dataset.figure];
}

function sortAgain(place, column, order) {
  const button = place.querySelector("thead tr")?.cells[column]?.querySelector("button");
  if (!button) return;
  sortTable(button);
  if (order === "descending") sortTable(button);
}

function draw({ again = false } = {}) {
  for (const place of document.querySelectorAll("[data-figure]")) {
    const name = place.dataset.figure;
    const figure = figures[name];
    place.hidden = !figure;
    const text = JSON.stringify(figure);
    if (!figure || (!again && drawn[name] === text)) continue;
    drawFigure(place, figure);
    drawn[name] = text;
  }
}

function say(text) {
  if (liveState.textContent !== text) liveState.textContent = text;
}

async function ask() {
  clearTimeout(timer);
  asking?.abort();
  asking = new AbortController();
  let seconds = RETRY_SECONDS;
  try {
    const answer = await fetch(address(), { headers: etag ? { "If-None-Match": etag } : {}, signal: asking.signal });
    if (answer.status === 200) {
      const live = await answer.json();
      etag = answer.headers.get("ETag") ?? "";
      figures = live.figures;
      for (const [id, html] of Object.entries(live.html)) putIn(id, html);
      draw();
      page.dataset.pollSeconds = live.poll_seconds;
      document.dispatchEvent(new CustomEvent("live", { detail: live }));
    } else if (answer.status !== 304) {
      throw new Error(`status ${answer.status}`);
    }
    seconds = Number(page.dataset.pollSeconds);
    page.dataset.updates = Number(page.dataset.updates ?? 0) + 1;
    say("");
  } catch (error) {
    if (error.name === "AbortError") return;
    say("The monitor does not answer. Trying again.");
  }
  if (!document.hidden) timer = setTimeout(ask, 1000 * seconds);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("th button");
  if (button) sortTable(button);
});

if (page.dataset.source) {
  for (const menu of document.querySelectorAll("[data-parameter]")) {
    menu.addEventListener("change", () => {
      etag = "";
      ask();
    });
  }
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : ask()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw({ again: true }));
  ask();
}
