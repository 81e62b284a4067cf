// SPDX-License-Identifier: Apache-2.0
//! BMP without compression: palettes of 1, 4 and 8 bits, 16, 24 and 32 bits, and bit masks.

use super::{check_size, ends_early, Image};
use crate::error::{room, Error, Result};

const FILE_HEADER: usize = 14;
const BI_RGB: u32 = 0;
const BI_BITFIELDS: u32 = 3;
const BI_ALPHABITFIELDS: u32 = 6;

struct Header {
    width: u64,
    height: u64,
    bottom_up: bool, // the usual order
    depth: u32,      // bits of a pixel
    compression: u32,
    colours: u32, // in the palette; 0 for as many as the depth has
    entry: usize, // bytes of a colour in the palette
    end: usize,   // where what follows the header begins
}

/// The bits of one colour; `max` is 0 where the file has none of it.
#[derive(Clone, Copy)]
struct Mask {
    shift: u32,
    max: u32,
}

/// Little-endian numbers at places that may be outside of the file.
fn number(file: &[u8], at: usize, size: usize) -> Result<u32> {
    let bytes = file.get(at..).and_then(|rest| rest.get(..size)).ok_or_else(damaged)?;
    Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte)))
}

fn damaged() -> Error {
    Error::picture("its header is damaged")
}

pub(super) fn decode(file: &[u8]) -> Result<Image> {
    let header = Header::read(file)?;
    let start = number(file, 10, 4)? as usize;
    let (masks, palette_at) = masks(file, &header)?;
    let palette = palette(file, &header, palette_at, start)?;
    let pixels = check_size(header.width, header.height)?;
    // Rows are padded to four bytes. Checked before the pixels are allocated.
    let stride = (header.width * u64::from(header.depth) + 31) / 32 * 4;
    if start < FILE_HEADER + 12 || start > file.len() || stride * header.height > (file.len() - start) as u64 {
        return Err(ends_early());
    }
    let mut rgb = room(pixels as usize * 3, "the picture")?;
    let rows = file[start..].chunks_exact(stride as usize).take(header.height as usize);
    let mut add = |row: &[u8]| read_row(row, &header, &masks, &palette, &mut rgb);
    if header.bottom_up {
        rows.collect::<Vec<_>>().into_iter().rev().for_each(&mut add);
    } else {
        rows.for_each(&mut add);
    }
    Image::from_rgb(header.width as u32, header.height as u32, rgb)
}

impl Header {
    fn read(file: &[u8]) -> Result<Self> {
        let size = number(file, FILE_HEADER, 4)? as usize;
        let end = FILE_HEADER.checked_add(size).filter(|&end| end <= file.len()).ok_or_else(damaged)?;
        let field = |at: usize, bytes: usize| number(file, FILE_HEADER + at, bytes);
        let header = match size {
            // The oldest header, from OS/2.
            12 => Self {
                width: field(4, 2)?.into(),
                height: field(6, 2)?.into(),
                bottom_up: true,
                depth: field(10, 2)?,
                compression: BI_RGB,
                colours: 0,
                entry: 3,
                end,
            },
            40.. => {
                // A negative height means from the top.
                let (width, height) = (field(4, 4)? as i32, field(8, 4)? as i32);
                Self {
                    width: u64::try_from(width).map_err(|_| damaged())?,
                    height: height.unsigned_abs().into(),
                    bottom_up: height > 0,
                    depth: field(14, 2)?,
                    compression: field(16, 4)?,
                    colours: field(32, 4)?,
                    entry: 4,
                    end,
                }
            }
            _ => return Err(Error::picture("its header is of a kind that this program does not know")),
        };
        header.check()?;
        Ok(header)
    }

    fn masked(&self) -> bool {
        matches!(self.compression, BI_BITFIELDS | BI_ALPHABITFIELDS)
    }

