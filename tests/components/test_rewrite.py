# SPDX-License-Identifier: Apache-2.0
"""The rewriter and the adapter: bytes arrive as they left, however many; and no component breaks it."""

from __future__ import annotations

import itertools
import os
import random
import re
from collections.abc import Callable

import pytest
import wasmtime
from wasmtime.component import Component

import wat_guest
from fake_host import FakeHost, Running
from mutations import mutate
from wasinn.abi.component import builder, bulk
from wasinn.abi.component.outline import Outline
from wasinn.abi.component.rewrite import NotRewritable, rewrite, wrap
from wasinn.abi.component.snapshots import SNAPSHOTS

ENGINE = wasmtime.Engine()
QUICK = wasmtime.Config()
QUICK.cranelift_opt_level = "none"
QUICK_ENGINE = wasmtime.Engine(QUICK)
COUNT = int(os.environ.get("WASINN_MUTATIONS", "90"))

#: Around each border: of vectors and planes, of a piece.
SIZES = [0, 1, 2, 7, 8, 15, 16, 17, 111, 112, 113, 1000, 4000, 602_112]
SIZES += [bulk.PIECE - 1, bulk.PIECE, bulk.PIECE + 1, 2 * bulk.PIECE, 2 * bulk.PIECE + 5]


def wat(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def valid(component: bytes) -> bool:
    try:
        Component(QUICK_ENGINE, component)
    except wasmtime.WasmtimeError:
        return False
    return True


@pytest.fixture(params=[rewrite, wrap], ids=["shims", "wrapped"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test is run for both ways: `running` and `rewritten` take the one that is tested."""
    monkeypatch.setitem(CHOSEN, "way", request.param)
    return str(request.node.callspec.id)


CHOSEN: dict[str, Callable[[bytes], bytes]] = {"way": rewrite}


def rewritten(component: bytes) -> bytes:
    return CHOSEN["way"](component)


def running(
    version: str = wat_guest.VERSION, *, enum_error: bool = False, memory_limit: int | None = None
) -> tuple[FakeHost, Running]:
    host = FakeHost(version, enum_error=enum_error)
    component = rewritten(wat_guest.guest(version, enum_error=enum_error))
    return host, Running(ENGINE, component, host, memory_limit)


def round_trip(host: FakeHost, guest: Running, size: int) -> None:
    guest.call("fill", size, size)
    tensor = guest.call("new", 0, size)
    dims, kind, data = host.tensors[len(host.tensors)]
    assert (dims, kind) == ([size, 7], "U8")
    assert data.tobytes() == wat_guest.pattern(size, size)
    assert guest.call("data", tensor, 0) == size  # the guest compares
    guest.call("drop", tensor)
    assert len(host.dropped) == len(host.tensors)


# -- bytes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", SNAPSHOTS)
@pytest.mark.parametrize("enum_error", [False, True])
def test_every_snapshot(version: str, enum_error: bool) -> None:
    host, guest = running(version, enum_error=enum_error)
    round_trip(host, guest, 4001)
    guest.call("fill", 1000, 1)
    assert guest.call("load", 10, 1000, 2) & 1 == 0
    assert host.loaded == [[wat_guest.pattern(1000, 1)[:10], wat_guest.pattern(1000, 1)[10:]]]
    host.fail = True
    result = guest.call("load", 10, 1000, 2)
    assert result & 1 == 1
    if enum_error:
        assert result >> 1 == 1  # case b


def test_any_size_one_after_another() -> None:
    """In one instance: what a call leaves in the adapter's memory does not show in the next one."""
    host, guest = running()
    for size in [*SIZES, *reversed(SIZES)]:
        round_trip(host, guest, size)


def test_any_start() -> None:
    host, guest = running()
    guest.call("fill", 5000, 3)
    for start in range(20):
        tensor = guest.call("new", start, 4000 + start)
        assert host.tensors[start + 1][2].tobytes() == wat_guest.pattern(5000, 3)[start : 4000 + 2 * start]
        assert guest.call("data", tensor, start) == 4000 + start


def test_the_calls_that_a_list_takes(way: str) -> None:
    host, guest = running()
    guest.call("fill", 2 * bulk.PIECE, 1)
    guest.call("data", guest.call("new", 0, bulk.PIECE - 1), 0)
    assert host.calls == ["tensor", "data"]
    host.calls.clear()
    guest.call("data", guest.call("new", 0, 2 * bulk.PIECE), 0)
    # A shim asks how much there is; the wrapper goes on until a piece is not full.
    more = ["size", "data"] if "shims" in way else ["data", "data"]
    assert host.calls == ["begin", "push", "tensor", "push", "data", *more]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 500])
def test_builders(count: int) -> None:
    """None, empty ones, one that takes several pieces."""
    host, guest = running()
    size, first = bulk.PIECE + 1005, 1001
    guest.call("fill", size, 9)
    assert guest.call("load", first, size, count) & 1 == 0
    data = wat_guest.pattern(size, 9)
    assert host.loaded == [[data[:first], data[first:], *[b""] * count][:count]]


def test_a_list_over_128_mib() -> None:
    """The runtime would trap if one call carried as much, and far earlier for list<u8>."""
    host, guest = running()
    round_trip(host, guest, (128 << 20) + 12_345)


# -- what goes wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["begin", "push", "tensor", "data", "load"])
def test_a_trap_in_the_middle_leaves_other_instances_alone(call: str) -> None:
    size = 2 * bulk.PIECE + 3
    host, guest = running()
    other_host, other = running()
    kept = guest.call("new", 0, 0)
    guest.call("fill", size, 5)
    host.trap_at = call
    arguments = {"load": ("load", 1, size, 2), "data": ("data", kept, 0)}.get(call, ("new", 0, size))
    with pytest.raises(RuntimeError, match="as the test wants"):
        guest.call(*arguments)
    host.trap_at = ""
    with pytest.raises(wasmtime.WasmtimeError, match="cannot enter"):
        guest.call("new", 0, 8)
    round_trip(other_host, other, 5000)
    host, guest = running()
    round_trip(host, guest, size)


def test_a_list_for_which_the_adapter_has_no_memory() -> None:
    limit = 1 << 20
    host, guest = running(memory_limit=limit)
    round_trip(host, guest, 300_000)
    # The guest's memory holds it; the adapter's does not hold it and its high bits.
    size = limit - (2 << 16)
    guest.call("fill", size, 5)
    with pytest.raises(wasmtime.WasmtimeError, match="adapter_out_of_memory"):
        guest.call("new", 0, size)


def test_a_list_outside_the_guests_memory() -> None:
    _, guest = running()
    with pytest.raises(wasmtime.WasmtimeError, match="out-of-bounds"):
        guest.call("new", 0xFFF0_0000, 1 << 19)


def test_a_handle_that_was_dropped() -> None:
    _, guest = running()
    tensor = guest.call("new", 0, 100)
    guest.call("drop", tensor)
    with pytest.raises(wasmtime.WasmtimeError, match="handle"):
        guest.call("data", tensor, 0)


def test_the_adapters_memory_does_not_grow_from_call_to_call() -> None:
    """Many times the limit goes through in all."""
    host, guest = running(memory_limit=12 << 20)
    guest.call("fill", 4 << 20, 1)
    for _ in range(15):
        tensor = guest.call("new", 0, 4 << 20)
        guest.call("data", tensor, 0)
        guest.call("drop", tensor)
        guest.call("load", 5, 4 << 20, 3)
        host.tensors.clear()
        host.loaded.clear()


# -- what is rewritten ------------------------------------------------------------------------------

CORE = """
  (core module $X (func (export "f") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))
  (core instance $x (instantiate $X))
  (alias core export $x "f" (core func $core))
"""
FUNCTION = '(func $f (param "it" {type}) (result u32) (canon lift (core func $core))) (export "it" (func $f))'
RECORD = '(type $r (record (field "a" u32))) (export $it "rec" (type $r))'
EXPORTS = {
    "a record": '(type $r (record (field "a" u32))) (export $it "rec" (type $r))'
    + FUNCTION.format(type="$it"),
    "a tuple of records": RECORD + "(type $p (tuple $it))" + FUNCTION.format(type="(tuple $p)"),
    "an enum of the host": '(alias export $tensor "tensor-type" (type $e))' + FUNCTION.format(type="$e"),
    "a tensor": FUNCTION.format(type="(own $tensor-type)"),
    "a tensor under another name": '(export $it "mine" (type $tensor-type))'
    + FUNCTION.format(type="(own $it)"),
    "a resource": """(type $r (resource (rep i32))) (export $it "res" (type $r))
        (core func $new (canon resource.new $r))
        (func $c (param "n" u32) (result (own $it)) (canon lift (core func $new)))
        (export "[constructor]res" (func $c))
        (func $g (param "self" (borrow $it)) (result u32) (canon lift (core func $core)))
        (export "[method]res.get" (func $g))""",
    "an instance": """(component $c (type $r (record (field "a" u32))) (export "rec" (type $r)))
        (instance $i (instantiate $c)) (export "api" (instance $i))""",
}


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_keep_their_types(name: str) -> None:
    component = wat_guest.guest(more=CORE + EXPORTS[name])
    before, after = Component(ENGINE, component), Component(ENGINE, rewritten(component))
    assert list(after.type.exports(ENGINE)) == list(before.type.exports(ENGINE))
    assert set(after.type.imports(ENGINE)) == set(before.type.imports(ENGINE))


def test_a_function_with_a_record_is_called() -> None:
    component = rewritten(wat_guest.guest(more=CORE + EXPORTS["a record"]))
    guest = Running(ENGINE, component, FakeHost(wat_guest.VERSION))
    record = wasmtime.component.Record()
    record.a = 41  # type: ignore[attr-defined]
    assert guest.call("it", record) == 42


def composition() -> str:
    """A component that hands its imports on to one that is nested in it."""
    inner = wat_guest.guest_wat().replace("(component", "(component $Inner", 1)
    names = {"errors": "$errors", "tensor": "$tensor", "graph": "$graph"}
    given = " ".join(
        f'(with "wasi:nn/{name}{wat_guest.VERSION}" (instance {instance}))'
        for name, instance in names.items()
    )
    return f"""(component {wat_guest.imports_wat()} {inner}
      (instance $in (instantiate $Inner {given}))
      (export "test:guest/inner" (instance $in)))"""


def test_a_composition() -> None:
    component = rewritten(wat(composition()))
    host = FakeHost(wat_guest.VERSION)
    guest = Running(ENGINE, component, host)
    inner = guest.instance.get_export_index(guest.store, "test:guest/inner")
    assert inner is not None

    def call(name: str, *arguments: int) -> int:
        index = guest.instance.get_export_index(guest.store, name, inner)
        assert index is not None
        function = guest.instance.get_func(guest.store, index)
        assert function is not None
        result: int = function(guest.store, *arguments)
        function.post_return(guest.store)
        return result

    call("fill", 9999, 1)
    assert call("data", call("new", 0, 9999), 0) == 9999
    assert host.tensors[1][2].tobytes() == wat_guest.pattern(9999, 1)


def test_two_snapshots_at_once() -> None:
    first = wat_guest.imports_wat("@0.2.0-rc-2024-10-28")
    second = wat_guest.imports_wat("", enum_error=True)
    second = re.sub(r"\$([a-z0-9-]+)", r"$\1-2", second)
    component = wat(f"(component {first} {second})")
    assert valid(component)
    result = rewritten(component)
    assert result != component
    assert valid(result)


@pytest.mark.parametrize("enum_error", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_interfaces_of_which_a_part_is_used(count: int, enum_error: bool) -> None:
    """Component builders leave out the functions that a guest does not call."""
    for bulk_functions in itertools.combinations(wat_guest.BULK, count):
        component = wat(f"(component {wat_guest.imports_wat(enum_error=enum_error, bulk=bulk_functions)})")
        result = rewritten(component)
        assert len(result) > len(component)
        assert valid(result)


def test_a_component_without_wasi_nn_stays_as_it_is() -> None:
    for text in (
        "(component)",
        '(component (import "wasi:io/x" (instance)))',
        '(component (import "a" (func)))',
    ):
        assert rewritten(wat(text)) == wat(text)


def test_a_component_that_knows_another_version_stays_as_it_is() -> None:
    component = wat_guest.guest("@0.3.0")
    assert rewritten(component) == component


def test_bulk_functions_that_are_not_imported() -> None:
    text = '(component (import "wasi:nn/tensor" (instance (export "tensor" (type (sub resource))))))'
    assert rewritten(wat(text)) == wat(text)


def test_the_guest_is_in_the_wrapper_as_it_was() -> None:
    component = wat_guest.guest()
    assert component in wrap(component)


DESTRUCTOR = """(core func $gone (canon resource.drop $tensor-type))
    (type $r (resource (rep i32) (dtor (core func $gone)))) (export $it "res" (type $r))
    (core func $make (canon resource.new $r))
    (func $c (param "t" (own $tensor-type)) (result (own $it)) (canon lift (core func $make)))
    (export "[constructor]res" (func $c))"""
MODULES = """(core module $A (func (export "f") (result i32) (i32.const 5)))
    (component $Inner (core module $B) (core instance $b (instantiate $B)))
    (instance $inner (instantiate $Inner)) (core instance $a (instantiate $A))
    (alias core export $a "f" (core func $af))
    (core instance $again (export "f" (func $af)) (export "memory" (memory $mem)))
    (core module $C (import "a" "f" (func $f (result i32))) (import "a" "memory" (memory 1))
      (func (export "g") (result i32) (i32.add (call $f) (i32.load (i32.const 65536)))))
    (core instance $cc (instantiate $C (with "a" (instance $again))))
    (func (export "five") (result u32) (canon lift (core func $cc "g")))"""


def test_what_comes_after_the_shims_keeps_its_meaning() -> None:
    """Modules, instances, functions and memories that have other indices now."""
    guest = Running(ENGINE, rewritten(wat_guest.guest(more=MODULES)), FakeHost(wat_guest.VERSION))
    assert guest.call("five") == 5
    guest.call("fill", 100, 3)
    first = int.from_bytes(wat_guest.pattern(100, 3)[:4], "little")
    assert guest.call("five") == (5 + first) % (1 << 32)


def test_a_destructor() -> None:
    """Of a resource of the guest's own, which holds a tensor."""
    host = FakeHost(wat_guest.VERSION)
    component = rewritten(wat_guest.guest(more=DESTRUCTOR))
    guest = Running(ENGINE, component, host)
    resource = guest.instance.get_func(guest.store, "[constructor]res")
    assert resource is not None
    round_trip(host, guest, 1000)


@pytest.mark.parametrize("inside", ["(alias outer $root $A (core module $m))", ""])
def test_a_nested_component_that_names_a_module_of_the_root(inside: str, way: str) -> None:
    """The shims would give that module another index: such a guest is wrapped."""
    text = wat_guest.guest_wat(more=f"(core module $A) (component $n {inside})")
    component = wat(text.replace("(component", "(component $root", 1))
    result = rewritten(component)
    assert valid(result)
    assert (component in result) == ("wrapped" in way or bool(inside))


def test_the_guests_imports_are_the_same() -> None:
    component = wat_guest.guest()
    assert Outline(rewritten(component)).imports == Outline(component).imports


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('(param "data" $data)', '(param "data" (list u16))'),
        ('(param "dimensions" $dims)', '(param "dimensions" (list u64))'),
        ('(param "ty" $ty)', '(param "ty" u32)'),
        ('(param "self" (borrow $t)) (result $data)', '(param "self" (borrow $t)) (result string)'),
        ('(list $builder)', '$builder'),
        ('(param "target" $target)', '(param "target" $encoding)\n (param "more" u8)'),
        ('(param "target" $target)', '(param "target" $encoding)'),
        ('"load-by-name"', '"wasinn-load"'),
    ],
)  # fmt: skip
def test_functions_of_other_types_are_refused(old: str, new: str) -> None:
    text = wat_guest.imports_wat()
    assert old in text
    component = wat(f"(component {text.replace(old, new, 1)})")
    assert valid(component)
    with pytest.raises(NotRewritable, match="wasi:nn"):
        rewritten(component)


