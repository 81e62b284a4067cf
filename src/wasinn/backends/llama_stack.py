# SPDX-License-Identifier: Apache-2.0
"""Room on the stack for llama.cpp's tokeniser.

It splits text into words by regular expressions, for many vocabularies with C++'s std::regex, which goes
one level deeper for each character of a word: 50,000 letters without a space end the process. So a text
with long words is tokenised on a thread whose stack is large enough for the longest.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TypeVar

from wasinn.errors import invalid_argument, runtime_error

#: Stretches (of spaces, or of anything else) up to this length fit into the stack of any thread.
_SHORT = 500

#: The longest that is taken, in characters, and the stack for each of them in bytes (seen: under 300).
_LONGEST, _EACH = 200_000, 2048

_STRETCH = re.compile(r"\s+|\S+")

_Result = TypeVar("_Result")
_starting = threading.Lock()  # the stack size of new threads is the process's


def with_room_for(text: bytes, call: Callable[[], _Result]) -> _Result:
    """What `call` returns, on a stack that is deep enough to tokenise `text` (valid UTF-8).

    Raises WasiNNError (invalid_argument) where no stack is.
    """
    if len(text) <= _SHORT:
        return call()
    longest = max(len(stretch[0]) for stretch in _STRETCH.finditer(text.decode()))
    if longest <= _SHORT:
        return call()
    if longest > _LONGEST:
        raise invalid_argument(
            f"the prompt has {longest} characters with no space between them, and {_LONGEST} are the most"
        )
    results: list[_Result] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="wasinn-tokenizer")
    with _starting:
        before = threading.stack_size((16 << 20) + _EACH * longest // 4096 * 4096)
        try:
            thread.start()
        except RuntimeError as error:
            raise runtime_error(f"there is no memory to tokenise a word of {longest} characters") from error
        finally:
            threading.stack_size(before)
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
