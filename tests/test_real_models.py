# SPDX-License-Identifier: Apache-2.0
"""Models from public repositories, and the answers that their runtime gives without a guest.

They do not come with the project: the tests are skipped where the folder is not there.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import wasinn

MOBILENET = "0:f32:1x3x224x224:/d/mobilenet_v2/"


@pytest.mark.parametrize("how", ["load", "load_by_name"])
@pytest.mark.parametrize(
    ("tensor", "best"),
    [
        ("kitten.tensor", [(281, 13.693), (282, 11.015), (283, 8.772)]),
        ("000000062808.rgb", [(963, 15.001), (762, 12.578), (909, 10.810)]),
    ],
)
def test_mobilenet_knows_the_picture(
    data: Path, how: str, tensor: str, best: list[tuple[int, float]]
) -> None:
    model = data / "mobilenet_v2" / "mobilenet_v2.onnx"
    host = wasinn.Host(graphs={"mobilenet": f"onnx:{model}"})
    chosen = (
        ["--name", "mobilenet"] if how == "load_by_name" else ["--model", f"/d/mobilenet_v2/{model.name}"]
    )
    command = [*chosen, "--input", MOBILENET + tensor, "--top", "3"]
    result = host.run("@infer", command, dirs={"/d": data})
    assert (result.exit_code, result.stderr) == (0, b"")
    lines = [line.split() for line in result.stdout.decode().splitlines()[1:]]
    assert [int(index) for index, _ in lines] == [index for index, _ in best]
    assert [float(value) for _, value in lines] == pytest.approx([value for _, value in best], abs=0.01)
    assert result.stats.calls[how] == 1


@pytest.mark.parametrize("name", ["sample3.png", "sample7.png", "mnist_nine.bmp"])
def test_mnist_knows_the_digit(data: Path, name: str) -> None:
    digit = {"sample3.png": 3, "sample7.png": 7, "mnist_nine.bmp": 9}[name]
    host = wasinn.Host(graphs={"default": f"onnx:{data}/mnist/mnist.onnx"})
    command = ["--size", "28x28", "--colour", "gray", "--range", "0,255", "--top", "1", "--tsv", f"/d/{name}"]
    result = host.run("@classify", command, dirs={"/d": data / "mnist"})
    assert (result.exit_code, result.stderr) == (0, b"")
    assert result.stdout.decode().split("\t")[2] == str(digit)


@pytest.mark.parametrize("how", ["load", "load_by_name"])
def test_the_identity_model_of_another_host_is_an_identity(data: Path, how: str) -> None:
    name = "identity_input_output.onnx"
    host = wasinn.Host(graphs={"same": f"autodetect:{data / name}"})
    argument = "same" if how == "load_by_name" else f"/d/{name}"
    result = host.run("@identity", [argument], dirs={"/d": data})
    assert (result.exit_code, result.stdout) == (0, b"16 bytes: 1 2 3 4\n")


@pytest.mark.parametrize("encoding", ["onnx", "autodetect"])
def test_every_onnx_model_is_recognised(data: Path, encoding: str) -> None:
    paths = sorted(data.glob("**/*.onnx"))
    assert len(paths) >= 3
    host = wasinn.Host(graphs={path.stem: f"{encoding}:{path}" for path in paths})
    host.preload()
    assert {host.registry._loaded[path.stem].encoding for path in paths} == {wasinn.Encoding.ONNX}


@pytest.mark.parametrize(
    ("path", "looks"),
    [
        ("mobilenet_v2/mobilenet_v2_1.0_224_quant.tflite", "tensorflowlite"),
        ("sine/hello_world_int8.tflite", "tensorflowlite"),
        ("mobilenet_v2/mobilenet_v2_torchscript.pt", "pytorch"),
        ("mobilenet_v2/mobilenet_v2_bgr_nchw.xml", "openvino"),
    ],
)
def test_a_model_of_another_encoding_is_called_what_it_is(data: Path, path: str, looks: str) -> None:
    host = wasinn.Host(graphs={"m": f"onnx:{data / path}"})
    with pytest.raises(wasinn.WasiNNError, match=f"labelled onnx, but it looks like {looks}"):
        host.preload()
