# SPDX-License-Identifier: Apache-2.0
"""A guest of the tests: `mistakes WHICH` makes a mistake with @identity and prints what is said of it.

There is no "small-buffer": outputs are as large as they are.
"""

import sys

from wasinn_guest import Graph, NnError, Tensor, command

KNOWN = (
    "wrong-dims",
    "wrong-bytes",
    "wrong-type",
    "closed-context",
    "closed-graph",
    "unknown-graph",
    "no-such-input",
    "no-such-output",
    "no-input",
)


def mistake(which: str) -> None:
    good = Tensor.of([1, 2, 3, 4], "f32", [1, 4])
    with (
        Graph.by_name("nobody" if which == "unknown-graph" else "default") as graph,
        graph.context() as context,
    ):
        match which:
            case "wrong-dims":
                context.set_input("x", Tensor.of(range(5), "f32", [1, 5]))
            case "wrong-bytes":
                context.set_input("x", Tensor("f32", [1, 4], bytes(12)))
            case "wrong-type":
                context.set_input("x", Tensor.of([1, 2, 3, 4], "u8", [1, 4]))
            case "no-such-input":
                context.set_input("pixels", good)
            case "no-input":
                pass
            case _:
                context.set_input("x", good)
        if which == "closed-context":
            context.close()
        if which == "closed-graph":
            graph.close()
            graph.context()
        context.compute()
        if which == "no-such-output":
            context.output("scores")


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in KNOWN:
        print(f"mistakes: {' '.join(arguments)}: wanted is one of {', '.join(KNOWN)}", file=sys.stderr)
        return 1
    try:
        mistake(arguments[0])
    except NnError as error:
        print(error)
        return 0
    print("mistakes: nothing was said", file=sys.stderr)
    return 1


Run = command(main, "mistakes")
