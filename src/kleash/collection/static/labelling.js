// Runs the labeller's page. A verdict goes into an outbox on this device and the next item is shown at once; the outbox
// is emptied in order, again and again until the server has taken everything. A model's text becomes HTML only where
// the server has made it safe (the fields named html); everything else is set as text.
// labelling_form.js makes the form of a task and reads it; labelling_device.js keeps things and asks the server.
import { Outbox, ask, clientKey, draftName, keep, kept } from "./labelling_device.js";
import { announce, button, dismiss, link, say, tell } from "./labelling_elements.js";
import * as forms from "./labelling_form.js";

const { LETTERS, isPair } = forms;
const byId = (id) => document.getElementById(id);
const page = byId("labelling").dataset;
const form = byId("verdict");

let current = null; // the task on the page
let setAside = null; // the one that was there before the last answer was taken back
let waiting = []; // the ones to come
let numAnswered = 0;
let campaignState = "open";
let view = "html";
let place = 0; // of the answer that a digit ranks
let seconds = 0; // on this task, while the page could be seen
let visibleSince = null;
let lastActivity = Date.now();

// ------------------------------------------------------------------------------------------------------------ outbox
const outbox = new Outbox();
let sending = null; // the promise of an outbox being emptied
let retrySeconds = 2;
let retryTimer = null;

function emptyOutbox() {
  sending ??= sendAll().finally(() => (sending = null));
  return sending;
}

async function sendAll() {
  clearTimeout(retryTimer);
  try {
    while (outbox.length) {
      const { entry, answer, refusal } = await outbox.sendFirst();
      if (refusal) {
        bringBack(entry.task);
        throw refusal;
      }
      if (answer.note) tell("note", answer.note);
      take(answer);
    }
    if (current === null && waiting.length === 0) take(await ask("tasks?limit=2"));
    retrySeconds = 2;
    dismiss("signed-out", "unreachable");
    if (current === null) showEmpty();
  } catch (trouble) {
    warn(trouble);
  }
}

/** Put a task whose verdict was refused on the page again, with its draft; after a reload the server gives it out. */
function bringBack(task) {
  if (!task) return;
  if (current !== null) waiting.unshift(current);
  show(task);
}

function take(batch) {
  const known = new Set([current, setAside, ...waiting, ...outbox.entries].map((task) => task?.id));
  waiting.push(...batch.tasks.filter((task) => !known.has(task.id)));
  numAnswered = batch.num_answered;
  campaignState = batch.state;
  if (batch.rubric_version !== page.rubricVersion) {
    tell("rubric", "The rubric has changed.", link("Reload the page to read it", location.pathname));
  }
  if (current === null && waiting.length) next();
  showProgress();
}

/** Find out whether the items of this page are still the labeller's, and keep them so while somebody works. */
async function beat() {
  const isIdle = Date.now() - lastActivity > 1000 * page.leaseSeconds;
  if (current === null || isIdle || sending || outbox.length || document.visibilityState !== "visible") return;
  const numMine = [current, setAside, ...waiting].filter((task) => task && !task.given).length;
  try {
    if ((await ask("heartbeat", {})).num_held >= numMine) return;
    const batch = await ask("tasks?limit=2");
    const isHeld = (task) => batch.tasks.some((held) => held.id === task.id);
    waiting = waiting.filter(isHeld);
    if (current !== null && !current.given && !isHeld(current)) {
      const words = "Your time on this item ran out and others completed it. You may still submit it, as an extra one.";
      tell("lost", words, button("Next item", next));
    }
    take(batch);
  } catch (trouble) {
    warn(trouble);
  }
}

