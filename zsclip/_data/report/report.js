// What a report does when it is used: light or dark, a closer look, finding pictures.
// Runs at the head of the page. It moves what is there and never makes markup of text.
"use strict";

const PAGE = 240;
const byId = (id) => document.getElementById(id);

document.documentElement.classList.add("scripted"); // thousands of cards are not laid out at once
addEventListener("DOMContentLoaded", () => {
  switchTheme(byId("theme"));
  lookCloser(byId("closer"));
  if (byId("cards")) findPictures(byId("cards"));
});

// Light or dark is as the system says, until the button is used.
function switchTheme(button) {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    name();
  });
  system.addEventListener("change", name);
  name();
  button.hidden = false;
}

// A card once more, larger; the arrow keys go on to the next one that is listed.
function lookCloser(dialog) {
  let card = null;

  function look(at) {
    card = at;
    const copy = card.cloneNode(true);
    const button = copy.querySelector("button.picture");
    const frame = document.createElement("div");
    frame.className = button.className;
    frame.append(...button.childNodes);
    button.replaceWith(frame);
    byId("closer-name").textContent = copy.querySelector(".path").textContent;
    copy.querySelector(".path").remove();
    byId("closer-card").replaceChildren(...copy.childNodes);
    if (!dialog.open) dialog.showModal();
  }

  function step(towards) {
    let next = card[towards];
    while (next && !next.querySelector("button.picture")) next = next[towards];
    if (next) look(next);
  }

  const steps = { ArrowLeft: "previousElementSibling", ArrowRight: "nextElementSibling" };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.picture");
    if (button) look(button.closest(".card"));
  });
  byId("before").addEventListener("click", () => step(steps.ArrowLeft));
  byId("after").addEventListener("click", () => step(steps.ArrowRight));
  byId("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (event) => { if (event.key in steps) step(steps[event.key]); });
  dialog.addEventListener("close", () => card.querySelector("button.picture").focus());
}

// The list holds the cards that were found, PAGE of them at first; all others wait outside the page.
function findPictures(list) {
  const [search, show, sort, least, more] = ["search", "show", "sort", "least", "more"].map(byId);
  const cards = [...list.children];
  const text = new Map();
  const scores = new Map(cards.map((card) => [card, Number(card.dataset.score ?? NaN)]));
  const places = new Map(cards.map((card, place) => [card, place]));
  let shown = PAGE;

  const textOf = (card) => {
    if (!text.has(card)) text.set(card, card.textContent.toLowerCase());
    return text.get(card);
  };
  const byScore = (sign) => (a, b) => {
    const [one, other] = [a, b].map((card) => (card.dataset.score ? sign * scores.get(card) : Infinity));
    return one < other ? -1 : Number(one > other);
  };
  const byLabel = (a, b) => {
    const [one, other] = [a, b].map((card) => card.dataset.label ?? "\uffff");
    return one < other ? -1 : Number(one > other);
  };
  const orders = { number: () => 0, sure: byScore(-1), unsure: byScore(1), label: byLabel };

  function isWanted(card) {
    const option = show.selectedOptions[0];
    if (option.value && card.dataset[option.value] !== option.dataset.name) return false;
    const from = least ? Number(least.value) : NaN;
    if (from > Number(least?.min) && !(scores.get(card) >= from)) return false;
    const words = search.value.toLowerCase().split(/\s+/);
    return words.every((word) => textOf(card).includes(word));
  }

  function say(found) {
    const [some, all, page] = [found, cards.length, shown].map((number) => number.toLocaleString("en"));
    const count = found === cards.length ? `${all} listed` : `${some} of ${all}`;
    return found > shown ? `${count}, the first ${page} shown` : count;
  }

  function update() {
    const found = cards.filter(isWanted);
    found.sort((a, b) => orders[sort.value](a, b) || places.get(a) - places.get(b));
    list.replaceChildren(...found.slice(0, shown));
    more.hidden = found.length <= shown;
    more.textContent = `Show ${Math.min(found.length - shown, PAGE)} more`;
    byId("found").textContent = say(found.length);
    if (least) byId("least-shown").textContent = Number(least.value).toFixed(2);
  }

  function begin() {
    shown = PAGE;
    update();
  }

  function pick(button) {
    const [[kind, name]] = Object.entries(button.dataset);
    const options = [...show.options];
    show.selectedIndex = options.findIndex((one) => one.value === kind && one.dataset.name === name);
    begin();
    byId("pictures-title").scrollIntoView();
    show.focus({ preventScroll: true });
  }

  for (const field of [search, show, sort, least]) field?.addEventListener("input", begin);
  more.addEventListener("click", () => {
    const before = shown;
    shown += PAGE;
    update();
    list.children[before]?.querySelector("button")?.focus();
  });
  for (const button of document.querySelectorAll("button.pick")) {
    button.disabled = false;
    button.addEventListener("click", () => pick(button));
  }
  document.querySelector(".tools").addEventListener("submit", (event) => event.preventDefault());
  document.querySelector(".tools").hidden = false;
  update();
  list.classList.add("ready");
}
