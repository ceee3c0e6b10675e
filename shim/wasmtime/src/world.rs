//! The world of a component: what its host calls work on.

use std::os::fd::{AsRawFd, RawFd};

use wasmtime::Result;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// What the guest's host calls work on, and what else a worker keeps with its guest.
pub struct World<E = ()> {
    context: WasiCtx,
    /// Of all resources that the guest has.
    pub table: ResourceTable,
    /// None if no root was given.
    pub(crate) root: Option<Root>,
    /// The worker's own.
    pub extra: E,
}

impl World {
    pub(crate) fn new(context: WasiCtx) -> Result<Self> {
        let mut world = Self::with(context, ());
        world.root = Root::from_view(&mut world)?;
        Ok(world)
    }
}

impl<E: Send> World<E> {
    /// A world without a root: [`World::open_root`] gives it one.
    pub fn with(context: WasiCtx, extra: E) -> Self {
        Self { context, table: ResourceTable::new(), root: None, extra }
    }

    /// What `wasi:filesystem/preopens` answers: the container's root, of which a descriptor is opened by the first call.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_root(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        if self.root.is_none() {
            let mut opened = WasiCtxBuilder::new();
            // A folder that does not answer, as of a dead network volume, must hold up this guest alone.
            opened.allow_blocking_current_thread(false).preopened_dir("/", "/", FsPerms::ReadWrite)?;
            *self.context.filesystem() = std::mem::take(opened.build().filesystem());
            self.root = Root::from_view(self)?;
        }
        self.filesystem().get_directories()
    }
}

impl<E: Send> WasiView for World<E> {
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
