// SPDX-License-Identifier: Apache-2.0
import { Bytes } from "./bytes";
import { dequantized, Quantization, quantized } from "./quantization";
import { noMemory, Result } from "./result";
import { dimsText } from "./text";
import { readNumber, Type, typeName, typeSize, writeNumber } from "./types";

/** The product of dims; 1 for none, -1 for a dim below 0 or a product above 2^31 - 1. */
export function elementCount(dims: i32[]): i32 {
  let count: i64 = 1;
  for (let i = 0; i < dims.length; i++) {
    if (dims[i] < 0) return -1;
    count *= dims[i];
    if (count > i32.MAX_VALUE) return -1;
  }
  return <i32>count;
}

/** A type, dims, and the elements row by row, little-endian. */
@final export class Tensor {
  private constructor(public type: i32, public dims: i32[], public data: Bytes) {}

  /** A tensor of bytes; fails where the dims do not multiply to them. */
  static ofBytes(type: i32, dims: i32[], data: Bytes): Result<Tensor> {
    const size = typeSize(type), count = elementCount(dims);
    if (!size) return Result.failed<Tensor>("there is no tensor type " + type.toString());
    if (count < 0) return Result.failed<Tensor>("the dims " + dimsText(dims) + " are below 0 or too many elements");
    if (<i64>count * size != data.length) {
      return Result.failed<Tensor>(
        typeName(type) + " " + dimsText(dims) + " takes " + (<i64>count * size).toString() + " bytes ("
          + count.toString() + " elements of " + size.toString() + "), and " + data.length.toString() + " came",
      );
    }
    return Result.of(new Tensor(type, dims, data));
  }

  /** A tensor of an array of f32, f64, u8, i8, i16, u16, i32, u32, i64 or u64: `Tensor.of<f32>([2], [1, 2])`. */
  static of<T>(dims: i32[], values: StaticArray<T>): Result<Tensor> {
    const data = Bytes.of<T>(values);
    if (!data) return noMemory<Tensor>("a tensor " + dimsText(dims));
    return Tensor.ofBytes(numberType<T>(), dims, data);
  }

  /** Zeros. */
  static zeros(type: i32, dims: i32[]): Result<Tensor> {
    const count = elementCount(dims), size = typeSize(type);
    const data: Bytes | null = count < 0 || !size || <i64>count * size > 1 << 30 ? null : Bytes.make(count * size);
    if (!data) return noMemory<Tensor>("a tensor " + typeName(type) + " " + dimsText(dims));
    return Tensor.ofBytes(type, dims, data);
  }

