// SPDX-License-Identifier: Apache-2.0
//! PNG: every colour type and depth, interlaced or not.

use super::{check_size, inflate::inflate, Image};
use crate::error::{room, zeros, Error, Result};

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
const PALETTE: u8 = 3;

/// Adam7 sends seven small pictures: of columns x, x + dx, ... and rows y, y + dy, ...
const ADAM7: [[u32; 4]; 7] =
    [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];
const WHOLE: [[u32; 4]; 1] = [[0, 0, 1, 1]];

struct Header {
    width: u32,
    height: u32,
    depth: u32, // bits of one sample
    colour: u8,
    channels: usize, // samples of one pixel
    interlaced: bool,
}

struct Chunks {
    header: Header,
    palette: Option<[[u8; 3]; 256]>, // entries that the file lacks stay black
    data: Vec<u8>,                   // all of the zlib stream
}

pub(super) fn decode(file: &[u8]) -> Result<Image> {
    let body = file.strip_prefix(SIGNATURE).ok_or_else(|| Error::picture("its PNG signature is damaged"))?;
    let chunks = Chunks::read(body)?;
    let header = &chunks.header;
    let pixels = check_size(header.width.into(), header.height.into())?;
    if header.colour == PALETTE && chunks.palette.is_none() {
        return Err(Error::picture("its palette is missing"));
    }
    let passes = if header.interlaced { &ADAM7[..] } else { &WHOLE[..] };
    // Each row has a byte for its filter. 64 bits: 16 * 4 bits of so many pixels are more than 32.
    let raw_size: u64 = passes.iter().map(|pass| Pass::new(header, pass).bytes()).sum();
    let raw_size = usize::try_from(raw_size).map_err(|_| Error::picture("it is too large for memory"))?;
    let mut raw = inflate(&chunks.data, raw_size)?;
    let mut rgb = zeros(pixels as usize * 3, "the picture")?;
    let mut rest = &mut raw[..];
    for pass in passes {
        let pass = Pass::new(header, pass);
        // The sizes were added up above, so that `rest` is as long as it must be.
        let (own, others) = rest.split_at_mut(pass.bytes() as usize);
        pass.read(own, &chunks, &mut rgb)?;
        rest = others;
    }
    Image::from_rgb(header.width, header.height, rgb)
}

fn big_endian(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

/// The checksum of PNG's chunks, half a byte at a time: a small table is enough.
pub(super) fn crc32(parts: &[&[u8]]) -> u32 {
    let mut table = [0u32; 16];
    for (value, entry) in (0u32..).zip(&mut table) {
        *entry = (0..4).fold(value, |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 });
    }
    let step = |crc: u32, nibble: u32| crc >> 4 ^ table[((crc ^ nibble) & 15) as usize];
    let bytes = parts.iter().flat_map(|part| part.iter());
    !bytes.fold(!0, |crc, &byte| step(step(crc, byte.into()), u32::from(byte) >> 4))
}

impl Header {
    fn read(chunk: &[u8]) -> Result<Self> {
        let damaged = || Error::picture("its header is damaged");
        let (width, height, kind) = match chunk.len() {
            13 => (big_endian(&chunk[..4]), big_endian(&chunk[4..8]), &chunk[8..]),
            _ => return Err(damaged()),
        };
        let (depth, colour) = (kind[0], kind[1]);
        let (channels, depths): (usize, &[u8]) = match colour {
            0 => (1, &[1, 2, 4, 8, 16]),
            2 => (3, &[8, 16]),
            PALETTE => (1, &[1, 2, 4, 8]),
            4 => (2, &[8, 16]),
            6 => (4, &[8, 16]),
            _ => (0, &[]),
        };
        if !depths.contains(&depth) {
            return Err(Error::picture(format!(
                "its header has colour type {colour} with {depth} bits, which PNG does not allow"
            )));
        }
        match kind[2..] {
            [0, 0, interlaced @ (0 | 1)] => {
                Ok(Self { width, height, depth: depth.into(), colour, channels, interlaced: interlaced == 1 })
            }
            _ => Err(damaged()),
        }
    }
}

impl Chunks {
    fn read(mut rest: &[u8]) -> Result<Self> {
        let mut found: Option<Self> = None;
        loop {
            let Chunk { kind, body, checksum } =
                take_chunk(&mut rest).ok_or_else(|| Error::picture("the file ends too early"))?;
            // An upper-case first letter: the picture cannot be understood without it.
            let critical = kind[0] & 0x20 == 0;
            if critical && crc32(&[kind, body]) != checksum {
                return Err(Error::picture("a checksum in it does not match"));
            }
            let chunks = match (&mut found, kind) {
                (None, b"IHDR") => {
                    found = Some(Self { header: Header::read(body)?, palette: None, data: Vec::new() });
                    continue;
                }
                (None, _) | (_, b"IHDR") => {
                    return Err(Error::picture("its header is not where it must be"))
                }
                (Some(chunks), _) => chunks,
            };
            match kind {
                b"PLTE" if body.len() % 3 != 0 || body.len() > 768 => {
                    return Err(Error::picture("its palette has an impossible size"))
                }
                b"PLTE" => {
                    let mut palette = [[0; 3]; 256];
                    for (entry, colour) in palette.iter_mut().zip(body.chunks_exact(3)) {
                        entry.copy_from_slice(colour);
                    }
                    chunks.palette = Some(palette);
                }
                b"IDAT" => {
                    if chunks.data.is_empty() {
                        // What follows can only be less than the rest of the file.
                        chunks.data = room(body.len() + rest.len(), "the file")?;
                    }
                    chunks.data.extend_from_slice(body);
                }
                b"IEND" => break,
                _ if critical => {
                    return Err(Error::picture("it has a chunk of a kind that this program does not know"))
                }
                _ => {}
            }
        }
        found.ok_or_else(|| Error::picture("it has no header"))
    }
}

