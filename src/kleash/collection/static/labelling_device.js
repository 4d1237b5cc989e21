// What the labeller's page keeps on this device, and how it asks the server.

const page = document.getElementById("labelling").dataset;
const keptName = (name) => `kleash ${page.rater} ${page.campaign} ${name}`;

/** Keep a value on this device, or forget it with null; false if the browser keeps nothing. */
export function keep(name, value) {
  try {
    if (value === null) localStorage.removeItem(keptName(name));
    else localStorage.setItem(keptName(name), JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

export function kept(name) {
  try {
    return JSON.parse(localStorage.getItem(keptName(name)));
  } catch {
    return null;
  }
}

/** Why the server did not do what was asked. kind: "unreachable" (try again), "signed-out" or "refused" (for good). */
export class Trouble extends Error {
  constructor(kind, message = "") {
    super(message);
    this.kind = kind;
  }
}

/** Ask the server for JSON, or with a body tell it something. Throws a Trouble. */
export async function ask(path, body) {
  const options = { signal: AbortSignal.timeout(20000) };
  if (body !== undefined) {
    const csrfToken = document.querySelector("meta[name=csrf-token]").content;
    options.method = "POST";
    options.headers = { "Content-Type": "application/json", "X-CSRF-Token": csrfToken };
    options.body = JSON.stringify(body);
  }
  let response, content;
  try {
    response = await fetch(`/api/label/${page.campaign}/${path}`, options);
    content = await response.json();
  } catch {
    throw new Trouble("unreachable");
  }
  if (response.ok) return content;
  if (response.status === 401 || response.status === 403) throw new Trouble("signed-out");
  if (response.status >= 500 || response.status === 429) throw new Trouble("unreachable");
  throw new Trouble("refused", content.error);
}

/** Verdicts on their way to the server, kept on this device until it has taken or refused them. */
export class Outbox {
  constructor() {
    this.entries = kept("outbox") ?? []; // { id, verdict, and until a reload the task itself }
  }

  get length() {
    return this.entries.length;
  }

  /** Add a verdict on a task; false if the browser keeps nothing. */
  add(task, verdict) {
    this.entries.push({ id: task.id, verdict, task });
    return this.#keep();
  }

  /** Send the oldest verdict; return it with the server's answer, or the Trouble that says why it was refused. */
  async sendFirst() {
    const [entry] = this.entries;
    const sent = { entry };
    try {
      sent.answer = await ask(`tasks/${entry.id}`, entry.verdict);
      for (const given of [false, true]) keep(draftName({ id: entry.id, given }), null);
    } catch (trouble) {
      if (trouble.kind !== "refused") throw trouble;
      sent.refusal = trouble;
    }
    this.entries.shift();
    this.#keep();
    return sent;
  }

  #keep() {
    return keep("outbox", this.length ? this.entries.map(({ id, verdict }) => ({ id, verdict })) : null);
  }
}

/** Name the draft of a task; that of an answer to be changed is another one. */
export const draftName = (task) => `draft ${task.id}${task.given ? " again" : ""}`;

/** Name one verdict, so that sending it twice stores it once. Works without HTTPS, as randomUUID does not. */
export function clientKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
