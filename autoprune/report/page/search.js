// The search itself: volume over time, where the seconds went, the levels of every candidate, and what it all rests on.

const LINES = 1000; // of more, nobody tells one from another

function drawVolume(state) {
  const seconds = document.getElementById("over").value === "seconds", alone = state.runs.length === 1;
  const traces = state.runs.flatMap((run, place) => {
    const x = (row) => row[seconds ? 0 : 1], said = ([after, trials, volume], who) => `${escaped(who)}<br>${trials} candidates after ${after} s<br>volume ${volume}`;
    const line = {
      x: run.progress.map(x), y: run.progress.map((row) => row[2]), mode: "lines", name: escaped(run.name), hoverinfo: alone ? "skip" : "text",
      text: run.progress.map((row) => said(row, run.name)), line: { shape: "hv", width: 2, color: runColour(place, state.runs), dash: DASHES[place % DASHES.length] },
    };
    return alone ? [line, ...proposed(run, x, said), ...(seconds ? [] : [dismissed(run)])] : [line];
  });
  const figure = layout({ xaxis: { title: { text: seconds ? "seconds" : "candidates evaluated" } }, yaxis: { title: { text: "volume" }, rangemode: "tozero" },
    showlegend: !alone, legend: { orientation: "h", y: 1.02, yanchor: "bottom" }, hovermode: "closest", margin: { l: 50, r: 15, t: 12, b: 40 } });
  return Plotly.react("volume", traces, figure, { ...CONFIG, displayModeBar: false });
}

// On the line of a run, who proposed the candidate that was told then.
function proposed(run, x, said) {
  const row = new Map(run.trials.number.map((number, at) => [number, run.trials.proposer[at]]));
  return run.proposers.map(({ name }, place) => {
    const own = run.progress.filter((each) => row.get(each[3]) === place);
    return { x: own.map(x), y: own.map((each) => each[2]), mode: "markers", name: escaped(name), hoverinfo: "text", text: own.map((each) => said(each, `trial ${each[3]}, by ${name}`)),
      marker: { symbol: SYMBOLS[place % SYMBOLS.length], size: run.progress.length > 200 ? 5 : 9, color: RUNS[place % RUNS.length], line: { width: 1, color: colour("ground") } } };
  });
}

// Marks below the line: plans that were dismissed on their forecast, where they came.
function dismissed(run) {
  const { trials } = run, x = [], text = [];
  let evaluated = 0;
  trials.number.forEach((number, at) => {
    if (trials.state[at] !== "s") return void (evaluated += 1);
    x.push(evaluated);
    text.push(`trial ${number}, by ${escaped(run.proposers[trials.proposer[at]].name)}:<br>dismissed unmeasured`);
  });
  return { x, y: x.map(() => 0), text, mode: "markers", hoverinfo: "text", marker: { symbol: "line-ns-open", size: 12, color: colour("soft"), line: { width: 1.5 } } };
}

const GLYPHS = ["●", "◆", "■", "▲", "▼", "⬟"]; // of SYMBOLS, as text

function drawProposers(state) {
  const heads = ["proposed", "dismissed", "failed", "evaluated", "within the budget", "on the front", "volume added", "seconds"], alone = state.runs.length === 1;
  const symbol = (place) => (alone ? el("span", { style: { color: RUNS[place % RUNS.length] }, "aria-hidden": "true" }, `${GLYPHS[place % GLYPHS.length]} `) : null);
  const rows = state.runs.flatMap((run) => run.proposers.map((row, place) => {
    const numbers = [row.proposed, row.screened, row.failed, row.proposed - row.screened - row.failed, row.within, row.front, row.gain, row.seconds.toFixed(1)];
    return el("tr", {}, el("td", {}, symbol(place), alone ? row.name : `${run.name}, ${row.name}`), numbers.map((each) => el("td", {}, each)));
  }));
  document.getElementById("proposers").replaceChildren(
    el("table", {}, el("thead", {}, el("tr", {}, el("th", {}, "by"), heads.map((head) => el("th", {}, head)))), el("tbody", {}, rows)));
}

