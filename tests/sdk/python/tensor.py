# SPDX-License-Identifier: Apache-2.0
"""A guest of the tests: `tensor [JSON PICTURE]...` writes the tensors that contracts make of pictures.

JSON is an element of the metadata's contract.inputs, or @FILE with one. Each tensor follows its length (u32,
little-endian); a length of 0 stands for a pair that is refused, with a line on stderr.
"""

import struct
import sys

from wasinn_guest import Image, InputContract, NnError, command, preprocess, write_stdout
from wasinn_guest.errors import invalid


def main(arguments: list[str]) -> int:
    if not arguments or len(arguments) % 2:
        print("tensor: usage: tensor [JSON PICTURE]...", file=sys.stderr)
        return 1
    failed = 0
    for json, picture in zip(arguments[::2], arguments[1::2], strict=True):
        try:
            data = tensor(json, picture)
        except NnError as error:
            text = str(error)
            print(text if text.startswith(picture) else f"{picture}: {text}", file=sys.stderr)
            data, failed = b"", 1
        write_stdout(struct.pack("<I", len(data)) + data)
    return failed


def tensor(json: str, picture: str) -> bytes:
    if json.startswith("@"):
        try:
            with open(json[1:], encoding="utf-8") as file:
                json = file.read()
        except OSError as error:
            raise invalid(f"{json[1:]}: {error.strerror}") from None
    contract = InputContract.from_json(json)
    return bytes(preprocess(Image.open(picture), contract).data)


Run = command(main, "tensor")
