//! What one function hands around: the parameters and results of its calls, blocks and branches.
//!
//! A call is two bytes, and may have a thousand of each. The code generators hold a value for every one of them, some 500
//! bytes: 29 kilobytes made a compile process of 8 GB, on both engines (tried). So a function is bounded by what it hands
//! around; the largest of Go's runtime come to some ten thousand.
//!
//! The other engine's compiler has this file too, over its own release of the parser.

use crate::wasmparser::{BlockType, CompositeInnerType, FunctionBody, Operator, Parser, Payload, RecGroup, TypeRef};

/// The most of one function.
const MOST: u64 = 1 << 20;

/// As far as it is read: a module's own, of a component that of the nested one.
#[derive(Default)]
struct Module {
    /// Parameters and results of each type, in their order; none of what is no function's.
    types: Vec<(u64, u64)>,
    /// The type of each function.
    functions: Vec<u32>,
    imported: usize,
    /// Of the code so far.
    bodies: usize,
    /// The most parameters and results of any type.
    widest: u64,
}

/// Refuses, with a text for the user, a module with a function that hands around too much. What is broken passes: the compiler
/// tells where.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut module = Module::default();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::Version { .. }) => module = Module::default(),
            Ok(Payload::TypeSection(section)) => section.into_iter().flatten().for_each(|group| module.add(group)),
            Ok(Payload::ImportSection(section)) => {
                for import in section.into_imports().flatten() {
                    if let TypeRef::Func(of) = import.ty {
                        module.functions.push(of);
                    }
                }
                module.imported = module.functions.len();
            }
            Ok(Payload::FunctionSection(section)) => module.functions.extend(section.into_iter().flatten()),
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
        // An operator has a byte at least, and a branch names each of its targets.
        let length = body.as_bytes().len() as u64;
        if length.saturating_mul(self.widest.max(1)) <= MOST {
            return Ok(());
        }
        let sum = self.sum(index, body);
        match sum > MOST {
            false => Ok(()),
            true => Err(format!(
                "its function {index} has {length} bytes, and hands around {sum} parameters and results in its calls and \
                 branches: at most {MOST} are compiled; hand around addresses of memory instead, or split the function"
            )),
        }
    }

    fn sum(&self, index: usize, body: &FunctionBody<'_>) -> u64 {
        let function = self.functions.get(index).copied().unwrap_or(u32::MAX);
        // What a branch to each of the blocks that are open hands to it, the function's own first.
        let mut labels = vec![self.shape(function).1];
        let Ok(operators) = body.get_operators_reader() else { return 0 };
        operators
            .into_iter()
            .map_while(Result::ok)
            .fold(0u64, |sum, operator| sum.saturating_add(self.handed(&operator, &mut labels)))
    }

    /// What one operator hands around.
    fn handed(&self, operator: &Operator<'_>, labels: &mut Vec<u64>) -> u64 {
        let target = |depth: u32| {
            let at = labels.len().checked_sub(1 + depth as usize);
            at.and_then(|at| labels.get(at)).copied().unwrap_or(0)
        };
        match operator {
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                self.functions.get(*function_index as usize).map_or(0, |of| self.both(*of))
            }
            Operator::CallIndirect { type_index, .. }
            | Operator::ReturnCallIndirect { type_index, .. }
            | Operator::CallRef { type_index }
            | Operator::ReturnCallRef { type_index } => self.both(*type_index),
            Operator::Block { blockty } | Operator::If { blockty } | Operator::Try { blockty } => {
                let (parameters, results) = self.block(*blockty);
                labels.push(results);
                parameters + results
            }
            Operator::TryTable { try_table } => {
                let (parameters, results) = self.block(try_table.ty);
                labels.push(results);
                parameters + results
            }
            Operator::Loop { blockty } => {
                let (parameters, results) = self.block(*blockty);
                // Its beginning is what a branch goes to.
                labels.push(parameters);
                parameters + results
            }
            Operator::End => labels.pop().unwrap_or(0),
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
            Operator::Return => labels.first().copied().unwrap_or(0),
            _ => 0,
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

    /// A module whose function `f` takes and gives a hundred numbers, and one with such a body.
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
    fn calls_blocks_and_branches_count_by_what_they_hand_around() {
        // 200 numbers each: five thousand are below the limit, and a few more above it.
        assert!(!refused(&"call $f ".repeat(5_000)));
        assert!(refused(&"call $f ".repeat(5_300)));
        assert!(refused(&"i32.const 0 call_indirect (type $wide) ".repeat(5_300)));
        // 200 at a block's begin and 100 at its end; a loop's branch hands it what it begins with.
        assert!(!refused(&"block (type $wide) end ".repeat(3_450)));
        assert!(refused(&"block (type $wide) end ".repeat(3_600)));
        assert!(refused(&"loop (type $wide) i32.const 0 br_if 0 end ".repeat(2_700)));
        assert!(refused(&format!("block (type $wide) {} end", "i32.const 0 br_if 0 ".repeat(10_600))));
        let targets = "0 ".repeat(10_600);
        assert!(refused(&format!("block (type $wide) i32.const 0 br_table {targets} end")));
    }

    #[test]
    fn what_hands_around_little_may_be_long() {
        assert!(!refused(&"call $small drop ".repeat(500_000)));
        let said = check(&module(&"call $f ".repeat(5_300))).unwrap_err();
        assert!(said.contains("function 2 has 1") && said.contains("at most 1048576"), "{said}");
    }

    #[test]
    fn what_is_broken_is_the_compilers_to_tell() {
        for length in 0..200 {
            let bytes = module("call $f");
            let _ = check(&bytes[..length.min(bytes.len())]);
        }
        assert!(check(b"\0asm").is_ok());
    }
}