@pytest.mark.parametrize(
    "more",
    [
        '(type $f (func (param "a" u32))) (export "f" (type $f))',
        '(type $i (instance)) (export "i" (type $i))',
        '(type $c (component)) (export "c" (type $c))',
        '(core module $m) (export "m" (core module $m))',
    ],
)
def test_exports_of_other_kinds_are_not_wrapped(more: str) -> None:
    component = wat_guest.guest(more=more)
    assert valid(component)
    assert valid(rewrite(component))
    with pytest.raises(NotRewritable, match="exports"):
        wrap(component)


def test_an_enum_from_elsewhere_that_is_used_without_a_name_of_its_own() -> None:
    text = wat_guest.imports_wat(enum_error=True)
    before, after = text.split('"load-by-name"')
    component = wat(f'(component {before}"load-by-name"{after.replace("(error $e)", "(error $outer)")})')
    assert valid(component)
    result = rewritten(component)
    assert len(result) > len(component)
    assert valid(result)


def test_types_without_end() -> None:
    """A section of two million types of a byte each: it is refused before it fills the memory."""
    guest = wat_guest.guest()
    types = builder.number(2_000_000) + b"\x7d" * 2_000_000
    component = guest[:8] + b"\x07" + builder.number(len(types)) + types + guest[8:]
    with pytest.raises(NotRewritable, match="more than"):
        rewritten(component)


