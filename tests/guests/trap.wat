;; Prints a line, then traps two calls deep. The functions' names are to appear in the backtrace.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\0e\00\00\00") ;; iovec: 14 bytes at 16
  (data (i32.const 16) "about to trap\n")
  (func $inner unreachable)
  (func $outer (call $inner))
  (func $start (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $outer)))
