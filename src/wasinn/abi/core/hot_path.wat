;; SPDX-License-Identifier: Apache-2.0
;; set_input, compute and get_output for contexts of fixed shape, without Python.
;;
;; This module is instantiated beside a guest. It imports the guest's memory and owns a second one,
;; in which the host keeps a record for each hot context, and in which the contexts' input and
;; output buffers lie: the ML runtime is bound to those buffers. Whatever does not match a record
;; exactly goes to the slow functions, which decide and explain.
;;
;; $own, by address (hot_path.py writes the same layout):
;;      0  i64 set_input calls answered here
;;      8  i64 bytes in
;;     16  i64 get_output calls answered here
;;     24  i64 bytes out
;;     32  i64 compute calls answered here
;;     64  u32[1024] directory: context handle -> address of its record, or 0
;;   4160  records and buffers
;; record (32 bytes; only a context that has all its inputs gets one):
;;          0 number of inputs, 4 number of outputs, 12 outputs are good,
;;         16 address of the input entries, 20 address of the output entries
;; input entry (64 bytes):  4 type code, 8 rank, 12 bytes, 16 address of the buffer, 20 dims[8]
;; output entry (8 bytes):  0 bytes, 4 address of the buffer
(module
  (type $compute (func (param i32) (result i32)))
  (type $set_input (func (param i32 i32 i32) (result i32)))
  (type $get_output (func (param i32 i32 i32 i32 i32) (result i32)))
  (import "guest" "memory" (memory $guest 0))
  (import "stub" "table" (table 3 funcref))
  (import "slow" "set_input" (func $slow_set_input (type $set_input)))
  (import "slow" "compute" (func $slow_compute (type $compute)))
  (import "slow" "get_output" (func $slow_get_output (type $get_output)))
  ;; Runs the ML runtime on a context whose record is complete.
  (import "host" "run" (func $run (type $compute)))
  (memory $own (export "own") 1)
  ;; Instantiating this patches the stub's table: from now on the guest calls these.
  (elem (i32.const 0) func $set_input $compute $get_output)

  (func $record (param $context i32) (result i32)
    (if (i32.ge_u (local.get $context) (i32.const 1024)) (then (return (i32.const 0))))
    (i32.load $own offset=64 (i32.shl (local.get $context) (i32.const 2))))

  ;; Whether $length bytes at $pointer lie inside the guest's memory.
  (func $inside (param $pointer i32) (param $length i32) (result i32)
    (i64.le_u
      (i64.add (i64.extend_i32_u (local.get $pointer)) (i64.extend_i32_u (local.get $length)))
      (i64.shl (i64.extend_i32_u (memory.size $guest)) (i64.const 16))))

  (func $count (param $address i32) (param $amount i32)
    (i64.store $own (local.get $address)
      (i64.add (i64.load $own (local.get $address)) (i64.extend_i32_u (local.get $amount)))))

  (func $set_input (type $set_input) (param $context i32) (param $index i32) (param $tensor i32) (result i32)
    (local $record i32) (local $entry i32) (local $dims i32) (local $rank i32) (local $i i32)
    (local $data i32) (local $length i32)
    (block $slow
      (br_if $slow (i32.eqz (local.tee $record (call $record (local.get $context)))))
      (br_if $slow (i32.ge_u (local.get $index) (i32.load $own (local.get $record))))
      (br_if $slow (i32.eqz (call $inside (local.get $tensor) (i32.const 20))))
      (local.set $entry
        (i32.add (i32.load $own offset=16 (local.get $record)) (i32.shl (local.get $index) (i32.const 6))))
      (br_if $slow (i32.ne (i32.load8_u $guest offset=8 (local.get $tensor))
                           (i32.load $own offset=4 (local.get $entry))))
      (local.set $rank (i32.load $own offset=8 (local.get $entry)))
      (br_if $slow (i32.ne (i32.load $guest offset=4 (local.get $tensor)) (local.get $rank)))
      (local.set $length (i32.load $own offset=12 (local.get $entry)))
      (br_if $slow (i32.ne (i32.load $guest offset=16 (local.get $tensor)) (local.get $length)))
      (local.set $data (i32.load $guest offset=12 (local.get $tensor)))
      (br_if $slow (i32.eqz (call $inside (local.get $data) (local.get $length))))
      (local.set $dims (i32.load $guest (local.get $tensor)))
      (br_if $slow (i32.eqz (call $inside (local.get $dims) (i32.shl (local.get $rank) (i32.const 2)))))
      (block $fits
        (loop $next
          (br_if $fits (i32.ge_u (local.get $i) (local.get $rank)))
          (br_if $slow (i32.ne
            (i32.load $guest (i32.add (local.get $dims) (i32.shl (local.get $i) (i32.const 2))))
            (i32.load $own offset=20 (i32.add (local.get $entry) (i32.shl (local.get $i) (i32.const 2))))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next)))
      (memory.copy $own $guest (i32.load $own offset=16 (local.get $entry)) (local.get $data) (local.get $length))
      (i32.store $own offset=12 (local.get $record) (i32.const 0))
      (call $count (i32.const 0) (i32.const 1))
      (call $count (i32.const 8) (local.get $length))
      (return (i32.const 0)))
    (call $slow_set_input (local.get $context) (local.get $index) (local.get $tensor)))

  (func $compute (type $compute) (param $context i32) (result i32)
    (local $record i32) (local $code i32)
    (block $slow
      (br_if $slow (i32.eqz (local.tee $record (call $record (local.get $context)))))
      (i32.store $own offset=12 (local.get $record) (i32.const 0))
      (call $count (i32.const 32) (i32.const 1))
      (if (i32.eqz (local.tee $code (call $run (local.get $context))))
        (then (i32.store $own offset=12 (local.get $record) (i32.const 1))))
      (return (local.get $code)))
    (call $slow_compute (local.get $context)))

  (func $get_output (type $get_output)
    (param $context i32) (param $index i32) (param $buffer i32) (param $size i32) (param $written i32) (result i32)
    (local $record i32) (local $entry i32) (local $length i32)
    (block $slow
      (br_if $slow (i32.eqz (local.tee $record (call $record (local.get $context)))))
      (br_if $slow (i32.ge_u (local.get $index) (i32.load $own offset=4 (local.get $record))))
      (br_if $slow (i32.eqz (i32.load $own offset=12 (local.get $record))))
      (local.set $entry
        (i32.add (i32.load $own offset=20 (local.get $record)) (i32.shl (local.get $index) (i32.const 3))))
      (local.set $length (i32.load $own (local.get $entry)))
      (br_if $slow (i32.gt_u (local.get $length) (local.get $size)))
      (br_if $slow (i32.eqz (call $inside (local.get $buffer) (local.get $size))))
      (br_if $slow (i32.eqz (call $inside (local.get $written) (i32.const 4))))
      (memory.copy $guest $own (local.get $buffer) (i32.load $own offset=4 (local.get $entry)) (local.get $length))
      (i32.store $guest (local.get $written) (local.get $length))
      (call $count (i32.const 16) (i32.const 1))
      (call $count (i32.const 24) (local.get $length))
      (return (i32.const 0)))
    (call $slow_get_output
      (local.get $context) (local.get $index) (local.get $buffer) (local.get $size) (local.get $written)))
)
