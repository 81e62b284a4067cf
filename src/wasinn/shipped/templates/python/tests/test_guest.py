"""The built guest, run as a user would, with wasinn's own model of digits."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wasinn", "run", "--graph", "default=onnx:@digits"]
    command += ["--dir", f"{ROOT}::/p", str(ROOT / "@NAME@.wasm"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_seven_is_seen() -> None:
    done = run("/p/seven.pgm")
    assert done.returncode == 0, done.stderr
    label, score = done.stdout.splitlines()[0].split("\t")
    assert label == "7"
    assert float(score.rstrip("%")) > 90


def test_a_file_that_is_not_there_is_named() -> None:
    done = run("/p/nobody.png")
    assert (done.returncode, done.stdout) == (1, "")
    assert "/p/nobody.png: No such file" in done.stderr
