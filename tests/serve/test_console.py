# SPDX-License-Identifier: Apache-2.0
"""The console: what its page is told, what can be tried, and the page itself in a browser."""

from __future__ import annotations

import base64
import io
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import models
import wasinn
from browser import CHROMIUM, Browser
from serving import Answer, Serving
from wasinn import shipped
from wasinn.imaging.masks import palette
from wasinn.serve import console
from wasinn.serve.settings import DeclaredTensor, GuestSource, Settings

Image = pytest.importorskip("PIL.Image")

SEVEN = shipped.ROOT / "pictures" / "seven.png"
#: A model's names and labels are other people's text.
EVIL = '<img src=x onerror="document.title=1">'
TOKEN = "sesame"
A = {"name": "a", "datatype": "FP32"}

DETECTOR = f"""
[input.image]
layout = "NCHW"
size = [32, 32]
fit = "letterbox"
[output.animals]
port = "boxes"
kind = "boxes"
scores = "scores"
labels = ['{EVIL}', "dog"]
"""
#: Of each pixel, the class is the channel that is strongest.
COLOURS = """
[input.image]
port = 0
layout = "NCHW"
size = [4, 4]
fit = "crop"
[output.strongest]
port = 0
kind = "mask"
labels = ["red", "green", "blue"]
"""


def detector() -> bytes:
    boxes = np.array([[[0, 0, 0.5, 1], [0.5, 0.5, 1, 1]]], np.float32)
    scores = np.array([[[0.9, 0.0], [0.1, 0.75]]], np.float32)
    nodes = [
        helper.make_node("Constant", [], [name], value=helper.make_tensor(name, 1, each.shape, each.ravel()))
        for name, each in (("boxes", boxes), ("scores", scores))
    ]
    outputs = [(name, TensorProto.FLOAT, each.shape) for name, each in (("boxes", boxes), ("scores", scores))]
    return models.onnx_model(nodes, [("image", TensorProto.FLOAT, (1, 3, 32, 32))], outputs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("console")
    for name, model, contract in (
        ("detector", detector(), DETECTOR),
        ("colours", models.identity(dims=(1, 3, 4, 4)), COLOURS),
        (
            "classes",
            models.identity(TensorProto.INT32, (2, 2)),
            '[output.x]\nport = 0\nkind = "mask"\nlayout = "HW"',
        ),
        ("add", models.add(), None),
    ):
        (folder / f"{name}.onnx").write_bytes(model)
        if contract:
            (folder / f"{name}.onnx.contract.toml").write_text(contract)
    (folder / "broken.onnx").write_bytes(b"no model")
    Image.new("RGB", (200, 100), (90, 90, 90)).save(folder / "wide.png")
    two = np.zeros((40, 80, 3), np.uint8)
    two[:, :40, 0] = two[:, 40:, 1] = 255
    Image.fromarray(two).save(folder / "two.png")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Serving]:
    graphs = {
        name: str(folder / f"{name}.onnx") for name in ("detector", "colours", "classes", "add", "broken")
    }
    host = wasinn.Host(
        graphs={"digits": "@digits", **{name: f"onnx:{each}" for name, each in graphs.items()}}
    )
    guests = {EVIL: GuestSource("@serve", ("digits",), inputs=(DeclaredTensor("image", "BYTES", (-1,)),))}
    settings = Settings(access_log="off", guests=guests, tokens=(TOKEN,), max_body=1 << 20, deadline=10)
    with Serving(host, settings) as serving:
        yield serving


def post(server: Serving, path: str, head: dict[str, Any], file: bytes = b"", **headers: str) -> Answer:
    text = json.dumps(head).encode()
    given = {
        "Authorization": f"Bearer {TOKEN}",
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(text)),
    }
    return server.request("POST", path, text + file, given | headers)


def ask(server: Serving, model: str, form: str, file: Path | None = None, **more: Any) -> Answer:
    head = {"model": model, "form": form, **more}
    return post(server, "/console/ask", head, b"" if file is None else file.read_bytes())


def state(server: Serving) -> dict[str, Any]:
    found: dict[str, Any] = server.get("/console/state", Authorization=f"Bearer {TOKEN}").json()
    return found


def told(server: Serving, name: str) -> dict[str, Any]:
    return next(each for each in state(server)["models"] if each["name"] == name)


def pixels(url: str) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


# -- the page's files ---------------------------------------------------------------------------------------


