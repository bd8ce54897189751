// The front: candidates, finished models with their intervals, limits and the dense model, on any two metrics.

const FAR = 4; // costs that differ by more are drawn by factors
const LOST = 5; // times the middle drop of quality on the front is no model that anybody wants
const MANY = 2000; // points that are drawn by WebGL

function axisOf(state, key) {
  const about = state.runs.map((run) => run.metrics[key]).find(Boolean);
  const values = state.runs.flatMap((run) => [...run.front.map((point) => point.metrics[key]), run.dense[key]]);
  const known = values.filter(Boolean).map((numbers) => Math.abs(numbers[0])).filter((value) => value > 0).sort((a, b) => a - b);
  const [suffix, factor] = stepOf(known[known.length >> 1] || 1, about.unit);
  return { key, about, factor, title: escaped(key + (suffix ? ` [${suffix}]` : "")) };
}

// Of the front what is worth looking at closely: a model that has lost almost everything would push the others together.
function reachable(run, key) {
  const dense = run.dense[key], points = run.front.filter((point) => point.metrics[key]);
  if (!dense || !run.metrics[key].quality) return run.front;
  const drops = points.map((point) => Math.abs(point.metrics[key][0] - dense[0])), middle = [...drops].sort((a, b) => a - b)[drops.length >> 1];
  return points.filter((point, at) => point.best || drops[at] <= LOST * middle);
}

// The values that should be seen: finished models, what limits them, and candidates that are not far off.
function rangeOf(state, axis) {
  const own = [], near = [];
  for (const run of state.runs) {
    for (const point of reachable(run, state.y)) if (point.metrics[axis.key]) own.push(...point.metrics[axis.key].slice(0, 3));
    for (const limit of run.limits) if (limit.key === axis.key) own.push(limit.bound);
    if (run.dense[axis.key]) (axis.about.quality ? own : near).push(run.dense[axis.key][0]);
    const column = run.trials.metrics[axis.key];
    if (column) near.push(...column[0].filter((value, at) => value !== null && (run.trials.feasible[at] || axis.about.quality)));
  }
  const base = own.length ? own : near;
  if (!base.length) return null;
  let low = Math.min(...base), high = Math.max(...base);
  if (axis.about.quality) {
    const reach = high - low || 0.05 * Math.max(Math.abs(high), 1e-9);
    for (const value of near) if (value > low - reach && value < high + reach) { low = Math.min(low, value); high = Math.max(high, value); }
  } else for (const value of near) { low = Math.min(low, value); high = Math.max(high, value); }
  const byFactors = !axis.about.quality && low > 0 && high > FAR * low;
  [low, high] = [low / axis.factor, high / axis.factor];
  if (byFactors) {
    const margin = (high / low) ** 0.06;
    return { type: "log", range: [Math.log10(low / margin), Math.log10(high * margin)], tickvals: ticksOf(low / margin, high * margin) };
  }
  const margin = 0.06 * (high - low || Math.abs(high) || 1);
  return { type: "linear", range: [low - margin, high + margin], tickvals: null };
}

// On a logarithmic axis: round numbers, so many that some are seen wherever it is looked at closely.
function ticksOf(low, high) {
  const steps = high / low > 100 ? [1] : high / low > 12 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 7], found = [];
  for (let power = Math.floor(Math.log10(low)) - 1; power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const step of steps) found.push(Number((step * 10 ** power).toPrecision(3)));
  }
  return found;
}

function hover(run, trial, metrics, what) {
  const lines = Object.keys(run.metrics).filter((key) => metrics[key]).slice(0, 8);
  const named = state.runs.length > 1 ? `${escaped(run.name)}, ` : "";
  return [`<b>${named}${trial}</b>`, escaped(what), ...lines.map((key) => escaped(`${key}: ${shown(metrics[key], run.metrics[key].unit)}`))].join("<br>");
}

function trialMetrics(run, at) {
  const found = {};
  for (const [key, column] of Object.entries(run.trials.metrics)) {
    if (column[0][at] !== null) found[key] = column.map((part) => part[at]);
  }
  return found;
}

