# SPDX-License-Identifier: Apache-2.0
"""GGUF models on llama.cpp, through its C library as the package llama-cpp-python builds it.

One model serves every context of a graph; a context (llama_context) has a KV cache of its own, is made at
its first compute and computes concurrently with the others.

Facts behind the code, each seen with llama-cpp-python 0.3.36: the size of a context is rounded up to 256s
without a word, so what was asked for is counted here; decoding a batch larger than the context's, a
grammar that no token can go on with, and some damaged files abort the process (GGML_ASSERT, or a C++
exception that nothing catches), hence what is checked before each call, and worker processes for what a
guest brings; the log is the process's, and says nothing of which call it belongs to but by its thread; a
grammar's errors go to stderr with all of its text.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import ClassVar, Literal

from wasinn.backends.base import Backend, Graph, LoadOptions, Model
from wasinn.backends.common import check_builders, choose_target, installed_version
from wasinn.spec import Encoding, Target


class LlamaBackend(Backend):
    """`llama`: see the head of this file."""

    name: ClassVar[str] = "llama"
    encodings: ClassVar[Mapping[Encoding, int]] = {Encoding.GGML: 0}
    extra: ClassVar[str] = "ggml"
    isolation: ClassVar[Literal["never", "bytes", "always"]] = "bytes"

    @functools.cache  # noqa: B019
    def version(self) -> str | None:
        return installed_version("llama_cpp", "llama-cpp-python", "llama_cpp_python")

    def devices(self) -> Mapping[Target, str]:
        from wasinn.backends.llama_library import gpus

        found = {Target.CPU: "llama.cpp on the CPU"}
        if gpus():
            found[Target.GPU] = ", ".join(gpus())
        return found

    def load(self, model: Model, encoding: Encoding, target: Target, options: LoadOptions) -> Graph:
        from wasinn.backends.llama_graph import LlamaGraph, Source
        from wasinn.backends.llama_options import Options

        target = choose_target(self.name, self.devices(), target)
        check_builders(model, "a GGUF model is one builder (its bytes)")
        source = Source((model.files or model.builders)[0], target)
        return LlamaGraph(source, Options(), options.threads)
