// Draws the figures of a page that is one file, and runs the report's samples browser; figures.js stands before it. Model
// text is only ever set as textContent. The data is the JSON in #data.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

// ---------------------------------------------------------------------------------------------------------- figures
let shownSlice = "";

function draw() {
  for (const trace of Object.values(data.figures).flatMap((figure) => figure.data)) {
    if (trace.meta && "slice" in trace.meta) trace.visible = trace.meta.slice === shownSlice;
  }
  drawFigures(data.figures);
}

draw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
byId("slice-line")?.addEventListener("change", (event) => {
  shownSlice = event.target.value;
  draw();
});

// ---------------------------------------------------------------------------------------------------------- samples
const FIRST_SHOWN = 6;
let numShown = FIRST_SHOWN;

const element = (tag, className, text) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};

const shortNumber = (value, digits = 2) => value.toFixed(digits).replace("-", "\u2212");

function answerBox(title, answer) {
  const box = element("div", "answer");
  const head = element("p", "answer-head", title);
  if (answer.correct !== null) head.append(element("span", answer.correct ? "right" : "wrong", answer.correct ? "correct" : "not correct"));
  const figures = [];
  if (answer.score !== null) figures.push(`reward ${shortNumber(answer.score)} SD`);
  const { measure } = byId("sample-list").dataset;
  if (answer.judge !== null && measure !== "reward") figures.push(`${measure} ${shortNumber(answer.judge)}`);
  if (answer.tokens !== null) figures.push(`${answer.tokens} tokens`);
  const note = element("p", "answer-figures", figures.join(" \u00b7 "));
  const parts = Object.entries(answer.parts).filter(([, value]) => value !== null);
  if (parts.length) note.title = parts.map(([name, value]) => `${name} ${shortNumber(value)}`).join(", ");
  box.append(head, element("p", "answer-text", answer.text || "(empty)"), note);
  return box;
}

function sampleCard(sample) {
  const card = element("article", "sample");
  const head = element("div", "sample-head");
  head.append(element("p", "prompt", sample.prompt));
  const tags = element("p", "tags");
  if (sample.outcome) tags.append(element("span", `outcome ${["win", "tie", "loss"].includes(sample.outcome) ? sample.outcome : ""}`, sample.outcome));
  if (sample.gain !== null) {
    const sign = sample.gain > 0 ? "+" : "";
    tags.append(element("span", "", `${byId("sample-list").dataset.measure} ${sign}${shortNumber(sample.gain)}`));
  }
  for (const name of sample.slices) tags.append(element("span", "", name));
  head.append(tags);
  const answers = element("div", "answers");
  answers.append(answerBox("SFT", sample.before), answerBox("Policy", sample.after));
  card.append(head, answers);
  return card;
}

function chosenSamples() {
  const slice = byId("sample-slice").value;
  const outcome = byId("sample-outcome").value;
  const text = byId("sample-text").value.toLowerCase();
  const order = byId("sample-order").value;
  const contains = (sample) =>
    [sample.prompt, sample.before.text, sample.after.text].some((part) => part.toLowerCase().includes(text));
  const chosen = data.samples.filter(
    (sample) =>
      (!slice || sample.slices.includes(slice)) && (!outcome || sample.outcome === outcome) && (!text || contains(sample)),
  );
  if (!order) return chosen;
  const key = order === "gap" ? (sample) => sample.gap : (sample) => (sample.gain === null || order === "gain" ? sample.gain : -sample.gain);
  const worth = (sample) => key(sample) ?? -Infinity;
  return chosen.sort((one, other) => (worth(other) > worth(one)) - (worth(other) < worth(one)));
}

function showSamples() {
  const chosen = chosenSamples();
  byId("sample-list").replaceChildren(...chosen.slice(0, numShown).map(sampleCard));
  const matching = chosen.length === data.samples.length ? "samples" : `matching samples (${data.samples.length} in all)`;
  byId("sample-count").textContent = `${Math.min(numShown, chosen.length)} of ${chosen.length} ${matching} shown`;
  byId("sample-more").hidden = chosen.length <= numShown;
}

if (byId("samples")) {
  for (const id of ["sample-slice", "sample-outcome", "sample-order", "sample-text"]) {
    byId(id).addEventListener("input", () => {
      numShown = FIRST_SHOWN;
      showSamples();
    });
  }
  document.querySelector("form.controls").addEventListener("submit", (event) => event.preventDefault());
  byId("sample-more").addEventListener("click", () => {
    numShown += 20;
    showSamples();
  });
  showSamples();
}
