# SPDX-License-Identifier: Apache-2.0
"""`wasinn.Host`: what an embedder makes once, and runs guests with.

host = wasinn.Host(graphs={"digits": "onnx:digits.onnx"})
result = host.run("guest.wasm", ["seven.png"], dirs=["pictures"], deadline=5)
print(result.exit_code, result.stdout.decode())
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import wasmtime

from wasinn.abi.core import capi, trampoline
from wasinn.abi.core.state import InstanceState
from wasinn.backends import lookup
from wasinn.errors import BackendError, ConfigError, GuestError, WasiNNError
from wasinn.graphs.config import parse_backends, read_config
from wasinn.graphs.loader import Loader
from wasinn.graphs.permissions import Permissions
from wasinn.graphs.recorded import FolderRecorder, Recorder, Recording
from wasinn.graphs.registry import Registry
from wasinn.graphs.source import GraphSource
from wasinn.host import GuestHost, Shared
from wasinn.runtime.cache import CompileCache, default_directory
from wasinn.runtime.closing import Closing
from wasinn.runtime.component_guest import ComponentGuest
from wasinn.runtime.component_instance import ComponentInstance
from wasinn.runtime.engine import FUNCTIONS, get_engine
from wasinn.runtime.fiber import FiberInstance
from wasinn.runtime.guest import FileState, Guest, find_guest, is_component, to_binary
from wasinn.runtime.instance import Instance
from wasinn.runtime.lanes import lanes_of_loop
from wasinn.runtime.limits import Limits
from wasinn.runtime.outcome import RunResult
from wasinn.runtime.prepared import Prepared, forget_prepared
from wasinn.runtime.running import Run, run_fiber
from wasinn.runtime.threads import call_elsewhere
from wasinn.runtime.wasi import Directory, Stream, World

GraphLike = GraphSource | str
Directories = Mapping[str, str | Path] | Iterable[str | Directory]

_EMPTY_WORLD = World()


class Host(Closing):
    """Graphs, permissions and limits, shared by every guest that runs on them.

    `graphs` maps names to sources, or to text as after `--graph NAME=`. `backends` maps encodings to
    the backend that serves them (`{"onnx": "onnxruntime"}`). `limits` are the default of each run.
    `cache`: the directory of compiled guests, None for `$WASINN_CACHE_DIR` or the user's own, False
    for none. Safe to use from any thread. Raises ConfigError, and BackendError for a backend that is
    not there.
    """

    def __init__(
        self,
        graphs: Mapping[str, GraphLike] | None = None,
        permissions: Permissions | None = None,
        backends: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        cache: str | Path | Literal[False] | None = None,
    ) -> None:
        if graphs is not None and not isinstance(graphs, Mapping):
            raise ConfigError(f"graphs maps names to sources, and is not {graphs!r}")
        sources = {
            name: GraphSource.parse(source) if isinstance(source, str) else source
            for name, source in (graphs or {}).items()
        }
        for name, value, kind in (("permissions", permissions, Permissions), ("limits", limits, Limits)):
            if value is not None and not isinstance(value, kind):
                raise ConfigError(f"{name} is a wasinn.{kind.__name__}, not {value!r}")
        for name, source in sources.items():
            if not isinstance(source, GraphSource):
                raise ConfigError(f"the graph {name!r} is a GraphSource or text, not {source!r}")
            if source.backend is not None:
                try:
                    lookup.by_name(source.backend)
                except BackendError as error:
                    raise BackendError(f"graph {name!r}: {error}") from None
        chosen = parse_backends(backends or {})
        for encoding, name in chosen.items():
            lookup.checked(lookup.by_name(name), encoding)
        self.registry = Registry(sources)
        self.limits = limits or Limits()
        self._shared = Shared(self.registry, Loader(chosen), permissions or Permissions())
        directory = None if cache is False else (Path(cache) if cache else default_directory())
        self._caches: dict[bool, CompileCache] = {}
        self._cache_directory = directory
        self._guests: dict[tuple[FileState, bool], Guest | ComponentGuest] = {}
        self._lock = threading.Lock()
        self._foreign: list[trampoline.ForeignInstances] = []

    @classmethod
    def from_config(cls, path: str | Path) -> Host:
        """A host as `wasinn.toml` says; graphs marked `preload` are loaded.

        Raises ConfigError, BackendError, and WasiNNError for a graph that cannot be loaded.
        """
        config = read_config(Path(path))
        limits = Limits.from_mapping(config.limits, f"{path}: ")
        host = cls(
            config.graphs,
            config.permissions,
            {encoding.label: name for encoding, name in config.backends.items()},
            limits,
        )
        for name in config.preload:
            host.preload(name)
        return host

    @property
    def permissions(self) -> Permissions:
        return self._shared.permissions

    # -- graphs -----------------------------------------------------------------------------------

    def preload(self, *names: str) -> None:
        """Loads graphs ahead of their first use; all of them if no name is given.

        Raises WasiNNError with the reason if one cannot be loaded.
        """
        for name in names or tuple(self.registry):
            try:
                self.registry.get(name, self._shared.loader)
            except WasiNNError as error:
                raise WasiNNError(error.code, f"graph {name!r}: {error.reason}") from error

    # -- guests -----------------------------------------------------------------------------------

    def unload(self, name: str) -> bool:
        """Forgets the loaded graph called `name`, if there is one: the next use loads it anew. What uses it
        now keeps it. Raises WasiNNError (not_found)."""
        found = self.registry.unload(name)
        forget_prepared()
        return found

    def guest(self, guest: str | Path | bytes, fuel: bool = False) -> Guest | ComponentGuest:
        """Compiles a guest (a path, `@NAME` of a shipped one, or its bytes), or takes it from the
        cache. What it is, a core module or a component, is told by its content. Raises GuestError."""
        wasm, name, key = find_guest(guest)
        if key is not None and (key, fuel) in self._guests:
            return self._guests[key, fuel]
        engine = get_engine(fuel)
        with self._lock:
            cache = self._caches.get(fuel)
            if cache is None:
                cache = self._caches[fuel] = CompileCache(self._cache_directory, engine.key)
        found = to_binary(wasm(), name)
        make = ComponentGuest if is_component(found) else Guest
        compiled = make(found, name, engine, cache)
        if key is not None:
            with self._lock:
                # An older state of the same file is not asked for again.
                for old in [each for each in self._guests if each[0][0] == key[0] and each[0] != key]:
                    del self._guests[old]
                self._guests[key, fuel] = compiled
        return compiled

    def instantiate(
        self,
        guest: str | Path | bytes | Guest | ComponentGuest,
        args: Sequence[str] = (),
        *,
        dirs: Directories = (),
        env: Mapping[str, str] | None = None,
        stdin: bytes | Literal["inherit"] = b"",
        stdout: Stream = "capture",
        stderr: Stream = "capture",
        limits: Limits | None = None,
        long_lived: bool = False,
        trace: bool = False,
    ) -> Instance | ComponentInstance:
        """A fresh instance, for calling its exports. Costs tens of microseconds.

        `long_lived` prepares the hot path, for a core module that infers in a loop. The `deadline` in
        `limits` counts from here. Raises as `Instance` does.
        """
        limits = limits or self.limits
        if not isinstance(guest, Guest | ComponentGuest):
            guest = self.guest(guest, fuel=limits.fuel is not None)
        world = _world(args, dirs, env, stdin, stdout, stderr)
        if isinstance(guest, ComponentGuest):
            return ComponentInstance(guest, self._shared, world, limits, trace)
        return Instance(guest, self._shared, world, limits, long_lived, trace)

    def run(
        self,
        guest: str | Path | bytes | Guest | ComponentGuest,
        args: Sequence[str] = (),
        *,
        dirs: Directories = (),
        env: Mapping[str, str] | None = None,
        stdin: bytes | Literal["inherit"] = b"",
        stdout: Stream = "capture",
        stderr: Stream = "capture",
        deadline: float | None = None,
        max_memory: int | None = None,
        max_output: int | None = None,
        fuel: int | None = None,
        invoke: str | None = None,
        invoke_args: Sequence[Any] = (),
        trace: bool = False,
        record: str | Path | Recorder | None = None,
    ) -> RunResult:
        """Runs a guest to its end, in a thread of its own, and says how it ended.

        A command runs `_start`, or `wasi:cli/run` of a component; a guest without one has done its
        work when it is instantiated. `invoke` calls an exported function in its place (of a component
        by `name` or `package:name/interface#name`), with `invoke_args` (text is read as the parameter's
        type, for a component as WAVE). `args` come after the guest's name. `dirs` are host directories
        that the guest may read, as `{"/guest/path": "host/path"}` or `["HOST[::GUEST][:rw]"]`. Limits that
        are not given are the host's. `record` keeps the inputs and outputs of every compute: in a new
        folder, or by a recorder (wasinn.graphs.recorded); the time that takes is the run's.

        A trap, a limit and an exit are results. Raises GuestError for what is not a guest that can
        run here, ConfigError for a directory that is not there or a folder for records that is not
        empty, KeyboardInterrupt when interrupted, after the guest has been ended.
        """
        given = {"deadline": deadline, "max_memory": max_memory, "max_output": max_output, "fuel": fuel}
        limits = _replaced(self.limits, given)
        if not isinstance(guest, Guest | ComponentGuest):
            guest = self.guest(guest, fuel=limits.fuel is not None)
        world = _world(_arguments(guest, args), dirs, env, stdin, stdout, stderr)
        shared = self._recorded(guest, record)
        run = self._prepared(guest, shared, world, limits, invoke, invoke_args, trace)
        return call_elsewhere(run.result, run.interrupt)

    def _prepared(
        self,
        guest: Guest | ComponentGuest,
        shared: Shared,
        world: World,
        limits: Limits,
        invoke: str | None,
        invoke_args: Sequence[Any],
        trace: bool,
    ) -> Run:
        if invoke is not None:
            guest.find_function(invoke)
        make: Callable[..., Instance | ComponentInstance]
        if isinstance(guest, ComponentGuest):
            make = functools.partial(ComponentInstance, guest, shared, world, limits, trace=trace)
        else:
            make = functools.partial(Instance, guest, shared, world, limits, long_lived=True, trace=trace)
        return Run(make, invoke, invoke_args)

    def _recorded(self, guest: Guest | ComponentGuest, record: str | Path | Recorder | None) -> Shared:
        """What the run shares with others, and what keeps its computes."""
        if record is None:
            return self._shared
        recorder = FolderRecorder(record) if isinstance(record, str | Path) else record
        if not isinstance(recorder, Recorder):
            raise ConfigError(f"record is a folder or a recorder, not {record!r}")
        return replace(self._shared, recording=Recording(recorder, guest.name))

    # -- on an event loop ----------------------------------------------------------------------------

    async def instantiate_async(
        self,
        guest: str | Path | bytes | Guest,
        args: Sequence[str] = (),
        *,
        dirs: Directories = (),
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        stdout: Stream = "capture",
        stderr: Stream = "capture",
        limits: Limits | None = None,
        trace: bool = False,
    ) -> FiberInstance:
        """A fresh instance of a core module, for calling its exports on the running event loop, which goes
        on meanwhile. Raises GuestError for a component, and else as `instantiate` does."""
        limits = limits or self.limits
        if not isinstance(guest, Guest):
            found = await self._guest_async(guest, limits.fuel is not None)
            if isinstance(found, ComponentGuest):
                raise GuestError(f"{found.name} is a component, which cannot be a fiber; run_async runs it")
            guest = found
        world = _world(args, dirs, env, stdin, stdout, stderr)
        instance = FiberInstance(guest, self._shared, world, limits, trace)
        await instance.start()
        return instance

    async def start_fiber(self, guest: Guest, world: World, limits: Limits) -> FiberInstance:
        """`instantiate_async` for who makes many of one guest, and has looked at what it is given once."""
        instance = FiberInstance(guest, self._shared, world, limits)
        await instance.start()
        return instance

    def prepare(self, guest: Guest, world: World, limits: Limits) -> Prepared:
        """What answers requests to a served guest faster than `start_fiber` and its calls, where it can."""
        return Prepared(guest, self._shared, world, limits)

    async def run_async(
        self,
        guest: str | Path | bytes | Guest | ComponentGuest,
        args: Sequence[str] = (),
        *,
        dirs: Directories = (),
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        stdout: Stream = "capture",
        stderr: Stream = "capture",
        deadline: float | None = None,
        max_memory: int | None = None,
        max_output: int | None = None,
        fuel: int | None = None,
        invoke: str | None = None,
        invoke_args: Sequence[Any] = (),
        trace: bool = False,
        record: str | Path | Recorder | None = None,
    ) -> RunResult:
        """As `run`, on the running event loop. Many guests take turns in one thread: a core module is a
        fiber, which lets others run while it computes, sleeps or loads, and every few milliseconds; a
        component gets a thread. Cancelling ends the guest. Raises as `run` does."""
        start = time.perf_counter()
        given = {"deadline": deadline, "max_memory": max_memory, "max_output": max_output, "fuel": fuel}
        limits = _replaced(self.limits, given)
        if not isinstance(guest, Guest | ComponentGuest):
            guest = await self._guest_async(guest, limits.fuel is not None)
        world = _world(_arguments(guest, args), dirs, env, stdin, stdout, stderr)
        shared = self._recorded(guest, record)
        if isinstance(guest, ComponentGuest):
            run = self._prepared(guest, shared, world, limits, invoke, invoke_args, trace)
            try:
                return await lanes_of_loop().block(run.result)
            except asyncio.CancelledError:
                run.interrupt()
                raise
        if invoke is not None:
            guest.find_function(invoke)
        make = functools.partial(FiberInstance, guest, shared, world, limits, trace)
        return await run_fiber(make, invoke, invoke_args, start)

    async def _guest_async(self, guest: str | Path | bytes, fuel: bool) -> Guest | ComponentGuest:
        return await lanes_of_loop().block(functools.partial(self.guest, guest, fuel))

    # -- other people's stores -----------------------------------------------------------------------

    def add_to_linker(self, linker: wasmtime.Linker) -> None:
        """Defines WASI-NN, in every dialect, in a linker of wasmtime-py.

        A module instantiated by it has handles of its own in whatever store it lives, until the
        store goes or the host is closed. WASI itself (`linker.define_wasi()`) and the store's limits
        stay the embedder's. Raises TypeError for what is no Linker, and wasmtime.WasmtimeError if the
        names are taken.
        """
        if not isinstance(linker, wasmtime.Linker):
            raise TypeError(f"add_to_linker takes a wasmtime.Linker, not {type(linker).__name__}")
        instances = trampoline.ForeignInstances(lambda: InstanceState(GuestHost(self._shared)))
        types: capi.FunctionTypes = {}
        callbacks: list[Any] = []
        # The linker, and what it instantiates, hold the addresses of these: they stay for good.
        _linked.append((instances, types, callbacks))
        for function in FUNCTIONS:
            callback = trampoline.make_callback(function, instances.find)
            callbacks.append(callback)
            capi.define_function(
                capi.address_of(linker), types, function.module, function.name, function.arity, callback
            )
        self._foreign.append(instances)

    def close(self) -> None:
        """Frees the handles of instances in other people's stores."""
        for instances in self._foreign:
            instances.close()


