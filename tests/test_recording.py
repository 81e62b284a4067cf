# SPDX-License-Identifier: Apache-2.0
"""`--record`: what is kept of each compute, that nothing else changes, and reading it again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import models
import wasinn
from calls import infer
from conftest import MakeDriver, require_backend
from driver import Driver
from wasinn import ConfigError, GraphSource, TensorType, shipped
from wasinn.graphs import recorded
from wasinn.graphs.recorded import FolderRecorder, MemoryRecorder, Record, Recorded, Recording, read_record

PICTURES = shipped.ROOT / "pictures"
CLASSIFY = ["--name", "digits", "--size", "8x8", "--colour", "gray", "/p/seven.png", "/p/two.png"]


def digits(**options: Any) -> wasinn.Host:
    return wasinn.Host(graphs={"digits": GraphSource.from_files("@digits", encoding="onnx", **options)})


def recording(drive: MakeDriver, sources: dict[str, Any], **options: Any) -> tuple[Driver, MemoryRecorder]:
    """A driver whose computes are recorded."""
    recorder = MemoryRecorder()
    host = wasinn.Host(
        graphs={
            name: GraphSource.from_bytes(each) if isinstance(each, bytes) else each
            for name, each in sources.items()
        }
    )
    host._shared = replace(host._shared, recording=Recording(recorder, "driver"))
    return drive(host=host, **options), recorder


def only(records: tuple[Record, ...]) -> Record:
    (record,) = records
    return record


# -- real guests --------------------------------------------------------------------------------------


def test_classify_is_recorded_and_answers_the_same(tmp_path: Path) -> None:
    host = digits()
    plain = host.run("@classify", CLASSIFY, dirs={"/p": PICTURES})
    kept = host.run("@classify", CLASSIFY, dirs={"/p": PICTURES}, record=tmp_path / "new" / "records")
    assert plain.exit_code == 0
    assert (kept.exit_code, kept.stdout, kept.stderr) == (plain.exit_code, plain.stdout, plain.stderr)
    assert dict(kept.stats.calls) == dict(plain.stats.calls)
    folders = recorded.record_folders(tmp_path / "new" / "records")
    assert [folder.name for folder in folders] == ["0000", "0001"]
    seven, two = (read_record(folder) for folder in folders)
    assert (seven.graph, seven.encoding, seven.guest) == ("digits", "onnx", "classify.wasm")
    assert seven.backend in {"onnxruntime", "openvino", "tract"}
    assert seven.error is None
    assert 0 < seven.seconds < 60
    for record, digit in ((seven, 7), (two, 2)):
        assert [(each.name, each.type, each.array.shape) for each in record.inputs] == [
            ("image", TensorType.F32, (1, 1, 8, 8))
        ]
        assert record.outputs[0].array.argmax() == digit
    assert not np.array_equal(seven.inputs[0].array, two.inputs[0].array)


def test_what_was_kept_gives_what_was_got(tmp_path: Path) -> None:
    """The records' inputs, given to the model again."""
    from wasinn.runtime.direct import DirectGraph

    digits().run("@classify", CLASSIFY, dirs={"/p": PICTURES}, record=tmp_path)
    with DirectGraph("digits", GraphSource.from_files("@digits", encoding="onnx")) as graph:
        for folder in recorded.record_folders(tmp_path):
            record = read_record(folder)
            again = graph.infer({0: record.inputs[0].tensor()})
            np.testing.assert_array_equal(again.outputs[0], record.outputs[0].array)