struct Chunk<'a> {
    kind: &'a [u8],
    body: &'a [u8],
    checksum: u32,
}

/// The first chunk, after which `rest` begins with the next.
fn take_chunk<'a>(rest: &mut &'a [u8]) -> Option<Chunk<'a>> {
    let size = big_endian(rest.get(..4)?) as usize;
    let (kind, after) = (rest.get(4..8)?, &rest[8..]);
    if size > after.len() {
        return None;
    }
    let (body, after) = after.split_at(size);
    let checksum = big_endian(after.get(..4)?);
    *rest = &after[4..];
    Some(Chunk { kind, body, checksum })
}

/// One of the pictures that are sent.
struct Pass<'a> {
    header: &'a Header,
    x: usize,
    y: usize,
    dx: usize,
    dy: usize,
    width: u32,
    height: u32,
}

impl<'a> Pass<'a> {
    fn new(header: &'a Header, &[x, y, dx, dy]: &[u32; 4]) -> Self {
        // A small picture leaves some passes empty.
        let count = |size: u32, start: u32, step: u32| if size > start { (size - start - 1) / step + 1 } else { 0 };
        let (width, height) = (count(header.width, x, dx), count(header.height, y, dy));
        let [x, y, dx, dy] = [x, y, dx, dy].map(|each| each as usize);
        Self { header, x, y, dx, dy, width, height }
    }

    fn row_bytes(&self) -> u64 {
        let bits = u64::from(self.width) * self.header.channels as u64 * u64::from(self.header.depth);
        (bits + 7) / 8
    }

    fn bytes(&self) -> u64 {
        if self.width == 0 { 0 } else { (self.row_bytes() + 1) * u64::from(self.height) }
    }

    /// Undoes the filters in place and puts the pixels where they belong.
    fn read(&self, raw: &mut [u8], chunks: &Chunks, rgb: &mut [u8]) -> Result<()> {
        if raw.is_empty() {
            return Ok(());
        }
        let size = self.row_bytes() as usize + 1;
        let step = std::cmp::max(self.header.channels * self.header.depth as usize / 8, 1);
        let zeros: Vec<u8> = zeros(size - 1, "a row")?;
        for row in 0..self.height as usize {
            let (before, own) = raw.split_at_mut(row * size);
            let above = if row == 0 { &zeros[..] } else { &before[before.len() - size + 1..] };
            let (filter, own) = own[..size].split_at_mut(1);
            unfilter(filter[0], own, above, step)?;
            let start = ((self.y + row * self.dy) * self.header.width as usize + self.x) * 3;
            self.read_row(own, chunks, &mut rgb[start..]);
        }
        Ok(())
    }

    fn read_row(&self, row: &[u8], chunks: &Chunks, rgb: &mut [u8]) {
        let Header { depth, colour, channels, .. } = *self.header;
        let places = rgb.chunks_mut(self.dx * 3).take(self.width as usize);
        for (at, place) in places.enumerate() {
            let sample = |channel: usize| sample(row, depth, at * channels + channel);
            let pixel = match (colour, &chunks.palette) {
                (PALETTE, Some(palette)) => palette[usize::from(sample(0))],
                (2 | 6, _) => [sample(0), sample(1), sample(2)],
                // 1, 2 and 4 bits divide 255 evenly.
                _ if depth < 8 => [(u32::from(sample(0)) * 255 / ((1 << depth) - 1)) as u8; 3],
                _ => [sample(0); 3],
            };
            place[..3].copy_from_slice(&pixel);
        }
    }
}

/// Sample `index` of a row in its own depth; of 16 bits the upper 8.
fn sample(row: &[u8], depth: u32, index: usize) -> u8 {
    match depth {
        16 => row[index * 2],
        8 => row[index],
        _ => {
            let bit = index as u64 * u64::from(depth);
            let shift = 8 - depth - (bit % 8) as u32;
            row[(bit / 8) as usize] >> shift & ((1 << depth) - 1)
        }
    }
}

/// Undoes a row's filter. `above` is the row before it; `step` the bytes of a pixel.
fn unfilter(filter: u8, row: &mut [u8], above: &[u8], step: usize) -> Result<()> {
    let left = |row: &[u8], at: usize| if at < step { 0 } else { row[at - step] };
    match filter {
        0 => {}
        1 => (step..row.len()).for_each(|at| row[at] = row[at].wrapping_add(row[at - step])),
        2 => row.iter_mut().zip(above).for_each(|(byte, above)| *byte = byte.wrapping_add(*above)),
        3 => (0..row.len()).for_each(|at| {
            let mean = (u16::from(left(row, at)) + u16::from(above[at])) / 2;
            row[at] = row[at].wrapping_add(mean as u8);
        }),
        4 => (0..row.len()).for_each(|at| {
            row[at] = row[at].wrapping_add(paeth(left(row, at), above[at], left(above, at)));
        }),
        _ => return Err(Error::picture("it uses a row filter that PNG does not have")),
    }
    Ok(())
}

/// The neighbour that is nearest to left + above - corner.
fn paeth(left: u8, above: u8, corner: u8) -> u8 {
    let guess = i16::from(left) + i16::from(above) - i16::from(corner);
    let away = |byte: u8| (guess - i16::from(byte)).abs();
    if away(left) <= away(above) && away(left) <= away(corner) {
        left
    } else if away(above) <= away(corner) {
        above
    } else {
        corner
    }
}
