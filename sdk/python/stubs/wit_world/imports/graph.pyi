# SPDX-License-Identifier: Apache-2.0

from enum import Enum
from types import TracebackType
from typing import Self

from .inference import GraphExecutionContext

class Graph:
    def init_execution_context(self) -> GraphExecutionContext: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> bool | None: ...

class GraphEncoding(Enum):
    OPENVINO = 0
    ONNX = 1
    TENSORFLOW = 2
    PYTORCH = 3
    TENSORFLOWLITE = 4
    GGML = 5
    AUTODETECT = 6

class ExecutionTarget(Enum):
    CPU = 0
    GPU = 1
    TPU = 2

def load(builder: list[bytes], encoding: GraphEncoding, target: ExecutionTarget) -> Graph: ...
def load_by_name(name: str) -> Graph: ...
