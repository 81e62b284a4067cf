// The built guest, run as a user would, with a model that comes with wasinn.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import test from "node:test";

const folder = fileURLToPath(new URL("..", import.meta.url));

function run(...words) {
  const command = ["run", "--graph", "default=onnx:@digits", "--dir", "test::/p", "@NAME@.wasm", ...words];
  const done = spawnSync(process.env.WASINN ?? "wasinn", command, { cwd: folder, encoding: "utf8" });
  if (done.error) throw new Error("wasinn cannot be started (pip install wasinn[onnx]): " + done.error.message);
  return done;
}

test("a seven is seen", () => {
  const done = run("/p/seven.pgm");
  assert.equal(done.status, 0, done.stderr);
  const [label, score] = done.stdout.split("\n")[0].split("\t");
  assert.match(label, /7$/);
  assert.ok(parseFloat(score) > 90, done.stdout);
});

test("a picture that is not there is named", () => {
  const done = run("/p/nobody.png");
  assert.equal(done.status, 1);
  assert.equal(done.stdout, "");
  assert.match(done.stderr, /\/p\/nobody\.png: No such file/);
});