def test_the_page_is_whole_and_takes_nothing_from_elsewhere(server: Serving) -> None:
    page = server.get("/")
    assert page.status == 200
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    text = page.body.decode()
    linked = set(re.findall(r'(?:src|href)="([^"]+)"', text))
    assert "<script>" not in text
    for path in linked:
        answer = server.get(path)
        assert answer.status == 200, path
    for name in console._FILES:
        script = server.get(f"/console/static/{name}").body.decode()
        for other in re.findall(r'from "\./([^"]+)"', script):
            assert other in console._FILES
        assert set(re.findall(r"https?://[^\s\"'`]+", script)) <= {"http://www.w3.org/2000/svg"}
        assert "innerHTML" not in script
    assert server.get("/console/static/__init__.py").status == 404


def test_what_the_page_asks_for_wants_the_token(server: Serving) -> None:
    assert server.get("/console/state").status == 401
    assert server.get("/console/state", Authorization="Bearer no").status == 401
    head = {"model": "digits", "form": "tensors", "tensors": []}
    assert post(server, "/console/ask", head, Authorization="").status == 401
    assert post(server, "/console/unload", {"model": "digits"}, Authorization="").status == 401
    assert told(server, "digits")["state"] == "READY"


# -- what it is told ----------------------------------------------------------------------------------------


def test_models_are_told_in_words(server: Serving) -> None:
    digits = told(server, "digits")
    assert digits["forms"] == ["picture", "tensors"]
    (image,), (digit,) = digits["inputs"], digits["outputs"]
    assert image["is"] == "FP32 [1, 1, 8, 8]"
    assert "a picture of 8 x 8 pixels, stretched to it" in image["words"]
    assert digit["words"][-1] == "labels: 0; 1; 2; 3; 4; 5 and 4 more"
    assert told(server, "add")["forms"] == ["tensors"]
    assert told(server, EVIL)["forms"] == ["file", "tensors"]
    broken = told(server, "broken")
    assert broken["state"] == "UNAVAILABLE"
    assert "not an ONNX model" in broken["reason"]


def test_numbers_are_those_of_the_metrics(server: Serving) -> None:
    def counted() -> dict[str, Any]:
        server.frontend.refresh_metrics()
        found: dict[str, Any] = console.counted.read(server.frontend.metrics)["digits"]
        return found

    before = counted()["statuses"]
    ask(server, "digits", "picture", SEVEN)
    ask(server, "digits", "tensors", tensors=[])
    found = counted()
    assert found["statuses"]["200"] == before.get("200", 0) + 1
    assert found["statuses"]["400"] == before.get("400", 0) + 1
    assert found["failures"]["invalid"] >= 1
    assert found["seconds"]["count"] == found["seconds"]["buckets"][-1][1] > 0
    assert found["seconds"]["buckets"][-1][0] is None
    # The page may be told what was read less than a second ago.
    assert told(server, "digits")["counted"]["running"] == 0


# -- what can be tried --------------------------------------------------------------------------------------


def test_a_picture_is_classified(server: Serving) -> None:
    said = ask(server, "digits", "picture", SEVEN, top=3).json()
    (output,) = said["outputs"]
    assert output["top"][0]["label"] == "7"
    assert len(output["top"]) == 3
    assert (said["seen"]["width"], said["seen"]["height"]) == (8, 8)
    assert said["picture"]["used"] == [0, 0, 96, 96]


def test_a_mask_lies_over_the_picture_that_was_given(server: Serving, folder: Path) -> None:
    said = ask(server, "colours", "picture", folder / "two.png").json()
    (output,) = said["outputs"]
    assert [(each["label"], each["pixels"]) for each in output["classes"]] == [("red", 8), ("green", 8)]
    mask = pixels(output["mask"]["url"])
    assert mask.shape == (40, 80, 4)
    # The model sees the middle: 20 pixels on each side are cut off.
    assert (mask[:, :20, 3] == 0).all()
    assert (mask[:, 60:, 3] == 0).all()
    assert (mask[:, 20:60, 3] == 255).all()
    assert mask[20, 25, :3].tolist() == palette(1)[0].tolist() == output["mask"]["colours"]["0"]
    assert mask[20, 55, :3].tolist() == palette(2)[1].tolist()
    assert said["picture"]["used"] == [20, 0, 60, 40]


def test_boxes_are_in_pixels_of_the_picture(server: Serving, folder: Path) -> None:
    (output,) = ask(server, "detector", "picture", folder / "wide.png").json()["outputs"]
    boxes = [[each[edge] for edge in ("left", "top", "right", "bottom")] for each in output["boxes"]]
    # The input is square, and the picture has bars above and below it there.
    assert boxes == [[0, 0, 100, 100], [100, 50, 200, 100]]
    assert [each["label"] for each in output["boxes"]] == [EVIL, "dog"]


def test_a_guest_gets_a_file(server: Serving) -> None:
    said = ask(server, EVIL, "file", SEVEN, input="image").json()
    (output,) = said["outputs"]
    best = output["top"][0]
    assert (output["form"], best["label"], best["index"]) == ("classes", "7", 7)
    assert said["picture"]["width"] == 96


