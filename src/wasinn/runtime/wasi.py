# SPDX-License-Identifier: Apache-2.0
"""WASI for guests: wasmtime's own, but for two functions that a host has to answer itself.

`poll_oneoff` is how a guest sleeps, and wasmtime's cannot be interrupted; `proc_exit` loses codes of
126 and more. Both are defined over wasmtime's in the linker. The layouts are those of WASI
preview 1 (`wasi_snapshot_preview1.witx`).
"""

from __future__ import annotations

import ctypes
import errno
import functools
import itertools
import os
import select
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import get_ident
from typing import Any, Literal

import wasmtime
from wasmtime import _ffi as ffi

from wasinn.abi.core import capi
from wasinn.abi.core.memory import GuestMemory
from wasinn.abi.core.state import InstanceState, put_result
from wasinn.abi.core.trampoline import running, trap
from wasinn.errors import ConfigError
from wasinn.runtime import forked
from wasinn.runtime.limits import RunControl

MODULE = "wasi_snapshot_preview1"

Stream = Literal["capture", "inherit", "discard"]


@dataclass(frozen=True)
class Directory:
    """A directory of the host that a guest sees as `guest`. Read-only unless `writable`."""

    host: Path
    guest: str
    writable: bool = False

    @classmethod
    def parse(cls, text: str) -> Directory:
        """`HOST[::GUEST][:rw]`. Raises ConfigError."""
        text, writable = (text[:-3], True) if text.endswith(":rw") else (text, False)
        host, _, guest = text.partition("::")
        if not Path(host).is_dir():
            raise ConfigError(f"there is no directory {host!r}")
        return cls(Path(host), guest or host, writable)


@dataclass(frozen=True)
class World:
    """What a guest sees of the world. `stdin` is bytes, or "inherit" for the process's own."""

    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    directories: Sequence[Directory] = ()
    stdin: bytes | Literal["inherit"] = b""
    stdout: Stream = "capture"
    stderr: Stream = "capture"

    def __post_init__(self) -> None:
        """Raises ConfigError for what is no argument or variable, or what none can hold."""
        if isinstance(self.arguments, str) or not all(isinstance(each, str) for each in self.arguments):
            raise ConfigError(f"args is a list of texts, not {self.arguments!r}")
        if not isinstance(self.environment, Mapping) or not all(
            isinstance(each, str) for pair in self.environment.items() for each in pair
        ):
            raise ConfigError(f"env maps names to texts, and is not {self.environment!r}")
        if not isinstance(self.stdin, bytes | bytearray | memoryview) and self.stdin != "inherit":
            raise ConfigError(f'stdin is bytes or "inherit", not {self.stdin!r}')
        for text in (*self.arguments, *self.environment, *self.environment.values()):
            try:
                text.encode()
            except UnicodeEncodeError:
                raise ConfigError(f"{text!r} is not UTF-8, which WASI wants") from None
        for argument in self.arguments:
            if "\0" in argument:
                raise ConfigError(f"the argument {argument!r} has a zero character, which ends it")
        for name, value in self.environment.items():
            if not name or "=" in name or "\0" in name or "\0" in value:
                raise ConfigError(f"{name!r} = {value!r} cannot be a variable of the environment")

    def may_block(self, imports: frozenset[str]) -> bool:
        """Whether a guest that imports these may read or write what takes any time: a pipe, a slow disk."""
        inherited = isinstance(self.stdin, str) or "inherit" in (self.stdout, self.stderr)
        return inherited or (bool(self.directories) and "path_open" in imports)


