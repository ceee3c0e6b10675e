;; Writes its second argument to the file that its first one names, creating or emptying it.
;; The file is looked up below the first preopened directory; a leading slash is ignored.
;; Exits with the error number of the call that failed, after naming it on stderr; with 125 when arguments are missing.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 3)
  (data (i32.const 64) "path_open failed\n")
  (data (i32.const 96) "fd_write failed\n")
  ;; 0: count, 4: size; 8: the file's descriptor; 16: iovec; 24: bytes moved; 1024: pointers; 65536: arguments; 131072: text

  (func $length (param $text i32) (result i32)
    (local $end i32)
    (local.set $end (local.get $text))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (i32.load8_u (local.get $end))))
        (local.set $end (i32.add (local.get $end) (i32.const 1)))
        (br $next)))
    (i32.sub (local.get $end) (local.get $text)))

  (func $write (param $fd i32) (param $text i32) (param $len i32) (result i32)
    (i32.store (i32.const 16) (local.get $text))
    (i32.store (i32.const 20) (local.get $len))
    (call $fd_write (local.get $fd) (i32.const 16) (i32.const 1) (i32.const 24)))

  (func $check (param $errno i32) (param $message i32) (param $len i32)
    (if (local.get $errno)
      (then
        (drop (call $write (i32.const 2) (local.get $message) (local.get $len)))
        (call $proc_exit (local.get $errno)))))

  (func $open (param $path i32)
    (if (i32.eq (i32.load8_u (local.get $path)) (i32.const 47))
      (then (local.set $path (i32.add (local.get $path) (i32.const 1)))))
    (call $check
      (call $path_open (i32.const 3) (i32.const 1) (local.get $path) (call $length (local.get $path))
        (i32.const 9 (; create, truncate ;)) (i64.const 64 (; fd_write ;)) (i64.const 0) (i32.const 0) (i32.const 8))
      (i32.const 64) (i32.const 17)))

  (func (export "_start")
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $get (i32.const 1024) (i32.const 65536)))
    (if (i32.lt_u (i32.load (i32.const 0)) (i32.const 3)) (then (call $proc_exit (i32.const 125))))
    (call $open (i32.load (i32.const 1028)))
    (call $check
      (call $write (i32.load (i32.const 8)) (i32.load (i32.const 1032)) (call $length (i32.load (i32.const 1032))))
      (i32.const 96) (i32.const 16))))
