// SPDX-License-Identifier: Apache-2.0
// Element types. The first six are WASI-NN's own; the others cross as the type of the same width.
export enum Type { F16, F32, F64, U8, I32, I64, I8, BOOL, BF16, I16, U16, U32, U64 }

const WORDS: StaticArray<string> = [
  "f16", "f32", "f64", "u8", "i32", "i64", "i8", "bool", "bf16", "i16", "u16", "u32", "u64",
];
/** The Open Inference Protocol's names, which metadata has. */
const DATATYPES: StaticArray<string> = [
  "FP16", "FP32", "FP64", "UINT8", "INT32", "INT64", "INT8", "BOOL", "BF16", "INT16", "UINT16", "UINT32", "UINT64",
];
const SIZES: StaticArray<i32> = [2, 4, 8, 1, 4, 8, 1, 1, 2, 2, 2, 4, 8];
const ACROSS: StaticArray<i32> = [0, 1, 2, 3, 4, 5, 3, 3, 0, 0, 0, 4, 5];

/** The type that "f32" or "FP32" is; -1 for other words. */
export function typeOf(word: string): i32 {
  for (let i = 0; i < WORDS.length; i++) if (WORDS[i] == word || DATATYPES[i] == word) return i;
  return -1;
}

export function typeName(type: i32): string {
  return type >= 0 && type < WORDS.length ? WORDS[type] : "type " + type.toString();
}

/** The Open Inference Protocol's name of a type. */
export function datatypeName(type: i32): string {
  return DATATYPES[type];
}

/** Bytes of one element; 0 for what is no type. */
export function typeSize(type: i32): i32 {
  return type >= 0 && type < SIZES.length ? SIZES[type] : 0;
}

/** The type's number at the host. */
export function acrossType(type: i32): u32 {
  return <u32>ACROSS[type];
}

export function isFloat(type: i32): bool {
  return (type >= 0 && type <= Type.F64) || type == Type.BF16;
}

/** The least and the largest number of an integer type, as floats: of 64 bits they are rounded up. */
export function least(type: i32): f64 {
  switch (type) {
    case Type.I8: return -128;
    case Type.I16: return -32768;
    case Type.I32: return -2147483648;
    case Type.I64: return -9223372036854775808;
    default: return 0;
  }
}

export function largest(type: i32): f64 {
  switch (type) {
    case Type.BOOL: return 1;
    case Type.U8: return 255;
    case Type.I8: return 127;
    case Type.I16: return 32767;
    case Type.U16: return 65535;
    case Type.I32: return 2147483647;
    case Type.U32: return 4294967295;
    case Type.I64: return 9223372036854775807;
    default: return 18446744073709551615;
  }
}

/** IEEE half precision, as bits; ties to even, too large is infinity. */
export function toHalf(value: f32): u16 {
  const bits = reinterpret<u32>(value);
  const sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
  if (size > 0x7f800000) return <u16>(sign | 0x7e00);
  if (size >= 0x477ff000) return <u16>(sign | 0x7c00);
  if (size >= 0x38800000) { // normal: rounding may carry into the exponent, which is right
    return <u16>(sign | (size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13);
  }
  if (size < 0x33000000) return <u16>sign;
  const shift = 126 - (size >> 23), mantissa = (size & 0x7fffff) | 0x800000;
  const half = mantissa >> shift, rest = mantissa & ((1 << shift) - 1), middle: u32 = 1 << (shift - 1);
  return <u16>(sign | (half + <u32>(rest > middle || (rest == middle && (half & 1) == 1))));
}

export function fromHalf(bits: u16): f32 {
  const sign = <u32>(bits & 0x8000) << 16, exponent = bits >> 10 & 31, mantissa = <u32>(bits & 0x3ff);
  if (exponent == 31) return reinterpret<f32>(sign | 0x7f800000 | mantissa << 13);
  if (exponent) return reinterpret<f32>(sign | (<u32>exponent + 112) << 23 | mantissa << 13);
  const small = <f32>mantissa * reinterpret<f32>(0x33800000); // 2^-24
  return sign ? -small : small;
}

/** bfloat16, as bits; ties to even. */
export function toBrain(value: f32): u16 {
  const bits = reinterpret<u32>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return <u16>(bits >> 16 | 0x40);
  return <u16>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/** The number of `type` at an address. */
export function readNumber(type: i32, at: usize): f64 {
  switch (type) {
    case Type.F16: return fromHalf(load<u16>(at));
    case Type.BF16: return reinterpret<f32>(<u32>load<u16>(at) << 16);
    case Type.F32: return load<f32>(at);
    case Type.F64: return load<f64>(at);
    case Type.I8: return load<i8>(at);
    case Type.I16: return load<i16>(at);
    case Type.U16: return load<u16>(at);
    case Type.I32: return load<i32>(at);
    case Type.U32: return load<u32>(at);
    case Type.I64: return <f64>load<i64>(at);
    case Type.U64: return <f64>load<u64>(at);
    default: return load<u8>(at);
  }
}

/** Writes a number as `type`: an integer type gets it saturated, NaN as 0, a fraction cut off. */
export function writeNumber(type: i32, at: usize, value: f64): void {
  if (isFloat(type)) {
    if (type == Type.F64) store<f64>(at, value);
    else if (type == Type.F32) store<f32>(at, <f32>value);
    else store<u16>(at, type == Type.F16 ? toHalf(<f32>value) : toBrain(<f32>value));
    return;
  }
  const low = least(type), high = largest(type);
  let bits: u64 = 0;
  if (value >= high) bits = type == Type.I64 ? <u64>i64.MAX_VALUE : type == Type.U64 ? u64.MAX_VALUE : <u64>high;
  else if (value <= low) bits = <u64>(type == Type.I64 ? i64.MIN_VALUE : <i64>low);
  else if (value == value) bits = value < 0 ? <u64><i64>value : <u64>value;
  switch (typeSize(type)) {
    case 1: store<u8>(at, <u8>bits); break;
    case 2: store<u16>(at, <u16>bits); break;
    case 4: store<u32>(at, <u32>bits); break;
    default: store<u64>(at, bits);
  }
}
