# SPDX-License-Identifier: Apache-2.0
"""For guests in Python: models through WASI-NN, pictures as tensors, scores and masks.

docs/sdk-python.md has the guide. Pure Python, for components of componentize-py; all but the calls to the
host works in any Python from 3.11 on, for tests.
"""

from .command import command, write_stdout
from .errors import ErrorCode, NnError
from .generate import ContextFull, PromptTooLong, Usage, cosine, embed, generate, message, option, usage
from .image import Image
from .masks import Mask, class_map, palette
from .metadata import Contract, ImageContract, InputContract, Metadata, OutputContract, Port
from .nn import Context, Graph
from .png import encode_palette
from .preprocess import preprocess
from .quantization import Quantization, dequantize, quantize
from .scores import are_probabilities, softmax, top_k
from .serve import Input, Refusal, Request, Strings, serve
from .tensor import Tensor, TensorType, stack

__all__ = [
    "Context",
    "ContextFull",
    "Contract",
    "ErrorCode",
    "Graph",
    "Image",
    "ImageContract",
    "Input",
    "InputContract",
    "Mask",
    "Metadata",
    "NnError",
    "OutputContract",
    "Port",
    "PromptTooLong",
    "Quantization",
    "Refusal",
    "Request",
    "Strings",
    "Tensor",
    "TensorType",
    "Usage",
    "are_probabilities",
    "class_map",
    "command",
    "cosine",
    "dequantize",
    "embed",
    "encode_palette",
    "generate",
    "message",
    "option",
    "palette",
    "preprocess",
    "quantize",
    "serve",
    "softmax",
    "stack",
    "top_k",
    "usage",
    "write_stdout",
]
