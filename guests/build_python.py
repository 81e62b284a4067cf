# SPDX-License-Identifier: Apache-2.0
"""Build the guests in Python into components.

    python guests/build_python.py [--out DIR]

Needs `componentize-py` in the Python that runs this: pip install "wasinn[guests]". A component has the whole
of CPython in it, 18 MB, so none is shipped.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

GUESTS = Path(__file__).resolve().parent
WIT = GUESTS.parent / "src" / "wasinn" / "shipped" / "wit"
#: The shipped interfaces that the guest's world imports, each after what it depends on.
INTERFACES = {"classify": ["wasi-nn-2024-10-28.wit", "wasinn-nn.wit"]}
_SCRIPT = "import sys, componentize_py; sys.exit(componentize_py.script())"


def is_available() -> bool:
    """Whether this Python can build guests."""
    return importlib.util.find_spec("componentize_py") is not None


def build(name: str, out: Path) -> Path:
    """Build the guest in `guests/python/NAME` into `out`/`NAME`.wasm. Raises RuntimeError."""
    folder = GUESTS / "python" / name
    out.mkdir(parents=True, exist_ok=True)
    target = out.resolve() / f"{name}.wasm"
    command = [sys.executable, "-c", _SCRIPT, "--quiet"]
    interfaces = [*(WIT / file for file in INTERFACES[name]), folder / "wit" / "wasi-cli.wit"]
    for path in [*interfaces, folder / "wit" / f"{name}.wit"]:
        command += ["--wit-path", str(path)]
    command += ["--world", f"wasinn-guests:{name}/{name}"]
    # No Python path but the guest's own: otherwise what is installed here would be looked at too.
    command += ["componentize", "app", "--python-path", str(folder), "--output", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not target.is_file():
        raise RuntimeError(f"{name} cannot be built:\n{(done.stderr or done.stdout).strip()}")
    return target


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 0, or 1 where something cannot be built."""
    parser = argparse.ArgumentParser(description="Build the guests in Python.")
    parser.add_argument("--out", type=Path, default=Path("."), help="default: the current directory")
    options = parser.parse_args(arguments)
    if not is_available():
        print('componentize-py is missing: pip install "wasinn[guests]"', file=sys.stderr)
        return 1
    try:
        for name in INTERFACES:
            path = build(name, options.out)
            print(f"{path.stat().st_size:8} {path}")
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