function drawStages(state) {
  const most = Math.max(1e-9, ...state.runs.flatMap((run) => run.stages.map(([, took]) => took)));
  document.getElementById("stages").replaceChildren(...state.runs.flatMap((run, place) => {
    const total = run.stages.reduce((sum, [, took]) => sum + took, 0), counted = { c: 0, f: 0, s: 0 };
    for (const each of run.trials.state) counted[each] += 1;
    const within = run.trials.feasible.reduce((sum, each) => sum + each, 0);
    const told = `${counted.c} candidates evaluated, ${counted.c - within} of them beyond the budget; ${counted.f} failed; ${counted.s} dismissed unmeasured`;
    return [
      el("p", { class: "hint" }, (state.runs.length > 1 ? `${run.name}: ` : "") + told),
      ...run.stages.map(([name, took]) => el("div", { class: `part b${Math.min(place, 1)}` }, el("span", {}, name),
        el("b", { style: { width: `${(100 * took) / most}%` } }), el("span", {}, `${took.toFixed(1)} s, ${((100 * took) / total).toFixed(0)} %`))),
    ];
  }));
}

function drawLevels(state) {
  const run = state.runs[state.run], { trials } = run, all = trials.number.map((_, k) => k).filter((k) => trials.state[k] === "c");
  const every = Math.ceil(all.length / LINES) || 1, at = all.filter((k, place) => place % every === 0);
  const box = document.getElementById("levels"), quality = trials.metrics[state.y];
  document.getElementById("levels-colour").textContent = `${state.y}${state.runs.length > 1 ? ` of ${run.name}` : ""}`;
  if (!document.createElement("canvas").getContext("webgl")) {
    box.replaceChildren("This browser has no WebGL, by which these lines are drawn.");
    return null;
  }
  const ends = [state.x, state.y].filter((key) => key in trials.metrics).map((key) => {
    const { factor, title } = axisOf(state, key);
    return { label: title, values: at.map((k) => trials.metrics[key][0][k] / factor) };
  });
  const open = run.groups.filter((group) => group.name in trials.plan && !group.frozen_reason);
  const groups = open.filter((group) => at.some((k) => trials.plan[group.name][k] !== group.size)), left = open.length - groups.length;
  document.getElementById("levels-left").textContent = (left ? ` ${left} groups that no candidate cut are left out.` : "") +
    (every > 1 ? ` ${at.length} of ${all.length} candidates are drawn.` : "");
  const dimensions = groups.map((group) => ({ label: escaped(short(group.name)), range: [0, group.size], values: at.map((k) => trials.plan[group.name][k]) }));
  box.style.minWidth = `${75 * (dimensions.length + ends.length)}px`;
  const values = quality ? at.map((k) => quality[0][k]) : at;
  const sorted = [...values].sort((a, b) => a - b);
  const line = { color: values, colorscale: [[0, colour("best")], [0.5, colour("trial")], [1, colour("front")]], cmin: sorted[Math.floor(0.1 * sorted.length)], cmax: sorted[sorted.length - 1], showscale: true, colorbar: { thickness: 10 } };
  const figure = layout({ margin: { l: 60, r: 30, t: 90, b: 25 } });
  const trace = { type: "parcoords", line, dimensions: [...dimensions, ...ends], labelangle: -25, labelside: "top",
    labelfont: { size: 11 }, tickfont: { size: 10 }, rangefont: { size: 9, color: "rgba(0,0,0,0)" }, unselected: { line: { color: colour("grid"), opacity: 0.3 } } };
  return Plotly.react("levels", [trace], figure, { ...CONFIG, displayModeBar: false });
}

function drawFacts(state) {
  document.getElementById("facts").replaceChildren(...state.runs.flatMap((run) => [
    state.runs.length > 1 ? el("h3", {}, run.name) : null,
    el("table", {}, el("tbody", {}, run.facts.map(([name, text]) => el("tr", {}, el("td", {}, name), el("td", { style: { textAlign: "left", whiteSpace: "normal" } }, text))))),
    run.coverage ? el("p", { class: "coverage" }, run.coverage) : null,
    ...run.commands.map(([name, text]) => el("div", {}, el("span", { class: "hint" }, name), el("pre", {}, text))),
  ]).filter(Boolean));
}