// ---------------------------------------------------------------------------------------------------------- messages
function warn(trouble) {
  const safe = outbox.length ? ` What you submitted (${outbox.length}) is kept on this device: nothing is lost.` : "";
  if (trouble.kind === "signed-out") {
    const target = `/login?next=${encodeURIComponent(location.pathname)}`;
    tell("signed-out", `Your sign-in has ended.${safe}`, link("Sign in again", target));
  } else if (trouble.kind === "unreachable") {
    tell("unreachable", `The server does not answer.${safe} It will be tried again.`, button("Try now", emptyOutbox));
    clearTimeout(retryTimer);
    retryTimer = setTimeout(emptyOutbox, 1000 * retrySeconds);
    retrySeconds = Math.min(2 * retrySeconds, 60);
  } else if (trouble.kind === "refused") {
    tell("refused", trouble.message);
  } else {
    throw trouble;
  }
  showProgress();
}

function showProgress() {
  const parts = [numAnswered ? `${numAnswered} judged` : "", outbox.length ? `${outbox.length} being sent` : ""];
  byId("progress").textContent = parts.filter(Boolean).join(", ");
}

// ---------------------------------------------------------------------------------------------------------- the task
const cards = () => [...byId("answers").children];

function next() {
  const task = setAside ?? waiting.shift() ?? null;
  setAside = null;
  show(task);
}

function show(task) {
  current = task;
  byId("task").hidden = task === null;
  byId("empty").hidden = true;
  byId("undo").firstChild.textContent = task?.given ? "Leave as it was " : "Undo ";
  dismiss("lost", "refused", "empty");
  if (task === null) {
    emptyOutbox();
    return;
  }
  form.reset();
  say("");
  const number = numAnswered + 1 + outbox.entries.filter((entry) => !entry.task?.given).length;
  byId("item").textContent = task.given ? "Your last item again" : `Item ${number}`;
  byId("answers").className = isPair(task) ? "pair" : "many";
  byId("answers").replaceChildren(...forms.answerCards(task, move));
  cards().forEach((card, index) => card.addEventListener("focusin", () => (place = index)));
  byId("questions").replaceChildren(...forms.questions(task));
  const draft = kept(draftName(task));
  forms.fill(form, draft?.entries ?? (task.given ? forms.entriesOf(task) : []));
  countTime();
  seconds = draft?.seconds ?? 0;
  place = 0;
  showTexts("html");
  markReady();
  scrollTo(0, 0);
  rest();
}

function showEmpty() {
  const isOpen = campaignState === "open";
  byId("empty-title").textContent = isOpen ? "That is all for now" : `This campaign is ${campaignState}`;
  byId("empty-note").textContent = isOpen
    ? "Thank you. There may be more later, when others give back what they have not answered."
    : "It gives out no items at present. All that you have judged is kept.";
  byId("empty").hidden = false;
  byId("empty-title").focus();
}

/** Put the focus where every key is a shortcut. */
const rest = () => byId("item").focus({ preventScroll: true });

function showTexts(wanted, differences = {}) {
  view = wanted;
  byId("raw").setAttribute("aria-pressed", view === "raw");
  byId("differences").setAttribute("aria-pressed", view === "differences");
  const boxes = [byId("prompt"), ...cards().map((card) => card.querySelector(".text"))];
  [current.prompt, ...current.answers].forEach((text, index) => {
    if (differences[index - 1]) forms.showDifferences(boxes[index], differences[index - 1]);
    else if (view === "raw") forms.showRaw(boxes[index], text);
    else forms.showRendered(boxes[index], text, toggleRaw);
  });
}

function toggleRaw() {
  showTexts(view === "raw" ? "html" : "raw");
}

async function toggleDifferences() {
  if (view === "differences") return showTexts("html");
  const [task, second] = [current, Math.max(place, 1)];
  const first = second - 1;
  try {
    const differences = await ask(`tasks/${task.id}/diff?first=${first}&second=${second}`);
    if (task !== current) return;
    showTexts("differences", { [first]: differences.first, [second]: differences.second });
    announce(`Marked: words that only ${LETTERS[first]} or only ${LETTERS[second]} has.`);
  } catch (trouble) {
    warn(trouble);
  }
}

