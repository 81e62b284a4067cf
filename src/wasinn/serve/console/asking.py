# SPDX-License-Identifier: Apache-2.0
"""From what someone tries on the page to a request, and from the response to what is drawn.

A question is a JSON object, `form` first of all, and a file's bytes behind it:

- "picture": the file becomes the tensor of `input` as the graph's contract says; further inputs in `tensors`.
- "file": the file is the content of `input`, BYTES or UINT8, of a guest; further inputs as above.
- "prompt": `prompt` goes to a language model, with its `options`.
- "tensors": `tensors` are the inputs as the protocol's JSON has them; in the place of `data`, `fill` may be
  "zeros", "ones" or "random".
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from wasinn.backends.base import Configurable
from wasinn.errors import ConfigError, WasiNNError
from wasinn.graphs.loader import LoadedGraph
from wasinn.imaging.decode import read_picture
from wasinn.imaging.preprocess import Prepared
from wasinn.oip.datatypes import DATATYPE_OF, TYPE_OF, pack_bytes
from wasinn.oip.errors import OipError
from wasinn.oip.messages import DATATYPES, InferRequest, WireTensor
from wasinn.oip.rest import decode_request
from wasinn.runtime.feeds import feed_picture
from wasinn.runtime.ports import LoadedPorts
from wasinn.serve.console import answers, pictures
from wasinn.serve.errors import ServeError
from wasinn.serve.frontend import Frontend
from wasinn.spec import TensorType
from wasinn.tensors import FLOATS, NUMPY

FORMS = ("picture", "file", "prompt", "tensors")
#: The largest tensor that `fill` makes.
_MOST_FILLED = 64 << 20


class Asking:
    """Answers questions. `at_once`: so many pictures are decoded at the same time, and four times as many
    may wait: a picture of a few kilobytes can take hundreds of megabytes."""

    def __init__(self, frontend: Frontend, at_once: int = 2) -> None:
        self._frontend = frontend
        # Threads of its own: one whose caller has gone still counts until it is done.
        self._threads = ThreadPoolExecutor(at_once, "wasinn-console")
        self._most = 5 * at_once
        self._asked = 0

    async def answer(self, name: str, head: Any, file: bytes, client: str) -> dict[str, Any]:
        """What the page draws: `outputs`, `seconds`, and for a picture `picture` and `seen`. Raises
        ServeError."""
        form, top = _form(head)
        self._frontend.check(name)
        model = self._frontend.repository.serving(name).require_model()
        loaded: LoadedGraph | None = getattr(model, "loaded", None)
        metadata, kind = model.metadata(), model.kind
        prepared: Prepared | None = None
        result: dict[str, Any] = {"model": name, "form": form}
        try:
            if form == "picture":
                graph = _graph(loaded, kind, name)
                tensors, prepared, shown = await self._prepared(_picture, graph, metadata, head, file)
                result |= shown
            elif form == "file":
                given = _file(metadata, head, file)
                others = await self._prepared(_tensors, head.get("tensors") or [])
                tensors = [given, *(each for each in others if each.name != given.name)]
                result |= await self._prepared(_preview, file)
            elif form == "prompt":
                tensors = _prompt(_graph(loaded, kind, name), head, name)
            else:
                tensors = await self._prepared(_tensors, head.get("tensors"))
        except (ConfigError, WasiNNError, OipError) as error:
            refused = ServeError(400, str(error))
            self._frontend.refuse(name, refused)
            raise refused from error
        start = time.perf_counter()
        response = await self._frontend.infer(name, "", InferRequest(tensors), client)
        result["seconds"] = time.perf_counter() - start
        placement = None if prepared is None else prepared.placement
        if kind == "guest" or loaded is None:
            result["outputs"] = await self._in_thread(answers.of_guest, response, top)
        elif is_language_model(loaded):
            result["outputs"] = answers.of_language_model(response)
        else:
            ports = LoadedPorts(loaded)
            result["outputs"] = await self._in_thread(answers.of_graph, response, ports, placement, top)
        return result

    async def _prepared(self, function: Any, *args: Any) -> Any:
        """What `function` makes of someone's file, in a thread. Raises ServeError (429)."""
        if self._asked >= self._most:
            raise ServeError(429, "too many files are being read; try again soon", "console_busy", 1.0)
        self._asked += 1
        try:
            return await self._in_thread(function, *args)
        finally:
            self._asked -= 1

    async def _in_thread(self, function: Any, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)


def is_language_model(loaded: LoadedGraph) -> bool:
    """Whether it takes a prompt."""
    return isinstance(loaded.graph, Configurable)


def _form(head: Any) -> tuple[str, int]:
    if not isinstance(head, dict):
        raise ServeError(400, f"a question is a JSON object, not {type(head).__name__}")
    form, top = head.get("form"), head.get("top", 5)
    if form not in FORMS:
        raise ServeError(400, f"form is one of {', '.join(FORMS)}, not {str(form)[:60]!r}")
    if isinstance(top, bool) or not isinstance(top, int) or not 1 <= top <= 100:
        raise ServeError(400, f"top is a number of 1 to 100, not {str(top)[:60]!r}")
    return form, top


def _graph(loaded: LoadedGraph | None, kind: str, name: str) -> LoadedGraph:
    if kind == "guest" or loaded is None:
        raise ServeError(400, f"model {name!r} is no graph of this server: send it a file or tensors")
    return loaded


# -- pictures -----------------------------------------------------------------------------------------


