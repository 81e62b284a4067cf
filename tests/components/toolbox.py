# SPDX-License-Identifier: Apache-2.0
"""Small components as text: a command that does what its arguments say, and typed functions."""

from __future__ import annotations

_ERROR_CODES = (
    "access would-block already bad-descriptor busy deadlock quota exist file-too-large "
    "illegal-byte-sequence in-progress interrupted invalid io is-directory loop too-many-links "
    "message-size name-too-long no-device no-entry no-lock insufficient-memory insufficient-space "
    "not-directory not-empty not-recoverable unsupported no-tty no-such-device overflow "
    "not-permitted pipe read-only invalid-seek text-file-busy cross-device"
)

_IMPORTS = """
  (import "wasi:io/error@0.2.0" (instance $io-error (export "error" (type (sub resource)))))
  (alias export $io-error "error" (type $error))
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (alias outer 1 $error (type $e))
    (export "error" (type $e2 (eq $e)))
    (type $v (variant (case "last-operation-failed" (own $e2)) (case "closed")))
    (export "stream-error" (type $se (eq $v)))
    (export "input-stream" (type $in (sub resource)))
    (export "output-stream" (type $out (sub resource)))
    (export "[method]input-stream.blocking-read"
      (func (param "self" (borrow $in)) (param "len" u64) (result (result (list u8) (error $se)))))
    (export "[method]output-stream.blocking-write-and-flush"
      (func (param "self" (borrow $out)) (param "contents" (list u8)) (result (result (error $se)))))))
  (alias export $streams "input-stream" (type $input))
  (alias export $streams "output-stream" (type $output))
  (import "wasi:cli/stdin@0.2.0" (instance $stdin
    (alias outer 1 $input (type $i)) (export "input-stream" (type $i2 (eq $i)))
    (export "get-stdin" (func (result (own $i2))))))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $output (type $o)) (export "output-stream" (type $o2 (eq $o)))
    (export "get-stdout" (func (result (own $o2))))))
  (import "wasi:cli/environment@0.2.0" (instance $environment
    (export "get-arguments" (func (result (list string))))
    (export "get-environment" (func (result (list (tuple string string)))))))
  (import "wasi:cli/exit@0.2.0" (instance $exit
    (export "exit" (func (param "status" (result))))
    (export "exit-with-code" (func (param "status-code" u8)))))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $cp)) (export "pollable" (type $cp2 (eq $cp)))
    (export "now" (func (result u64)))
    (export "subscribe-instant" (func (param "when" u64) (result (own $cp2))))
    (export "subscribe-duration" (func (param "when" u64) (result (own $cp2))))))
  (import "wasi:filesystem/types@0.2.0" (instance $types
    (type $codes (enum CODES)) (export "error-code" (type $code (eq $codes)))
    (export "descriptor" (type $d (sub resource)))
    (export "[method]descriptor.create-directory-at"
      (func (param "self" (borrow $d)) (param "path" string) (result (result (error $code)))))))
  (alias export $types "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (alias outer 1 $descriptor (type $fd)) (export "descriptor" (type $fd2 (eq $fd)))
    (export "get-directories" (func (result (list (tuple (own $fd2) string)))))))
""".replace("CODES", " ".join(f'"{code}"' for code in _ERROR_CODES.split(" ")))

#: Its memory, of two pages at first; `realloc` takes what comes next, and grows the memory for it.
_MEMORY = """
  (core module $libc
    (memory (export "memory") 2)
    (global $next (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (block $done (loop $more
        (br_if $done (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
        (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then (unreachable)))
        (br $more)))
      (local.get $at)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
"""

#: (the name inside, instance, function, parameters of the core function, its result)
_LOWERED = (
    ("block", "poll", "[method]pollable.block", "i32", ""),
    ("read", "streams", "[method]input-stream.blocking-read", "i32 i64 i32", ""),
    ("write", "streams", "[method]output-stream.blocking-write-and-flush", "i32 i32 i32 i32", ""),
    ("stdin", "stdin", "get-stdin", "", "i32"),
    ("stdout", "stdout", "get-stdout", "", "i32"),
    ("arguments", "environment", "get-arguments", "i32", ""),
    ("environment", "environment", "get-environment", "i32", ""),
    ("exit", "exit", "exit", "i32", ""),
    ("exit-with-code", "exit", "exit-with-code", "i32", ""),
    ("now", "clock", "now", "", "i64"),
    ("instant", "clock", "subscribe-instant", "i64", "i32"),
    ("duration", "clock", "subscribe-duration", "i64", "i32"),
    ("mkdir", "types", "[method]descriptor.create-directory-at", "i32 i32 i32 i32", ""),
    ("directories", "preopens", "get-directories", "i32", ""),
)

