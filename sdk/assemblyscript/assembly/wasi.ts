// SPDX-License-Identifier: Apache-2.0
// The few calls of WASI preview 1 that a guest needs: arguments, files, stdout, stderr, the end.
import { Bytes } from "./bytes";
import { noMemory, Result } from "./result";

@external("wasi_snapshot_preview1", "args_sizes_get")
declare function args_sizes_get(count: usize, size: usize): u32;
@external("wasi_snapshot_preview1", "args_get")
declare function args_get(pointers: usize, text: usize): u32;
@external("wasi_snapshot_preview1", "fd_prestat_get")
declare function fd_prestat_get(fd: u32, prestat: usize): u32;
@external("wasi_snapshot_preview1", "fd_prestat_dir_name")
declare function fd_prestat_dir_name(fd: u32, name: usize, size: u32): u32;
@external("wasi_snapshot_preview1", "path_open")
declare function path_open(
  fd: u32, lookup: u32, path: usize, size: u32, open: u32, rights: u64, inherited: u64, flags: u32, opened: usize,
): u32;
@external("wasi_snapshot_preview1", "fd_read")
declare function fd_read(fd: u32, vectors: usize, count: u32, read: usize): u32;
@external("wasi_snapshot_preview1", "fd_write")
declare function fd_write(fd: u32, vectors: usize, count: u32, written: usize): u32;
@external("wasi_snapshot_preview1", "fd_close")
declare function fd_close(fd: u32): u32;
@external("wasi_snapshot_preview1", "proc_exit")
declare function proc_exit(code: u32): void;

/** Room for one vector, or another answer of two words. */
const answer = memory.data(16);

/** The arguments after the program's name. */
export function programArguments(): string[] {
  const found: string[] = [];
  if (args_sizes_get(answer, answer + 4)) return found;
  const count = load<u32>(answer), size = load<u32>(answer, 4);
  const pointers = heap.alloc(<usize>max(count * 4, 4)), text = heap.alloc(<usize>max(size, 4));
  if (!args_get(pointers, text)) {
    for (let i: u32 = 1; i < count; i++) {
      const start = load<u32>(pointers + <usize>i * 4);
      const end = i + 1 < count ? load<u32>(pointers + <usize>i * 4, 4) : <u32>text + size;
      found.push(String.UTF8.decodeUnsafe(start, <usize>(end - start - 1)));
    }
  }
  heap.free(pointers);
  heap.free(text);
  return found;
}

/** Ends the program. Whatever stands after it is not run. */
export function exit(code: i32): void {
  proc_exit(<u32>code);
  unreachable();
}

/** A line on stdout. */
export function print(line: string): void {
  writeText(1, line + "\n");
}

/** A line on stderr. */
export function printError(line: string): void {
  writeText(2, line + "\n");
}

function writeText(fd: u32, text: string): void {
  const buffer = String.UTF8.encode(text);
  writeAll(fd, changetype<usize>(buffer), <u32>buffer.byteLength);
}

/** Bytes on stdout, as they are; false where nobody reads them. */
export function printBytes(bytes: Bytes): bool {
  return writeAll(1, bytes.pointer, <u32>bytes.length) == 0;
}

function writeAll(fd: u32, from: usize, size: u32): u32 {
  while (size) {
    store<u32>(answer, <u32>from);
    store<u32>(answer, size, 4);
    const code = fd_write(fd, answer, 1, answer + 8);
    if (code) return code;
    const written = load<u32>(answer, 8);
    if (!written) return 29; // io
    from += written;
    size -= min(size, written);
  }
  return 0;
}

/** Used in place of AssemblyScript's own abort, which is no function of WASI's. */
// @ts-ignore: a decorator on a function
@global
export function wasinnAbort(message: string | null, file: string | null, line: u32, column: u32): void {
  printError(
    (message ? message : "abort") + " at " + (file ? file : "?") + ":" + line.toString() + ":" + column.toString(),
  );
  unreachable();
}

