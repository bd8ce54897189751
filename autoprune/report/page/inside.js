// Inside one model: what its modules cost beside those of the dense one, and which of its slices stayed.

const ROWS = 24; // modules beyond the largest so many are told together
const LEAST = 0.01; // of a whole model, what between its modules is told

function drawInside(state) {
  const { run, plan } = lookUp(state);
  document.getElementById("inside-title").textContent = `Inside trial ${state.trial}${state.runs.length > 1 ? ` of ${run.name}` : ""}`;
  drawModules(state, run);
  drawImportance(run, plan);
  document.getElementById("inside").hidden = !Object.keys(run.module_costs).length && !Object.keys(run.importance).length;
}

function drawModules(state, run) {
  const keys = Object.keys(run.module_costs), list = document.getElementById("cost");
  document.getElementById("modules-part").hidden = !keys.length;
  if (!keys.length) return;
  if ([...list.options].map((each) => each.value).join() !== keys.join()) list.replaceChildren(...keys.map((key) => el("option", { value: key }, key)));
  const key = list.value, { names, error, dense, models } = run.module_costs[key], own = models[state.trial], { unit } = run.metrics[key] || { unit: "1" };
  const certain = error ? `by the forecast, which is ${(100 * error).toFixed(1)} % off in whole models (one standard deviation), stretched to what was measured of each` : "as it is counted";
  document.getElementById("modules-legend").textContent = own
    ? `What each module adds to ${key} by its own work, ${certain}. Outlined: dense; filled: this model.`
    : `What each module of the dense model adds to ${key}, ${certain}. Of models that are not on the front it is not told.`;
  const total = (numbers) => numbers.reduce((sum, each) => sum + each, 0), all = total(dense), left = own && total(own);
  const most = Math.max(...dense, ...(own || [])), [suffix, factor] = stepOf(all, unit);
  const digits = (value) => Number((value / factor).toFixed(Math.max(0, 3 - Math.floor(Math.log10(all / factor)))));
  const row = (name, was, is, widest, kind = "") => el("div", { class: `module${kind}`, title: name },
    el("span", { class: "name" }, short(name, letters())),
    el("span", { class: "pair" }, el("i", { class: "was", style: { width: `${(100 * Math.max(was, 0)) / widest}%` } }), is > 0 ? el("i", { class: "is", style: { width: `${(100 * is) / widest}%` } }) : null),
    el("span", {}, `${digits(was)}${own ? ` → ${digits(is)}` : ""}`));
  const at = names.map((_, k) => k), share = (k) => Math.max(dense[k] / all, own ? own[k] / left : 0);
  const large = new Set([...at].sort((a, b) => share(b) - share(a)).slice(0, ROWS)), small = at.filter((k) => !large.has(k));
  const sum = (numbers) => small.reduce((found, k) => found + numbers[k], 0);
  document.getElementById("modules").replaceChildren(
    el("div", { class: "module head" }, el("span", { class: "name" }, "module"), el("span", {}), el("span", {}, suffix)),
    ...at.filter((k) => large.has(k)).map((k) => row(names[k] || "model itself", dense[k], own ? own[k] : 0, most)),
    ...[[small.length ? `${small.length} smaller ones` : "", sum(dense), own ? sum(own) : 0],
      [Math.abs(dense[names.length]) >= LEAST * all ? "between modules" : "", dense[names.length], own ? own[names.length] : 0],
      ["whole model", all, left],
    ].filter(([name]) => name).map((numbers, place) => row(...numbers, Math.max(all, left || 0), place ? "" : " sum")));
}

function drawImportance(run, plan) {
  const gone = droppedLayers(run, plan), groups = run.groups.filter((group) => group.name in run.importance);
  document.getElementById("importance-part").hidden = !groups.length;
  document.getElementById("importance").replaceChildren(
    el("div", { class: "slices head" }, el("span", { class: "name" }, "group"), el("span", {}), el("span", {}, "kept"), el("span", {}, "importance")),
    ...groups.map((group) => {
      const { shares, step } = run.importance[group.name], kept = gone.has(group.layer) ? 0 : plan[group.name] ?? group.size;
      const [edge, end] = [kept / step, group.size / step], part = (share, k) => share * Math.min(Math.max((edge - k) / Math.min(end - k, 1), 0), 1);
      const stays = shares.reduce((sum, share, k) => sum + part(share, k), 0), title = `${group.name}: ${kept} of ${group.size} slices are kept, which have ${(100 * stays).toFixed(0)} % of its importance`;
      return el("div", { class: "slices", title }, el("span", { class: "name" }, short(group.name, letters())), profile(shares, edge, end, title),
        el("span", {}, `${kept} of ${group.size}`), el("span", {}, `${(100 * stays).toFixed(0)} %`));
    }));
}

const letters = () => (document.body.clientWidth < 520 ? 15 : 28); // of a name, as many as fit

// Bars from the most important slice to the least, those before the edge filled.
function profile(shares, edge, end, title) {
  const heights = shares.map((share, k) => share / Math.min(end - k, 1)), highest = Math.max(...heights);
  const bars = (low, high) => heights.map((height, k) => {
    const [left, right] = [Math.max(k, low), Math.min(k + 1, high)];
    return right > left ? `M${left} 1V${1 - Math.sqrt(height / highest)}H${right}V1Z` : "";
  }).join("");
  return drawing("svg", { viewBox: `0 0 ${end} 1`, preserveAspectRatio: "none", role: "img", "aria-label": title },
    drawing("path", { d: bars(0, edge), class: "kept" }), drawing("path", { d: bars(edge, end), class: "cut" }),
    drawing("path", { d: `M${edge} 0V1`, class: "edge", "vector-effect": "non-scaling-stroke" }));
}

function drawing(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
