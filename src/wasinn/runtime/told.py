# SPDX-License-Identifier: Apache-2.0
"""What every instance tells of its run, whatever it is an instance of."""

from __future__ import annotations

from wasinn.handles import Stats
from wasinn.runtime.limits import RunControl
from wasinn.runtime.outcome import GuestExit, GuestTrap
from wasinn.runtime.wasi import Wasi


class Told:
    """For instances, which have a `control` and a `Wasi`."""

    control: RunControl
    _wasi: Wasi

    @property
    def stats(self) -> Stats:
        """What this instance has asked of the host so far."""
        raise NotImplementedError

    @property
    def stdout(self) -> bytes:
        return self._wasi.stdout.data if self._wasi.stdout is not None else b""

    @property
    def stderr(self) -> bytes:
        return self._wasi.stderr.data if self._wasi.stderr is not None else b""

    @property
    def limit(self) -> str | None:
        """The limit that has ended it, if one has. A guest may have come to its end all the same: a compute
        that was ended is an errno, which it may pass on."""
        return self.control.limit

    def _left_by(self, ended: BaseException) -> None:
        """Gives what the guest leaves to the exception that ended its start, where that is a guest's end."""
        if isinstance(ended, GuestTrap | GuestExit):
            ended.stdout, ended.stderr, ended.stats = self.stdout, self.stderr, self.stats
