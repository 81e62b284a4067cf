// SPDX-License-Identifier: Apache-2.0
// An answer, drawn: classes as bars, masks and boxes over the picture, text, and numbers.

import { colour, el, number, percent, seconds } from "./elements.js";

const SMALL = 320; // pictures of fewer pixels are enlarged to this side

export function answer(said, head) {
  const masks = said.outputs.filter((each) => each.form === "mask");
  const boxes = said.outputs.filter((each) => each.form === "boxes");
  const base = said.picture ?? masks[0]?.mask;
  const shown = base ? [picture(said, base, masks, boxes)] : [];
  if (said.seen) shown.push(seen(said));
  return el(
    "div",
    { class: "answer" },
    shown.length ? el("div", { class: "pictures" }, shown) : null,
    el("div", { class: "outputs" }, said.outputs.map(output), el("p", { class: "soft small" }, `answered in ${seconds(said.seconds)}`), shell(head)),
  );
}

// -- pictures -----------------------------------------------------------------------------------------

function image(found, alt, more = "") {
  const made = el("img", { src: found.url, alt, class: `${found.tiny ? "tiny" : ""} ${more}` });
  return made;
}

function sized(found) {
  const longest = Math.max(found.width, found.height);
  const scale = longest < SMALL ? SMALL / longest : 1;
  return { maxWidth: `${Math.round(found.width * scale)}px`, aspectRatio: `${found.width} / ${found.height}` };
}

function picture(said, base, masks, boxes) {
  const layers = [];
  let slider = null;
  if (masks.length) {
    const over = said.picture ? image(masks[0].mask, "", "over") : null;
    if (over) {
      over.style.opacity = "0.6";
      layers.push(over);
      slider = el("input", { type: "range", min: 0, max: 100, value: 60, oninput: () => { over.style.opacity = slider.value / 100; } });
    }
  }
  const [width, height] = [base.width, base.height];
  for (const each of boxes) each.boxes.forEach((box, rank) => layers.push(...drawnBox(box, rank, width, height)));
  const used = said.picture?.used;
  if (used && (used[0] > 0.5 || used[1] > 0.5 || used[2] < width - 0.5 || used[3] < height - 0.5)) {
    layers.push(placed("used", used, width, height, { title: "what the model sees" }));
  }
  return el(
    "figure",
    {},
    el("div", { class: "stage", style: sized(base) }, image(base, said.picture ? "the picture that was given" : "the mask"), layers),
    slider ? el("label", { class: "small" }, "mask", slider) : null,
    el("figcaption", { class: "soft small" }, said.picture ? `${width} x ${height} pixels` : "the mask that the model made"),
  );
}

function placed(kind, [left, top, right, bottom], width, height, attributes = {}) {
  const part = (value, whole) => `${(100 * value) / whole}%`;
  return el("div", {
    class: kind,
    ...attributes,
    style: { left: part(left, width), top: part(top, height), width: part(right - left, width), height: part(bottom - top, height) },
  });
}

function drawnBox(box, rank, width, height) {
  const frame = placed("box", [box.left, box.top, box.right, box.bottom], width, height);
  frame.style.borderColor = colour(box.colour);
  const tag = el("span", { class: box.top < 0.08 * height ? "tag inside" : "tag" }, `${rank + 1} ${name(box)}`);
  tag.style.background = colour(box.colour);
  tag.style.color = dark(box.colour) ? "#fff" : "#111";
  frame.append(tag);
  return [frame];
}

function dark([red, green, blue]) {
  return 0.299 * red + 0.587 * green + 0.114 * blue < 140;
}

function seen(said) {
  const found = said.seen;
  return el(
    "figure",
    { class: "seen" },
    el("div", { class: "stage", style: { maxWidth: "9rem", aspectRatio: `${found.width} / ${found.height}` } }, image(found, "what the model is given")),
    el("figcaption", { class: "soft small" }, `as the model is given it: ${found.width} x ${found.height}`),
  );
}

// -- outputs ------------------------------------------------------------------------------------------

function output(each) {
  const made = { classes, mask, boxes, text, facts, numbers }[each.form] ?? numbers;
  const of = el("span", { class: "soft small" }, ` ${each.datatype} [${each.shape.join(", ")}]`);
  return el(
    "section",
    { class: "output" },
    el("h4", {}, each.name, of),
    each.problem ? el("p", { class: "problem" }, each.problem) : null,
    made(each),
  );
}

