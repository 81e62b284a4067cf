// SPDX-License-Identifier: Apache-2.0
// Numbers as text, as C's printf writes them.

/** The 64 bits of |value| as an exact count of 10^-digits, rounded; -1 where that is too large. */
function scaled(value: f64, digits: i32): i64 {
  const number = Math.abs(value) * Math.pow(10, digits);
  return number < 9e17 ? <i64>nearest(number) : -1;
}

/** "%.{digits}f". */
export function fixed(value: f64, digits: i32): string {
  if (isNaN(value)) return "nan";
  if (!isFinite(value)) return value < 0 ? "-inf" : "inf";
  const number = scaled(value, digits);
  if (number < 0) return value.toString();
  let text = number.toString().padStart(digits + 1, "0");
  if (digits) text = text.slice(0, text.length - digits) + "." + text.slice(text.length - digits);
  return value < 0 || (value == 0 && 1 / value < 0) ? "-" + text : text;
}

/** "%.{digits}g", with digits from 1 to 15. */
export function general(value: f64, digits: i32): string {
  if (isNaN(value)) return "nan";
  if (!isFinite(value)) return value < 0 ? "-inf" : "inf";
  if (value == 0) return 1 / value < 0 ? "-0" : "0";
  const size = Math.abs(value);
  let exponent = <i32>Math.floor(Math.log10(size));
  let mantissa = shifted(size, digits - 1 - exponent);
  // log10 may be one off near a power of ten, and rounding may carry.
  let whole = <i64>nearest(mantissa);
  const most = <i64>nearest(Math.pow(10, digits));
  if (whole >= most) {
    exponent++;
    whole = <i64>nearest(shifted(size, digits - 1 - exponent));
  } else if (whole < most / 10) {
    exponent--;
    whole = <i64>nearest(shifted(size, digits - 1 - exponent));
  }
  let text = whole.toString();
  const sign = value < 0 ? "-" : "";
  if (exponent < -4 || exponent >= digits) {
    const e = abs(exponent).toString().padStart(2, "0");
    return sign + trimmed(text.slice(0, 1), text.slice(1)) + "e" + (exponent < 0 ? "-" : "+") + e;
  }
  if (exponent < 0) return sign + trimmed("0", "0".repeat(-exponent - 1) + text);
  return sign + trimmed(text.slice(0, exponent + 1), text.slice(exponent + 1));
}

/** value * 10^power, in two steps where one would overflow. */
function shifted(value: f64, power: i32): f64 {
  if (power > 300) return value * 1e300 * Math.pow(10, power - 300);
  return power >= 0 ? value * Math.pow(10, power) : value / Math.pow(10, -power);
}

function trimmed(whole: string, fraction: string): string {
  let end = fraction.length;
  while (end > 0 && fraction.charCodeAt(end - 1) == 48) end--;
  return end ? whole + "." + fraction.slice(0, end) : whole;
}

/** "[1, 3, 224, 224]". */
export function dimsText(dims: i32[]): string {
  return "[" + dims.join(", ") + "]";
}

/** "'a', 'b'". */
export function names(all: string[]): string {
  let text = "";
  for (let i = 0; i < all.length; i++) text += (i ? ", '" : "'") + all[i] + "'";
  return text;
}

/** The number that a word is, of decimal digits alone; -1 for other words and above 999 999 999. */
export function wholeNumber(word: string): i32 {
  if (!word.length || word.length > 9) return -1;
  let number = 0;
  for (let i = 0; i < word.length; i++) {
    const digit = word.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return -1;
    number = number * 10 + digit;
  }
  return number;
}
