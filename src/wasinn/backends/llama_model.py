# SPDX-License-Identifier: Apache-2.0
"""A model of llama.cpp and its contexts: what is native, and who frees it when.

A model is freed when the last graph and the last context on it are gone, a context when its execution
is closed. At the end of the process, when threads may still compute, all is left to the operating system.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import functools
import logging
import os
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wasinn.backends.llama_library import in_words, library, listening
from wasinn.backends.llama_options import may_warn
from wasinn.backends.llama_stack import with_room_for
from wasinn.errors import WasiNNError, invalid_argument, runtime_error, unsupported
from wasinn.spec import ErrorCode

logger = logging.getLogger("wasinn.guest")

#: A prompt of so many bytes is always tokenised. Nothing ends that; it takes some tenths of a second.
MIN_BYTES = 1 << 20


class Native:
    """A pointer that is freed once: by `free`, or when nothing refers to this any more. `owner` lives at
    least as long."""

    def __init__(self, pointer: Any, free: Callable[[Any], object], owner: Any = None) -> None:
        self.pointer = pointer
        self._finalizer = weakref.finalize(self, _free, pointer, free, owner)
        # Metal asserts at exit that all is freed.
        self._finalizer.atexit = sys.platform == "darwin"

    def free(self) -> None:
        self.pointer = None
        self._finalizer()


def _free(pointer: Any, free: Callable[[Any], object], owner: Any) -> None:
    del owner
    free(pointer)


@dataclass(frozen=True)
class Loading:
    """How a model is loaded: what cannot change afterwards."""

    gpu_layers: int = 0
    main_gpu: int = 0
    mmap: bool = True


class LlamaModel:
    """A model, shared by graphs and contexts; every method may be called from any thread."""

    def __init__(self, source: Path | bytes, loading: Loading, level: int | None = None) -> None:
        _check_magic(source)
        llama = library()
        params = llama.llama_model_default_params()
        params.n_gpu_layers = loading.gpu_layers
        params.main_gpu = loading.main_gpu
        params.check_tensors = isinstance(source, bytes)  # a guest's numbers: none that are no number
        _set_mapping(params, loading.mmap)
        with listening(level) as errors, _path_of(source) as path:
            pointer = llama.llama_model_load_from_file(os.fsencode(path), params)
        if not pointer:
            raise _load_error(errors, str(path))
        self._native = Native(pointer, llama.llama_model_free)
        self.pointer = pointer
        self.offloaded = loading.gpu_layers != 0
        self.vocab = llama.llama_model_get_vocab(pointer)
        self.tokens: int = llama.llama_vocab_n_tokens(self.vocab)
        self.trained_context: int = max(llama.llama_model_n_ctx_train(pointer), 1)
        self._pieces: dict[int, bytes | None] = {}
        #: How the model makes embeddings, once that has been looked at (llama_embedding.py).
        self.embedding_kind: tuple[bool, int] | None = None
        if llama.llama_vocab_type(self.vocab) == llama.LLAMA_VOCAB_TYPE_NONE or self.tokens <= 0:
            raise unsupported("the model has no vocabulary: it cannot take a prompt")
        if llama.llama_model_has_encoder(pointer) and llama.llama_model_has_decoder(pointer):
            raise unsupported("the model is an encoder with a decoder, which this backend does not serve")

    @functools.cached_property
    def parameters(self) -> int:
        found: int = library().llama_model_n_params(self.pointer)
        return found

    @functools.cached_property
    def longest_piece(self) -> int:
        """The most bytes of a text that one token stands for."""
        text = library().llama_vocab_get_text
        return max(len(text(self.vocab, token) or b"") for token in range(self.tokens))

    def most_bytes(self, tokens: int) -> int:
        """The size of a text that cannot have so few tokens (but for a vocabulary that reads words as
        unknown or drops spaces, where it is not likely to)."""
        return max(MIN_BYTES, tokens * self.longest_piece)

    @functools.cached_property
    def chat_template(self) -> bytes | None:
        template: bytes | None = library().llama_model_chat_template(self.pointer, None)
        return template

    def metadata(self, key: str) -> str | None:
        """A value of the model's metadata as text; None where there is none."""
        buffer = ctypes.create_string_buffer(1024)
        size = library().llama_model_meta_val_str(self.pointer, key.encode(), buffer, len(buffer))
        return None if size < 0 else buffer.value.decode("utf-8", "replace")

    def tokenize(self, text: bytes, special: bool) -> Sequence[int]:
        """The tokens of a prompt, with those at its begin and end that the model wants if `special`.
        Names of control tokens in the text stand for them.

        What is no UTF-8 becomes U+FFFD, as it would in most of llama.cpp; the rest of it ends the process.
        """
        text = _as_utf8(text)
        self._check_spelling(text)
        return with_room_for(text, lambda: self._tokenize(text, special))

    def _tokenize(self, text: bytes, special: bool) -> Sequence[int]:
        llama = library()
        room = min(len(text) + 8, (1 << 31) - 1)
        for _ in range(2):
            tokens = (llama.llama_token * room)()
            count = llama.llama_tokenize(self.vocab, text, len(text), tokens, room, special, True)
            if count >= 0:
                return array.array("i", memoryview(tokens).cast("B")[: 4 * count].tobytes())
            room = -count
            if room > (1 << 31) - 1:
                break
        raise invalid_argument(f"a prompt of {len(text)} bytes has too many tokens")

    def _check_spelling(self, text: bytes) -> None:
        """That llama.cpp will not end the process over a character: it does where a SentencePiece
        vocabulary has a token neither for a character nor for each of its bytes."""
        missing, texts = self._unspelled
        if not missing:
            return
        for character in sorted({*text.decode(), " "}):
            spelled = character.replace(" ", "\u2581").encode()
            if spelled not in texts and not missing.isdisjoint(spelled):
                raise invalid_argument(f"the model's vocabulary has no token for the character {character!r}")

    @functools.cached_property
    def _unspelled(self) -> tuple[frozenset[int], frozenset[bytes]]:
        """The bytes that have no token, and the texts of all tokens; both empty where that is no matter."""
        llama = library()
        if llama.llama_vocab_type(self.vocab) != llama.LLAMA_VOCAB_TYPE_SPM:
            return frozenset(), frozenset()
        missing = {b"<0x%02X>" % byte: byte for byte in range(256)}
        texts = set()
        for token in range(self.tokens):
            text = llama.llama_vocab_get_text(self.vocab, token)
            texts.add(text)
            if missing.pop(text, None) is not None and not missing:
                return frozenset(), frozenset()
        return frozenset(byte for byte in missing.values() if bytes([byte]) not in texts), frozenset(texts)

    def piece(self, token: int) -> bytes | None:
        """The bytes of a token (none of a control token); None of one that ends the text."""
        try:
            return self._pieces[token]
        except KeyError:
            found = None if self.ends(token) else self._read_piece(token)
            self._pieces[token] = found
            return found

    def _read_piece(self, token: int) -> bytes:
        llama = library()
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = llama.llama_token_to_piece(self.vocab, token, buffer, size, 0, False)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    @functools.cached_property
    def has_end(self) -> bool:
        """Whether any token ends the text."""
        return any(self.ends(token) for token in range(self.tokens))

    def ends(self, token: int) -> bool:
        """Whether a token ends the text."""
        return bool(library().llama_vocab_is_eog(self.vocab, token))


