// The page: asks the server while somebody types, a model that can through a stream, others text by text.

import { drawBars, drawChoices, drawGates, drawTable, drawTokens, percent } from "./drawing.js";

const EXPLAIN_AFTER_MS = 250; // without another key
const find = (id) => document.getElementById(id);
let token = null;

class Refused extends Error {
  constructor(status, error) {
    super([error.what, error.where, error.got && `got ${error.got}`, error.cure].filter(Boolean).join(" — "));
    this.status = status;
  }
}

async function ask(path, body) {
  const headers = { "content-type": "application/json" };
  if (token !== null) headers.authorization = `Bearer ${token}`;
  const request = body === undefined ? { headers } : { headers, method: "POST", body: JSON.stringify(body) };
  const response = await fetch(path, request);
  const answer = await response.json();
  if (!response.ok) throw new Refused(response.status, answer.error);
  return answer;
}

/** Calls `work` with the newest value; while it runs only the newest of those that come is kept. */
function newest(work) {
  let running = false, waiting = false, value;
  return async (given) => {
    value = given;
    waiting = true;
    if (running) return;
    running = true;
    while (waiting) {
      waiting = false;
      await work(value);
    }
    running = false;
  };
}

/** One text on its way to the server, of which only what is new is sent. */
class Reader {
  constructor(model) {
    this.model = model;
    this.socket = null;
    this.sent = null;
  }

  async connect() {
    if (this.socket?.readyState === WebSocket.OPEN) return;
    const address = new URL("v1/stream", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    this.socket = new WebSocket(address);
    this.sent = null;
    await new Promise((done, failed) => {
      this.socket.onopen = done;
      this.socket.onerror = () => failed(new Error("The stream cannot be opened."));
    });
  }

  say(message) {
    return new Promise((done, failed) => {
      this.socket.onmessage = (event) => {
        const answer = JSON.parse(event.data);
        if (answer.error) failed(new Refused(422, answer.error));
        else done(answer);
      };
      this.socket.onclose = () => failed(new Error("The stream has been closed."));
      this.socket.send(JSON.stringify(message));
    });
  }

  async read(text, rate) {
    await this.connect();
    const goesOn = this.sent !== null && this.rate === rate && text.startsWith(this.sent)
      && !/^[\udc00-\udfff]/.test(text.slice(this.sent.length));
    if (!goesOn) {
      const open = { model: this.model.name };
      if (rate !== null) open.max_error = rate;
      if (token !== null) open.token = token;
      await this.say({ open });
      this.sent = "";
      this.rate = rate;
    }
    const answer = await this.say({ piece: text.slice(this.sent.length) });
    this.sent = text;
    return answer;
  }
}

/** A model with its part of the page. */
class Card {
  constructor(model) {
    this.model = model;
    this.reader = new Reader(model);
    this.place = find("card").content.cloneNode(true).firstElementChild;
    const part = (name) => this.place.querySelector(name);
    this.verdict = part(".verdict");
    this.bars = part(".bars");
    this.explained = part(".explained");
    this.unexplained = part(".unexplained");
    this.towards = part(".towards");
    part("h2").textContent = model.name;
    this.bars.setAttribute("aria-label", `Probabilities by ${model.name}`);
    part(".facts").textContent = `${model.encoder}, ${model.labels.length} labels, `
      + `${model.parameters.toLocaleString("en")} parameters, version ${model.version.slice(0, 12)}`;
    this.towards.onchange = () => this.drawExplanation();
    this.predict = newest((input) => this.showing(() => this.predictNow(input)));
    this.explain = newest((input) => this.showing(() => this.explainNow(input)));
  }

  async showing(work) {
    try {
      await work();
    } catch (error) {
      tell(error);
    }
  }

  async predictNow({ text, goesOn, rate }) {
    if (text.trim() === "") {
      this.verdict.textContent = "";
      drawBars(this.bars, null);
      return;
    }
    const begun = performance.now();
    const answer = await this.answer(text, rate);
    const ms = performance.now() - begun;
    const probs = goesOn && answer.outlook ? answer.outlook : answer.probs;
    drawBars(this.bars, probs);
    const [label, share] = Object.entries(probs ?? {}).sort((a, b) => b[1] - a[1])[0] ?? ["–", 0];
    const decided = answer.decided ? `, decided on ${answer.answer} after ${answer.decided_at} tokens` : "";
    this.verdict.textContent = `${label}, ${percent(share)}${decided}; ${ms.toFixed(0)} ms`;
    tell(null);
  }

