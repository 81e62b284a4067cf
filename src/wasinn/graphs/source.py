# SPDX-License-Identifier: Apache-2.0
"""Graph sources: where a graph comes from, and how one is written on a command line.

Three spellings are read:

    NAME=ENCODING:PATH[,PATH][?key=value&...]     ours (`--graph`)
    NAME:ENCODING:TARGET:PATH[:PATH]              WasmEdge's (`--nn-preload`)
    ENCODING::DIRECTORY                           wasmtime's (`--nn-graph`)

A model on another server is `NAME=oip:URL[?key=value&...]` in ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from wasinn import shipped
from wasinn.backends.base import PRECISIONS, LoadOptions, Model
from wasinn.contracts.contract import Contract
from wasinn.contracts.parse import read_contract
from wasinn.errors import ConfigError
from wasinn.graphs import option_values as values
from wasinn.oip.address import parse_address
from wasinn.spec import Encoding, Target

#: What stands for the encoding of a model on another server, and the backend that calls it.
REMOTE = "oip"

#: What cannot be said of a model on another server.
_NOT_REMOTE = {
    "target": "its own server chooses what it runs on",
    "threads": "its own server chooses them",
    "precision": "its own server chooses it",
    "isolation": "it runs in another process already",
    "load_timeout": "timeout = SECONDS is the time that each call to it may take",
    "llm": "the protocol has tensors, no prompts",
}


@dataclass(frozen=True)
class GraphSource:
    """Where a graph comes from: its encoding, its files or bytes, and how to load it.

    `backend` None is the default one of the encoding. `dims` is "strict", or "reshape" for guests
    that label the right bytes with the wrong dims. `quantization` is "raw", or "affine" for guests that
    pass and get floats where the model has quantized integers. `isolation` is "none", or "process" for a
    graph in a worker process, and None what the backend needs; `load_timeout` ends a load there after
    so many seconds. `contract` is what the model's tensors mean: what guests send is held against it, and
    refused where it cannot be right if `strict`, else warned about. `guests` is the contract that the guests
    were written for: the host converts between the two. `llm` are a language model's options, as a JSON
    object; a guest's own count before them. `batch` is the most rows that computes which wait at the same
    time are joined to, and None never.
    """

    encoding: Encoding = Encoding.AUTODETECT
    model: Model = field(default_factory=Model)
    target: Target = Target.CPU
    backend: str | None = None
    dims: str = "strict"
    quantization: str = "raw"
    isolation: str | None = None
    load_timeout: float | None = None
    contract: Contract | None = None
    guests: Contract | None = None
    strict: bool = False
    options: LoadOptions = LoadOptions()
    llm: str | None = None
    batch: int | None = None

    def __str__(self) -> str:
        if self.model.url is not None:
            return f"{REMOTE}:{self.model.url}"
        if self.model.files:
            return f"{self.encoding.label}:{','.join(str(path) for path in self.model.files)}"
        sizes = ", ".join(f"{len(builder)} bytes" for builder in self.model.builders)
        return f"{self.encoding.label} ({sizes})"

    @classmethod
    def from_files(cls, *paths: str | Path, encoding: str = "autodetect", **options: Any) -> GraphSource:
        """A source from files on the host; `options` as in `wasinn.toml`. Raises ConfigError."""
        if not paths:
            raise ConfigError("a graph needs at least one file")
        if not all(isinstance(path, str | Path) for path in paths):
            raise ConfigError(
                'from_files takes paths, as in from_files("m.xml", "m.bin", encoding="openvino")'
            )
        source = cls(_encoding(encoding), Model(files=tuple(_file(str(path)) for path in paths)))
        return with_options(source, options)

    @classmethod
    def from_bytes(cls, *builders: bytes, encoding: str = "autodetect", **options: Any) -> GraphSource:
        """A source from a model's bytes; `options` as in `wasinn.toml`. Raises ConfigError."""
        if not builders:
            raise ConfigError("a graph needs at least one builder (its bytes)")
        if not all(isinstance(builder, bytes | bytearray | memoryview) for builder in builders):
            raise ConfigError('from_bytes takes bytes, as in from_bytes(data, encoding="onnx")')
        builders = tuple(bytes(builder) for builder in builders)
        return with_options(cls(_encoding(encoding), Model(builders=tuple(builders))), options)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> GraphSource:
        """A source that is a model on another server, by its URL as in `http://HOST:PORT/MODEL[/VERSION]` or
        `grpc://HOST:PORT/MODEL`; `options` as in `wasinn.toml`. Raises ConfigError."""
        parse_address(url)
        backend = options.pop("backend", REMOTE)
        if backend != REMOTE:
            raise ConfigError(f"a graph with a URL has the backend {REMOTE!r}, not {backend!r}")
        for key, why in _NOT_REMOTE.items():
            if key in options:
                raise ConfigError(f"{key} is not for a graph with a URL: {why}")
        return with_options(cls(model=Model(url=url), backend=REMOTE), options)

    @classmethod
    def parse(cls, text: str) -> GraphSource:
        """`ENCODING:PATH[,PATH][?key=value&...]`; without an encoding it is detected. Raises ConfigError.

        `@NAME` as a path is a model that wasinn ships. A character that would divide the text is
        written as in a URL (`%2C` for a comma). Keys that are no options of graphs are those of a language
        model, where the encoding is ggml. `oip:URL` is a model on another server.
        """
        body, _, query = text.partition("?")
        encoding, colon, paths = body.partition(":")
        if not colon:
            encoding, paths = "autodetect", body
        if not paths:
            raise ConfigError(f"{text!r} is not ENCODING:PATH[,PATH][?key=value&...]")
        options: dict[str, Any] = {}
        for pair in filter(None, query.split("&")):
            key, equals, value = pair.partition("=")
            if not equals:
                raise ConfigError(f"option {pair!r} of graph {text!r} is not key=value")
            if key in options:
                raise ConfigError(f"option {key!r} of graph {text!r} is given twice")
            options[key] = unquote(value)
        if encoding == REMOTE:
            return cls.from_url(paths, **options)
        files = [unquote(path) for path in paths.split(",")]
        if _encoding(encoding) is Encoding.GGML:
            llm = {key: typed(options.pop(key)) for key in list(options) if key not in _OPTIONS}
            if llm and "llm" in options:
                raise ConfigError(f"give llm={options['llm']} or {', '.join(llm)}, not both")
            if llm:
                options["llm"] = llm
        return cls.from_files(*files, encoding=encoding, **options)


