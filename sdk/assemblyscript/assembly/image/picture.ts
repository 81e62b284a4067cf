// SPDX-License-Identifier: Apache-2.0
// Pictures as 8-bit RGB.
import { Bytes } from "../bytes";
import { noMemory, Result } from "../result";
import { readFile } from "../wasi";
import { decodeBmp } from "./bmp";
import { decodePng } from "./png";
import { decodePnm } from "./pnm";

/** More is refused before anything is allocated: a few bytes of a bad file can claim any size. */
export const MOST_PIXELS: i64 = 64 << 20;

@final export class Picture {
  private constructor(
    public width: i32,
    public height: i32,
    /** width * height * 3 bytes, rows from the top. */
    public rgb: Bytes,
  ) {}

  /** A black picture; for decoders, which fill it. */
  static make(width: i32, height: i32): Result<Picture> {
    const wrong = wrongSize(width, height);
    if (wrong.length) return Result.failed<Picture>(wrong);
    const rgb = Bytes.make(width * height * 3);
    return rgb ? Result.of<Picture>(new Picture(width, height, rgb)) : noMemory<Picture>("the picture");
  }

  /** A picture of RGB pixels that are there already. */
  static ofRgb(width: i32, height: i32, rgb: Bytes): Result<Picture> {
    const wrong = wrongSize(width, height);
    if (wrong.length) return Result.failed<Picture>(wrong);
    if (rgb.length != width * height * 3) {
      return Result.failed<Picture>(
        "a picture of " + width.toString() + "x" + height.toString() + " pixels has "
          + (width * height * 3).toString() + " bytes of RGB, and " + rgb.length.toString() + " came",
      );
    }
    return Result.of(new Picture(width, height, rgb));
  }

  /** A file's content: PNG, BMP, PBM, PGM or PPM. */
  static decode(file: Bytes): Result<Picture> {
    const at = file.pointer, size = file.length;
    const two = size >= 2 ? load<u16>(at) : 0;
    if (size >= 4 && load<u32>(at) == 0x474e5089) return decodePng(file);
    if (two == 0x4d42) return decodeBmp(file);
    if ((two & 0xff) == 0x50 && two >> 8 >= 0x31 && two >> 8 <= 0x36) return decodePnm(file);
    if (two == 0xd8ff) {
      return Result.failed<Picture>(
        "it is a JPEG, which is not read here: convert it to PNG, BMP or PPM, or hand over RGB pixels",
      );
    }
    if (!size) return Result.failed<Picture>("the file is empty");
    return Result.failed<Picture>("the format is not known (PNG, BMP, PBM, PGM and PPM are)");
  }

  /** A picture file; the error names it. */
  static read(path: string): Result<Picture> {
    const file = readFile(path);
    if (file.isFailed) return Result.from<Picture>(file.error);
    const picture = Picture.decode(file.value);
    file.value.free();
    return picture.isFailed ? Result.failed<Picture>(path + ": " + picture.error.text) : picture;
  }

  /** Gives the pixels' memory back now. */
  free(): void {
    this.rgb.free();
  }
}

/** Why there is no picture of this size; "" where there can be one. Sides of up to 32 bits, so nothing wraps. */
export function wrongSize(width: i64, height: i64): string {
  if (width <= 0 || height <= 0) return "the picture is empty (its width or height is 0)";
  if (width > <i64>u32.MAX_VALUE || height > <i64>u32.MAX_VALUE || <u64>width * <u64>height > <u64>MOST_PIXELS) {
    return "the picture is too large (more than 64 megapixels)";
  }
  return "";
}
