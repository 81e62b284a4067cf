// SPDX-License-Identifier: Apache-2.0
//! Language models: a prompt goes in, and text comes out piece by piece.

use std::fmt;

use crate::context::Context;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::json::Json;
#[cfg(feature = "wasmedge")]
use crate::{ffi, streaming};
use crate::tensor::Tensor;

// The inputs and outputs of a language model.
const PROMPT: usize = 0;
const OPTIONS: usize = 1;
const TEXT: usize = 0;
const METADATA: usize = 1;

/// What a host answers about texts, for `match`: `Some(Code::CONTEXT_FULL)`.
impl Code {
    /// There is no more text: the model's own end, a stop sequence, or the option n-predict.
    pub const END_OF_SEQUENCE: Self = Self::Other(100);
    /// The text so far is good, and there is no room for more (the option ctx-size).
    pub const CONTEXT_FULL: Self = Self::Other(101);
    /// The prompt alone has more tokens than there is room for.
    pub const PROMPT_TOO_LONG: Self = Self::Other(102);
    /// The host has no graph of that name.
    pub const MODEL_NOT_FOUND: Self = Self::Other(103);
}

/// Options of a language model, which count before those that the host was given.
///
/// ```
/// let options = wasinn::Options::new().temperature(0.0).max_tokens(64).stop(&["\n\n"]);
/// assert_eq!(options.to_string(), r#"{"temp":0,"n-predict":64,"stop":["\n\n"]}"#.replace("\\n", "\\u000a"));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    members: Vec<(String, Json)>,
}

impl Options {
    /// None: all is as the host has it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Any option by its key (docs/language-models.md lists them); in the place of what it was.
    #[must_use]
    pub fn set(mut self, key: &str, value: Json) -> Self {
        self.members.retain(|(known, _)| known != key);
        self.members.push((key.to_string(), value));
        self
    }

    /// Those of `others` too, which count before these.
    #[must_use]
    pub fn with(self, others: &Options) -> Self {
        others.members.iter().fold(self, |all, (key, value)| all.set(key, value.clone()))
    }

    /// An option as people write it, `temp=0.2`: a value that is JSON is taken so, another is text.
    pub fn set_word(self, word: &str) -> Result<Self> {
        match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok(self.set(key, Json::parse(value).unwrap_or_else(|_| Json::String(value.to_string()))))
            }
            _ => Err(Error::argument(format!("an option is KEY=VALUE, such as temp=0, not {word:?}"))),
        }
    }

    /// How much chance there is in the choice of tokens: 0 always takes the likeliest.
    #[must_use]
    pub fn temperature(self, value: f64) -> Self {
        self.set("temp", Json::Number(value))
    }

    /// The same chance each time.
    #[must_use]
    pub fn seed(self, value: u32) -> Self {
        self.set("seed", Json::Number(f64::from(value)))
    }

    /// Most tokens of an answer.
    #[must_use]
    pub fn max_tokens(self, count: u32) -> Self {
        self.set("n-predict", Json::Number(f64::from(count)))
    }

    /// Tokens of the prompt and the answer together.
    #[must_use]
    pub fn context_size(self, count: u32) -> Self {
        self.set("ctx-size", Json::Number(f64::from(count)))
    }

    /// Texts before which the answer ends.
    #[must_use]
    pub fn stop(self, texts: &[&str]) -> Self {
        self.set("stop", Json::Array(texts.iter().map(|text| Json::String(text.to_string())).collect()))
    }

    /// What was said before the prompt, which is then the user's next message: the model's own template makes one
    /// text of all.
    #[must_use]
    pub fn chat(self, messages: &[Message]) -> Self {
        self.set("chat", Json::Array(messages.iter().map(Message::to_json).collect()))
    }

    /// A grammar (GBNF) that the answer keeps to.
    #[must_use]
    pub fn grammar(self, text: &str) -> Self {
        self.set("grammar", Json::String(text.to_string()))
    }

    /// A JSON schema that the answer keeps to.
    #[must_use]
    pub fn json_schema(self, schema: Json) -> Self {
        self.set("json-schema", schema)
    }
}

/// The JSON object that the host gets.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Json::Object(self.members.clone()).fmt(f)
    }
}

/// A part of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// "system", "user" or "assistant".
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// Of any role.
    pub fn new(role: &str, content: &str) -> Self {
        Self { role: role.to_string(), content: content.to_string() }
    }

    fn to_json(&self) -> Json {
        let member = |key: &str, value: &str| (key.to_string(), Json::String(value.to_string()));
        Json::Object(vec![member("role", &self.role), member("content", &self.content)])
    }
}

/// How many tokens a context's prompt has, and how many were generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Usage {
    pub prompt_tokens: u64,
    pub generated_tokens: u64,
}