_LOWER = "\n".join(
    f'  (core func ${name} (canon lower (func ${instance} "{function}") '
    "(memory $memory) (realloc (core func $realloc))))"
    if name in ("read", "write", "arguments", "environment", "mkdir", "directories")
    else f'  (core func ${name} (canon lower (func ${instance} "{function}")))'
    for name, instance, function, _, _ in _LOWERED
)
_CORE_IMPORTS = "\n".join(
    f'    (import "wasi" "{name}" (func ${name} (param {parameters})'
    + (f" (result {result})))" if result else "))")
    for name, _, _, parameters, result in _LOWERED
)
_CORE_EXPORTS = " ".join(f'(export "{name}" (func ${name}))' for name, *_ in _LOWERED)

#: What it does is the first letter of its first argument: args, env, input (to the output), print forever,
#: sleep N (0 to 9 tenths of a second) or sleep for ever, until N, mkdir NAME, exit (as failed), code (42),
#: fail (run says so), trap, loop, recurse, grow.
_CODE = """
  (core module $main
    (import "libc" "memory" (memory 1))
CORE_IMPORTS
    (global $out (mut i32) (i32.const 0))
    (data (i32.const 512) "\\n=")
    (func $print (param i32 i32)
      (call $write (global.get $out) (local.get 0) (local.get 1) (i32.const 32)))
    (func $words (param $list i32) (param $count i32)
      (loop $next
        (if (local.get $count) (then
          (call $print (i32.load (local.get $list)) (i32.load offset=4 (local.get $list)))
          (call $print (i32.const 512) (i32.const 1))
          (local.set $list (i32.add (local.get $list) (i32.const 8)))
          (local.set $count (i32.sub (local.get $count) (i32.const 1)))
          (br $next)))))
    (func $copy (local $in i32)
      (local.set $in (call $stdin))
      (loop $more
        (call $read (local.get $in) (i64.const 1000) (i32.const 48))
        (if (i32.eqz (i32.load8_u (i32.const 48))) (then
          (call $print (i32.load (i32.const 52)) (i32.load (i32.const 56)))
          (br $more)))))
    (func $recurse (param i32) (result i32)
      (i32.add (i32.const 1) (call $recurse (i32.add (local.get 0) (i32.const 1)))))
    (func (export "run") (result i32) (local $arguments i32) (local $what i32) (local $given i32)
      (call $arguments (i32.const 16))
      (if (i32.lt_u (i32.load (i32.const 20)) (i32.const 2)) (then (return (i32.const 1))))
      (global.set $out (call $stdout))
      (local.set $arguments (i32.load (i32.const 16)))
      (local.set $what (i32.load8_u (i32.load offset=8 (local.get $arguments))))
      (if (i32.gt_u (i32.load (i32.const 20)) (i32.const 2)) (then
        (local.set $given (i32.load offset=16 (local.get $arguments)))))
      (if (i32.eq (local.get $what) (i32.const 97)) (then  ;; args
        (call $words (local.get $arguments) (i32.load (i32.const 20)))))
      (if (i32.eq (local.get $what) (i32.const 101)) (then  ;; env, a name and a value on a line each
        (call $environment (i32.const 24))
        (call $words (i32.load (i32.const 24)) (i32.mul (i32.const 2) (i32.load (i32.const 28))))))
      (if (i32.eq (local.get $what) (i32.const 105)) (then (call $copy)))  ;; input
      (if (i32.eq (local.get $what) (i32.const 112)) (then  ;; print
        (loop $again (call $print (i32.const 512) (i32.const 2)) (br $again))))
      (if (i32.eq (local.get $what) (i32.const 115)) (then  ;; sleep
        (call $block (call $duration (if (result i64) (local.get $given)
          (then (i64.mul (i64.const 100000000)
            (i64.sub (i64.load8_u (local.get $given)) (i64.const 48))))
          (else (i64.const -1)))))))
      (if (i32.eq (local.get $what) (i32.const 117)) (then  ;; until
        (call $block (call $instant (i64.add (call $now) (i64.mul (i64.const 100000000)
          (i64.sub (i64.load8_u (local.get $given)) (i64.const 48))))))))
      (if (i32.eq (local.get $what) (i32.const 109)) (then  ;; mkdir
        (call $directories (i32.const 24))
        (if (i32.eqz (i32.load (i32.const 28))) (then (return (i32.const 1))))
        (call $mkdir (i32.load (i32.load (i32.const 24)))
          (local.get $given) (i32.load offset=20 (local.get $arguments)) (i32.const 40))
        (return (i32.load8_u (i32.const 40)))))
      (if (i32.eq (local.get $what) (i32.const 120)) (then (call $exit (i32.const 1))))
      (if (i32.eq (local.get $what) (i32.const 99)) (then (call $exit-with-code (i32.const 42))))
      (if (i32.eq (local.get $what) (i32.const 102)) (then (return (i32.const 1))))
      (if (i32.eq (local.get $what) (i32.const 116)) (then (unreachable)))
      (if (i32.eq (local.get $what) (i32.const 108)) (then (loop $ever (br $ever))))
      (if (i32.eq (local.get $what) (i32.const 114)) (then (drop (call $recurse (i32.const 0)))))
      (if (i32.eq (local.get $what) (i32.const 103)) (then  ;; grow
        (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)))
      (i32.const 0)))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc)) (with "wasi" (instance CORE_EXPORTS))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $command))
""".replace("CORE_IMPORTS", _CORE_IMPORTS).replace("CORE_EXPORTS", _CORE_EXPORTS)

