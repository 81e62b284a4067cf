# SPDX-License-Identifier: Apache-2.0
"""A graph used without a guest: what `wasinn infer`, `compare` and `diagnose` stand on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wasinn.backends.base import Execution, Streaming, Usage
from wasinn.contracts.bound import Bound, bind, find_port
from wasinn.contracts.contract import Contract, InputContract, OutputContract
from wasinn.errors import ConfigError, WasiNNError, invalid_argument
from wasinn.graphs.beside import how_to_write, read_beside
from wasinn.graphs.loader import LoadedGraph, Loader
from wasinn.graphs.source import GraphSource
from wasinn.graphs.text import no_options, text_tensor
from wasinn.imaging.decode import Picture
from wasinn.runtime import ports
from wasinn.runtime.closing import Closing
from wasinn.runtime.feeds import Feed, feed_file, feed_picture, no_contract
from wasinn.runtime.generation import Generation, generation_inputs
from wasinn.tensors import Tensor, TensorSpec, check_size, fit

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Inference:
    """What one compute gave: copies of the outputs by index, in the model's own types, and its time."""

    outputs: tuple[Array, ...]
    seconds: float


def _wants_integers(spec: TensorSpec, tensor: Tensor) -> str:
    """For real numbers where a quantized model takes integers: the option by which it takes them."""
    if spec.quantization is None or spec.any_type or tensor.type is spec.type:
        return ""
    if spec.type.label[0] not in "iu" or tensor.type.label[0] in "iu":
        return ""
    return "; with ?quantization=affine after the graph it takes and gives real numbers"


