// What the page shows of a text: the likeliest classes as bars, tokens, the time it took.
const FEW = 10; // classes that are shown at first
const TIMED = 32; // updates in the mean: one is shorter than what a browser's clock tells apart
const QUIET_MS = 900; // without a key, before the answer is read aloud

const element = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
const times = [];
let classifier, waiting, speaking, shown;

function addRow() {
  const row = document.createElement("li");
  for (const name of ["label", "share", "bar"]) {
    const part = document.createElement("span");
    part.className = name;
    row.append(part);
  }
  row.children[0].dir = "auto";
  row.children[2].setAttribute("aria-hidden", "true");
  element("classes").append(row);
}

function rowsOf(count) {
  const list = element("classes");
  while (list.children.length < count) {
    addRow();
  }
  while (list.children.length > count) {
    list.lastChild.remove();
  }
  return [...list.children];
}

// The likeliest first; without an answer, classes in the model's order.
function showClasses(found) {
  const order = [...classifier.labels.keys()];
  if (found) {
    order.sort((a, b) => found.probabilities[b] - found.probabilities[a] || a - b);
  }
  rowsOf(shown).forEach((row, rank) => {
    const share = found ? found.probabilities[order[rank]] : 0;
    row.children[0].textContent = classifier.labels[order[rank]];
    row.children[1].textContent = found ? percent(share) : "–";
    row.children[2].style.setProperty("--share", share);
  });
  return order[0];
}

function meanTime(milliseconds) {
  times.push(milliseconds);
  times.splice(0, times.length - TIMED);
  const mean = times.reduce((sum, time) => sum + time, 0) / times.length;
  return mean < 1 ? `${Math.round(1000 * mean)} µs` : `${mean.toFixed(1)} ms`;
}

function say(message) {
  clearTimeout(speaking);
  speaking = setTimeout(() => (element("spoken").textContent = message), QUIET_MS);
}

function update() {
  waiting = undefined;
  const start = performance.now();
  let found = null;
  try {
    found = classifier.predict(element("text").value);
  } catch (error) {
    showClasses(null);
    element("numbers").textContent = error.message;
    say(error.message);
    return;
  }
  const time = meanTime(performance.now() - start);
  const best = showClasses(found);
  element("numbers").textContent = found
    ? `${counted(found.tokens, "token")} read, ${time} an update`
    : "Nothing to read yet";
  say(found ? `${classifier.labels[best]}, ${percent(found.probabilities[best])}` : "");
}

// Once a frame, however fast keys come.
function updateSoon() {
  waiting ??= requestAnimationFrame(update);
}

function showAll() {
  shown = classifier.labels.length;
  element("more").hidden = true;
  update();
  element("classes").focus();
}

async function start() {
  try {
    classifier = await Classifier.open(element("model").textContent);
  } catch (error) {
    element("numbers").textContent = `This browser cannot run the model: ${error.message}`;
    return;
  }
  const { length } = classifier.labels;
  shown = Math.min(length, length <= FEW + 2 ? length : FEW);
  element("more").hidden = shown === length;
  element("more").textContent = `Show all ${length} classes`;
  element("more").addEventListener("click", showAll);
  element("text").addEventListener("input", updateSoon);
  update(); // a browser may have kept the text of an earlier visit
}

start();
