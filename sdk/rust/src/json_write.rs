// SPDX-License-Identifier: Apache-2.0
//! JSON as text.

use std::fmt::{self, Write};

use crate::json::Json;

/// The shortest text that reads as the same value. What JSON has no number for (NaN, infinities) is null.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) if number.is_finite() => write!(f, "{number}"),
            Self::Number(_) => f.write_str("null"),
            Self::String(text) => string(f, text),
            Self::Array(elements) => {
                f.write_char('[')?;
                for (at, element) in elements.iter().enumerate() {
                    write!(f, "{}{element}", if at > 0 { "," } else { "" })?;
                }
                f.write_char(']')
            }
            Self::Object(members) => {
                f.write_char('{')?;
                for (at, (key, value)) in members.iter().enumerate() {
                    f.write_str(if at > 0 { "," } else { "" })?;
                    string(f, key)?;
                    write!(f, ":{value}")?;
                }
                f.write_char('}')
            }
        }
    }
}

fn string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(f, "\\{character}")?,
            '\u{0}'..='\u{1f}' => write!(f, "\\u{:04x}", character as u32)?,
            _ => f.write_char(character)?,
        }
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_as_the_same() {
        let text = r#"{"a":[1,-2.5,1e300,true,null,"\"\\\u0001\né"],"b":{},"":[]}"#;
        let value = Json::parse(text).unwrap();
        assert_eq!(Json::parse(&value.to_string()).unwrap(), value);
        assert_eq!(Json::Number(64.0).to_string(), "64"); // an integer stays one
        assert_eq!(Json::Number(f64::NAN).to_string(), "null");
    }
}
