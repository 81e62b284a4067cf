# SPDX-License-Identifier: Apache-2.0
"""A guest in Python that talks with a language model, and prints what it says as it says it.

wasinn run --graph default=ggml:MODEL.gguf chat.wasm [--name NAME] [--system TEXT] [--plain]
[--option KEY=VALUE]... [PROMPT]

Without PROMPT it is a conversation, whose turns are the lines of stdin. What was said before is the option
`chat`: the model's own template makes one text of it and the prompt. With --plain there is none, and the
model goes on writing where PROMPT ends.
"""

import sys
from typing import Any

from wasinn_guest import Context, Graph, NnError, command, generate, message, option

USAGE = "usage: chat [--name NAME] [--system TEXT] [--plain] [--option KEY=VALUE]... [PROMPT]"


def main(arguments: list[str]) -> int:
    """Answer the prompt, or each line of stdin; 1 where the command line is bad."""
    name, plain, prompts = "default", False, []
    options: dict[str, Any] = {}
    messages: list[dict[str, str]] = []
    words = iter(arguments)
    for word in words:
        if word == "--name":
            name = next(words, "")
        elif word == "--system":
            messages.append(message("system", next(words, "")))
        elif word == "--plain":
            plain = True
        elif word == "--option":
            key, value = option(next(words, ""))
            options[key] = value
        elif word.startswith("--") or prompts:
            print(f"chat: {word} is no option, or a second prompt; {USAGE}", file=sys.stderr)
            return 1
        else:
            prompts.append(word)
    with Graph.by_name(name) as graph, graph.context() as context:
        for prompt in prompts or filter(None, map(str.rstrip, sys.stdin)):
            # Options of the command line count before.
            text = answer(context, prompt, options if plain else {"chat": messages, **options})
            messages += [message("user", prompt), message("assistant", text)]
    return 0


def answer(context: Context, prompt: str, options: dict[str, Any]) -> str:
    """One answer, printed piece by piece."""
    pieces: list[str] = []
    try:
        for piece in generate(context, prompt, options):
            print(piece, end="", flush=True)
            pieces.append(piece)
    except NnError:
        if pieces:
            print(flush=True)  # the text so far ends its line
        raise
    print(flush=True)
    return "".join(pieces)


Run = command(main, "chat")