function name(entry) {
  return entry.label || `class ${entry.index}`;
}

function bars(entries, widest) {
  return el(
    "ol",
    { class: "bars" },
    entries.map(({ label, said, value, colour: own }) => {
      const fill = el("span", { class: "fill", style: { width: `${Math.max(0, Math.min(100, (100 * Math.abs(value ?? 0)) / widest))}%` } });
      if (own) fill.style.background = colour(own);
      return el("li", {}, el("span", { class: "line" }, el("span", { class: "label" }, label), el("span", { class: "number" }, said)), el("span", { class: "track" }, fill));
    }),
  );
}

function classes(each) {
  const share = each.top.every(({ score }) => score == null || (score >= 0 && score <= 1));
  const widest = share ? 1 : Math.max(...each.top.map(({ score }) => Math.abs(score ?? 0)), 1e-9);
  const entries = each.top.map((entry) => ({ label: name(entry), value: entry.score, said: share ? percent(entry.score) : number(entry.score) }));
  return bars(entries, widest);
}

function mask(each) {
  const entries = each.classes.map((entry) => ({
    label: name(entry),
    value: entry.share,
    said: percent(entry.share),
    colour: each.mask.colours[entry.index],
  }));
  const more = each.count - each.classes.length;
  return el("div", {}, bars(entries, 1), more > 0 ? el("p", { class: "soft small" }, `and ${more} more classes`) : null);
}

function boxes(each) {
  if (!each.boxes.length) return el("p", { class: "soft" }, "nothing found with a score that counts");
  const entries = each.boxes.map((box, rank) => ({ label: `${rank + 1} ${name(box)}`, value: box.score, said: percent(box.score), colour: box.colour }));
  const more = each.count - each.boxes.length;
  return el("div", {}, bars(entries, 1), more > 0 ? el("p", { class: "soft small" }, `and ${more} more`) : null);
}

function text(each) {
  const more = each.count - each.texts.length;
  return el("div", {}, each.texts.map((one) => el("pre", { class: "said" }, one || "(empty)")), more > 0 ? el("p", { class: "soft small" }, `and ${more} more`) : null);
}

function facts(each) {
  return el("dl", { class: "facts" }, Object.entries(each.facts).map(([key, value]) => el("div", { class: "fact" }, el("dt", {}, key.replaceAll(/[_-]/g, " ")), el("dd", {}, typeof value === "object" ? JSON.stringify(value) : number(value)))));
}

function numbers(each) {
  const found = each.statistics;
  const rows = [];
  if (each.largest?.length && each.count > 10) {
    const widest = Math.max(...each.largest.map(({ value }) => Math.abs(value ?? 0)), 1e-9);
    rows.push(bars(each.largest.map(({ index, value }) => ({ label: `index ${index}`, value, said: number(value) })), widest));
  }
  if (each.values) {
    const more = each.count > each.values.length ? ` ... (${number(each.count)} in all)` : "";
    rows.push(el("pre", { class: "said" }, `${each.values.map((one) => (typeof one === "string" ? one : number(one))).join("  ")}${more}`));
  }
  if (found && found.count > 1 && found.minimum != null) {
    const odd = [found.nan ? `${found.nan} NaN` : "", found.infinite ? `${found.infinite} infinite` : ""].filter(Boolean);
    rows.push(el("p", { class: "soft small" }, [`${number(found.minimum)} to ${number(found.maximum)}`, `mean ${number(found.mean)}`, `deviation ${number(found.std)}`, ...odd].join(", ")));
  }
  return el("div", {}, rows);
}

// The same request from a shell, where it is short and the protocol's own.
function shell(head) {
  if (head.form !== "tensors" || head.tensors.some((each) => "fill" in each)) return null;
  const body = JSON.stringify({ inputs: head.tensors });
  if (body.length > 2000) return null;
  const quoted = (value) => `'${value.replaceAll("'", "'\\''")}'`;
  const url = `${location.origin}/v2/models/${encodeURIComponent(head.model)}/infer`;
  const text = `curl -s ${quoted(url)} -H 'Content-Type: application/json' \\\n  -d ${quoted(body)}`;
  return el("details", {}, el("summary", { class: "small" }, "the same from a shell"), el("pre", { class: "said" }, text));
}