impl Context {
    /// The text that follows a prompt, piece by piece, with the options that the host has:
    ///
    /// ```no_run
    /// # fn main() -> wasinn::Result<()> {
    /// # let mut context = wasinn::Graph::by_name("default")?.context()?;
    /// for piece in context.generate("Once upon a time")? {
    ///     print!("{}", piece?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn generate(&mut self, prompt: &str) -> Result<Pieces<'_>> {
        self.start(prompt)?;
        Ok(Pieces { context: self, begun: false, ended: false })
    }

    /// The same with options, which stay for what is generated later.
    pub fn generate_with(&mut self, prompt: &str, options: &Options) -> Result<Pieces<'_>> {
        self.set_options(options)?;
        self.generate(prompt)
    }

    /// The options of what is generated from now on.
    pub fn set_options(&mut self, options: &Options) -> Result<()> {
        self.set_input(OPTIONS, &Tensor::from_prompt(&options.to_string()))
    }

    /// How many tokens the prompt has, and how many were generated since; also before the first piece.
    pub fn usage(&self) -> Result<Usage> {
        let json = self.json_output(METADATA)?;
        let count = |key| json.get(key).and_then(Json::as_i64).unwrap_or(0).max(0) as u64;
        Ok(Usage { prompt_tokens: count("input_tokens"), generated_tokens: count("output_tokens") })
    }

    /// The vector that the model makes of a text. `options` stay, with `embedding`, for what follows.
    pub fn embed(&mut self, text: &str, options: &Options) -> Result<Vec<f32>> {
        self.set_options(&options.clone().set("embedding", Json::Bool(true)))?;
        self.start(text)?;
        self.compute()?;
        let json = self.json_output(TEXT)?;
        let numbers = json.get("embedding").and_then(Json::as_array);
        let numbers = numbers.ok_or_else(|| {
            Error::metadata("the answer has no \"embedding\": is the model one for text?")
        })?;
        Ok(numbers.iter().map(|number| number.as_f64().unwrap_or(f64::NAN) as f32).collect())
    }

    /// Sets the prompt; the host forgets the sequence before it.
    fn start(&mut self, prompt: &str) -> Result<()> {
        #[cfg(feature = "wasmedge")]
        if std::mem::take(&mut self.streamed) {
            streaming::fini_single(self.number());
        }
        self.set_input(PROMPT, &Tensor::from_prompt(prompt))
    }

    fn json_output(&self, index: usize) -> Result<Json> {
        Json::parse(&utf8(self.output_bytes(index)?)?)
    }
}

/// The pieces of a text as the model writes it; see [`Context::generate`]. After an error there are no more:
/// [`Code::CONTEXT_FULL`] says that the text so far is good, [`Code::PROMPT_TOO_LONG`] that there is none.
///
/// A piece is one token's text, and may be empty: a part of a character is held back until it is whole. Where
/// the guest is built without the feature `wasmedge`, all of the text is one piece.
#[derive(Debug)]
pub struct Pieces<'a> {
    context: &'a mut Context,
    begun: bool,
    ended: bool,
}

impl Iterator for Pieces<'_> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let piece = self.piece().transpose();
        self.begun = true;
        self.ended = !matches!(piece, Some(Ok(_)));
        piece
    }
}

impl Pieces<'_> {
    #[cfg(feature = "wasmedge")]
    fn piece(&mut self) -> Result<Option<String>> {
        let number = self.context.number();
        let code = streaming::compute_single(number)?;
        self.context.streamed = true;
        if code != 0 && Code::of(code) == Code::END_OF_SEQUENCE {
            return Ok(None);
        }
        ffi::check(code, "compute_single")?;
        let answer = ffi::read_all(256, |buffer| streaming::get_output_single(number, TEXT as u32, buffer))?;
        match answer {
            Ok(bytes) => utf8(bytes).map(Some),
            Err(code) => ffi::check(code, "get_output_single").map(|()| None),
        }
    }

    #[cfg(not(feature = "wasmedge"))]
    fn piece(&mut self) -> Result<Option<String>> {
        if self.begun {
            return Ok(None);
        }
        self.context.compute()?;
        utf8(self.context.output_bytes(TEXT)?).map(Some)
    }
}

fn utf8(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::Metadata, "the model's text is not UTF-8"))
}

/// How far two vectors point the same way, from -1 to 1; 0 where one of them is all zeros.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let size = (product(a, a) * product(b, b)).sqrt();
    if size > 0.0 {
        product(a, b) / size
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_json_and_the_last_counts() {
        let options = Options::new().temperature(0.5).max_tokens(8).temperature(0.0);
        assert_eq!(options.to_string(), r#"{"n-predict":8,"temp":0}"#);
        let words = options.set_word("stop=END").unwrap().set_word("chat=true").unwrap();
        assert_eq!(words.to_string(), r#"{"n-predict":8,"temp":0,"stop":"END","chat":true}"#);
        assert!(Options::new().set_word("temp").unwrap_err().to_string().contains("KEY=VALUE"));
    }

    #[test]
    fn messages_are_escaped() {
        let options = Options::new().chat(&[Message::new("user", "say \"é\"\n")]);
        assert_eq!(options.to_string(), r#"{"chat":[{"role":"user","content":"say \"é\"\u000a"}]}"#);
    }

    #[test]
    fn cosines() {
        assert_eq!(cosine(&[1.0, 0.0], &[2.0, 0.0]), 1.0);
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 3.0]), 0.0);
        assert_eq!(cosine(&[0.0], &[1.0]), 0.0);
    }
}
