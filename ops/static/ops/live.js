// Tells the operator that the rollout has changed since the page was made, and offers the newer state.
// The page itself stays as it is: nothing moves, and what is typed stays. "Show it" keeps what is typed, too.
"use strict";

const EVERY = 10_000;
const KEEP = "stagenorm-typed";
const frame = document.getElementById("live");
const offer = document.getElementById("live-offer");
const icon = document.getElementById("live-icon");
let dismissed = "";
let pointer = [-1, -1];

// -- What is typed ----------------------------------------------------------------------------------

const NOT_TYPED = ["hidden", "password", "file", "submit", "button"];
const isChoice = (field) => field.type === "checkbox" || field.type === "radio";
const place = (field) => `${new URL(field.form.action).pathname} ${field.name}`;

function fields() {
  const all = document.querySelectorAll("form[method=post] :is(textarea, input, select)");
  return [...all].filter((field) => field.name && !NOT_TYPED.includes(field.type));
}

function isTyped(field) {
  if (isChoice(field)) return field.checked !== field.defaultChecked;
  if (field.options) return [...field.options].some((each) => each.selected !== each.defaultSelected);
  return field.value !== field.defaultValue;
}

function keep() {
  const values = fields().filter(isTyped).map((field) => [place(field), field.value, field.checked]);
  sessionStorage.setItem(KEEP, JSON.stringify({ path: location.pathname, values }));
}

function restore() {
  const kept = JSON.parse(sessionStorage.getItem(KEEP) || "null");
  sessionStorage.removeItem(KEEP);
  if (!kept || kept.path !== location.pathname) return;
  for (const [where, value, checked] of kept.values) {
    const field = fields().find((each) => place(each) === where && (!isChoice(each) || each.value === value));
    if (!field) continue;
    if (isChoice(field)) field.checked = checked;
    else field.value = value;
    const box = field.closest("details");
    if (box) box.open = true;
  }
}

// -- The newer state ----------------------------------------------------------------------------------

function isUnderPointer() {
  const box = offer.getBoundingClientRect();
  const [x, y] = pointer;
  return x >= box.left && x <= box.right && y >= box.top && y <= box.bottom;
}

function tell(text, address) {
  const shown = offer.classList.contains("shown");
  if (!shown && text && isUnderPointer()) return; // the next look may find the place free
  const line = offer.querySelector("p");
  if (line.textContent !== text) line.textContent = text;
  offer.querySelector("a").href = address;
  offer.querySelector(".actions").hidden = !text;
  offer.classList.toggle("shown", Boolean(text));
}

function show(now) {
  const mine = frame.dataset;
  mine.attention ??= now.attention; // what needed the operator when the page began to look
  const changed = now.version !== Number(mine.version) || now.decisions !== Number(mine.decisions);
  const state = [now.version, now.decisions, now.attention].join();
  const count = now.attention ? `(${now.attention}) ` : "";
  document.title = document.title.replace(/^(\(\d+\) )?[^·]+ · /, `${count}${now.word} · `);
  icon.href = icon.dataset[now.mode];
  offer.querySelector("button").onclick = () => {
    dismissed = state;
    tell("", mine.home);
  };
  if (dismissed === state) return;
  if (changed) tell(now.what, location.pathname + location.search);
  else tell(now.attention > Number(mine.attention) ? "Something new needs you." : "", mine.home);
}

// Returns whether to look again: not after the session has ended.
async function look() {
  try {
    const answer = await fetch(frame.dataset.url, { cache: "no-store", signal: AbortSignal.timeout(8000) });
    if (answer.ok) show(await answer.json());
    return answer.status !== 403;
  } catch {
    return true; // the service does not answer right now
  }
}

async function watch() {
  if (document.hidden || (await look())) setTimeout(watch, EVERY);
}

restore();
addEventListener("pointermove", (event) => (pointer = [event.clientX, event.clientY]), { passive: true });
offer.querySelector("a").addEventListener("click", keep);
document.addEventListener("visibilitychange", () => document.hidden || look());
setTimeout(watch, EVERY);
