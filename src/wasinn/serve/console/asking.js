// SPDX-License-Identifier: Apache-2.0
// The forms by which a model is tried: a picture, a file, a prompt, or tensors as JSON.

import { answer } from "./answers.js";
import { el } from "./elements.js";
import * as server from "./server.js";

const TITLES = { picture: "A picture", file: "A file", prompt: "A prompt", tensors: "Tensors" };
// So many numbers of an example are written out; of larger tensors the server fills in zeros.
const WRITTEN = 64;

export class Asking {
  constructor(model, self, changed) {
    Object.assign(this, { model, self, changed, file: null, running: null });
    this.result = el("div", { class: "result", "aria-live": "polite" });
    this.panel = el("div", {});
    this.tabs = model.forms.map((form) =>
      el("button", { type: "button", class: "tab", onclick: () => this.open(form) }, TITLES[form]),
    );
    const several = model.forms.length > 1;
    this.element = el(
      "section",
      { class: "card try" },
      el("div", { class: "head" }, el("h3", {}, "Try it"), several ? el("div", { class: "tabs", role: "group", "aria-label": "what to try it with" }, this.tabs) : null),
      this.panel,
      this.result,
    );
    this.open(model.forms[0]);
  }

  open(form) {
    this.form = form;
    this.model.forms.forEach((each, at) => this.tabs[at].setAttribute("aria-pressed", String(each === form)));
    const made = { picture: () => this.pictureForm(), file: () => this.fileForm(), prompt: () => this.promptForm(), tensors: () => this.tensorsForm() };
    this.panel.replaceChildren(made[form]());
  }

  // -- the forms ----------------------------------------------------------------------------------

  pictureForm() {
    const pictures = this.model.inputs.filter((each) => each.picture);
    const others = this.model.inputs.filter((each) => !each.optional && !each.picture);
    const input = pictures.length > 1 ? select("for the input", pictures.map((each) => each.name)) : null;
    const more = others.length ? this.jsonArea(examples(others)) : null;
    const top = this.model.outputs.some((each) => !["mask", "boxes"].includes(each.means)) ? this.top() : null;
    const send = () =>
      this.send(() => ({ input: input?.value() ?? null, top: top?.value() ?? 5, tensors: more ? parsed(more) : [] }));
    const { zone, again } = this.drop("Drop a picture here, paste one, or choose a file", "image/*", send);
    return el(
      "div",
      {},
      zone,
      el("div", { class: "row" }, input?.element, top?.element, again),
      more ? el("label", { class: "others" }, "the other inputs", more) : null,
    );
  }

  fileForm() {
    const able = this.model.inputs.filter((each) => ["BYTES", "UINT8"].includes(each.datatype));
    const name = able.length
      ? select("for the input", able.map((each) => each.name))
      : field("as the tensor", "image", "the name that the guest knows");
    const others = this.model.inputs.filter((each) => each !== able[0]);
    const more = others.length ? this.jsonArea(examples(others)) : null;
    const top = this.top();
    const send = () =>
      this.send(() => ({ input: name.value(), top: top.value(), tensors: more ? parsed(more) : [] }));
    const { zone, again } = this.drop("Drop a file here, a picture say, paste one, or choose it", "", send);
    return el(
      "div",
      {},
      zone,
      el("div", { class: "row" }, name.element, top.element, again),
      more ? el("label", { class: "others" }, "the other inputs", more) : null,
    );
  }

  promptForm() {
    const prompt = el("textarea", { rows: 3, placeholder: "Once upon a time", "aria-label": "prompt" });
    const length = el("input", { type: "number", min: 1, value: 50 });
    const warmth = el("input", { type: "number", min: 0, step: 0.1, placeholder: "model's" });
    const chat = el("input", { type: "checkbox" });
    const send = (event) => {
      event.preventDefault();
      this.send(() => {
        const options = {};
        if (length.value) options["n-predict"] = Number(length.value);
        if (warmth.value) options.temp = Number(warmth.value);
        if (chat.checked) options.chat = true;
        return { prompt: prompt.value || prompt.placeholder, options };
      });
    };
    return el(
      "form",
      { onsubmit: send },
      prompt,
      el(
        "div",
        { class: "row" },
        el("label", {}, "tokens at most", length),
        el("label", {}, "temperature", warmth),
        el("label", { class: "check" }, chat, "it is a message in a chat"),
        el("button", { type: "submit", class: "main" }, "Go on from it"),
      ),
    );
  }