// ----------------------------------------------------------------------------------------------------------- verdict
function countTime() {
  const now = performance.now();
  if (visibleSince !== null) seconds += (now - visibleSince) / 1000;
  visibleSince = document.visibilityState === "visible" ? now : null;
}

function changed() {
  markReady();
  countTime();
  keep(draftName(current), { entries: [...new FormData(form)], seconds });
}

function markReady() {
  byId("submit").classList.toggle("primary", forms.verdictOf(form, current) !== null);
}

function check(name, value) {
  const input = forms.inputOf(form, name, value);
  if (!input) return;
  input.checked = input.type === "radio" || !input.checked;
  const words = input.parentElement.querySelector("span").textContent;
  announce(`${words}${input.checked ? "" : ": no longer"}, ${input.closest("fieldset")?.firstChild.textContent ?? ""}`);
  say("");
  changed();
}

function submit() {
  const verdict = forms.verdictOf(form, current);
  if (verdict !== null) post(verdict);
  else say(isPair(current) ? "First say which is better: 1 2 3, t, 8 9 0 or b." : "First rank every answer.");
}

function post(verdict) {
  changed();
  const circumstances = { seconds: Math.min(seconds, 86400), rubric_version: page.rubricVersion };
  dismiss("note");
  if (!outbox.add(current, { ...verdict, ...circumstances, client_key: clientKey() })) {
    tell("note", "This browser keeps nothing on this device: leave the page open until everything is sent.");
  }
  next();
  showProgress();
  emptyOutbox();
}

function skip() {
  byId("skip-dialog").returnValue = "";
  byId("skip-dialog").showModal();
}

async function undo() {
  if (current?.given) return next();
  await emptyOutbox();
  if (outbox.length) return;
  try {
    const { task } = await ask("last");
    if (task === null) return tell("empty", "You have submitted nothing here that could be taken back.");
    setAside = current;
    show(task);
  } catch (trouble) {
    warn(trouble);
  }
}

// ----------------------------------------------------------------------------------------------------------- ranking
function move(index, step) {
  const rank = Number(new FormData(form).get(`rank-${index}`)) + step;
  check(`rank-${index}`, String(Math.min(Math.max(rank, 1), current.answers.length)));
}

function rank(digit) {
  check(`rank-${place}`, digit);
  const ranked = new FormData(form);
  const unranked = cards().filter((_, index) => !ranked.has(`rank-${index}`));
  (unranked.find((card) => cards().indexOf(card) > place) ?? unranked[0] ?? cards()[place]).focus();
}

/** Answer the aspect that has the focus with a digit, and go on to the next one. */
function answerAspect(group, digit) {
  const input = group.querySelectorAll("input")[digit - 1];
  if (!input) return;
  check(input.name, input.value);
  const groups = [...form.querySelectorAll("fieldset[data-aspect]")];
  const isNext = (other) => isPair(current) || other.dataset.aspect === group.dataset.aspect;
  const following = groups.slice(groups.indexOf(group) + 1).find(isNext);
  if (following) focusAspect(following);
  else rest();
}

const focusAspect = (group) => (group.querySelector("input:checked") ?? group.querySelector("input")).focus();

// -------------------------------------------------------------------------------------------------------------- keys
const ACTIONS = {
  r: ["Say why", () => byId("rationale").focus()],
  x: ["Flag as unsafe", () => check("flags", "unsafe")],
  n: ["Flag as unreadable", () => check("flags", "unreadable")],
  s: ["Skip, with a reason", skip],
  u: ["Take the last one back, or leave it as it was", undo],
  d: ["Mark the words that differ", toggleDifferences],
  w: ["Raw text", toggleRaw],
  g: ["Rubric", () => byId("guide-dialog").showModal()],
  "?": ["These keys", showKeys],
};

const isTyping = (target) => target.matches("textarea, input:not([type=radio], [type=checkbox])");

