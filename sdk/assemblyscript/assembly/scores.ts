// SPDX-License-Identifier: Apache-2.0
// A classifier's answer: probabilities, and the best classes.
import { Bytes } from "./bytes";
import { OutputContract } from "./metadata";
import { noMemory, Result } from "./result";
import { Tensor } from "./tensor";
import { dimsText } from "./text";

/** A class, its label ("" without one), and its score. */
@final export class Scored {
  constructor(public index: i32, public label: string, public score: f64) {}

  /** The label, or "class 7". */
  get name(): string {
    return this.label.length ? this.label : "class " + this.index.toString();
  }
}

/** Whether each is 0 to 1, with room for what rounding adds. The sum says nothing: classes may be independent. */
export function areProbabilities(scores: StaticArray<f64>): bool {
  for (let i = 0; i < scores.length; i++) if (!(scores[i] >= 0 && scores[i] <= 1.001)) return false;
  return true;
}

/** exp(x) / sum(exp(x)). -inf gets 0; those of +inf share 1; a NaN makes all of them NaN. */
export function softmax(scores: StaticArray<f64>): StaticArray<f64> {
  const result = new StaticArray<f64>(scores.length);
  let most: f64 = -Infinity, sum: f64 = 0;
  for (let i = 0; i < scores.length; i++) most = Math.max(most, scores[i]);
  for (let i = 0; i < scores.length; i++) {
    // The largest first made 0, so that none overflows.
    result[i] = most == Infinity ? (scores[i] == Infinity ? 1 : 0) : Math.exp(scores[i] - most);
    sum += result[i];
  }
  for (let i = 0; i < scores.length; i++) result[i] /= sum;
  return result;
}

/** The indices of the `count` largest, best first; of equal ones the lower index, NaN last. */
export function best(scores: StaticArray<f64>, count: i32): i32[] {
  const found: i32[] = [];
  for (let i = 0; i < scores.length; i++) {
    let at = found.length;
    while (at > 0 && (scores[i] > scores[found[at - 1]] || (isNaN(scores[found[at - 1]]) && !isNaN(scores[i])))) at--;
    if (at >= count) continue;
    if (found.length < count) found.push(i);
    for (let k = found.length - 1; k > at; k--) found[k] = found[k - 1];
    found[at] = i;
  }
  return found;
}

/** An output's real numbers as one list of scores; fails for several lists. */
export function scoresOf(tensor: Tensor, output: OutputContract): Result<StaticArray<f64>> {
  let lists = 0;
  for (let i = 0; i < tensor.dims.length; i++) lists += i32(tensor.dims[i] != 1);
  if (lists > 1) {
    return Result.failed<StaticArray<f64>>("the scores of one picture were wanted, [classes] with dims of 1 around, and the output '"
      + output.name + "' is " + dimsText(tensor.dims));
  }
  const reals: Bytes | null = tensor.reals(output.quantization);
  if (!reals) return noMemory<StaticArray<f64>>("the scores");
  const scores = new StaticArray<f64>(tensor.length);
  memory.copy(changetype<usize>(scores), reals.pointer, <usize>reals.length);
  reals.free();
  return Result.of(scores);
}

/**
 * The best classes of one picture's output, best first. Logits go through softmax, a single one through the sigmoid
 * function; without a contract, numbers that cannot be probabilities are taken for logits.
 */
export function topK(tensor: Tensor, output: OutputContract, count: i32 = 5): Result<Scored[]> {
  const read = scoresOf(tensor, output);
  if (read.isFailed) return Result.from<Scored[]>(read.error);
  let raw = read.value, scores = raw;
  const known = output.kind.length > 0;
  if (output.kind == "logits" || (!known && raw.length > 1 && !areProbabilities(raw))) {
    // Softmax of one number is 1 whatever it is. Next to a 0, it is the sigmoid.
    scores = raw.length == 1 ? [softmax([raw[0], 0])[0]] : softmax(raw);
  }
  const isShare = output.kind == "logits" || output.kind == "probabilities";
  if (scores.length == 1 && isShare && output.label(1).length && !output.label(2).length) {
    raw = scores = [1 - scores[0], scores[0]]; // yes or no: class 0 has what is left
  }
  // Sorted by the output itself: softmax makes equals of very small and very near numbers.
  const order = best(raw, count), found: Scored[] = [];
  for (let i = 0; i < order.length; i++) found.push(new Scored(order[i], output.label(order[i]), scores[order[i]]));
  return Result.of(found);
}
