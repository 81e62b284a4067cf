;; SPDX-License-Identifier: Apache-2.0
;; What answers a served guest's calls in a prepared store, and calls the guest: runtime/prepared_store.py.
;;
;; An instance of this stands beside each fresh instance of the guest. It knows one course of events: one
;; graph is loaded by the name that is known, one context of it is opened, every input is set with the dims
;; that are known, it is computed, outputs are read, both are freed; and what is constant may be asked for:
;; the graph's metadata, arguments and environment. Whatever else the guest does is `unreachable`: then the
;; host asks a fresh instance once more, in the ordinary way, which decides and explains.
;;
;; $own, by address (prepared.py writes the same layout); it outlives the instances:
;;      0  u32 bytes of the graph's name, u32 number of inputs, u32 number of outputs, u32 one bit for each input
;;     16  the graph's name
;;   1040  input entries (64 bytes each): u32 one bit for each type code that is taken, u32 rank, u32 bytes,
;;         u32 address of the buffer, u32 dims[8]
;;   2064  output entries (8 bytes each): u32 bytes (2^32 - 1 of one that has no value), u32 address of the buffer
;;   2192  u32 bytes of the metadata, u32 its address, u32 address of the arguments, u32 of the environment
;;   4096  buffers, the metadata, and texts: u32 number, u32 bytes, then each with a zero behind it
(module
  (type $load_by_name (func (param i32 i32 i32) (result i32)))
  (type $init_execution_context (func (param i32 i32) (result i32)))
  (type $set_input (func (param i32 i32 i32) (result i32)))
  (type $compute (func (param i32) (result i32)))
  (type $get_output (func (param i32 i32 i32 i32 i32) (result i32)))
  (type $graph_metadata (func (param i32 i32 i32 i32) (result i32)))
  (type $texts (func (param i32 i32) (result i32)))
  (import "guest" "memory" (memory $guest 0))
  (import "guest" "wasinn_alloc" (func $alloc (param i32) (result i32)))
  (import "guest" "wasinn_handle" (func $handle (param i32 i32) (result i64)))
  (import "guest" "_initialize" (func $initialize))
  (import "stub" "own" (memory $own 1))
  (import "stub" "table" (table 13 funcref))
  ;; Writes the request, of so many bytes, at the pointer; 0 if it fits there.
  (import "host" "fill" (func $fill (param i32 i32) (result i32)))
  ;; Computes on the buffers; 0 if all is well. The guest waits meanwhile.
  (import "host" "run" (func $run (param i32) (result i32)))
  ;; Whether the graph is loaded, and the context open: 0 not yet, 1, 2 no more.
  (global $loaded (mut i32) (i32.const 0))
  (global $opened (mut i32) (i32.const 0))
  (global $set (mut i32) (i32.const 0))
  ;; The inputs that the host has not seen yet: it may refuse one for what it holds, and who gave it is told so.
  (global $unseen (mut i32) (i32.const 0))
  (global $ready (mut i32) (i32.const 0))
  ;; Instantiating this patches the stub's table: the guest beside it calls these.
  (elem (i32.const 0) func $load_by_name $init_execution_context $set_input $compute $get_output
    $finalize_execution_context $unload $graph_metadata
    $args_sizes_get $args_get $environ_sizes_get $environ_get
    $fd_prestat_get)

  (func (export "serve") (param $size i32) (result i64) (local $at i32)
    (call $initialize)
    (local.set $at (call $alloc (local.get $size)))
    (call $ends (call $fill (local.get $at) (local.get $size)))
    (call $handle (local.get $at) (local.get $size))
    (call $ends (global.get $unseen)))

  ;; Ends it all if the condition holds.
  (func $ends (param $condition i32)
    (if (local.get $condition) (then unreachable)))

  ;; Ends it all unless $length bytes at $pointer lie inside the guest's memory.
  (func $inside (param $pointer i32) (param $length i32)
    (call $ends
      (i64.gt_u
        (i64.add (i64.extend_i32_u (local.get $pointer)) (i64.extend_i32_u (local.get $length)))
        (i64.shl (i64.extend_i32_u (memory.size $guest)) (i64.const 16)))))

  ;; The same for numbers of WASI's, which wants them aligned.
  (func $aligned (param $pointer i32) (param $length i32)
    (call $ends (i32.and (local.get $pointer) (i32.const 3)))
    (call $inside (local.get $pointer) (local.get $length)))

  ;; Ends it all if two ranges overlap: what is there in the end says who wrote last.
  (func $apart (param $one i32) (param $length i32) (param $other i32) (param $other_length i32)
    (call $ends (i32.or
      (i32.lt_u (i32.sub (local.get $one) (local.get $other)) (local.get $other_length))
      (i32.lt_u (i32.sub (local.get $other) (local.get $one)) (local.get $length)))))

  (func $load_by_name (type $load_by_name) (param $name i32) (param $length i32) (param $out i32) (result i32)
    (local $i i32)
    (call $ends (i32.eq (global.get $loaded) (i32.const 2)))
    (call $ends (i32.ne (local.get $length) (i32.load $own (i32.const 0))))
    (call $inside (local.get $name) (local.get $length))
    (call $inside (local.get $out) (i32.const 4))
    (block $same
      (loop $next
        (br_if $same (i32.ge_u (local.get $i) (local.get $length)))
        (call $ends
          (i32.ne
            (i32.load8_u $guest (i32.add (local.get $name) (local.get $i)))
            (i32.load8_u $own offset=16 (local.get $i))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (global.set $loaded (i32.const 1))
    (i32.store $guest (local.get $out) (i32.const 0))
    (i32.const 0))

  (func $init_execution_context (type $init_execution_context) (param $graph i32) (param $out i32) (result i32)
    (call $is_loaded (local.get $graph))
    (call $ends (global.get $opened))
    (call $inside (local.get $out) (i32.const 4))
    (global.set $opened (i32.const 1))
    (i32.store $guest (local.get $out) (i32.const 0))
    (i32.const 0))

  ;; Ends it all unless it is the graph, and it is loaded.
  (func $is_loaded (param $graph i32)
    (call $ends (i32.or (local.get $graph) (i32.ne (global.get $loaded) (i32.const 1)))))

  ;; Ends it all unless it is the context, and it is open.
  (func $is_open (param $context i32)
    (call $is_loaded (i32.const 0))
    (call $ends (i32.or (local.get $context) (i32.ne (global.get $opened) (i32.const 1)))))

  (func $finalize_execution_context (type $compute) (param $context i32) (result i32)
    (call $is_open (local.get $context))
    (global.set $opened (i32.const 2))
    (i32.const 0))

  (func $unload (type $compute) (param $graph i32) (result i32)
    (call $is_loaded (local.get $graph))
    (global.set $loaded (i32.const 2))
    (i32.const 0))

  (func $graph_metadata (type $graph_metadata)
    (param $graph i32) (param $buffer i32) (param $size i32) (param $written i32) (result i32)
    (local $length i32)
    (call $is_loaded (local.get $graph))
    (call $inside (local.get $buffer) (local.get $size))
    (call $inside (local.get $written) (i32.const 4))
    (local.set $length (i32.load $own (i32.const 2192)))
    (call $ends (i32.gt_u (local.get $length) (local.get $size)))
    (i32.store $guest (local.get $written) (local.get $length))
    (memory.copy $guest $own (local.get $buffer) (i32.load $own (i32.const 2196)) (local.get $length))
    (i32.const 0))

  (func $args_sizes_get (type $texts) (param $number i32) (param $bytes i32) (result i32)
    (call $sizes (i32.load $own (i32.const 2200)) (local.get $number) (local.get $bytes)))
  (func $args_get (type $texts) (param $pointers i32) (param $buffer i32) (result i32)
    (call $texts (i32.load $own (i32.const 2200)) (local.get $pointers) (local.get $buffer)))
  (func $environ_sizes_get (type $texts) (param $number i32) (param $bytes i32) (result i32)
    (call $sizes (i32.load $own (i32.const 2204)) (local.get $number) (local.get $bytes)))
  (func $environ_get (type $texts) (param $pointers i32) (param $buffer i32) (result i32)
    (call $texts (i32.load $own (i32.const 2204)) (local.get $pointers) (local.get $buffer)))

  ;; There are no directories, for which every libc searches at its start.
  (func $fd_prestat_get (type $texts) (param $fd i32) (param $out i32) (result i32)
    (call $ends (i32.lt_u (local.get $fd) (i32.const 3)))
    (i32.const 8)) ;; EBADF

  (func $sizes (param $list i32) (param $number i32) (param $bytes i32) (result i32)
    (call $aligned (local.get $number) (i32.const 4))
    (call $aligned (local.get $bytes) (i32.const 4))
    (call $apart (local.get $number) (i32.const 4) (local.get $bytes) (i32.const 4))
    (i32.store $guest (local.get $number) (i32.load $own (local.get $list)))
    (i32.store $guest (local.get $bytes) (i32.load $own offset=4 (local.get $list)))
    (i32.const 0))

  (func $texts (param $list i32) (param $pointers i32) (param $buffer i32) (result i32)
    (local $number i32) (local $bytes i32) (local $i i32)
    (local.set $number (i32.load $own (local.get $list)))
    (local.set $bytes (i32.load $own offset=4 (local.get $list)))
    (local.set $list (i32.add (local.get $list) (i32.const 8)))
    (call $aligned (local.get $pointers) (i32.shl (local.get $number) (i32.const 2)))
    (call $inside (local.get $buffer) (local.get $bytes))
    (call $apart (local.get $pointers) (i32.shl (local.get $number) (i32.const 2))
      (local.get $buffer) (local.get $bytes))
    (memory.copy $guest $own (local.get $buffer) (local.get $list) (local.get $bytes))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $number)))
        (i32.store $guest (local.get $pointers) (i32.add (local.get $buffer) (local.get $i)))
        (local.set $pointers (i32.add (local.get $pointers) (i32.const 4)))
        (local.set $number (i32.sub (local.get $number) (i32.const 1)))
        (loop $character
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $character
            (i32.load8_u $own (i32.sub (i32.add (local.get $list) (local.get $i)) (i32.const 1)))))
        (br $next)))
    (i32.const 0))

  (func $set_input (type $set_input) (param $context i32) (param $index i32) (param $tensor i32) (result i32)
    (local $entry i32) (local $dims i32) (local $rank i32) (local $i i32) (local $data i32) (local $length i32)
    (local $bit i32)
    (call $is_open (local.get $context))
    (call $ends (i32.ge_u (local.get $index) (i32.load $own (i32.const 4))))
    (local.set $bit (i32.shl (i32.const 1) (local.get $index)))
    (call $ends (i32.and (global.get $unseen) (local.get $bit)))
    (call $inside (local.get $tensor) (i32.const 20))
    (local.set $entry (i32.add (i32.const 1040) (i32.shl (local.get $index) (i32.const 6))))
    (call $ends (i32.ge_u (i32.load8_u $guest offset=8 (local.get $tensor)) (i32.const 32)))
    (call $ends (i32.eqz (i32.and
      (i32.load $own (local.get $entry))
      (i32.shl (i32.const 1) (i32.load8_u $guest offset=8 (local.get $tensor))))))
    (local.set $rank (i32.load $own offset=4 (local.get $entry)))
    (call $ends (i32.ne (i32.load $guest offset=4 (local.get $tensor)) (local.get $rank)))
    (local.set $length (i32.load $own offset=8 (local.get $entry)))
    (call $ends (i32.ne (i32.load $guest offset=16 (local.get $tensor)) (local.get $length)))
    (local.set $data (i32.load $guest offset=12 (local.get $tensor)))
    (call $inside (local.get $data) (local.get $length))
    (local.set $dims (i32.load $guest (local.get $tensor)))
    (call $inside (local.get $dims) (i32.shl (local.get $rank) (i32.const 2)))
    (block $fits
      (loop $next
        (br_if $fits (i32.ge_u (local.get $i) (local.get $rank)))
        (call $ends (i32.ne
          (i32.load $guest (i32.add (local.get $dims) (i32.shl (local.get $i) (i32.const 2))))
          (i32.load $own offset=16 (i32.add (local.get $entry) (i32.shl (local.get $i) (i32.const 2))))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (memory.copy $own $guest (i32.load $own offset=12 (local.get $entry)) (local.get $data) (local.get $length))
    (global.set $set (i32.or (global.get $set) (local.get $bit)))
    (global.set $unseen (i32.or (global.get $unseen) (local.get $bit)))
    (global.set $ready (i32.const 0))
    (i32.const 0))

  (func $compute (type $compute) (param $context i32) (result i32)
    (call $is_open (local.get $context))
    (call $ends (i32.ne (global.get $set) (i32.load $own (i32.const 12))))
    (global.set $ready (i32.const 0))
    (call $ends (call $run (local.get $context)))
    (global.set $unseen (i32.const 0))
    (global.set $ready (i32.const 1))
    (i32.const 0))

  (func $get_output (type $get_output)
    (param $context i32) (param $index i32) (param $buffer i32) (param $size i32) (param $written i32) (result i32)
    (local $entry i32) (local $length i32)
    (call $is_open (local.get $context))
    (call $ends (i32.or
      (i32.ge_u (local.get $index) (i32.load $own (i32.const 8)))
      (i32.eqz (global.get $ready))))
    (local.set $entry (i32.add (i32.const 2064) (i32.shl (local.get $index) (i32.const 3))))
    (local.set $length (i32.load $own (local.get $entry)))
    (call $ends (i32.gt_u (local.get $length) (local.get $size)))
    (call $inside (local.get $buffer) (local.get $size))
    (call $inside (local.get $written) (i32.const 4))
    (memory.copy $guest $own (local.get $buffer) (i32.load $own offset=4 (local.get $entry)) (local.get $length))
    (i32.store $guest (local.get $written) (local.get $length))
    (i32.const 0))
)
