// SPDX-License-Identifier: Apache-2.0
// From the server's totals to what happens now: differences between two looks, and their last two minutes.

import { drawn, el, number, seconds } from "./elements.js";

const KEPT = 60;

export class Numbers {
  constructor() {
    this.looks = []; // {time, models: {name: counted}}
  }

  add(state) {
    const models = Object.fromEntries(state.models.map((each) => [each.name, each.counted]));
    const last = this.looks.at(-1);
    // Two looks in short order are one: a rate of so short a time says nothing.
    if (last && this.looks.length > 1 && state.server.time - last.time < 0.5) this.looks.pop();
    this.looks.push({ time: state.server.time, models });
    if (this.looks.length > KEPT) this.looks.shift();
  }

  of(name) {
    const now = this.looks.at(-1)?.models[name] || {};
    const steps = [];
    for (let at = 1; at < this.looks.length; at += 1) {
      const [before, after] = [this.looks[at - 1], this.looks[at]];
      const count = total(after.models[name]) - total(before.models[name]);
      // Fewer than before: the server was started anew.
      steps.push(count < 0 ? 0 : count / (after.time - before.time));
    }
    const rate = steps.length ? steps.at(-1) : null;
    return { now, steps, rate, p50: quantile(now.seconds, 0.5) };
  }
}

export function total(counted) {
  return Object.values(counted?.statuses || {}).reduce((sum, each) => sum + each, 0);
}

// The time below which `share` of a histogram's requests lie; between two edges by proportion.
export function quantile(histogram, share) {
  if (!histogram?.count) return null;
  const wanted = share * histogram.count;
  let [low, below] = [0, 0];
  for (const [edge, upTo] of histogram.buckets) {
    if (upTo >= wanted) return edge == null ? low : low + ((edge - low) * (wanted - below)) / (upTo - below || 1);
    [low, below] = [edge ?? low, upTo];
  }
  return low;
}

function mean(histogram) {
  return histogram?.count ? histogram.sum / histogram.count : null;
}

function fact(name, value, more = "") {
  return el("div", { class: "fact" }, el("dt", {}, name), el("dd", {}, value, more && el("span", { class: "soft" }, ` ${more}`)));
}

export function facts(model, found) {
  const { now } = found;
  const failed = Object.entries(now.statuses || {}).filter(([status]) => status >= "400");
  const result = [
    fact("requests", number(total(now)), found.rate ? `${Number(found.rate.toPrecision(3))} a second` : ""),
    fact("half of them within", seconds(quantile(now.seconds, 0.5))),
    fact("99 % within", seconds(quantile(now.seconds, 0.99))),
    fact("working, waiting", `${number(now.running ?? 0)}, ${number(now.waiting ?? 0)}`),
    fact("mean wait for a place", seconds(mean(now.queued))),
  ];
  if (now.compute?.count) result.push(fact("mean compute", seconds(mean(now.compute))));
  if (now.batches?.count) result.push(fact("mean batch", `${Number(mean(now.batches).toPrecision(3))} rows`));
  if (model.kind === "graph") result.push(fact("contexts used, kept", `${now.used ?? 0}, ${now.idle ?? 0}`));
  result.push(fact("refused or failed", number(failed.reduce((sum, [, count]) => sum + count, 0))));
  return el("dl", { class: "facts" }, result);
}

export function failures(found) {
  const kinds = Object.entries(found.now.failures || {}).sort((a, b) => b[1] - a[1]);
  if (!kinds.length) return null;
  return el(
    "p",
    { class: "small soft" },
    "by kind: ",
    kinds.map(([kind, count]) => `${kind.replaceAll("_", " ")} ${number(count)}`).join(", "),
  );
}

export function chart(steps) {
  const [width, height] = [240, 44];
  const most = Math.max(1, ...steps);
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", preserveAspectRatio: "none" });
  svg.setAttribute("aria-label", `requests a second in the last two minutes, at most ${Number(most.toPrecision(3))}`);
  const step = width / (KEPT - 1);
  const first = width - (steps.length - 1) * step;
  const points = steps.map((each, at) => `${(first + at * step).toFixed(1)},${(height - 1 - (each / most) * (height - 4)).toFixed(1)}`);
  if (points.length > 1) {
    svg.append(drawn("polygon", { points: `${first},${height} ${points.join(" ")} ${width},${height}`, class: "under" }));
    svg.append(drawn("polyline", { points: points.join(" "), class: "line" }));
  }
  const peak = Math.max(0, ...steps);
  const said = peak ? `requests a second in the last two minutes, at most ${Number(peak.toPrecision(3))}` : "no requests since this page was opened";
  return el("figure", {}, svg, el("figcaption", { class: "small soft" }, said));
}
