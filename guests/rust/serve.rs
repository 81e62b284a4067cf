// SPDX-License-Identifier: Apache-2.0
//! A classifier that is served: pictures come in, the best classes go out, with their labels.
//!
//!   in    image   BYTES, any shape: files (PNG, BMP, PNM), or UINT8 [H,W,3]: the pixels of one picture
//!         top     INT32 [1], optional: how many classes, 5 if it is not there
//!   out   scores  FP32 [pictures, top], the best first
//!         classes INT32 [pictures, top]
//!         labels  BYTES [pictures, top]: the class's number where the model's contract has no labels
//!
//! The graph is "default", or the first word of `args`. How a picture becomes a tensor is what its contract says.

use wasinn::serve::{Answer, Input, Request};
use wasinn::{Error, ErrorKind, Graph, Image, Result, Tensor};

wasinn::serve!(answer);

fn answer(request: &Request) -> Result<Answer> {
    let image = request.input("image")?;
    let top = read_top(request)?;
    let images = read_pictures(image)?;
    let graph = Graph::by_name(&std::env::args().nth(1).unwrap_or_else(|| "default".into()))?;
    let (input, output) = (graph.picture_input()?, graph.class_output()?);
    let mut context = graph.context()?;
    let (mut scores, mut classes, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for image in &images {
        context.set_input(&input, &input.tensor(image)?)?;
        context.compute()?;
        for class in output.top_k(&context.output(&output)?, top)? {
            scores.push(class.score as f32);
            classes.push(class.index as i32);
            labels.push(class.label.unwrap_or_else(|| class.index.to_string()));
        }
    }
    let dims = [images.len() as u32, (scores.len() / images.len()) as u32];
    let mut answer = Answer::new();
    answer.tensor("scores", &Tensor::new(&dims, &scores)?);
    answer.tensor("classes", &Tensor::new(&dims, &classes)?);
    answer.strings("labels", &dims, &labels)?;
    Ok(answer)
}

fn wrong(reason: String) -> Error {
    Error::new(ErrorKind::Request, reason)
}

fn read_pictures(input: &Input) -> Result<Vec<Image>> {
    if let ("UINT8", &[height, width, 3]) = (input.datatype, &input.dims[..]) {
        return Ok(vec![Image::from_rgb(width, height, input.data.to_vec()).map_err(Error::of_request)?]);
    }
    let files = if input.datatype == "BYTES" { input.strings()? } else { Vec::new() };
    if files.is_empty() {
        return Err(wrong(format!(
            "the input 'image' is {} {:?}, and must be UINT8 [height,width,3] or files (BYTES)",
            input.datatype, input.dims
        )));
    }
    (0..)
        .zip(files)
        .map(|(at, file)| Image::decode(file).map_err(|error| wrong(format!("picture {at}: {error}"))))
        .collect()
}

fn read_top(request: &Request) -> Result<usize> {
    if let Some(other) = request.inputs().iter().find(|each| !["image", "top"].contains(&each.name)) {
        let (name, datatype) = (other.name, other.datatype);
        return Err(wrong(format!("the inputs are 'image' and 'top' (INT32 [1]), not '{name}' ({datatype})")));
    }
    match request.find("top").map(|top| top.values::<i32>()).transpose()?.as_deref() {
        None => Ok(5),
        Some(&[top]) if top > 0 => Ok(top as usize),
        Some(_) => Err(wrong("the input 'top' must be one number of 1 or more".into())),
    }
}
