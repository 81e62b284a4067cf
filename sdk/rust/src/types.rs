// SPDX-License-Identifier: Apache-2.0
//! The types of tensors' elements.

use std::fmt;

use crate::f16::F16;

/// The type of a tensor's elements: those of WASI-NN, and those of models that pass under the number of a type
/// of the same width (int8 and bool as u8, the 16-bit ones as f16, uint32 as i32, uint64 as i64).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Type {
    F16,
    F32,
    F64,
    U8,
    I32,
    I64,
    Bf16,
    I8,
    U16,
    I16,
    U32,
    U64,
    Bool,
}

/// Type, name, the Open Inference Protocol's name, number in WASI-NN, bytes.
const TYPES: [(Type, &str, &str, u8, usize); 13] = [
    (Type::F16, "f16", "FP16", 0, 2),
    (Type::F32, "f32", "FP32", 1, 4),
    (Type::F64, "f64", "FP64", 2, 8),
    (Type::U8, "u8", "UINT8", 3, 1),
    (Type::I32, "i32", "INT32", 4, 4),
    (Type::I64, "i64", "INT64", 5, 8),
    (Type::Bf16, "bf16", "BF16", 0, 2),
    (Type::I8, "i8", "INT8", 3, 1),
    (Type::U16, "u16", "UINT16", 0, 2),
    (Type::I16, "i16", "INT16", 0, 2),
    (Type::U32, "u32", "UINT32", 4, 4),
    (Type::U64, "u64", "UINT64", 5, 8),
    (Type::Bool, "bool", "BOOL", 3, 1),
];

impl Type {
    fn row(self) -> &'static (Type, &'static str, &'static str, u8, usize) {
        // The table is in the order of the enum.
        &TYPES[self as usize]
    }

    /// Its name in contracts ("f32") or in the Open Inference Protocol ("FP32").
    pub fn parse(name: &str) -> Option<Self> {
        TYPES.iter().find(|row| row.1 == name || row.2 == name).map(|row| row.0)
    }

    /// Its name in contracts, such as "f32".
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Its name in the Open Inference Protocol, such as "FP32".
    pub fn protocol_name(self) -> &'static str {
        self.row().2
    }

    /// The bytes of one element.
    pub fn size(self) -> usize {
        self.row().4
    }

    /// The number under which it passes to the host.
    pub fn number(self) -> u8 {
        self.row().3
    }

    /// Whether the elements are fractions.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::F32 | Self::F64 | Self::Bf16)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that tensors hold: f32, f64, [`F16`], and the integers of 8 to 64 bits.
pub trait Element: Copy + Default + fmt::Debug + sealed::Sealed + 'static {
    /// Its number among WASI-NN's types.
    const TYPE: Type;

    #[doc(hidden)]
    fn append(self, bytes: &mut Vec<u8>);

    /// From exactly `TYPE.size()` bytes.
    #[doc(hidden)]
    fn read(bytes: &[u8]) -> Self;

    #[doc(hidden)]
    fn as_f64(self) -> f64;

    /// Rounded by the caller already; integers saturate, and NaN becomes 0.
    #[doc(hidden)]
    fn of_f64(value: f64) -> Self;
}

macro_rules! element {
    ($type:ty, $tensor:ident) => {
        impl sealed::Sealed for $type {}
        impl Element for $type {
            const TYPE: Type = Type::$tensor;

            fn append(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }

            fn read(bytes: &[u8]) -> Self {
                let mut own = [0; std::mem::size_of::<$type>()];
                own.copy_from_slice(bytes);
                Self::from_le_bytes(own)
            }

            fn as_f64(self) -> f64 {
                self as f64
            }

            fn of_f64(value: f64) -> Self {
                value as $type
            }
        }
    };
}

element!(f32, F32);
element!(f64, F64);
element!(u8, U8);
element!(i32, I32);
element!(i64, I64);
element!(i8, I8);
element!(u16, U16);
element!(i16, I16);
element!(u32, U32);
element!(u64, U64);

impl sealed::Sealed for F16 {}
impl Element for F16 {
    const TYPE: Type = Type::F16;

    fn append(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_bits().to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        Self::from_bits(u16::read(bytes))
    }

    fn as_f64(self) -> f64 {
        f64::from(f32::from(self))
    }

    fn of_f64(value: f64) -> Self {
        Self::from(value as f32)
    }
}

/// Runs `$body` with `$T` as the Rust type of `$type`; `$other` for the types without one.
macro_rules! with_element {
    ($type:expr, $T:ident => $body:expr, $other:expr) => {
        match $type {
            $crate::types::Type::F16 => { type $T = $crate::f16::F16; $body }
            $crate::types::Type::F32 => { type $T = f32; $body }
            $crate::types::Type::F64 => { type $T = f64; $body }
            $crate::types::Type::U8 | $crate::types::Type::Bool => { type $T = u8; $body }
            $crate::types::Type::I8 => { type $T = i8; $body }
            $crate::types::Type::U16 => { type $T = u16; $body }
            $crate::types::Type::I16 => { type $T = i16; $body }
            $crate::types::Type::U32 => { type $T = u32; $body }
            $crate::types::Type::I32 => { type $T = i32; $body }
            $crate::types::Type::U64 => { type $T = u64; $body }
            $crate::types::Type::I64 => { type $T = i64; $body }
            $crate::types::Type::Bf16 => $other,
        }
    };
}
pub(crate) use with_element;
