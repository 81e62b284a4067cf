# SPDX-License-Identifier: Apache-2.0
"""Contracts of the networks that several tests are about, as TOML."""

from __future__ import annotations

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

#: @digits: gray, white on black.
DIGIT_INPUT = """
[input.image]
layout = "NCHW"
size = [8, 8]
colour = "GRAY"
"""
DIGITS = f"""{DIGIT_INPUT}[output.digit]
kind = "probabilities"
"""
LABELLED_DIGITS = f"{DIGITS}labels = {list(WORDS)}\n"

#: The ONNX file of the folder of real models; labels.txt has 1001 lines, "background" first.
MOBILENET_INPUT = """
[input.image]
layout = "NCHW"
size = [224, 224]
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
"""
MOBILENET = f"""{MOBILENET_INPUT}[output.classes]
kind = "logits"
labels = "labels.txt"
label_offset = 1
"""


def lite(text: str, type: str = "f32") -> str:
    """The contract of a TensorFlow Lite artifact of the same network; of type u8 or i8 it is quantized."""
    text = text.replace("NCHW", "NHWC")
    if type == "f32":
        return text
    return text.replace("[output", f'type = "{type}"\nquantization = "model"\n[output')
