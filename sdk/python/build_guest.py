# SPDX-License-Identifier: Apache-2.0
"""Build a guest in Python into a component.

    python build_guest.py APP.py [--out FILE.wasm] [--world PACKAGE:NAME/WORLD] [--wit FILE]...

Needs componentize-py in the Python that runs this: pip install componentize-py. APP.py must not be called
`wit_world`, nor as the world is.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SDK = Path(__file__).resolve().parent
#: Each after what it depends on.
WIT = ("wasi-nn-2024-10-28.wit", "wasinn-nn.wit", "wasi-cli.wit", "wasinn-guest.wit")
COMMAND = "wasinn:guest/command"
PORTABLE = "wasinn:guest/portable"
#: As COMMAND, with the text of language models piece by piece.
LANGUAGE_MODEL = "wasinn:guest/language-model"
_SCRIPT = "import sys, componentize_py; sys.exit(componentize_py.script())"


def unavailable() -> str | None:
    """Why this Python cannot build guests; None where it can."""
    if importlib.util.find_spec("componentize_py") is None:
        return "componentize-py is not installed: pip install componentize-py"
    return None


def build(app: Path, out: Path, world: str = COMMAND, wit: Sequence[Path] = ()) -> Path:
    """Build the module `app` and what lies beside it into the component `out`, for a world of the SDK's or of
    `wit`. Raises RuntimeError."""
    reason = unavailable()
    if reason is not None:
        raise RuntimeError(reason)
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", _SCRIPT, "--quiet"]
    for path in [*(SDK / "wit" / name for name in WIT), *wit]:
        command += ["--wit-path", str(path)]
    command += ["--world", world, "componentize", app.stem, "--output", str(out)]
    # No other paths: otherwise what is installed here would be looked at too.
    for folder in (app.resolve().parent, SDK):
        command += ["--python-path", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not out.is_file():
        raise RuntimeError(f"{app} cannot be built:\n{(done.stderr or done.stdout).strip()}")
    return out


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 0, or 1 where the guest cannot be built."""
    parser = argparse.ArgumentParser(description="Build a guest in Python into a component.")
    parser.add_argument("app", type=Path, help="the module with the class `Run`")
    parser.add_argument("--out", type=Path, help="default: beside APP.py, with the suffix .wasm")
    parser.add_argument("--world", default=COMMAND, help=f"default: {COMMAND}; for other hosts {PORTABLE}")
    parser.add_argument(
        "--wit", type=Path, action="append", default=[], help="a WIT file of yours; again for more"
    )
    options = parser.parse_args(arguments)
    try:
        out = build(options.app, options.out or options.app.with_suffix(".wasm"), options.world, options.wit)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{out.stat().st_size:10,} bytes  {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
