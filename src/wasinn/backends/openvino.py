# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from wasinn.backends.base import Backend, Graph, LoadOptions, Model
from wasinn.spec import Encoding, Target


class OpenVinoBackend(Backend):
    name: ClassVar[str] = "openvino"
    encodings: ClassVar[Mapping[Encoding, int]] = {}
    extra: ClassVar[str] = "openvino"

    def version(self) -> str | None:
        return None

    def devices(self) -> Mapping[Target, str]:
        return {}

    def load(self, model: Model, encoding: Encoding, target: Target, options: LoadOptions) -> Graph:
        raise NotImplementedError
