// SPDX-License-Identifier: Apache-2.0
// The page: asks for the state every two seconds, shows the list of models, and the one that is chosen.

import { chip, el, number, seconds } from "./elements.js";
import { ModelView } from "./model.js";
import { Numbers } from "./numbers.js";
import * as server from "./server.js";

const EVERY = 2000;
const at = (id) => document.getElementById(id);
const numbers = new Numbers();
const rows = new Map(); // by name: they stay, so that a reader's focus does
let view = null;
let timer = 0;

function chosen(models) {
  const wanted = decodeURIComponent(location.hash.slice(1) || "");
  return models.find((each) => each.name === wanted) || models[0] || null;
}

function show(state) {
  numbers.add(state);
  const { server: self, models } = state;
  const ready = models.filter((each) => each.state === "READY").length;
  const processes = self.processes > 1 ? `, ${self.processes} processes` : "";
  const about = self.draining ? "shutting down" : self.ready ? "ready" : "starting";
  at("server").textContent = `${self.version} · ${about} · ${ready} of ${models.length} models loaded${processes}`;
  document.title = `${ready}/${models.length} models · wasinn`;
  const model = chosen(models);
  list(models, model);
  if (!model) {
    view = null;
    at("model").replaceChildren(el("p", { class: "card soft" }, "This server has no models: start it with --graph or --guest."));
  } else {
    if (!view || !view.isOf(model)) {
      view = new ModelView(model, self, poll);
      at("model").replaceChildren(view.element);
    }
    view.update(model, numbers.of(model.name));
  }
  at("main").hidden = false;
  at("sign-in").hidden = true;
}

function list(models, current) {
  const names = models.map((each) => each.name);
  if (names.length !== rows.size || names.some((name) => !rows.has(name))) {
    rows.clear();
    for (const name of names) rows.set(name, el("a", { href: `#${encodeURIComponent(name)}`, class: "model" }));
    at("models").replaceChildren(...rows.values());
  }
  for (const each of models) {
    const link = rows.get(each.name);
    link.replaceChildren(...row(each));
    const before = link.getAttribute("aria-current");
    if (each !== current) link.removeAttribute("aria-current");
    else if (!before) {
      link.setAttribute("aria-current", "true");
      const box = at("models");
      box.scrollTop = link.offsetTop - box.offsetTop - (box.clientHeight - link.clientHeight) / 2;
    }
  }
}

function row(model) {
  const found = numbers.of(model.name);
  const rate = found.rate == null ? "" : `${number(Number(found.rate.toPrecision(3)))} requests/s`;
  const usual = found.p50 == null ? "" : seconds(found.p50);
  const bad = model.state === "UNAVAILABLE";
  return [
    el("span", { class: "name" }, model.name),
    chip(bad ? "not loaded" : model.state.toLowerCase(), bad ? "bad" : model.state === "READY" ? "good" : "plain"),
    el("span", { class: "soft small" }, [model.kind, rate, found.rate ? usual : ""].filter(Boolean).join(" · ")),
  ];
}

function trouble(text) {
  at("trouble").textContent = text;
  at("trouble").hidden = !text;
}

async function poll() {
  clearTimeout(timer);
  try {
    const state = await server.state();
    trouble("");
    show(state);
  } catch (error) {
    if (error.status === 401) {
      const first = at("sign-in").hidden;
      at("main").hidden = true;
      at("sign-in").hidden = false;
      at("server").textContent = "";
      if (first) at("token").focus();
      return;
    }
    trouble(error instanceof server.Refused ? sentence(error.message) : `The page failed: ${error}`);
    if (!(error instanceof server.Refused)) console.error(error);
  }
  if (!document.hidden) timer = setTimeout(poll, EVERY);
}

function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}.`;
}

at("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  server.signIn(at("token").value.trim());
  at("sign-in-problem").textContent = "";
  try {
    await server.state();
  } catch (error) {
    at("sign-in-problem").textContent = sentence(error.message);
    return;
  }
  at("token").value = "";
  poll();
});
addEventListener("hashchange", poll);
document.addEventListener("visibilitychange", () => document.hidden || poll());
poll();