function onKey(event) {
  lastActivity = Date.now();
  const { key, target } = event;
  if (isTyping(target)) {
    if (key === "Escape") rest();
    if (key === "Enter" && event.ctrlKey) submit();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !byId("shortcuts").checked) return;
  if (document.querySelector("dialog[open]")) {
    if (byId("skip-dialog").open) byId("skip-dialog").querySelectorAll(".reasons button")[key - 1]?.click();
    return;
  }
  const isTaken = current !== null ? onTaskKey(key, target) : ["u", "g", "?"].includes(key) && act(key);
  if (isTaken) event.preventDefault();
}

/** Do what a key stands for on a task; false if it stands for nothing here. */
function onTaskKey(key, target) {
  const group = target.closest("fieldset[data-aspect]");
  const aspect = forms.aspectKeys(current.aspects).indexOf(key);
  if (key === "Enter") {
    if (target.closest("button, a, summary")) return false;
    submit();
  } else if (key === "Escape") {
    rest();
  } else if (group && /^[1-9]$/.test(key)) {
    answerAspect(group, Number(key));
  } else if (isPair(current) && forms.PAIR_KEYS.has(key)) {
    check("overall", forms.PAIR_KEYS.get(key));
  } else if (!isPair(current) && /^[1-9]$/.test(key)) {
    rank(key);
  } else if (!isPair(current) && key === "b") {
    check("all_bad", "yes");
  } else if (!isPair(current) && ["ArrowLeft", "ArrowRight"].includes(key) && !target.matches("input")) {
    const step = target.closest(".answer") ? (key === "ArrowLeft" ? -1 : 1) : 0;
    cards()[Math.min(Math.max(place + step, 0), cards().length - 1)].focus();
  } else if (aspect >= 0) {
    const groups = [...form.querySelectorAll(`fieldset[data-aspect="${aspect}"]`)];
    focusAspect(groups[isPair(current) ? 0 : place]);
  } else {
    return key in ACTIONS && act(key);
  }
  return true;
}

/** Do an action; true, as it took the key. */
const act = (key) => (ACTIONS[key][1](), true);

function showKeys() {
  const actions = Object.entries(ACTIONS).map(([key, [words]]) => [key, words]);
  byId("keys").replaceChildren(...forms.keyList(current, actions));
  byId("help-dialog").showModal();
}

const showShortcuts = () => document.body.classList.toggle("no-shortcuts", !byId("shortcuts").checked);

// ------------------------------------------------------------------------------------------------------------- start
document.addEventListener("keydown", onKey);
for (const kind of ["pointerdown", "scroll"]) {
  document.addEventListener(kind, () => (lastActivity = Date.now()), { passive: true });
}
document.addEventListener("visibilitychange", () => {
  if (current !== null) changed();
  lastActivity = Date.now();
  beat();
});
addEventListener("online", emptyOutbox);
form.addEventListener("input", changed);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
for (const [id, key] of Object.entries({ undo: "u", differences: "d", raw: "w", guide: "g", help: "?", skip: "s" })) {
  byId(id).addEventListener("click", ACTIONS[key][1]);
}
byId("again").addEventListener("click", emptyOutbox);
byId("skip-dialog").addEventListener("close", () => {
  const reason = byId("skip-dialog").returnValue;
  if (reason && current !== null) post({ outcome: "skipped", skip_reason: reason });
});
byId("shortcuts").checked = kept("shortcuts") ?? true;
byId("shortcuts").addEventListener("change", () => {
  keep("shortcuts", byId("shortcuts").checked);
  showShortcuts();
});
byId("guide-dialog").addEventListener("close", () => keep("rubric", page.rubricVersion));
showShortcuts();
if (kept("rubric") !== page.rubricVersion) byId("guide-dialog").showModal();
setInterval(beat, Math.min(60_000, 250 * page.leaseSeconds));
emptyOutbox();
