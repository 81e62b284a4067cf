# SPDX-License-Identifier: Apache-2.0
"""Write the digits network for PyTorch, from `weights.npz`.

    python tools/digits/write_pytorch.py

Needs torch. Writes two files, of one function: image f32 [1, 1, 8, 8] -> probabilities f32 [1, 10].

    digits.pt   TorchScript, traced; without the source lines of this machine
    digits.pt2  an exported program (torch.export)

TorchScript names its input `image`, and has no names for outputs. The same version of torch writes the
same bytes.
"""

from pathlib import Path

import numpy as np
import torch  # type: ignore[import-not-found,unused-ignore]
from numpy.typing import NDArray
from torch import Tensor, nn  # type: ignore[import-not-found,unused-ignore]
from train import network
from verify import MODELS, report
from write_onnx import load_weights


class Digits(nn.Module):
    """The trained network, with the softmax that training leaves to its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = network()
        self.layers.load_state_dict({name: torch.from_numpy(array) for name, array in load_weights().items()})

    def forward(self, image: Tensor) -> Tensor:
        """Return the probabilities [N, 10] of images [N, 1, 8, 8]."""
        probabilities: Tensor = torch.softmax(self.layers(image), 1)
        return probabilities


def write_script(model: nn.Module, path: Path) -> None:
    """Trace the model, and keep of the archive what is needed to run it."""
    example = torch.zeros(1, 1, 8, 8)
    traced = torch.jit.trace(model, example)  # type: ignore[no-untyped-call,unused-ignore]
    torch.jit.save(traced, path)
    reader = torch._C.PyTorchFileReader(str(path))
    # *.debug_pkl: which line of which Python file each line came from.
    kept = [name for name in reader.get_all_records() if not name.endswith(".debug_pkl")]
    records = {name: reader.get_record(name) for name in kept}
    writer = torch._C.PyTorchFileWriter(str(path))
    for name, data in records.items():
        if not name.startswith((".data/serialization_id", "version")):  # the writer's own
            writer.write_record(name, data, len(data))
    writer.write_end_of_file()


def write_program(model: nn.Module, path: Path) -> None:
    """Export the model, its output called `probabilities`, without the paths of this machine."""
    program = torch.export.export(model, (torch.zeros(1, 1, 8, 8),))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    (output,) = program.graph.output_node().args[0]
    program.graph_signature.replace_all_uses(output.name, "probabilities")
    output._rename("probabilities")
    torch.export.save(program, path)


def main() -> None:
    """Write both files, and run them."""
    model = Digits().eval()
    script, program = MODELS / "digits.pt", MODELS / "digits.pt2"
    write_script(model, script)
    write_program(model, program)
    for path, module in (
        (script, torch.jit.load(script)),  # type: ignore[no-untyped-call,unused-ignore]
        (program, torch.export.load(program).module()),
    ):

        def classify(image: NDArray[np.float32], module: nn.Module = module) -> NDArray[np.float32]:
            with torch.no_grad():
                probabilities: NDArray[np.float32] = module(torch.from_numpy(image)).numpy()
            return probabilities

        report(path, classify)


if __name__ == "__main__":
    main()
