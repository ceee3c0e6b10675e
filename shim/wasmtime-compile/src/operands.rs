//! Bounds the operands of a function: the parameters and results of its calls, blocks and branches, the values that its exception handlers
//! get, and the fields of its new objects.
//!
//! A call is two bytes, and may have a thousand parameters and results. The code generators hold some 500 bytes for each operand: in a
//! test, 29 kB of module made a compile process of 8 GB, with both engines. So the number of a function's operands is bounded; the largest
//! functions of Go's runtime have some ten thousand. A call also has an entry for each handler around it: three thousand calls in three
//! thousand handlers, 12 kB, made more than 10 GB.
//!
//! Wasmer's compiler includes this file too, with its own release of the parser.

use crate::wasmparser::{
    BlockType, Catch, CompositeInnerType, FunctionBody, Operator, Parser, Payload, RecGroup, TypeRef,
};

/// The most operands of one function.
const MOST: u64 = 1 << 20;
/// The opcode `try_table`. In a function without this byte no call has a handler.
const TRY_TABLE: u8 = 0x1f;

/// The part of a module that has been read. In a component, this is the present nested module.
#[derive(Default)]
struct Module {
    /// For each type, the numbers of parameters and results. For a structure, the number of fields and 0.
    types: Vec<(u64, u64)>,
    /// The type of each exception tag.
    tags: Vec<u32>,
    /// The type of each function.
    functions: Vec<u32>,
    imported: usize,
    /// The number of functions whose code has been read.
    bodies: usize,
    /// The most parameters and results, or fields, of any type.
    widest: u64,
}

/// An open block.
#[derive(Clone, Copy)]
struct Label {
    /// The number of values that a branch to the block carries.
    values: u64,
    /// The number of exception handlers around the block's content.
    handlers: u64,
}

/// Refuses a module with a function of too many operands, with a text for the user. A broken file passes: the compiler says where it
/// breaks.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut module = Module::default();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::Version { .. }) => module = Module::default(),
            Ok(Payload::TypeSection(section)) => section.into_iter().flatten().for_each(|group| module.add(group)),
            Ok(Payload::ImportSection(section)) => {
                for import in section.into_imports().flatten() {
                    match import.ty {
                        TypeRef::Func(of) => module.functions.push(of),
                        TypeRef::Tag(tag) => module.tags.push(tag.func_type_idx),
                        _ => {}
                    }
                }
                module.imported = module.functions.len();
            }
            Ok(Payload::FunctionSection(section)) => module.functions.extend(section.into_iter().flatten()),
            Ok(Payload::TagSection(section)) => {
                module.tags.extend(section.into_iter().flatten().map(|tag| tag.func_type_idx));
            }
            Ok(Payload::CodeSectionEntry(body)) => module.check(&body)?,
            Ok(_) => {}
            Err(_) => break,
        }
    }
    Ok(())
}

impl Module {
    fn add(&mut self, group: RecGroup) {
        for of in group.types() {
            let shape = match &of.composite_type.inner {
                CompositeInnerType::Func(function) => (function.params().len() as u64, function.results().len() as u64),
                CompositeInnerType::Struct(structure) => (structure.fields.len() as u64, 0),
                _ => (0, 0),
            };
            self.widest = self.widest.max(shape.0 + shape.1);
            self.types.push(shape);
        }
    }

    fn shape(&self, of: u32) -> (u64, u64) {
        self.types.get(of as usize).copied().unwrap_or_default()
    }

    fn both(&self, of: u32) -> u64 {
        let (parameters, results) = self.shape(of);
        parameters + results
    }

    fn check(&mut self, body: &FunctionBody<'_>) -> Result<(), String> {
        let index = self.imported + self.bodies;
        self.bodies += 1;
        // An operator has at least one byte, and a branch a byte for each of its targets: the length bounds the number of both.
        let length = body.as_bytes().len() as u64;
        // A call and a handler have at least two bytes each, so a function of this length has at most a sixteenth of its square in pairs of
        // both.
        let pairs = if body.as_bytes().contains(&TRY_TABLE) { length.saturating_mul(length) / 16 } else { 0 };
        // A handler counts as one more than its values.
        if length.saturating_mul(self.widest + 1).saturating_add(pairs) <= MOST {
            return Ok(());
        }
        let sum = self.sum(index, body);
        match sum > MOST {
            false => Ok(()),
            true => Err(format!(
                "its function {index} has {length} bytes, and hands around {sum} parameters and results in its calls, \
                 branches, handlers of exceptions and new objects: at most {MOST} are compiled; pass addresses of memory \
                 instead, or split the function"
            )),
        }
    }

