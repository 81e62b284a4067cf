// SPDX-License-Identifier: Apache-2.0
//! Decoders on damaged files: any answer but a panic, and pixels that survive a round.

use wasinn::{palette, palette_png, resize, Image, Resize};

/// Numbers that look random, the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Small files of all kinds: binary and text, with runs and without.
fn files() -> Vec<Vec<u8>> {
    let mut random = Random(7);
    let noise: Vec<u8> = (0..19 * 23).map(|_| random.next() as u8).collect();
    let runs: Vec<u8> = (0..19 * 23).map(|at| (at / 50 % 9) as u8).collect();
    let mut files = vec![
        palette_png(19, 23, &noise, &palette(256)).unwrap(),
        palette_png(19, 23, &runs, &palette(9)).unwrap(),
        b"P1 # bits\n3 2\n010\n1 0 1 ".to_vec(),
        b"P2\n3 1\n300\n0 150 300\n".to_vec(),
        b"P3 1 1 255 1 2 3\n".to_vec(),
        b"P4\n9 2\n\xaa\x80\x55\x00".to_vec(),
        [b"P5\n19 23\n65535\n".to_vec(), noise.clone(), noise.clone()].concat(),
        [b"P6\n19 7\n255\n".to_vec(), noise.clone()].concat(),
    ];
    for depth in [1u16, 4, 8, 16, 24, 32] {
        files.push(bmp(depth, 12, &mut random));
        files.push(bmp(depth, 40, &mut random));
    }
    files
}

fn bmp(depth: u16, header: u32, random: &mut Random) -> Vec<u8> {
    let (width, height) = (13u32, 5u32);
    let colours = if depth <= 8 { 1usize << depth } else { 0 };
    let entry = if header == 12 { 3 } else { 4 };
    let start = 14 + header as usize + colours * entry;
    let stride = (width as usize * depth as usize + 31) / 32 * 4;
    let mut file = b"BM".to_vec();
    file.extend([0; 8]);
    file.extend((start as u32).to_le_bytes());
    file.extend(header.to_le_bytes());
    if header == 12 {
        for field in [width as u16, height as u16, 1, depth] {
            file.extend(field.to_le_bytes());
        }
    } else {
        file.extend(width.to_le_bytes());
        file.extend(height.to_le_bytes());
        file.extend(1u16.to_le_bytes());
        file.extend(depth.to_le_bytes());
        file.extend([0; 24]);
    }
    file.extend((0..colours * entry + stride * height as usize).map(|_| random.next() as u8));
    file
}

#[test]
fn whole_files_are_read() {
    for file in files() {
        let image = Image::decode(&file).unwrap();
        assert_eq!(image.rgb().len(), image.width() as usize * image.height() as usize * 3);
    }
}

#[test]
fn mutations_are_no_panic() {
    let mut random = Random(42);
    let files = files();
    let rounds = std::env::var("ROUNDS").map_or(400, |text| text.parse().unwrap());
    let mut read = 0;
    for _ in 0..rounds {
        for file in &files {
            let mut file = file.clone();
            for _ in 0..=random.below(6) {
                let at = random.below(file.len());
                match random.below(6) {
                    0 => file.truncate(at + 1),
                    1 => file[at] ^= 1 << random.below(8),
                    2 => file.insert(at, random.next() as u8),
                    3 => file[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
                    _ => file[at] = random.next() as u8,
                }
            }
            mend_checksums(&mut file, &mut random);
            read += usize::from(Image::decode(&file).is_ok());
        }
    }
    assert!(read > 0, "some of them are pictures still");
}

/// Most mutants of a PNG would end at a checksum: the larger part gets right ones, so that what comes after
/// is met too.
fn mend_checksums(file: &mut [u8], random: &mut Random) {
    if !file.starts_with(b"\x89PNG") || random.below(5) == 0 {
        return;
    }
    let mut at = 8;
    while at + 12 <= file.len() {
        let size = u32::from_be_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]) as usize;
        if size > file.len() - at - 12 {
            return;
        }
        let mut crc = !0u32;
        for &byte in &file[at + 4..at + 8 + size] {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
            }
        }
        file[at + 8 + size..at + 12 + size].copy_from_slice(&(!crc).to_be_bytes());
        at += 12 + size;
    }
}

