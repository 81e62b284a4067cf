// SPDX-License-Identifier: Apache-2.0
//! Classifies many pictures in one context, several a compute where the model's batch dimension is open.

mod common;

use std::process::ExitCode;

use common::{command_line, count, general, wrong};
use wasinn::{Context, Graph, Image, InputContract, OutputContract, Tensor};

const USAGE: &str = "usage: batch [--name NAME] [--size N] PICTURE...      (PNG, BMP, PBM, PGM or PPM)";

fn main() -> ExitCode {
    let (mut name, mut size) = ("default".to_string(), "8".to_string());
    let pictures = command_line(USAGE, &mut [("--name", &mut name), ("--size", &mut size)], &mut []);
    let size = count(USAGE, "--size", &size);
    if pictures.is_empty() {
        wrong(USAGE, "no picture is given");
    }
    match run(&name, &pictures, size) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("batch: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A picture that cannot be read is said, and the others are done.
fn run(name: &str, pictures: &[String], size: usize) -> wasinn::Result<ExitCode> {
    let graph = Graph::by_name(name)?;
    let (input, output) = (graph.picture_input()?, graph.class_output()?);
    let mut context = graph.context()?;
    let size = if input.takes_batches() { size } else { 1 };
    let (mut names, mut tensors): (Vec<&str>, Vec<Tensor>) = Default::default();
    let mut code = ExitCode::SUCCESS;
    for picture in pictures {
        match Image::open(picture) {
            Ok(image) => {
                names.push(picture);
                tensors.push(input.tensor(&image)?);
            }
            Err(error) => {
                eprintln!("batch: {error}");
                code = ExitCode::FAILURE;
            }
        }
        if tensors.len() == size {
            compute(&mut context, &input, &output, &names, &tensors)?;
            names.clear();
            tensors.clear();
        }
    }
    if !tensors.is_empty() {
        compute(&mut context, &input, &output, &names, &tensors)?;
    }
    Ok(code)
}

/// One compute for all tensors, and a line for the best class of each.
fn compute(
    context: &mut Context,
    input: &InputContract,
    output: &OutputContract,
    names: &[&str],
    tensors: &[Tensor],
) -> wasinn::Result<()> {
    if let [one] = tensors {
        context.set_input(input, one)?;
    } else {
        context.set_input(input, &Tensor::stack(tensors)?)?;
    }
    context.compute()?;
    let mut answer = context.output(output)?;
    let count = tensors.len();
    if count > 1 && answer.dims().first() != Some(&(count as u32)) {
        // The model does not say its output's shape: one part of the numbers for each picture.
        let each = answer.len() / count;
        answer = answer.reshaped(&[count as u32, each as u32])?;
    }
    let answers = if count > 1 { answer.unstack()? } else { vec![answer] };
    for (picture, answer) in names.iter().zip(&answers) {
        for class in output.top_k(answer, 1)? {
            let label = class.label.as_deref().unwrap_or("");
            println!("{picture}\t{}\t{}\t{label}", class.index, general(class.score));
        }
    }
    Ok(())
}
