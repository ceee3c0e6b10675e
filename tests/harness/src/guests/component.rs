//! Makes components of modules for preview 1, with the adapter.

use wasi_preview1_component_adapter_provider as adapter;
use wit_component::ComponentEncoder;

/// The adapter, which makes a server's calls of preview 1 into calls of WASI 0.2.
pub(crate) const ADAPTER: &[u8] = adapter::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;

/// Makes a component of a module whose custom sections describe its imports and exports. With `merge`, the imports of an interface in
/// several versions 0.2.x become one.
///
/// # Panics
/// When the module cannot become a component.
pub(crate) fn component(module: &[u8], merge: bool) -> Vec<u8> {
    let encode = || {
        let mut encoder = ComponentEncoder::default();
        encoder.validate(true).merge_imports_based_on_semver(merge).module(module)?;
        encoder.adapter(adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, ADAPTER)?.encode()
    };
    encode().unwrap_or_else(|error| panic!("no component: {error:?}"))
}