def test_tensors_are_the_protocols_or_filled(server: Serving) -> None:
    inputs = [
        {"name": "a", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]},
        {"name": "b", "shape": [1, 4], "datatype": "FP32", "fill": "ones"},
    ]
    said = ask(server, "add", "tensors", tensors=inputs).json()
    outputs = {each["name"]: each["values"] for each in said["outputs"]}
    assert outputs == {"sum": [2, 3, 4, 5], "difference": [0, 1, 2, 3]}


def test_a_mask_of_classes_beyond_counting_is_shown_as_numbers(server: Serving) -> None:
    x = {"name": told(server, "classes")["inputs"][0]["name"], "shape": [2, 2], "datatype": "INT32"}
    (few,) = ask(server, "classes", "tensors", tensors=[{**x, "data": [0, 1, 1, 5000]}]).json()["outputs"]
    assert [(each["index"], each["pixels"]) for each in few["classes"]] == [(1, 2), (0, 1), (5000, 1)]
    assert pixels(few["mask"]["url"]).shape == (2, 2, 4)
    (many,) = ask(server, "classes", "tensors", tensors=[{**x, "data": [0, 1, 1, 2_000_000_000]}]).json()[
        "outputs"
    ]
    assert "a mask with class 2000000000" in many["problem"]
    assert many["values"] == [0, 1, 1, 2_000_000_000]


def test_a_prompt_is_gone_on_from() -> None:
    pytest.importorskip("llama_cpp")
    settings = Settings(access_log="off", tokens=(TOKEN,))
    with Serving(wasinn.Host(graphs={"story": "ggml:@story"}), settings) as serving:
        assert told(serving, "story")["forms"] == ["prompt"]
        options = {"n-predict": 8, "temp": 0}
        said = ask(serving, "story", "prompt", prompt="Once upon", options=options).json()
        text, metadata = said["outputs"]
        assert text["form"] == "text"
        assert text["texts"][0].strip()
        assert metadata["facts"]["output_tokens"] == 8
        assert "it is empty" in ask(serving, "story", "prompt", prompt="").error


