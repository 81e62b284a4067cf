# SPDX-License-Identifier: Apache-2.0
"""Writes the JSON schema of contracts: `src/wasinn/shipped/schemas/contract.schema.json`."""

from __future__ import annotations

import json
from pathlib import Path

from wasinn.contracts.schema import contract_schema

TARGET = Path(__file__).parents[1] / "src" / "wasinn" / "shipped" / "schemas" / "contract.schema.json"


def content() -> str:
    """What the file holds."""
    return json.dumps(contract_schema(), indent=2) + "\n"


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(content(), encoding="utf-8")
