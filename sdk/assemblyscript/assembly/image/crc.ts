// SPDX-License-Identifier: Apache-2.0
// The CRC-32 of PNG's chunks.
const TABLE = makeTable();

function makeTable(): StaticArray<u32> {
  const table = new StaticArray<u32>(256);
  for (let i: u32 = 0; i < 256; i++) {
    let value = i;
    for (let bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? 0xedb88320 : 0);
    table[i] = value;
  }
  return table;
}

export function crc32(from: usize, size: usize): u32 {
  let crc: u32 = 0xffffffff;
  for (const end = from + size; from < end; from++) crc = crc >> 8 ^ unchecked(TABLE[(crc ^ load<u8>(from)) & 255]);
  return ~crc;
}
