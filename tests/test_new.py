# SPDX-License-Identifier: Apache-2.0
"""`wasinn new`: from an empty folder to a guest that runs, in each language that has an SDK."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sdk.languages import LANGUAGES, Language
from wasinn import shipped
from wasinn.cli.main import main
from wasinn.cli.new import LANGUAGES as KNOWN
from wasinn.cli.new import make, next_steps
from wasinn.errors import ConfigError

#: What each template's commands call, beside the compiler.
TOOLS = {"c": "make", "rust": "cargo", "assemblyscript": "npm"}

EACH = pytest.mark.parametrize("language", sorted(KNOWN))


def test_every_sdk_has_a_template() -> None:
    names = {language.name for language in LANGUAGES}
    assert names == set(KNOWN)
    assert names == {path.name for path in shipped.TEMPLATES.iterdir() if path.is_dir()}


# -- the folder ------------------------------------------------------------------------------------------


@EACH
def test_the_folder_has_the_template_under_its_name_and_the_sdk(
    language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "street-signs", "--lang", language]) == 0
    folder = tmp_path / "street-signs"
    said = capsys.readouterr().out
    assert f"made street-signs, a guest in {KNOWN[language]}" in said
    steps = next_steps(folder)
    assert any("wasinn run" in line for line in steps), steps
    assert all(line in said for line in steps)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        assert "@NAME@" not in path.name
        assert b"@NAME@" not in path.read_bytes(), path
        assert os.access(path, os.W_OK)
        left = {"node_modules", "target", "__pycache__", "build"} & set(path.relative_to(folder).parts[:-1])
        assert not left, path
    assert (folder / "sdk").is_dir()
    assert not (folder / "sdk" / "tests").exists()


@EACH
def test_what_is_there_is_left_alone(
    language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    Path("mine/note.txt").write_text("x")
    Path("file").write_text("x")
    for name in ("mine", "file"):
        assert main(["new", name, "--lang", language]) == 2
        assert "nothing was changed" in capsys.readouterr().err
    assert [path.name for path in Path("mine").iterdir()] == ["note.txt"]
    Path("empty").mkdir()
    assert main(["new", "empty", "--lang", language]) == 0


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "-x", "Upper", "1st", "a b", "a--b", "a-", "ümlaut", "a/", "x" * 61, "a\nb", "@NAME@"],
)
def test_a_name_that_is_none_is_refused_with_what_is_allowed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "a/":  # a folder's name may end so: a shell completes it
        make(Path(name), "c")
        return
    with pytest.raises(ConfigError, match="made of small letters and digits"):
        make(Path(name), "c")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["sdk", "wasinn", "fn", "class", "build"])
def test_a_name_that_means_something_else_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="means something to a compiler"):
        make(tmp_path / name, "c")


def test_the_folder_around_it_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no folder"):
        make(tmp_path / "no-such" / "guest", "c")
    make(tmp_path / "guest", "c")
    assert (tmp_path / "guest" / "README.md").is_file()


def test_a_folder_that_cannot_be_made_is_an_error_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "guest")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert main(["new", str(tmp_path / "guest"), "--lang", "c"]) == 2
    assert "Permission denied" in capsys.readouterr().err


def test_an_unknown_language_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["new", "guest", "--lang", "cobol"])
    assert "assemblyscript" in capsys.readouterr().err


# -- the guest -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES, ids=str)
def test_what_the_readme_says_builds_tests_and_runs_it(language: Language, tmp_path: Path) -> None:
    language.require()
    tool = TOOLS.get(language.name)
    if tool is not None and shutil.which(tool) is None:
        reason = f"there is no {tool}, which the template calls"
        if os.environ.get("WASINN_REQUIRE_GUESTS"):
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path / "my-digits"
    make(folder, language.name)
    here = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}"}
    said = ""
    for step in next_steps(folder):
        if "pip install" in step:
            continue  # the tests' own Python has it
        line = step.replace("PICTURES", str(shipped.ROOT / "pictures"))
        done = subprocess.run(
            ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        if line.startswith("wasinn run"):
            said += done.stdout
    assert "7" in said
