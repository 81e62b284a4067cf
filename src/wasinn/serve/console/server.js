// SPDX-License-Identifier: Apache-2.0
// What the page asks of its server. The token stays in this tab.

const KEY = "wasinn-token";
let token = "";
try {
  token = sessionStorage.getItem(KEY) || "";
} catch {
  // Storage may be switched off: then the token is asked for after each reload.
}

export class Refused extends Error {
  constructor(status, reason) {
    super(reason);
    this.status = status;
  }
}

export function signIn(given) {
  token = given;
  try {
    sessionStorage.setItem(KEY, given);
  } catch {
    // as above
  }
}

export function state() {
  return call("/console/state", { method: "GET" });
}

export function load(model) {
  return post("/console/load", { model });
}

export function unload(model) {
  return post("/console/unload", { model });
}

// A question: a JSON object, and a file's bytes behind it.
export function ask(head, file, signal) {
  return post("/console/ask", head, file, signal);
}

function post(path, head, file, signal) {
  const json = new TextEncoder().encode(JSON.stringify(head));
  return call(path, {
    method: "POST",
    body: new Blob(file ? [json, file] : [json]),
    headers: {
      "Content-Type": "application/octet-stream",
      "Inference-Header-Content-Length": String(json.length),
    },
    signal,
  });
}

async function call(path, options) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "the server does not answer");
  }
  let said = {};
  try {
    said = await answer.json();
  } catch {
    // An error of something between here and the server need not be JSON.
  }
  if (!answer.ok) throw new Refused(answer.status, said.error || `the server answered ${answer.status}`);
  return said;
}
