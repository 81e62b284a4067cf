// SPDX-License-Identifier: Apache-2.0
// Runs ONNX models with onnxruntime-web on its wasm backend, on one thread.
//
// Reads a request a line from stdin and answers each with a line of JSON:
//
//   {"do": "open", "name": N, "model": PATH, "input": PATH, "dims": [..]}   {"version": V, "node": V}
//   {"do": "run", "name": N, "calls": C, "warmUp": W}       {"median": s, "min": s}
//   {"do": "output", "name": N}                             {"dims": [..], "data": base64 of f32}
//
// It stays up between requests, so that its blocks take turns with those of others.

import fs from "node:fs";
import process from "node:process";
import readline from "node:readline";
import * as ort from "onnxruntime-web";

ort.env.wasm.numThreads = 1;
ort.env.wasm.proxy = false;

const models = new Map();

async function open({ name, model, input, dims }) {
  const bytes = fs.readFileSync(input);
  const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  const session = await ort.InferenceSession.create(fs.readFileSync(model), {
    executionProviders: ["wasm"],
    graphOptimizationLevel: "all",
  });
  const feeds = { [session.inputNames[0]]: new ort.Tensor("float32", values, dims) };
  models.set(name, { session, feeds });
  return { version: ort.env.versions.web, node: process.versions.node };
}

async function run({ name, calls, warmUp }) {
  const { session, feeds } = models.get(name);
  for (let i = 0; i < warmUp; i++) await session.run(feeds);
  const times = [];
  for (let i = 0; i < calls; i++) {
    const start = process.hrtime.bigint();
    await session.run(feeds);
    times.push(Number(process.hrtime.bigint() - start) / 1e9);
  }
  times.sort((a, b) => a - b);
  const half = times.length >> 1;
  const median = times.length % 2 ? times[half] : (times[half - 1] + times[half]) / 2;
  return { median, min: times[0] };
}

async function output({ name }) {
  const { session, feeds } = models.get(name);
  const found = (await session.run(feeds))[session.outputNames[0]];
  const { buffer, byteOffset, byteLength } = found.data;
  return { dims: found.dims, data: Buffer.from(buffer, byteOffset, byteLength).toString("base64") };
}

const actions = { open, run, output };

for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let answer;
  try {
    answer = await actions[request.do](request);
  } catch (error) {
    answer = { error: String(error?.message ?? error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