def typed(text: str) -> Any:
    """What `text` stands for as JSON, as in `0.5`, `true` or `["a", "b"]`; else the text itself."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def parse_named(text: str) -> tuple[str, GraphSource]:
    """`NAME=ENCODING:PATH...` as a name and a source. Raises ConfigError."""
    name, equals, rest = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"{text!r} is not NAME=ENCODING:PATH[,PATH][?key=value&...]")
    if not rest:
        raise ConfigError(f"graph {name!r} has no path: NAME=ENCODING:PATH[,PATH][?key=value&...]")
    try:
        return name, GraphSource.parse(rest)
    except ConfigError as error:
        raise ConfigError(f"graph {name!r}: {error}") from None


def parse_wasmedge(text: str) -> tuple[str, GraphSource]:
    """WasmEdge's `NAME:ENCODING:TARGET:PATH[:PATH]`. Raises ConfigError."""
    parts = text.split(":", 3)
    if len(parts) != 4 or not all(parts):
        raise ConfigError(f"{text!r} is not NAME:ENCODING:TARGET:PATH")
    name, encoding, target, paths = parts
    files = [path for path in paths.replace(",", ":").split(":") if path]
    return name, GraphSource.from_files(*files, encoding=encoding, target=target)


#: The file names that wasmtime expects in a graph's directory.
_DIRECTORY_FILES = {
    Encoding.OPENVINO: ("model.xml", "model.bin"),
    Encoding.ONNX: ("model.onnx",),
    Encoding.PYTORCH: ("model.pt",),
    Encoding.TENSORFLOWLITE: ("model.tflite",),
}


def parse_wasmtime(text: str) -> tuple[str, GraphSource]:
    """wasmtime's `ENCODING::DIRECTORY`: the directory's name is the graph's. Raises ConfigError."""
    encoding, separator, directory = text.partition("::")
    if not separator or not directory:
        raise ConfigError(f"{text!r} is not ENCODING::DIRECTORY")
    kind = _encoding(encoding)
    names = _DIRECTORY_FILES.get(kind)
    if names is None:
        able = ", ".join(each.label for each in _DIRECTORY_FILES)
        raise ConfigError(f"a graph directory holds one of: {able}; not {kind.label}")
    folder = Path(directory)
    if not folder.is_dir():
        raise ConfigError(f"there is no directory {directory!r}")
    files = [folder / name for name in names]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise ConfigError(f"directory {directory!r} has no {' and no '.join(missing)}")
    return folder.resolve().name, GraphSource.from_files(*files, encoding=encoding)


def with_options(source: GraphSource, options: Mapping[str, Any]) -> GraphSource:
    """`source` with options by name, as in `wasinn.toml` or after `?`. Raises ConfigError."""
    for key, value in options.items():
        setter = _OPTIONS.get(key)
        if setter is None:
            hint = " (a language model's follow ggml:PATH)" if source.encoding is Encoding.AUTODETECT else ""
            raise ConfigError(f"unknown graph option {key!r}; known: {', '.join(_OPTIONS)}{hint}")
        source = setter(source, value)
    if source.load_timeout is not None and source.isolation != "process":
        raise ConfigError('load_timeout needs isolation = "process": a load in this process cannot be ended')
    if source.llm is not None and source.encoding not in (Encoding.GGML, Encoding.AUTODETECT):
        raise ConfigError(f"llm is for language models (ggml), and this graph is {source.encoding.label}")
    if source.llm is not None and source.batch is not None:
        raise ConfigError("batch joins tensors, and a language model (llm) has none: leave out one of them")
    if source.guests is not None and source.quantization == "affine":
        raise ConfigError(
            'guests = ... converts quantized tensors already; leave out quantization = "affine"'
        )
    return source


