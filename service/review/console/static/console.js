// Keys, marked words, peeking. Every action is a control of the page too; nothing here is needed to review.
"use strict";

const $ = (selector) => document.querySelector(selector);
const parts = () => [...document.querySelectorAll(".part")];
let current = null; // the part that s, v, u and r are about

function tell(text) {
  const line = document.createElement("p");
  line.className = "said";
  line.textContent = text;
  $("#live").replaceChildren(line);
}

function go(step) {
  const all = parts();
  if (!all.length) return;
  const at = Math.min(Math.max(all.indexOf(current) + step, 0), all.length - 1);
  choose(all[at]);
  all[at].focus({ preventScroll: true });
  all[at].scrollIntoView({ block: "nearest" });
}

function choose(part) {
  parts().forEach((p) => p.classList.toggle("current", p === part));
  current = part;
}

function press(selector) {
  const control = (current && current.querySelector(selector)) || $(selector);
  if (control && !control.disabled) control.click();
  return Boolean(control);
}

function answer(value) {
  const stage = current ? current.dataset.stage : "input";
  press(`#decision input[name=${stage}][value=${value}]`);
}

function move(name, step) {
  const all = [...document.querySelectorAll(`#decision input[name=${name}]`)];
  const at = all.findIndex((i) => i.checked);
  const next = all[Math.min(Math.max(at + step, 0), all.length - 1)];
  if (next) next.click();
}

function unfold(id, field) {
  const details = $(id);
  if (!details) return;
  details.open = true;
  $(field).focus();
}

// ---- covered text: a tap reveals, holding peeks

let held = null; // { timer, before } while r is down

function hold() {
  const part = current;
  const form = part && part.querySelector("form:has([data-reveal])");
  if (held || !form) return;
  held = { part, form, peeking: false, released: false };
  held.timer = setTimeout(peek, 300, held);
}

async function peek(state) {
  state.peeking = true;
  const data = new FormData(state.form);
  data.set("action", "peek");
  const headers = { "HX-Request": "true" };
  const sent = new URLSearchParams(data);
  const answer = await fetch(state.form.getAttribute("action"), { method: "POST", body: sent, headers });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const shown = page.querySelector(".part");
  if (!answer.ok || !shown) return tell("It cannot be shown. Reload the page.");
  state.shown = document.importNode(shown, true);
  if (!state.released) state.part.replaceWith(state.shown);
}

function letGo() {
  const state = held;
  held = null;
  if (!state) return;
  clearTimeout(state.timer);
  state.released = true;
  if (!state.peeking) state.form.querySelector("[data-reveal]").click();
  else if (state.shown && state.shown.isConnected) {
    state.shown.replaceWith(state.part);
    state.part.focus({ preventScroll: true });
  }
}

// ---- marked words: places are characters of the stored text, as Python counts them

function length(node) {
  if (node.nodeType === Node.TEXT_NODE) return [...node.data].length;
  if (node.dataset && node.dataset.length) return Number(node.dataset.length);
  return [...node.childNodes].reduce((sum, child) => sum + length(child), 0);
}

function place(text, node, offset) {
  const special = (node.nodeType === Node.TEXT_NODE ? node.parentElement : node).closest("[data-length]");
  if (special && text.contains(special)) [node, offset] = [special.parentNode, [...special.parentNode.childNodes].indexOf(special)];
  let sum = 0;
  if (node.nodeType === Node.TEXT_NODE) sum = [...node.data.slice(0, offset)].length;
  else for (const child of [...node.childNodes].slice(0, offset)) sum += length(child);
  for (let at = node; at !== text; at = at.parentNode) {
    for (let before = at.previousSibling; before; before = before.previousSibling) sum += length(before);
  }
  return Number(text.dataset.start) + sum;
}

function mark() {
  const category = $("#decision input[name=category]:checked");
  if (!category) return tell("Choose a category first; the marked words are of it.");
  const range = getSelection().rangeCount ? getSelection().getRangeAt(0) : null;
  const within = (node) => (node.nodeType === Node.TEXT_NODE ? node.parentElement : node).closest(".text");
  let from, to, part;
  if (range && !range.collapsed && within(range.startContainer) && within(range.endContainer)) {
    part = within(range.startContainer).closest(".part");
    if (part !== within(range.endContainer).closest(".part")) return tell("Mark words of one part at a time.");
    from = place(within(range.startContainer), range.startContainer, range.startOffset);
    to = place(within(range.endContainer), range.endContainer, range.endOffset);
  } else {
    part = current;
    const open = part ? [...part.querySelectorAll(".text")] : [];
    if (!open.length) return tell("Reveal the part first.");
    from = Number(open[0].dataset.start);
    to = Number(open.at(-1).dataset.start) + length(open.at(-1));
  }
  const spans = JSON.parse($("#spans").value || "[]");
  spans.push([part.dataset.part, from, to, category.value]);
  $("#spans").value = JSON.stringify(spans);
  list();
}

