//! @NAME@: says what a picture shows, by the model that the host has as "default".

use wasinn::{Graph, Image, Result, Scored};

fn main() {
    let picture = std::env::args().nth(1).unwrap_or_else(|| {
        eprintln!("usage: @NAME@ PICTURE      (PNG, BMP, PBM, PGM or PPM)");
        std::process::exit(2);
    });
    match classify("default", &picture) {
        Ok(classes) => classes.iter().for_each(|class| println!("{}", line(class))),
        Err(error) => {
            eprintln!("@NAME@: {error}");
            std::process::exit(1);
        }
    }
}

fn classify(name: &str, picture: &str) -> Result<Vec<Scored>> {
    let graph = Graph::by_name(name)?;
    // What the model takes and gives: its contract says it, or else its types and shapes.
    let (input, output) = (graph.picture_input()?, graph.class_output()?);
    let mut context = graph.context()?;
    context.set_input(&input, &input.tensor(&Image::open(picture)?)?)?;
    context.compute()?;
    output.top_k(&context.output(&output)?, 3)
}

fn line(class: &Scored) -> String {
    format!("{:6.2}%  {}", class.score * 100.0, class.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_without_a_label_has_its_number() {
        let class = Scored { index: 7, label: None, score: 0.5 };
        assert_eq!(line(&class), " 50.00%  class 7");
    }
}
