# SPDX-License-Identifier: Apache-2.0
"""A guest that is served as a model: a fresh instance answers each request. docs/serving-guests.md has the
rules."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wasinn.errors import ConfigError, Error, GuestError
from wasinn.oip.messages import InferRequest, InferResponse, WireTensor
from wasinn.runtime import binary
from wasinn.runtime.component_guest import ComponentGuest
from wasinn.runtime.embedding import Host
from wasinn.runtime.guest import Guest, find_guest, to_binary
from wasinn.runtime.limits import Limits
from wasinn.runtime.outcome import GuestExit, GuestTrap, Trap, limit_passed
from wasinn.runtime.prepared import Prepared
from wasinn.runtime.served import ALLOC, HANDLE, form_of
from wasinn.runtime.turns import next_turn
from wasinn.runtime.wasi import Directory, World
from wasinn.serve import guest_files
from wasinn.serve.errors import ServeError
from wasinn.serve.guest_log import GuestLog, clean, last_line
from wasinn.serve.guest_messages import MessageError, Refusal, decode, encode, is_message, write
from wasinn.serve.guest_ports import check_answer, check_inputs, chosen
from wasinn.serve.models import VERSION
from wasinn.serve.settings import GuestSource, Settings

#: Bytes of memory of a guest for which neither its own table nor [limits] says anything.
DEFAULT_MEMORY = 1 << 30
#: Of a request's files, which are then written in a thread.
_MANY_BYTES = 1 << 20
#: Seconds by which a deadline may be passed.
_SOON = 0.01


class ServedGuest:
    """A guest under a name; a ServedModel."""

    kind = "guest"

    def __init__(self, name: str, source: GuestSource, host: Host, settings: Settings) -> None:
        """Compiles the guest and looks at what it exports.

        Raises GuestError for what cannot run here or is neither a command nor a reactor of the convention,
        ConfigError for settings that do not fit it.
        """
        self.name = name
        self.source = source
        self._host = host
        limits = host.limits
        if source.max_memory is not None:
            limits = replace(limits, max_memory=source.max_memory)
        elif limits.max_memory is None:
            limits = replace(limits, max_memory=DEFAULT_MEMORY)
        self._deadline = settings.deadline if source.deadline is None else source.deadline
        self._limits = replace(limits, deadline=self._deadline)
        self.guest = host.guest(source.file, fuel=limits.fuel is not None)
        #: "reactor", "command" or "component".
        self.form = _form(self.guest, source.file)
        if self.form == "reactor" and source.input == "files":
            raise ConfigError(
                f'guests.{name}: input = "files" is for commands; {self.guest.name} exports {HANDLE}, and '
                "gets its tensors in memory"
            )
        self._directories = tuple(Directory.parse(each) for each in source.dirs)
        #: What a reactor sees of the world.
        self._world = World((self.guest.name, *source.args), source.env, self._directories)
        self._log = GuestLog(name)
        self._prepared = self._prepare()

    def metadata(self) -> dict[str, Any]:
        """The model metadata of the Open Inference Protocol; tensors are those that the operator declared."""
        source = self.source
        result: dict[str, Any] = {
            "name": self.name,
            "versions": [VERSION],
            "platform": "wasinn_guest",
            "inputs": [_port(each) for each in source.inputs],
            "outputs": [_port(each) for each in source.outputs],
            "guest": {"file": self.guest.name, "form": self.form},
        }
        if self.form != "reactor":
            result["guest"]["input"] = source.input
        if source.description:
            result["description"] = source.description
        return result

    async def infer(self, request: InferRequest, deadline: float) -> InferResponse:
        """Answers a request by a fresh instance, in `deadline` seconds at most. Raises ServeError."""
        check_inputs(self.source.inputs, request.inputs, self.name)
        _check_names(request.inputs)
        limits = self._limits
        if deadline < self._deadline:
            limits = replace(limits, deadline=max(deadline, 1e-3))
        try:
            if self.form == "reactor":
                answer = await self._call(request.inputs, limits)
            elif self.source.input == "stdin":
                answer = await self._run(b"".join(encode(request.inputs)[0]), self._directories, limits)
            else:
                answer = await self._run_on_files(request.inputs, limits)
            outputs = self._outputs(answer)
        except Error as error:  # a directory that has gone, say
            raise ServeError(500, f"guest {self.name}: {error}", "guest") from error
        check_answer(self.source.outputs, outputs, self.name)
        return InferResponse(self.name, chosen(request.outputs, outputs, self.name), VERSION, request.id)

    def close(self) -> None:
        """Frees what is held between requests. The host has the compiled guest."""
        if self._prepared is not None:
            self._prepared.close()

    # -- a reactor ---------------------------------------------------------------------------------

    async def _call(self, tensors: Sequence[WireTensor], limits: Limits) -> bytes:
        """The answer's bytes, by wasinn_alloc and wasinn_handle of a fresh instance."""
        parts, size = encode(tensors)
        prepared = self._prepared
        if prepared is None:
            return await self._ask(parts, size, limits, None)
        start = time.monotonic()
        try:
            found = await prepared.answer(size, lambda memory, at: write(parts, memory, at), limits.deadline)
            if found is not None:
                return self._checked(found)
            spent = time.monotonic() - start
            if limits.deadline is None or spent < _SOON:
                return await self._ask(parts, size, limits, prepared)
            try:  # the deadline is one for both ways
                async with asyncio.timeout(max(limits.deadline - spent, 0)):
                    await next_turn()  # perhaps it has held up others
                    return await self._ask(parts, size, limits, prepared)
            except TimeoutError:
                raise limit_passed("deadline", limits) from None
        except GuestTrap as error:
            raise self._ended(error, b"", "") from error

    async def _ask(
        self, parts: Sequence[bytes | memoryview], size: int, limits: Limits, prepared: Prepared | None
    ) -> bytes:
        """The same in the ordinary way, from which `prepared` may learn."""
        assert isinstance(self.guest, Guest)
        learning = prepared is not None and prepared.learning
        try:
            instance = await self._host.start_fiber(self.guest, self._world, limits)
        except (GuestTrap, GuestExit) as error:
            raise self._ended(error, error.stderr, "while it was started") from error
        async with instance:
            try:
                if learning and prepared is not None:
                    prepared.watch(instance)
                if size >= 1 << 31:
                    raise ServeError(413, f"the request has {size} bytes, and a guest can take 2 GiB")
                pointer = await instance.call(ALLOC, size) & 0xFFFFFFFF
                memory = instance.memory
                if not pointer or pointer % 8 or pointer + size > len(memory):
                    raise self._bad(f"{ALLOC}({size}) answered {_place(pointer, len(memory))}")
                write(parts, memory, pointer)
                packed = await instance.call(HANDLE, pointer, size) & 0xFFFFFFFFFFFFFFFF
                if not packed:
                    raise self._failed(instance.stderr)
                at, length = packed >> 32, packed & 0xFFFFFFFF
                memory = instance.memory
                if at + length > len(memory):
                    raise self._bad(
                        f"{HANDLE} answered {length} bytes at {at}, and its memory has {len(memory)} bytes"
                    )
                answer = bytes(memory[at : at + length])
                if learning and prepared is not None:
                    prepared.learn(instance)
                return self._checked(answer)
            except (GuestTrap, GuestExit) as error:
                raise self._ended(error, instance.stderr, "") from error
            finally:
                self._log.write(instance.stderr)

    def _checked(self, answer: bytes) -> bytes:
        if not is_message(answer):
            raise self._bad(f'its answer begins with {answer[:4]!r}, and not with "wnt1" or "wne1"')
        return answer

    def _prepare(self) -> Prepared | None:
        if self.form != "reactor":
            return None
        assert isinstance(self.guest, Guest)
        prepared = self._host.prepare(self.guest, self._world, self._limits)
        return prepared if prepared.possible else None

    # -- a command -----------------------------------------------------------------------------------

    async def _run_on_files(self, tensors: Sequence[WireTensor], limits: Limits) -> bytes:
        guest_files.check_names(tensors)
        if sum(len(each.data) for each in tensors) > _MANY_BYTES:
            writing = asyncio.ensure_future(asyncio.to_thread(guest_files.write_files, tensors))
            try:
                folder = await asyncio.shield(writing)
            except asyncio.CancelledError:
                writing.add_done_callback(_remove)
                raise
        else:
            folder = guest_files.write_files(tensors)
        try:
            directories = (*self._directories, Directory(folder, guest_files.FOLDER))
            return await self._run(b"", directories, limits)
        finally:
            guest_files.remove(folder)

    async def _run(self, stdin: bytes, directories: Sequence[Directory], limits: Limits) -> bytes:
        """What a run to its end wrote on stdout."""
        result = await self._host.run_async(
            self.guest,
            self.source.args,
            dirs=directories,
            env=self.source.env,
            stdin=stdin,
            deadline=limits.deadline,
            max_memory=limits.max_memory,
        )
        self._log.write(result.stderr)
        if result.trap is not None:
            raise self._trapped(result.trap, result.limit)
        if result.exit_code != 0:
            if is_message(result.stdout):
                self._outputs(result.stdout)  # raises where it is a refusal
            raise self._exited(result.exit_code, result.stderr)
        return result.stdout

    # -- answers -------------------------------------------------------------------------------------

    def _outputs(self, answer: bytes) -> list[WireTensor]:
        """The tensors of an answer. Raises ServeError: 400 with the guest's words where it refused."""
        if not is_message(answer):
            data = len(answer).to_bytes(4, "little") + answer
            return [WireTensor("stdout", "BYTES", (1,), data)]
        try:
            return decode(answer)
        except Refusal as error:
            reason = clean(str(error).encode()) or "the guest refused the request, and gave no reason"
            raise ServeError(400, reason, "refused") from error
        except MessageError as error:
            raise self._bad(f"its answer is no message: {error}") from error

    def _bad(self, reason: str) -> ServeError:
        return ServeError(500, f"guest {self.name}: {reason}", "guest_answer")

    def _failed(self, stderr: bytes) -> ServeError:
        reason = last_line(stderr) or "it gave no reason"
        return ServeError(500, f"guest {self.name} failed: {reason}", "guest_failed")

    def _exited(self, code: int | None, stderr: bytes) -> ServeError:
        reason = last_line(stderr) or "it wrote nothing on stderr"
        return ServeError(500, f"guest {self.name} exited with code {code}: {reason}", "guest_failed")

    def _ended(self, error: GuestTrap | GuestExit, stderr: bytes, when: str) -> ServeError:
        """The refusal that tells how a call into a reactor ended."""
        if isinstance(error, GuestTrap):
            return self._trapped(error.trap, error.limit, when)
        return self._exited(error.code, stderr)

    def _trapped(self, trap: Trap, limit: str | None, when: str = "") -> ServeError:
        if limit == "deadline":
            return ServeError(504, f"guest {self.name}: {trap.message}", "deadline")
        if limit == "interrupted":
            return ServeError(503, f"guest {self.name} was ended before it had answered", "interrupted")
        told = f" {when}" if when else ""
        return ServeError(500, f"guest {self.name} was ended{told}: {trap.message}", f"trap_{trap.kind}")