def test_twice() -> None:
    with pytest.raises(NotRewritable, match="already"):
        rewritten(rewritten(wat_guest.guest()))


@pytest.mark.parametrize("data", [b"", b"\0asm\x01\0\0\0", b"wasi:nn/tensor", b"\0asm"])
def test_what_is_no_component(data: bytes) -> None:
    with pytest.raises(NotRewritable, match="component"):
        rewritten(data)


# -- mutations --------------------------------------------------------------------------------------


def mutation_sources() -> list[bytes]:
    """Whole guests; and some without code, which the runtime checks sooner."""
    kinds = [(version, enum_error) for version in SNAPSHOTS for enum_error in (False, True)]
    sources = [
        wat(f"(component {wat_guest.imports_wat(version, enum_error=enum)})") for version, enum in kinds
    ]
    sources += [wat(f"(component {wat_guest.imports_wat()} {CORE} {more})") for more in EXPORTS.values()]
    whole = [wat_guest.guest(version, enum_error=enum) for version, enum in kinds]
    whole += [wat_guest.guest(more=more) for more in (DESTRUCTOR, MODULES)]
    whole += [wat_guest.guest(more=CORE + more) for more in EXPORTS.values()]
    return [*sources, *whole, wat(composition())]


def check_mutations(count: int, first: int = 0) -> tuple[int, int, int]:
    """How many mutations were refused, stayed as they were, and were rewritten though valid before."""
    sources = mutation_sources()
    refused = same = good = 0
    for number in range(first, first + count):
        chance = random.Random(number)
        source = sources[number % len(sources)]
        # The types and the imports are half of what is read, and small: half of the mutations go there.
        end = Outline(source).sections[-1][3] if number % 2 else len(source)
        component = mutate(source[:end], chance) + source[end:]
        try:
            result = rewritten(component)
        except NotRewritable:
            refused += 1
            continue
        if result == component:
            same += 1
        elif valid(component):
            good += 1
            assert valid(result), f"mutation {number} is valid, but not when it is rewritten"
    return refused, same, good


def test_mutations() -> None:
    refused, _, good = check_mutations(3000)
    assert refused > 100
    assert good > 20


@pytest.mark.soak
def test_many_mutations() -> None:
    """A hundred thousand in `make soak`; WASINN_MUTATIONS=50000 makes it a million, in half an hour or so."""
    refused, _, good = check_mutations(COUNT * 20, first=3000)
    assert refused > 0
    assert good > 0
