# SPDX-License-Identifier: Apache-2.0
"""A network as OpenVINO's IR: what OpenVINO itself makes of the ONNX model, the weights left in f32."""

from __future__ import annotations

import sys
from pathlib import Path


def write(onnx_path: Path, path: Path) -> None:
    """Writes `path` (.xml), and the weights beside it (.bin)."""
    # Without its telemetry, which reports each import.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    openvino.save_model(openvino.convert_model(onnx_path), path, compress_to_fp16=False)