COMMAND = f"(component {_IMPORTS} {_MEMORY} {_LOWER} {_CODE})".encode()


def echo(kind: str, definitions: str = "", core: str = "i32", body: str = "(local.get 0)") -> bytes:
    """A component with `echo: func(x: KIND) -> KIND`. `core`: the flattened parameter. `body` gives the
    result, by default the parameter, which is right for one core value."""
    result = core if " " not in core else "i32"
    return f"""(component {definitions} {_MEMORY}
      (core module $main
        (import "libc" "memory" (memory 1))
        (func (export "echo") (param {core}) (result {result}) {body})
        (func (export "twice") (param i32) (result i32) (i32.mul (i32.const 2) (local.get 0)))
        (func (export "trap") (unreachable)))
      (core instance $main (instantiate $main (with "libc" (instance $libc))))
      (func (export "echo") (param "x" {kind}) (result {kind}) (canon lift (core func $main "echo")
        (memory $memory) (realloc (core func $realloc))))
      (func $twice (param "number" u32) (result u32) (canon lift (core func $main "twice")))
      (func $trap (canon lift (core func $main "trap")))
      (instance $numbers (export "twice" (func $twice)) (export "trap" (func $trap)))
      (export "test:numbers/arithmetic@1.2.0" (instance $numbers)))""".encode()


#: Gives two core values as a pointer and a length.
SPAN = "(i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1)) (i32.const 16)"
#: Gives two core values as two bytes.
BYTES = "(i32.store8 (i32.const 16) (local.get 0)) (i32.store8 (i32.const 17) (local.get 1)) (i32.const 16)"
#: Gives two core values as a 32-bit number and a byte.
WORD_BYTE = (
    "(i32.store (i32.const 16) (local.get 0)) (i32.store8 (i32.const 20) (local.get 1)) (i32.const 16)"
)


#: With `nn`: loads the graph `m` by its name and makes a context and a tensor of four bytes; `hold`
#: returns with all of them held, `fail` traps so.
NN = f"""(component
  (import "wasi:nn/errors@0.2.0-rc-2024-10-28" (instance $errors (export "error" (type (sub resource)))))
  (alias export $errors "error" (type $error))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" (instance $tensor
    (export "tensor" (type $t (sub resource)))
    (type $tt (enum "FP16" "FP32" "FP64" "BF16" "U8" "I32" "I64")) (export "tensor-type" (type $t2 (eq $tt)))
    (export "[constructor]tensor" (func (param "dimensions" (list u32)) (param "ty" $t2)
      (param "data" (list u8)) (result (own $t))))))
  (import "wasi:nn/inference@0.2.0-rc-2024-10-28" (instance $inference
    (export "graph-execution-context" (type (sub resource)))))
  (alias export $inference "graph-execution-context" (type $context))
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" (instance $graph
    (alias outer 1 $error (type $e)) (export "error" (type $e2 (eq $e)))
    (alias outer 1 $context (type $c)) (export "graph-execution-context" (type $c2 (eq $c)))
    (export "graph" (type $g (sub resource)))
    (export "[method]graph.init-execution-context" (func (param "self" (borrow $g))
      (result (result (own $c2) (error (own $e2))))))
    (export "load-by-name" (func (param "name" string) (result (result (own $g) (error (own $e2))))))))
  {_MEMORY}
  (core func $make (canon lower (func $tensor "[constructor]tensor") (memory $memory)))
  (core func $load (canon lower (func $graph "load-by-name") (memory $memory)))
  (core func $context (canon lower (func $graph "[method]graph.init-execution-context") (memory $memory)))
  (core module $main
    (import "libc" "memory" (memory 1))
    (import "nn" "tensor" (func $make (param i32 i32 i32 i32 i32) (result i32)))
    (import "nn" "load" (func $load (param i32 i32 i32)))
    (import "nn" "context" (func $context (param i32 i32)))
    (data (i32.const 64) "m") (data (i32.const 68) "\\01\\00\\00\\00")
    (func $all
      (drop (call $make (i32.const 68) (i32.const 1) (i32.const 1) (i32.const 72) (i32.const 4)))
      (call $load (i32.const 64) (i32.const 1) (i32.const 80))
      (if (i32.load8_u (i32.const 80)) (then (unreachable)))
      (call $context (i32.load (i32.const 84)) (i32.const 88))
      (if (i32.load8_u (i32.const 88)) (then (unreachable))))
    (func (export "hold") (call $all))
    (func (export "fail") (call $all) (drop (i32.div_s (i32.const 1) (i32.load (i32.const 100))))))
  (core instance $main (instantiate $main (with "libc" (instance $libc)) (with "nn" (instance
    (export "tensor" (func $make)) (export "load" (func $load)) (export "context" (func $context))))))
  (func (export "hold") (canon lift (core func $main "hold")))
  (func (export "fail") (canon lift (core func $main "fail"))))""".encode()
