# SPDX-License-Identifier: Apache-2.0
"""Hold the story model's files against its text, with llama.cpp.

    python -m tools.story.verify [DIRECTORY]

Needs llama-cpp-python. Each file must say what `story.txt` says, token by token the most likely one: every
story from the first words of any of its sentences on, to its end; every answer to its question, and nothing
after it. Ends with an error where one does not. Beginnings that are cut inside a word are only counted.
"""

import ctypes
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from llama_cpp import llama_cpp as llama  # type: ignore[import-not-found,import-untyped,unused-ignore]
from tools.story.network import load_vocabulary
from tools.story.text import SYSTEMS, Text, chat, load_text
from tools.story.vocabulary import BEGIN, END, MESSAGE_END, Vocabulary
from tools.story.write_gguf import FILES, MODELS

#: Text that no training has seen: of every token the text comes back.
ODD = "naïve ▁x  ?\t\r\n 12,5 % don't 日本語 👩‍👩‍👧 \u0000 <0x41> ümläut's\u00a0end  "

CONTEXT = 512


@dataclass
class Count:
    """How many were tried and how many of them were wrong; the first few of those are printed, unless
    `quiet`."""

    tried: int = 0
    wrong: int = 0
    quiet: bool = False

    def add(self, prompt: str, wanted: str, got: str) -> None:
        """Count one; print it if it is wrong."""
        self.tried += 1
        if wanted != got:
            self.wrong += 1
            if self.wrong <= 5 and not self.quiet:
                print(f"   {prompt!r}: wanted {wanted!r}, got {got!r}")

    def __str__(self) -> str:
        return f"{self.tried - self.wrong}/{self.tried}"