def _as_utf8(text: bytes) -> bytes:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        if may_warn():
            logger.warning(
                "the prompt is not UTF-8 at byte %d of %d; U+FFFD is read there", error.start, len(text)
            )
        return text.decode("utf-8", "replace").encode()
    return text


def _set_mapping(params: Any, mmap: bool) -> None:
    """Whether the file is mapped; the name of that changed between versions of the library."""
    if hasattr(params, "load_mode"):
        llama = library()
        params.load_mode = llama.LLAMA_LOAD_MODE_MMAP if mmap else llama.LLAMA_LOAD_MODE_NONE
    else:
        params.use_mmap = mmap


@contextlib.contextmanager
def _path_of(source: Path | bytes) -> Iterator[Path | str]:
    """A path for the library, which reads files only. Bytes become a file that has no other name: it is
    gone with the last mapping of it."""
    if isinstance(source, Path):
        yield source
        return
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("wasinn-model", os.MFD_CLOEXEC), "wb") as memory:
            memory.write(source)
            memory.flush()
            yield f"/proc/self/fd/{memory.fileno()}"
        return
    with tempfile.NamedTemporaryFile(prefix="wasinn-model-", suffix=".gguf") as file:
        file.write(source)
        file.flush()
        yield file.name


def _check_magic(source: Path | bytes) -> None:
    """That it begins as a GGUF does. Raises WasiNNError; llama.cpp's words for it are less plain."""
    try:
        if isinstance(source, bytes):
            head = source[:4]
        else:
            with source.open("rb") as file:
                head = file.read(4)
    except OSError as error:
        raise runtime_error(f"the model cannot be read: {error.strerror}") from error
    if head != b"GGUF":
        raise WasiNNError(
            ErrorCode.INVALID_ENCODING, f"this is not a GGUF model: it begins with {head!r}, not b'GGUF'"
        )


#: In what llama.cpp says of a GGUF that is cut or damaged.
_DAMAGE = ("gguf_", "corrupted or incomplete", "corrupted model", "is duplicated", "invalid data")


def _load_error(errors: Sequence[str], path: str) -> WasiNNError:
    said = [line.replace(path, "the file").replace("error loading model: ", "") for line in errors]
    telling = [line for line in said if "failed to load model" not in line]
    reason = in_words(telling or said, "llama.cpp gave no reason")
    if any(each in line for line in said for each in _DAMAGE):
        return WasiNNError(ErrorCode.INVALID_ENCODING, f"this is not a whole GGUF model: {reason}")
    return runtime_error(f"llama.cpp could not load the model: {reason}")
