// SPDX-License-Identifier: Apache-2.0
//! What a graph takes and gives, as the host tells it: the model metadata of the Open Inference Protocol.

use crate::contract::{
    dims_of, Colour, Contract, ImageContract, InputContract, OutputContract, OutputKind,
};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::key::Key;
use crate::quantization::Quantization;
use crate::types::Type;

/// An input or output of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// The model's own name.
    pub name: String,
    /// Other names that it has.
    pub aliases: Vec<String>,
    /// None where the model does not fix the type, or where it is none that this crate knows.
    pub element: Option<Type>,
    /// The sizes, None for a dynamic one; None as a whole where the model fixes none at all.
    pub shape: Option<Vec<Option<u32>>>,
    /// What its integers stand for.
    pub quantization: Option<Quantization>,
}

impl Port {
    fn from_json(json: &Json) -> Result<Self> {
        let text = |json: &Json| json.as_str().unwrap_or("").to_string();
        Ok(Self {
            name: json.get("name").map(text).unwrap_or_default(),
            aliases: json.get("aliases").and_then(Json::as_array).unwrap_or(&[]).iter().map(text).collect(),
            element: json.get("datatype").and_then(Json::as_str).and_then(Type::parse),
            shape: dims_of(json, "shape")?,
            quantization: json.get("quantization").map(Quantization::from_json).transpose()?,
        })
    }

    /// The dims of so many bytes: the port's, with a single dynamic size worked out. None where they cannot
    /// be told.
    pub(crate) fn dims_for(&self, element: Type, bytes: usize) -> Option<Vec<u32>> {
        let shape = self.shape.as_ref()?;
        let count = (bytes / element.size()) as u64;
        let known = shape.iter().flatten().try_fold(1u64, |all, &size| all.checked_mul(size.into()))?;
        let open = match shape.iter().filter(|size| size.is_none()).count() {
            0 if known == count => 0,
            1 if known > 0 && count % known == 0 => u32::try_from(count / known).ok()?,
            _ => return None,
        };
        Some(shape.iter().map(|size| size.unwrap_or(open)).collect())
    }
}

/// What the host says of a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// The graph's name; empty for one that was loaded from bytes.
    pub name: String,
    /// What computes it.
    pub platform: String,
    /// The inputs, in the order of their indices.
    pub inputs: Vec<Port>,
    /// The outputs, likewise.
    pub outputs: Vec<Port>,
    /// What they mean, where the operator has said it.
    pub contract: Option<Contract>,
}

impl Metadata {
    /// Reads the JSON.
    pub fn parse(text: &str) -> Result<Self> {
        let json = Json::parse(text)?;
        let name = |key: &str| json.get(key).and_then(Json::as_str).unwrap_or("").to_string();
        let ports = |key: &str| -> Result<Vec<Port>> {
            json.get(key).and_then(Json::as_array).unwrap_or(&[]).iter().map(Port::from_json).collect()
        };
        Ok(Self {
            name: name("name"),
            platform: name("platform"),
            inputs: ports("inputs")?,
            outputs: ports("outputs")?,
            contract: json.get("contract").map(Contract::from_json).transpose()?,
        })
    }