def _remove(writing: asyncio.Future[Path]) -> None:
    """Removes what was written for a request that was given up meanwhile."""
    if not writing.cancelled() and writing.exception() is None:
        guest_files.remove(writing.result())


def _form(guest: Guest | ComponentGuest, file: str) -> str:
    """What kind of served guest it is, by its exports. Raises GuestError."""
    if isinstance(guest, ComponentGuest):
        if guest.command is None:
            raise GuestError(
                f"{guest.name} is a component without wasi:cli/run, and a component is served as a command"
            )
        return "component"
    exports = binary.exports(to_binary(find_guest(file)[0](), guest.name))
    form = form_of(guest.name, guest.functions, exports.get("memory", ("", 0))[0] == "memory")
    guest.pre()
    return form


def _check_names(tensors: Sequence[WireTensor]) -> None:
    """JSON can name what has no UTF-8. Raises ServeError."""
    for each in tensors:
        if not each.name.isascii():
            try:
                each.name.encode()
            except UnicodeEncodeError:
                raise ServeError(400, f"the input's name {each.name!r} is not UTF-8") from None


def _port(declared: Any) -> dict[str, Any]:
    return {"name": declared.name, "datatype": declared.datatype, "shape": list(declared.shape)}


def _place(pointer: int, size: int) -> str:
    if not pointer:
        return "0: there is no room for the request (the guest's memory limit?)"
    if pointer % 8:
        return f"{pointer}, which is no multiple of 8"
    return f"{pointer}, and its memory ends at {size}"
