//! Finds exceptions of the first proposal, which compilers made for years and neither engine runs.
//!
//! Wasmer's compiler includes this file too, with its own release of the parser.

use crate::wasmparser::{Validator, WasmFeatures};

/// Returns a text for the file's author if the module or component would be valid with these exceptions; None for any other.
pub(crate) fn exceptions(bytes: &[u8]) -> Option<&'static str> {
    let valid = |features| Validator::new_with_features(features).validate_all(bytes).is_ok();
    let current = WasmFeatures::all() - WasmFeatures::LEGACY_EXCEPTIONS;
    (valid(WasmFeatures::all()) && !valid(current)).then_some(
        "it has exceptions in their legacy encoding (`try` and `catch`), which neither engine runs. Build it for exceptions of \
         the standard (`try_table`, exnref): with clang by `-mllvm -wasm-use-legacy-eh=false`, with rustc by \
         `-C llvm-args=-wasm-use-legacy-eh=false`, with Emscripten by `-sWASM_LEGACY_EXCEPTIONS=0`; or have the file \
         translated by `wasm-opt --translate-to-exnref`",
    )
}

#[cfg(test)]
mod tests {
    use super::exceptions;

    fn of(body: &str) -> Option<&'static str> {
        let module = format!("(module (tag $t) (func $f {body}) (func (export \"_start\")))");
        exceptions(&wat::parse_str(module).unwrap())
    }

    #[test]
    fn only_legacy_exceptions_are_reported() {
        assert!(of("try call $f catch $t end").unwrap().contains("wasm-opt --translate-to-exnref"));
        assert_eq!(of("block try_table (catch $t 0) call $f end end"), None);
        assert_eq!(of(""), None);
        assert_eq!(of("drop"), None, "invalid for another reason");
        assert_eq!(of("try call $f catch $t drop end"), None, "legacy exceptions in a module that is invalid anyway");
    }
}
