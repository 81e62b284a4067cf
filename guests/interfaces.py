# SPDX-License-Identifier: Apache-2.0
"""The component interfaces that the C guests import, in the text format of WebAssembly components.

One entry an interface, after those it depends on. `types` declares what its functions speak of, each type
once under its WIT name: `$NAME` stands for it. `uses` are types of earlier interfaces. Only the functions
that a guest calls are imported, so each guest asks its host for no more than it needs.

Sources: wit/wasi-nn.wit of WebAssembly/wasi-nn (2024-10-28) and WASI 0.2.0.
"""

from __future__ import annotations

from dataclasses import dataclass, field

NN = "@0.2.0-rc-2024-10-28"
WASI = "@0.2.0"


@dataclass(frozen=True)
class Interface:
    """An imported interface."""

    name: str
    types: dict[str, str] = field(default_factory=dict)
    """WIT name -> definition; `resource` for a resource."""
    uses: dict[str, str] = field(default_factory=dict)
    """WIT name -> the interface that it comes from."""
    functions: dict[str, str] = field(default_factory=dict)
    """Name -> parameters and results. A method's first parameter is written out."""


def identifier(interface: str) -> str:
    """An interface's identifier in the text format."""
    return "$" + interface.replace(":", ".").replace("@", ".")


def type_identifier(interface: str, name: str) -> str:
    """The identifier of an interface's type outside of the interface, for what a guest exports.

    `interface` without its version is that of `wasi:nn`'s which the guests use.
    """
    if interface.startswith("wasi:nn/") and "@" not in interface:
        interface += NN
    return f"{identifier(interface)}.{name}"


def _enum(*cases: str) -> str:
    return "(enum " + " ".join(f'"{case}"' for case in cases) + ")"


def _flags(*names: str) -> str:
    return "(flags " + " ".join(f'"{name}"' for name in names) + ")"


def _method(resource: str, parameters: str, result: str) -> str:
    return f'(param "self" (borrow ${resource})) {parameters} (result {result})'


_NN_CODES = (
    "invalid-argument",
    "invalid-encoding",
    "timeout",
    "runtime-error",
    "unsupported-operation",
    "too-large",
    "not-found",
    "security",
    "unknown",
)

_NN_INTERFACES = (
    Interface(
        f"wasi:nn/errors{NN}",
        types={"error-code": _enum(*_NN_CODES), "error": "resource"},
        functions={
            "[method]error.code": _method("error", "", "$error-code"),
            "[method]error.data": _method("error", "", "string"),
        },
    ),
    Interface(
        f"wasi:nn/tensor{NN}",
        types={
            "tensor-type": _enum("FP16", "FP32", "FP64", "BF16", "U8", "I32", "I64"),
            "tensor": "resource",
        },
        functions={
            "[constructor]tensor": '(param "dimensions" (list u32)) (param "ty" $tensor-type) '
            '(param "data" (list u8)) (result (own $tensor))',
            "[method]tensor.dimensions": _method("tensor", "", "(list u32)"),
            "[method]tensor.ty": _method("tensor", "", "$tensor-type"),
            "[method]tensor.data": _method("tensor", "", "(list u8)"),
        },
    ),
    Interface(
        f"wasi:nn/inference{NN}",
        uses={"error": f"wasi:nn/errors{NN}", "tensor": f"wasi:nn/tensor{NN}"},
        types={"graph-execution-context": "resource"},
        functions={
            "[method]graph-execution-context.compute": _method(
                "graph-execution-context",
                '(param "inputs" (list (tuple string (own $tensor))))',
                "(result (list (tuple string (own $tensor))) (error (own $error)))",
            ),
        },
    ),
    Interface(
        f"wasi:nn/graph{NN}",
        uses={
            "error": f"wasi:nn/errors{NN}",
            "graph-execution-context": f"wasi:nn/inference{NN}",
        },
        types={
            "graph": "resource",
            "graph-encoding": _enum(
                "openvino", "onnx", "tensorflow", "pytorch", "tensorflowlite", "ggml", "autodetect"
            ),
            "execution-target": _enum("cpu", "gpu", "tpu"),
        },
        functions={
            "load": '(param "builder" (list (list u8))) (param "encoding" $graph-encoding) '
            '(param "target" $execution-target) (result (result (own $graph) (error (own $error))))',
            "load-by-name": '(param "name" string) (result (result (own $graph) (error (own $error))))',
            "[method]graph.init-execution-context": _method(
                "graph", "", "(result (own $graph-execution-context) (error (own $error)))"
            ),
        },
    ),
    Interface(
        "wasinn:nn/introspection@0.1.0",
        uses={"graph": f"wasi:nn/graph{NN}"},
        functions={
            "graph-metadata": '(param "graph" (borrow $graph)) (result (result string (error string)))'
        },
    ),
)

