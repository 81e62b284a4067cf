;; SPDX-License-Identifier: Apache-2.0
;; What a guest is linked to in the place of set_input, compute and get_output: calls through a
;; table that holds the Python functions first, and those of hot_path.wat once it is instantiated.
(module
  (type $compute (func (param i32) (result i32)))
  (type $set_input (func (param i32 i32 i32) (result i32)))
  (type $get_output (func (param i32 i32 i32 i32 i32) (result i32)))
  (import "slow" "set_input" (func $slow_set_input (type $set_input)))
  (import "slow" "compute" (func $slow_compute (type $compute)))
  (import "slow" "get_output" (func $slow_get_output (type $get_output)))
  (table (export "table") 3 funcref)
  (elem (i32.const 0) func $slow_set_input $slow_compute $slow_get_output)
  (func (export "set_input") (param i32 i32 i32) (result i32)
    (call_indirect (type $set_input) (local.get 0) (local.get 1) (local.get 2) (i32.const 0)))
  (func (export "compute") (param i32) (result i32)
    (call_indirect (type $compute) (local.get 0) (i32.const 1)))
  (func (export "get_output") (param i32 i32 i32 i32 i32) (result i32)
    (call_indirect (type $get_output)
      (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (i32.const 2)))
)
