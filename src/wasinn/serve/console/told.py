# SPDX-License-Identifier: Apache-2.0
"""What the page tells of each model: its state, what it takes and gives, and how it can be tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wasinn.graphs.loader import LoadedGraph
from wasinn.serve.console.asking import is_language_model
from wasinn.serve.console.words import input_words, output_words, tensor_words
from wasinn.serve.frontend import Frontend
from wasinn.serve.models import ServedModel


class Told:
    """What is told of a loaded model is made once: it can be thousands of labels."""

    def __init__(self, frontend: Frontend) -> None:
        self._frontend = frontend
        self._made: dict[str, tuple[ServedModel, dict[str, Any]]] = {}

    def models(self) -> list[dict[str, Any]]:
        """Every model of the server: `name`, `kind`, `state`, `reason`, and what `_told` has where it is
        loaded."""
        result = []
        for entry in self._frontend.repository.entries.values():
            told: dict[str, Any] = {
                "name": entry.name,
                "kind": entry.kind,
                "state": entry.state,
                "reason": entry.reason,
                "deadline": entry.deadline,
            }
            if entry.model is not None:
                told |= self._of(entry.name, entry.model)
            result.append(told)
        return result

    def _of(self, name: str, model: ServedModel) -> dict[str, Any]:
        made = self._made.get(name)
        if made is None or made[0] is not model:
            loaded: LoadedGraph | None = getattr(model, "loaded", None)
            made = self._made[name] = (model, _told(model.metadata(), model.kind, loaded))
        return made[1]


def _told(metadata: Mapping[str, Any], kind: str, loaded: LoadedGraph | None) -> dict[str, Any]:
    contract = metadata.get("contract") or {}
    inputs, pictures = _ports(metadata, "inputs", contract), False
    for each in inputs:
        pictures = pictures or each["picture"]
    if kind == "guest":
        forms = ["file", "tensors"]
        takes_files = [each for each in inputs if each["datatype"] in ("BYTES", "UINT8")]
        if inputs and not takes_files:
            forms = ["tensors"]
    elif loaded is not None and is_language_model(loaded):
        forms = ["prompt"]
    else:
        forms = ["picture", "tensors"] if pictures else ["tensors"]
    result: dict[str, Any] = {
        "platform": metadata.get("platform"),
        "inputs": inputs,
        "outputs": _ports(metadata, "outputs", contract),
        "forms": forms,
        "contract": bool(contract),
    }
    for key in ("description", "guest"):
        if metadata.get(key):
            result[key] = metadata[key]
    if loaded is not None:
        result["isolated"] = loaded.isolated
    return result


def _ports(metadata: Mapping[str, Any], side: str, contract: Mapping[str, Any]) -> list[dict[str, Any]]:
    said = {each["index"]: each for each in contract.get(side) or ()}
    words = input_words if side == "inputs" else output_words
    result = []
    for index, port in enumerate(metadata.get(side) or ()):
        entry = said.get(index, {})
        result.append(
            {
                "name": port["name"],
                "called": entry.get("name"),
                "datatype": port.get("datatype"),
                "shape": port.get("shape"),
                "is": tensor_words(port),
                "optional": bool(port.get("optional")),
                "picture": "image" in entry,
                "means": entry.get("kind"),
                "words": words(entry) if entry else [],
            }
        )
    return result