def _picture(
    loaded: LoadedGraph, metadata: Mapping[str, Any], head: Mapping[str, Any], content: bytes
) -> tuple[list[WireTensor], Prepared, dict[str, Any]]:
    ports = LoadedPorts(loaded)
    index = picture_input(ports, head.get("input"))
    contract = ports.input_contract(index)
    assert contract is not None
    pixels = read_picture(content)
    feed = feed_picture(index, pixels, contract, ports.inputs[index])
    assert feed.prepared is not None
    spec = ports.inputs[index]
    datatype = _port(metadata, spec.name).get("datatype") or DATATYPE_OF.get(feed.tensor.type)
    if datatype is None:
        raise ConfigError(f"the protocol has no datatype for {feed.tensor.type.label}")
    given = WireTensor(spec.name, datatype, feed.tensor.dims, feed.tensor.data)
    others = [each for each in _tensors(head.get("tensors") or []) if each.name != spec.name]
    placement = feed.prepared.placement
    shown = pictures.shown(pixels) | {"used": [round(each, 2) for each in placement.shown]}
    return (
        [given, *others],
        feed.prepared,
        {"picture": shown, "seen": pictures.shown(feed.prepared.pixels, 512)},
    )


def picture_input(ports: LoadedPorts, name: Any = None) -> int:
    """The index of the input that a picture is for. Raises ConfigError."""
    bound = ports.bound.inputs if ports.bound is not None else {}
    found = {index: each for index, each in bound.items() if each.image is not None}
    for index, each in found.items():
        if name is None or name in (each.name, ports.inputs[index].name):
            return index
    if not found:
        raise ConfigError(
            "no contract says how a picture becomes a tensor of this model; `wasinn inspect --contract "
            "MODEL` writes one to start from"
        )
    known = ", ".join(repr(each.name) for each in found.values())
    raise ConfigError(f"no input for pictures is called {str(name)[:60]!r}; there is {known}")


def _preview(content: bytes) -> dict[str, Any]:
    """The picture that a file is, if it is one."""
    try:
        return {"picture": pictures.shown(read_picture(content))}
    except ConfigError:
        return {}


# -- the others ---------------------------------------------------------------------------------------


def _file(metadata: Mapping[str, Any], head: Mapping[str, Any], content: bytes) -> WireTensor:
    """A file as a guest's input: as BYTES with that one element, or as UINT8 where the guest says so."""
    name = head.get("input")
    if not isinstance(name, str) or not name:
        raise ConfigError("input is the name of the tensor that the file becomes")
    port = _port(metadata, name)
    shape = port.get("shape") or [1]
    if port.get("datatype") == "UINT8":
        return WireTensor(name, "UINT8", (*(1 for _ in shape[1:]), len(content)), content)
    return WireTensor(name, "BYTES", tuple(1 for _ in shape), pack_bytes([content]))


def _prompt(loaded: LoadedGraph, head: Mapping[str, Any], name: str) -> list[WireTensor]:
    prompt, options = head.get("prompt"), head.get("options") or {}
    if not is_language_model(loaded):
        raise ConfigError(f"model {name!r} is no language model: it takes no prompt")
    if not isinstance(prompt, str) or not prompt:
        raise ConfigError("prompt is the text that the model goes on from; it is empty")
    if not isinstance(options, dict):
        raise ConfigError('options are a JSON object, as {"n-predict": 50, "temp": 0}')
    text = prompt.encode("utf-8", "replace")
    tensors = [WireTensor("prompt", "BYTES", (1,), pack_bytes([text]))]
    if options:
        told = pack_bytes([json.dumps(options).encode()])
        tensors.append(WireTensor("options", "BYTES", (1,), told))
    return tensors


def _tensors(given: Any) -> list[WireTensor]:
    """Tensors in the protocol's JSON. Raises ConfigError and OipError."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ConfigError('tensors are a list of objects with "name", "shape", "datatype" and "data"')
    result: list[WireTensor] = []
    for each in given:
        if isinstance(each, dict) and "fill" in each:
            result.append(_filled(each))
        else:
            body = json.dumps({"inputs": [each]}).encode()
            result.extend(decode_request(body, None).inputs)
    return result


def _filled(given: Mapping[str, Any]) -> WireTensor:
    name, datatype, shape, fill = (given.get(key) for key in ("name", "datatype", "shape", "fill"))
    if not isinstance(name, str) or DATATYPES.get(str(datatype)) is None:
        raise ConfigError(
            f"fill: a tensor needs a name and a datatype of numbers, not {str(datatype)[:60]!r}"
        )
    if not isinstance(shape, list) or not all(type(dim) is int and dim >= 0 for dim in shape):
        raise ConfigError(f"tensor {name!r}: shape is a list of numbers from 0 on")
    size = DATATYPES[str(datatype)] or 1
    count = math.prod(shape)
    if count * size > _MOST_FILLED:
        raise ConfigError(f"tensor {name!r}: {count * size} bytes are more than fill makes ({_MOST_FILLED})")
    kind = TYPE_OF[str(datatype)]
    values: Any
    if fill == "random":
        random = np.random.default_rng()
        real = kind in FLOATS or kind is TensorType.BF16
        values = random.random(count, np.float32) if real else random.integers(0, 2, count, np.uint8)
    elif fill in ("zeros", "ones"):
        values = np.full(count, fill == "ones", np.float32 if kind is TensorType.BF16 else NUMPY[kind])
    else:
        raise ConfigError(f'tensor {name!r}: fill is "zeros", "ones" or "random", not {str(fill)[:60]!r}')
    if kind is TensorType.BF16:
        values = (values.view("<u4") >> 16).astype("<u2")
    else:
        values = values.astype(NUMPY[kind], copy=False)
    return WireTensor(name, str(datatype), tuple(shape), values.tobytes())


def _port(metadata: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What the metadata says of an input; nothing where it does not know it."""
    return next((each for each in metadata.get("inputs") or () if each.get("name") == name), {})
