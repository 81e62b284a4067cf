// SPDX-License-Identifier: Apache-2.0
// JSON as far as metadata needs it: read only, and no deeper than 64.
import { Result } from "./result";

export enum Kind { NULL, BOOLEAN, NUMBER, STRING, LIST, OBJECT }

const DEEPEST = 64;

/** A JSON value. What is asked of the wrong kind is empty: "", 0, false or a null value. */
@final export class Json {
  text: string = "";
  number: f64 = 0;
  /** The elements of a list, or the values of an object. */
  items: Json[] = [];
  private keys: string[] = [];

  constructor(public kind: Kind) {}

  static parse(text: string): Result<Json> {
    const reader = new Reader(text);
    const value = reader.value(0);
    reader.space();
    if (!value || reader.at != text.length) {
      return Result.failed<Json>("this is no JSON: " + (reader.error.length ? reader.error : "text follows its end")
        + " (character " + reader.at.toString() + ")");
    }
    return Result.of<Json>(value);
  }

  get isNull(): bool {
    return this.kind == Kind.NULL;
  }

  get isTrue(): bool {
    return this.kind == Kind.BOOLEAN && this.number != 0;
  }

  /** The value of a key; a null value where there is none. */
  get(key: string): Json {
    // The last one counts, as in other readers.
    const index = this.keys.lastIndexOf(key);
    return index < 0 ? new Json(Kind.NULL) : this.items[index];
  }

  add(key: string, value: Json): void {
    this.keys.push(key);
    this.items.push(value);
  }

  /** The number as an integer, saturated. */
  get integer(): i32 {
    if (!(Math.abs(this.number) < 2147483648)) return this.number > 0 ? i32.MAX_VALUE : this.number < 0
      ? i32.MIN_VALUE : 0;
    return <i32>this.number;
  }

  numbers(): f64[] {
    const all: f64[] = [];
    for (let i = 0; i < this.items.length; i++) all.push(this.items[i].number);
    return all;
  }

  integers(): i32[] {
    const all: i32[] = [];
    for (let i = 0; i < this.items.length; i++) all.push(this.items[i].integer);
    return all;
  }

  strings(): string[] {
    const all: string[] = [];
    for (let i = 0; i < this.items.length; i++) all.push(this.items[i].text);
    return all;
  }
}

class Reader {
  at: i32 = 0;
  error: string = "";

  constructor(private text: string) {}

  space(): void {
    for (; this.at < this.text.length; this.at++) {
      const c = this.text.charCodeAt(this.at);
      if (c != 32 && (c < 9 || c > 13)) return;
    }
  }

  private next(): i32 {
    return this.at < this.text.length ? this.text.charCodeAt(this.at) : -1;
  }

  private fail(what: string): Json | null {
    if (!this.error.length) this.error = what;
    return null;
  }

  private word(word: string): bool {
    if (!this.text.startsWith(word, this.at)) return false;
    this.at += word.length;
    return true;
  }

  value(depth: i32): Json | null {
    if (depth > DEEPEST) return this.fail("it is too deep");
    this.space();
    const c = this.next();
    if (c == 0x7b || c == 0x5b) return this.many(c == 0x7b, depth);
    if (c == 0x22) {
      const text = this.string();
      if (text === null) return null;
      const value = new Json(Kind.STRING);
      value.text = text;
      return value;
    }
    if (this.word("null")) return new Json(Kind.NULL);
    if (this.word("false")) return new Json(Kind.BOOLEAN);
    if (this.word("true")) {
      const value = new Json(Kind.BOOLEAN);
      value.number = 1;
      return value;
    }
    return this.numberValue();
  }

  private numberValue(): Json | null {
    const value = new Json(Kind.NUMBER);
    if (this.word("NaN")) value.number = NaN;
    else if (this.word("Infinity")) value.number = Infinity;
    else if (this.word("-Infinity")) value.number = -Infinity;
    else {
      const start = this.at;
      for (; this.at < this.text.length; this.at++) {
        const c = this.text.charCodeAt(this.at);
        if (!((c >= 48 && c <= 57) || c == 0x2b || c == 0x2d || c == 0x2e || c == 0x45 || c == 0x65)) break;
      }
      if (start == this.at) return this.fail("a value is missing");
      value.number = parseFloat(this.text.slice(start, this.at));
    }
    return value;
  }

  private many(isObject: bool, depth: i32): Json | null {
    const found = new Json(isObject ? Kind.OBJECT : Kind.LIST), end = isObject ? 0x7d : 0x5d;
    this.at++;
    this.space();
    if (this.next() == end) {
      this.at++;
      return found;
    }
    while (true) {
      let key = "";
      if (isObject) {
        this.space();
        if (this.next() != 0x22) return this.fail("a key is missing");
        const read = this.string();
        if (read === null) return null;
        key = read;
        this.space();
        if (this.next() != 0x3a) return this.fail("a ':' is missing");
        this.at++;
      }
      const value = this.value(depth + 1);
      if (!value) return null;
      if (isObject) found.add(key, value);
      else found.items.push(value);
      this.space();
      const c = this.next();
      if (c != end && c != 0x2c) return this.fail("a ',' or the end is missing");
      this.at++;
      if (c == end) return found;
    }
  }

  private string(): string | null {
    this.at++;
    let text = "", start = this.at;
    while (this.at < this.text.length) {
      const c = this.text.charCodeAt(this.at);
      if (c == 0x22) {
        text += this.text.slice(start, this.at++);
        return text;
      }
      if (c != 0x5c) {
        this.at++;
        continue;
      }
      text += this.text.slice(start, this.at++);
      const escape = this.next();
      this.at++;
      switch (escape) {
        case 0x62: text += "\b"; break;
        case 0x66: text += "\f"; break;
        case 0x6e: text += "\n"; break;
        case 0x72: text += "\r"; break;
        case 0x74: text += "\t"; break;
        case 0x75: {
          const digits = this.text.slice(this.at, this.at + 4);
          const unit = digits.length == 4 ? parseInt(digits, 16) : NaN;
          if (isNaN(unit)) {
            this.fail("an escape is damaged");
            return null;
          }
          text += String.fromCharCode(<i32>unit);
          this.at += 4;
          break;
        }
        case 0x22: case 0x5c: case 0x2f: text += String.fromCharCode(escape); break;
        default:
          this.fail("an escape is damaged");
          return null;
      }
      start = this.at;
    }
    this.fail("a string has no end");
    return null;
  }
}
