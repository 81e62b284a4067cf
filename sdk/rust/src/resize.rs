// SPDX-License-Identifier: Apache-2.0
//! Pictures of another size, with the arithmetic of the host (`wasinn.imaging.resize`).
//!
//! With antialias, as Pillow does it: when shrinking, the filter weighs every pixel that goes into one of the
//! result, in fixed point, with 8 bits between the two passes. Without, each pixel of the result is one
//! sample of the picture at its own centre, as OpenCV and TensorFlow do it; area is then the exact mean of
//! what a pixel covers. Nearest is the same in both.

use crate::contract::Resize;
use crate::error::{room, zeros, Error, Result};
use crate::image::{check_size, Image};

const MEMORY: &str = "the picture of another size";

/// Bits of the fraction of a weight.
const FRACTION: u32 = 22;

/// (left, top, right, bottom) in pixels of the picture.
pub(crate) type Box = (f64, f64, f64, f64);

/// A picture of another size.
pub fn resize(image: &Image, width: u32, height: u32, filter: Resize, antialias: bool) -> Result<Image> {
    let whole = (0.0, 0.0, f64::from(image.width()), f64::from(image.height()));
    if (image.width(), image.height()) == (width, height) {
        return Ok(image.clone()); // no filter changes a picture that stays as large as it is
    }
    resize_box(image, width, height, filter, antialias, whole)
}

/// Only a part of the picture, brought to a size.
pub(crate) fn resize_box(
    image: &Image,
    width: u32,
    height: u32,
    filter: Resize,
    antialias: bool,
    (left, top, right, bottom): Box,
) -> Result<Image> {
    check_size(width.into(), height.into()).map_err(|error| error.about("its new size"))?;
    let across = Axis { start: left, end: right, from: image.width() as usize, to: width as usize };
    let down = Axis { start: top, end: bottom, from: image.height() as usize, to: height as usize };
    let pixels = Pixels { rows: down.from, columns: across.from, levels: image.rgb() };
    let levels = match (filter, antialias) {
        (Resize::Nearest, _) => nearest(&pixels, &across, &down)?,
        (_, true) => weighed(&pixels, &across, &down, filter)?,
        (Resize::Area, false) => covered(&pixels, &across, &down)?,
        (_, false) => sampled(&pixels, &across, &down, filter)?,
    };
    Image::from_rgb(width, height, levels)
}

/// One direction: the part [start, end) of `from` pixels becomes `to` pixels.
struct Axis {
    start: f64,
    end: f64,
    from: usize,
    to: usize,
}

impl Axis {
    fn scale(&self) -> f64 {
        (self.end - self.start) / self.to as f64
    }
}

/// Three levels a pixel, row by row.
struct Pixels<'a, T> {
    rows: usize,
    columns: usize,
    levels: &'a [T],
}

// ---- With antialias ----

/// The pixels that go into one of the result: the first one, and a weight for each.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

fn kernel(filter: Resize, x: f64) -> f64 {
    const A: f64 = -0.5;
    let away = x.abs();
    match filter {
        Resize::Bilinear => (1.0 - away).max(0.0),
        Resize::Bicubic if away < 1.0 => ((A + 2.0) * away - (A + 3.0)) * away * away + 1.0,
        Resize::Bicubic if away < 2.0 => (((away - 5.0) * away + 8.0) * away - 4.0) * A,
        Resize::Bicubic => 0.0,
        _ => f64::from(u8::from(x > -0.5 && x <= 0.5)),
    }
}

fn taps(axis: &Axis, filter: Resize, at: usize) -> Result<Taps> {
    let scale = axis.scale();
    let stretch = scale.max(1.0);
    let reach = stretch
        * match filter {
            Resize::Bilinear => 1.0,
            Resize::Bicubic => 2.0,
            _ => 0.5,
        };
    let centre = axis.start + (at as f64 + 0.5) * scale;
    // Casts cut off towards zero and saturate: what is below 0 becomes 0.
    let first = (centre - reach + 0.5) as usize;
    let end = ((centre + reach + 0.5) as usize).min(axis.from);
    let mut exact: Vec<f64> = room(end.saturating_sub(first), MEMORY)?;
    exact.extend((first..end).map(|from| kernel(filter, (from as f64 - centre + 0.5) * (1.0 / stretch))));
    let sum: f64 = exact.iter().sum();
    let sum = if sum == 0.0 { 1.0 } else { sum };
    // Halves away from zero, as a cast after adding a half with the number's own sign.
    let mut weights: Vec<i32> = room(exact.len(), MEMORY)?;
    weights.extend(exact.iter().map(|weight| (weight / sum * f64::from(1 << FRACTION)).round() as i32));
    Ok(Taps { first, weights })
}

fn level(sum: i32) -> u8 {
    (sum >> FRACTION).clamp(0, 255) as u8
}