#[test]
fn beginnings_are_no_panic() {
    for file in files() {
        for end in 0..file.len() {
            let _ = Image::decode(&file[..end]);
        }
    }
    let mut random = Random(3);
    for start in [&b"\x89PNG\r\n\x1a\n"[..], b"BM", b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b""] {
        for _ in 0..300 {
            let size = random.below(200);
            let noise = (0..size).map(|_| random.next() as u8);
            let _ = Image::decode(&start.iter().copied().chain(noise).collect::<Vec<u8>>());
        }
    }
}

#[test]
fn claims_of_size_are_refused_before_memory_is_taken() {
    for (text, words) in [
        ("P5 999999999 999999999 255 ", "too large"),
        ("P6 8192 8192 255 ", "ends before"),
        ("P5 0 10 255 ", "empty"),
        ("P4 60000 1000 ", "ends before"),
    ] {
        let error = Image::decode(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn other_formats_are_named() {
    let jpeg = Image::decode(b"\xff\xd8\xff\xe0").unwrap_err().to_string();
    assert!(jpeg.contains("JPEG") && jpeg.contains("from_rgb"), "{jpeg}");
    assert!(Image::decode(b"GIF89a").unwrap_err().to_string().contains("not known"));
    assert!(Image::decode(b"").unwrap_err().to_string().contains("empty"));
}

#[test]
fn pixels_must_be_as_many_as_the_size_says() {
    let error = Image::from_rgb(2, 2, vec![0; 11]).unwrap_err().to_string();
    assert!(error.contains("12") && error.contains("11"), "{error}");
    assert!(Image::from_rgb(0, 2, vec![]).is_err());
}

#[test]
fn a_mask_s_picture_has_its_pixels() {
    let mut random = Random(11);
    for (width, height) in [(1, 1), (3, 2), (259, 7), (700, 40), (40000, 2)] {
        for runs in [1, 5, 300] {
            let mut indices = Vec::new();
            while indices.len() < width * height {
                let value = random.next() as u8;
                indices.extend((0..=random.below(runs)).map(|_| value));
            }
            indices.truncate(width * height);
            let colours = palette(256);
            let file = palette_png(width as u32, height as u32, &indices, &colours).unwrap();
            let wanted: Vec<u8> = indices.iter().flat_map(|&index| colours[usize::from(index)]).collect();
            assert_eq!(Image::decode(&file).unwrap().rgb(), wanted);
        }
    }
    // Rows that repeat take next to nothing.
    let rows: Vec<u8> = (0..1000 * 500).map(|at| (at % 1000 / 100) as u8).collect();
    assert!(palette_png(1000, 500, &rows, &palette(10)).unwrap().len() < 20_000);
    assert!(palette_png(1, 1, &[3], &palette(3)).is_err());
}

#[test]
fn any_size_from_any_size() {
    let mut random = Random(5);
    for _ in 0..300 {
        let (width, height) = (1 + random.below(40) as u32, 1 + random.below(40) as u32);
        let rgb = vec![200; (width * height * 3) as usize];
        let image = Image::from_rgb(width, height, rgb).unwrap();
        let (to_width, to_height) = (1 + random.below(60) as u32, 1 + random.below(60) as u32);
        for filter in [Resize::Bilinear, Resize::Bicubic, Resize::Nearest, Resize::Area] {
            for antialias in [true, false] {
                let other = resize(&image, to_width, to_height, filter, antialias).unwrap();
                assert!(other.rgb().iter().all(|&level| level == 200), "{filter:?} {antialias}");
            }
        }
    }
    assert!(resize(&Image::from_rgb(1, 1, vec![0; 3]).unwrap(), 0, 1, Resize::Area, true).is_err());
}
