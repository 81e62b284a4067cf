# SPDX-License-Identifier: Apache-2.0
"""The text that a language model writes, from the bytes of its tokens.

A token is bytes: a character may be split over several, and so may a stop sequence. What might still
become one is held back, so that every piece is valid UTF-8, no part of a stop sequence is ever shown,
and the pieces make up the same text however the bytes are split.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class Text:
    """Bytes in, text out, up to the first of the `stops` (none of them empty).

    Bytes that are no UTF-8 become U+FFFD as soon as they are known to be none, as Python decodes them.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = tuple(stops)
        self._longest = max((len(stop) for stop in stops), default=0)
        self._held = ""
        self._pieces: list[str] = []
        #: Whether a stop sequence has come; nothing is added after it.
        self.stopped = False

    @property
    def text(self) -> str:
        """All pieces so far."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def add(self, data: bytes) -> str:
        """The piece that `data` completes; may be empty."""
        return self._take(self._decoder.decode(data))

    def finish(self) -> str:
        """What was held back, at the end of the sequence: an unfinished character is U+FFFD."""
        piece = self._take(self._decoder.decode(b"", True))
        if not self.stopped:
            self._pieces.append(self._held)
            piece += self._held
        self._held = ""
        return piece

    def _take(self, added: str) -> str:
        if self.stopped:
            return ""
        if not self._stops:
            piece = added
        else:
            self._held += added
            at = self._first_stop(len(self._held) - len(added))
            if at is not None:
                self.stopped = True
                piece, self._held = self._held[:at], ""
            else:
                keep = self._may_become_a_stop()
                shown = len(self._held) - keep
                piece, self._held = self._held[:shown], self._held[shown:]
        if piece:
            self._pieces.append(piece)
        return piece

    def _first_stop(self, known: int) -> int | None:
        """Where the stop sequence begins that is complete first (of those, the longest); none ends in
        the first `known` characters held."""
        best: tuple[int, int] | None = None
        for stop in self._stops:
            at = self._held.find(stop, max(0, known - len(stop) + 1))
            if at >= 0 and (best is None or (at + len(stop), at) < best):
                best = (at + len(stop), at)
        return None if best is None else best[1]

    def _may_become_a_stop(self) -> int:
        """The length of the longest end of what is held that a stop sequence begins with."""
        for length in range(min(self._longest - 1, len(self._held)), 0, -1):
            end = self._held[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0
