# SPDX-License-Identifier: Apache-2.0
"""What `wasinn serve` says when it is ready, and what it warns of."""

from __future__ import annotations

import json
import math
import shlex
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from wasinn.oip.messages import DATATYPES
from wasinn.serve.plan import Plan
from wasinn.serve.sockets import address_of, is_loopback, reachable

#: The most elements of the tensors of an example.
_MOST_ELEMENTS = 64


def banner(
    plan: Plan, http: socket.socket | None, grpc: socket.socket | None, body: str | None = None
) -> str:
    """What is served, where, and a command to try. `body`: an example for the first model."""
    settings = plan.settings
    scheme = "https" if settings.tls_cert is not None else "http"
    where = []
    if http is not None:
        where.append(f"{scheme}://{address_of(http)}")
    if grpc is not None:
        where.append(f"grpc{scheme[4:]}://{address_of(grpc)}")
    count = settings.processes
    lines = [f"serving on {' and '.join(where)} ({count} {'process' if count == 1 else 'processes'})"]
    graphs = list(plan.graphs) if settings.models is None else settings.models
    for name in graphs:
        lines.append(f"  {name}: graph {plan.graphs[name]}")
    for name, guest in settings.guests.items():
        lines.append(f"  {name}: guest {guest.file}")
    if http is not None:
        base = f"{scheme}://{reachable(http)}"
        options = "-k " if settings.tls_cert is not None else ""
        if settings.tokens:
            options += '-H "Authorization: Bearer $TOKEN" '
        first = next(iter((*graphs, *settings.guests)))
        url = f"{base}/v2/models/{quote(first)}"
        if body is not None:
            options += f"-H 'Content-Type: application/json' -d {shlex.quote(body)} "
            url += "/infer"
        lines.append(f"try: curl {options}{shlex.quote(url)}")
        if settings.console:
            lines.append(f"     or open {base}/ in a browser")
    return "\n".join(lines)


def example(metadata: Mapping[str, Any]) -> str | None:
    """A small request for a model, of zeros or a prompt, as JSON; None where it would fill the screen or say
    nothing."""
    inputs: list[dict[str, Any]] = []
    for each in metadata.get("inputs", ()):
        if each.get("optional"):
            continue
        if each["name"] == "prompt" and each["datatype"] == "BYTES" and list(each["shape"]) == [1]:
            inputs.append({"name": "prompt", "datatype": "BYTES", "shape": [1], "data": ["Once upon a time"]})
            continue
        shape = [1 if size < 0 else size for size in each["shape"]]
        count = math.prod(shape)
        if each["datatype"] == "BYTES" or DATATYPES.get(each["datatype"]) is None or count > _MOST_ELEMENTS:
            return None
        zero = False if each["datatype"] == "BOOL" else 0
        inputs.append(
            {**{key: each[key] for key in ("name", "datatype")}, "shape": shape, "data": [zero] * count}
        )
    return json.dumps({"inputs": inputs}, separators=(",", ":")) if inputs else None


def warnings(plan: Plan, *bound: socket.socket | None) -> list[str]:
    """What an operator should know of who can reach the server."""
    settings = plan.settings
    open_to_others = any(each is not None and not is_loopback(each) for each in bound)
    found = []
    if open_to_others and not settings.tokens:
        found.append(
            "anyone who can reach this machine can call the server"
            + (", and load and unload its models" if settings.repository else "")
            + ": set tokens (--tokens-file), or keep it behind a proxy that checks callers"
        )
    if open_to_others and settings.tls_cert is None:
        found.append(
            ("tokens and " if settings.tokens else "")
            + "requests go over the network unencrypted: set tls_cert and tls_key, or keep it behind a proxy"
        )
    return found