#: What other people's linkers were given.
_linked: list[Any] = []


def _replaced(limits: Limits, given: Mapping[str, Any]) -> Limits:
    values = {key: value for key, value in given.items() if value is not None}
    if not values:
        return limits
    checked = Limits.from_mapping(values)
    return replace(limits, **{key: getattr(checked, key) for key in values})


def _world(
    args: Sequence[str],
    dirs: Directories,
    env: Mapping[str, str] | None,
    stdin: bytes | Literal["inherit"],
    stdout: Stream,
    stderr: Stream,
) -> World:
    """What an instance sees of the world."""
    if args == () and env is None and dirs == () and stdin == b"" and stdout == stderr == "capture":
        return _EMPTY_WORLD  # checked once: a fresh instance counts in microseconds
    return World(args, {} if env is None else env, _directories(dirs), stdin, stdout, stderr)


def _arguments(guest: Guest | ComponentGuest, args: Sequence[str]) -> tuple[str, ...]:
    """A run's arguments: the first is its name. Raises ConfigError."""
    if isinstance(args, str):
        raise ConfigError(f"args is a list of texts, not the text {args!r}")
    return (guest.name, *args)


def _directories(dirs: Directories) -> tuple[Directory, ...]:
    if isinstance(dirs, str):
        raise ConfigError(f"dirs is a list or a mapping of directories, not the text {dirs!r}")
    if isinstance(dirs, Mapping):
        return tuple(Directory(Path(host), guest) for guest, host in dirs.items())
    return tuple(each if isinstance(each, Directory) else Directory.parse(str(each)) for each in dirs)
