# SPDX-License-Identifier: Apache-2.0
"""Two guests as text that do the same: a component and a core module, for what `@bench` does not time alone.

Both export `load(size)` and functions that move a tensor of `size` bytes, all of what lies at DATA.
"""

from __future__ import annotations

#: Where the guest's data start: in the component, where its allocator does.
DATA = 65536
ONNX, CPU = 1, 0

_VERSION = "@0.2.0-rc-2024-10-28"
_ENCODINGS = '"openvino" "onnx" "tensorflow" "pytorch" "tensorflowlite" "ggml" "autodetect"'

#: `put` keeps bytes after those that are there; `new` makes a tensor; `data` reads it; `nothing` returns.
COMPONENT = f"""(component
  (import "wasi:nn/errors{_VERSION}" (instance $errors (export "error" (type (sub resource)))))
  (alias export $errors "error" (type $error))
  (import "wasi:nn/tensor{_VERSION}" (instance $tensor
    (export "tensor" (type $t (sub resource)))
    (type $types (enum "FP16" "FP32" "FP64" "BF16" "U8" "I32" "I64"))
    (export "tensor-type" (type $type (eq $types)))
    (export "[constructor]tensor" (func (param "dimensions" (list u32)) (param "ty" $type)
      (param "data" (list u8)) (result (own $t))))
    (export "[method]tensor.data" (func (param "self" (borrow $t)) (result (list u8))))))
  (alias export $tensor "tensor" (type $tensor-type))
  (import "wasi:nn/graph{_VERSION}" (instance $graph
    (export "graph" (type $g (sub resource)))
    (type $encodings (enum {_ENCODINGS})) (export "graph-encoding" (type $encoding (eq $encodings)))
    (type $targets (enum "cpu" "gpu" "tpu")) (export "execution-target" (type $target (eq $targets)))
    (alias outer 1 $error (type $outer)) (export "error" (type $e (eq $outer)))
    (export "load" (func (param "builder" (list (list u8))) (param "encoding" $encoding)
      (param "target" $target) (result (result (own $g) (error (own $e))))))))
  (core module $Memory
    (memory (export "memory") 2)
    (global $top (export "top") (mut i32) (i32.const {DATA}))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $start i32)
      (local.set $start (global.get $top))
      (global.set $top (i32.add (local.get $start) (local.get 3)))
      (if (i32.gt_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))) (then
        (if (i32.eq (i32.const -1) (memory.grow (i32.add (i32.const 1) (i32.sub
              (i32.div_u (global.get $top) (i32.const 65536)) (memory.size))))) (then unreachable))))
      (local.get $start)))
  (core instance $memory (instantiate $Memory))
  (alias core export $memory "memory" (core memory $mem))
  (alias core export $memory "realloc" (core func $realloc))
  (core func $new (canon lower (func $tensor "[constructor]tensor") (memory $mem) (realloc $realloc)))
  (core func $data (canon lower (func $tensor "[method]tensor.data") (memory $mem) (realloc $realloc)))
  (core func $drop (canon resource.drop $tensor-type))
  (core func $load (canon lower (func $graph "load") (memory $mem) (realloc $realloc)))
  (core module $Main
    (import "memory" "memory" (memory 1))
    (import "memory" "top" (global $top (mut i32)))
    (import "nn" "new" (func $new (param i32 i32 i32 i32 i32) (result i32)))
    (import "nn" "data" (func $data (param i32 i32)))
    (import "nn" "drop" (func $drop (param i32)))
    (import "nn" "load" (func $load (param i32 i32 i32 i32 i32)))
    (func (export "nothing") (param i32) (result i32) (i32.const 0))
    (func (export "put") (param i32 i32))
    (func (export "new") (param $size i32) (result i32)
      (i32.store (i32.const 16) (local.get $size))
      (call $new (i32.const 16) (i32.const 1) (i32.const 4) (i32.const {DATA}) (local.get $size)))
    (func (export "drop") (param i32) (call $drop (local.get 0)))
    (func (export "data") (param $tensor i32) (result i32) (local $top i32)
      (local.set $top (global.get $top))
      (call $data (local.get $tensor) (i32.const 32))
      (global.set $top (local.get $top))
      (i32.load (i32.const 36)))
    (func (export "load") (param $size i32) (result i32)
      (i32.store (i32.const 16) (i32.const {DATA}))
      (i32.store (i32.const 20) (local.get $size))
      (call $load (i32.const 16) (i32.const 1) (i32.const {ONNX}) (i32.const {CPU}) (i32.const 32))
      (i32.load8_u (i32.const 32))))
  (core instance $main (instantiate $Main (with "memory" (instance $memory))
    (with "nn" (instance (export "new" (func $new)) (export "data" (func $data))
                         (export "drop" (func $drop)) (export "load" (func $load))))))
  (func (export "nothing") (param "size" u32) (result u32) (canon lift (core func $main "nothing")))
  (func (export "put") (param "bytes" (list u8))
    (canon lift (core func $main "put") (memory $mem) (realloc $realloc)))
  (func (export "new") (param "size" u32) (result u32) (canon lift (core func $main "new")))
  (func (export "drop") (param "tensor" u32) (canon lift (core func $main "drop")))
  (func (export "data") (param "tensor" u32) (result u32) (canon lift (core func $main "data")))
  (func (export "load") (param "size" u32) (result u32) (canon lift (core func $main "load"))))
""".encode()

#: `open` loads the graph `copy` by name; then `in` sets the input of `size` bytes, f32 [size / 4], and `out`
#: gets the output.
CORE = f"""(module
  (import "wasi_ephemeral_nn" "load" (func $load (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "load_by_name" (func $name (param i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "init_execution_context" (func $context (param i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "set_input" (func $in (param i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "compute" (func $compute (param i32) (result i32)))
  (import "wasi_ephemeral_nn" "get_output" (func $out (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 64)
  (data (i32.const 64) "copy")
  (func (export "reserve") (param $size i32)
    (if (i32.eq (i32.const -1) (memory.grow (i32.div_u (local.get $size) (i32.const 65536))))
      (then unreachable)))
  (func (export "load") (param $size i32) (result i32)
    (i32.store (i32.const 16) (i32.const {DATA}))
    (i32.store (i32.const 20) (local.get $size))
    (call $load (i32.const 16) (i32.const 1) (i32.const {ONNX}) (i32.const {CPU}) (i32.const 32)))
  (func (export "open") (result i32)
    (i32.or (call $name (i32.const 64) (i32.const 4) (i32.const 32))
            (call $context (i32.load (i32.const 32)) (i32.const 36))))
  (func $set (export "in") (param $size i32) (result i32)
    (i32.store (i32.const 12) (i32.shr_u (local.get $size) (i32.const 2)))
    (i32.store (i32.const 16) (i32.const 12))
    (i32.store (i32.const 20) (i32.const 1))
    (i32.store8 (i32.const 24) (i32.const 1))
    (i32.store (i32.const 28) (i32.const {DATA}))
    (i32.store (i32.const 32) (local.get $size))
    (call $in (i32.load (i32.const 36)) (i32.const 0) (i32.const 16)))
  (func (export "run") (result i32) (call $compute (i32.load (i32.const 36))))
  (func (export "out") (param $size i32) (result i32)
    (call $out (i32.load (i32.const 36)) (i32.const 0) (i32.const {DATA}) (local.get $size) (i32.const 40))))
""".encode()
