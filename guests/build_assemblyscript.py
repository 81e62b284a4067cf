# SPDX-License-Identifier: Apache-2.0
"""Build the guests in AssemblyScript.

    python guests/build_assemblyscript.py [NAME...] [--out DIR]

The compiler is the one that the SDK's package-lock.json pins; npm puts it into build/ the first time.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from building import command_line

ROOT = Path(__file__).resolve().parents[1]
SDK = ROOT / "sdk" / "assemblyscript"
SOURCES = ROOT / "guests" / "assemblyscript"
TOOLS = ROOT / "build" / "assemblyscript"
NAMES = ["batch", "classify", "segment", "serve"]
#: Those that the server calls: their start is `_initialize`.
REACTORS = ["serve"]
#: `asconfig.json` of the SDK, on the command line.
FLAGS = ["-O3", "--use", "abort=wasinnAbort"]
PORTABLE = ["--use", "NN_PORTABLE=1"]
#: Seconds for npm, which may have to try again, and for a compilation.
_INSTALL_LIMIT, _COMPILE_LIMIT = 300, 300


def unavailable() -> str | None:
    """Why guests cannot be built here; None where they can."""
    if shutil.which("node") is None:
        return "there is no node, which the AssemblyScript compiler runs in"
    if _is_installed():
        return None
    if shutil.which("npm") is None:
        return "there is no npm, which the AssemblyScript compiler comes by"
    try:
        _install()
    except RuntimeError as error:
        return str(error)
    return None


def build(name: str, out: Path) -> Path:
    """Compile the guest `name` into `out`/`name`.wasm and return that path. Raises RuntimeError."""
    return build_file(SOURCES / f"{name}.ts", out, reactor=name in REACTORS)


def build_file(source: Path, out: Path, portable: bool = False, reactor: bool = False) -> Path:
    """Compile a program that uses the SDK into `out`/NAME.wasm; `portable`: without what only wasinn has;
    `reactor`: one that is called by its exports. Raises RuntimeError."""
    _install()
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{source.stem}.wasm"
    command = ["node", "node_modules/assemblyscript/bin/asc.js", str(source.resolve()), "-o", str(target)]
    command += ["--exportStart", "_initialize" if reactor else "_start"]
    command += [*FLAGS, *(PORTABLE if portable else [])]
    try:
        done = subprocess.run(
            command, cwd=TOOLS, capture_output=True, text=True, check=False, timeout=_COMPILE_LIMIT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"{source.stem} cannot be compiled: {error}") from error
    if done.returncode != 0 or not target.is_file():
        raise RuntimeError(f"{source.stem} does not compile:\n{(done.stderr or done.stdout).strip()}")
    return target


def _pinned() -> str:
    """What is to be installed, as a word to compare."""
    return hashlib.sha256((SDK / "package-lock.json").read_bytes()).hexdigest()


def _is_installed() -> bool:
    mark = TOOLS / "installed"
    return mark.is_file() and mark.read_text(encoding="utf-8") == _pinned()


def _install() -> None:
    """Bring the pinned compiler into build/, and the SDK beside it as the package `wasinn`. Several processes
    may call this at once. Raises RuntimeError."""
    if _is_installed():
        return
    TOOLS.mkdir(parents=True, exist_ok=True)
    with (TOOLS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_installed():
            return
        (TOOLS / "installed").unlink(missing_ok=True)
        for file in ("package.json", "package-lock.json"):
            shutil.copyfile(SDK / file, TOOLS / file)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            done = subprocess.run(
                command, cwd=TOOLS, capture_output=True, text=True, check=False, timeout=_INSTALL_LIMIT
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RuntimeError(f"npm cannot install the AssemblyScript compiler: {error}") from error
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines()
            reason = "; ".join(line for line in lines if "npm error" in line) or "; ".join(lines[-3:])
            raise RuntimeError(f"npm cannot install the AssemblyScript compiler: {reason[:400]}")
        link = TOOLS / "node_modules" / "wasinn"
        link.unlink(missing_ok=True)
        link.symlink_to(SDK, target_is_directory=True)
        with tempfile.NamedTemporaryFile("w", dir=TOOLS, delete=False, encoding="utf-8") as mark:
            mark.write(_pinned())
        Path(mark.name).replace(TOOLS / "installed")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 0, or 1 where something cannot be built."""
    return command_line("AssemblyScript", NAMES, build, unavailable, arguments)


if __name__ == "__main__":
    sys.exit(main())
