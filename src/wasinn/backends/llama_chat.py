# SPDX-License-Identifier: Apache-2.0
"""A prompt from the messages of a chat, by the template that comes with the model.

llama.cpp knows the templates of several dozen model families by sight and has no interpreter of the
language that they are written in (Jinja), so that a model's template is looked at, never run.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from wasinn.backends.common import one_line
from wasinn.backends.llama_library import library
from wasinn.backends.llama_model import LlamaModel
from wasinn.backends.llama_options import Message
from wasinn.errors import invalid_argument, unsupported


def chat_prompt(model: LlamaModel, chat: bool | Sequence[Message], prompt: bytes) -> bytes:
    """The text that the model is to go on with: the messages, and `prompt` as the user's last one.

    Raises WasiNNError: unsupported_operation where the model has no template, or one that llama.cpp does
    not know; invalid_argument where there is no message at all.
    """
    messages = [(role.encode(), content.encode()) for role, content in (() if chat is True else chat or ())]
    if prompt:
        if b"\0" in prompt:
            raise invalid_argument("options: chat: a message cannot have a zero byte, and the prompt has one")
        messages.append((b"user", prompt))
    if not messages:
        raise invalid_argument("options: chat: there is no message: neither in the options nor a prompt")
    template = model.chat_template
    if template is None:
        raise unsupported(
            "options: chat: the model has no chat template (tokenizer.chat_template): write the whole prompt "
            "as the model was trained on it, and leave `chat` out"
        )
    llama = library()
    array = (llama.llama_chat_message * len(messages))()
    for place, (role, content) in zip(array, messages, strict=True):
        place.role, place.content = role, content
    room = 2 * sum(len(role) + len(content) for role, content in messages) + 1024
    while True:
        buffer = ctypes.create_string_buffer(room)
        size = llama.llama_chat_apply_template(template, array, len(messages), True, buffer, room)
        if size < 0:
            raise unsupported(
                "options: chat: llama.cpp does not know the model's chat template "
                f"({one_line(template.decode('utf-8', 'replace'), 80)!r}): write the whole prompt as the "
                "model was trained on it, and leave `chat` out"
            )
        if size <= room:
            return buffer.raw[:size]
        room = size
