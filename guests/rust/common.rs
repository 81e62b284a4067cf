// SPDX-License-Identifier: Apache-2.0
//! What the guests share: the command line, and numbers as C prints them.
#![allow(dead_code)] // no guest needs all of it

use std::process::exit;

/// Reads the command line: options with a value, and flags, are written where they belong; the rest comes back.
/// A mistake ends the guest with code 2.
pub fn command_line(
    usage: &str,
    values: &mut [(&str, &mut String)],
    flags: &mut [(&str, &mut bool)],
) -> Vec<String> {
    read_words(usage, values, flags, &mut [])
}

/// The same, with options that may come more than once.
pub fn read_words(
    usage: &str,
    values: &mut [(&str, &mut String)],
    flags: &mut [(&str, &mut bool)],
    lists: &mut [(&str, &mut Vec<String>)],
) -> Vec<String> {
    let mut rest = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--help" || word == "-h" {
            println!("{usage}");
            exit(0);
        } else if word == "--" {
            rest.extend(words.by_ref());
        } else if let Some((_, flag)) = flags.iter_mut().find(|(name, _)| *name == word) {
            **flag = true;
        } else if let Some((_, value)) = values.iter_mut().find(|(name, _)| *name == word) {
            **value = words.next().unwrap_or_else(|| wrong(usage, &format!("{word} needs a value")));
        } else if let Some((_, list)) = lists.iter_mut().find(|(name, _)| *name == word) {
            list.push(words.next().unwrap_or_else(|| wrong(usage, &format!("{word} needs a value"))));
        } else if word.starts_with("--") {
            wrong(usage, &format!("there is no option {word}"));
        } else {
            rest.push(word);
        }
    }
    rest
}

/// Says what is wrong with the command line, and ends.
pub fn wrong(usage: &str, problem: &str) -> ! {
    eprintln!("{problem}\n{usage}");
    exit(2)
}

/// The value of an option that counts, from 1 on.
pub fn count(usage: &str, option: &str, text: &str) -> usize {
    match text.parse() {
        Ok(number) if number > 0 => number,
        _ => wrong(usage, &format!("{option} is a number from 1 on, not {text:?}")),
    }
}

/// Six significant digits, as C's "%.6g".
pub fn general(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return value.to_string().to_lowercase();
    }
    let scientific = format!("{value:.5e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let short = |digits: &str| match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => digits.to_string(),
    };
    match exponent.parse::<i32>().unwrap_or(0) {
        exponent @ -4..=5 => short(&format!("{value:.*}", (5 - exponent) as usize)),
        exponent => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{}e{sign}{:02}", short(digits), exponent.abs())
        }
    }
}
