// One model: its numbers beside the dense model's, its plan as a picture of the network, its training.

function lookUp(state) {
  const run = state.runs[state.run], at = run.trials.number.indexOf(state.trial);
  const plan = {};
  for (const [name, column] of Object.entries(run.trials.plan)) if (at >= 0) plan[name] = column[at];
  const point = run.front.find((each) => each.trial === state.trial);
  return { run, at, point, before: at >= 0 ? trialMetrics(run, at) : null, plan: point ? point.plan : plan };
}

function drawModel(state) {
  const { run, at, point, before, plan } = lookUp(state);
  const named = state.runs.length > 1 ? ` of ${run.name}` : "";
  document.getElementById("model-title").textContent =
    `Trial ${state.trial}${named}` + (point && point.best ? ", the best within the budget" : "");
  const box = document.getElementById("about");
  box.replaceChildren();
  const error = run.trials.errors[state.trial];
  const words = !before ? "" : run.trials.state[at] === "s" ? `dismissed unmeasured: ${error || ""}` : run.trials.state[at] === "f" ? `failed: ${error || ""}` : "";
  if (words) box.append(el("p", {}, words));
  if (before) box.append(el("p", { class: "hint" }, `Proposed by: ${run.proposers[run.trials.proposer[at]].name}`));
  box.append(numbersTable(run, before, point));
  drawNetwork(run, plan);
  drawTraining(state, run);
  drawInside(state);
}

function numbersTable(run, before, point) {
  const own = point && point.finished;
  const head = el("tr", {}, el("th", {}, "metric"), el("th", {}, "dense"), own ? el("th", {}, "finished") : null, el("th", {}, "candidate"));
  const rows = Object.entries(run.metrics).map(([key, { unit }]) => {
    const limit = run.limits.find((each) => each.key === key);
    const bound = limit ? el("small", {}, `budget ${limit.relation === "<=" ? "≤" : "≥"} ${show(limit.bound, unit)}`) : null;
    return el("tr", {}, el("td", {}, key, bound), cell(run.dense[key], unit), own ? cell(point.metrics[key], unit) : null, cell(before && before[key], unit));
  });
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, head), el("tbody", {}, rows)));
}

function cell(numbers, unit) {
  if (!numbers) return el("td", {}, "-");
  const doubt = numbers[3] ? el("abbr", { title: "other work disturbed this measurement" }, " ~") : null;
  return el("td", {}, show(numbers[0], unit), exact(numbers) ? null : el("small", {}, interval(numbers, unit), doubt));
}

function drawNetwork(run, plan) {
  const open = run.groups.filter((group) => !group.frozen_reason), closed = run.groups.length - open.length;
  const costs = Object.values(run.effects)[0];
  const cost = costs ? Object.keys(Object.values(costs)[0].saved)[0] : null;
  const widest = Math.max(1, ...open.map((group) => group.size));
  const gone = droppedLayers(run, plan);
  document.getElementById("legend").textContent =
    "Each bar is as wide as the layer was, filled as far as it was kept; hatched: the block is dropped." +
    (cost ? ` What that level saves of ${cost} and adds to the loss is the forecast for cutting this group alone.` : "") +
    (closed ? ` Not drawn: ${closed} group${closed > 1 ? "s" : ""} that may not be cut.` : "");
  const head = el("div", { class: "group head" }, el("span", { class: "name" }, "group"), el("span", {}), el("span", {}, "kept"),
    el("span", { class: "saved" }, cost ? "saves" : ""), el("span", { class: "loss" }, cost ? "loss" : ""));
  document.getElementById("network").replaceChildren(head, ...open.map((group) => drawGroup(run, plan, group, widest, gone, cost)));
}

function droppedLayers(run, plan) {
  return new Set(run.groups.filter((group) => group.kind === "layer" && plan[group.name] === 0).map((group) => group.name));
}

function drawGroup(run, plan, group, widest, gone, cost) {
  const block = group.kind === "layer", kept = plan[group.name] ?? group.size;
  const dropped = gone.has(group.name) || gone.has(group.layer);
  const share = group.size ? kept / group.size : 1;
  const fill = el("i", { style: { left: `${50 - 50 * share}%`, right: `${50 - 50 * share}%` } });
  const kind = dropped ? "bar dropped" : share === 1 ? "bar whole" : "bar";
  const bar = el("span", { class: kind, style: { width: `${block ? 100 : 100 * Math.sqrt(group.size / widest)}%`, height: block ? ".3rem" : "" } }, fill);
  const told = block ? (dropped ? "dropped" : "block") : dropped ? "gone" : `${kept} of ${group.size}`;
  const effect = (run.effects[group.name] || {})[String(kept)];
  const saved = effect && cost && !(dropped && !block) ? effect.saved[cost] : null;
  const loss = effect && !(dropped && !block) ? effect.loss : null;
  const title = `${group.name}${group.kind ? `, ${group.kind}` : ""}: ${told}`;
  const name = group.layer ? group.name.slice(group.layer.length + 1) : group.name;
  return el("div", { class: `group${block ? " block" : ""}${group.layer ? " inside" : ""}`, title },
    el("span", { class: "name" }, short(name, 26)), bar, el("span", {}, told),
    el("span", { class: "saved" }, saved ? `${(100 * saved).toFixed(1)} %` : ""), el("span", { class: "loss" }, loss ? (loss > 0 ? "+" : "") + (Math.abs(loss) < 1e-4 ? "0" : Number(loss.toPrecision(2))) : ""));
}

function drawTraining(state, run) {
  const { quality, epochs } = run.training, rows = epochs[state.trial];
  document.getElementById("training-part").hidden = !rows;
  if (!rows) return;
  const scored = rows.filter((row) => row[2] !== undefined && row[2] !== null);
  const { before } = lookUp(state);
  const start = before && before[quality] ? [[0, null, before[quality][0]]] : [];
  const line = [...start, ...scored], dense = run.dense_searched[quality];
  const traces = [
    { x: rows.map((row) => row[0]), y: rows.map((row) => row[1]), name: "training loss", yaxis: "y2", mode: "lines", line: { color: colour("trial"), dash: "dot", width: 2 } },
    { x: line.map((row) => row[0]), y: line.map((row) => row[2]), name: `${escaped(quality)}, search split`, mode: "lines+markers", line: { color: colour("front"), width: 2 }, marker: { size: 8 } },
  ];
  const shapes = dense ? [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: dense[0], y1: dense[0], line: { color: colour("ink"), width: 1, dash: "dash" } }] : [];
  const annotations = dense ? [{ xref: "paper", x: 0, xanchor: "left", y: dense[0], yanchor: "bottom", text: "dense", showarrow: false, font: { size: 11 } }] : [];
  Plotly.react("training", traces, layout({
    xaxis: { title: { text: "epoch" }, dtick: rows.length < 12 ? 1 : null }, yaxis: { title: { text: escaped(quality) } },
    yaxis2: { title: { text: "training loss" }, overlaying: "y", side: "right", showgrid: false, automargin: true, nticks: 4, tickformat: ".2~g" },
    shapes, annotations, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, margin: { l: 50, r: 45, t: 25, b: 40 },
  }), { ...CONFIG, displayModeBar: false });
}
