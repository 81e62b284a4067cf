// SPDX-License-Identifier: Apache-2.0
//! Deflate (RFC 1951) inside zlib (RFC 1950), from memory to memory.

use crate::error::{room, Error, Result};

const DAMAGED: &str = "its compressed data is damaged";
const TOO_SHORT: &str = "its compressed data ends too early";

/// The longest code of deflate.
const MAX_LENGTH: usize = 15;

/// The order in which the lengths of the code of the code lengths are sent.
const LENGTHS_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
pub(super) const LENGTH_BASE: [u16; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195,
    227, 258,
];
pub(super) const LENGTH_BITS: [u8; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
pub(super) const DISTANCE_BASE: [u16; 30] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073,
    4097, 6145, 8193, 12289, 16385, 24577,
];

/// The `size` bytes that a zlib stream holds; an error where it holds more or fewer.
pub(super) fn inflate(input: &[u8], size: usize) -> Result<Vec<u8>> {
    // A match of 258 bytes takes two bits at the least: a short file cannot make a large allocation.
    if (input.len() as u64) * 1032 < size as u64 {
        return Err(Error::picture(TOO_SHORT));
    }
    let mut bits = Bits { input, at: 0, held: 0, count: 0, missing: 0 };
    let header = bits.take(8)? << 8 | bits.take(8)?;
    // Method 8 (deflate), a header that divides by 31, and no preset dictionary.
    if header >> 8 & 15 != 8 || header % 31 != 0 || header & 0x20 != 0 {
        return Err(Error::picture(DAMAGED));
    }
    let mut output = Output { bytes: room(size, "the picture")?, size };
    loop {
        let last = bits.take(1)? == 1;
        match bits.take(2)? {
            0 => stored(&mut bits, &mut output)?,
            1 => fixed(&mut bits, &mut output)?,
            2 => dynamic(&mut bits, &mut output)?,
            _ => return Err(Error::picture(DAMAGED)),
        }
        if last {
            break;
        }
    }
    if output.bytes.len() != size {
        return Err(Error::picture("its compressed data holds fewer pixels than its header says"));
    }
    bits.drop(bits.count % 8);
    let mut expected = 0;
    for _ in 0..4 {
        expected = expected << 8 | bits.take(8)?;
    }
    if expected != adler32(&output.bytes) {
        return Err(Error::picture("its checksum does not match its pixels"));
    }
    Ok(output.bytes)
}

pub(super) fn adler32(data: &[u8]) -> u32 {
    let (mut low, mut high) = (1u32, 0u32);
    for chunk in data.chunks(5552) {
        // So many bytes cannot overflow 32 bits.
        for &byte in chunk {
            low += u32::from(byte);
            high += low;
        }
        low %= 65521;
        high %= 65521;
    }
    high << 16 | low
}

struct Bits<'a> {
    input: &'a [u8],
    at: usize,
    held: u64, // read and not used yet, the next bit lowest
    count: u32,
    missing: u32, // bits made up because the input ended: looking at them is fine, using them is not
}

impl Bits<'_> {
    fn need(&mut self, count: u32) {
        while self.count < count {
            match self.input.get(self.at) {
                Some(&byte) => {
                    self.held |= u64::from(byte) << self.count;
                    self.at += 1;
                }
                None => self.missing += 8,
            }
            self.count += 8;
        }
    }

    fn drop(&mut self, count: u32) {
        self.held >>= count;
        self.count -= count;
    }

    /// The next `count` bits, at most 16.
    fn take(&mut self, count: u32) -> Result<u32> {
        self.need(count);
        let value = (self.held & ((1 << count) - 1)) as u32;
        self.drop(count);
        // The bits that were made up are the last ones held: some were used if fewer are left.
        if self.missing > self.count {
            return Err(Error::picture(TOO_SHORT));
        }
        Ok(value)
    }

    /// The next `count` bytes of the input, of which the bits at hand are the first.
    fn bytes(&mut self, count: usize) -> Result<&[u8]> {
        self.at -= (self.count - self.missing) as usize / 8;
        self.held = 0;
        self.count = 0;
        self.missing = 0;
        let found = self.input.get(self.at..).and_then(|rest| rest.get(..count));
        self.at += count;
        found.ok_or_else(|| Error::picture(TOO_SHORT))
    }
}

struct Output {
    bytes: Vec<u8>,
    size: usize,
}

impl Output {
    fn check(&self, more: usize) -> Result<()> {
        if more > self.size - self.bytes.len() {
            return Err(Error::picture("its compressed data holds more pixels than its header says"));
        }
        Ok(())
    }

    fn repeat(&mut self, distance: usize, length: usize) -> Result<()> {
        self.check(length)?;
        let start = self.bytes.len().checked_sub(distance).ok_or_else(|| Error::picture(DAMAGED))?;
        if distance >= length {
            self.bytes.extend_from_within(start..start + length);
        } else {
            // The copy overlaps what it writes, and so repeats it.
            (start..start + length).for_each(|at| self.bytes.push(self.bytes[at]));
        }
        Ok(())
    }
}