    fn check(&self) -> Result<()> {
        if self.compression != BI_RGB && !self.masked() {
            return Err(Error::picture("it is compressed, which this program does not read in a BMP"));
        }
        if !matches!(self.depth, 1 | 4 | 8 | 16 | 24 | 32) {
            return Err(Error::picture(format!("it has {} bits a pixel, which is not known", self.depth)));
        }
        if self.masked() && !matches!(self.depth, 16 | 32) {
            return Err(Error::picture("it has bit masks, but not 16 or 32 bits a pixel"));
        }
        Ok(())
    }
}

impl Mask {
    fn new(bits: u32) -> Result<Self> {
        if bits == 0 {
            return Ok(Self { shift: 0, max: 0 });
        }
        let (shift, max) = (bits.trailing_zeros(), bits >> bits.trailing_zeros());
        if max & max.wrapping_add(1) != 0 {
            return Err(Error::picture("the bits of a colour's mask are not side by side"));
        }
        Ok(Self { shift, max })
    }

    fn level(self, pixel: u32) -> u8 {
        let value = u64::from(pixel >> self.shift & self.max) * 255;
        value.checked_div(self.max.into()).unwrap_or(0) as u8
    }
}

/// The masks of red, green and blue, and where the palette would begin.
fn masks(file: &[u8], header: &Header) -> Result<([Mask; 3], usize)> {
    let (bits, end) = match (header.masked(), header.depth) {
        (true, _) => {
            // Larger headers have the masks inside, at the place where they follow the one of 40 bytes.
            let at = FILE_HEADER + 40;
            let bits = [number(file, at, 4)?, number(file, at + 4, 4)?, number(file, at + 8, 4)?];
            let follow = if header.compression == BI_BITFIELDS { 12 } else { 16 };
            (bits, header.end + if header.end == at { follow } else { 0 })
        }
        (false, 16) => ([0x7c00, 0x3e0, 0x1f], header.end),
        (false, _) => ([0xff_0000, 0xff00, 0xff], header.end),
    };
    Ok(([Mask::new(bits[0])?, Mask::new(bits[1])?, Mask::new(bits[2])?], end))
}

/// 256 colours; those that the file lacks stay black.
fn palette(file: &[u8], header: &Header, at: usize, pixels_at: usize) -> Result<[[u8; 3]; 256]> {
    let mut palette = [[0; 3]; 256];
    if header.depth > 8 {
        return Ok(palette);
    }
    let most = 1usize << header.depth;
    let count = if header.colours == 0 { most } else { most.min(header.colours as usize) };
    for (index, colour) in palette.iter_mut().take(count).enumerate() {
        let at = at + index * header.entry;
        if at + header.entry > pixels_at {
            break; // a file may stop its palette early by starting the pixels
        }
        let bytes = file.get(at..at + 3).ok_or_else(ends_early)?;
        *colour = [bytes[2], bytes[1], bytes[0]];
    }
    Ok(palette)
}

fn read_row(row: &[u8], header: &Header, masks: &[Mask; 3], palette: &[[u8; 3]; 256], rgb: &mut Vec<u8>) {
    let (width, depth) = (header.width as usize, header.depth);
    let masked = |pixel: u32| masks.map(|mask| mask.level(pixel));
    match depth {
        24 => row.chunks_exact(3).take(width).for_each(|p| rgb.extend_from_slice(&[p[2], p[1], p[0]])),
        16 | 32 => {
            let pixels = row.chunks_exact(depth as usize / 8).take(width);
            let value = |bytes: &[u8]| bytes.iter().rev().fold(0, |all, &byte| all << 8 | u32::from(byte));
            pixels.for_each(|bytes| rgb.extend_from_slice(&masked(value(bytes))));
        }
        _ => {
            let per_byte = 8 / depth as usize;
            (0..width).for_each(|x| {
                let shift = 8 - depth as usize * (x % per_byte + 1);
                let index = u32::from(row[x / per_byte]) >> shift & ((1 << depth) - 1);
                rgb.extend_from_slice(&palette[index as usize]);
            });
        }
    }
}