    fn sum(&self, index: usize, body: &FunctionBody<'_>) -> u64 {
        let function = self.functions.get(index).copied().unwrap_or(u32::MAX);
        // The open blocks. The first is the function itself.
        let mut labels = vec![Label { values: self.shape(function).1, handlers: 0 }];
        let Ok(operators) = body.get_operators_reader() else { return 0 };
        operators
            .into_iter()
            .map_while(Result::ok)
            .fold(0u64, |sum, operator| sum.saturating_add(self.handed(&operator, &mut labels)))
    }

    /// Counts one operator's operands.
    fn handed(&self, operator: &Operator<'_>, labels: &mut Vec<Label>) -> u64 {
        let target = |depth: u32| {
            let at = labels.len().checked_sub(1 + depth as usize);
            at.and_then(|at| labels.get(at)).map_or(0, |label| label.values)
        };
        let handlers = labels.last().map_or(0, |label| label.handlers);
        match operator {
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                handlers + self.functions.get(*function_index as usize).map_or(0, |of| self.both(*of))
            }
            Operator::CallIndirect { type_index, .. }
            | Operator::ReturnCallIndirect { type_index, .. }
            | Operator::CallRef { type_index }
            | Operator::ReturnCallRef { type_index } => handlers + self.both(*type_index),
            Operator::Throw { .. } | Operator::ThrowRef => handlers,
            // The code stores each field's initial value.
            Operator::StructNewDefault { struct_type_index } => self.both(*struct_type_index),
            Operator::Block { blockty } | Operator::If { blockty } | Operator::Try { blockty } => {
                let (parameters, values) = self.block(*blockty);
                labels.push(Label { values, handlers });
                parameters + values
            }
            Operator::TryTable { try_table } => {
                let (parameters, values) = self.block(try_table.ty);
                let given = try_table.catches.iter().map(|catch| self.given(catch)).fold(0, u64::saturating_add);
                labels.push(Label { values, handlers: handlers + try_table.catches.len() as u64 });
                given.saturating_add(parameters + values)
            }
            Operator::Loop { blockty } => {
                let (parameters, results) = self.block(*blockty);
                // A branch goes to the loop's beginning.
                labels.push(Label { values: parameters, handlers });
                parameters + results
            }
            Operator::End => labels.pop().map_or(0, |label| label.values),
            Operator::Br { relative_depth }
            | Operator::BrIf { relative_depth }
            | Operator::BrOnNull { relative_depth }
            | Operator::BrOnNonNull { relative_depth }
            | Operator::BrOnCast { relative_depth, .. }
            | Operator::BrOnCastFail { relative_depth, .. } => target(*relative_depth),
            Operator::BrTable { targets } => {
                let depths = targets.targets().map_while(Result::ok).chain([targets.default()]);
                depths.fold(0, |sum: u64, depth| sum.saturating_add(target(depth)))
            }
            Operator::Return => labels.first().map_or(0, |label| label.values),
            _ => 0,
        }
    }

    /// Counts a handler and the values that it gets.
    fn given(&self, catch: &Catch) -> u64 {
        match catch {
            Catch::One { tag, .. } | Catch::OneRef { tag, .. } => {
                1 + self.tags.get(*tag as usize).map_or(0, |of| self.both(*of))
            }
            Catch::All { .. } | Catch::AllRef { .. } => 1,
        }
    }

    fn block(&self, of: BlockType) -> (u64, u64) {
        match of {
            BlockType::Empty => (0, 0),
            BlockType::Type(_) => (0, 1),
            BlockType::FuncType(index) => self.shape(index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    /// Makes a module with a function `$f` of a hundred parameters and results, and a function with this body.
    fn module(body: &str) -> Vec<u8> {
        let numbers = "i32 ".repeat(100);
        let zeros = "(i32.const 0)".repeat(100);
        let drops = "drop ".repeat(100);
        wat::parse_str(format!(
            "(module (type $wide (func (param {numbers}) (result {numbers})))
               (import \"\" \"f\" (func $f (type $wide)))
               (table 1 funcref)
               (func $small (result i32) (i32.const 1))
               (func {zeros} {body} {drops}))"
        ))
        .unwrap()
    }

    fn refused(body: &str) -> bool {
        check(&module(body)).is_err()
    }

    #[test]
    fn operands_of_calls_blocks_and_branches_are_counted() {
        // Each call has 200 operands: five thousand calls are below the limit, and 5,300 above it.
        assert!(!refused(&"call $f ".repeat(5_000)));
        assert!(refused(&"call $f ".repeat(5_300)));
        assert!(refused(&"i32.const 0 call_indirect (type $wide) ".repeat(5_300)));
        // A block has 200 operands at its begin and 100 at its end. A branch to a loop carries the loop's parameters.
        assert!(!refused(&"block (type $wide) end ".repeat(3_450)));
        assert!(refused(&"block (type $wide) end ".repeat(3_600)));
        assert!(refused(&"loop (type $wide) i32.const 0 br_if 0 end ".repeat(2_700)));
        assert!(refused(&format!("block (type $wide) {} end", "i32.const 0 br_if 0 ".repeat(10_600))));
        let targets = "0 ".repeat(10_600);
        assert!(refused(&format!("block (type $wide) i32.const 0 br_table {targets} end")));
    }

    #[test]
    fn a_long_function_with_few_operands_is_accepted() {
        assert!(!refused(&"call $small drop ".repeat(500_000)));
        let said = check(&module(&"call $f ".repeat(5_300))).unwrap_err();
        assert!(said.contains("function 2 has 1") && said.contains("at most 1048576"), "{said}");
    }

    #[test]
    fn calls_count_the_exception_handlers_around_them() {
        let within = |handlers: usize, calls: usize| {
            let (catches, calls) = ("(catch_all 0)".repeat(handlers), "call $f ".repeat(calls));
            let text = format!("(module (func $f) (func (block (try_table {catches} (block {calls})))))");
            check(&wat::parse_str(text).unwrap())
        };
        assert!(within(1_000, 1_000).is_ok() && within(3_000, 300).is_ok());
        let said = within(3_000, 3_000).unwrap_err();
        assert!(said.contains("function 1 has 12") && said.contains("handlers of exceptions"), "{said}");
        assert!(within(1, 5_000).is_ok() && within(5_000, 1).is_ok());
        // Nested handlers add up.
        let deep = format!("{}{}", "(try_table (catch_all 0) ".repeat(2_000), "call $f ".repeat(2_000));
        let text = format!("(module (func $f) (func (block {deep} {})))", ")".repeat(2_000));
        assert!(check(&wat::parse_str(text).unwrap()).is_err());
    }

    #[test]
    fn operands_of_handlers_and_new_objects_are_counted() {
        let numbers = "i32 ".repeat(900);
        let handlers = |count: usize| {
            let (zeros, drops) = ("(i32.const 0)".repeat(900), "drop ".repeat(900));
            let catches = "(catch $t 0)".repeat(count);
            let text = format!(
                "(module (tag $t (param {numbers})) (func $f)
                   (func (block (result {numbers}) (try_table {catches} call $f) {zeros}) {drops}))"
            );
            check(&wat::parse_str(text).unwrap())
        };
        assert!(handlers(1_000).is_ok() && handlers(1_200).is_err());
        let objects = |count: usize| {
            let (fields, made) = ("(field i32)".repeat(9_000), "struct.new_default $s drop ".repeat(count));
            check(&wat::parse_str(format!("(module (type $s (struct {fields})) (func {made}))")).unwrap())
        };
        assert!(objects(100).is_ok() && objects(120).is_err());
    }

    #[test]
    fn an_invalid_module_is_left_to_the_compiler_to_refuse() {
        for length in 0..200 {
            let bytes = module("call $f");
            let _ = check(&bytes[..length.min(bytes.len())]);
        }
        assert!(check(b"\0asm").is_ok());
    }
}