  /** Several tensors that are alike as one, along the first dimension. */
  static joined(parts: Tensor[]): Result<Tensor> {
    if (!parts.length) return Result.failed<Tensor>("there are no tensors to be joined");
    const first = parts[0], dims = first.dims.slice(0);
    let total: i64 = 0, rows: i64 = 0;
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i];
      let alike = part.type == first.type && part.dims.length == dims.length && dims.length > 0;
      for (let d = 1; alike && d < dims.length; d++) alike = part.dims[d] == dims[d];
      if (!alike) return Result.failed<Tensor>("only tensors alike but for their first dim can be joined");
      total += part.data.length;
      rows += part.dims[0];
    }
    const data: Bytes | null = total > 1 << 30 ? null : Bytes.raw(<i32>total);
    if (!data) return noMemory<Tensor>("a batch of " + parts.length.toString());
    let at = data.pointer;
    for (let i = 0; i < parts.length; i++) {
      memory.copy(at, parts[i].data.pointer, <usize>parts[i].data.length);
      at += <usize>parts[i].data.length;
    }
    dims[0] = <i32>rows;
    return Tensor.ofBytes(first.type, dims, data);
  }

  /** The part at an index of the first dimension, with a first dim of 1; a copy. */
  part(index: i32): Result<Tensor> {
    const dims = this.dims.slice(0);
    if (!dims.length || index < 0 || index >= dims[0]) {
      return Result.failed<Tensor>("there is no part " + index.toString() + " of a tensor " + dimsText(dims));
    }
    const size = this.data.length / dims[0];
    dims[0] = 1;
    const data = this.data.slice(index * size, size);
    return data ? Tensor.ofBytes(this.type, dims, data) : noMemory<Tensor>("a part of a batch");
  }

  get length(): i32 {
    return this.data.length / typeSize(this.type);
  }

  /** Element `index`, of any type, as a number. Traps outside, as arrays do. */
  get(index: i32): f64 {
    if (<u32>index >= <u32>this.length) throw new RangeError("Tensor: index out of range");
    return readNumber(this.type, this.data.pointer + <usize>(index * typeSize(this.type)));
  }

  /** The elements as an array of T, which must be of the tensor's type; a copy. */
  values<T>(): Result<StaticArray<T>> {
    if (numberType<T>() != this.type) {
      return Result.failed<StaticArray<T>>("the tensor is " + typeName(this.type) + ", not "
        + typeName(numberType<T>()));
    }
    const all = new StaticArray<T>(this.length);
    memory.copy(changetype<usize>(all), this.data.pointer, <usize>this.data.length);
    return Result.of(all);
  }

  /** All elements as real numbers: dequantized where there is a quantization; null where there is no memory. */
  reals(quantization: Quantization | null = null): Bytes | null {
    const count = this.length, type = this.type, size = typeSize(type);
    const reals: Bytes | null = count > 1 << 27 ? null : Bytes.raw(count * 8);
    if (!reals) return null;
    const stride = quantization ? strideOf(this.dims, quantization.axis) : 1;
    for (let i = 0; i < count; i++) {
      let value = readNumber(type, this.data.pointer + <usize>(i * size));
      if (quantization) {
        const each = i / stride % quantization.scales.length;
        value = dequantized(value, quantization.scales[each], quantization.zeroPoints[each], type);
      }
      store<f64>(reals.pointer + (<usize>i << 3), value);
    }
    return reals;
  }

  /** Real numbers (f64, as `reals` gives) as the integers that stand for them; without a quantization, as numbers
   * of the type: rounded (halves away from zero) and saturated. */
  static ofReals(type: i32, dims: i32[], reals: Bytes, quantization: Quantization | null = null): Result<Tensor> {
    const made = Tensor.zeros(type, dims);
    if (made.isFailed) return made;
    const tensor = made.value, count = tensor.length, size = typeSize(type);
    if (<i64>count * 8 != reals.length) {
      return Result.failed<Tensor>(dimsText(dims) + " takes " + count.toString() + " numbers, and "
        + (reals.length / 8).toString() + " came");
    }
    const one = new Quantization([1], [0]), by: Quantization = quantization ? quantization : one;
    const stride = strideOf(dims, by.axis), isReal = type <= Type.F64 || type == Type.BF16;
    for (let i = 0; i < count; i++) {
      const each = i / stride % by.scales.length;
      let value = load<f64>(reals.pointer + (<usize>i << 3));
      if (!isReal) value = quantized(value, by.scales[each], by.zeroPoints[each], type);
      writeNumber(type, tensor.data.pointer + <usize>(i * size), value);
    }
    return made;
  }

  toString(): string {
    return typeName(this.type) + " " + dimsText(this.dims);
  }
}

/** How many elements lie between one index of the dimension `axis` and the next. */
function strideOf(dims: i32[], axis: i32): i32 {
  let stride = 1;
  if (axis >= 0) for (let i = axis + 1; i < dims.length; i++) stride *= dims[i];
  return max(stride, 1);
}

/** The tensor type that T is. */
export function numberType<T>(): i32 {
  if (isFloat<T>()) return sizeof<T>() == 4 ? Type.F32 : Type.F64;
  if (sizeof<T>() == 1) return isSigned<T>() ? Type.I8 : Type.U8;
  if (sizeof<T>() == 2) return isSigned<T>() ? Type.I16 : Type.U16;
  if (sizeof<T>() == 4) return isSigned<T>() ? Type.I32 : Type.U32;
  return isSigned<T>() ? Type.I64 : Type.U64;
}
