// SPDX-License-Identifier: Apache-2.0
//! What a graph's inputs and outputs mean, as the host's metadata say it (its key "contract").

use crate::error::{Error, Result};
use crate::json::Json;
use crate::key::Key;
use crate::quantization::Quantization;
use crate::types::Type;

/// How a picture of another shape is brought to the model's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Both sides to the size, whatever shape that gives.
    Stretch,
    /// The middle is cut out.
    Crop,
    /// Shown whole, with bars.
    Letterbox,
}

/// The filter by which a picture gets another size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Resize {
    Bilinear,
    Bicubic,
    Nearest,
    Area,
}

/// The channels and their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Colour {
    Rgb,
    Bgr,
    /// One channel: ITU-R 601 luma.
    Gray,
}

/// How a tensor shows a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageContract {
    /// The order of the dimensions: "NCHW", "NHWC", "CHW", "HWC", "NHW" or "HW".
    pub layout: String,
    /// Height and width in pixels.
    pub size: (u32, u32),
    /// The channels.
    pub colour: Colour,
    /// What the levels 0 and 255 become, before mean and deviation.
    pub range: (f64, f64),
    /// Subtracted, one number a channel in the tensor's order.
    pub mean: Vec<f64>,
    /// Divided by, likewise.
    pub std: Vec<f64>,
    /// The filter.
    pub resize: Resize,
    /// True weighs every pixel when a picture shrinks, as Pillow does; false samples, as OpenCV does.
    pub antialias: bool,
    /// What becomes of pictures of another shape.
    pub fit: Fit,
    /// With [`Fit::Crop`]: the length that the shorter side gets before the middle is cut out.
    pub crop: Option<u32>,
    /// The letterbox's colour, RGB.
    pub fill: [u8; 3],
    /// Each level p becomes 255 - p.
    pub invert: bool,
}

impl ImageContract {
    /// A picture of `layout` and `size` (height, width): RGB, or gray where there is no C, range 0 to 1,
    /// stretched with an antialiased bilinear filter. The fields can be changed.
    pub fn new(layout: &str, size: (u32, u32)) -> Self {
        Self {
            layout: layout.to_string(),
            size,
            colour: if layout.contains('C') { Colour::Rgb } else { Colour::Gray },
            range: (0.0, 1.0),
            mean: vec![0.0],
            std: vec![1.0],
            resize: Resize::Bilinear,
            antialias: true,
            fit: Fit::Stretch,
            crop: None,
            fill: [0; 3],
            invert: false,
        }
    }

    /// 1 for gray, else 3.
    pub fn channels(&self) -> usize {
        if self.colour == Colour::Gray { 1 } else { 3 }
    }

    /// The tensor's dims, with a batch of 1.
    pub fn dims(&self) -> Vec<u32> {
        let size = |letter| match letter {
            'C' => self.channels() as u32,
            'H' => self.size.0,
            'W' => self.size.1,
            _ => 1,
        };
        self.layout.chars().map(size).collect()
    }

    fn from_json(json: &Json, whole: bool) -> Result<Self> {
        let layout = word(json, "layout", None, &LAYOUTS.map(|name| (name, name)))?;
        let size = numbers(json, "size")?.ok_or_else(|| bad("size", "is missing"))?;
        let mut image = Self::new(layout, pair_of_sizes(&size)?);
        let (colour, resize, fit) = (image.colour, image.resize, image.fit);
        image.colour = word(
            json,
            "colour",
            Some(colour),
            &[("RGB", Colour::Rgb), ("BGR", Colour::Bgr), ("GRAY", Colour::Gray)],
        )?;
        image.resize = word(
            json,
            "resize",
            Some(resize),
            &[
                ("bilinear", Resize::Bilinear),
                ("bicubic", Resize::Bicubic),
                ("nearest", Resize::Nearest),
                ("area", Resize::Area),
            ],
        )?;
        let fits = [("stretch", Fit::Stretch), ("crop", Fit::Crop), ("letterbox", Fit::Letterbox)];
        image.fit = word(json, "fit", Some(fit), &fits)?;
        match numbers(json, "range")?.as_deref() {
            Some(&[low, high]) => image.range = (low, high),
            Some(_) => return Err(bad("range", "is two numbers")),
            // Integers that stand for nothing else hold the levels themselves.
            None => image.range.1 = if whole { 255.0 } else { 1.0 },
        }
        if let Some(mean) = numbers(json, "mean")? {
            image.mean = mean;
        }
        if let Some(std) = numbers(json, "std")? {
            image.std = std;
        }
        image.antialias = flag(json, "antialias", true)?;
        image.invert = flag(json, "invert", false)?;
        if let Some(crop) = json.get("crop") {
            let pixels = crop.as_i64().and_then(|pixels| u32::try_from(pixels).ok());
            image.crop = Some(pixels.ok_or_else(|| bad("crop", "is a number of pixels"))?);
        }
        if let Some(fill) = numbers(json, "fill")? {
            image.fill = match fill[..] {
                [level] => [level as u8; 3],
                [red, green, blue] => [red as u8, green as u8, blue as u8],
                _ => return Err(bad("fill", "is a level or three")),
            };
        }
        Ok(image)
    }
}