  async answer(text, rate) {
    if (this.model.kind === "series") return ask("v1/predict", { model: this.model.name, values: numbers(text) });
    if (!this.model.streams) return ask("v1/predict", { model: this.model.name, text });
    return this.reader.read(text, this.model.early_error_rates.includes(rate) ? rate : null);
  }

  async explainNow({ text }) {
    if (text.trim() === "") {
      this.explained.hidden = this.unexplained.hidden = true;
      return;
    }
    try {
      const found = await ask("v1/explain", { model: this.model.name, text });
      const keep = this.explanation && this.chosen;
      this.explanation = found;
      this.text = text;
      const best = found.labels[found.probs.indexOf(Math.max(...found.probs))];
      drawChoices(this.towards, found.labels, keep && found.labels.includes(keep) ? keep : best);
      this.unexplained.hidden = true;
      this.explained.hidden = false;
      this.drawExplanation();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.explained.hidden = true;
      this.unexplained.hidden = false;
      this.unexplained.textContent = error.message;
    }
  }

  drawExplanation() {
    const found = this.explanation;
    const label = found.labels.indexOf(this.towards.value);
    const best = found.probs.indexOf(Math.max(...found.probs));
    this.chosen = label === best ? null : this.towards.value;
    drawTokens(this.place.querySelector(".tokens"), this.text, found.tokens, label);
    drawGates(this.place.querySelector(".gates"), found.tokens);
    drawTable(this.place.querySelector("table"), found.tokens, found.bias, label, this.towards.value);
  }
}

/** Steps of a series: one a line, channels apart by commas or spaces; nothing between commas: missing. */
function numbers(text) {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  return lines.map((line) => {
    const cells = line.includes(",") ? line.split(",") : line.trim().split(/\s+/);
    return cells.map((cell) => {
      if (cell.trim() === "") return null;
      const number = Number(cell);
      if (!Number.isFinite(number)) throw new Error(`${cell.trim()} is not a number.`);
      return number;
    });
  });
}

function tell(error) {
  const place = find("problem");
  place.hidden = error === null;
  place.textContent = error === null ? "" : error.message;
  if (error?.status === 401) openDoor();
}

function openDoor() {
  find("door").hidden = false;
  find("desk").hidden = true;
  find("summary").textContent = token === null ? "Locked." : "That was not the token.";
  find("token").focus();
}

function prepare(models) {
  const cards = models.map((model) => new Card(model));
  const series = models.every((model) => model.kind === "series");
  find("door").hidden = true;
  find("desk").hidden = false;
  find("cards").replaceChildren(...cards.map((card) => card.place));
  find("summary").textContent = models.length === 1
    ? `A classifier of ${series ? "series" : "texts"}, answering while you type.`
    : `${models.length} classifiers side by side, answering while you type.`;
  if (series) {
    find("text-label").textContent = `Series: one step a line, ${models[0].channels.join(", ")}`;
    find("text").placeholder = "0.1, 0.2";
  }
  const rates = [...new Set(models.flatMap((model) => (model.streams ? model.early_error_rates : [])))];
  find("goes-on-row").hidden = !models.some((model) => model.streams);
  find("rate-row").hidden = rates.length === 0;
  for (const rate of rates.sort((a, b) => a - b)) find("rate").append(new Option(percent(rate), rate));

  let timer;
  const input = () => {
    const rate = find("rate").value === "" ? null : Number(find("rate").value);
    const given = { text: find("text").value, goesOn: find("goes-on").checked, rate };
    for (const card of cards) card.predict(given);
    clearTimeout(timer);
    timer = setTimeout(() => {
      for (const card of cards) if (card.model.kind === "text") card.explain(given);
    }, EXPLAIN_AFTER_MS);
  };
  for (const id of ["text", "goes-on", "rate"]) find(id).oninput = input;
  find("text").focus();
  input();
}

async function begin() {
  try {
    prepare((await ask("v1/model")).models);
  } catch (error) {
    if (error.status === 401) openDoor();
    else find("summary").textContent = error.message;
  }
}

find("door").onsubmit = (event) => {
  event.preventDefault();
  token = find("token").value.trim();
  begin();
};
begin();
