# SPDX-License-Identifier: Apache-2.0
"""A language model as a graph: a prompt and options in, text and its measures out."""

from __future__ import annotations

import logging
import threading
import weakref
from pathlib import Path

from wasinn.backends.base import Execution
from wasinn.backends.llama_execution import LlamaExecution
from wasinn.backends.llama_library import library
from wasinn.backends.llama_model import LlamaModel, Loading
from wasinn.backends.llama_options import Options, may_warn
from wasinn.backends.llama_sampling import check_grammar, check_guests_grammar
from wasinn.errors import unsupported
from wasinn.spec import Target, TensorType
from wasinn.tensors import TensorSpec

logger = logging.getLogger("wasinn.guest")

INPUTS = (
    TensorSpec("prompt", TensorType.U8, None, any_size=True),
    TensorSpec("options", TensorType.U8, None, any_size=True, optional=True),
)
OUTPUTS = (
    TensorSpec("text", TensorType.U8, (None,)),
    TensorSpec("metadata", TensorType.U8, (None,)),
)


class Source:
    """A model's file, or its bytes, and what has been loaded from it: one native model for each way of
    loading that is in use."""

    def __init__(self, content: Path | bytes, target: Target) -> None:
        self._content: Path | bytes | None = content  # None once a guest's bytes are loaded
        self._target = target
        self._lock = threading.Lock()
        self._loaded: weakref.WeakValueDictionary[Loading, LlamaModel] = weakref.WeakValueDictionary()

    def model(self, options: Options) -> LlamaModel:
        layers = options.n_gpu_layers
        if layers is None:
            layers = -1 if self._target is Target.GPU else 0
        if not library().llama_supports_gpu_offload():
            layers = 0
        loading = Loading(layers, options.main_gpu if layers else 0, not options.no_mmap)
        with self._lock:
            model = self._loaded.get(loading)
            if self._content is None:
                return model or next(iter(self._loaded.values()))
            if model is None:
                model = LlamaModel(self._content, loading, options.log_level)
                self._loaded[loading] = model
            if isinstance(self._content, bytes):
                self._content = None
            return model


class LlamaGraph:
    """A model and the options that its contexts begin with. `Configurable` (backends/base.py)."""

    def __init__(self, source: Source, options: Options, threads: int | None, guarded: bool = False) -> None:
        """`guarded`: options that come are a guest's."""
        self._source = source
        self.options = options
        self.threads = threads
        self._guarded = guarded
        self.inputs = INPUTS
        self.outputs = OUTPUTS
        self.model = source.model(options)

    def open(self) -> Execution:
        return LlamaExecution(self)

    @property
    def context_tokens(self) -> int:
        size, trained = self.options.ctx_size, self.model.trained_context
        return 0 if size is None else min(size or trained, trained)

    def for_guests(self) -> LlamaGraph:
        return LlamaGraph(self._source, self.options, self.threads, True)

    def with_options(self, config: str) -> LlamaGraph:
        options = self.options.updated(config)
        self.check(options)
        return LlamaGraph(self._source, options, self.threads, self._guarded)

    def check(self, options: Options) -> None:
        """What cannot be known from the JSON alone. Raises WasiNNError."""
        if (options.n_gpu_layers or 0) > 0 and not library().llama_supports_gpu_offload():
            raise unsupported(
                f"options: n-gpu-layers: wanted 0, got {options.n_gpu_layers}: "
                "this build of llama.cpp has no GPU support"
            )
        if (options.grammar, options.json_schema) != (self.options.grammar, self.options.json_schema):
            if self._guarded:
                check_guests_grammar(options)
            check_grammar(self.model, options)
        size, trained = options.ctx_size or 0, self.model.trained_context
        if size > trained and size != (self.options.ctx_size or 0) and may_warn():
            logger.warning("ctx-size %d is more than the %d that the model was trained with", size, trained)
