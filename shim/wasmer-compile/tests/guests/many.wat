;; Enough functions for several compiler threads to race over.
(module
  (memory 1)
  (func $a (param i32) (result i32) local.get 0 i32.const 1 i32.add)
  (func $b (param i32) (result i32) local.get 0 call $a call $a)
  (func $c (param i32) (result i32) local.get 0 call $b call $b)
  (func $d (param i32) (result i32) local.get 0 call $c call $c)
  (func $e (param i64) (result i64) local.get 0 i64.clz)
  (func $f (param f64) (result f64) local.get 0 f64.sqrt)
  (func $g (param i32) i32.const 8 local.get 0 i32.store)
  (func (export "_start") i32.const 1 call $d call $g))
