//! The world of a component: the state that its host calls work on.

use std::os::fd::{AsRawFd, RawFd};

use wasmtime::Result;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// The state that the guest's host calls work on, and the worker's own state beside it.
pub struct World<E = ()> {
    context: WasiCtx,
    /// All resources that the guest has.
    pub table: ResourceTable,
    /// None until the guest has a root.
    pub(crate) root: Option<Root>,
    /// The worker's own state.
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

    /// Returns the answer of `wasi:filesystem/preopens`: the container's root, which the first call opens.
    ///
    /// # Errors
    /// When the root cannot be opened.
    pub fn open_root(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        if self.root.is_none() {
            let mut opened = WasiCtxBuilder::new();
            // A folder that does not answer, such as one of a dead network volume, must hold up only this guest.
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

/// The container's root as a component gets it: wasmtime-wasi's only descriptor of the root, which stays open as long as the guest runs.
#[derive(Clone, Copy)]
pub(crate) struct Root(pub(crate) RawFd);

impl Root {
    /// Finds the folder that is called `/` among those preopened in `view`.
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
