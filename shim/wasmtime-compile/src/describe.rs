//! Lists the imports and exports of a module or a component, for an administrator.

use catamaran_worker::describe::Description;
use catamaran_worker::form::{self, Form};
use wasmtime::wasmparser::{Parser, Payload};

/// Lists the file's own imports and exports, without those of modules nested in a component. Of a broken file, lists those before the
/// break.
pub fn describe(bytes: &[u8]) -> Description {
    let mut description = Description::default();
    if let Err(reason) = match form::parse(bytes) {
        Ok(Form::Module) => module(bytes, &mut description),
        Ok(Form::Component) => component(bytes, &mut description),
        Err(reason) => Err(reason),
    } {
        description.broken(&reason);
    }
    description
}

/// Lists a module's imports and exports. Stops at the code, which comes after them.
fn module(bytes: &[u8], description: &mut Description) -> Result<(), String> {
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|e| e.to_string())? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(|e| e.to_string())?;
                    description.import(import.module, import.name);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    description.export(export.map_err(|e| e.to_string())?.name);
                }
            }
            Payload::CodeSectionStart { .. } => break,
            _ => {}
        }
    }
    Ok(())
}

/// Lists a component's imports and exports.
fn component(bytes: &[u8], description: &mut Description) -> Result<(), String> {
    let mut depth = 0u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|e| e.to_string())? {
            // A nested module or component has its own `End`.
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    description.import(import.map_err(|e| e.to_string())?.name.name, "");
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    description.export(export.map_err(|e| e.to_string())?.name.name);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(wat: &str) -> String {
        describe(&wat::parse_str(wat).unwrap()).text()
    }

    #[test]
    fn imports_and_exports_are_listed_and_nothing_that_is_nested() {
        let text = described(
            r#"(module
                (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
                (import "env" "memory" (memory 1 2 shared))
                (func (export "_start")))"#,
        );
        assert_eq!(text, "export\t_start\nimport\tenv\tmemory\nimport\twasi_snapshot_preview1\tproc_exit\n");
        let text = described(
            r#"(component
                (import "wasi:cli/environment@0.2.0" (instance))
                (core module (import "inner" "hidden" (func)) (func (export "inside")))
                (instance $run)
                (export "wasi:cli/run@0.2.0" (instance $run)))"#,
        );
        assert_eq!(text, "export\twasi:cli/run@0.2.0\nimport\twasi:cli/environment@0.2.0\t\n");
    }

    #[test]
    fn a_broken_file_is_described_as_far_as_it_can_be_read() {
        let mut bytes = wat::parse_str(r#"(module (import "env" "f" (func)) (func (export "g")))"#).unwrap();
        bytes.truncate(bytes.len() - 5);
        // A section longer than the file.
        bytes.extend([0, 0x7f]);
        let text = describe(&bytes).text();
        assert!(text.starts_with("broken\t") && text.contains("import\tenv\tf\n"), "{text}");
        assert!(describe(b"#!/bin/sh").text().starts_with("broken\tthe file is not a WebAssembly module"));
    }
}