def check_contract(source: GraphSource) -> None:
    """That a contract is there where one is needed; it may come after the other options, as one that lies
    beside the model does. Raises ConfigError."""
    if source.contract is not None:
        return
    if source.guests is not None:
        raise ConfigError(
            "guests is the contract that guests speak, and the model's own is missing: give contract as well"
        )
    if source.strict:
        raise ConfigError(
            "strict refuses tensors that are not as the contract says, and there is no contract: give "
            "contract as well"
        )


def _set_target(source: GraphSource, value: Any) -> GraphSource:
    try:
        return replace(source, target=Target.parse(str(value)))
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _set_backend(source: GraphSource, value: Any) -> GraphSource:
    return replace(source, backend=str(value))


def _set_threads(source: GraphSource, value: Any) -> GraphSource:
    return replace(source, options=replace(source.options, threads=values.whole("threads", value, 1, 1024)))


def _set_dims(source: GraphSource, value: Any) -> GraphSource:
    return replace(source, dims=values.one_of("dims", value, "strict", "reshape"))


def _set_quantization(source: GraphSource, value: Any) -> GraphSource:
    return replace(source, quantization=values.one_of("quantization", value, "raw", "affine"))


def _set_isolation(source: GraphSource, value: Any) -> GraphSource:
    return replace(source, isolation=values.one_of("isolation", value, "none", "process"))


def _set_load_timeout(source: GraphSource, value: Any) -> GraphSource:
    return replace(source, load_timeout=values.seconds("load_timeout", value, float("inf")))


def _set_precision(source: GraphSource, value: Any) -> GraphSource:
    precision = values.one_of("precision", value, *PRECISIONS)
    return replace(source, options=replace(source.options, precision=precision))


def _set_contract(source: GraphSource, value: Any) -> GraphSource:
    return replace(source, contract=_contract("contract", value))


def _set_guests(source: GraphSource, value: Any) -> GraphSource:
    return replace(source, guests=_contract("guests", value))


def _contract(key: str, value: Any) -> Contract:
    if isinstance(value, Contract):
        return value
    if not isinstance(value, str | Path) or not str(value):
        raise ConfigError(f"{key} is the file of a contract, not {value!r}")
    try:
        file = _file(str(value))
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None
    return read_contract(file)


def _set_strict(source: GraphSource, value: Any) -> GraphSource:
    return replace(source, strict=values.one_of("strict", str(value).lower(), "true", "false") == "true")


def _set_llm(source: GraphSource, value: Any) -> GraphSource:
    if isinstance(value, str):
        value = typed(value)
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f'llm is a table of options, as in {{"ctx-size" = 512, temp = 0}}, not {value!r}')
    try:
        text = json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"llm: {error}") from None
    return replace(source, llm=text)


def _set_batch(source: GraphSource, value: Any) -> GraphSource:
    return replace(source, batch=values.batch_rows(value))


def _set_remote(key: str, read: Callable[[str, Any], Any]) -> Callable[[GraphSource, Any], GraphSource]:
    def set_remote(source: GraphSource, value: Any) -> GraphSource:
        if source.model.url is None:
            raise ConfigError(
                f"{key} is for graphs with a URL ({REMOTE}:http://HOST:PORT/MODEL), and this one has files"
            )
        changes: Any = {key: read(key, value)}
        return replace(source, model=replace(source.model, remote=replace(source.model.remote, **changes)))

    return set_remote


_OPTIONS: dict[str, Callable[[GraphSource, Any], GraphSource]] = {
    "target": _set_target,
    "backend": _set_backend,
    "threads": _set_threads,
    "dims": _set_dims,
    "quantization": _set_quantization,
    "isolation": _set_isolation,
    "load_timeout": _set_load_timeout,
    "precision": _set_precision,
    "contract": _set_contract,
    "guests": _set_guests,
    "strict": _set_strict,
    "llm": _set_llm,
    "batch": _set_batch,
    "timeout": _set_remote("timeout", values.seconds),
    "retries": _set_remote("retries", values.retries),
    "token_file": _set_remote("token_file", values.readable),
    "ca": _set_remote("ca", values.readable),
}
OPTION_NAMES = tuple(_OPTIONS)


def _encoding(text: str) -> Encoding:
    try:
        return Encoding.parse(text)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _file(text: str) -> Path:
    try:
        path = shipped.resolve(text, "models")
    except FileNotFoundError as error:
        raise ConfigError(str(error)) from None
    if not path.exists():
        raise ConfigError(f"there is no file {text!r}")
    return path