def test_a_model_that_the_guest_brings_has_no_name(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(models.identity(TensorProto.FLOAT, (None, 3)))
    (tmp_path / "x").write_bytes(np.arange(6, dtype="<f4").tobytes())
    recorder = MemoryRecorder()
    command = ["--model", "/p/model.onnx", "--input", "0:f32:2x3:/p/x"]
    result = wasinn.Host().run("@infer", command, dirs={"/p": tmp_path}, record=recorder)
    assert (result.exit_code, result.stderr) == (0, b"")
    record = only(recorder.records)
    assert record.graph is None
    assert record.inputs[0].array.tolist() == [[0, 1, 2], [3, 4, 5]]
    np.testing.assert_array_equal(record.outputs[0].array, record.inputs[0].array)


def test_the_command_records_and_will_not_mix(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wasinn", "run", "--graph", "digits=onnx:@digits"]
    command += ["--dir", f"{PICTURES}::/p", "--record", str(tmp_path / "r"), "@classify", *CLASSIFY]
    first = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (first.returncode, first.stderr) == (0, "")
    before = sorted(path.name for path in (tmp_path / "r").iterdir())
    second = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert second.returncode == 2
    assert "is not empty" in second.stderr
    assert second.stdout == ""
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == before == ["0000", "0001"]


def test_a_recorder_serves_several_runs(tmp_path: Path) -> None:
    recorder = FolderRecorder(tmp_path)
    host = digits()
    for _ in range(2):
        assert host.run("@classify", CLASSIFY, dirs={"/p": PICTURES}, record=recorder).ok
    assert [folder.name for folder in recorded.record_folders(tmp_path)] == ["0000", "0001", "0002", "0003"]
    assert host.run("@classify", CLASSIFY, dirs={"/p": PICTURES}).ok  # and this one is not recorded
    assert recorder.count == 4


@pytest.mark.parametrize("record", [0, b"folder", object()])
def test_what_is_no_recorder_is_refused(record: Any) -> None:
    with pytest.raises(ConfigError, match="record is a folder or a recorder"):
        digits().run("@classify", CLASSIFY, record=record)


# -- calls --------------------------------------------------------------------------------------------


def test_dynamic_shapes_and_inputs_that_stay(drive: MakeDriver) -> None:
    driver, recorder = recording(drive, {"model": models.add(("n", 2))})
    context = driver.open("model")
    assert driver.set_f32(context, 0, [[1, 2]]) == 0
    assert driver.set_f32(context, 1, [[3, 4]]) == 0
    assert driver.compute(context) == 0
    assert driver.set_f32(context, 1, [[5, 6]]) == 0
    assert driver.compute(context) == 0
    for index in range(2):
        assert driver.set_f32(context, index, np.ones((3, 2))) == 0
    assert driver.compute(context) == 0
    first, second, third = recorder.records
    assert [each.array.tolist() for each in first.inputs] == [[[1, 2]], [[3, 4]]]
    assert [each.array.tolist() for each in second.inputs] == [[[1, 2]], [[5, 6]]]
    assert [(each.name, each.array.tolist()) for each in second.outputs] == [
        ("sum", [[6, 8]]),
        ("difference", [[-4, -4]]),
    ]
    assert [each.array.shape for each in (*third.inputs, *third.outputs)] == [(3, 2)] * 4


def test_two_contexts_are_told_apart(drive: MakeDriver) -> None:
    driver, recorder = recording(drive, {"model": models.identity()})
    contexts = [driver.open("model"), driver.open("model")]
    for number, context in enumerate(contexts):
        assert driver.set_f32(context, 0, np.full((1, 4), number)) == 0
    for context in reversed(contexts):
        assert driver.compute(context) == 0
    assert [record.inputs[0].array[0, 0] for record in recorder.records] == [1, 0]
    assert [record.outputs[0].array[0, 0] for record in recorder.records] == [1, 0]


def test_an_input_that_was_refused_is_not_recorded(drive: MakeDriver) -> None:
    driver, recorder = recording(drive, {"model": models.identity()})
    context = driver.open("model")
    assert driver.set_f32(context, 0, [[1, 2, 3, 4]]) == 0
    assert driver.set_f32(context, 0, [[9, 9, 9]]) == 1
    assert driver.compute(context) == 0
    assert only(recorder.records).inputs[0].array.tolist() == [[1, 2, 3, 4]]


def test_the_old_numbering_is_recorded_as_what_it_means(drive: MakeDriver) -> None:
    driver, recorder = recording(drive, {"model": models.identity(TensorProto.UINT8, (1, 4))})
    context = driver.open("model")
    assert driver.set_input(context, 0, [1, 4], 2, bytes([1, 2, 3, 255])) == 0  # 2 was u8
    assert driver.compute(context) == 0
    given = only(recorder.records).inputs[0]
    assert (given.type, given.array.tolist()) == (TensorType.U8, [[1, 2, 3, 255]])


def failing() -> bytes:
    """Fails for what it is given: Reshape of 4 elements to as many as the second input says."""
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    return models.onnx_model(
        [node],
        [("x", TensorProto.FLOAT, (1, 4)), ("shape", TensorProto.INT64, (1,))],
        [("y", TensorProto.FLOAT, (None,))],
    )


def test_a_compute_that_fails_keeps_its_inputs(drive: MakeDriver, tmp_path: Path) -> None:
    driver, recorder = recording(drive, {"model": failing()})
    context = driver.open("model")
    assert driver.set_f32(context, 0, [[1, 2, 3, 4]]) == 0
    assert driver.set_input(context, 1, [1], 5, np.array([5], "<i8").tobytes()) == 0
    assert driver.compute(context) == 5
    assert driver.get_output(context, 0)[0] == 5
    record = only(recorder.records)
    assert record.error is not None
    assert record.error.startswith("runtime_error: ")
    assert record.outputs == ()
    assert [each.array.tolist() for each in record.inputs] == [[[1, 2, 3, 4]], [5]]
    FolderRecorder(tmp_path).record(record)
    again = read_record(tmp_path / "0000")
    assert (again.error, again.outputs, len(again.inputs)) == (record.error, (), 2)


def test_a_compute_without_its_inputs_is_none(drive: MakeDriver) -> None:
    driver, recorder = recording(drive, {"model": models.identity()})
    assert driver.compute(driver.open("model")) == 1
    assert recorder.records == ()


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_a_compute_that_a_deadline_ends(tmp_path: Path, isolation: str) -> None:
    require_backend("onnxruntime")
    # 2 GB/s of products, for minutes: only the deadline ends it.
    source = GraphSource.from_bytes(models.slow(10_000_000), isolation=isolation)
    (tmp_path / "x").write_bytes(bytes(4 * 256 * 256))
    recorder = MemoryRecorder()
    result = wasinn.Host(graphs={"m": source}).run(
        "@infer",
        ["--name", "m", "--input", "0:f32:256x256:/p/x"],
        dirs={"/p": tmp_path},
        deadline=3,
        record=recorder,
    )
    assert result.limit == "deadline"
    record = only(recorder.records)
    assert record.error is not None
    assert record.inputs[0].array.shape == (256, 256)


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_a_hot_guest_is_recorded_in_every_compute(drive: MakeDriver, isolation: str) -> None:
    """The hot path keeps away: it would compute past the recorder."""
    source = GraphSource.from_bytes(models.identity(), isolation=isolation)
    driver, recorder = recording(drive, {"model": source}, hot=True)
    context = driver.open("model")
    for _ in range(6):
        infer(driver, context)
    assert len(recorder.records) == 6
    hot_path = driver.instance.state.hot_path
    assert hot_path is None or context not in hot_path._records


def test_the_guests_own_numbers_are_kept_of_a_quantized_graph(tmp_path: Path) -> None:
    require_backend("litert")
    source = GraphSource.from_files(
        shipped.ROOT / "models" / "digits_u8.tflite", encoding="tensorflowlite", quantization="affine"
    )
    recorder = MemoryRecorder()
    host = wasinn.Host(graphs={"digits": source})
    arguments = [*CLASSIFY[:6], "--layout", "nhwc", *CLASSIFY[6:]]
    result = host.run("@classify", arguments, dirs={"/p": PICTURES}, record=recorder)
    assert result.exit_code == 0, result.stderr.decode()
    first = recorder.records[0]
    assert (first.inputs[0].type, first.outputs[0].type) == (TensorType.F32, TensorType.F32)
    assert first.outputs[0].array.argmax() == 7


# -- the folder ---------------------------------------------------------------------------------------


def record(*arrays: Any, kind: TensorType = TensorType.F32, **fields: Any) -> Record:
    tensors = tuple(Recorded(f"x{number}", kind, np.asarray(each)) for number, each in enumerate(arrays))
    return Record(
        **{"graph": "g", "encoding": "onnx", "backend": "b", "guest": "w", "seconds": 0.5} | fields,
        inputs=tensors,
    )


@pytest.mark.parametrize("kind", list(TensorType))
@pytest.mark.parametrize("dims", [(), (3,), (2, 0, 4), (2, 3)])
def test_every_type_comes_back(tmp_path: Path, kind: TensorType, dims: tuple[int, ...]) -> None:
    count = int(np.prod(dims))
    raw = (np.arange(count * kind.size) % (2 if kind is TensorType.BOOL else 256)).astype("u1")
    dtype = numpy_type(kind)
    array = raw.view(dtype).reshape(dims)
    FolderRecorder(tmp_path).record(record(array, kind=kind))
    found = read_record(tmp_path / "0000").inputs[0]
    assert (found.name, found.type, found.array.dtype, found.array.shape) == ("x0", kind, dtype, dims)
    assert found.array.tobytes() == array.tobytes()
    assert (found.tensor().type, bytes(found.tensor().data)) == (kind, array.tobytes())


def numpy_type(kind: TensorType) -> np.dtype[Any]:
    from wasinn.tensors import Tensor

    return Tensor((1,), kind, memoryview(bytes(kind.size))).numpy().dtype


def test_a_limit_of_computes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = FolderRecorder(tmp_path, most=2)
    for _ in range(5):
        recorder.record(record(np.zeros(3, "<f4")))
    assert [folder.name for folder in recorded.record_folders(tmp_path)] == ["0000", "0001"]
    (line,) = caplog.messages
    assert "later ones are not kept" in line


def test_a_limit_of_bytes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = FolderRecorder(tmp_path, most_bytes=100)
    for _ in range(5):
        recorder.record(record(np.zeros(10, "<f4")))
    assert recorder.count == 2
    assert len(caplog.messages) == 1


def test_a_disk_that_fails_ends_the_recording_and_not_the_guest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = FolderRecorder(tmp_path / "r")
    shutil.rmtree(tmp_path / "r")
    result = digits().run("@classify", CLASSIFY, dirs={"/p": PICTURES}, record=recorder)
    assert result.exit_code == 0
    (line,) = [each for each in caplog.messages if "recorded" in each]
    assert "no longer recorded" in line


def test_many_threads_write_each_its_own(tmp_path: Path) -> None:
    recorder = FolderRecorder(tmp_path)

    def write(number: int) -> None:
        for _ in range(10):
            recorder.record(record(np.full(5, number, "<f4"), guest=str(number)))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [read_record(folder) for folder in recorded.record_folders(tmp_path)]
    assert len(found) == 80
    assert all((each.inputs[0].array == float(each.guest)).all() for each in found)


def test_the_last_are_kept_in_memory() -> None:
    recorder = MemoryRecorder(most=2)
    for number in range(5):
        recorder.record(record(guest=str(number)))
    assert [each.guest for each in recorder.records] == ["3", "4"]


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="records cannot be written"):
        FolderRecorder(tmp_path / "file")


# -- reading what is not right ------------------------------------------------------------------------

Table = dict[str, Any]


def changed(key: str, value: Any, side: str | None = None) -> Callable[[Path, Table], None]:
    def change(folder: Path, table: Table) -> None:
        (table if side is None else table[side][0])[key] = value

    return change


def file_of(content: bytes) -> Callable[[Path, Table], None]:
    return lambda folder, table: (folder / "input-0.npy").write_bytes(content) and None


def saved(array: Any, **options: Any) -> Callable[[Path, Table], None]:
    return lambda folder, table: np.save(folder / "input-0.npy", array, **options)


def huge(folder: Path, table: Table) -> None:
    """A header that declares 4 TB."""
    data = (folder / "input-0.npy").read_bytes()
    wanted = b"(1099511627776,), }"
    (folder / "input-0.npy").write_bytes(data.replace(b"(3,), }".ljust(len(wanted)), wanted))


def damage(folder: Path) -> None:
    data = (folder / "input-0.npy").read_bytes()
    (folder / "input-0.npy").write_bytes(data.replace(b"}", b" ", 1))


MALFORMED = {
    "format": (changed("format", 2), "format is 2"),
    "no format": (changed("format", None), "format is None"),
    "graph": (changed("graph", 3), "graph is 3"),
    "backend": (changed("backend", None), "backend is None"),
    "seconds": (changed("seconds", "1"), "seconds is '1'"),
    "seconds bool": (changed("seconds", True), "seconds is True"),
    "inputs": (changed("inputs", {"a": 1}), "inputs is not a list"),
    "input": (changed("inputs", [1]), "inputs is not a list of objects"),
    "outputs": (changed("outputs", None), "outputs is not a list"),
    "error": (changed("error", 5), "error is 5"),
    "type": (changed("type", "f33", "inputs"), r"inputs\[0\]: unknown tensor type"),
    "name": (changed("name", None, "inputs"), "name is None"),
    "dims": (changed("dims", "3", "inputs"), "dims '3' are not"),
    "dims negative": (changed("dims", [-3], "inputs"), "not whole numbers"),
    "dims float": (changed("dims", [3.0], "inputs"), "not whole numbers"),
    "dims bool": (changed("dims", [True], "inputs"), "not whole numbers"),
    "dims many": (changed("dims", [1] * 100, "inputs"), "are not a list of numbers"),
    "dims others": (changed("dims", [2], "inputs"), r"holds float32 \[3\], not float32 \[2\]"),
    "dims huge": (changed("dims", [1 << 40, 1 << 40], "inputs"), "too few for f32"),
    "type other": (changed("type", "i32", "inputs"), "holds float32"),
    "outside": (changed("file", "../record.json", "inputs"), "not the name of a file in the folder"),
    "absolute": (changed("file", "/etc/passwd", "inputs"), "not the name of a file in the folder"),
    "nul": (changed("file", "a\0b", "inputs"), "record.json: "),
    "dots": (changed("file", "..", "inputs"), "not the name of a file in the folder"),
    "missing": (changed("file", "input-9.npy", "inputs"), "there is no file input-9.npy"),
    "cut": (file_of(b"\x93NUMPY\x01\x00"), "too few"),
    "no npy": (file_of(b"hello" * 30), "is not a .npy file"),
    "pickle": (saved(np.array([{"a": 1}, 2, 3], object), allow_pickle=True), "is not a .npy file"),
    "archive": (
        lambda folder, table: np.savez((folder / "input-0.npy").open("wb"), a=np.zeros(9)) and None,
        "input-0.npy",
    ),
    "header": (huge, "is not a .npy file"),
    "damaged": (lambda folder, table: damage(folder), "is not a .npy file"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_record_that_was_tampered_with(tmp_path: Path, case: str) -> None:
    change, message = MALFORMED[case]
    FolderRecorder(tmp_path).record(record(np.array([1, 2, 3], "<f4")))
    folder = tmp_path / "0000"
    table = json.loads((folder / "record.json").read_text())
    change(folder, table)
    (folder / "record.json").write_text(json.dumps(table))
    with pytest.raises(ConfigError, match=message):
        read_record(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "record.json"),
        (b"{", "record.json"),
        (b"[]", "not a JSON object"),
        (b"\xff\xfe", "record.json"),
        (b"[" * 100_000, "record.json"),
        (b'{"format": 1, "seconds": 1e999999, "graph": null}', "encoding is None"),
    ],
)
def test_a_record_that_is_no_json(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_record(tmp_path)


def test_a_folder_that_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"it has no record\.json$"):
        read_record(tmp_path / "nowhere")
    FolderRecorder(tmp_path).record(record(np.zeros(3, "<f4")))
    with pytest.raises(ConfigError, match=r"it holds 1 records: name one, as in .*0000"):
        read_record(tmp_path)
    os.remove(tmp_path / "0000" / "record.json")  # as where the process died while it wrote
    with pytest.raises(ConfigError, match=r"it has no record\.json$"):
        read_record(tmp_path / "0000")
