// SPDX-License-Identifier: Apache-2.0
// Elements of the page. Text is set as text, never as HTML: names and labels come from models.

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "style") Object.assign(made.style, value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((each) => each != null && each !== false));
  return made;
}

export function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function chip(text, kind = "plain") {
  return el("span", { class: `chip ${kind}` }, text);
}

export function percent(value) {
  if (value == null) return "not a number";
  return value >= 0 && value <= 1 ? `${(100 * value).toFixed(value > 0.9995 && value < 1 ? 2 : 1)} %` : number(value);
}

export function number(value) {
  if (value == null) return "-";
  if (typeof value === "string") return value;
  if (Number.isInteger(value)) return value.toLocaleString("en").replaceAll(",", "\u202f");
  return String(Number(value.toPrecision(5)));
}

export function seconds(value) {
  if (value == null || !Number.isFinite(value)) return "-";
  if (value < 0.0005) return `${Math.round(value * 1e6)} µs`;
  if (value < 1) return `${Number((value * 1e3).toPrecision(3))} ms`;
  return `${Number(value.toPrecision(3))} s`;
}

export function colour([red, green, blue]) {
  return `rgb(${red}, ${green}, ${blue})`;
}
