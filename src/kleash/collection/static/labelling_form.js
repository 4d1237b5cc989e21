// One task on the page: its texts, answers and questions as elements, and what its form says as a verdict on places.
import { button, element, kbd, unseen } from "./labelling_elements.js";

export const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
export const PAIR_KEYS = new Map([
  ["1", "A-much"], ["2", "A-better"], ["3", "A-slightly"], ["t", "tie"],
  ["8", "B-slightly"], ["9", "B-better"], ["0", "B-much"], ["b", "both_bad"],
]);
const PAIR = [
  ["A-much", "A much better", "1"], ["A-better", "A better", "2"], ["A-slightly", "A slightly", "3"],
  ["tie", "Tie", "t"],
  ["B-slightly", "B slightly", "8"], ["B-better", "B better", "9"], ["B-much", "B much better", "0"],
  ["both_bad", "Both bad", "b"],
];
const SIDES = [["A", "A"], ["same", "Same"], ["B", "B"]];
const PLACED_RANKS = { A: [1, 2], same: [1, 1], B: [2, 1] };

export const isPair = (task) => task.answers.length === 2;

/** Give each aspect the first letter of its name that no other key has. */
export function aspectKeys(aspects) {
  const taken = new Set("tbrsudgwxn");
  return aspects.map((aspect) => {
    const letter = [...aspect.toLowerCase(), ..."acefhijklmopqvyz"].find((one) => /[a-z]/.test(one) && !taken.has(one));
    taken.add(letter);
    return letter ?? "";
  });
}

/** Make one card per answer, to be filled with its text; with more than two, each card takes a rank. */
export function answerCards(task, move) {
  return task.answers.map((_, place) => {
    const title = element("h3", { id: `answer-${place}` }, unseen("Answer "), LETTERS[place]);
    const card = element("article", { className: "answer" }, title, element("div", { className: "text", dir: "auto" }));
    card.setAttribute("aria-labelledby", title.id);
    if (!isPair(task)) {
      card.tabIndex = 0;
      card.append(rankQuestions(task, place, move));
    }
    return card;
  });
}

function rankQuestions(task, place, move) {
  const options = task.answers.map((_, rank) => [String(rank + 1), String(rank + 1)]);
  const overall = radios("Rank", `rank-${place}`, options, LETTERS[place]);
  for (const [step, sign, name] of [[-1, "▲", "Rank higher"], [1, "▼", "Rank lower"]]) {
    const mover = Object.assign(button(sign, () => move(place, step)), { className: "mover" });
    mover.setAttribute("aria-label", `${name}: ${LETTERS[place]}`);
    overall.append(mover);
  }
  const aspects = task.aspects.map((_, number) => aspectQuestion(task, number, `-${place}`, options, LETTERS[place]));
  return element("div", { className: "ranks" }, overall, ...aspects);
}

/** Make the questions that are asked once for all answers. */
export function questions(task) {
  if (isPair(task)) {
    const overall = radios("Which is better?", "overall", PAIR);
    overall.className = "overall";
    return [overall, ...task.aspects.map((_, number) => aspectQuestion(task, number, "", SIDES))];
  }
  const input = element("input", { type: "checkbox", name: "all_bad", value: "yes" });
  return [element("label", { className: "inline" }, input, element("span", {}, "All are bad"), kbd("b"))];
}

function aspectQuestion(task, number, suffix, options, ofWhat) {
  const group = radios(task.aspects[number], `aspect-${number}${suffix}`, options, ofWhat);
  group.className = "aspect";
  group.dataset.aspect = number;
  const key = aspectKeys(task.aspects)[number];
  if (key) group.firstChild.append(" ", kbd(key));
  return group;
}

function radios(legend, name, options, ofWhat = "") {
  const labels = options.map(([value, words, key]) => {
    const input = element("input", { type: "radio", name, value });
    return element("label", { className: "choice" }, input, element("span", {}, words), ...(key ? [kbd(key)] : []));
  });
  return element("fieldset", {}, element("legend", {}, legend, unseen(ofWhat && ` of ${ofWhat}`)), ...labels);
}

// ------------------------------------------------------------------------------------------------------------- texts
export function showRendered(box, text, showAll) {
  box.classList.remove("is-raw");
  if (text.raw.trim() === "") {
    box.replaceChildren(element("p", { className: "muted" }, "(no text)"));
    return;
  }
  box.innerHTML = text.html; // made safe by the server
  const note = ["This is only its beginning. ", button("Show all as raw text", showAll)];
  if (text.is_cut) box.append(element("p", { className: "notice" }, ...note));
  for (const table of box.querySelectorAll("table")) if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
}

