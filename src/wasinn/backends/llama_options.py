# SPDX-License-Identifier: Apache-2.0
"""The options of a language model: a JSON object, as WasmEdge's guests write it.

Where an option can be given: the guest's input 1 counts before the config at `load_by_name_with_config`,
that before the operator's registry, that before the defaults here. A key that is not known is named in
the log and ignored; a value of the wrong type, or outside what makes sense, is refused.
"""

from __future__ import annotations

import collections
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from wasinn.backends.common import one_line
from wasinn.errors import WasiNNError, invalid_argument
from wasinn.spec import ErrorCode

logger = logging.getLogger("wasinn.guest")

#: Most tokens of a context where the options do not say, whatever the model was trained with: the memory
#: of a context grows with it.
DEFAULT_CONTEXT = 4096

#: Tokens of a prompt at a time.
DEFAULT_BATCH = 512

#: Stop sequences, and the characters of one.
MAX_STOPS, MAX_STOP = 64, 1000

#: The characters of a grammar, and of a JSON schema.
MAX_GRAMMAR = 65536

#: The bytes of all options together. Nothing else runs while JSON is parsed, deadlines neither.
MAX_OPTIONS = 1 << 20

Message = tuple[str, str]


@dataclass(frozen=True)
class Options:
    """What the keys of the JSON object set, with `-` as `_`. None: not said."""

    # how the model is loaded
    n_gpu_layers: int | None = None
    main_gpu: int = 0
    no_mmap: bool = False
    # the context
    ctx_size: int | None = None
    batch_size: int = DEFAULT_BATCH
    ubatch_size: int = DEFAULT_BATCH
    threads: int | None = None
    # the prompt
    add_special: bool = True
    chat: bool | tuple[Message, ...] = False
    # what is written
    embedding: bool = False
    n_predict: int = -1
    stop: tuple[str, ...] = ()
    grammar: str = ""
    json_schema: str = ""
    # which token is taken
    temp: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    # what is told
    enable_log: bool = False
    enable_debug_log: bool = False
    stream_stdout: bool = False

    @property
    def log_level(self) -> int | None:
        """From which level on the library's log is shown; not at all where None."""
        if self.enable_debug_log:
            return logging.DEBUG
        return logging.INFO if self.enable_log else None

    def updated(self, config: str | bytes) -> Options:
        """These options with what `config` says in their place.

        Raises WasiNNError: invalid_encoding if it is no JSON object in UTF-8, invalid_argument for a value
        that is not what its key wants, too_large.
        """
        if len(config) > MAX_OPTIONS:
            reason = f"options: wanted at most {MAX_OPTIONS} bytes, got {len(config)}"
            raise WasiNNError(ErrorCode.TOO_LARGE, reason)
        found = _parse(config)
        changes: dict[str, Any] = {}
        unknown = []
        for key, value in found.items():
            known = _KEYS.get(key)
            if known is None:
                unknown.append(key)
                continue
            field, read = known
            changes[field] = read(key, value)
        if unknown and may_warn():
            names = ", ".join(repr(one_line(key, 60)) for key in sorted(unknown)[:20])
            logger.warning("language model options that are not known here are ignored: %s", names)
        # Either of the two takes the place of what was set before.
        if changes.get("grammar") and changes.get("json_schema"):
            raise invalid_argument("options: grammar and json-schema exclude each other; got both")
        if changes.get("grammar"):
            changes["json_schema"] = ""
        if changes.get("json_schema"):
            changes["grammar"] = ""
        if changes.get("stream_stdout") and may_warn():
            logger.warning("stream-stdout has no effect on this host: the guest reads the text and prints it")
        return replace(self, **changes)


#: A guest may give options as often as it likes; the log has room for so many lines about them a minute.
_MAX_WARNINGS = 20
_warned: collections.deque[float] = collections.deque(maxlen=_MAX_WARNINGS)


def may_warn() -> bool:
    """Whether the log has room for a line."""
    now = time.monotonic()
    if len(_warned) == _MAX_WARNINGS and now - _warned[0] < 60:
        return False
    _warned.append(now)
    return True


