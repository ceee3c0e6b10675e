;; Asks WASIX for its process's number and prints it: what only an engine with WASIX can run. Written by hand, no toolchain.
(module
  (import "wasix_32v1" "proc_id" (func $proc_id (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  ;; 0: iovec, two of them; 16: bytes written; 20: the number; 32: its digits, from the back; 64: text
  (data (i32.const 0) "\40\00\00\00\20\00\00\00")
  (data (i32.const 48) "\n")
  (data (i32.const 64) "Ahoy from WASIX, I am process no ")
  (func (export "_start") (local $at i32) (local $number i32)
    (if (call $proc_id (i32.const 20)) (then (call $proc_exit (i32.const 1))))
    (local.set $number (i32.load (i32.const 20)))
    (local.set $at (i32.const 48))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
      (local.set $number (i32.div_u (local.get $number) (i32.const 10)))
      (br_if $digit (local.get $number)))
    (i32.store (i32.const 4) (i32.const 33))
    (i32.store (i32.const 8) (local.get $at))
    (i32.store (i32.const 12) (i32.sub (i32.const 49) (local.get $at)))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 16)))))