pub(crate) const LAYOUTS: [&str; 6] = ["NCHW", "NHWC", "CHW", "HWC", "NHW", "HW"];

/// One input of a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct InputContract {
    /// The contract's name, or the model's.
    pub name: String,
    /// The model's own name.
    pub port: Option<String>,
    /// Its place among the inputs.
    pub index: Option<usize>,
    /// The elements' type.
    pub element: Type,
    /// Set only where values are to be quantized.
    pub quantization: Option<Quantization>,
    /// The port's sizes; None is dynamic. None as a whole where the model fixes none at all.
    pub dims: Option<Vec<Option<u32>>>,
    /// How it shows a picture, where it is one.
    pub image: Option<ImageContract>,
}

impl InputContract {
    /// A picture as the tensor `image` says, for the input at `index`.
    pub fn picture(index: usize, element: Type, image: ImageContract) -> Self {
        Self {
            name: format!("input {index}"),
            port: None,
            index: Some(index),
            element,
            quantization: None,
            dims: None,
            image: Some(image),
        }
    }

    /// From one element of the metadata's `contract.inputs`; `port` and `index` may be missing.
    pub fn from_json(json: &Json) -> Result<Self> {
        let name = name_of(json);
        Self::read(json).map_err(|error| error.about(format_args!("the contract's input {name:?}")))
    }

    fn read(json: &Json) -> Result<Self> {
        let element = type_of(json)?.unwrap_or(Type::F32);
        let quantization = json.get("quantization").map(Quantization::from_json).transpose()?;
        let whole = !element.is_float() && quantization.is_none();
        let image = json.get("image").map(|image| ImageContract::from_json(image, whole)).transpose()?;
        Ok(Self {
            name: name_of(json),
            port: json.get("port").and_then(Json::as_str).map(str::to_string),
            index: index_of(json),
            element,
            quantization,
            dims: dims_of(json, "dims")?,
            image,
        })
    }

    pub(crate) fn key(&self) -> Key<'_> {
        key(self.index, self.port.as_deref(), &self.name)
    }

    /// Whether the first dimension is the batch, and dynamic: several pictures go into one compute.
    pub fn takes_batches(&self) -> bool {
        let first = self.dims.as_ref().and_then(|dims| dims.first());
        let batch = self.image.as_ref().map_or(true, |image| image.layout.starts_with('N'));
        batch && first == Some(&None)
    }

    /// The tensor that this input makes of a picture.
    pub fn tensor(&self, image: &crate::Image) -> Result<crate::Tensor> {
        crate::preprocess(image, self)
    }
}

/// What an output's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// A score a class, any size.
    Logits,
    /// A score a class, 0 to 1.
    Probabilities,
    /// A class, or a score for each class, at each pixel.
    Mask,
    /// Objects with places; this crate does not decode them.
    Boxes,
    /// Anything else.
    Raw,
}

/// One output of a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputContract {
    /// The contract's name, or the model's.
    pub name: String,
    /// The model's own name.
    pub port: Option<String>,
    /// Its place among the outputs.
    pub index: Option<usize>,
    /// What the numbers are; None where nobody has said it, and they are looked at.
    pub kind: Option<OutputKind>,
    /// Of a mask; None where nobody has said it.
    pub layout: Option<String>,
    /// The elements' type, where it is known.
    pub element: Option<Type>,
    /// What integers stand for.
    pub quantization: Option<Quantization>,
    /// What the classes are called.
    pub labels: Vec<String>,
    /// Class i is called `labels[i + label_offset]`.
    pub label_offset: i64,
    /// How many there are, where the contract says it.
    pub classes: Option<usize>,
}

impl OutputContract {
    /// The output at `index`, of which nothing more is known.
    pub fn new(index: usize) -> Self {
        Self {
            name: format!("output {index}"),
            port: None,
            index: Some(index),
            kind: None,
            layout: None,
            element: None,
            quantization: None,
            labels: Vec::new(),
            label_offset: 0,
            classes: None,
        }
    }

    /// From one element of the metadata's `contract.outputs`.
    pub fn from_json(json: &Json) -> Result<Self> {
        let name = name_of(json);
        Self::read(json).map_err(|error| error.about(format_args!("the contract's output {name:?}")))
    }

