// SPDX-License-Identifier: Apache-2.0
//! JSON as hosts write it: a reader without dependencies.

use crate::error::{Error, Result};

/// How deep arrays and objects may lie in one another: the reader calls itself, and a guest's stack is small.
const MAX_DEPTH: u32 = 64;

/// A value of JSON. Numbers are f64; also NaN and infinities, which Python writes.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Json {
    Null,
    Bool(bool),
    Number(f64),
    String(String),
    Array(Vec<Json>),
    /// In the text's order.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a text that is one value.
    pub fn parse(text: &str) -> Result<Self> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(0)?;
        reader.space();
        if reader.at < text.len() {
            return Err(reader.error("something follows the value"));
        }
        Ok(value)
    }

    /// The member called `key` of an object; None for null, and where there is none.
    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Self::Object(members) => members
                .iter()
                .find(|(name, value)| name == key && *value != Self::Null)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The number, where it is whole and f64 has it exactly.
    pub fn as_i64(&self) -> Option<i64> {
        self.as_f64()
            .filter(|number| number.trunc() == *number && number.abs() <= 9_007_199_254_740_992.0)
            .map(|number| number as i64)
    }

    /// The boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The elements of an array.
    pub fn as_array(&self) -> Option<&[Json]> {
        match self {
            Self::Array(elements) => Some(elements),
            _ => None,
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize, // in bytes, always at the start of a character
}

impl Reader<'_> {
    fn error(&self, problem: &str) -> Error {
        Error::metadata(format!("JSON, byte {}: {problem}", self.at))
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Whether the text goes on with `word`, which is then passed.
    fn take(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn value(&mut self, depth: u32) -> Result<Json> {
        if depth > MAX_DEPTH {
            return Err(self.error("arrays and objects lie too deep in one another"));
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Json::String(self.string()?)),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<Json> {
        const WORDS: [(&str, Json); 6] = [
            ("null", Json::Null),
            ("true", Json::Bool(true)),
            ("false", Json::Bool(false)),
            ("NaN", Json::Number(f64::NAN)),
            ("Infinity", Json::Number(f64::INFINITY)),
            ("-Infinity", Json::Number(f64::NEG_INFINITY)),
        ];
        for (word, value) in WORDS {
            if self.take(word) {
                return Ok(value);
            }
        }
        let number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
        let size = self.rest().find(|c| !number(c)).unwrap_or(self.rest().len());
        match self.rest()[..size].parse() {
            Ok(number) => {
                self.at += size;
                Ok(Json::Number(number))
            }
            Err(_) => Err(self.error("a value was expected")),
        }
    }

    fn array(&mut self, depth: u32) -> Result<Json> {
        let mut elements = Vec::new();
        self.at += 1;
        self.space();
        if self.take("]") {
            return Ok(Json::Array(elements));
        }
        loop {
            elements.push(self.value(depth + 1)?);
            self.space();
            if self.take("]") {
                return Ok(Json::Array(elements));
            }
            if !self.take(",") {
                return Err(self.error("',' or ']' was expected"));
            }
        }
    }

    fn object(&mut self, depth: u32) -> Result<Json> {
        let mut members = Vec::new();
        self.at += 1;
        self.space();
        if self.take("}") {
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.error("a key in quotes was expected"));
            }
            let key = self.string()?;
            self.space();
            if !self.take(":") {
                return Err(self.error("':' was expected"));
            }
            members.push((key, self.value(depth + 1)?));
            self.space();
            if self.take("}") {
                return Ok(Json::Object(members));
            }
            if !self.take(",") {
                return Err(self.error("',' or '}' was expected"));
            }
        }
    }

    fn string(&mut self) -> Result<String> {
        let mut result = String::new();
        self.at += 1;
        loop {
            let plain = self.rest().find(['"', '\\']);
            let size = plain.ok_or_else(|| self.error("a string does not end"))?;
            result.push_str(&self.rest()[..size]);
            self.at += size;
            if self.take("\"") {
                return Ok(result);
            }
            self.at += 1;
            result.push(self.escape()?);
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char> {
        let letter = self.peek().unwrap_or(0);
        let plain = match letter {
            b'"' | b'\\' | b'/' => letter as char,
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err(self.error("an escape that JSON does not have")),
        };
        self.at += 1;
        Ok(plain)
    }

    /// Four hexadecimal digits, twice for what is beyond 16 bits. Half of a pair becomes U+FFFD.
    fn unicode(&mut self) -> Result<char> {
        let first = self.hex()?;
        let mark = self.at;
        if (0xd800..0xdc00).contains(&first) && self.take("\\") && self.peek() == Some(b'u') {
            let second = self.hex()?;
            if (0xdc00..0xe000).contains(&second) {
                let both = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(both).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
        self.at = mark;
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Result<u32> {
        let digits = self.text.get(self.at + 1..self.at + 5).unwrap_or("");
        if digits.len() != 4 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(self.error("four hexadecimal digits were expected"));
        }
        self.at += 5;
        u32::from_str_radix(digits, 16).map_err(|_| self.error("no number"))
    }
}