class Sink:
    """Where a guest's stdout or stderr goes: into `data`, or on to a file descriptor."""

    def __init__(self, control: RunControl, limit: int | None, descriptor: int | None) -> None:
        self._control = control
        self._left = limit
        self._descriptor = descriptor
        self._data = bytearray()
        self.number = next(_numbers)
        sinks[self.number] = self

    @property
    def data(self) -> bytes:
        return bytes(self._data)

    def write(self, data: bytes) -> int:
        """The number of bytes taken, or a negative errno. Over the limit, the run is ended."""
        if self._left is not None:
            if len(data) > self._left:
                data = data[: self._left]
                self._control.stop("output")
            self._left -= len(data)
        if self._descriptor is None:
            self._data += data
        elif not self._pass_on(data):
            return -errno.EPIPE
        return -errno.EFBIG if self._control.limit == "output" else len(data)

    def _pass_on(self, data: bytes) -> bool:
        assert self._descriptor is not None
        view = memoryview(data)
        while view:
            # A reader that stalls must not hold the guest past its deadline.
            while self._control.limit in (None, "output"):
                if select.select([], [self._descriptor], [], 0.02)[1]:
                    break
            else:
                return False
            try:
                view = view[os.write(self._descriptor, view[:65536]) :]
            except OSError:
                return False
        return True

    def close(self) -> None:
        sinks.pop(self.number, None)


_numbers = itertools.count(1)
sinks: dict[int, Sink] = {}


def _output(number: int, data: int, size: int) -> int:
    try:
        written = bytes(capi.ADDRESS_SPACE[data : data + size]) if size else b""
        return sinks[number].write(written)
    except BaseException:
        return -errno.EIO


_OUTPUT = capi.OUTPUT_CALLBACK(_output)


class Wasi:
    """The WASI side of one instance: configured, given to the store, and closed after it."""

    def __init__(
        self, world: World, control: RunControl, max_output: int | None, imports: frozenset[str]
    ) -> None:
        """`imports`: the names that the guest imports of WASI; what it cannot use is not set up."""
        writes = "fd_write" in imports or "fd_pwrite" in imports
        self.stdout = _sink(world.stdout, control, max_output, 1) if writes else None
        self.stderr = _sink(world.stderr, control, max_output, 2) if writes else None
        self._needed = bool(imports)
        self._pump: _StdinPump | None = None
        self._arguments = world.arguments if "args_get" in imports else ()
        self._environment = world.environment if "environ_get" in imports else {}
        self._directories = world.directories  # one that is not there is an error in any case
        self._stdin = world.stdin if "fd_read" in imports else b""
        self._control = control

    def attach(self, store_context: int) -> None:
        """Gives the configuration to a store. Raises ConfigError for a directory that is not there, and
        GuestError where WASI would hang (`forked`)."""
        if not self._needed:
            return
        if self.stdout or self.stderr or self._directories or self._stdin:
            forked.use(forked.STREAMS)
        if not (self._environment or self._directories or self._stdin):
            # The common case of a request, in which microseconds count.
            plain = capi.wasi_config_new()
            if self._arguments:
                capi.wasi_set_argv(plain, *_argv(tuple(self._arguments)))
            self._give(store_context, plain)
            return
        config = wasmtime.WasiConfig()
        if self._arguments:
            config.argv = list(self._arguments)
        if self._environment:
            config.env = list(self._environment.items())
        for directory in self._directories:
            try:
                config.preopen_dir(str(directory.host), directory.guest, directory.writable)
            except wasmtime.WasmtimeError:
                raise ConfigError(f"there is no directory {str(directory.host)!r}") from None
        if self._stdin == "inherit" and self._control.deadline is None:
            config.inherit_stdin()
        elif self._stdin == "inherit":
            self._pump = _StdinPump()
            config.stdin_file = self._pump.path
            self._pump.start()
        elif self._stdin:
            vector = ffi.bytes_to_capi(bytes(self._stdin))
            ffi.wasi_config_set_stdin_bytes(config.ptr(), vector)
        address = capi.address_of(config)
        config._consume()  # the store owns it from here
        self._give(store_context, address)

    def _give(self, store_context: int, config: int) -> None:
        if self.stdout is not None:
            capi.wasi_set_stdout(config, _OUTPUT, self.stdout.number, None)
        if self.stderr is not None:
            capi.wasi_set_stderr(config, _OUTPUT, self.stderr.number, None)
        capi.raise_error(capi.set_wasi(store_context, config))

    def unblock(self) -> None:
        """Ends a read of stdin that waits. For any thread."""
        if self._pump is not None:
            self._pump.stop()

    def close(self) -> None:
        self.unblock()
        for sink in (self.stdout, self.stderr):
            if sink is not None:
                sink.close()


