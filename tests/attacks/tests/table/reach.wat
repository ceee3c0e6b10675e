;; What WASI lets a guest say of files, one argument each: a letter, then a path, or two with «|» between them.
;; For each it prints a line: WASI's error number, 0 where it was done, and what was read.
;;   r read   R the same, by descriptor 4   o write to what is there   w write, made if need be   D list a folder
;;   d make a folder   x remove one
;;   u remove a file   s make a link (target|path)   l make a hard link   m move   t set times   f look at a descriptor
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_readdir" (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fd_stat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_remove_directory" (func $rmdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_symlink" (func $symlink (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_link" (func $link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_rename" (func $rename (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_set_times"
    (func $touch (param i32 i32 i32 i32 i64 i64 i32) (result i32)))
  (memory (export "memory") 4)
  ;; 0: sizes, descriptors, counts. 16: one (address, length). 32: two digits. 64: what was read. 32768: a folder's entries.
  ;; 65536: arguments.
  (global $read (mut i32) (i32.const 0))
  ;; Below which descriptor a path lies.
  (global $root (mut i32) (i32.const 3))

  (func $vector (param $at i32) (param $length i32)
    (i32.store (i32.const 16) (local.get $at))
    (i32.store (i32.const 20) (local.get $length)))

  (func $say (param $at i32) (param $length i32)
    (call $vector (local.get $at) (local.get $length))
    (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8))))

  (func $open (param $path i32) (param $length i32) (param $how i32) (param $rights i64) (result i32)
    (call $path_open (global.get $root) (i32.const 1) (local.get $path) (local.get $length) (local.get $how)
      (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 8)))

  (func $read_from (result i32)
    (local $error i32)
    (call $vector (i32.const 64) (i32.const 64))
    (local.set $error (call $fd_read (i32.load (i32.const 8)) (i32.const 16) (i32.const 1) (i32.const 12)))
    (if (i32.eqz (local.get $error)) (then (global.set $read (i32.load (i32.const 12)))))
    (local.get $error))

  (func $write_to (result i32)
    (i32.store8 (i32.const 64) (i32.const 120))
    (call $vector (i32.const 64) (i32.const 1))
    (call $fd_write (i32.load (i32.const 8)) (i32.const 16) (i32.const 1) (i32.const 12)))

  ;; The names, one behind the other with «/» between them: an entry is 24 bytes, the name's length from the 16th on, and it.
  (func $list (result i32)
    (local $error i32) (local $at i32) (local $end i32) (local $length i32)
    (local.set $error
      (call $fd_readdir (i32.load (i32.const 8)) (i32.const 32768) (i32.const 2048) (i64.const 0) (i32.const 12)))
    (if (local.get $error) (then (return (local.get $error))))
    (local.set $at (i32.const 32768))
    (local.set $end (i32.add (i32.const 32768) (i32.load (i32.const 12))))
    (block $done (loop $next
      (br_if $done (i32.gt_u (i32.add (local.get $at) (i32.const 24)) (local.get $end)))
      (local.set $length (i32.load offset=16 (local.get $at)))
      (br_if $done (i32.gt_u (i32.add (i32.add (local.get $at) (i32.const 24)) (local.get $length)) (local.get $end)))
      (memory.copy (i32.add (i32.const 64) (global.get $read)) (i32.add (local.get $at) (i32.const 24)) (local.get $length))
      (global.set $read (i32.add (global.get $read) (local.get $length)))
      (i32.store8 (i32.add (i32.const 64) (global.get $read)) (i32.const 47))
      (global.set $read (i32.add (global.get $read) (i32.const 1)))
      (local.set $at (i32.add (i32.add (local.get $at) (i32.const 24)) (local.get $length)))
      (br $next)))
    (i32.const 0))

  ;; The length of the text at $at, up to its end or the character.
  (func $until (param $at i32) (param $character i32) (result i32)
    (local $n i32) (local $c i32)
    (loop $next
      (local.set $c (i32.load8_u (i32.add (local.get $at) (local.get $n))))
      (if (i32.and (i32.ne (local.get $c) (i32.const 0)) (i32.ne (local.get $c) (local.get $character)))
        (then (local.set $n (i32.add (local.get $n) (i32.const 1))) (br $next))))
    (local.get $n))

  (func $do (param $letter i32) (param $a i32) (param $al i32) (param $b i32) (param $bl i32) (result i32)
    (local $error i32)
    (if (i32.eq (local.get $letter) (i32.const 114)) (then ;; r
      (local.set $error (call $open (local.get $a) (local.get $al) (i32.const 0) (i64.const 2)))
      (if (local.get $error) (then (return (local.get $error))))
      (return (call $read_from))))
    (if (i32.eq (local.get $letter) (i32.const 82)) (then ;; R
      (global.set $root (i32.const 4))
      (local.set $error (call $open (local.get $a) (local.get $al) (i32.const 0) (i64.const 2)))
      (global.set $root (i32.const 3))
      (if (local.get $error) (then (return (local.get $error))))
      (return (call $read_from))))
    (if (i32.eq (local.get $letter) (i32.const 111)) (then ;; o
      (local.set $error (call $open (local.get $a) (local.get $al) (i32.const 0) (i64.const 64)))
      (if (local.get $error) (then (return (local.get $error))))
      (return (call $write_to))))
    (if (i32.eq (local.get $letter) (i32.const 119)) (then ;; w
      (local.set $error (call $open (local.get $a) (local.get $al) (i32.const 1) (i64.const 64)))
      (if (local.get $error) (then (return (local.get $error))))
      (return (call $write_to))))
    (if (i32.eq (local.get $letter) (i32.const 68)) (then ;; D
      (local.set $error (call $open (local.get $a) (local.get $al) (i32.const 2) (i64.const 0x4000)))
      (if (local.get $error) (then (return (local.get $error))))
      (return (call $list))))
    (if (i32.eq (local.get $letter) (i32.const 100)) (then ;; d
      (return (call $mkdir (i32.const 3) (local.get $a) (local.get $al)))))
    (if (i32.eq (local.get $letter) (i32.const 120)) (then ;; x
      (return (call $rmdir (i32.const 3) (local.get $a) (local.get $al)))))
    (if (i32.eq (local.get $letter) (i32.const 117)) (then ;; u
      (return (call $unlink (i32.const 3) (local.get $a) (local.get $al)))))
    (if (i32.eq (local.get $letter) (i32.const 115)) (then ;; s
      (return (call $symlink (local.get $a) (local.get $al) (i32.const 3) (local.get $b) (local.get $bl)))))
    (if (i32.eq (local.get $letter) (i32.const 108)) (then ;; l
      (return (call $link (i32.const 3) (i32.const 0) (local.get $a) (local.get $al) (i32.const 3)
        (local.get $b) (local.get $bl)))))
    (if (i32.eq (local.get $letter) (i32.const 109)) (then ;; m
      (return (call $rename (i32.const 3) (local.get $a) (local.get $al) (i32.const 3) (local.get $b) (local.get $bl)))))
    (if (i32.eq (local.get $letter) (i32.const 116)) (then ;; t
      (return (call $touch (i32.const 3) (i32.const 1) (local.get $a) (local.get $al)
        (i64.const 1000000000) (i64.const 1000000000) (i32.const 5)))))
    (if (i32.eq (local.get $letter) (i32.const 102)) (then ;; f, the number as a character behind «0»
      (return (call $fd_stat (i32.sub (i32.load8_u (local.get $a)) (i32.const 48)) (i32.const 1024)))))
    unreachable)

  (func (export "_start")
    (local $n i32) (local $at i32) (local $length i32) (local $error i32)
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $args (i32.const 4096) (i32.const 65536)))
    (local.set $n (i32.const 1))
    (loop $next
      (if (i32.ge_u (local.get $n) (i32.load (i32.const 0))) (then (return)))
      (local.set $at (i32.load (i32.add (i32.const 4096) (i32.mul (local.get $n) (i32.const 4)))))
      (local.set $length (call $until (i32.add (local.get $at) (i32.const 1)) (i32.const 124)))
      (global.set $read (i32.const 0))
      (local.set $error (call $do (i32.load8_u (local.get $at))
        (i32.add (local.get $at) (i32.const 1)) (local.get $length)
        (i32.add (local.get $at) (i32.add (local.get $length) (i32.const 2)))
        (call $until (i32.add (local.get $at) (i32.add (local.get $length) (i32.const 2))) (i32.const 0))))
      (i32.store8 (i32.const 32) (i32.add (i32.const 48) (i32.div_u (local.get $error) (i32.const 10))))
      (i32.store8 (i32.const 33) (i32.add (i32.const 48) (i32.rem_u (local.get $error) (i32.const 10))))
      (i32.store8 (i32.const 34) (i32.const 32))
      (call $say (i32.const 32) (i32.const 3))
      (call $say (i32.const 64) (global.get $read))
      (i32.store8 (i32.const 35) (i32.const 10))
      (call $say (i32.const 35) (i32.const 1))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br $next))))
