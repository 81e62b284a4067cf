# SPDX-License-Identifier: Apache-2.0

from dataclasses import dataclass
from typing import TypeAlias

from .inference import GraphExecutionContext

@dataclass
class Step_Piece:
    value: str

@dataclass
class Step_EndOfSequence: ...

@dataclass
class Step_ContextFull:
    value: str

@dataclass
class Step_PromptTooLong:
    value: str

Step: TypeAlias = Step_Piece | Step_EndOfSequence | Step_ContextFull | Step_PromptTooLong

def start(context: GraphExecutionContext, prompt: str, options: str) -> None: ...
def next(context: GraphExecutionContext) -> Step: ...
def metadata(context: GraphExecutionContext) -> str: ...
def finish(context: GraphExecutionContext) -> None: ...