@pytest.mark.parametrize(
    ("model", "form", "more", "status", "reason"),
    [
        ("digits", "picture", {}, 400, "no format that Pillow"),
        ("digits", "picture", {"input": "other"}, 400, "there is 'image'"),
        ("digits", "prompt", {"prompt": "x"}, 400, "no language model"),
        ("digits", "song", {}, 400, "form is one of"),
        ("digits", "tensors", {"top": 0}, 400, "1 to 100"),
        ("digits", "tensors", {"tensors": 3}, 400, "a list of objects"),
        ("digits", "tensors", {"tensors": [3]}, 400, "input"),
        ("add", "picture", {}, 400, "no contract says"),
        ("add", "tensors", {"tensors": [{**A, "shape": [1 << 40], "fill": "ones"}]}, 400, "more than fill"),
        ("add", "tensors", {"tensors": [{**A, "shape": [1], "fill": "x"}]}, 400, "fill is"),
        (EVIL, "picture", {}, 400, "no graph of this server"),
        (EVIL, "file", {}, 400, "input is the name"),
        ("broken", "tensors", {}, 404, "not an ONNX model"),
        ("nobody", "tensors", {}, 404, "there is no model"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isalpha() else "-",
)  # fmt: skip
def test_what_cannot_be_tried_gets_a_reason(
    server: Serving, folder: Path, model: str, form: str, more: dict[str, Any], status: int, reason: str
) -> None:
    answer = ask(server, model, form, folder / "broken.onnx" if form != "tensors" else None, **more)
    assert answer.status == status
    assert reason in answer.error


def test_questions_that_are_none_get_a_reason(server: Serving) -> None:
    for head, text, status in (
        ([], "a JSON object", 400),
        ({"form": "tensors"}, '"model" is the name', 400),
    ):
        answer = post(server, "/console/ask", head)  # type: ignore[arg-type]
        assert (answer.status, text in answer.error) == (status, True)
    length = {"Inference-Header-Content-Length": "99999"}
    assert "99999" in post(server, "/console/ask", {"model": "digits"}, **length).error
    assert post(server, "/console/ask", {"model": "digits"}, b"x" * (1 << 20)).status == 413


def test_models_are_loaded_and_unloaded(server: Serving) -> None:
    assert post(server, "/console/unload", {"model": "add"}).status == 200
    assert told(server, "add")["state"] == "UNAVAILABLE"
    assert post(server, "/console/load", {"model": "add"}).status == 200
    assert told(server, "add")["state"] == "READY"
    refused = post(server, "/console/load", {"model": "broken"})
    assert (refused.status, "not an ONNX model" in refused.error) == (400, True)


def test_someone_who_goes_away_ends_what_was_begun() -> None:
    slow = wasinn.GraphSource.from_bytes(models.slow(10**9))
    with Serving(wasinn.Host(graphs={"slow": slow}), Settings(access_log="off")) as server:
        x = {"name": "x", "datatype": "FP32", "shape": [256, 256], "fill": "random"}
        body = json.dumps({"model": "slow", "form": "tensors", "tensors": [x]}).encode()
        pool = server.frontend.repository.entries["slow"].model.pool
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            head = f"POST /console/ask HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            until(lambda: pool.used == 1)
        until(lambda: server.frontend.in_flight == 0 and pool.used == 0)
        assert b'wasinn_requests_total{model="slow",status="499"}' in server.get("/metrics").body
        # A page of another place, in the same browser, has no business here.
        refused = server.request("POST", "/console/ask", body, {"Origin": "http://elsewhere.example"})
        assert refused.status == 403


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


# -- in a browser -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(server: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The page, after someone has signed in."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed to look at the page with")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    try:
        browser.open(f"http://127.0.0.1:{server.port}/")
        browser.wait("!document.getElementById('sign-in').hidden")
        browser.look("token.value = 'wrong'; document.querySelector('#sign-in button').click()")
        browser.wait("document.getElementById('sign-in-problem').textContent")
        browser.look(f"token.value = '{TOKEN}'; document.querySelector('#sign-in button').click()")
        browser.wait("document.querySelector('article')")
        # A refusal without a token, and one of a wrong one, are what a browser logs as errors.
        assert [each for each in browser.errors if "401" not in each] == []
        browser.errors.clear()
        yield browser
    finally:
        browser.close()


def choose(page: Browser, model: str) -> None:
    # A result of the model before must not be taken for one of this.
    page.look(f"location.hash = encodeURIComponent({json.dumps(model)})")
    page.wait(f"document.querySelector('article h2').textContent === {json.dumps(model)}")


def test_a_dropped_picture_is_answered(page: Browser) -> None:
    choose(page, "digits")
    content = base64.b64encode(SEVEN.read_bytes()).decode()
    page.look(
        f"""(() => {{
          const bytes = Uint8Array.from(atob("{content}"), (each) => each.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([bytes], "seven.png", {{ type: "image/png" }}));
          const event = new DragEvent("drop", {{ dataTransfer, bubbles: true, cancelable: true }});
          document.querySelector(".drop").dispatchEvent(event);
        }})()"""
    )
    page.wait("document.querySelector('.bars .label')")
    assert page.look("document.querySelector('.bars .label').textContent") == "7"
    assert page.look("document.querySelector('.bars .number').textContent").endswith("%")
    assert page.look("document.querySelector('.bars .fill').getBoundingClientRect().width") > 100
    page.wait("document.querySelector('.stage img').naturalWidth")  # the policy lets it be shown
    assert page.errors == []


def test_boxes_and_masks_are_drawn_over_the_picture(page: Browser, folder: Path) -> None:
    choose(page, "detector")
    page.choose_file(".drop input", folder / "wide.png")
    page.wait("document.querySelectorAll('.stage .box').length === 2")
    assert page.look("document.querySelector('.tag').textContent") == f"1 {EVIL}"
    found = page.look(
        """(() => {
          const stage = document.querySelector(".stage").getBoundingClientRect();
          const box = document.querySelectorAll(".stage .box")[1].getBoundingClientRect();
          return [(box.left - stage.left) / stage.width, (box.top - stage.top) / stage.height,
                  (box.right - stage.left) / stage.width, (box.bottom - stage.top) / stage.height];
        })()"""
    )
    assert found == pytest.approx([0.5, 0.5, 1, 1], abs=0.01)
    choose(page, "colours")
    page.choose_file(".drop input", folder / "two.png")
    page.wait("document.querySelector('.stage .over')?.naturalWidth === 80")
    assert page.errors == []


def test_tensors_and_their_mistakes_are_shown(page: Browser) -> None:
    choose(page, "add")
    page.look("document.querySelector('article form button.main').click()")
    page.wait("document.querySelectorAll('.output').length === 2")
    page.look(
        "document.querySelector('textarea').value = '[{]'; "
        "document.querySelector('article form button.main').click()"
    )
    page.wait("document.querySelector('.result .problem')?.textContent.includes('no JSON')")
    assert page.errors == []


def test_names_are_text_and_the_page_fits_a_phone(page: Browser) -> None:
    page.size(360, 740, mobile=True)
    try:
        for model in ("broken", EVIL, "digits"):
            choose(page, model)
            assert page.look("document.documentElement.scrollWidth") <= 360
        assert page.look("document.querySelectorAll('img[src=x]').length") == 0
        assert page.look("document.title") != "1"
        assert page.errors == []
    finally:
        page.size(1280, 900)