function list() {
  const field = $("#spans");
  if (!field) return;
  const spans = JSON.parse(field.value || "[]");
  $("#marks").replaceChildren(
    ...spans.map(([part, from, to, category], i) => {
      const line = document.createElement("li");
      const remove = document.createElement("button");
      remove.type = "button";
      remove.textContent = "Remove";
      remove.setAttribute("aria-label", `Remove mark ${i + 1}`);
      remove.addEventListener("click", () => {
        field.value = JSON.stringify(spans.filter((_, n) => n !== i));
        list();
      });
      line.append(`${category.replaceAll("_", " ")}: ${part}, characters ${from} to ${to} `, remove);
      return line;
    }),
  );
}

// ---- rankings: a digit is the place of the answer one is at

function plain(node) {
  if (node.nodeType === Node.TEXT_NODE) return node.data;
  if (node.dataset.code) return String.fromCodePoint(parseInt(node.dataset.code, 16));
  return node.dataset.was || [...node.childNodes].map(plain).join("");
}

function placed(action) {
  if (action.startsWith("digit-") && current && current.matches("[data-candidate]")) go(1);
}

function edit() {
  const field = $("#preferred");
  if (!current || !field) return;
  field.value = [...current.querySelectorAll(".text")].map(plain).join("");
  field.focus();
}

function score() {
  const scores = current && current.querySelector(".scores");
  if (!scores) return;
  scores.open = true;
  scores.querySelector("input").focus();
}

// ---- keys: bound as the sheet says

const ACTIONS = {
  sheet: () => ($("#keys").open ? $("#keys").close() : $("#keys").showModal()),
  search: () => ($("#search") ? $("#search").focus() : location.assign("/search")),
  down: () => go(1),
  up: () => go(-1),
  reveal: hold,
  safe: () => answer("ok"),
  violation: () => answer("harmful"),
  unsure: () => answer("unsure"),
  graver: () => move("severity", 1),
  slighter: () => move("severity", -1),
  surer: () => move("confidence", 1),
  less_sure: () => move("confidence", -1),
  mark,
  rationale: () => $("#note") && $("#note").focus(),
  skip: () => unfold("#skipping", "#reason"),
  escalate: () => unfold("#escalating", "#why"),
  scores: score,
  edit,
};

const bound = new Map();
for (const row of document.querySelectorAll("#keys [data-keys]")) {
  for (const key of row.dataset.keys.split(" ")) bound.set(key, row.dataset.does);
}

function typing(target) {
  if (target.matches("textarea, select") || target.isContentEditable) return true;
  return target.matches("input") && !["radio", "checkbox", "button", "submit"].includes(target.type);
}

function pressed(event) {
  const mode = document.body.dataset.mode;
  if (event.ctrlKey || event.metaKey) return event.ctrlKey && event.key === "Enter" ? "Ctrl+Enter" : null;
  if (mode === "off" || event.altKey !== (mode === "alt") || typing(event.target)) return null;
  if (event.key.startsWith("Arrow") && event.target.matches("input")) return null;
  if (event.altKey && event.code.startsWith("Key")) return event.code.slice(3).toLowerCase();
  return event.key;
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && typing(event.target)) return event.target.blur();
  const key = pressed(event);
  const open = $("#keys") && $("#keys").open;
  const action = key && (/^[0-9]$/.test(key) ? `digit-${key}` : bound.get(key));
  if (!action || (open && action !== "sheet")) return;
  if (event.repeat && action !== "down" && action !== "up") return event.preventDefault();
  if (ACTIONS[action]) ACTIONS[action]();
  else if (press(`[data-action="${action}"]`)) placed(action);
  else return;
  event.preventDefault();
});
document.addEventListener("keyup", (event) => {
  if (event.key.toLowerCase() === "r" || event.key === "Alt") letGo();
});
window.addEventListener("blur", letGo);

document.addEventListener("click", (event) => {
  const control = event.target.closest("[data-action=sheet], [data-action=mark], [data-action=edit]");
  if (!control) return;
  event.preventDefault();
  ACTIONS[control.dataset.action]();
});
document.addEventListener("focusin", (event) => {
  const part = event.target.closest(".part");
  if (part) choose(part);
});
document.addEventListener("htmx:afterSwap", (event) => {
  const changed = event.detail.target.id && document.getElementById(event.detail.target.id);
  if (changed && changed.matches(".part")) changed.focus({ preventScroll: true });
});

for (const count of document.querySelectorAll("[data-countdown]")) {
  const ends = Date.now() + 1000 * Number(count.dataset.countdown);
  const timer = setInterval(() => {
    const left = Math.max(0, Math.round((ends - Date.now()) / 1000));
    count.textContent = left;
    if (left) return;
    clearInterval(timer);
    count.closest("form").remove();
  }, 1000);
}

document.documentElement.classList.add("scripted");
choose($(".part.judged") || $(".part"));
list();
