// SPDX-License-Identifier: Apache-2.0
// Integers that stand for real numbers: real = scale * (integer - zero point).
import { isFloat, Type } from "./types";

@final export class Quantization {
  constructor(
    public scales: f64[],
    public zeroPoints: f64[],
    /** The dimension of which each index has its own; -1 for one of the whole tensor. */
    public axis: i32 = -1,
  ) {}
}

/** Half of a step but for the last bit: with a whole half 0.49999997 would become 1. */
const HALF32: f32 = reinterpret<f32>(0x3effffff);
const HALF64: f64 = reinterpret<f64>(0x3fdfffffffffffff);

/** To a whole number, halves away from zero, NaN as 0. */
export function round32(value: f32): f32 {
  return value == value ? Mathf.trunc(value + <f32>Mathf.sign(value) * HALF32) : 0;
}

export function round64(value: f64): f64 {
  return value == value ? Math.trunc(value + Math.sign(value) * HALF64) : 0;
}

/** Whether numbers of this type are computed in f64: f32 does not hold all of them. */
export function isWide(type: i32): bool {
  return type == Type.F64 || type == Type.I32 || type == Type.U32 || type == Type.I64 || type == Type.U64;
}

/** The real number that `value` of an integer type stands for, in the precision that the host computes in. */
export function dequantized(value: f64, scale: f64, zeroPoint: f64, type: i32): f64 {
  if (isFloat(type)) return value;
  if (isWide(type)) return <f32>((value - zeroPoint) * scale);
  return (<f32>value - <f32>zeroPoint) * <f32>scale;
}

/** The integer, not yet saturated, that stands for a real number. */
export function quantized(value: f64, scale: f64, zeroPoint: f64, type: i32): f64 {
  if (isWide(type)) return round64(value / scale) + zeroPoint;
  return round32(<f32>value / <f32>scale) + <f32>zeroPoint;
}