/// A code as a table: for the next `length` bits of the input, symbol << 4 | bits used; 0 where no code is.
struct Code {
    table: Vec<u16>,
    length: u32,
}

impl Code {
    fn new(lengths: &[u8]) -> Result<Self> {
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let mut of_length = [0usize; MAX_LENGTH + 1];
        lengths.iter().for_each(|&length| of_length[usize::from(length)] += 1);
        of_length[0] = 0;
        let mut next = [0usize; MAX_LENGTH + 2];
        for length in 1..=MAX_LENGTH {
            next[length + 1] = (next[length] + of_length[length]) << 1;
            if next[length] + of_length[length] > 1 << length {
                return Err(Error::picture(DAMAGED)); // more codes than that length has
            }
        }
        let size = 1usize << longest;
        let mut table = vec![0; size];
        for (symbol, &length) in lengths.iter().enumerate().filter(|(_, &length)| length > 0) {
            let code = next[usize::from(length)] as u32;
            next[usize::from(length)] += 1;
            // Codes are sent from their highest bit on, everything else from the lowest.
            let first = (code.reverse_bits() >> (32 - u32::from(length))) as usize;
            let entry = (symbol as u16) << 4 | u16::from(length);
            (first..size).step_by(1 << length).for_each(|at| table[at] = entry);
        }
        Ok(Self { table, length: longest.into() })
    }

    fn read(&self, bits: &mut Bits) -> Result<usize> {
        bits.need(self.length);
        let entry = self.table[(bits.held & ((1 << self.length) - 1)) as usize];
        if entry == 0 {
            return Err(Error::picture(DAMAGED)); // a code may leave some bits unused
        }
        bits.take(u32::from(entry & 15))?;
        Ok(usize::from(entry >> 4))
    }
}

fn stored(bits: &mut Bits, output: &mut Output) -> Result<()> {
    bits.drop(bits.count % 8);
    let (size, complement) = (bits.take(16)?, bits.take(16)?);
    if size ^ complement != 0xffff {
        return Err(Error::picture(DAMAGED));
    }
    output.check(size as usize)?;
    output.bytes.extend_from_slice(bits.bytes(size as usize)?);
    Ok(())
}

fn fixed(bits: &mut Bits, output: &mut Output) -> Result<()> {
    let mut lengths = [8; 288];
    lengths[144..256].fill(9);
    lengths[256..280].fill(7);
    compressed(bits, output, &Code::new(&lengths)?, &Code::new(&[5; 30])?)
}

fn dynamic(bits: &mut Bits, output: &mut Output) -> Result<()> {
    let literals = bits.take(5)? as usize + 257;
    let distances = bits.take(5)? as usize + 1;
    let sent = bits.take(4)? as usize + 4;
    if literals > 286 || distances > 30 {
        return Err(Error::picture(DAMAGED));
    }
    // The code lengths are themselves compressed, with a code that is given first.
    let mut own = [0; 19];
    for &at in &LENGTHS_ORDER[..sent] {
        own[at] = bits.take(3)? as u8;
    }
    let code = Code::new(&own)?;
    let total = literals + distances;
    let mut lengths: Vec<u8> = Vec::with_capacity(total);
    while lengths.len() < total {
        let (value, count) = match code.read(bits)? {
            16 => {
                let last = lengths.last().copied().ok_or_else(|| Error::picture(DAMAGED))?;
                (last, 3 + bits.take(2)?)
            }
            17 => (0, 3 + bits.take(3)?),
            18 => (0, 11 + bits.take(7)?),
            length => (length as u8, 1),
        };
        lengths.resize(lengths.len() + count as usize, value);
    }
    if lengths.len() > total {
        return Err(Error::picture(DAMAGED));
    }
    let (literals, distances) = lengths.split_at(literals);
    compressed(bits, output, &Code::new(literals)?, &Code::new(distances)?)
}

fn compressed(bits: &mut Bits, output: &mut Output, literals: &Code, distances: &Code) -> Result<()> {
    loop {
        let symbol = literals.read(bits)?;
        if symbol == 256 {
            return Ok(());
        }
        if symbol < 256 {
            output.check(1)?;
            output.bytes.push(symbol as u8);
            continue;
        }
        let damaged = || Error::picture(DAMAGED);
        let base = *LENGTH_BASE.get(symbol - 257).ok_or_else(damaged)?;
        let length = u32::from(base) + bits.take(LENGTH_BITS[symbol - 257].into())?;
        let code = distances.read(bits)?;
        let base = *DISTANCE_BASE.get(code).ok_or_else(damaged)?;
        let distance = u32::from(base) + bits.take((code as u32 / 2).saturating_sub(1))?;
        output.repeat(distance as usize, length as usize)?;
    }
}
