;; Grows its memory by 256 MiB, and writes to all of it.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (if (i32.eq (memory.grow (i32.const 4096)) (i32.const -1)) (then unreachable))
    (memory.fill (i32.const 0) (i32.const 1) (i32.const 268435456))))
