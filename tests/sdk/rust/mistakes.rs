// SPDX-License-Identifier: Apache-2.0
//! `mistakes WHICH`: makes one mistake with @identity (input x, f32 [1,4]) and prints the error's text.
//!
//! That a context or a graph is closed and then used cannot be written in Rust: whoever owns it has it open.

use std::process::ExitCode;

use wasinn::{Context, Graph, Result, Tensor, Type};

const KNOWN: [&str; 8] = [
    "wrong-dims",
    "wrong-bytes",
    "wrong-type",
    "unknown-graph",
    "no-such-input",
    "no-such-output",
    "small-buffer",
    "no-input",
];

fn main() -> ExitCode {
    let which = std::env::args().nth(1).unwrap_or_default();
    if !KNOWN.contains(&which.as_str()) {
        eprintln!("{which:?} is not among the mistakes: {}", KNOWN.join(", "));
        std::process::exit(2); // an ExitCode of Rust 1.63 is 0 or 1 here
    }
    match mistake(&which) {
        Ok(()) => {
            eprintln!("{which} was no mistake");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("{error}");
            ExitCode::SUCCESS
        }
    }
}

fn mistake(which: &str) -> Result<()> {
    if which == "unknown-graph" {
        return Graph::by_name("nobody").map(drop);
    }
    let mut context: Context = Graph::by_name("default")?.context()?;
    let right = Tensor::new(&[1, 4], &[1.0f32, 2.0, 3.0, 4.0])?;
    match which {
        "wrong-dims" => return context.set_input(0, &Tensor::new(&[1, 5], &[0.0f32; 5])?),
        "wrong-bytes" => return Tensor::from_bytes(Type::F32, &[1, 4], vec![0; 12]).map(drop),
        "wrong-type" => return context.set_input(0, &Tensor::new(&[1, 4], &[1u8, 2, 3, 4])?),
        "no-such-input" => return context.set_input("pixels", &right),
        "no-input" => return context.compute(),
        _ => {}
    }
    context.set_input("x", &right)?;
    context.compute()?;
    if which == "small-buffer" {
        return context.read_output("y", &mut [0; 8]).map(drop);
    }
    context.output("scores").map(drop)
}
