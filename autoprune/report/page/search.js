// The search itself: volume over time, where the seconds went, the levels of every candidate, and what it all rests on.

const LINES = 1000; // of more, nobody tells one from another

function drawVolume(state) {
  const traces = state.runs.map((run, place) => ({
    x: run.progress.map((row) => row[0]), y: run.progress.map((row) => row[2]), mode: "lines", name: escaped(run.name), hoverinfo: "text",
    text: run.progress.map(([seconds, trials, volume]) => `${escaped(run.name)}<br>${trials} candidates after ${seconds} s<br>volume ${volume}`),
    line: { shape: "hv", width: 2, color: runColour(place, state.runs), dash: DASHES[place % DASHES.length] },
  }));
  const figure = layout({ xaxis: { title: { text: "seconds" } }, yaxis: { title: { text: "volume" }, rangemode: "tozero" },
    showlegend: state.runs.length > 1, legend: { orientation: "h", y: 1.02, yanchor: "bottom" }, margin: { l: 50, r: 15, t: 12, b: 40 } });
  return Plotly.react("volume", traces, figure, { ...CONFIG, displayModeBar: false });
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
