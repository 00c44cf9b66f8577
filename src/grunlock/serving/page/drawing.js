// What the page shows of an answer. Draws; asks nothing.

const SVG = "http://www.w3.org/2000/svg";
const MAX_GATES = 120; // words in the picture of the gates
const COLUMN = 46, HEIGHT = 64, NAMES = 20; // pixels
const NAME_ROOM = 6; // Latin letters

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

export function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

/** probs: label -> probability; null: nothing has been read. */
export function drawBars(list, probs) {
  const rows = Object.entries(probs ?? {}).sort((a, b) => b[1] - a[1]);
  while (list.children.length > rows.length) list.lastChild.remove();
  while (list.children.length < rows.length) {
    const row = element("li");
    const label = element("span", "label");
    label.dir = "auto";
    row.append(label, element("span", "share"), element("div", "bar"));
    list.append(row);
  }
  rows.forEach(([label, share], i) => {
    const [name, number, bar] = list.children[i].children;
    name.textContent = label;
    number.textContent = percent(share);
    bar.style.setProperty("--share", share);
  });
}

/** Tokens of the text, coloured by their share in a label's logit. start and end count characters, not UTF-16. */
export function drawTokens(place, text, tokens, label) {
  const characters = Array.from(text);
  const strongest = Math.max(1e-9, ...tokens.map((token) => Math.abs(token.shares[label])));
  const parts = [];
  let end = 0;
  for (const token of tokens) {
    if (token.start > end) parts.push(characters.slice(end, token.start).join(""));
    if (token.end <= end) continue;
    const share = token.shares[label];
    const part = element("span", `token ${share >= 0 ? "for" : "against"}`);
    part.textContent = characters.slice(Math.max(end, token.start), token.end).join("");
    part.title = `${share >= 0 ? "+" : "−"}${Math.abs(share).toFixed(2)}`;
    part.style.setProperty("--strength", `${Math.round((100 * Math.abs(share)) / strongest)}%`);
    parts.push(part);
    end = token.end;
  }
  parts.push(characters.slice(end).join(""));
  place.replaceChildren(...parts);
}

/** What fits below two bars. East Asian characters, from U+2E80 on, take the room of two others. */
function shortened(text) {
  const room = (characters) => characters.reduce((sum, c) => sum + (c.codePointAt(0) < 0x2e80 ? 1 : 2), 0);
  const characters = Array.from(text);
  if (room(characters) <= NAME_ROOM) return text;
  while (room(characters) >= NAME_ROOM) characters.pop();
  return `${characters.join("")}…`;
}

/** Two bars a word: how much of the state it rewrote, how much of that was left at the end. */
export function drawGates(place, tokens) {
  const shown = tokens.slice(0, MAX_GATES);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("width", shown.length * COLUMN);
  svg.setAttribute("height", HEIGHT + NAMES);
  const add = (name, attributes, text) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    svg.append(made);
  };
  shown.forEach((token, i) => {
    const left = i * COLUMN;
    ["rewrote", "survived"].forEach((what, j) => {
      const height = HEIGHT * (token[what] ?? 0);
      const x = left + 8 + 15 * j;
      add("rect", { class: what, x, y: HEIGHT - height, width: 13, height });
    });
    add("text", { x: left + COLUMN / 2, y: HEIGHT + 15, "text-anchor": "middle" }, shortened(token.text));
  });
  add("line", { x1: 0, x2: shown.length * COLUMN, y1: HEIGHT, y2: HEIGHT });
  const told = shown.map((token) => `${token.text}: ${percent(token.rewrote)}, ${percent(token.survived)}`);
  place.setAttribute("aria-label", `Rewritten and left at the end. ${told.join("; ")}`);
  place.replaceChildren(svg);
}

export function drawTable(table, tokens, bias, label, name) {
  const head = element("thead");
  const names = element("tr");
  for (const title of ["word", `for ${name}`, "rewrote", "left", "half-life"]) {
    const cell = element("th", "", title);
    cell.scope = "col";
    names.append(cell);
  }
  head.append(names);
  const body = element("tbody");
  const steps = (token) => (token.half_life_steps == null ? "never" : token.half_life_steps.toFixed(1));
  const rows = tokens.map((token) => [
    token.text, token.shares[label].toFixed(2), percent(token.rewrote), percent(token.survived), steps(token),
  ]);
  rows.push(["bias", bias[label].toFixed(2), "", "", ""]);
  for (const cells of rows) {
    const row = element("tr");
    for (const cell of cells) row.append(element("td", "", cell));
    row.firstChild.dir = "auto";
    body.append(row);
  }
  table.replaceChildren(head, body);
}

export function drawChoices(select, names, chosen) {
  const options = names.map((name) => {
    const option = element("option", "", name);
    option.value = name;
    return option;
  });
  select.replaceChildren(...options);
  select.value = chosen;
}
