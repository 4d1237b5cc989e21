// Small pieces of the labeller's page, and the places where it tells things. Every text is set as text.

const byId = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
export const button = (text, onclick) => element("button", { type: "button", onclick }, text);
export const link = (text, href) => element("a", { href }, text);
export const kbd = (key) => element("kbd", {}, key);
export const unseen = (text) => element("span", { className: "visually-hidden" }, text);

/** Say something about the task beside its buttons. */
export function say(text) {
  byId("status").textContent = text;
}

/** Say something to screen readers alone. */
export function announce(text) {
  byId("announcement").textContent = text;
}

/** Show a message above the task until one of its kind is dismissed. */
export function tell(kind, text, ...actions) {
  byId("trouble").dataset.kind = kind;
  byId("trouble").replaceChildren(element("span", {}, text), ...actions);
  byId("trouble").hidden = false;
}

export function dismiss(...kinds) {
  if (kinds.includes(byId("trouble").dataset.kind)) byId("trouble").hidden = true;
}