    fn read(json: &Json) -> Result<Self> {
        const KINDS: [(&str, OutputKind); 5] = [
            ("logits", OutputKind::Logits),
            ("probabilities", OutputKind::Probabilities),
            ("mask", OutputKind::Mask),
            ("boxes", OutputKind::Boxes),
            ("raw", OutputKind::Raw),
        ];
        let labels = json.get("labels").and_then(Json::as_array).unwrap_or(&[]);
        Ok(Self {
            name: name_of(json),
            port: json.get("port").and_then(Json::as_str).map(str::to_string),
            index: index_of(json),
            kind: Some(word(json, "kind", Some(OutputKind::Raw), &KINDS)?),
            layout: json.get("layout").and_then(Json::as_str).map(str::to_string),
            element: type_of(json)?,
            quantization: json.get("quantization").map(Quantization::from_json).transpose()?,
            labels: labels.iter().map(|label| label.as_str().unwrap_or("").to_string()).collect(),
            label_offset: json.get("label_offset").and_then(Json::as_i64).unwrap_or(0),
            classes: json.get("classes").and_then(Json::as_i64).map(|count| count as usize),
        })
    }

    pub(crate) fn key(&self) -> Key<'_> {
        key(self.index, self.port.as_deref(), &self.name)
    }

    /// What a class is called; None for one without a name.
    pub fn label(&self, class: usize) -> Option<&str> {
        let at = usize::try_from(class as i64 + self.label_offset).ok()?;
        self.labels.get(at).map(String::as_str).filter(|label| !label.is_empty())
    }
}

/// The contract of a graph, bound to its model.
#[derive(Debug, Clone, PartialEq)]
pub struct Contract {
    /// The inputs that it describes.
    pub inputs: Vec<InputContract>,
    /// The outputs that it describes.
    pub outputs: Vec<OutputContract>,
}

impl Contract {
    pub(crate) fn from_json(json: &Json) -> Result<Self> {
        let list = |key: &str| json.get(key).and_then(Json::as_array).unwrap_or(&[]);
        Ok(Self {
            inputs: list("inputs").iter().map(InputContract::from_json).collect::<Result<_>>()?,
            outputs: list("outputs").iter().map(OutputContract::from_json).collect::<Result<_>>()?,
        })
    }
}

fn key<'a>(index: Option<usize>, port: Option<&'a str>, name: &'a str) -> Key<'a> {
    match index {
        Some(index) => Key::Index(index),
        None => Key::Name(port.unwrap_or(name)),
    }
}

fn bad(key: &str, problem: &str) -> Error {
    Error::metadata(format!("{key} {problem}"))
}

fn name_of(json: &Json) -> String {
    json.get("name").and_then(Json::as_str).unwrap_or("").to_string()
}

fn index_of(json: &Json) -> Option<usize> {
    json.get("index").and_then(Json::as_i64).and_then(|index| usize::try_from(index).ok())
}

fn type_of(json: &Json) -> Result<Option<Type>> {
    match json.get("type").and_then(Json::as_str) {
        None => Ok(None),
        Some(name) => {
            Type::parse(name).map(Some).ok_or_else(|| bad("type", &format!("{name:?} is not known here")))
        }
    }
}

/// Sizes, with -1 for a dynamic one.
pub(crate) fn dims_of(json: &Json, key: &str) -> Result<Option<Vec<Option<u32>>>> {
    let sizes = match json.get(key) {
        None => return Ok(None),
        Some(sizes) => sizes.as_array().ok_or_else(|| bad(key, "is a list of sizes"))?,
    };
    let size = |size: &Json| match size.as_i64() {
        None if *size == Json::Null => Ok(None),
        Some(-1) => Ok(None),
        Some(size) if (0..=i64::from(u32::MAX)).contains(&size) => Ok(Some(size as u32)),
        _ => Err(bad(key, "has a size that is none")),
    };
    sizes.iter().map(size).collect::<Result<Vec<_>>>().map(Some)
}

/// A list of numbers, or one number.
fn numbers(json: &Json, key: &str) -> Result<Option<Vec<f64>>> {
    let found = match json.get(key) {
        None => return Ok(None),
        Some(Json::Array(elements)) => elements.iter().map(Json::as_f64).collect(),
        Some(one) => one.as_f64().map(|number| vec![number]),
    };
    found.map(Some).ok_or_else(|| bad(key, "is not of numbers"))
}

fn pair_of_sizes(size: &[f64]) -> Result<(u32, u32)> {
    match *size {
        [height, width] if (1.0..=16384.0).contains(&height) && (1.0..=16384.0).contains(&width) => {
            Ok((height as u32, width as u32))
        }
        _ => Err(bad("size", "is [height, width], each 1 to 16384")),
    }
}

fn flag(json: &Json, key: &str, default: bool) -> Result<bool> {
    match json.get(key) {
        None => Ok(default),
        Some(value) => value.as_bool().ok_or_else(|| bad(key, "is true or false")),
    }
}

/// The value of the word at `key`; an error with the words that there are for another.
fn word<T: Copy>(json: &Json, key: &str, default: Option<T>, words: &[(&str, T)]) -> Result<T> {
    let text = match (json.get(key), default) {
        (None, Some(default)) => return Ok(default),
        (None, None) => return Err(bad(key, "is missing")),
        (Some(value), _) => value.as_str().unwrap_or("no string"),
    };
    words.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        bad(key, &format!("is one of {}, not {text:?}", names.join(", ")))
    })
}
