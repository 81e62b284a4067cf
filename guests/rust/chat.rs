// SPDX-License-Identifier: Apache-2.0
//! Talks with a language model, and prints what it says as it says it: the answer to PROMPT, or without one a
//! conversation, whose turns are the lines of stdin. What was said before is the option `chat`: the model's own
//! template makes one text of it and the prompt. With --plain there is none, and the model goes on writing where
//! PROMPT ends.

mod common;

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use common::{read_words, wrong};
use wasinn::{Context, Error, ErrorKind, Graph, Message, Options};

const USAGE: &str = "usage: chat [--name NAME] [--system TEXT] [--plain] [--option KEY=VALUE]... [PROMPT]";

struct Chat {
    context: Context,
    /// Of the command line.
    options: Options,
    /// The conversation so far; None where there is to be none.
    messages: Option<Vec<Message>>,
}

impl Chat {
    /// One answer, printed piece by piece; it becomes part of the conversation.
    fn answer(&mut self, prompt: &str) -> wasinn::Result<()> {
        let mut options = Options::new();
        if let Some(messages) = &self.messages {
            options = options.chat(messages);
        }
        let mut answer = String::new();
        // Options of the command line count before.
        let mut pieces = self.context.generate_with(prompt, &options.with(&self.options))?;
        let result = pieces.try_for_each(|piece| {
            let piece = piece?;
            print!("{piece}");
            answer.push_str(&piece);
            io::stdout().flush().map_err(broken)
        });
        if result.is_ok() || !answer.is_empty() {
            println!();
        }
        if let Some(messages) = &mut self.messages {
            messages.extend([Message::new("user", prompt), Message::new("assistant", &answer)]);
        }
        result
    }
}

fn main() -> ExitCode {
    let (mut name, mut system, mut plain) = ("default".to_string(), String::new(), false);
    let mut words = Vec::new();
    let prompts = read_words(
        USAGE,
        &mut [("--name", &mut name), ("--system", &mut system)],
        &mut [("--plain", &mut plain)],
        &mut [("--option", &mut words)],
    );
    if prompts.len() > 1 {
        wrong(USAGE, &format!("one prompt is wanted (is it in quotes?), and {} came", prompts.len()));
    }
    let options = words.iter().try_fold(Options::new(), |options, word| options.set_word(word));
    let options = options.unwrap_or_else(|error| wrong(USAGE, &error.to_string()));
    let mut messages = Vec::new();
    if !system.is_empty() {
        messages.push(Message::new("system", &system));
    }
    match run(&name, options, (!plain).then(|| messages), prompts.first()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chat: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(
    name: &str,
    options: Options,
    messages: Option<Vec<Message>>,
    prompt: Option<&String>,
) -> wasinn::Result<()> {
    let mut chat = Chat { context: Graph::by_name(name)?.context()?, options, messages };
    if let Some(prompt) = prompt {
        return chat.answer(prompt);
    }
    for line in io::stdin().lock().lines() {
        let line = line.map_err(broken)?;
        if !line.is_empty() {
            chat.answer(&line)?;
        }
    }
    Ok(())
}

fn broken(error: io::Error) -> Error {
    Error::new(ErrorKind::Io, error.to_string())
}
