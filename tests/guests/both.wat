;; Writes a line to stdout and one to stderr. Exits with the error number when writing fails.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "to stdout\nto stderr\n")

  (func $write (param $fd i32) (param $at i32)
    (local $errno i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (i32.const 10))
    (local.set $errno (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
    (if (local.get $errno) (then (call $proc_exit (local.get $errno)))))

  (func (export "_start")
    (call $write (i32.const 1) (i32.const 64))
    (call $write (i32.const 2) (i32.const 74))))
