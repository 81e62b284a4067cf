// SPDX-License-Identifier: Apache-2.0
// One model: what it takes and gives, its numbers, and the forms to try it.

import { Asking } from "./asking.js";
import { chip, el } from "./elements.js";
import { chart, facts, failures } from "./numbers.js";
import * as server from "./server.js";

export class ModelView {
  constructor(model, self, changed) {
    this.key = keyOf(model);
    this.numbers = el("section", { class: "card" });
    this.problem = el("p", { class: "problem", role: "alert" });
    const ready = model.state === "READY" || model.forms;
    this.element = el(
      "article",
      {},
      el("header", { class: "head" }, el("h2", {}, model.name), ...chips(model), buttons(model, self, this.problem, changed)),
      this.problem,
      model.reason && model.state !== "READY" ? el("p", { class: "trouble" }, model.reason) : null,
      model.description ? el("p", {}, model.description) : null,
      ready ? new Asking(model, self, () => setTimeout(changed, 900)).element : null,
      ready ? ports(model) : null,
      this.numbers,
    );
  }

  isOf(model) {
    return this.key === keyOf(model);
  }

  update(model, found) {
    this.numbers.replaceChildren(el("h3", {}, "Numbers"), chart(found.steps), facts(model, found), failures(found) ?? "");
  }
}

// What the view is made of, but the numbers: while this stays, so does what someone has typed.
function keyOf(model) {
  const { counted, ...rest } = model;
  return JSON.stringify(rest);
}

function chips(model) {
  const texts = [model.kind];
  if (model.guest) texts.push(model.guest.form);
  else if (model.platform) texts.push(model.platform);
  if (model.isolated) texts.push("in a process of its own");
  return texts.map((each) => chip(each));
}

function buttons(model, self, problem, changed) {
  if (!self.repository) return null;
  const button = (text, action) =>
    el(
      "button",
      {
        type: "button",
        class: "quiet",
        onclick: async (event) => {
          event.target.disabled = true;
          problem.textContent = "";
          try {
            await action(model.name);
          } catch (error) {
            problem.textContent = error.message;
          }
          event.target.disabled = false;
          changed();
        },
      },
      text,
    );
  const loaded = model.state === "READY";
  return el("span", { class: "buttons" }, button(loaded ? "Load anew" : "Load", server.load), loaded ? button("Unload", server.unload) : null);
}

function ports(model) {
  const side = (title, list, none) =>
    el(
      "div",
      {},
      el("h4", {}, title),
      list.length ? el("ul", { class: "ports" }, list.map(port)) : el("p", { class: "soft" }, none),
    );
  const guest = model.kind === "guest";
  return el(
    "section",
    { class: "card" },
    el("h3", {}, "What it takes and gives"),
    el(
      "div",
      { class: "two" },
      side("Inputs", model.inputs, guest ? "Whatever the guest understands: none are declared for it." : "none"),
      side("Outputs", model.outputs, guest ? "Whatever the guest answers: none are declared for it." : "none"),
    ),
    model.contract || guest || model.forms.includes("prompt")
      ? null
      : el("p", { class: "soft small" }, "No contract says what these numbers mean. One beside the model, MODEL.contract.toml, would."),
  );
}

function port(each) {
  const called = each.called && each.called !== each.name ? ` (${each.called})` : "";
  return el(
    "li",
    {},
    el("b", {}, each.name),
    `${called} `,
    el("code", {}, each.is),
    each.optional ? chip("optional") : null,
    each.words.length ? el("ul", { class: "words" }, each.words.map((text) => el("li", {}, text))) : null,
  );
}
