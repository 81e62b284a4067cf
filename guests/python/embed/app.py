# SPDX-License-Identifier: Apache-2.0
"""A guest in Python: the vectors that a language model makes of texts.

wasinn run --graph default=ggml:MODEL.gguf embed.wasm [--name NAME] [--compare] [--option KEY=VALUE]...
TEXT...

Prints a line of JSON for each, or with --compare how alike they are, from -1 to 1, a row for each.
"""

import json
import sys
from typing import Any

from wasinn_guest import Graph, command, cosine, embed, option

USAGE = "usage: embed [--name NAME] [--compare] [--option KEY=VALUE]... TEXT..."


def main(arguments: list[str]) -> int:
    """Embed each text; 1 where the command line is bad."""
    name, compare, texts = "default", False, []
    options: dict[str, Any] = {}
    words = iter(arguments)
    for word in words:
        if word == "--name":
            name = next(words, "")
        elif word == "--compare":
            compare = True
        elif word == "--option":
            key, value = option(next(words, ""))
            options[key] = value
        elif word.startswith("--"):
            print(f"embed: there is no option {word}; {USAGE}", file=sys.stderr)
            return 1
        else:
            texts.append(word)
    if not texts:
        print(f"embed: no text is given; {USAGE}", file=sys.stderr)
        return 1
    vectors = []
    with Graph.by_name(name) as graph, graph.context() as context:
        for text in texts:
            vectors.append(embed(context, text, options))
            if not compare:
                print(json.dumps({"text": text, "embedding": vectors[-1]}, ensure_ascii=False), flush=True)
    if compare:
        for text, row in zip(texts, vectors, strict=True):
            print(*(f"{cosine(row, other):7.4f}" for other in vectors), "", text)
    return 0


Run = command(main, "embed")