class DirectGraph(Closing):
    """A loaded graph with one execution context, and the contract that holds for its callers.

    `contract` given here takes the place of the source's; without either, one beside the model counts. Where
    the source has `guests`, that contract holds for the callers, as it does for guests. Used by one thread at
    a time, and closed after use (it is a context manager):

        with DirectGraph("m", "onnx:mobilenet.onnx") as graph:
            feed = graph.feed(None, "cat.jpg")
            outputs = graph.infer({feed.index: feed.tensor}).outputs

    `source` may be text, as after `--graph NAME=`. Raises WasiNNError for a graph that cannot be loaded and
    ConfigError for a contract that does not fit.
    """

    def __init__(
        self,
        name: str,
        source: GraphSource | str,
        loader: Loader | None = None,
        contract: Contract | None = None,
    ) -> None:
        if isinstance(source, str):
            source = GraphSource.parse(source)
        if not isinstance(source, GraphSource):
            raise ConfigError(f"the graph {name!r} is a GraphSource or text, not {source!r}")
        if contract is not None and not isinstance(contract, Contract):
            raise ConfigError(
                f"contract is a wasinn.Contract, as read_contract(FILE) gives, not {contract!r}"
            )
        self.name = name
        self._closed = False
        if contract is None and source.contract is None:
            contract = read_beside(source)
        if contract is not None:
            # It is of the model's own ports: where the source changes these, the loader must have it. Else it
            # is bound here, where a mistake in it is a ConfigError and tensors are not checked.
            changed = source.guests is not None or source.quantization == "affine" or source.strict
            source = replace(source, contract=contract if changed else None)
            contract = None if changed else contract
        self.source = source
        try:
            self.loaded: LoadedGraph = (loader or Loader()).load(source)
        except WasiNNError as error:
            reason = f"graph {name!r}: {error.reason}"
            if isinstance(
                error.__cause__, ConfigError
            ):  # a contract that does not fit, as where it is bound here
                raise ConfigError(reason) from error
            raise WasiNNError(error.code, reason) from error
        self.inputs: Sequence[TensorSpec] = self.loaded.graph.inputs
        self.outputs: Sequence[TensorSpec] = self.loaded.graph.outputs
        bound = self.loaded.bound
        if contract is not None:
            bound = bind(contract, self.inputs, self.outputs)
        self.bound: Bound | None = bound
        self._execution: Execution | None = None
        #: What executions that are gone have read and written.
        self._used = Usage()
        #: The optional inputs that the inference before was given.
        self._optional: set[int] = set()
        self._generation: Generation | None = None

    @property
    def backend(self) -> str:
        return self.loaded.backend

    def input_index(self, key: str | None) -> int:
        """An input by its name in the contract, its port's name or index; None is the only one needed. Raises
        ConfigError."""
        if key is None:
            needed = [index for index, spec in enumerate(self.inputs) if not spec.optional]
            if len(needed) == 1:
                return needed[0]
            known = ", ".join(spec.name for spec in self.inputs)
            raise ConfigError(f"graph {self.name!r} has {len(self.inputs)} inputs ({known}): name them")
        if self.bound is not None and (index := self.bound.input_index(key)) is not None:
            return index
        return self._port(self.inputs, key, "input")

    def input_contract(self, index: int) -> InputContract | None:
        """What the contract says of an input, if it does."""
        return self.bound.inputs.get(index) if self.bound is not None else None

    def output_index(self, key: str) -> int:
        """An output by its name in the contract, its port's name or index. Raises ConfigError."""
        if self.bound is not None and (index := self.bound.output_index(key)) is not None:
            return index
        return self._port(self.outputs, key, "output")

    def feed(self, key: str | None, value: str | Path | Array | Tensor) -> Feed:
        """What the input `key` (None: the only one) gets: a tensor or an array as it is, or a file: a
        picture (the contract makes a tensor of it), a .npy, or raw bytes. Raises ConfigError."""
        index = self.input_index(key)
        if isinstance(value, Tensor):
            return Feed(index, value)
        if isinstance(value, np.ndarray):
            return Feed(index, self._tensor(index, value))
        return feed_file(
            index,
            Path(value),
            self.inputs[index],
            self.input_contract(index),
            self.name,
            how_to_write(self.source),
        )

    def _tensor(self, index: int, array: Array) -> Tensor:
        try:
            return Tensor.of(array)
        except ValueError as error:
            raise ConfigError(f"graph {self.name!r}, input {self.inputs[index].name!r}: {error}") from None

    def feed_picture(self, key: str | None, picture: Picture | Sequence[Picture]) -> Feed:
        """A picture (a file, its bytes, or u8 [height, width, 3] RGB), or a batch of them, for an input whose
        contract says how a tensor is made of it. Raises ConfigError."""
        index = self.input_index(key)
        contract = self.input_contract(index)
        if contract is None or contract.image is None:
            reason = no_contract("this", contract, how_to_write(self.source))
            raise ConfigError(f"graph {self.name!r}, input {self.inputs[index].name!r}: {reason}")
        return feed_picture(index, picture, contract, self.inputs[index])

    def infer(self, tensors: Mapping[Any, Tensor | Array]) -> Inference:
        """Computes once, from a tensor or an array for each input, by its index or by one of its names.

        Raises ConfigError for what is no input and no tensor, and WasiNNError as the host does: for what does
        not fit or is missing, and where a compute fails.
        """
        if self._closed:
            raise ConfigError(f"graph {self.name!r} is closed: it computes no more; make another DirectGraph")
        self._stop()
        given = self._given(tensors)
        for index, spec in enumerate(self.inputs):
            if index not in given and not spec.optional:
                raise invalid_argument(f"graph {self.name!r}: input {spec.name!r} ({spec}) was not given")
        execution = self._opened()
        for index, spec in enumerate(self.inputs):
            if index in given:
                self._give(execution, index, spec, given[index])
            elif index in self._optional:
                # What the inference before was given does not count for this one.
                self._give(execution, index, spec, no_options())
        self._optional = {index for index in given if self.inputs[index].optional}
        try:
            start = time.perf_counter()
            execution.compute()
            seconds = time.perf_counter() - start
            outputs = tuple(execution.output(index).numpy().copy() for index in range(len(self.outputs)))
        except WasiNNError as error:
            # What failed may have left the runtime in any state: the next compute gets a new context.
            self._drop()
            raise WasiNNError(error.code, f"graph {self.name!r}: {error.reason}") from error
        return Inference(outputs, seconds)

    def _give(self, execution: Execution, index: int, spec: TensorSpec, tensor: Tensor) -> None:
        given = tensor
        try:
            if not spec.any_size:
                check_size(tensor.dims, tensor.type, len(tensor.data))
                tensor = fit(spec, tensor)
            execution.set_input(index, tensor)
        except WasiNNError as error:
            hint = _wants_integers(spec, given)
            raise WasiNNError(
                error.code, f"graph {self.name!r}, input {spec.name!r}: {error.reason}{hint}"
            ) from error

    # -- language models ------------------------------------------------------------------------------

    @property
    def generates(self) -> bool:
        """Whether it is a language model: `generate` works. Raises WasiNNError if it cannot be opened."""
        return not self._closed and isinstance(self._opened(), Streaming)

    @property
    def usage(self) -> Usage:
        """The tokens that were read and written in all."""
        execution = self._execution
        return self._used.plus(execution.usage) if isinstance(execution, Streaming) else self._used

    def generate(self, prompt: str | bytes, *, deadline: float | None = None, **options: Any) -> Generation:
        """The text that follows `prompt`, as an iterator of its pieces, from a language model.

        `options` are those of docs/language-models.md, with `_` for `-` (`n_predict=50`, `chat=True`).
        Closing the iterator stops the generation between two tokens, and so does the next `generate` and
        `infer`; `deadline`, in seconds, does it with a WasiNNError (runtime_error), inside a token if need
        be. Raises ConfigError for a graph that is no language model and for what is no option's value, and
        WasiNNError as a guest gets it, while iterating as well (context_full).
        """
        if self._closed:
            raise ConfigError(f"graph {self.name!r} is closed: it computes no more; make another DirectGraph")
        if not self.generates:
            raise ConfigError(f"graph {self.name!r} is no language model: it generates no text")
        self._stop()
        text, chosen = generation_inputs(prompt, options)
        execution = self._opened()
        assert isinstance(execution, Streaming)
        if chosen or 1 in self._optional:
            self._give(execution, 1, self.inputs[1], text_tensor(chosen) if chosen else no_options())
        self._optional = {1} if chosen else set()
        self._give(execution, 0, self.inputs[0], text_tensor(text))
        self._generation = Generation(self.name, execution, deadline, self._drop)
        return self._generation

    def _stop(self) -> None:
        """Ends a generation that is under way."""
        generation, self._generation = self._generation, None
        if generation is not None:
            generation.close()

    # -- what is given --------------------------------------------------------------------------------

    def _given(self, tensors: Mapping[Any, Tensor | Array]) -> dict[int, Tensor]:
        """The tensors by index. Raises ConfigError."""
        if not isinstance(tensors, Mapping):
            raise ConfigError(
                f"infer takes the inputs by index or name, as in {{0: array}}, not {type(tensors).__name__}"
            )
        found: dict[int, Tensor] = {}
        for key, value in tensors.items():
            if isinstance(key, str):
                index = self.input_index(key)
            elif isinstance(key, int) and 0 <= key < len(self.inputs):
                index = key
            else:
                raise ConfigError(
                    f"graph {self.name!r} has no input {key!r}; it has: {self._ports(self.inputs)}"
                )
            if index in found:
                raise ConfigError(f"graph {self.name!r}: input {self.inputs[index].name!r} is given twice")
            if not isinstance(value, Tensor | np.ndarray):
                raise ConfigError(
                    f"graph {self.name!r}, input {self.inputs[index].name!r}: a NumPy array or a tensor is "
                    f"wanted, not {type(value).__name__}; feed() makes a tensor of a file"
                )
            found[index] = value if isinstance(value, Tensor) else self._tensor(index, value)
        return found

    def _opened(self) -> Execution:
        if self._execution is None:
            try:
                self._execution = self.loaded.graph.open()
            except WasiNNError as error:
                raise WasiNNError(error.code, f"graph {self.name!r}: {error.reason}") from error
        return self._execution

    def _port(self, specs: Sequence[TensorSpec], key: str, direction: str) -> int:
        known = {name for spec in specs for name in (spec.name, *spec.aliases)}
        # A port may be called "0"; then that name counts.
        number = int(key) if key.isascii() and key.isdecimal() and key not in known else key
        try:
            return find_port(specs, number, key, f"graph {self.name!r}", direction)
        except ConfigError:
            raise ConfigError(
                f"graph {self.name!r} has no {direction} {key!r}; it has: {self._ports(specs)}"
                + self._contract_names(direction)
            ) from None

    @staticmethod
    def _ports(specs: Sequence[TensorSpec]) -> str:
        return ", ".join(f"{at} {spec.name!r} ({spec})" for at, spec in enumerate(specs[:16])) or "none"

    def _contract_names(self, direction: str) -> str:
        if self.bound is None:
            return ""
        found = self.bound.inputs if direction == "input" else self.bound.outputs
        names = ", ".join(repr(each.name) for each in found.values())
        return f"; its contract calls them: {names}" if names else ""

    def output_contract(self, index: int) -> OutputContract:
        """What the contract says of an output; "raw" where it says nothing. Raises ConfigError for an index
        that no output has."""
        if not isinstance(index, int) or not 0 <= index < len(self.outputs):
            raise ConfigError(
                f"graph {self.name!r} has no output {index!r}; it has: {self._ports(self.outputs)}"
            )
        return ports.output_contract(self.outputs[index], index, self.bound)

    def real(self, index: int, array: Array) -> Array:
        """An output as real numbers: f32 where it is quantized (as the contract says), bf16 or f8, else as it
        is."""
        return ports.real(array, self.outputs[index], self.output_contract(index))

    def close(self) -> None:
        """Frees the execution; `infer` refuses from then on."""
        self._closed = True
        self._stop()
        self._drop()

    def _drop(self) -> None:
        """Frees the execution; the next `infer` opens another."""
        self._optional = set()
        if self._execution is not None:
            execution, self._execution = self._execution, None
            if isinstance(execution, Streaming):
                self._used = self._used.plus(execution.usage)
            execution.close()