export function showRaw(box, text) {
  box.classList.add("is-raw");
  box.replaceChildren(text.raw);
}

export function showDifferences(box, segments) {
  box.classList.add("is-raw");
  box.replaceChildren(...segments.map((part) => element(part.is_shared === false ? "mark" : "span", {}, part.text)));
}

/** List what the keys do on a task, as rows of a definition list. */
export function keyList(task, actions) {
  const ranking = [["1 2 3 …", "Rank of the answer in focus; equal ranks are ties"], ["← →", "Go to another answer"]];
  const choosing = [["1 2 3", "A is much better, better, slightly better"], ["8 9 0", "B is slightly, better, much better"]];
  const isRanking = task !== null && !isPair(task);
  const overall = isRanking ? [...ranking, ["b", "All are bad"]] : [...choosing, ["t", "Tie"], ["b", "Both bad"]];
  const aspects = (task?.aspects ?? []).map((aspect, number) => {
    const key = aspectKeys(task.aspects)[number];
    return [`${key} 1 2 3`, isRanking ? `Rank by ${aspect} alone` : `By ${aspect} alone: A, same, B`];
  });
  const rows = [...overall, ...aspects, ...actions, ["Enter", "Submit"], ["Esc", "Leave a field or question"]];
  return rows.map(([keys, words]) => {
    return element("div", {}, element("dt", {}, ...keys.split(" ").map(kbd)), element("dd", {}, words));
  });
}

// ----------------------------------------------------------------------------------------------------------- verdict
const sideOf = ([first, second]) => (first === second ? "same" : first < second ? "A" : "B");

/** Read what the form says; null while the overall verdict is missing. */
export function verdictOf(form, task) {
  const data = new FormData(form);
  const ranksOf = (name) =>
    isPair(task) ? PLACED_RANKS[data.get(name)] : task.answers.map((_, place) => Number(data.get(`${name}-${place}`)));
  const asked = task.aspects.map((aspect, number) => [aspect, ranksOf(`aspect-${number}`)]);
  const said = {
    aspects: Object.fromEntries(asked.filter(([, ranks]) => ranks?.every(Boolean))),
    flags: data.getAll("flags"),
    rationale: data.get("rationale"),
  };
  const overall = data.get("overall");
  if (overall === "both_bad" || data.has("all_bad")) return { ...said, outcome: "both_bad" };
  if (!isPair(task)) {
    const ranks = ranksOf("rank");
    return ranks.every(Boolean) ? { ...said, outcome: "ranked", ranks } : null;
  }
  if (overall === null) return null;
  const [side, strength] = overall === "tie" ? ["same", null] : overall.split("-");
  return { ...said, outcome: "ranked", ranks: PLACED_RANKS[side], strength };
}

/** Return as entries of the form what was said about a task before: the reverse of verdictOf. */
export function entriesOf(task) {
  const { given, aspects } = task;
  const spread = (name, ranks) => ranks.map((rank, place) => [`${name}-${place}`, String(rank)]);
  const entries = [["rationale", given.rationale], ...given.flags.map((flag) => ["flags", flag])];
  if (given.outcome === "both_bad") {
    entries.push(isPair(task) ? ["overall", "both_bad"] : ["all_bad", "yes"]);
  } else if (given.outcome === "ranked" && isPair(task)) {
    const side = sideOf(given.ranks);
    entries.push(["overall", side === "same" ? "tie" : `${side}-${given.strength ?? "better"}`]);
  } else if (given.outcome === "ranked") {
    entries.push(...spread("rank", given.ranks));
  }
  aspects.forEach((aspect, number) => {
    const ranks = given.aspects[aspect];
    const name = `aspect-${number}`;
    if (ranks) entries.push(...(isPair(task) ? [[name, sideOf(ranks)]] : spread(name, ranks)));
  });
  return entries;
}

export function inputOf(form, name, value) {
  return [...form.elements].find((input) => input.name === name && input.value === value);
}

export function fill(form, entries) {
  for (const [name, value] of entries) {
    if (name === "rationale") form.elements.rationale.value = value;
    else if (inputOf(form, name, value)) inputOf(form, name, value).checked = true;
  }
}
