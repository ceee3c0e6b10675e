//! A module of any size, without a compiler.

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, EntityType, ExportKind, ExportSection, Function, FunctionSection,
    ImportSection, InstructionSink, MemArg, MemArgTarget, MemorySection, MemoryType, Module, TypeSection, ValType,
};

/// The size in bytes of each function of [`large`], to within a tenth.
const BYTES_A_FUNCTION: usize = 4600;
/// The size of a page of Wasm's memory.
const PAGE: usize = 65536;

/// A module with `functions` functions and `_start`, which prints nothing and succeeds; some 500 take a second to compile.
pub fn large(functions: usize) -> Vec<u8> {
    module(functions, &[], 0, |start| {
        start.i32_const(1).call(1).drop();
    })
}

/// A module of about `code` bytes of code, and `data` bytes of data that no compression shrinks.
pub fn of_size(code: usize, data: usize) -> Vec<u8> {
    module(code / BYTES_A_FUNCTION, &[], data, |start| {
        start.i32_const(1).call(1).drop();
    })
}

/// A module of about this many bytes that runs all of its code once, so that the code is in memory, prints `ready` and sleeps.
pub fn idle_of_size(bytes: usize) -> Vec<u8> {
    let functions = bytes / BYTES_A_FUNCTION;
    let imports = [("fd_write", 4), ("poll_oneoff", 4)];
    module(functions, &imports, 0, |start| {
        for f in 0..functions {
            start.i32_const(1).call((imports.len() + 1 + f) as u32).drop();
        }
        // Not as data segments, because the functions write to the memory: at 0 the text, at 8 its address and length, at 64 a subscription
        // to a clock, a day at a time.
        start.i32_const(0).i64_const(i64::from_le_bytes(*b"ready\n\0\0")).i64_store(at(0));
        start.i32_const(8).i64_const(6 << 32).i64_store(at(0));
        start.i32_const(1).i32_const(8).i32_const(1).i32_const(32).call(0).drop();
        for (offset, value) in [(64, 0), (72, 0), (80, 1), (88, 86_400_000_000_000), (96, 0), (104, 0)] {
            start.i32_const(offset).i64_const(value).i64_store(at(0));
        }
        start.loop_(BlockType::Empty).i32_const(64).i32_const(256).i32_const(1).i32_const(32).call(1).drop();
        start.br(0).end();
    })
}

fn at(offset: u64) -> MemArg {
    MemArg { offset, align: 2, target: MemArgTarget::Memory(0), ordering: None }
}

/// Makes a module. `begin` writes `_start`, the first function after the imports. Each import takes its count of numbers and returns one.
fn module(
    functions: usize,
    imported: &[(&str, usize)],
    data: usize,
    begin: impl FnOnce(&mut InstructionSink<'_>),
) -> Vec<u8> {
    let (mut types, mut imports) = (TypeSection::new(), ImportSection::new());
    types.ty().function([], []);
    types.ty().function([ValType::I32], [ValType::I32]);
    for (number, (name, takes)) in imported.iter().enumerate() {
        types.ty().function(vec![ValType::I32; *takes], [ValType::I32]);
        imports.import("wasi_snapshot_preview1", name, EntityType::Function(2 + number as u32));
    }
    let (mut declared, mut code) = (FunctionSection::new(), CodeSection::new());
    declared.function(0);
    let mut start = Function::new([]);
    begin(&mut start.instructions());
    start.instructions().end();
    code.function(&start);
    for f in 0..functions {
        declared.function(1);
        let mut function = Function::new([(3, ValType::I32)]);
        let mut body = function.instructions();
        for k in 0..150 {
            step(&mut body, f as i32, k);
        }
        body.local_get(0).end();
        code.function(&function);
    }
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1 + data.div_ceil(PAGE) as u64,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut exports = ExportSection::new();
    exports.export("_start", ExportKind::Func, imported.len() as u32);
    exports.export("memory", ExportKind::Memory, 0);
    let mut segments = DataSection::new();
    if data > 0 {
        segments.active(0, &ConstExpr::i32_const(PAGE as i32), noise(data));
    }
    let mut module = Module::new();
    module
        .section(&types)
        .section(&imports)
        .section(&declared)
        .section(&memories)
        .section(&exports)
        .section(&code)
        .section(&segments);
    module.finish()
}

/// Returns pseudo-random bytes, the same each time: the upper bytes of a linear congruential generator.
fn noise(length: usize) -> impl ExactSizeIterator<Item = u8> {
    let mut state = 1_u32;
    (0..length).map(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
}

/// Arithmetic on locals, a load, and a store under a condition: no two functions are alike, and none can be left out.
fn step(body: &mut InstructionSink<'_>, f: i32, k: i32) {
    let (a, b, c) = ((k % 4) as u32, ((k * 7 + f) % 4) as u32, ((k * 3 + 1) % 4) as u32);
    body.local_get(b).i32_const(k.wrapping_mul(f) + 3).i32_mul();
    body.local_get(c).i32_const(1023).i32_and().i32_load(at(0)).i32_add().local_set(a);
    body.local_get(c).i32_eqz().if_(BlockType::Empty);
    body.i32_const(k * 4).local_get(b).i32_store(at(0)).end();
}

#[cfg(test)]
mod tests {
    use super::{BYTES_A_FUNCTION, large, of_size};

    #[test]
    fn a_generated_module_has_about_the_requested_size() {
        let bytes = (large(1100).len() - large(100).len()) / 1000;
        assert!(bytes.abs_diff(BYTES_A_FUNCTION) < BYTES_A_FUNCTION / 10, "{bytes} bytes a function");
        assert!(of_size(5_000_000, 1_000_000).len().abs_diff(6_000_000) < 500_000);
    }
}