# fmt: off
_FILE_ERRORS = (
    "access", "would-block", "already", "bad-descriptor", "busy", "deadlock", "quota", "exist",
    "file-too-large", "illegal-byte-sequence", "in-progress", "interrupted", "invalid", "io",
    "is-directory", "loop", "too-many-links", "message-size", "name-too-long", "no-device",
    "no-entry", "no-lock", "insufficient-memory", "insufficient-space", "not-directory",
    "not-empty", "not-recoverable", "unsupported", "no-tty", "no-such-device", "overflow",
    "not-permitted", "pipe", "read-only", "invalid-seek", "text-file-busy", "cross-device",
)
# fmt: on

_WASI_INTERFACES = (
    Interface(f"wasi:io/error{WASI}", types={"error": "resource"}),
    Interface(
        f"wasi:io/streams{WASI}",
        uses={"error": f"wasi:io/error{WASI}"},
        types={
            "input-stream": "resource",
            "output-stream": "resource",
            "stream-error": '(variant (case "last-operation-failed" (own $error)) (case "closed"))',
        },
        functions={
            "[method]input-stream.blocking-read": _method(
                "input-stream", '(param "len" u64)', "(result (list u8) (error $stream-error))"
            ),
            "[method]output-stream.blocking-write-and-flush": _method(
                "output-stream", '(param "contents" (list u8))', "(result (error $stream-error))"
            ),
        },
    ),
    *(
        Interface(
            f"wasi:cli/{name}{WASI}",
            uses={stream: f"wasi:io/streams{WASI}"},
            functions={f"get-{name}": f"(result (own ${stream}))"},
        )
        for name, stream in (
            ("stdin", "input-stream"),
            ("stdout", "output-stream"),
            ("stderr", "output-stream"),
        )
    ),
    Interface(f"wasi:cli/environment{WASI}", functions={"get-arguments": "(result (list string))"}),
    Interface(f"wasi:cli/exit{WASI}", functions={"exit-with-code": '(param "status-code" u8)'}),
    Interface(f"wasi:clocks/monotonic-clock{WASI}", functions={"now": "(result u64)"}),
    Interface(
        f"wasi:filesystem/types{WASI}",
        types={
            "descriptor": "resource",
            "error-code": _enum(*_FILE_ERRORS),
            "path-flags": _flags("symlink-follow"),
            "open-flags": _flags("create", "directory", "exclusive", "truncate"),
            "descriptor-flags": _flags(
                "read",
                "write",
                "file-integrity-sync",
                "data-integrity-sync",
                "requested-write-sync",
                "mutate-directory",
            ),
        },
        functions={
            "[method]descriptor.open-at": _method(
                "descriptor",
                '(param "path-flags" $path-flags) (param "path" string) '
                '(param "open-flags" $open-flags) (param "flags" $descriptor-flags)',
                "(result (own $descriptor) (error $error-code))",
            ),
            "[method]descriptor.read": _method(
                "descriptor",
                '(param "length" u64) (param "offset" u64)',
                "(result (tuple (list u8) bool) (error $error-code))",
            ),
            "[method]descriptor.write": _method(
                "descriptor",
                '(param "buffer" (list u8)) (param "offset" u64)',
                "(result u64 (error $error-code))",
            ),
        },
    ),
    Interface(
        f"wasi:filesystem/preopens{WASI}",
        uses={"descriptor": f"wasi:filesystem/types{WASI}"},
        functions={"get-directories": "(result (list (tuple (own $descriptor) string)))"},
    ),
)

INTERFACES = (*_NN_INTERFACES, *_WASI_INTERFACES)

#: What a command exports: the world `wasi:cli/command`.
RUN = f"wasi:cli/run{WASI}"
