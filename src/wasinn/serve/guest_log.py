# SPDX-License-Identifier: Apache-2.0
"""What guests that are served write on stderr, for the server's log: so much of it as a log can bear."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger("wasinn.guest")

#: Lines a second and guest, and how many at once.
_RATE, _BURST = 10.0, 50.0
_LONGEST = 500


class GuestLog:
    """The lines of one guest. More than the rate are counted, and the count is told later."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._left = _BURST
        self._at = time.monotonic()
        self._dropped = 0

    def write(self, stderr: bytes) -> None:
        """Logs what a request's guest wrote on stderr."""
        if not stderr:
            return
        now = time.monotonic()
        self._left = min(_BURST, self._left + (now - self._at) * _RATE)
        self._at = now
        lines = [line for line in stderr.split(b"\n") if line.strip()]
        for number, line in enumerate(lines):
            if self._left < 1:
                self._dropped += len(lines) - number
                return
            self._left -= 1
            if self._dropped:
                logger.warning(
                    "%s: %d lines were left out: it writes more than %d a second",
                    self._name,
                    self._dropped,
                    int(_RATE),
                )
                self._dropped = 0
            logger.info("%s: %s", self._name, clean(line))


def clean(line: bytes) -> str:
    """A line of a guest's as text that can do no harm in a log or an answer: no control characters."""
    text = line[: 4 * _LONGEST].decode(errors="replace").strip()
    text = "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."


def last_line(stderr: bytes) -> str:
    """The last line that is not empty; "" where there is none."""
    for line in reversed(stderr[-65536:].split(b"\n")):
        if line.strip():
            return clean(line)
    return ""
