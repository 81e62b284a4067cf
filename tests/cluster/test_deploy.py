# SPDX-License-Identifier: Apache-2.0
"""The deployment's files fit the server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import wasinn
from wasinn.cli.main import main
from wasinn.graphs.config import read_config
from wasinn.serve.settings_file import parse_settings

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.mark.parametrize("file", ["kserve.yaml", "Dockerfile"])
def test_its_options_are_those_of_wasinn_serve(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = re.findall(r"(?:args:|CMD \[).*?(?:ports:|\])", (DEPLOY / file).read_text(), re.DOTALL)
    given = set(re.findall(r"--[a-z-]+", command))
    assert {"--config", "--http-port", "--grpc-port"} <= given
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    assert given <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))


def test_its_configuration_is_a_servers() -> None:
    folder = DEPLOY / "digits"
    config = read_config(folder / "wasinn.toml")
    settings = parse_settings(config.serve, config.guests, folder)
    assert (settings.repository, settings.console) == (False, False)
    host = wasinn.Host.from_config(folder / "wasinn.toml")
    assert list(host.registry) == ["digits"]
    assert "\n  name: digits\n" in (DEPLOY / "kserve.yaml").read_text()