fn weighed(pixels: &Pixels<u8>, across: &Axis, down: &Axis, filter: Resize) -> Result<Vec<u8>> {
    // The order changes the rounding in between. This is that of Pillow 13: the direction that shrinks the
    // picture more comes first, the rows in doubt.
    let shrink = |axis: &Axis| axis.from as i64 - axis.to as i64;
    if shrink(down) > 0 && shrink(down) > 2 * shrink(across) {
        let levels = weigh_down(pixels, down, filter)?;
        weigh_across(&Pixels { rows: down.to, columns: pixels.columns, levels: &levels }, across, filter)
    } else {
        let levels = weigh_across(pixels, across, filter)?;
        weigh_down(&Pixels { rows: pixels.rows, columns: across.to, levels: &levels }, down, filter)
    }
}

fn weigh_across(pixels: &Pixels<u8>, axis: &Axis, filter: Resize) -> Result<Vec<u8>> {
    if axis.to == axis.from && axis.scale() == 1.0 && axis.start == 0.0 {
        return copied(pixels.levels);
    }
    let mut result = zeros(bytes(pixels.rows, axis.to)?, MEMORY)?;
    let all: Vec<Taps> = (0..axis.to).map(|at| taps(axis, filter, at)).collect::<Result<_>>()?;
    for (row, out) in pixels.levels.chunks_exact(pixels.columns * 3).zip(result.chunks_exact_mut(axis.to * 3)) {
        for (taps, pixel) in all.iter().zip(out.chunks_exact_mut(3)) {
            let mut sums = [1i32 << (FRACTION - 1); 3];
            for (weight, from) in taps.weights.iter().zip(row[taps.first * 3..].chunks_exact(3)) {
                for (sum, level) in sums.iter_mut().zip(from) {
                    *sum += weight * i32::from(*level);
                }
            }
            pixel.copy_from_slice(&sums.map(level));
        }
    }
    Ok(result)
}

fn weigh_down(pixels: &Pixels<u8>, axis: &Axis, filter: Resize) -> Result<Vec<u8>> {
    if axis.to == axis.from && axis.scale() == 1.0 && axis.start == 0.0 {
        return copied(pixels.levels);
    }
    let row_size = pixels.columns * 3;
    let mut result = room(bytes(axis.to, pixels.columns)?, MEMORY)?;
    let mut sums: Vec<i32> = zeros(row_size, MEMORY)?;
    for at in 0..axis.to {
        sums.fill(1 << (FRACTION - 1));
        let taps = taps(axis, filter, at)?;
        let rows = pixels.levels[taps.first * row_size..].chunks_exact(row_size);
        for (weight, row) in taps.weights.iter().zip(rows) {
            for (sum, level) in sums.iter_mut().zip(row) {
                *sum += weight * i32::from(*level);
            }
        }
        result.extend(sums.iter().map(|&sum| level(sum)));
    }
    Ok(result)
}

fn copied(levels: &[u8]) -> Result<Vec<u8>> {
    let mut result = room(levels.len(), MEMORY)?;
    result.extend_from_slice(levels);
    Ok(result)
}

/// The bytes of so many pixels, or an error where no address space has room for them.
fn bytes(rows: usize, columns: usize) -> Result<usize> {
    rows.checked_mul(columns)
        .and_then(|pixels| pixels.checked_mul(3))
        .ok_or_else(|| Error::argument(format!("{columns}x{rows} pixels are more than fit memory")))
}

// ---- Without ----

/// The pixel under each centre. Where that is on the border of two, the rounding decides: positions are added
/// up step by step, as Pillow does.
fn nearest(pixels: &Pixels<u8>, across: &Axis, down: &Axis) -> Result<Vec<u8>> {
    let places = |axis: &Axis| -> Vec<usize> {
        let mut place = axis.start + axis.scale() * 0.5;
        (0..axis.to)
            .map(|_| {
                let at = (place as usize).min(axis.from - 1);
                place += axis.scale();
                at
            })
            .collect()
    };
    let columns = places(across);
    let mut result = room(bytes(down.to, across.to)?, MEMORY)?;
    for row in places(down) {
        let row = &pixels.levels[row * pixels.columns * 3..][..pixels.columns * 3];
        columns.iter().for_each(|&column| result.extend_from_slice(&row[column * 3..][..3]));
    }
    Ok(result)
}

/// A weighted sum of 2 or 4 neighbours of each centre; beyond the border is the border.
fn sampled(pixels: &Pixels<u8>, across: &Axis, down: &Axis, filter: Resize) -> Result<Vec<u8>> {
    let mut values: Vec<f32> = room(pixels.levels.len(), MEMORY)?;
    // The direction that loses more comes first: the other then has less to do.
    let down_first = down.to as u64 * across.from as u64 <= across.to as u64 * down.from as u64;
    let samples = |axis: &Axis| (0..axis.to).map(|at| sample(axis, filter, at)).collect::<Vec<_>>();
    values.extend(pixels.levels.iter().map(|&level| f32::from(level)));
    if down_first {
        values = sum_rows(&values, pixels.columns * 3, &samples(down))?;
        values = sum_columns(&values, across, &samples(across))?;
    } else {
        values = sum_columns(&values, across, &samples(across))?;
        values = sum_rows(&values, across.to * 3, &samples(down))?;
    }
    to_levels(&values, |value| f64::from((value + 0.5).floor()))
}