function candidates(state, place, x, y, kind) {
  const run = state.runs[place], { trials } = run;
  const at = trials.number.map((_, k) => k).filter((k) => trials.state[k] === "c" && Boolean(trials.feasible[k]) === kind);
  const of = (axis) => (axis.key in trials.metrics ? at.map((k) => trials.metrics[axis.key][0][k] / axis.factor) : []);
  const word = kind ? "candidate, before fine-tuning" : "candidate beyond the budget";
  return {
    type: at.length > MANY ? "scattergl" : "scatter", mode: "markers", x: of(x), y: of(y), hoverinfo: "text",
    text: at.map((k) => hover(run, `trial ${trials.number[k]}`, trialMetrics(run, k), word)),
    customdata: at.map((k) => [place, trials.number[k]]), name: word + (state.runs.length > 1 ? ` (${escaped(run.name)})` : ""),
    marker: { size: kind ? 7 : 8, opacity: at.length > MANY ? 0.35 : 0.75, symbol: kind ? "circle" : "x-thin",
      color: state.runs.length > 1 ? runColour(place, state.runs) : colour("trial"),
      line: { width: kind ? 0 : 1.5, color: state.runs.length > 1 ? runColour(place, state.runs) : colour("trial") } },
    showlegend: state.runs.length === 1 && at.length > 0,
  };
}

// The models of a front that have both metrics, from left to right.
function drawn(run, x, y) {
  return run.front.filter(({ metrics }) => metrics[x] && metrics[y]).sort((a, b) => a.metrics[x][0] - b.metrics[x][0]);
}

function finished(state, place, x, y) {
  const run = state.runs[place], ink = runColour(place, state.runs), points = drawn(run, x.key, y.key);
  const value = (axis) => points.map((point) => point.metrics[axis.key][0] / axis.factor);
  const bars = (axis) => ({
    type: "data", symmetric: false, thickness: 1.2, width: 4, color: ink,
    array: points.map(({ metrics: { [axis.key]: m } }) => (m[2] - m[0]) / axis.factor),
    arrayminus: points.map(({ metrics: { [axis.key]: m } }) => (m[0] - m[1]) / axis.factor),
  });
  const what = (point) => (point.finished ? "finished model" : "candidate, not finished") +
    (point.best ? ", best within the budget" : point.uncertain ? ", not certain to be within the budget" : point.feasible ? "" : ", beyond the budget");
  return {
    type: "scatter", mode: "lines+markers", x: value(x), y: value(y), error_x: bars(x), error_y: bars(y), hoverinfo: "text",
    text: points.map((point) => hover(run, `trial ${point.trial}`, point.metrics, what(point))),
    customdata: points.map((point) => [place, point.trial]),
    name: `${run.front.some((point) => point.finished) ? "finished models, 95 % intervals" : "front so far"}${state.runs.length > 1 ? ` (${escaped(run.name)})` : ""}`,
    line: { shape: "hv", width: 1.2, color: ink, dash: DASHES[place % DASHES.length] },
    marker: { color: points.map((point) => (point.best ? colour("best") : point.feasible ? ink : colour("ground"))), size: points.map((point) => (point.best ? 18 : 10)),
      symbol: points.map((point) => (point.best ? "star" : SYMBOLS[place % SYMBOLS.length])), line: { color: ink, width: 1.6 } },
  };
}

function limits(state, x, y) {
  const shapes = [], annotations = [], seen = new Set();
  for (const run of state.runs) for (const limit of run.limits) {
    const axis = limit.key === x.key ? x : limit.key === y.key ? y : null, told = `${limit.text} ${limit.bound}`;
    if (!axis || seen.has(told)) continue;
    seen.add(told);
    const at = limit.bound / axis.factor, across = axis === x, over = limit.relation === "<=";
    const line = { color: colour("limit"), width: 1.5, dash: "dash" };
    shapes.push({ type: "line", ...(across ? { x0: at, x1: at, yref: "paper", y0: 0, y1: 1 } : { y0: at, y1: at, xref: "paper", x0: 0, x1: 1 }), line });
    const text = `budget: ${escaped(limit.text)}`;
    annotations.push(across
      ? { x: placed(state.ranges.x, at), yref: "paper", y: 1, text, xanchor: "center", yanchor: "bottom", showarrow: false, font: { color: colour("limit"), size: 12 } }
      : { y: at, xref: "paper", x: 0, text, xanchor: "left", yanchor: over ? "bottom" : "top", showarrow: false, font: { color: colour("limit"), size: 12 } });
  }
  const outside = state.everything ? 0 : state.runs.reduce((sum, run) => sum + run.front.length - reachable(run, y.key).length, 0);
  if (outside) annotations.push({ xref: "paper", yref: "paper", x: 0, y: 0, xanchor: "left", yanchor: "bottom", showarrow: false,
    text: `${outside} model${outside > 1 ? "s" : ""} of the front lie${outside > 1 ? "" : "s"} outside`, font: { size: 11, color: colour("soft") } });
  return { shapes, annotations: [...annotations, ...labels(state, x, y)] };
}

