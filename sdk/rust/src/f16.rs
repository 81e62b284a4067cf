// SPDX-License-Identifier: Apache-2.0
//! Half precision: Rust 1.63 has no type for it.

use std::fmt;

/// IEEE 754 binary16, as its bits. Arithmetic is done in `f32`.
#[derive(Clone, Copy, Default)]
pub struct F16(u16);

impl F16 {
    /// From the 16 bits themselves.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The 16 bits.
    pub const fn to_bits(self) -> u16 {
        self.0
    }
}

impl From<f32> for F16 {
    /// The nearest half, ties to the even one; what is too large becomes infinity.
    fn from(value: f32) -> Self {
        let bits = value.to_bits();
        let sign = (bits >> 16) as u16 & 0x8000;
        let fraction = bits & 0x7f_ffff;
        let exponent = (bits >> 23 & 0xff) as i32 - 127 + 15;
        let magnitude = if exponent == 255 - 127 + 15 {
            // A NaN whose upper bits are 0 must not become infinity.
            0x7c00 | (fraction >> 13) | u32::from(fraction != 0) << 9
        } else if exponent >= 31 {
            0x7c00
        } else if exponent > 0 {
            // A carry out of the fraction goes into the exponent, as it should.
            shifted((exponent as u32) << 23 | fraction, 13)
        } else if exponent >= -10 {
            shifted(fraction | 0x80_0000, (14 - exponent) as u32)
        } else {
            0
        };
        Self(sign | magnitude as u16)
    }
}

/// `value >> by`, rounded to the nearest, ties to the even number.
fn shifted(value: u32, by: u32) -> u32 {
    let (whole, rest, half) = (value >> by, value & ((1 << by) - 1), 1 << (by - 1));
    whole + u32::from(rest > half || (rest == half && whole & 1 == 1))
}

impl From<F16> for f32 {
    fn from(half: F16) -> Self {
        let sign = u32::from(half.0 & 0x8000) << 16;
        let (exponent, fraction) = (u32::from(half.0 >> 10 & 31), u32::from(half.0 & 0x3ff));
        f32::from_bits(match exponent {
            0 => {
                // Subnormal: the fraction counts 2^-24.
                let value = fraction as f32 / 16_777_216.0;
                return if sign == 0 { value } else { -value };
            }
            31 => sign | 0x7f80_0000 | fraction << 13,
            _ => sign | (exponent + 112) << 23 | fraction << 13,
        })
    }
}

impl PartialEq for F16 {
    fn eq(&self, other: &Self) -> bool {
        f32::from(*self) == f32::from(*other)
    }
}

impl PartialOrd for F16 {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        f32::from(*self).partial_cmp(&f32::from(*other))
    }
}

impl fmt::Debug for F16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&f32::from(*self), f)
    }
}

impl fmt::Display for F16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&f32::from(*self), f)
    }
}
