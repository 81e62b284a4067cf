# SPDX-License-Identifier: Apache-2.0
"""Build the guests in Python into components.

    python guests/build_python.py [NAME...] [--out DIR]

Needs `componentize-py` in the Python that runs this: pip install "wasinn[guests]". A component has the whole
of CPython in it, 18 MB, so none is shipped.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from building import command_line

GUESTS = Path(__file__).resolve().parent
SDK = GUESTS.parent / "sdk" / "python"
sys.path.insert(0, str(SDK))

import build_guest  # noqa: E402

NAMES = ("classify", "segment", "batch", "chat", "embed", "serve")
#: Guests that export or import more than a command, with their worlds.
WORLDS = {
    "classify": "wasinn-guests:classify/classify",
    "chat": build_guest.LANGUAGE_MODEL,
    "embed": build_guest.LANGUAGE_MODEL,
}


def unavailable() -> str | None:
    """Why this Python cannot build guests; None where it can."""
    reason = build_guest.unavailable()
    return None if reason is None else 'componentize-py is not installed: pip install "wasinn[guests]"'


def build(name: str, out: Path) -> Path:
    """Build the guest in `guests/python/NAME` into `out`/`NAME`.wasm. Raises RuntimeError."""
    folder = GUESTS / "python" / name
    wit = sorted((folder / "wit").glob("*.wit"))
    world = WORLDS.get(name, build_guest.COMMAND)
    return build_guest.build(folder / "app.py", out / f"{name}.wasm", world, wit)


def build_file(source: Path, out: Path) -> Path:
    """Build a command that is one module, or a folder with an `app.py`, into `out`. Raises RuntimeError."""
    app = source / "app.py" if source.is_dir() else source
    return build_guest.build(app, out / f"{source.stem}.wasm")


def build_together(sources: Mapping[str, Path], out: Path) -> Path:
    """Build several commands into the one component `out`, whose first argument is the name of one.

    A component takes half a minute to build and to compile, mostly for CPython, which this has once. Its
    world is that of the first guest that has one of its own; with `classify` it exports what that does.
    Raises RuntimeError.
    """
    wit = sorted((GUESTS / "python" / "classify" / "wit").glob("*.wit"))
    with tempfile.TemporaryDirectory() as folder:
        for name, source in sources.items():
            shutil.copy(source / "app.py" if source.is_dir() else source, Path(folder, f"guest_{name}.py"))
        lines = [
            "from componentize_py_types import Err",
            "from wasinn_guest import bindings",
            *(f"import guest_{name}" for name in sources),
            "class Run:",
            "    def run(self):",
            "        words = list(bindings.environment.get_arguments())",
            "        guest = globals()['guest_' + words[1]]",
            "        bindings.environment.get_arguments = lambda: [words[0], *words[2:]]",
            "        guest.Run().run()",
        ]
        if "classify" in sources:
            lines.append("WitWorld = guest_classify.WitWorld")
        app = Path(folder, "app.py")
        app.write_text("\n".join(lines) + "\n")
        world = next((WORLDS[name] for name in sources if name in WORLDS), build_guest.COMMAND)
        return build_guest.build(app, out, world, wit)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 0, or 1 where something cannot be built."""
    return command_line("Python", NAMES, build, unavailable, arguments)


if __name__ == "__main__":
    sys.exit(main())
