# SPDX-License-Identifier: Apache-2.0
"""Write the digits network as OpenVINO IR, from `digits.onnx`.

    python tools/digits/write_openvino.py

Needs openvino. Writes digits.xml and digits.bin: image f32 [1, 1, 8, 8] -> probabilities f32
[1, 10]. The same version of OpenVINO writes the same bytes.
"""

import sys

import numpy as np
from numpy.typing import NDArray
from verify import MODELS, report

# Without its telemetry, which reports each import.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino as ov  # type: ignore[import-untyped,unused-ignore]  # noqa: E402

IR = MODELS / "digits.xml"


def main() -> None:
    """Write both files, and run them."""
    model = ov.Core().read_model(MODELS / "digits.onnx")
    ov.save_model(model, IR, compress_to_fp16=False)
    # bf16, the default on processors that have it, is too coarse to compare.
    compiled = ov.Core().compile_model(IR, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def classify(image: NDArray[np.float32]) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = compiled({"image": image})["probabilities"]
        return probabilities

    report(IR, classify)
    print(f"{'digits.bin':18} {IR.with_suffix('.bin').stat().st_size:6} bytes")


if __name__ == "__main__":
    main()