/// Indices and weights of the neighbours of the centre of pixel `at`.
fn sample(axis: &Axis, filter: Resize, at: usize) -> Vec<(usize, f32)> {
    let place = axis.start + (at as f64 + 0.5) * axis.scale() - 0.5;
    let (first, away) = (place.floor(), place - place.floor());
    let clamped = |offset: i64| (first as i64 + offset).clamp(0, axis.from as i64 - 1) as usize;
    if filter == Resize::Bilinear {
        return vec![(clamped(0), (1.0 - away) as f32), (clamped(1), away as f32)];
    }
    (-1..=2).map(|offset| (clamped(offset), cubic((away - offset as f64).abs()) as f32)).collect()
}

/// The cubic convolution kernel (R. Keys, 1981) with a = -0.75 at distances 0 to 2.
fn cubic(away: f64) -> f64 {
    const A: f64 = -0.75;
    if away <= 1.0 {
        ((A + 2.0) * away - (A + 3.0)) * away * away + 1.0
    } else {
        ((A * away - 5.0 * A) * away + 8.0 * A) * away - 4.0 * A
    }
}

fn sum_rows(values: &[f32], row_size: usize, samples: &[Vec<(usize, f32)>]) -> Result<Vec<f32>> {
    let size = samples.len().checked_mul(row_size);
    let mut result = zeros(size.ok_or_else(|| Error::argument("too many pixels"))?, MEMORY)?;
    for (taps, out) in samples.iter().zip(result.chunks_exact_mut(row_size)) {
        for &(row, weight) in taps {
            for (sum, value) in out.iter_mut().zip(&values[row * row_size..]) {
                *sum += value * weight;
            }
        }
    }
    Ok(result)
}

fn sum_columns(values: &[f32], axis: &Axis, samples: &[Vec<(usize, f32)>]) -> Result<Vec<f32>> {
    let rows = values.chunks_exact(axis.from * 3);
    let mut result = room(bytes(rows.len(), axis.to)?, MEMORY)?;
    for row in rows {
        for taps in samples {
            for channel in 0..3 {
                result.push(taps.iter().fold(0.0, |sum, &(column, weight)| sum + row[column * 3 + channel] * weight));
            }
        }
    }
    Ok(result)
}

/// The mean of what each pixel of the result covers; a pixel that is covered in part counts in part.
fn covered(pixels: &Pixels<u8>, across: &Axis, down: &Axis) -> Result<Vec<u8>> {
    let row_size = pixels.columns * 3;
    let size = down.to.checked_mul(row_size).ok_or_else(|| Error::argument("too many pixels"))?;
    let mut means: Vec<f64> = zeros(size, MEMORY)?;
    for (at, out) in means.chunks_exact_mut(row_size).enumerate() {
        for (row, share) in shares(down, at) {
            for (sum, &level) in out.iter_mut().zip(&pixels.levels[row * row_size..]) {
                *sum += f64::from(level) * share;
            }
        }
    }
    let mut result = room(bytes(down.to, across.to)?, MEMORY)?;
    for row in means.chunks_exact(row_size) {
        for at in 0..across.to {
            let mut sums = [0.0; 3];
            for (column, share) in shares(across, at) {
                for (sum, mean) in sums.iter_mut().zip(&row[column * 3..]) {
                    *sum += mean * share;
                }
            }
            result.extend_from_slice(&sums);
        }
    }
    // The last bits of a mean depend on the order of its sums: exact halves must still go up.
    to_levels(&result, |mean: f64| (mean + 0.5 + 1e-9).floor())
}

/// The pixels that pixel `at` of the result covers, each with its share of the mean.
fn shares(axis: &Axis, at: usize) -> impl Iterator<Item = (usize, f64)> {
    let (start, end) = (axis.start + at as f64 * axis.scale(), axis.start + (at + 1) as f64 * axis.scale());
    let last = (end.ceil() as usize).min(axis.from);
    (start as usize..last).map(move |pixel| {
        let part = (end.min((pixel + 1) as f64) - start.max(pixel as f64)).max(0.0);
        (pixel, part / (end - start))
    })
}

fn to_levels<T: Copy>(values: &[T], round: impl Fn(T) -> f64) -> Result<Vec<u8>> {
    let mut levels = room(values.len(), MEMORY)?;
    levels.extend(values.iter().map(|&value| round(value) as u8)); // the cast saturates
    Ok(levels)
}

/// To the nearest whole number, halves to the even one, as Python's `round`.
pub(crate) fn round_half_even(value: f64) -> f64 {
    let rounded = value.round();
    if (value - value.trunc()).abs() == 0.5 && rounded % 2.0 != 0.0 {
        value.trunc()
    } else {
        rounded
    }
}
