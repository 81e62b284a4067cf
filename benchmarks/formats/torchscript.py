# SPDX-License-Identifier: Apache-2.0
"""A network as TorchScript: traced and frozen, as torch's guide to inference has it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from formats import network as net

_OPERATORS: dict[str, Any] = {"Add": torch.add, "Sub": torch.sub, "Mul": torch.mul}


def write(network: net.Network, path: Path) -> None:
    """Writes it; one input and one output, dims as in ONNX."""
    jit: Any = torch.jit
    with torch.no_grad():
        traced = jit.trace(_Module(network).eval(), torch.zeros(network.dims))
        jit.freeze(traced).save(str(path))


class _Module(torch.nn.Module):
    """Its layers are called one by one; tracing leaves nothing of the loop."""

    def __init__(self, network: net.Network) -> None:
        super().__init__()
        self.network = network
        for index, layer in enumerate(network.layers):
            if isinstance(layer, net.Conv):
                self.register_buffer(f"weight{index}", torch.tensor(layer.weight))
                self.register_buffer(f"bias{index}", torch.tensor(layer.bias))
            elif isinstance(layer, net.Constant):
                self.register_buffer(f"value{index}", torch.tensor(layer.value).reshape(-1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = {self.network.input: x}
        for index, layer in enumerate(self.network.layers):
            values[layer.output] = self._run(index, layer, [values[name] for name in layer.inputs])
        return values[self.network.output.output]

    def _run(self, index: int, layer: net.Layer, inputs: list[torch.Tensor]) -> Any:
        x = inputs[0]
        match layer:
            case net.Conv():
                return self._conv(index, layer, x)
            case net.MaxPool():
                return functional.max_pool2d(x, layer.size, layer.strides)
            case net.Concat():
                return torch.cat(inputs, 1)
            case net.Mean():
                return x.mean((2, 3), keepdim=True)
            case net.Flatten():
                return x.flatten(1)
            case net.Tail():
                return x[:, layer.start :]
            case net.Add():
                return x + inputs[1]
            case net.Constant():
                return _OPERATORS[layer.operator](x, self.get_buffer(f"value{index}"))
        raise TypeError(f"no translation of {type(layer).__name__}")

    def _conv(self, index: int, layer: net.Conv, x: torch.Tensor) -> torch.Tensor:
        top, left, bottom, right = layer.pads
        if (top, left) != (bottom, right):
            x = functional.pad(x, (left, right, top, bottom))
            top = left = 0
        weight, bias = self.get_buffer(f"weight{index}"), self.get_buffer(f"bias{index}")
        x = functional.conv2d(x, weight, bias, layer.strides, (top, left), groups=layer.groups)
        if layer.ceiling is None:
            return x
        return functional.relu(x) if math.isinf(layer.ceiling) else functional.hardtanh(x, 0, layer.ceiling)
