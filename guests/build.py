# SPDX-License-Identifier: Apache-2.0
"""Build the C guests into WebAssembly modules and components, byte for byte the same on every machine.

    python guests/build.py [NAME...] [--out DIR] [--check]

They stand on the C SDK in `sdk/c`.

The compiler is the pinned `ziglang` package of the Python that runs this; `componentize.py` makes components.
`--check` builds aside and compares with the files that the package ships.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from componentize import COMMAND, ComponentError, componentize
from interfaces import type_identifier

GUESTS = Path(__file__).resolve().parent
SOURCES = GUESTS / "c"
SDK = GUESTS.parent / "sdk" / "c"
SHIPPED = GUESTS.parent / "src" / "wasinn" / "shipped" / "guests"

# The linker's own stack, 16 MiB, would be the larger part of each instance's memory.
COMMAND_FLAGS = ["-O2", "-Wl,-z,stack-size=1048576"]
# A reactor for functions to be called by others.
REACTOR_FLAGS = ["-O2", "-mexec-model=reactor", "-Wl,-z,stack-size=65536"]
# A reactor that decodes pictures and prints numbers.
SERVED_FLAGS = ["-O2", "-mexec-model=reactor", "-Wl,-z,stack-size=1048576"]
# A reactor with no libc at all, nor its start-up code: there is nothing to run before the first call.
BARE_FLAGS = ["-Os", "-nostdlib", "-fno-stack-protector", "-Wl,--no-entry", "-Wl,-z,stack-size=16384"]

#: All of the SDK, for every guest that uses it: what is not called is not in the module.
SERVED_SOURCES = [f"../../sdk/c/{path.name}" for path in sorted(SDK.glob("*.c"))]
SDK_SOURCES = [path for path in SERVED_SOURCES if not path.endswith("/serve.c")]

RECIPES: dict[str, tuple[list[str], list[str]]] = {
    "batch": (["batch.c", "options.c", *SDK_SOURCES], COMMAND_FLAGS),
    "bench": (["bench.c", "options.c", *SDK_SOURCES], COMMAND_FLAGS),
    "chat": (["chat.c", "options.c", *SDK_SOURCES], COMMAND_FLAGS),
    "classify": (["classify.c", "classify_options.c", "options.c", *SDK_SOURCES], COMMAND_FLAGS),
    "embed": (["embed.c", "options.c", *SDK_SOURCES], COMMAND_FLAGS),
    "identity": (["identity.c"], COMMAND_FLAGS),
    "infer": (["infer.c", "options.c", *SDK_SOURCES], COMMAND_FLAGS),
    "limits": (["limits.c"], COMMAND_FLAGS),
    "request": (["request.c"], BARE_FLAGS),
    "segment": (["segment.c", "options.c", *SDK_SOURCES], COMMAND_FLAGS),
    "serve": (["serve.c", *SERVED_SOURCES], SERVED_FLAGS),
    "serve_graph": (["serve_graph.c", *SERVED_SOURCES], SERVED_FLAGS),
    "serve_tiny": (["serve_tiny.c"], BARE_FLAGS),
}


# The same commands as components: their calls of WASI-NN and of WASI go through these.
AS_COMPONENT = ["component/abi.c", "component/nn.c", "component/preview1.c"]
COMPONENT_FLAGS = [*COMMAND_FLAGS, "-DNN_COMPONENT"]

TENSOR_TYPE = type_identifier("wasi:nn/tensor", "tensor-type")
TYPED_EXPORTS = {
    "infer": f'(param "graph" string) (param "dims" (list u32)) (param "ty" {TENSOR_TYPE}) '
    '(param "data" (list u8)) (result (result (list u8) (error string)))',
    "classify": '(param "graph" string) (param "dims" (list u32)) (param "values" (list f32)) '
    '(param "count" u32) (result (result (list (tuple u32 f32)) (error string)))',
    "describe": '(param "graph" string) (result (result string (error string)))',
}

#: Sources, flags, and what the component exports.
COMPONENTS: dict[str, tuple[list[str], list[str], dict[str, str]]] = {
    "typed": (
        ["component/typed.c", "component/abi.c", "component/no_wasi.c"],
        REACTOR_FLAGS,
        TYPED_EXPORTS,
    ),
    **{
        f"{name}_component": ([*RECIPES[name][0], *AS_COMPONENT], COMPONENT_FLAGS, COMMAND)
        for name in ("bench", "classify", "infer")
    },
}
NAMES = [*RECIPES, *COMPONENTS]


def unavailable() -> str | None:
    """Why the C guests cannot be built here, or None."""
    if importlib.util.find_spec("ziglang") is None:
        return "the C compiler is missing: pip install ziglang"
    return None


def compile_core(sources: Sequence[str | Path], flags: Sequence[str], target: Path) -> None:
    """Compile C files, named from `guests/c`, into a core module. Raises RuntimeError."""
    # Relative sources and no debug information: no path of this machine gets into the module.
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-std=c11"]
    # C11 alone does not declare clocks and sleeping.
    command += ["-D_POSIX_C_SOURCE=200809L"]
    command += ["-Wall", "-Wextra", "-Werror", "-s", "-flto", "-I", "../../sdk/c", *flags]
    command += [*map(str, sources), "-o", str(target)]
    done = subprocess.run(command, cwd=SOURCES, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{target.stem} does not compile:\n{done.stderr.strip()}")


def build_component(
    sources: Sequence[str | Path], flags: Sequence[str], exports: Mapping[str, str], target: Path
) -> None:
    """Compile C files into a component. Raises RuntimeError."""
    with tempfile.TemporaryDirectory() as directory:
        core = Path(directory) / target.name
        compile_core(sources, flags, core)
        try:
            target.write_bytes(componentize(core.read_bytes(), exports))
        except ComponentError as error:
            raise RuntimeError(f"{target.stem} cannot be a component: {error}") from error


def build(name: str, out: Path) -> Path:
    """Compile the guest `name` into `out`/`name`.wasm and return that path."""
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{name}.wasm"
    if name in COMPONENTS:
        build_component(*COMPONENTS[name], target)
    else:
        compile_core(*RECIPES[name], target)
    target.chmod(0o644)
    return target


def build_file(source: Path, out: Path, flags: Sequence[str] = COMMAND_FLAGS) -> Path:
    """Compile a C file of anywhere, with the SDK, into `out`/`source.stem`.wasm and return that path."""
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{source.stem}.wasm"
    compile_core([source.resolve(), *SERVED_SOURCES], flags, target)
    return target


def build_all(names: list[str], out: Path) -> list[Path]:
    """Compile several guests, two at a time."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(lambda name: build(name, out), names))


def check(names: list[str]) -> list[str]:
    """Return the names whose shipped file is missing or is not what the sources give."""
    with tempfile.TemporaryDirectory() as directory:
        built = build_all(names, Path(directory))
        return [path.stem for path in built if not same(path, SHIPPED / path.name)]


def same(built: Path, shipped: Path) -> bool:
    """Whether the shipped file exists with the bytes of the built one."""
    return shipped.is_file() and built.read_bytes() == shipped.read_bytes()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 0, or 1 where something differs or does not compile."""
    parser = argparse.ArgumentParser(description="Build the C guests.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--out", type=Path, default=SHIPPED, help="default: src/wasinn/shipped/guests")
    parser.add_argument("--check", action="store_true", help="compare with the shipped files")
    options = parser.parse_args(arguments)
    names: list[str] = options.names or NAMES
    for name in names:
        if name not in NAMES:
            parser.error(f"there is no guest {name!r}: there are {', '.join(NAMES)}")
    try:
        if options.check:
            differ = check(names)
            for name in differ:
                print(f"{name}.wasm is not what guests/build.py gives", file=sys.stderr)
            return 1 if differ else 0
        for path in build_all(names, options.out):
            print(f"{path.stat().st_size:8} {path}")
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
