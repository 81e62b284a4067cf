// SPDX-License-Identifier: Apache-2.0
//! The PNM family: P1 to P3 are text, P4 to P6 the same in binary; bitmap, gray and colour.

use super::{check_size, ends_early, Image};
use crate::error::{zeros, Error, Result};

struct Text<'a> {
    file: &'a [u8],
    at: usize,
}

fn is_space(byte: u8) -> bool {
    byte == b' ' || (b'\t'..=b'\r').contains(&byte)
}

impl<'a> Text<'a> {
    fn peek(&self) -> Option<u8> {
        self.file.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        let mut comment = false;
        while let Some(byte) = self.peek() {
            comment = byte == b'#' || (comment && byte != b'\n');
            if !comment && !is_space(byte) {
                return;
            }
            self.at += 1;
        }
    }

    /// The next decimal number, of at most `most` digits; of one digit it may stand against the next.
    fn number(&mut self, most: usize) -> Option<u32> {
        self.skip_space();
        let digits = self.file[self.at..].iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
        let number = &self.file[self.at..self.at + digits];
        self.at += digits;
        if most > 1 && self.peek().map_or(false, |byte| byte.is_ascii_digit()) {
            return None; // half of a number is none
        }
        // At most nine digits: they fit.
        (digits > 0).then(|| number.iter().fold(0, |value, &digit| value * 10 + u32::from(digit - b'0')))
    }

    fn rest(&self) -> &'a [u8] {
        &self.file[self.at..]
    }
}

/// The level of a sample. Gray of more than 8 bits is brought to 16 bits first, of which the upper byte is
/// taken: as the host does it.
fn level(value: u32, max: u32, colour: bool) -> u8 {
    let scaled = |to: u64| {
        let (all, max) = (u64::from(value.min(max)) * to, u64::from(max));
        let (whole, rest) = (all / max, all % max * 2);
        whole + u64::from(rest > max || (rest == max && whole % 2 == 1)) // halves to the even one
    };
    if max > 255 && !colour {
        (scaled(65535) >> 8) as u8
    } else {
        scaled(255) as u8
    }
}

pub(super) fn decode(file: &[u8]) -> Result<Image> {
    let mut text = Text { file, at: 2 };
    let kind = file[1] - b'0';
    let (binary, bitmap, colour) = (kind >= 4, kind % 3 == 1, kind % 3 == 0);
    let damaged = || Error::picture("its header is damaged");
    let width = text.number(9).ok_or_else(damaged)?;
    let height = text.number(9).ok_or_else(damaged)?;
    let max = if bitmap { 1 } else { text.number(5).ok_or_else(damaged)? };
    if !(1..=65535).contains(&max) || !text.peek().map_or(false, is_space) {
        return Err(damaged());
    }
    text.at += 1; // one space exactly: the next byte may be a pixel that looks like one
    let samples = check_size(width.into(), height.into())? * if colour { 3 } else { 1 };
    // The least that so many samples take; checked before they are allocated.
    if samples / if binary && bitmap { 8 } else { 1 } > file.len() as u64 {
        return Err(ends_early());
    }
    let mut levels = zeros(samples as usize, "the picture")?;
    match (binary, bitmap) {
        (false, _) => read_text(&mut text, bitmap, max, colour, &mut levels)?,
        (true, true) => read_bits(text.rest(), width as usize, &mut levels)?,
        (true, false) => read_binary(text.rest(), max, colour, &mut levels)?,
    }
    if colour {
        return Image::from_rgb(width, height, levels);
    }
    let mut rgb = zeros(levels.len() * 3, "the picture")?;
    for (pixel, &level) in rgb.chunks_exact_mut(3).zip(&levels) {
        pixel.fill(level);
    }
    Image::from_rgb(width, height, rgb)
}

/// A number for each sample. Bits need no space between them; 1 is black.
fn read_text(text: &mut Text, bitmap: bool, max: u32, colour: bool, out: &mut [u8]) -> Result<()> {
    for sample in out {
        let value = text.number(if bitmap { 1 } else { 9 }).filter(|&value| value <= max);
        let value = value.ok_or_else(|| Error::picture("its pixels are damaged, or the file ends before they do"))?;
        *sample = if bitmap { 255 * (1 - value as u8) } else { level(value, max, colour) };
    }
    Ok(())
}

fn read_binary(data: &[u8], max: u32, colour: bool, out: &mut [u8]) -> Result<()> {
    let size = if max > 255 { 2 } else { 1 };
    if out.len() > data.len() / size {
        return Err(ends_early());
    }
    for (sample, bytes) in out.iter_mut().zip(data.chunks_exact(size)) {
        let value = bytes.iter().fold(0, |value, &byte| value << 8 | u32::from(byte));
        *sample = level(value, max, colour);
    }
    Ok(())
}

/// Eight pixels in a byte, rows padded to whole bytes; 1 is black.
fn read_bits(data: &[u8], width: usize, out: &mut [u8]) -> Result<()> {
    let stride = width / 8 + usize::from(width % 8 != 0);
    if out.len() / width > data.len() / stride {
        return Err(ends_early());
    }
    for (row, out) in data.chunks_exact(stride).zip(out.chunks_exact_mut(width)) {
        for (x, sample) in out.iter_mut().enumerate() {
            *sample = if row[x / 8] >> (7 - x % 8) & 1 == 1 { 0 } else { 255 };
        }
    }
    Ok(())
}
