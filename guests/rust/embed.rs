// SPDX-License-Identifier: Apache-2.0
//! The vectors that a language model makes of texts: a line of JSON for each, or with --compare how alike they are,
//! from -1 to 1, a row for each.

mod common;

use std::process::ExitCode;

use common::{read_words, wrong};
use wasinn::json::Json;
use wasinn::{cosine, Graph, Options};

const USAGE: &str = "usage: embed [--name NAME] [--compare] [--option KEY=VALUE]... TEXT...";

fn main() -> ExitCode {
    let (mut name, mut compare, mut words) = ("default".to_string(), false, Vec::new());
    let texts = read_words(
        USAGE,
        &mut [("--name", &mut name)],
        &mut [("--compare", &mut compare)],
        &mut [("--option", &mut words)],
    );
    if texts.is_empty() {
        wrong(USAGE, "no text is given");
    }
    let options = words.iter().try_fold(Options::new(), |options, word| options.set_word(word));
    let options = options.unwrap_or_else(|error| wrong(USAGE, &error.to_string()));
    match embed(&name, &options, &texts, compare) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("embed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn embed(name: &str, options: &Options, texts: &[String], compare: bool) -> wasinn::Result<()> {
    let mut context = Graph::by_name(name)?.context()?;
    let mut vectors = Vec::new();
    for text in texts {
        let vector = context.embed(text, options)?;
        if !compare {
            let numbers: Vec<String> = vector.iter().map(f32::to_string).collect();
            let text = Json::String(text.clone());
            println!("{{\"text\": {text}, \"embedding\": [{}]}}", numbers.join(", "));
        }
        vectors.push(vector);
    }
    if compare {
        for (text, row) in texts.iter().zip(&vectors) {
            for other in &vectors {
                print!("{:7.4} ", cosine(row, other));
            }
            println!(" {text}");
        }
    }
    Ok(())
}
