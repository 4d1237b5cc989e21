// Keeps a page as new as its run: asks the address in data-source again and again, and puts in only what changed.
// The answer is {html: {id: HTML that the server escaped}, figures: {place: figure}, poll_seconds}; see app.py.
"use strict";

const page = document.body;
const liveState = document.getElementById("live-state");
const RETRY_SECONDS = 3;
const TYPING_SECONDS = 0.3;

let etag = "";
let figures = {};
let drawn = {};
const shown = {};
let timer = 0;
let asking = null;

// -------------------------------------------------------------------------------------------------------- what to ask
const parameters = () => [...document.querySelectorAll("[data-parameter]")].map((menu) => [menu.dataset.parameter, menu.value]);

function address() {
  const found = new URL(page.dataset.source, location.href);
  for (const [name, value] of parameters()) if (value) found.searchParams.set(name, value);
  return found;
}

// What is chosen goes into the page's own address, so that it survives a reload and can be sent to somebody.
function rememberChoice() {
  const own = new URL(location.href);
  for (const [name, value] of parameters()) value ? own.searchParams.set(name, value) : own.searchParams.delete(name);
  history.replaceState(null, "", own);
}

// -------------------------------------------------------------------------------------------------------- what changed
function putIn(id, html) {
  const place = document.getElementById(id);
  // A menu that differs only in what the reader chose is in use: it stays.
  const told = html.replaceAll(/ selected(?=>)/g, "");
  if (!place || shown[id] === told) return;
  shown[id] = told;
  const folds = [...place.querySelectorAll("details[id]")].map((found) => [found.id, found.open]);
  const sorted = place.querySelector("th[aria-sort=ascending], th[aria-sort=descending]");
  const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
  const [left] = [...place.querySelectorAll(".scroll")].map((found) => found.scrollLeft);
  place.innerHTML = html;
  for (const [name, isOpen] of folds) document.getElementById(name)?.toggleAttribute("open", isOpen);
  if (sorted) sortAgain(place, sorted.cellIndex, sorted.getAttribute("aria-sort"));
  if (left) place.querySelector(".scroll").scrollLeft = left;
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

// A server's moment as an age, by this machine's clock.
function tellAges() {
  for (const moment of document.querySelectorAll("time[datetime]")) {
    const seconds = Math.max((Date.now() - Date.parse(moment.dateTime)) / 1000, 0);
    const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(([size]) => seconds >= size) ?? [1, "s"];
    moment.title ||= moment.textContent;
    moment.textContent = `${Math.floor(seconds / size)}\u202f${unit} ago`;
  }
}

function say(text) {
  if (liveState.textContent !== text) liveState.textContent = text;
}

// ------------------------------------------------------------------------------------------------------------- asking
async function ask() {
  clearTimeout(timer);
  asking?.abort();
  const own = (asking = new AbortController());
  let seconds = RETRY_SECONDS;
  try {
    const answer = await fetch(address(), { headers: etag ? { "If-None-Match": etag } : {}, signal: own.signal });
    if (answer.status === 200) {
      const live = await answer.json();
      etag = answer.headers.get("ETag") ?? "";
      figures = live.figures;
      for (const [id, html] of Object.entries(live.html)) putIn(id, html);
      draw();
      page.dataset.pollSeconds = live.poll_seconds;
      page.dataset.updates = Number(page.dataset.updates ?? 0) + 1;
    } else if (answer.status !== 304) {
      throw new Error(`status ${answer.status}`);
    }
    seconds = Number(page.dataset.pollSeconds);
    say("");
  } catch (error) {
    if (error.name === "AbortError") return;
    say("The monitor does not answer. Trying again.");
  }
  tellAges();
  if (!document.hidden) timer = setTimeout(ask, 1000 * seconds);
}

if (page.dataset.source) {
  document.addEventListener("input", (event) => {
    if (!event.target.matches("[data-parameter]")) return;
    rememberChoice();
    clearTimeout(timer);
    timer = setTimeout(ask, event.target.matches("input") ? 1000 * TYPING_SECONDS : 0);
  });
  document.addEventListener("submit", (event) => {
    if (event.target.querySelector("[data-parameter]")) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : ask()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw({ again: true }));
  ask();
}
