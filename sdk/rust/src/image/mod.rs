// SPDX-License-Identifier: Apache-2.0
//! Pictures as 8-bit RGB: PNG, BMP and the PNM family (PBM, PGM, PPM).

mod bmp;
mod inflate;
mod palette_png;
mod png;
mod pnm;

use std::path::Path;

use crate::error::{Error, Result};

pub use palette_png::palette_png;

/// Pictures of more pixels are refused before anything is allocated: a few bytes of a bad file can claim any
/// size.
pub const MAX_PIXELS: u64 = 64 << 20;

/// A picture: three bytes a pixel, red, green and blue, rows from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Image {
    /// A picture of pixels that you have: of another decoder, or drawn.
    pub fn from_rgb(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self> {
        let bytes = check_size(width.into(), height.into())? as usize * 3;
        if rgb.len() != bytes {
            return Err(Error::argument(format!(
                "{width}x{height} pixels are {bytes} bytes of RGB, but {} came",
                rgb.len()
            )));
        }
        Ok(Self { width, height, rgb })
    }

    /// The picture in a file's content: PNG, BMP, PBM, PGM or PPM. Transparency is dropped; 16-bit levels
    /// keep their upper byte.
    pub fn decode(file: &[u8]) -> Result<Self> {
        match file {
            [0x89, b'P', b'N', b'G', ..] => png::decode(file),
            [b'B', b'M', ..] => bmp::decode(file),
            [b'P', b'1'..=b'6', ..] => pnm::decode(file),
            [0xff, 0xd8, ..] => Err(Error::picture(
                "it is a JPEG, which this program cannot read: convert it to PNG, BMP or PPM, or give pixels of a \
                 decoder of your own to Image::from_rgb",
            )),
            [] => Err(Error::picture("it is empty (0 bytes)")),
            _ => Err(Error::picture("the format is not known (PNG, BMP, PBM, PGM and PPM are)")),
        }
    }

    /// The picture in a file. The error begins with the path.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = crate::graph::read_file(path)?;
        Self::decode(&file).map_err(|error| error.about(path.display()))
    }

    /// In pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// In pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pixels, `width * height * 3` bytes.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// A part of the picture. An error where it reaches beyond.
    pub fn cut(&self, left: u32, top: u32, width: u32, height: u32) -> Result<Self> {
        let beyond = |start: u32, size: u32, all: u32| start.checked_add(size).map_or(true, |end| end > all);
        if beyond(left, width, self.width) || beyond(top, height, self.height) {
            return Err(Error::argument(format!(
                "{width}x{height} pixels at {left},{top} are not within {}x{}",
                self.width, self.height
            )));
        }
        let mut rgb = crate::error::room(width as usize * height as usize * 3, "a part of the picture")?;
        for row in self.rgb.chunks_exact(self.width as usize * 3).skip(top as usize).take(height as usize) {
            rgb.extend_from_slice(&row[left as usize * 3..][..width as usize * 3]);
        }
        Self::from_rgb(width, height, rgb)
    }
}

/// The number of pixels, where it is neither 0 nor too many.
pub(crate) fn check_size(width: u64, height: u64) -> Result<u64> {
    if width == 0 || height == 0 {
        return Err(Error::picture("the picture is empty (its width or height is 0)"));
    }
    match width.checked_mul(height) {
        Some(pixels) if pixels <= MAX_PIXELS => Ok(pixels),
        _ => Err(Error::picture(format!(
            "the picture is too large ({width}x{height}; at most {MAX_PIXELS} pixels are read)"
        ))),
    }
}

const ENDS_EARLY: &str = "the file ends before its pixels do";

fn ends_early() -> Error {
    Error::picture(ENDS_EARLY)
}
