# SPDX-License-Identifier: Apache-2.0
"""Text as a language model takes it: a tensor of bytes."""

from __future__ import annotations

from wasinn.spec import TensorType
from wasinn.tensors import Tensor


def text_tensor(data: bytes) -> Tensor:
    return Tensor((len(data),), TensorType.U8, memoryview(data))


def no_options() -> Tensor:
    """What takes back the options that a context was given: the only inputs that are optional."""
    return text_tensor(b"{}")
