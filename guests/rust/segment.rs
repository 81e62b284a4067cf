// SPDX-License-Identifier: Apache-2.0
//! Segments a picture: writes the output's bytes as they are, and a picture whose pixel values are the classes;
//! prints how many pixels each class has.

mod common;

use std::process::ExitCode;

use common::{command_line, wrong};
use wasinn::{Error, ErrorKind, Graph, Image};

const USAGE: &str = "usage: segment [--name NAME] PICTURE OUT.tensor OUT.png";

fn main() -> ExitCode {
    let mut name = "default".to_string();
    let files = command_line(USAGE, &mut [("--name", &mut name)], &mut []);
    let [picture, tensor, png] = match <[String; 3]>::try_from(files) {
        Ok(files) => files,
        Err(files) => wrong(USAGE, &format!("three files are wanted, and {} came", files.len())),
    };
    match segment(&name, &picture, &tensor, &png) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("segment: {error}");
            ExitCode::FAILURE
        }
    }
}

fn segment(name: &str, picture: &str, tensor: &str, png: &str) -> wasinn::Result<()> {
    let image = Image::open(picture)?;
    let graph = Graph::by_name(name)?;
    let (input, output) = (graph.picture_input()?, graph.mask_output()?);
    let mut context = graph.context()?;
    context.set_input(&input, &input.tensor(&image)?)?;
    context.compute()?;
    let answer = context.output(&output)?;
    let mask = output.mask(&answer)?;
    write(tensor, answer.bytes())?;
    write(png, &mask.to_png()?)?;
    for (class, pixels) in mask.counts() {
        println!("class {class}\t{}\t{pixels}", output.label(class as usize).unwrap_or(""));
    }
    Ok(())
}

fn write(path: &str, content: &[u8]) -> wasinn::Result<()> {
    std::fs::write(path, content).map_err(|error| {
        Error::new(ErrorKind::Io, format!("{path}: {error} (a guest writes only where --dir HOST::GUEST:rw lets it)"))
    })
}