// The two models that everybody looks for are named where they are.
function labels(state, x, y) {
  const named = (metrics, text, name, ay) => ({
    x: placed(state.ranges.x, metrics[x.key][0] / x.factor), y: metrics[y.key][0] / y.factor, text, ax: 0, ay,
    showarrow: true, arrowhead: 0, arrowcolor: colour(name), font: { color: colour(name), size: 12 }, bgcolor: colour("ground"), borderpad: 1, opacity: 0.9,
  });
  const seen = (metrics) => metrics && metrics[x.key] && metrics[y.key];
  return state.runs.flatMap((run, place) => {
    const best = run.front.find((point) => point.best), prefix = state.runs.length > 1 ? `${escaped(run.name)}: ` : "";
    return [seen(run.dense) && place === 0 ? named(run.dense, "dense", "ink", 28) : null,
      best && seen(best.metrics) ? named(best.metrics, `${prefix}trial ${best.trial}, best`, "best", 42 + 18 * place) : null].filter(Boolean);
  });
}

const placed = (range, value) => (range && range.type === "log" ? Math.log10(value) : value);

function denseModels(state, x, y) {
  return state.runs.map((run, place) => ({
    type: "scatter", mode: "markers", hoverinfo: "text", customdata: [[place, "dense"]],
    x: [run.dense[x.key] && run.dense[x.key][0] / x.factor], y: [run.dense[y.key] && run.dense[y.key][0] / y.factor],
    text: [hover(run, "dense model", run.dense, "as it was given")], name: "dense model", showlegend: place === 0,
    marker: { symbol: "square", size: 11, color: colour("ground"), line: { width: 2, color: state.runs.length > 1 ? runColour(place, state.runs) : colour("ink") } },
  }));
}

// The chosen model, and the way from the candidate to what it was finished as.
function chosen(state, x, y) {
  const { before, point } = lookUp(state);
  const of = (metrics) => (metrics && metrics[x.key] && metrics[y.key] ? [metrics[x.key][0] / x.factor, metrics[y.key][0] / y.factor] : null);
  const way = [of(before), of(point && point.metrics)].filter(Boolean), last = way.length - 1;
  return {
    type: "scatter", mode: "lines+markers", x: way.map((at) => at[0]), y: way.map((at) => at[1]), hoverinfo: "skip", showlegend: false,
    line: { width: 1, color: colour("ink"), dash: "dot" },
    marker: { size: way.map((_, k) => (k === last ? 24 : 12)), symbol: "circle-open", color: colour("ink"), line: { width: 2 } },
  };
}

// Several models of a front as one, whose latency is the mean over requests.
function bundles(state, place, x, y) {
  const run = state.runs[place], points = run.bundles.filter(({ metrics }) => metrics[x.key] && metrics[y.key]);
  const of = (axis) => points.map(({ metrics }) => metrics[axis.key][0] / axis.factor);
  return {
    type: "scatter", mode: "markers+text", x: of(x), y: of(y), hoverinfo: "text", showlegend: points.length > 0, name: "bundles, mean over requests",
    text: points.map(({ name }) => escaped(name)), textposition: "top center", textfont: { size: 11 },
    hovertext: points.map((point) => hover(run, `bundle ${escaped(point.name)}`, point.metrics, point.told)),
    marker: { size: 12, symbol: "diamond-open", color: runColour(place, state.runs), line: { width: 2 } },
  };
}

function drawFront(state, reset) {
  const x = axisOf(state, state.x), y = axisOf(state, state.y);
  state.ranges = { x: rangeOf(state, x), y: rangeOf(state, y) };
  if (reset) state.zoom += 1; // what a reader has zoomed to stays until then
  const places = state.runs.map((_, place) => place);
  const traces = [
    ...places.flatMap((place) => [candidates(state, place, x, y, false), candidates(state, place, x, y, true)]),
    ...denseModels(state, x, y), chosen(state, x, y), ...places.map((place) => finished(state, place, x, y)),
    ...places.map((place) => bundles(state, place, x, y)),
  ];
  const narrow = document.getElementById("front").clientWidth < 480;
  const ranges = state.everything ? { x: { type: state.ranges.x.type, autorange: true }, y: { autorange: true } } : state.ranges;
  const figure = layout({
    xaxis: { title: { text: x.title }, ...ranges.x }, yaxis: { title: { text: y.title }, ...ranges.y },
    ...limits(state, x, y), uirevision: `${state.x} ${state.y} ${state.zoom} ${state.everything}`, hovermode: "closest",
    legend: { orientation: "h", x: 0, yref: "container", y: 0, yanchor: "bottom", font: { size: narrow ? 11 : 12 } },
    margin: { l: 50, r: 12, t: 52, b: narrow ? 125 : 90 }, dragmode: narrow ? false : "zoom",
  });
  return Plotly.react("front", traces, figure, CONFIG);
}