    /// The index of an input. An error with the names that there are.
    pub fn input_index<'k>(&self, key: impl Into<Key<'k>>) -> Result<usize> {
        let contract = self.contract.iter().flat_map(|contract| &contract.inputs);
        index("input", key.into(), &self.inputs, contract.map(|each| (each.name.as_str(), each.key())))
    }

    /// The index of an output. An error with the names that there are.
    pub fn output_index<'k>(&self, key: impl Into<Key<'k>>) -> Result<usize> {
        let contract = self.contract.iter().flat_map(|contract| &contract.outputs);
        index("output", key.into(), &self.outputs, contract.map(|each| (each.name.as_str(), each.key())))
    }

    /// What an input means: as the contract says, else what can be told from its type and shape (a picture
    /// where a dimension of 1 or 3 can be its channels; floats are 0 to 1, integers the levels themselves).
    pub fn input<'k>(&self, key: impl Into<Key<'k>>) -> Result<InputContract> {
        let index = self.input_index(key)?;
        let known = self.contract.iter().flat_map(|contract| &contract.inputs);
        for input in known {
            if self.input_index(input.key()).ok() == Some(index) {
                return Ok(InputContract { index: Some(index), ..input.clone() });
            }
        }
        let port = &self.inputs[index];
        let image = port.element.zip(port.shape.as_ref()).and_then(|(element, shape)| image(element, shape));
        Ok(InputContract {
            name: port.name.clone(),
            port: Some(port.name.clone()),
            index: Some(index),
            element: port.element.unwrap_or(Type::F32),
            // The level p of a picture is the integer p of u8, and p - 128 of i8.
            quantization: port.quantization.clone().filter(|_| port.element == Some(Type::I8)),
            dims: port.shape.clone(),
            image: image.map(|image| match (&port.quantization, port.element) {
                (Some(quantization), Some(Type::I8)) => ImageContract { range: reals(quantization), ..image },
                _ => image,
            }),
        })
    }

    /// The only input that is a picture.
    pub fn picture_input(&self) -> Result<InputContract> {
        let all: Vec<InputContract> = (0..self.inputs.len())
            .map(|index| self.input(index))
            .filter(|input| !matches!(input, Ok(InputContract { image: None, .. })))
            .collect::<Result<_>>()?;
        match <[InputContract; 1]>::try_from(all) {
            Ok([input]) => Ok(input),
            Err(all) if all.is_empty() => Err(Error::metadata(format!(
                "no input looks like a picture of a fixed size ({}): the graph needs a contract, or the guest \
                 an ImageContract of its own",
                described(&self.inputs)
            ))),
            Err(all) => Err(Error::metadata(format!(
                "{} inputs are pictures ({}): name one",
                all.len(),
                all.iter().map(|input| format!("{:?}", input.name)).collect::<Vec<_>>().join(", ")
            ))),
        }
    }

    /// What an output means: as the contract says, else what its type and quantization tell.
    pub fn output<'k>(&self, key: impl Into<Key<'k>>) -> Result<OutputContract> {
        let index = self.output_index(key)?;
        let known = self.contract.iter().flat_map(|contract| &contract.outputs);
        for output in known {
            if self.output_index(output.key()).ok() == Some(index) {
                return Ok(OutputContract { index: Some(index), ..output.clone() });
            }
        }
        let port = &self.outputs[index];
        Ok(OutputContract {
            name: port.name.clone(),
            port: Some(port.name.clone()),
            element: port.element,
            quantization: port.quantization.clone(),
            ..OutputContract::new(index)
        })
    }

    /// The output with the classes' scores: the one whose kind says so, else the first.
    pub fn class_output(&self) -> Result<OutputContract> {
        self.output_of(&[OutputKind::Logits, OutputKind::Probabilities])
    }

    /// The output with a mask: the one whose kind says so, else the first.
    pub fn mask_output(&self) -> Result<OutputContract> {
        self.output_of(&[OutputKind::Mask])
    }

    fn output_of(&self, kinds: &[OutputKind]) -> Result<OutputContract> {
        for index in 0..self.outputs.len() {
            let output = self.output(index)?;
            if output.kind.map_or(false, |kind| kinds.contains(&kind)) {
                return Ok(output);
            }
        }
        self.output(0)
    }
}

fn index<'a>(
    what: &str,
    key: Key<'_>,
    ports: &'a [Port],
    mut others: impl Iterator<Item = (&'a str, Key<'a>)>,
) -> Result<usize> {
    let found = match key {
        Key::Index(index) => Some(index).filter(|&index| index < ports.len()),
        Key::Name(name) => {
            let of_model = |name: &str| {
                ports
                    .iter()
                    .position(|port| port.name == name)
                    .or_else(|| ports.iter().position(|port| port.aliases.iter().any(|alias| alias == name)))
            };
            of_model(name).or_else(|| match others.find(|(other, _)| *other == name)?.1 {
                Key::Index(index) => Some(index).filter(|&index| index < ports.len()),
                Key::Name(port) => of_model(port),
            })
        }
    };
    found.ok_or_else(|| Error::argument(format!("there is no {what} {key}; there are {}", described(ports))))
}

/// As in `0 "x" f32 [1, 4]`.
fn described(ports: &[Port]) -> String {
    let one = |(index, port): (usize, &Port)| {
        let element = port.element.map_or("any type".to_string(), |element| element.to_string());
        let shape = port.shape.as_ref().map_or("any shape".to_string(), |shape| {
            let sizes: Vec<String> =
                shape.iter().map(|size| size.map_or("-1".to_string(), |size| size.to_string())).collect();
            format!("[{}]", sizes.join(", "))
        });
        format!("{index} {:?} {element} {shape}", port.name)
    };
    if ports.is_empty() {
        return "none".to_string();
    }
    ports.iter().enumerate().map(one).collect::<Vec<_>>().join("; ")
}

/// A picture of which only type and shape are known: channels are where a 1 or a 3 stands.
fn image(element: Type, shape: &[Option<u32>]) -> Option<ImageContract> {
    let channels = |size: Option<u32>| matches!(size, Some(1 | 3));
    let (layout, height, width, count) = match *shape {
        [_, c, Some(h), Some(w)] if channels(c) => ("NCHW", h, w, c),
        [_, Some(h), Some(w), c] if channels(c) => ("NHWC", h, w, c),
        [c, Some(h), Some(w)] if c == Some(3) => ("CHW", h, w, c),
        [Some(h), Some(w), c] if channels(c) => ("HWC", h, w, c),
        [None | Some(1), Some(h), Some(w)] => ("NHW", h, w, Some(1)),
        _ => return None,
    };
    let mut image = ImageContract::new(layout, (height, width));
    image.colour = if count == Some(1) { Colour::Gray } else { Colour::Rgb };
    image.range.1 = if element.is_float() { 1.0 } else { 255.0 };
    Some(image)
}

/// What the least and the greatest int8 stand for.
fn reals(quantization: &Quantization) -> (f64, f64) {
    let (scale, point) = (quantization.scale[0], quantization.zero_point[0] as f64);
    (scale * (-128.0 - point), scale * (127.0 - point))
}