/** A file's whole content. */
export function readFile(path: string): Result<Bytes> {
  const opened = open(path, 0, (1 << 1) | (1 << 2) | (1 << 21)); // fd_read, fd_seek, fd_filestat_get
  if (opened.isFailed) return Result.from<Bytes>(opened.error);
  const content = readAll(opened.value, path);
  fd_close(opened.value);
  return content;
}

/** All of stdin. */
export function readStdin(): Result<Bytes> {
  return readAll(0, "stdin");
}

function readAll(fd: u32, what: string): Result<Bytes> {
  let content = Bytes.raw(60000), size = 0;
  while (content) {
    if (size == content.length) {
      const larger: Bytes | null = content.length < 1 << 29 ? Bytes.raw(content.length * 2) : null;
      if (larger) memory.copy(larger.pointer, content.pointer, <usize>size);
      content.free();
      content = larger;
      continue;
    }
    store<u32>(answer, <u32>(content.pointer + size));
    store<u32>(answer, <u32>(content.length - size), 4);
    const code = fd_read(fd, answer, 1, answer + 8);
    const got = load<u32>(answer, 8);
    if (code) return Result.failed<Bytes>(what + ": cannot be read: " + reason(code));
    if (!got) {
      content.cut(size);
      return Result.of<Bytes>(content);
    }
    size += <i32>got;
  }
  return noMemory<Bytes>(what);
}

/** Writes a file anew, in a directory that was given with `:rw`; the number of bytes. */
export function writeFile(path: string, content: Bytes): Result<i32> {
  const opened = open(path, 1 | 8, 1 << 6); // create, truncate; fd_write
  if (opened.isFailed) return Result.from<i32>(opened.error);
  const code = writeAll(opened.value, content.pointer, <u32>content.length);
  fd_close(opened.value);
  if (code) return Result.failed<i32>(path + ": cannot be written: " + reason(code));
  return Result.of(content.length);
}

/** The directories that the host gave: those opened before the start, from 3 on. */
function open(path: string, flags: u32, rights: u64): Result<u32> {
  let best: u32 = 0, rest = "";
  let longest = -1;
  for (let fd: u32 = 3; !fd_prestat_get(fd, answer); fd++) {
    if (load<u8>(answer)) continue;
    const size = load<u32>(answer, 4);
    const text = heap.alloc(<usize>max(size, 4));
    const failed = fd_prestat_dir_name(fd, text, size);
    let name = String.UTF8.decodeUnsafe(text, <usize>size);
    heap.free(text);
    if (failed) continue;
    while (name.length > 1 && (name.endsWith("/") || name.endsWith("\0"))) name = name.slice(0, name.length - 1);
    let inside: string;
    if (name == "." || name == "./") {
      if (path.startsWith("/")) continue;
      name = "";
      inside = path;
    } else if (name == "/") {
      if (!path.startsWith("/")) continue;
      inside = path.slice(1);
    } else if (path == name) {
      inside = ".";
    } else if (path.startsWith(name + "/")) {
      inside = path.slice(name.length + 1);
    } else {
      continue;
    }
    if (name.length > longest) {
      longest = name.length;
      best = fd;
      rest = inside;
    }
  }
  if (longest < 0) return Result.failed<u32>(path + ": " + reason(44));
  const text = String.UTF8.encode(rest);
  const code = path_open(
    best, 1, changetype<usize>(text), <u32>text.byteLength, flags, rights, 0, 0, answer,
  );
  if (code) return Result.failed<u32>(path + ": " + reason(code));
  return Result.of<u32>(load<u32>(answer));
}

function reason(code: u32): string {
  switch (code) {
    case 2: return "Permission denied";
    case 31: return "Is a directory";
    case 44: return "No such file or directory (a guest sees only what --dir gives it)";
    case 54: return "Not a directory";
    case 63: return "Operation not permitted";
    case 69: return "Read-only file system (give the directory with :rw)";
    case 76: return "Not permitted (is the directory given with :rw? does the path leave it?)";
    default: return "WASI's error " + code.toString();
  }
}
