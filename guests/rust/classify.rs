// SPDX-License-Identifier: Apache-2.0
//! Classifies pictures: the best classes of each, with labels and probabilities where the model has them.

mod common;

use std::process::ExitCode;

use common::{command_line, count, general, wrong};
use wasinn::{Context, Graph, Image, InputContract, OutputContract, Scored};

const USAGE: &str = "usage: classify [--name NAME] [--top K] [--tsv] PICTURE...      (PNG, BMP, PBM, PGM or PPM)";

struct Classifier {
    context: Context,
    input: InputContract,
    output: OutputContract,
}

impl Classifier {
    fn open(name: &str) -> wasinn::Result<Self> {
        let graph = Graph::by_name(name)?;
        Ok(Self { input: graph.picture_input()?, output: graph.class_output()?, context: graph.context()? })
    }

    fn classify(&mut self, image: &Image, top: usize) -> wasinn::Result<Vec<Scored>> {
        self.context.set_input(&self.input, &self.input.tensor(image)?)?;
        self.context.compute()?;
        self.output.top_k(&self.context.output(&self.output)?, top)
    }
}

fn main() -> ExitCode {
    let (mut name, mut top, mut tsv) = ("default".to_string(), "5".to_string(), false);
    let pictures =
        command_line(USAGE, &mut [("--name", &mut name), ("--top", &mut top)], &mut [("--tsv", &mut tsv)]);
    let top = count(USAGE, "--top", &top);
    if pictures.is_empty() {
        wrong(USAGE, "no picture is given");
    }
    match run(&name, &pictures, top, tsv) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("classify: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A picture that cannot be read is said, and the others are done.
fn run(name: &str, pictures: &[String], top: usize, tsv: bool) -> wasinn::Result<ExitCode> {
    let mut classifier = Classifier::open(name)?;
    let mut code = ExitCode::SUCCESS;
    for picture in pictures {
        match Image::open(picture) {
            Ok(image) => print(picture, &classifier.classify(&image, top)?, tsv),
            Err(error) => {
                eprintln!("classify: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn print(picture: &str, classes: &[Scored], tsv: bool) {
    if tsv {
        for (rank, class) in (1..).zip(classes) {
            let label = class.label.as_deref().unwrap_or("");
            println!("{picture}\t{rank}\t{}\t{}\t{label}", class.index, general(class.score));
        }
        return;
    }
    println!("{picture}");
    let width = classes.iter().map(|class| class.name().chars().count()).max().unwrap_or(0);
    let shares = classes.iter().all(|class| (0.0..=1.001).contains(&class.score));
    for (rank, class) in (1..).zip(classes) {
        let score = if shares { format!("{:6.2}%", class.score * 100.0) } else { format!("{:12.3}", class.score) };
        println!("{rank:3}  {:width$}  {score}", class.name());
    }
}
