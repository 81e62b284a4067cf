# SPDX-License-Identifier: Apache-2.0
"""How much a grammar (GBNF) can make llama.cpp remember.

llama.cpp follows all readings of a text at once, each a stack of what is still to come, and nothing ends
one call of it: `root ::= "a" root "b" | "a" root "c"` has two readings after one letter, a million after
twenty, and takes the memory of the machine and the time of the process. A rule that is called where
something follows leaves something on the stack; one that is called last leaves nothing. So where no rule
comes back to itself but in the last place, the stacks are as many as the grammar has places in their
contexts, and that number is known before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

#: Places that a grammar may have, those of a rule counted for each way to it.
MAX_PLACES = 20_000

_TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*) | (?P<name>[A-Za-z0-9_-]+)(?P<defines>\s*::=)? |
        (?P<text>"(?:\\.|[^"\\])*" | \[(?:\\.|[^\]\\])*\] | \.) |
        (?P<mark>[()|*+?]) | \{\s*(?P<least>\d*)\s*(?P<comma>,?)\s*(?P<most>\d*)\s*\}""",
    re.VERBOSE | re.DOTALL,
)


class Unbounded(ValueError):
    """Why a grammar has no bound, or one that is too high."""


@dataclass
class _Rule:
    """`places`: its length. `calls`: the rules called, how often, and whether in the last place."""

    places: int = 0
    calls: list[tuple[str, int, bool]] = field(default_factory=list)


def check_bounded(grammar: str) -> None:
    """Raises Unbounded for a grammar that may take any time and memory, and where that cannot be seen."""
    rules = _Reader(grammar).rules
    total = 0
    for name, ways in _ways(rules).items():
        total += ways * (rules[name].places + 1)
        if total > MAX_PLACES:
            raise Unbounded(f"it has more than {MAX_PLACES} places, with rules counted for each way to them")


def _ways(rules: dict[str, _Rule]) -> dict[str, int]:
    """In how many contexts each rule can be."""
    order = list(_components(rules))
    component = {name: number for number, names in enumerate(order) for name in names}
    ways = [0] * len(order)
    if "root" in component:
        ways[component["root"]] = 1
    # Callers come after what they call.
    for number in range(len(order) - 1, -1, -1):
        ways[number] = min(ways[number], MAX_PLACES + 1)
        for name in order[number]:
            for called, times, last in rules[name].calls:
                if called not in rules:
                    continue  # llama.cpp says so better
                if component[called] != number:
                    ways[component[called]] += ways[number] * times
                elif not last:
                    raise Unbounded(f"the rule {name[:60]!r} comes back to itself with something to follow")
    return {name: ways[component[name]] for name in rules}


def _components(rules: dict[str, _Rule]) -> Iterator[list[str]]:
    """The strongly connected components (Tarjan's, without recursion), what is called before its callers."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    for first, rule in rules.items():
        if first in number:
            continue
        work = [(first, iter(rule.calls))]
        number[first] = low[first] = len(number)
        stack.append(first)
        on_stack.add(first)
        while work:
            name, calls = work[-1]
            for called, _, _ in calls:
                if called not in rules:
                    continue
                if called not in number:
                    number[called] = low[called] = len(number)
                    stack.append(called)
                    on_stack.add(called)
                    work.append((called, iter(rules[called].calls)))
                    break
                if called in on_stack:
                    low[name] = min(low[name], number[called])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == number[name]:
                    at = stack.index(name)
                    found, stack[at:] = stack[at:], []
                    on_stack.difference_update(found)
                    yield found


class _Reader:
    """The rules of a grammar; groups and repetitions are rules of their own, as llama.cpp has it."""

    def __init__(self, grammar: str) -> None:
        self.rules: dict[str, _Rule] = {}
        #: Of each open group: its rule, and what the alternative being read has called: (rule, times).
        self._open: list[tuple[_Rule, list[tuple[str, int] | None]]] = []
        at = 0
        while at < len(grammar):
            found = _TOKEN.match(grammar, at)
            if found is None:
                raise Unbounded(f"what begins with {grammar[at : at + 20]!r} is not understood")
            at = found.end()
            self._take(found)
        self._end_rule()

    def _take(self, found: re.Match[str]) -> None:
        if found["skip"]:
            return
        if found["defines"]:
            self._end_rule()
            self._open = [(self.rules.setdefault(found["name"], _Rule()), [])]
            return
        if not self._open:
            raise Unbounded("it does not begin with a rule")
        rule, items = self._open[-1]
        mark = found["mark"]
        rule.places += 1
        if found["name"]:
            items.append((found["name"], 1))
        elif found["text"]:
            rule.places += len(found["text"]) if found["text"].startswith('"') else 1
            items.append(None)
        elif mark == "(":
            name = f"({len(self.rules)}"
            self.rules[name] = _Rule()
            items.append((name, 1))
            self._open.append((self.rules[name], []))
        elif mark == ")":
            if len(self._open) < 2:
                raise Unbounded("a parenthesis closes nothing")
            self._end_alternative()
            self._open.pop()
        elif mark == "|":
            self._end_alternative()
        else:
            self._repeat(found, rule, items)

    def _repeat(self, found: re.Match[str], rule: _Rule, items: list[tuple[str, int] | None]) -> None:
        if not items:
            raise Unbounded("a repetition of nothing")
        if found["mark"] == "?":
            return
        least = int((found["least"] or "0")[:9])
        times = max(least, int((found["most"] or "0")[:9])) + 1
        item = items[-1]
        if item is None:
            rule.places += times * 16
            return
        name = f"({len(self.rules)}"
        self.rules[name] = _Rule(2 * times, [(item[0], item[1] * times, False)])
        items[-1] = (name, 1)

    def _end_alternative(self) -> None:
        rule, items = self._open[-1]
        last = len(items) - 1
        rule.calls += [(*item, number == last) for number, item in enumerate(items) if item is not None]
        items.clear()

    def _end_rule(self) -> None:
        if len(self._open) > 1:
            raise Unbounded("a parenthesis is not closed")
        if self._open:
            self._end_alternative()
