//! A module of any size, without a compiler.

use std::fmt::Write as _;

/// A module with `functions` functions, which prints nothing and ends well; some 500 take a second.
pub fn large(functions: usize) -> Vec<u8> {
    let mut text = String::from("(module (memory 1) (func (export \"_start\") (drop (call $f0 (i32.const 1))))");
    for f in 0..functions {
        write!(text, "(func $f{f} (param i32) (result i32) (local i32 i32 i32)").unwrap();
        for k in 0..150 {
            let (a, b, c) = (k % 4, (k * 7 + f) % 4, (k * 3 + 1) % 4);
            let factor = k * f + 3;
            write!(
                text,
                "(local.set {a} (i32.add (i32.mul (local.get {b}) (i32.const {factor}))
                   (i32.load (i32.and (local.get {c}) (i32.const 1023)))))
                 (if (i32.eqz (local.get {c})) (then (i32.store (i32.const {}) (local.get {b}))))",
                k * 4
            )
            .unwrap();
        }
        text.push_str("(local.get 0))");
    }
    text.push(')');
    wat::parse_str(&text).unwrap()
}
