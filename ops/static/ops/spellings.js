/* The inbox works without this module. It saves every choice at once, and moves by keys. */

const form = document.querySelector("[data-inbox]");
const groups = [...document.querySelectorAll(".group")];
const KEYS = "1234560".split("").concat("9"); // the order of the buttons of a unit

/** Send one unit's choice to the draft, or take it out if there is none, and show the answer. */
const save = async (group) => {
  const chosen = group.querySelector("input[type=radio]:checked");
  const unit = group.querySelector("input[name^=unit-]").value;
  const data = new FormData();
  data.set("unit-0", unit);
  if (chosen) data.set("choice-0", chosen.value);
  else data.set("go", `clear:${unit}`);
  for (const name of ["csrfmiddlewaretoken", "token"]) {
    data.set(name, form.elements[name].value);
  }
  if (group.querySelector("input[name=expanded]")) {
    for (const input of group.querySelectorAll("input[name=expanded], input[name=listed], input[name=kept]:checked")) {
      data.append(input.name, input.value);
    }
  }
  const answer = await fetch(form.action, { method: "POST", body: data, headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(`${answer.status}`);
  show(group, await answer.json());
};

const show = (group, state) => {
  form.querySelector("[data-chosen]").textContent = state.chosen;
  form.querySelector("[data-sentence]").textContent = `${state.sentence} · `;
  const flag = group.querySelector(".flag");
  flag.hidden = !state.flag;
  flag.querySelector("span").textContent = state.flag;
};

let waiting = Promise.resolve();
const enqueue = (group) => {
  /* One at a time, in the order of the keys. A failed one stays in the form, which sends it again. */
  waiting = waiting.then(() => save(group)).catch(() => {
    form.querySelector("[data-sentence]").textContent = "not saved yet; Preview saves it · ";
  });
};

let at = Math.max(0, groups.findIndex((group) => group.dataset.focus !== undefined));
const move = (to) => {
  groups[at].classList.remove("focus");
  at = Math.min(groups.length - 1, Math.max(0, to));
  groups[at].classList.add("focus");
  groups[at].querySelector("input[type=radio]").focus();
  groups[at].scrollIntoView({ block: "nearest" });
};

const press = (event) => {
  const typing = event.target.matches("input:not([type=radio]):not([type=checkbox]), textarea, select");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  const radios = [...groups[at].querySelectorAll("input[type=radio]")];
  if (key === "j") move(at + 1);
  else if (key === "k") move(at - 1);
  else if (key === "x") {
    for (const radio of radios) radio.checked = false;
    enqueue(groups[at]);
  } else if (KEYS.includes(key)) {
    radios[KEYS.indexOf(key)].checked = true;
    enqueue(groups[at]);
  } else return;
  event.preventDefault();
};

if (form && groups.length) {
  document.addEventListener("keydown", press);
  form.addEventListener("change", (event) => {
    const group = event.target.closest(".group");
    if (!group) return;
    at = groups.indexOf(group);
    enqueue(group);
  });
}
