// SPDX-License-Identifier: Apache-2.0
//! A segmenter's output: the class of each pixel, counts, and colours.

use crate::contract::OutputContract;
use crate::error::{room, Error, Result};
use crate::tensor::Tensor;

/// The class of each pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Row by row from the top.
    pub classes: Vec<u32>,
}

impl Mask {
    /// How many pixels each class has, for the classes that occur, in their order.
    pub fn counts(&self) -> Vec<(u32, usize)> {
        let mut counts = std::collections::BTreeMap::new();
        for &class in &self.classes {
            *counts.entry(class).or_insert(0) += 1;
        }
        counts.into_iter().collect()
    }

    /// A PNG whose pixel values are the classes, with [`palette`]. An error for a class above 255.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let indices: Option<Vec<u8>> = self.classes.iter().map(|&class| u8::try_from(class).ok()).collect();
        let indices = indices.ok_or_else(|| {
            let largest = self.classes.iter().max().copied().unwrap_or(0);
            Error::argument(format!("class {largest}: a picture with a palette has the classes 0 to 255"))
        })?;
        crate::palette_png(self.width, self.height, &indices, &palette(256))
    }
}

impl OutputContract {
    /// The class of each pixel of a mask.
    ///
    /// Layouts with C hold a score for each class: the largest counts, of equal ones the lowest class, NaN
    /// never. A single channel is the probability of class 1: it is where that is above 0.5. Layouts without
    /// C hold the class itself. A layout that nobody has said is taken from the dims.
    pub fn mask(&self, tensor: &Tensor) -> Result<Mask> {
        let about = |error: Error| error.about(format_args!("output {:?}", self.name));
        let shape = shape(tensor, self.layout.as_deref()).map_err(about)?;
        let values = self.real_values(tensor)?;
        let (pixels, channels) = (shape.height * shape.width, shape.channels);
        let mut classes = room(pixels, "the mask")?;
        for pixel in 0..pixels {
            let score = |channel: usize| {
                values[if shape.channels_last { pixel * channels + channel } else { channel * pixels + pixel }]
            };
            classes.push(match (shape.is_scores, channels) {
                (false, _) => class_itself(score(0)).map_err(about)?,
                (true, 1) => u32::from(score(0) > 0.5),
                (true, _) => largest(channels, score),
            });
        }
        Ok(Mask { width: shape.width as u32, height: shape.height as u32, classes })
    }
}

struct Shape {
    height: usize,
    width: usize,
    channels: usize,
    channels_last: bool,
    is_scores: bool, // else the class itself
}

fn shape(tensor: &Tensor, layout: Option<&str>) -> Result<Shape> {
    let dims: Vec<usize> = tensor.dims().iter().map(|&dim| dim as usize).collect();
    let layout = layout.unwrap_or_else(|| likely(tensor));
    let letters = layout.trim_start_matches('N');
    let rest = match dims.len().checked_sub(letters.len()) {
        Some(0) => &dims[..],
        Some(1) if dims[0] == 1 => &dims[1..],
        _ => {
            return Err(Error::argument(format!("one mask of layout {layout} was wanted, and it is {dims:?}")))
        }
    };
    match (letters, rest) {
        ("CHW", &[channels, height, width]) if channels > 0 => {
            Ok(Shape { height, width, channels, channels_last: false, is_scores: true })
        }
        ("HWC", &[height, width, channels]) if channels > 0 => {
            Ok(Shape { height, width, channels, channels_last: true, is_scores: true })
        }
        ("HW", &[height, width]) => {
            Ok(Shape { height, width, channels: 1, channels_last: false, is_scores: false })
        }
        _ => Err(Error::argument(format!("dims {dims:?} are no mask of layout {layout}"))),
    }
}

/// By the dims: classes are fewer than rows and columns, and integers are mostly the classes themselves.
fn likely(tensor: &Tensor) -> &'static str {
    match *tensor.dims() {
        [_, first, _, last] if last < first => "NHWC",
        [_, _, _, _] => "NCHW",
        [1, _, _] => "NHW",
        [first, _, last] if last < first => "HWC",
        [_, _, _] => "CHW",
        _ => "HW",
    }
}

fn largest(channels: usize, score: impl Fn(usize) -> f64) -> u32 {
    let (mut best, mut most) = (0, f64::NEG_INFINITY);
    for channel in 0..channels {
        let value = score(channel);
        if value > most {
            (best, most) = (channel as u32, value);
        }
    }
    best
}

fn class_itself(value: f64) -> Result<u32> {
    let class = crate::resize::round_half_even(value);
    if (0.0..=f64::from(i32::MAX)).contains(&class) {
        return Ok(class as u32);
    }
    Err(Error::argument(format!(
        "a mask without C holds classes, and here is {value}: are these scores, so that the layout has a C?"
    )))
}

/// Okabe and Ito's colours, which people with the common kinds of colour blindness tell apart, after a dark
/// gray for class 0, most often the background.
const FIRST_COLOURS: [[u8; 3]; 8] = [
    [64, 64, 64],
    [230, 159, 0],
    [86, 180, 233],
    [0, 158, 115],
    [240, 228, 66],
    [0, 114, 178],
    [213, 94, 0],
    [204, 121, 167],
];

/// A colour for each class, always the same for one class, and the same as in the host's pictures: after the
/// first eight they go around the colour circle by the golden section, in three brightnesses.
pub fn palette(count: usize) -> Vec<[u8; 3]> {
    let colour = |index: usize| match index.checked_sub(FIRST_COLOURS.len()) {
        None => FIRST_COLOURS[index],
        Some(step) => {
            let hue = (0.03 + step as f64 * 0.618_033_988_749_894_9) % 1.0;
            hsv([hue, [0.75, 0.5, 0.95][step % 3], [0.92, 0.68, 0.5][step / 3 % 3]])
        }
    };
    (0..count).map(colour).collect()
}

fn hsv([hue, saturation, value]: [f64; 3]) -> [u8; 3] {
    let (sector, part) = ((hue * 6.0).floor(), (hue * 6.0).fract());
    let (p, q) = (value * (1.0 - saturation), value * (1.0 - saturation * part));
    let t = value * (1.0 - saturation * (1.0 - part));
    let colour = match sector as u32 % 6 {
        0 => [value, t, p],
        1 => [q, value, p],
        2 => [p, value, t],
        3 => [p, q, value],
        4 => [t, p, value],
        _ => [value, p, q],
    };
    colour.map(|level| crate::resize::round_half_even(255.0 * level) as u8)
}