def _parse(config: str | bytes) -> Mapping[str, Any]:
    try:
        text = config if isinstance(config, str) else config.decode("utf-8")
        text = text.rstrip("\0")  # a C string may come with its end
        found = json.loads(text) if text.strip() else {}
    except UnicodeDecodeError as error:
        raise _no_json(f"byte {error.start} is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise _no_json(one_line(error)) from error
    if not isinstance(found, dict):
        raise _no_json(f"it is {_shown(found)}")
    return found


def _no_json(reason: str) -> WasiNNError:
    return WasiNNError(ErrorCode.INVALID_ENCODING, f"options: wanted a JSON object: {reason}")


def _shown(value: Any) -> str:
    """A value of JSON as an error quotes it."""
    try:
        text = json.dumps(value)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return one_line(text if len(text) <= 60 else f"{text[:57]}...")


def _wrong(key: str, wanted: str, value: Any) -> WasiNNError:
    return invalid_argument(f"options: {key}: wanted {wanted}, got {_shown(value)}")


Reader = Callable[[str, Any], Any]


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong(key, "true or false", value)
    return value


def _integer(least: int, most: int, meaning: str = "") -> Reader:
    wanted = f"an integer from {least} to {most}{meaning}"

    def read(key: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise _wrong(key, wanted, value)
        return value

    return read


def _number(least: float, most: float) -> Reader:
    wanted = f"a number from {least:g} to {most:g}"

    def read(key: str, value: Any) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise _wrong(key, wanted, value)
        if not (math.isfinite(value) and least <= value <= most):
            raise _wrong(key, wanted, value)
        return float(value)

    return read


def _context_size(key: str, value: Any) -> int | None:
    found: int = _integer(0, 1 << 31, " (0: what the model was trained with)")(key, value)
    return found


def _threads(key: str, value: Any) -> int | None:
    found: int = _integer(0, 1024, " (0: the host's choice)")(key, value)
    return found or None


def _seed(key: str, value: Any) -> int | None:
    found: int = _integer(-1, (1 << 32) - 1, " (-1: another one each time)")(key, value)
    return found if 0 <= found < (1 << 32) - 1 else None


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(key, "a string", value)
    if "\0" in value:
        raise _wrong(key, "a string without U+0000", value)
    return _encodable(value)


def _encodable(text: str) -> str:
    """JSON can name halves of surrogate pairs, which UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


def _grammar(key: str, value: Any) -> str:
    found = _text(key, value)
    if len(found) > MAX_GRAMMAR:
        raise invalid_argument(f"options: {key}: wanted at most {MAX_GRAMMAR} characters, got {len(found)}")
    return found


def _schema(key: str, value: Any) -> str:
    """A JSON schema, as an object or as its text; always its text."""
    if isinstance(value, dict):
        return _grammar(key, json.dumps(value))
    found = _grammar(key, value)
    if not found:
        return ""
    try:
        parsed = json.loads(found)
    except (ValueError, RecursionError) as error:
        raise invalid_argument(f"options: {key}: wanted a JSON schema: {one_line(error)}") from error
    if not isinstance(parsed, dict):
        raise _wrong(key, "a JSON schema (an object, or its text)", value)
    return found


def _stops(key: str, value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _wrong(key, "a string or a list of strings", value)
    if len(texts) > MAX_STOPS or any(len(text) > MAX_STOP for text in texts):
        wanted = f"at most {MAX_STOPS} strings of at most {MAX_STOP} characters"
        raise _wrong(key, wanted, value)
    return tuple(dict.fromkeys(_encodable(text) for text in texts if text))


def _chat(key: str, value: Any) -> bool | tuple[Message, ...]:
    if isinstance(value, bool):
        return value
    wanted = 'true, false or a list of messages {"role": "...", "content": "..."}'
    if not isinstance(value, list):
        raise _wrong(key, wanted, value)
    messages = []
    for message in value:
        if not isinstance(message, dict):
            raise _wrong(key, wanted, message)
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not isinstance(content, str) or set(message) - {"role", "content"}:
            raise _wrong(key, wanted, message)
        messages.append((_text(f"{key}: role", role), _text(f"{key}: content", content)))
    return tuple(messages)


#: Each key, the field that it sets and what reads it.
_KEYS: Mapping[str, tuple[str, Reader]] = {
    key: (field, read)
    for key, field, read in [
        ("n-gpu-layers", "n_gpu_layers", _integer(-1, 1_000_000, " (-1: all)")),
        ("main-gpu", "main_gpu", _integer(0, 1023)),
        ("no-mmap", "no_mmap", _flag),
        ("ctx-size", "ctx_size", _context_size),
        ("batch-size", "batch_size", _integer(1, 1 << 20)),
        ("ubatch-size", "ubatch_size", _integer(1, 1 << 20)),
        ("threads", "threads", _threads),
        ("add-special", "add_special", _flag),
        ("chat", "chat", _chat),
        ("embedding", "embedding", _flag),
        ("n-predict", "n_predict", _integer(-2, (1 << 31) - 1, " (-1 and -2: to the end)")),
        ("stop", "stop", _stops),
        ("reverse-prompt", "stop", _stops),
        ("grammar", "grammar", _grammar),
        ("json-schema", "json_schema", _schema),
        ("temp", "temp", _number(0, 100)),
        ("top-k", "top_k", _integer(-1, (1 << 31) - 1, " (0 and -1: all tokens)")),
        ("top-p", "top_p", _number(0, 1)),
        ("min-p", "min_p", _number(0, 1)),
        ("typical-p", "typical_p", _number(0, 1)),
        ("repeat-penalty", "repeat_penalty", _number(0.01, 100)),
        ("repeat-last-n", "repeat_last_n", _integer(-1, (1 << 31) - 1, " (-1: the whole context)")),
        ("presence-penalty", "presence_penalty", _number(-100, 100)),
        ("frequency-penalty", "frequency_penalty", _number(-100, 100)),
        ("seed", "seed", _seed),
        ("enable-log", "enable_log", _flag),
        ("enable-debug-log", "enable_debug_log", _flag),
        ("stream-stdout", "stream_stdout", _flag),
    ]
}
