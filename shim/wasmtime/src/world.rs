//! The world of a component: what its host calls work on.

use std::os::fd::{AsRawFd, RawFd};

use wasmtime::Result;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// What the guest's host calls work on.
pub(crate) struct World {
    context: WasiCtx,
    pub(crate) table: ResourceTable,
    /// None if no root was given.
    pub(crate) root: Option<Root>,
}

impl World {
    pub(crate) fn new(context: WasiCtx) -> Result<Self> {
        let mut world = Self { context, table: ResourceTable::new(), root: None };
        world.root = Root::from_view(&mut world)?;
        Ok(world)
    }
}

impl WasiView for World {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.context, table: &mut self.table }
    }
}

/// The container's root as a component gets it: wasmtime-wasi's one descriptor of it, which is open as long as the guest runs.
#[derive(Clone, Copy)]
pub(crate) struct Root(pub(crate) RawFd);

impl Root {
    /// Among what is preopened in `view`, the one that is called `/`.
    fn from_view(view: &mut impl WasiView) -> Result<Option<Self>> {
        let mut files = view.filesystem();
        let mut root = None;
        for (folder, name) in files.get_directories()? {
            if let (Descriptor::Dir(folder), "/") = (files.table.get(&folder)?, name.as_str()) {
                root = Some(Self(folder.dir.as_raw_fd()));
            }
            files.table.delete(folder)?;
        }
        Ok(root)
    }
}
