// SPDX-License-Identifier: Apache-2.0
//! PNG with a palette, for masks: runs and rows that repeat are small, without a whole compressor.

use super::check_size;
use super::inflate::{adler32, DISTANCE_BASE, LENGTH_BASE, LENGTH_BITS};
use super::png::crc32;
use crate::error::{Error, Result};

/// A PNG of `width` x `height` pixels, a byte each, which is the pixel's place in `palette` (RGB, at most 256).
pub fn palette_png(width: u32, height: u32, indices: &[u8], palette: &[[u8; 3]]) -> Result<Vec<u8>> {
    let pixels = check_size(width.into(), height.into())?;
    if indices.len() as u64 != pixels || palette.is_empty() || palette.len() > 256 {
        return Err(Error::argument(format!(
            "a picture of {width}x{height} pixels has as many bytes and 1 to 256 colours, not {} and {}",
            indices.len(),
            palette.len()
        )));
    }
    if let Some(&index) = indices.iter().max().filter(|&&index| usize::from(index) >= palette.len()) {
        return Err(Error::argument(format!("the palette has {} colours, and a pixel is {index}", palette.len())));
    }
    let mut header = Vec::new();
    header.extend_from_slice(&width.to_be_bytes());
    header.extend_from_slice(&height.to_be_bytes());
    header.extend_from_slice(&[8, 3, 0, 0, 0]); // 8 bits, palette, not interlaced
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, b"IHDR", &header);
    chunk(&mut file, b"PLTE", &palette.concat());
    chunk(&mut file, b"IDAT", &deflate(&rows(indices, width as usize), width as usize + 1));
    chunk(&mut file, b"IEND", &[]);
    Ok(file)
}

fn chunk(file: &mut Vec<u8>, kind: &[u8], body: &[u8]) {
    file.extend_from_slice(&(body.len() as u32).to_be_bytes());
    file.extend_from_slice(kind);
    file.extend_from_slice(body);
    file.extend_from_slice(&crc32(&[kind, body]).to_be_bytes());
}

/// Each row with the byte of its filter, none, before it.
fn rows(indices: &[u8], width: usize) -> Vec<u8> {
    let mut raw = Vec::with_capacity(indices.len() + indices.len() / width);
    for row in indices.chunks_exact(width) {
        raw.push(0);
        raw.extend_from_slice(row);
    }
    raw
}

/// One block with deflate's fixed codes, whose matches are with the byte before or with the row above.
fn deflate(raw: &[u8], stride: usize) -> Vec<u8> {
    let mut bits = Bits { bytes: vec![0x78, 0x01], held: 0, count: 0 };
    bits.add(1, 1); // the last block
    bits.add(1, 2); // of fixed codes
    let mut at = 0;
    while at < raw.len() {
        let (distance, length) = [1, stride]
            .iter()
            .filter(|&&distance| distance <= at && distance <= 32768)
            .map(|&distance| (distance, match_length(raw, at, distance)))
            .max_by_key(|&(_, length)| length)
            .unwrap_or((0, 0));
        if length < 3 {
            bits.literal(u32::from(raw[at]));
            at += 1;
        } else {
            bits.repeat(distance, length);
            at += length;
        }
    }
    bits.literal(256);
    bits.add(0, 7); // to a whole byte
    bits.bytes.extend_from_slice(&adler32(raw).to_be_bytes());
    bits.bytes
}

fn match_length(raw: &[u8], at: usize, distance: usize) -> usize {
    let pairs = raw[at..].iter().zip(&raw[at - distance..]).take(258);
    pairs.take_while(|(own, before)| own == before).count()
}

struct Bits {
    bytes: Vec<u8>,
    held: u32,
    count: u32,
}

impl Bits {
    fn add(&mut self, value: u32, count: u32) {
        self.held |= value << self.count;
        self.count += count;
        while self.count >= 8 {
            self.bytes.push(self.held as u8);
            self.held >>= 8;
            self.count -= 8;
        }
    }

    /// A code, which is sent from its highest bit on.
    fn code(&mut self, code: u32, count: u32) {
        self.add(code.reverse_bits() >> (32 - count), count);
    }

    fn literal(&mut self, symbol: u32) {
        match symbol {
            0..=143 => self.code(0x30 + symbol, 8),
            144..=255 => self.code(0x190 + symbol - 144, 9),
            256..=279 => self.code(symbol - 256, 7),
            _ => self.code(0xc0 + symbol - 280, 8),
        }
    }

    fn repeat(&mut self, distance: usize, length: usize) {
        let last = |bases: &[u16], value: usize| {
            let above = bases.iter().position(|&base| usize::from(base) > value);
            above.unwrap_or(bases.len()) - 1
        };
        let code = last(&LENGTH_BASE, length);
        self.literal(257 + code as u32);
        self.add(length as u32 - u32::from(LENGTH_BASE[code]), LENGTH_BITS[code].into());
        let code = last(&DISTANCE_BASE, distance);
        self.code(code as u32, 5);
        let extra = (code as u32 / 2).saturating_sub(1);
        self.add(distance as u32 - u32::from(DISTANCE_BASE[code]), extra);
    }
}
