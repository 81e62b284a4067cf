// SPDX-License-Identifier: Apache-2.0
//! From a picture to a tensor, with the arithmetic of the host (`wasinn.imaging.preprocess`).

use crate::contract::{Colour, Fit, ImageContract, InputContract};
use crate::error::{room, zeros, Error, Result};
use crate::image::{check_size, Image};
use crate::resize::{resize, resize_box, round_half_even};
use crate::tensor::Tensor;
use crate::types::{with_element, Element, Type};

/// A picture that is to be cut is resized whole first, as others do it, unless that takes more pixels.
const MOST_PIXELS: u64 = 1 << 24;

/// The tensor that an input makes of a picture: brought to the size as `fit` and `resize` say, the channels in
/// their order, level p as (low + p / 255 * (high - low) - mean) / std, quantized or rounded where the type is
/// an integer.
pub fn preprocess(image: &Image, input: &InputContract) -> Result<Tensor> {
    let about = |error: Error| error.about(format_args!("input {:?}", input.name));
    let contract = input.image.as_ref().ok_or_else(|| {
        about(Error::argument("it is no picture, as far as its contract or its shape tells: give it an `image`"))
    })?;
    let tables = tables(contract, input).map_err(about)?;
    let prepared = prepare(image, contract)?;
    encode(&prepared, contract, input.element, &tables)
}

/// The picture at the contract's size.
fn prepare(image: &Image, contract: &ImageContract) -> Result<Image> {
    let (height, width) = contract.size;
    check_size(width.into(), height.into()).map_err(|error| error.about("the size of the input's picture"))?;
    match contract.fit {
        Fit::Stretch => resize(image, width, height, contract.resize, contract.antialias),
        Fit::Crop => crop(image, contract),
        Fit::Letterbox => letterbox(image, contract),
    }
}

fn crop(image: &Image, contract: &ImageContract) -> Result<Image> {
    let (w, h) = (u64::from(image.width()), u64::from(image.height()));
    let (height, width) = (u64::from(contract.size.0), u64::from(contract.size.1));
    let (whole_w, whole_h) = match contract.crop.map(u64::from) {
        Some(crop) if w > h => (w * crop / h, crop),
        Some(crop) => (crop, h * crop / w),
        None if height * w >= width * h => (w * height / h, height),
        None => (width, h * width / w),
    };
    if whole_h < height || whole_w < width {
        return Err(Error::argument(format!(
            "a picture of {w}x{h} pixels with crop = {} becomes {whole_w}x{whole_h}, too small to cut \
             {width}x{height} out of it: crop must be {} or more, or be left out",
            contract.crop.unwrap_or(0),
            height.max(width)
        )));
    }
    let half = |rest: u64| round_half_even(rest as f64 / 2.0);
    let (left, top) = (half(whole_w - width), half(whole_h - height));
    let (filter, antialias) = (contract.resize, contract.antialias);
    if whole_w.saturating_mul(whole_h) <= MOST_PIXELS {
        let whole = resize(image, whole_w as u32, whole_h as u32, filter, antialias)?;
        return whole.cut(left as u32, top as u32, width as u32, height as u32);
    }
    // A picture of 10000x1 pixels would become one of 2 560 000x256. Resizing only what is kept differs from
    // that at the cut's edges, and nowhere else.
    let (scale_x, scale_y) = (whole_w as f64 / w as f64, whole_h as f64 / h as f64);
    let right = ((left + width as f64) / scale_x).min(w as f64);
    let bottom = ((top + height as f64) / scale_y).min(h as f64);
    let part = (left / scale_x, top / scale_y, right, bottom);
    resize_box(image, width as u32, height as u32, filter, antialias, part)
}

fn letterbox(image: &Image, contract: &ImageContract) -> Result<Image> {
    let (height, width) = contract.size;
    let (h, w) = (f64::from(image.height()), f64::from(image.width()));
    let scale = (f64::from(height) / h).min(f64::from(width) / w);
    let inner = |side: f64, most: u32| (round_half_even(side * scale) as u32).clamp(1, most);
    let (inner_h, inner_w) = (inner(h, height), inner(w, width));
    let small = resize(image, inner_w, inner_h, contract.resize, contract.antialias)?;
    let (top, left) = ((height - inner_h) / 2, (width - inner_w) / 2);
    let pixels = height as usize * width as usize;
    let mut levels = room(pixels * 3, "the letterbox")?;
    (0..pixels).for_each(|_| levels.extend_from_slice(&contract.fill));
    for (y, row) in small.rgb().chunks_exact(inner_w as usize * 3).enumerate() {
        let at = ((top as usize + y) * width as usize + left as usize) * 3;
        levels[at..at + row.len()].copy_from_slice(row);
    }
    Image::from_rgb(width, height, levels)
}

