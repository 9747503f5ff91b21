// Keeps a page current while something is at work: fetches it again and exchanges the parts marked data-live.
// Left alone: a part with a field that somebody is in, a selection about to be copied, or a button being pressed.
"use strict";

let pressed = false;
addEventListener("pointerdown", () => (pressed = true));
addEventListener("pointerup", () => setTimeout(() => (pressed = false)));
addEventListener("pointercancel", () => (pressed = false));

const refreshing = () => document.querySelector("[data-refresh]");
const goal = (element) => element.getAttribute("formaction") || element.getAttribute("href") || element.form?.action;

function busy(part) {
  const selection = document.getSelection();
  const selected = selection && !selection.isCollapsed && part.contains(selection.anchorNode);
  return pressed || selected || part.querySelector("input:focus, select:focus, textarea:focus");
}

function exchange(part, next) {
  const focused = part.contains(document.activeElement) ? goal(document.activeElement) : null;
  part.replaceChildren(...next.childNodes);
  if (focused) [...part.querySelectorAll("a, button")].find((each) => goal(each) === focused)?.focus();
}

async function refresh() {
  const stale = document.querySelector("[data-stale]");
  try {
    const answer = await fetch(location.href, { redirect: "error", cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw new Error(answer.status);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(part.id);
      if (next && !busy(part) && next.innerHTML !== part.innerHTML) exchange(part, next);
    }
    stale.hidden = true;
    const all = [...document.querySelectorAll("[data-live]")].every((part) => !busy(part));
    if (all && !fresh.querySelector("[data-refresh]")) refreshing()?.removeAttribute("data-refresh");
  } catch {
    stale.hidden = false;
  }
  again();
}

function again() {
  if (!refreshing()) return;
  const wait = Number(refreshing().dataset.refresh) * 1000;
  setTimeout(() => (document.hidden ? again() : refresh()), wait);
}

addEventListener("DOMContentLoaded", again);
