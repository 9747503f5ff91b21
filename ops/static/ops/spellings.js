/* The inbox works without this module. It saves every choice at once, and moves by keys. */

const form = document.querySelector("[data-inbox]");
const groups = [...document.querySelectorAll(".group")];
const KEYS = ["1", "2", "3", "4", "5", "6", "0", "9"]; // in the order of a group's buttons

/** Return the fields of one group as the whole form would send them. */
const fieldsOf = (group) => {
  const chosen = group.querySelector("input[type=radio]:checked");
  const unit = group.querySelector("input[name^=unit-]").value;
  const data = new FormData();
  data.set("unit-0", unit);
  if (chosen) data.set("choice-0", chosen.value);
  else data.set("go", `clear:${unit}`);
  for (const name of ["csrfmiddlewaretoken", "token"]) data.set(name, form.elements[name].value);
  const members = "input[name=expanded], input[name=listed], input[name=kept]:checked";
  for (const input of group.querySelectorAll(members)) data.append(input.name, input.value);
  return data;
};

/** Send one group's choice to the draft, or take it out if there is none; show the answer. */
const save = async (group) => {
  const headers = { Accept: "application/json" };
  const answer = await fetch(form.action, { method: "POST", body: fieldsOf(group), headers });
  if (!answer.ok) throw new Error(`${answer.status}`);
  show(group, await answer.json());
};

const show = (group, state) => {
  form.querySelector("[data-chosen]").textContent = state.chosen;
  form.querySelector("[data-sentence]").textContent = state.sentence ? `${state.sentence} · ` : "";
  form.querySelector("[data-discard]").hidden = !state.chosen;
  const flag = group.querySelector(".flag");
  flag.hidden = !state.flag;
  flag.querySelector("span").textContent = state.flag;
  const hint = group.querySelector(".hint");
  if (hint) hint.hidden = Boolean(group.querySelector("input[type=radio]:checked"));
  const goal = new DOMParser().parseFromString(state.goal, "text/html").querySelector("[data-goal]");
  if (goal) document.querySelector("[data-goal]").replaceWith(document.adoptNode(goal));
};

let waiting = Promise.resolve();
const enqueue = (group) => {
  /* One at a time, in the order of the keys. A failed one stays in the form, which sends it again. */
  waiting = waiting.then(() => save(group)).catch(() => {
    form.querySelector("[data-sentence]").textContent = "not saved yet; Preview saves it · ";
  });
};

let at = groups.findIndex((group) => group.dataset.focus !== undefined);

const mark = (to) => {
  groups[at]?.classList.remove("focus");
  at = to;
  groups[at].classList.add("focus");
};

const move = (to) => {
  mark(Math.min(groups.length - 1, Math.max(0, to)));
  const radios = [...groups[at].querySelectorAll("input[type=radio]")];
  (radios.find((radio) => radio.checked) ?? radios[0]).focus({ preventScroll: true });
  const { top, bottom } = groups[at].getBoundingClientRect();
  const below = document.querySelector(".bulk").getBoundingClientRect().top;
  if (top < 0) window.scrollBy(0, top - 16);
  else if (bottom > below) window.scrollBy(0, bottom - below + 16);
};

const choose = (index) => {
  groups[at].querySelectorAll("input[type=radio]")[index].checked = true;
  enqueue(groups[at]);
};

const clear = () => {
  for (const radio of groups[at].querySelectorAll("input[type=radio]")) radio.checked = false;
  enqueue(groups[at]);
};

const ACTS = {
  j: () => move(at + 1),
  k: () => move(at - 1),
  x: () => at >= 0 && clear(),
  enter: () => at >= 0 && groups[at].querySelector("button[value^='open:']").click(),
  "/": () => form.querySelector("#q").focus(),
  "?": () => document.querySelector("#keys").focus(),
  p: () => waiting.then(() => form.querySelector("button[value=preview]").click()),
};

const press = (event) => {
  const typing = "input:not([type=radio]):not([type=checkbox]), textarea, select";
  if (event.target.matches(typing) || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (key === "enter" && event.target.matches("a, button")) return;
  if (KEYS.includes(key) && at >= 0) choose(KEYS.indexOf(key));
  else if (ACTS[key]) ACTS[key]();
  else return;
  event.preventDefault();
};

if (form && groups.length) {
  document.addEventListener("keydown", press);
  form.addEventListener("change", (event) => {
    const group = event.target.closest(".group");
    if (!group) return;
    mark(groups.indexOf(group));
    enqueue(group);
  });
  form.addEventListener("focusin", (event) => {
    const group = event.target.closest(".group");
    if (group) mark(groups.indexOf(group));
  });
  // After the browser has gone to the fragment, which takes the focus away.
  if (at >= 0 && location.hash === "#at") window.addEventListener("load", () => setTimeout(move, 0, at));
}