/// For each channel of the tensor, the element's bytes for each of the 256 levels, one after the other.
fn tables(contract: &ImageContract, input: &InputContract) -> Result<Vec<Vec<u8>>> {
    let layout = contract.layout.as_str();
    if !crate::contract::LAYOUTS.contains(&layout) {
        let known = crate::contract::LAYOUTS.join(", ");
        return Err(Error::argument(format!("layout {layout:?} is no picture's: there are {known}")));
    }
    let channels = contract.channels();
    if channels > 1 && !layout.contains('C') {
        return Err(Error::argument(format!("layout {layout} has no channels, so its colour is GRAY")));
    }
    let of = |numbers: &[f64], channel: usize| match numbers.len() {
        1 => Some(numbers[0]),
        count if count == channels => Some(numbers[channel]),
        _ => None,
    };
    let wrong = |key| Error::argument(format!("{key} has one number, or one for each of {channels} channels"));
    (0..channels)
        .map(|channel| {
            let mean = of(&contract.mean, channel).ok_or_else(|| wrong("mean"))?;
            let std = of(&contract.std, channel).ok_or_else(|| wrong("std"))?;
            let (low, high) = contract.range;
            let (mut scale, mut offset) = ((high - low) / 255.0, low);
            if contract.invert {
                (scale, offset) = (-scale, high);
            }
            let (scale, offset) = (scale / std, (offset - mean) / std);
            let (each, point) = step(input, layout, channels, channel)?;
            table(input.element, scale / each, offset / each, point)
        })
        .collect()
}

/// The scale and zero point of a channel.
fn step(input: &InputContract, layout: &str, channels: usize, channel: usize) -> Result<(f64, f64)> {
    let quantization = match &input.quantization {
        None => return Ok((1.0, 0.0)),
        Some(quantization) => quantization,
    };
    let at = match quantization.axis {
        None => 0,
        Some(axis) if layout.find('C') == Some(axis) && quantization.scale.len() == channels => channel,
        Some(axis) => {
            return Err(Error::argument(format!(
                "the quantization has {} scales along dimension {axis}, and only one for the whole tensor or \
                 one for each channel of the layout {layout} can be computed",
                quantization.scale.len()
            )))
        }
    };
    Ok((quantization.scale[at], quantization.zero_point[at] as f64))
}

/// Of one channel: round(scale * p + offset) + zero point for integers, scale * p + offset for floats.
fn table(element: Type, scale: f64, offset: f64, point: f64) -> Result<Vec<u8>> {
    // What rounding errors of f64 made is not there: bytes that need no arithmetic stay as they are.
    let scale = if (scale - 1.0).abs() < 1e-9 { 1.0 } else { scale };
    let offset = if offset.abs() < 1e-9 { 0.0 } else { offset };
    // In f32, which holds all integers of 16 bits, or else in f64.
    let wide = element.size() > 2 && element != Type::F32;
    let value = |level: u8| {
        if wide {
            f64::from(level) * scale + offset
        } else {
            f64::from(f32::from(level) * scale as f32 + offset as f32)
        }
    };
    let whole = !element.is_float();
    let mut bytes = Vec::with_capacity(256 * element.size());
    with_element!(
        element,
        T => (0..=255).for_each(|level| {
            let value = if whole { value(level).round() + point } else { value(level) };
            T::of_f64(value).append(&mut bytes);
        }),
        return Err(Error::argument("its type is bf16, and pictures are made of f16, f32, f64 and integers"))
    );
    Ok(bytes)
}

/// The levels through the tables, in the order of the layout.
fn encode(image: &Image, contract: &ImageContract, element: Type, tables: &[Vec<u8>]) -> Result<Tensor> {
    let (size, channels) = (element.size(), tables.len());
    let pixels = image.width() as usize * image.height() as usize;
    let total = pixels.checked_mul(channels * size);
    let total = total.ok_or_else(|| Error::argument("the tensor is larger than any memory"))?;
    let mut data: Vec<u8> = zeros(total, "the tensor")?;
    let planar = !contract.layout.ends_with('C');
    let (pixel_step, channel_step) = if planar { (1, pixels) } else { (channels, 1) };
    for (channel, table) in tables.iter().enumerate() {
        for (at, rgb) in image.rgb().chunks_exact(3).enumerate() {
            let level = match contract.colour {
                Colour::Rgb => rgb[channel],
                Colour::Bgr => rgb[2 - channel],
                Colour::Gray => luma(rgb),
            };
            let value = &table[usize::from(level) * size..][..size];
            data[(at * pixel_step + channel * channel_step) * size..][..size].copy_from_slice(value);
        }
    }
    Tensor::from_bytes(element, &contract.dims(), data)
}

/// ITU-R 601 luma with 16 bits of fraction, as Pillow's mode L.
fn luma(rgb: &[u8]) -> u8 {
    let [red, green, blue] = [rgb[0], rgb[1], rgb[2]].map(u32::from);
    ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16) as u8
}
