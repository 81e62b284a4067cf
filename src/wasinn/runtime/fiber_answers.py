# SPDX-License-Identifier: Apache-2.0
"""How a fiber's calls to the host are answered: at once, or later without holding up the event loop."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Iterable
from typing import Any

from wasinn.abi.core import capi, fiber_calls, trampoline
from wasinn.abi.core.fiber_calls import Suspended
from wasinn.abi.core.state import Function, InstanceState
from wasinn.handles import GraphHandle
from wasinn.host import GuestHost
from wasinn.runtime import wasi


class How(enum.Enum):
    """What becomes of a call."""

    #: It is answered in the callback.
    NOW = enum.auto()
    #: In one of the threads that compute.
    LANE = enum.auto()
    #: In a thread that nothing else waits for: it may take any time.
    BLOCKING = enum.auto()
    #: When the batch that it joins has been computed.
    BATCH = enum.auto()
    #: When a time has come.
    SLEEP = enum.auto()


def _load(_host: GuestHost, _arguments: tuple[int, ...]) -> How:
    return How.BLOCKING


def _load_by_name(host: GuestHost, _arguments: tuple[int, ...]) -> How:
    return How.NOW if host.all_loaded else How.BLOCKING


def _open(host: GuestHost, arguments: tuple[int, ...]) -> How:
    return _by_graph(host.find_graph(arguments[0]))


def _set_input(host: GuestHost, arguments: tuple[int, ...]) -> How:
    context = host.find_context(arguments[0])
    return _by_graph(None if context is None else context.graph)


def _by_graph(graph: GraphHandle | None) -> How:
    """Another process is asked, or a language model's options are read, or memory for its context is made.
    (In a batch it is the lane that does so.)"""
    if graph is None or graph.batches or not (graph.isolated or graph.configurable):
        return How.NOW
    return How.BLOCKING


def _compute(host: GuestHost, arguments: tuple[int, ...]) -> How:
    context = host.find_context(arguments[0])
    if context is None or not context.graph.live or context.missing_inputs():
        return How.NOW  # an error
    if getattr(context.execution, "batched", None) is not None:
        return How.BATCH
    if context.graph.away:
        return How.BLOCKING
    # What a language model does depends on its text, of a few bytes.
    quick = context.streaming is None and context.graph.timing.quick_for(sum(context.sizes))
    return How.NOW if quick else How.LANE


#: The functions that may take long; the others of every dialect are answered at once.
_CHOICES = {
    "load": _load,
    "load_by_name": _load_by_name,
    "load_by_name_with_config": _load,
    "init_execution_context": _open,
    "set_input": _set_input,
    "compute": _compute,
    "compute_single": _compute,
}


#: Those that are quick with graphs that are there already, in this process. Each saves 3 us.
_QUICK_WITH_PLAIN_GRAPHS = {"load_by_name", "init_execution_context", "set_input"}


def define(
    linker: int, types: capi.FunctionTypes, functions: Iterable[Function], keep: list[Any], plain: bool
) -> None:
    """Defines every function of every dialect, and the one that sleeps, for fibers. `plain`: for guests that
    can only get at graphs that are loaded, and live in this process."""
    later = {name for name in _CHOICES if not plain or name not in _QUICK_WITH_PLAIN_GRAPHS}
    functions = tuple(functions)
    for each in functions:
        if each.name in later:
            begin = _begin(each, _CHOICES[each.name])
            fiber_calls.define(linker, types, each.module, each.name, each.arity, begin, keep)
    at_once = [each for each in functions if each.name not in later]
    trampoline.define(linker, types, at_once, keep)
    fiber_calls.define(linker, types, wasi.MODULE, wasi.POLL_NAME, wasi.POLL_ARITY, _begin_sleep, keep)


def _begin(function: Function, choose: Callable[[GuestHost, tuple[int, ...]], How]) -> fiber_calls.Begin:
    def begin(
        state: InstanceState, arguments: tuple[int, ...], caller: int, later: Callable[[], Suspended]
    ) -> int | None:
        how = choose(state.host, arguments)
        if how is How.NOW:
            return state.answer(function, arguments, caller)
        if state.memory is not None:
            state.memory.refresh()  # what another thread needs to know, without asking the store
        answer = functools.partial(state.answer, function, arguments, caller)
        state.run.suspend(how, answer, later(), arguments[0])
        return None

    return begin


def _begin_sleep(
    state: InstanceState, arguments: tuple[int, ...], caller: int, later: Callable[[], Suspended]
) -> int | None:
    waiting = wasi.begin_poll(state, caller, arguments)
    if isinstance(waiting, int):
        return waiting
    answer = functools.partial(wasi.end_poll, state, caller, waiting)
    state.run.suspend(How.SLEEP, answer, later(), waiting.seconds)
    return None
