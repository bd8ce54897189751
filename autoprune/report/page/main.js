// The page as a whole: what is chosen, who is told, keys, light and dark, and news of a search that goes on.

const state = { runs: [], run: 0, trial: null, x: "", y: "", ranges: null, everything: false, zoom: 0, picked: false, tag: "" };
const chart = document.getElementById("front");
const lazy = new Map(); // what is drawn once it comes into view

function later(id, draw) {
  const box = document.getElementById(id), seen = lazy.get(id);
  lazy.set(id, { draw, done: seen ? seen.done : false });
  if (seen) return void (seen.done && draw());
  new IntersectionObserver((entries, watcher) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    watcher.disconnect();
    drawLate(id);
  }, { rootMargin: "300px" }).observe(box);
}

function drawLate(id) {
  const wanted = lazy.get(id);
  lazy.set(id, { ...wanted, done: true });
  wanted.draw();
}

function drawVerdicts() {
  document.getElementById("verdicts").replaceChildren(...state.runs.flatMap((run) => [
    state.runs.length > 1 ? el("h3", {}, `${run.name} (${run.task})`) : null,
    el("dl", { class: "said" }, run.said.flatMap(([name, text], place) => [
      el("dt", { class: place ? "" : "news" }, name), el("dd", { class: place ? "" : "news" }, text)])),
  ]).filter(Boolean));
}

function drawModels() {
  const keys = Object.keys(state.runs[0].metrics), several = state.runs.length > 1;
  const head = el("tr", {}, el("th", {}, several ? "model" : "trial"), keys.map((key) => el("th", {}, key)));
  const rows = state.runs.flatMap((run, place) => [
    el("tr", {}, el("td", {}, several ? `${run.name}, dense` : "dense"), keys.map((key) => el("td", {}, show((run.dense[key] || [])[0], (run.metrics[key] || {}).unit)))),
    ...run.front.map((point) => {
      const mark = point.best ? " ★ best" : point.uncertain ? " uncertain" : point.feasible ? "" : " beyond";
      const picked = place === state.run && point.trial === state.trial;
      const button = el("button", { type: "button", "aria-pressed": String(picked) }, `${several ? `${run.name}, ` : ""}${point.trial}${mark}`);
      const row = el("tr", { class: picked ? "pick chosen" : "pick" }, el("td", {}, button), keys.map((key) => el("td", {}, show((point.metrics[key] || [])[0], (run.metrics[key] || {}).unit))));
      row.addEventListener("click", () => choose(place, point.trial, true));
      return row;
    }),
  ]);
  const held = document.activeElement && document.activeElement.closest("#models");
  document.getElementById("models").replaceChildren(el("thead", {}, head), el("tbody", {}, rows));
  if (held) document.querySelector("#models .chosen button")?.focus();
}

function choose(run, trial, told) {
  Object.assign(state, { run, trial, picked: true });
  if (told) history.replaceState(null, "", `#${run}/${trial}`);
  drawModels();
  drawModel(state);
  drawFront(state);
}

function drawAll(reset) {
  drawVerdicts();
  drawFacts(state);
  for (const part of document.querySelectorAll("main > :not(header):not(#rests)")) part.hidden = !state.x;
  if (!state.x) return; // nothing was measured so far, or of all runs the same
  drawFront(state, reset);
  if (!chart.dataset.heard) chart.on("plotly_click", ({ points: [{ customdata }] }) => customdata && customdata[1] !== "dense" && choose(...customdata, true));
  chart.dataset.heard = "yes";
  drawModels();
  drawModel(state);
  drawStages(state);
  drawProposers(state);
  later("volume", () => drawVolume(state));
  later("levels", () => drawLevels(state));
}

function take({ runs, warnings }) {
  state.runs = runs;
  document.getElementById("notice").textContent = warnings.join("; ");
  const known = state.runs.map((run) => Object.keys(run.metrics)), keys = known[0].filter((key) => known.every((each) => each.includes(key)));
  const costs = keys.filter((key) => !runs[0].metrics[key].quality);
  for (const [id, others] of [["x", () => costs], ["y", () => keys.filter((key) => key !== state.x)]]) {
    state[id] = [state[id], runs[0].axes[id], ...others()].find((key) => keys.includes(key)) ?? keys[0];
    const list = document.getElementById(id), same = [...list.options].map((each) => each.value).join() === keys.join();
    if (!same) list.replaceChildren(...keys.map((each) => el("option", { value: each, selected: each === state[id] }, each)));
  }
  const run = state.runs[state.run] || state.runs[(state.run = 0)];
  if (!state.picked || !run.trials.number.includes(state.trial)) state.trial = (run.front.find((point) => point.best) || run.front[0] || { trial: run.trials.number[0] }).trial ?? null;
}

function onKey(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step) {
    const run = state.runs[state.run], points = event.shiftKey ? [] : drawn(run, state.x, state.y);
    const numbers = points.length ? points.map((point) => point.trial) : run.trials.number, place = numbers.indexOf(state.trial);
    if (numbers.length) choose(state.run, numbers[Math.min(Math.max(place < 0 ? 0 : place + step, 0), numbers.length - 1)], true);
  } else if (event.key === "0" || event.key === "9") zoomTo(event.key === "9");
  else if (event.key === "+" || event.key === "-") {
    const change = {}, factor = event.key === "+" ? 0.4 : 0.65, shown = document.getElementById("front").layout;
    for (const name of ["xaxis", "yaxis"]) {
      const [low, high] = shown[name].range, middle = (low + high) / 2;
      change[`${name}.range`] = [middle - factor * (high - low), middle + factor * (high - low)];
    }
    Plotly.relayout("front", change);
  } else return;
  event.preventDefault();
}

function zoomTo(everything) {
  state.everything = everything;
  drawFront(state, true);
}

// What has changed since it was asked last; null where nothing has, or nobody answers.
async function news() {
  try {
    const answer = await fetch("data.json", { cache: "no-cache" }), tag = answer.headers.get("etag");
    if (!answer.ok) throw new Error(await answer.text());
    if (tag === state.tag) return null;
    state.tag = tag;
    return await answer.json();
  } catch (error) {
    document.getElementById("notice").textContent = `The search is not being followed: ${error.message}`;
    return null;
  }
}

async function follow() {
  setTimeout(follow, 2000);
  const found = await news();
  if (!found) return;
  take(found);
  drawAll(false);
}

take(JSON.parse(document.getElementById("data").textContent));
const [linkedRun, linkedTrial] = location.hash.slice(1).split("/").map(Number);
if (state.runs[linkedRun]?.trials.number.includes(linkedTrial)) Object.assign(state, { run: linkedRun, trial: linkedTrial, picked: true });
drawAll(true);
chart.addEventListener("keydown", onKey);
for (const id of ["x", "y"]) document.getElementById(id).addEventListener("change", (event) => { state[id] = event.target.value; drawFront(state, true); if (id === "y") later("levels", () => drawLevels(state)); });
document.getElementById("cost").addEventListener("change", () => drawInside(state));
document.getElementById("over").addEventListener("change", () => drawVolume(state));
document.getElementById("closer").addEventListener("click", () => zoomTo(false));
document.getElementById("whole").addEventListener("click", () => zoomTo(true));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(false));
matchMedia("print").addEventListener("change", () => drawAll(false));
addEventListener("beforeprint", () => { for (const id of lazy.keys()) drawLate(id); });
if (document.body.dataset.live === "True") setTimeout(follow, 2000);