@functools.lru_cache(64)
def _argv(arguments: tuple[str, ...]) -> tuple[int, Any]:
    """The arguments as the C API takes them: their number, and an array of texts."""
    texts = [argument.encode() for argument in arguments]
    return len(texts), (ctypes.c_char_p * len(texts))(*texts)


def _sink(stream: Stream, control: RunControl, limit: int | None, descriptor: int) -> Sink | None:
    if stream == "discard":
        return None
    return Sink(control, limit, descriptor if stream == "inherit" else None)


class _StdinPump:
    """The process's stdin through a pipe, so that a deadline can end a guest's read of it.

    It reads ahead of the guest, which takes input from whoever reads the same stdin afterwards: so it
    is used only where there is a deadline.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self.path = f"/dev/fd/{self._read}"
        self._stopped = threading.Event()
        self._started = False

    def start(self) -> None:
        """Begins, once wasmtime has opened `path`: the guest's end is then wasmtime's alone."""
        os.close(self._read)
        self._started = True
        threading.Thread(target=self._work, name="wasinn-stdin", daemon=True).start()

    def _work(self) -> None:
        try:
            while not self._stopped.is_set():
                if not select.select([0], [], [], 0.05)[0]:
                    continue
                data = os.read(0, 65536)
                if not data:
                    break
                view = memoryview(data)
                while view and not self._stopped.is_set():
                    if select.select([], [self._write], [], 0.05)[1]:
                        view = view[os.write(self._write, view[:4096]) :]
        except (OSError, ValueError):
            pass  # a closed stdin reads as empty
        finally:
            os.close(self._write)

    def stop(self) -> None:
        self._stopped.set()
        if not self._started:
            self._started = True
            os.close(self._read)
            os.close(self._write)


# -- the two functions --------------------------------------------------------------------------

_PROC_EXIT_ARGUMENT = struct.Struct("<I")
_POLL_ARGUMENTS = struct.Struct("<I12xI12xI12xI")
_SUBSCRIPTION = struct.Struct("<QB7xI4xQQH6x")
_EVENT = struct.Struct("<QHB5xQH6x")
_CLOCK, _FD_READ, _FD_WRITE = 0, 1, 2
_ABSOLUTE = 1
_MAX_SUBSCRIPTIONS = 4096
_EINVAL, _EFAULT = 28, 21
_CLOCKS = {0: time.time_ns, 1: time.monotonic_ns}


def _proc_exit(_env: int, _caller: int, arguments: int, _count: int) -> int:
    try:
        (code,) = _PROC_EXIT_ARGUMENT.unpack_from(capi.ADDRESS_SPACE, arguments)
        running[get_ident()].run.exit_code = code
    except BaseException:
        return trap("wasinn: exit outside of a run")
    return trap("exit")


def _poll_oneoff(_env: int, caller: int, arguments: int, _count: int) -> int:
    try:
        state = running[get_ident()]
        memory = state.guest_memory(caller)
        values = _POLL_ARGUMENTS.unpack_from(capi.ADDRESS_SPACE, arguments)
        put_result(arguments, _poll(memory, state.run, *values))
        if state.run.control.limit is not None:
            return trap("the run was ended")
    except Exception:
        put_result(arguments, _EFAULT)
    except BaseException as error:
        running[get_ident()].escaped = error
        return trap("wasinn: interrupted")
    return 0


class Waiting:
    """A poll_oneoff that has been read: `seconds` until it has something to say."""

    def __init__(self, memory: GuestMemory, subscriptions: int, events: int, count: int, out: int) -> None:
        """Raises WasiNNError for a bad pointer; ValueError for what is no number of subscriptions."""
        if not 0 < count <= _MAX_SUBSCRIPTIONS:
            raise ValueError(count)
        memory.check_u32(out, "the number of events")
        memory.view(events, count * _EVENT.size, "the events")
        wanted = [
            memory.unpack(_SUBSCRIPTION, subscriptions + number * _SUBSCRIPTION.size, "a subscription")
            for number in range(count)
        ]
        self._events, self._out = events, out
        self.seconds = 0.0
        # It waits for the first clock, unless a descriptor is subscribed to: those are always ready.
        self._ready = [(user, 0, tag) for user, tag, *_ in wanted if tag in (_FD_READ, _FD_WRITE)]
        if not self._ready:
            self._ready = self._clocks(wanted)

    def _clocks(self, wanted: list[tuple[Any, ...]]) -> list[tuple[int, int, int]]:
        due = []
        for user, tag, clock, timeout, _precision, flags in wanted:
            if tag != _CLOCK or clock not in _CLOCKS:
                return [(user, _EINVAL, tag)]
            left = timeout - _CLOCKS[clock]() if flags & _ABSOLUTE else timeout
            due.append((max(left, 0), user))
        nanoseconds = min(due)[0]
        self.seconds = min(nanoseconds / 1e9, threading.TIMEOUT_MAX)
        return [(user, 0, _CLOCK) for left, user in due if left <= nanoseconds]

    def tell(self, memory: GuestMemory) -> None:
        """Writes the events, when the time has come."""
        memory.refresh()
        for number, (user, error, tag) in enumerate(self._ready):
            target = memory.view(self._events + number * _EVENT.size, _EVENT.size, "an event")
            _EVENT.pack_into(target, 0, user, error, tag, 1 if tag else 0, 0)
        memory.write_u32(self._out, len(self._ready))


def _poll(memory: GuestMemory, run: Any, subscriptions: int, events: int, count: int, out: int) -> int:
    try:
        waiting = Waiting(memory, subscriptions, events, count, out)
    except ValueError:
        return _EINVAL
    if waiting.seconds:
        run.control.sleep(waiting.seconds)
    waiting.tell(memory)
    return 0


def begin_poll(state: InstanceState, caller: int, arguments: tuple[int, ...]) -> Waiting | int:
    """A fiber's poll_oneoff: what it waits for, or the errno if that is nothing."""
    memory = state.guest_memory(caller)
    try:
        waiting = Waiting(memory, *arguments)
        if waiting.seconds:
            return waiting
        waiting.tell(memory)
        return 0
    except ValueError:
        return _EINVAL
    except Exception:
        return _EFAULT


def end_poll(state: InstanceState, caller: int, waiting: Waiting) -> int:
    """Tells a fiber that its time has come; the errno."""
    try:
        waiting.tell(state.guest_memory(caller))
        return 0
    except Exception:
        return _EFAULT


_KEEP = (capi.CALLBACK(_proc_exit), capi.CALLBACK(_poll_oneoff))


#: The function by which a guest sleeps, and its parameters.
POLL_NAME, POLL_ARITY = "poll_oneoff", 4


def define(linker: wasmtime.Linker, types: capi.FunctionTypes, sleeps: bool = True) -> None:
    """Defines WASI preview 1 in a linker that allows shadowing. `sleeps`: whether a guest's sleep holds its
    thread; else whoever calls defines it anew."""
    linker.define_wasi()
    address = capi.address_of(linker)
    capi.define_function(address, types, MODULE, "proc_exit", 1, _KEEP[0], results=0)
    if sleeps:
        capi.define_function(address, types, MODULE, POLL_NAME, POLL_ARITY, _KEEP[1])
