# SPDX-License-Identifier: Apache-2.0
"""What the documents show works, and what they point to is there."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from wasinn.contracts.parse import parse_contract

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_readme_program_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    programs = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (program,) = (each for each in programs if each.startswith("import wasinn\n"))
    monkeypatch.chdir(ROOT)
    exec(compile(program, "README.md", "exec"), {})
    first, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("0 /p/seven.png\t1\t7\t")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} points to {target}"


def test_the_contracts_in_the_documents_are_right() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "contracts.md").read_text(), re.DOTALL)
    assert len(blocks) >= 6
    for block in blocks:
        text = re.sub(r'^labels( *)= "[^"]*"', r'labels\1= ["a"]', block, flags=re.MULTILINE)
        parse_contract(tomllib.loads(text), ROOT, "docs/contracts.md", text)


def test_the_demo_gets_every_digit_right() -> None:
    # A process of its own: TensorFlow's threads are fixed by the first graph that a process loads.
    command = [sys.executable, str(ROOT / "examples" / "demo.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^(\d+) of \1 answers are right", done.stdout, re.MULTILINE)


COMMANDS = (
    "run",
    "serve",
    "new",
    "check",
    "infer",
    "inspect",
    "compare",
    "diagnose",
    "tensor",
    "show",
    "backends",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_documented_options_are_the_commands(command: str) -> None:
    text = subprocess.run(
        [sys.executable, "-m", "wasinn", command, "--help"], capture_output=True, text=True, check=True
    ).stdout
    # The first words of a line: what an epilog's examples mention is further in.
    offered = set(re.findall(r"^  (?:-\w(?: \w+)?, )?(--[a-z][a-z-]+[a-z0-9])", text, re.MULTILINE)) - {
        "--help"
    }
    page = (ROOT / "docs" / "cli.md").read_text()
    (section,) = re.findall(rf"^## wasinn {command}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    # A command of a few options has them in its text.
    cells = "".join(re.findall(r"^\| ([^|]*) \|", section, re.MULTILINE)) or section
    assert set(re.findall(r"`(--[a-z][a-z-]+[a-z0-9])", cells)) == offered