class Model:
    """A file that llama.cpp has loaded."""

    def __init__(self, path: Path) -> None:
        options = llama.llama_model_default_params()
        options.n_gpu_layers = 0
        self._model = llama.llama_model_load_from_file(str(path).encode(), options)
        if not self._model:
            raise SystemExit(f"{path}: llama.cpp does not load it")
        self._vocabulary = llama.llama_model_get_vocab(self._model)
        self._context = self._new_context(embeddings=False)
        self.seconds = 0.0
        self.generated = 0

    def _new_context(self, embeddings: bool) -> ctypes.c_void_p:
        options = llama.llama_context_default_params()
        options.n_ctx = options.n_batch = options.n_ubatch = CONTEXT
        options.n_threads = options.n_threads_batch = 1
        if embeddings:
            options.pooling_type = llama.LLAMA_POOLING_TYPE_MEAN
        context: ctypes.c_void_p = llama.llama_init_from_model(self._model, options)
        llama.llama_set_embeddings(context, embeddings)
        return context

    def encode(self, text: str, special: bool = False) -> list[int]:
        """Return the text's tokens, without one for its beginning; names of control tokens if `special`."""
        data = text.encode()
        tokens = (llama.llama_token * (len(data) + 8))()
        count = llama.llama_tokenize(self._vocabulary, data, len(data), tokens, len(tokens), False, special)
        return list(tokens[:count])

    def decode(self, tokens: list[int]) -> bytes:
        """Return the bytes of tokens; a control token is none."""
        buffer = ctypes.create_string_buffer(64)
        parts = []
        for token in tokens:
            count = llama.llama_token_to_piece(self._vocabulary, token, buffer, len(buffer), 0, False)
            parts.append(buffer.raw[:count])
        return b"".join(parts)

    def generate(self, prompt: list[int], most: int = 400) -> list[int]:
        """Return the most likely tokens after the prompt, with the one that ends them."""
        llama.llama_memory_clear(llama.llama_get_memory(self._context), True)
        size = llama.llama_vocab_n_tokens(self._vocabulary)
        tokens, answer = prompt, list[int]()
        started = time.perf_counter()
        while len(answer) < most:
            row = (llama.llama_token * len(tokens))(*tokens)
            if llama.llama_decode(self._context, llama.llama_batch_get_one(row, len(tokens))):
                raise SystemExit("llama_decode failed")
            logits = np.ctypeslib.as_array(llama.llama_get_logits_ith(self._context, -1), (size,))
            tokens = [int(logits.argmax())]
            answer += tokens
            if llama.llama_vocab_is_eog(self._vocabulary, tokens[0]):
                break
        self.seconds += time.perf_counter() - started
        self.generated += len(answer)
        return answer

    def chat_prompt(self, messages: list[tuple[str, str]]) -> str:
        """Return the messages in the model's own template, up to where its answer begins."""
        template = llama.llama_model_chat_template(self._model, None)
        rows = [
            llama.llama_chat_message(role=role.encode(), content=content.encode())
            for role, content in messages
        ]
        array = (llama.llama_chat_message * len(rows))(*rows)
        buffer = ctypes.create_string_buffer(8192)
        count = llama.llama_chat_apply_template(template, array, len(rows), True, buffer, len(buffer))
        if count < 0:
            raise SystemExit("llama.cpp does not know the chat template")
        return buffer.raw[:count].decode()

    def embed(self, text: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        """Return the mean of the last layer over the text's tokens, f32 [width]."""
        context = self._new_context(embeddings=True)
        tokens = [BEGIN, *self.encode(text)]
        row = (llama.llama_token * len(tokens))(*tokens)
        if llama.llama_decode(context, llama.llama_batch_get_one(row, len(tokens))):
            raise SystemExit("llama_decode failed")
        width = llama.llama_model_n_embd(self._model)
        vector = np.ctypeslib.as_array(llama.llama_get_embeddings_seq(context, 0), (width,)).copy()
        llama.llama_free(context)
        return vector

    def close(self) -> None:
        """Free the model."""
        llama.llama_free(self._context)
        llama.llama_model_free(self._model)


def check_tokens(model: Model, vocabulary: Vocabulary, text: Text) -> Count:
    """Hold llama.cpp's tokens against the ones of training, and against the text that they came from."""
    count = Count()
    lines = [" ".join(story) for story in text.stories] + [each for pair in text.answers for each in pair]
    for line in lines:
        count.add(line, str(vocabulary.encode(line)), str(model.encode(line)))
    for line in [*lines, *text.rounds, ODD]:
        count.add(line, line, model.decode(model.encode(line)).decode())
    return count


def check_stories(model: Model, text: Text, inside: bool = False) -> Count:
    """Cut every sentence after three or four words, with the space and without, or else `inside` the third
    word, and have the story told on."""
    count = Count(quiet=inside)
    for story in text.stories:
        for number, sentence in enumerate(story):
            whole = " ".join(story[number:])
            words = sentence.split(" ")
            three, four = len(" ".join(words[:3])), len(" ".join(words[:4]))
            for cut in (three - 1,) if inside else (three, three + 1, four, four + 1):
                prompt = whole[:cut]
                answer = model.generate([BEGIN, *model.encode(prompt)])
                ended = " (end)" if answer[-1] == END else " (goes on)"
                got = model.decode(answer).decode(errors="replace") + ended
                count.add(prompt, whole[cut:] + " (end)", got)
    return count


def check_answers(model: Model, text: Text) -> Count:
    """Ask every question by itself, after a message of the system, and after another question."""
    count = Count()
    previous = text.answers[-1]
    for question, answer in text.answers:
        for before, system in (([], ""), ([], SYSTEMS[0]), ([previous], "")):
            messages = chat([*before, (question, answer)], system)[:-1]
            tokens = model.generate([BEGIN, *model.encode(model.chat_prompt(messages), special=True)])
            ended = " (end)" if tokens[-1] == MESSAGE_END else " (goes on)"
            count.add(question, answer + " (end)", model.decode(tokens).decode(errors="replace") + ended)
        previous = (question, answer)
    return count


def check_rounds(model: Model, text: Text) -> Count:
    """Have what has no end told as far as the context goes."""
    count = Count()
    for each in text.rounds:
        prompt = [BEGIN, *model.encode(each[:20])]
        tokens = model.generate(prompt, CONTEXT - len(prompt))
        got = each[:20] + model.decode(tokens).decode(errors="replace")
        count.add(each[:20], (f"{each} " * 20)[: len(got)], got)
        count.add(each[:20], str(CONTEXT), str(len(prompt) + len(tokens)))
    return count


def check_embeddings(model: Model) -> Count:
    """Embed three texts: two that are alike are to be nearer to each other than to the third."""
    vectors = [model.embed(each) for each in ("The cat is grey.", "The cat is red.", "Bees make honey.")]
    units = [vector / np.linalg.norm(vector) for vector in vectors]
    near, far = float(units[0] @ units[1]), float(units[0] @ units[2])
    count = Count()
    count.add("embeddings", "alike", "alike" if far < near <= 1.001 else f"{near} and {far}")
    return count


def main() -> None:
    """Check every file, and print what was found and how fast it is."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else MODELS
    text = load_text()
    vocabulary = load_vocabulary(text)
    wrong = 0
    silent = llama.llama_log_callback(lambda level, message, data: None)
    llama.llama_log_set(silent, ctypes.c_void_p(0))
    for name in FILES:
        model = Model(directory / name)
        counts = {
            "tokens": check_tokens(model, vocabulary, text),
            "stories": check_stories(model, text),
            "answers": check_answers(model, text),
            "rounds": check_rounds(model, text),
            "embeddings": check_embeddings(model),
        }
        wrong += sum(count.wrong for count in counts.values())
        counts["inside words"] = check_stories(model, text, inside=True)
        found = "   ".join(f"{what} {count}" for what, count in counts.items())
        print(f"{name:15} {found}   {model.generated / model.seconds:.0f} tokens/s")
        model.close()
    if wrong:
        raise SystemExit(f"{wrong} wrong")


if __name__ == "__main__":
    main()