  tensorsForm() {
    const known = this.model.inputs.filter((each) => !each.optional);
    const guess = [{ name: "x", shape: [1, 4], datatype: "FP32", data: [1, 2, 3, 4] }];
    const area = this.jsonArea(known.length ? examples(known) : guess);
    const send = (event) => {
      event.preventDefault();
      this.send(() => ({ tensors: parsed(area) }));
    };
    return el(
      "form",
      { onsubmit: send },
      area,
      el(
        "p",
        { class: "soft small" },
        "As in the protocol's inputs; here, ",
        el("code", {}, '"fill": "zeros"'),
        ", ",
        el("code", {}, '"ones"'),
        " or ",
        el("code", {}, '"random"'),
        " may stand in the place of ",
        el("code", {}, '"data"'),
        ".",
      ),
      el("button", { type: "submit", class: "main" }, "Infer"),
    );
  }

  // -- their parts --------------------------------------------------------------------------------

  drop(text, accept, send) {
    const input = el("input", { type: "file", accept: accept || null, class: "file" });
    const name = el("span", { class: "soft" });
    const take = (file) => {
      if (!file) return;
      this.file = file;
      name.textContent = file.name || "from the clipboard";
      again.hidden = false;
      send();
    };
    input.addEventListener("change", () => {
      take(input.files[0]);
      input.value = "";
    });
    const again = el("button", { type: "button", class: "quiet", hidden: true, onclick: send }, "Once more");
    const zone = el("label", { class: "drop" }, input, el("span", {}, text), name);
    const over = (event, on) => {
      event.preventDefault();
      zone.classList.toggle("over", on);
    };
    zone.addEventListener("dragover", (event) => over(event, true));
    zone.addEventListener("dragleave", (event) => over(event, false));
    zone.addEventListener("drop", (event) => {
      over(event, false);
      take(event.dataTransfer.files[0]);
    });
    const paste = (event) => {
      if (!zone.isConnected) removeEventListener("paste", paste);
      else if (event.clipboardData.files[0]) take(event.clipboardData.files[0]);
    };
    addEventListener("paste", paste);
    if (this.file) {
      name.textContent = this.file.name;
      again.hidden = false;
    }
    return { zone, again };
  }

  top() {
    return field("classes at most", "5", "", { type: "number", min: 1, max: 100 }, Number);
  }

  jsonArea(value) {
    const text = `[\n  ${value.map((each) => JSON.stringify(each)).join(",\n  ")}\n]`;
    const rows = Math.min(12, text.split("\n").length + 2);
    const area = el("textarea", { rows, spellcheck: "false", class: "code", "aria-label": "inputs as JSON" });
    area.value = text;
    return area;
  }

  // -- a try --------------------------------------------------------------------------------------

  async send(question) {
    this.running?.abort();
    const running = new AbortController();
    this.running = running;
    try {
      const head = { model: this.model.name, form: this.form, ...question() };
      const withFile = this.form === "picture" || this.form === "file";
      if (withFile && this.file.size > this.self.max_body) {
        throw new Error(`the file has ${this.file.size} bytes; this server takes ${this.self.max_body} (max_body)`);
      }
      this.result.replaceChildren(el("p", { class: "soft waiting" }, "asking ..."));
      const said = await server.ask(head, withFile ? this.file : null, running.signal);
      if (this.running === running) this.result.replaceChildren(answer(said, head));
      this.changed();
    } catch (error) {
      if (error.name === "AbortError" || this.running !== running) return;
      this.result.replaceChildren(el("p", { class: "problem", role: "alert" }, error.message));
      if (error.status) this.changed();
    }
  }
}

function parsed(area) {
  let value;
  try {
    value = JSON.parse(area.value);
  } catch (error) {
    throw new Error(`the inputs are no JSON: ${error.message}`);
  }
  if (!Array.isArray(value) && Array.isArray(value?.inputs)) value = value.inputs;
  if (!Array.isArray(value)) throw new Error("the inputs are a list: [{\"name\": ...}]");
  return value;
}

// Something that the model takes, to start from.
function examples(inputs) {
  return inputs.map((each) => {
    const shape = (each.shape ?? [1]).map((dim) => (dim === -1 ? 1 : dim));
    const count = shape.reduce((product, dim) => product * dim, 1);
    const made = { name: each.name, shape, datatype: each.datatype ?? "FP32" };
    if (made.datatype === "BYTES") return { ...made, data: Array(Math.min(count, WRITTEN)).fill("text") };
    const binary = made.datatype === "FP16" || made.datatype === "BF16";
    if (count > WRITTEN || binary) return { ...made, fill: "zeros" };
    return { ...made, data: Array(count).fill(made.datatype === "BOOL" ? false : 0) };
  });
}

function field(text, value, placeholder, attributes = {}, convert = String) {
  const input = el("input", { type: "text", value, placeholder, spellcheck: "false", ...attributes });
  return { element: el("label", {}, text, input), value: () => convert(input.value) };
}

function select(text, names) {
  const chosen = el("select", {}, names.map((name) => el("option", { value: name }, name)));
  return { element: el("label", {}, text, chosen), value: () => chosen.value };
}
