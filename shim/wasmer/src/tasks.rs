//! The guest's threads: each is a thread of this process, made on demand and gone when it ends.
//!
//! wasmer-wasix has a task manager of its own. It starts a thread for each task until there are 200, keeps them all for
//! ever, and panics when the kernel grants none.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::Handle;
use wasmer_wasix::runtime::SpawnType;
use wasmer_wasix::runtime::task_manager::{
    SpawnMemoryTypeOrStore, TaskWasm, TaskWasmCallbacks, TaskWasmRunProperties, VirtualTaskManager, block_on,
};
use wasmer_wasix::{WasiFunctionEnv, WasiThreadError};

use crate::threads::{self, MOST_THREADS};
use crate::{outcome, start, waits};

/// Starts threads, and hands timers to the event loop that is given.
#[derive(Debug)]
pub(crate) struct Tasks {
    events: Handle,
    /// The number of the guest's process that was started first.
    first: std::sync::OnceLock<u32>,
    /// Whether that process's first thread has its instance.
    opened: Arc<AtomicBool>,
    running: Arc<AtomicUsize>,
}

/// One of [`MOST_THREADS`], until it is dropped.
struct ThreadCount(Arc<AtomicUsize>);

impl Drop for ThreadCount {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Tasks {
    pub(crate) fn new(events: Handle) -> Self {
        Self { events, first: std::sync::OnceLock::new(), opened: Arc::default(), running: Arc::default() }
    }

    /// Returns once the container's first process has an instance, and never if that fails: the thread that fails says why and
    /// ends this process, because wasmer-wasix would report an exit code of its own.
    pub(crate) fn await_opened(&self) {
        while !self.opened.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Starts a thread for `task`; fails at our limit, the cgroup's (pids.max) or the user's.
    ///
    /// wasix-libc tells its caller EAGAIN for any error of a thread's start.
    fn start(&self, first: bool, task: impl FnOnce() + Send + 'static) -> Result<(), WasiThreadError> {
        let count = ThreadCount(self.running.clone());
        if self.running.fetch_add(1, Ordering::AcqRel) >= MOST_THREADS {
            return Err(WasiThreadError::Unsupported);
        }
        let body = move || {
            let _count = count;
            threads::note_process(first);
            task();
        };
        let started = std::thread::Builder::new().name("guest".to_owned()).spawn(body);
        started.map(drop).map_err(|_| WasiThreadError::Unsupported)
    }
}

impl VirtualTaskManager for Tasks {
    fn sleep_now(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + Sync + 'static>> {
        if let Some(waiting) = waits::instead(&self.events, time) {
            return waiting;
        }
        let _entered = self.events.enter();
        Box::pin(tokio::time::sleep(time))
    }

    fn task_shared(
        &self,
        task: Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static>,
    ) -> Result<(), WasiThreadError> {
        self.events.spawn(async move { task().await });
        Ok(())
    }

    fn task_wasm(&self, task: TaskWasm) -> Result<(), WasiThreadError> {
        // A trigger wakes a thread from a "deep sleep": the capability is off.
        if task.callbacks.trigger.is_some() {
            return Err(WasiThreadError::Unsupported);
        }
        let process = task.env.pid().raw();
        let opens = self.first.set(process).is_ok();
        let first = self.first.get() == Some(&process);
        let opened = self.opened.clone();
        let (ready, started) = mpsc::channel();
        let thread = task.env.thread.clone();
        self.start(first, move || {
            threads::note(thread);
            let told = |result| {
                // Nobody waits for the container's first thread.
                let _ = ready.send(result);
            };
            match prepare(task) {
                Ok((ctx, store, callbacks)) => {
                    if opens {
                        // wasmer-wasix made all functions of WASI and WASIX by their names, and dropped the names.
                        catamaran_worker::memory::trim();
                    }
                    opened.store(true, Ordering::Release);
                    told(Ok(()));
                    run(ctx, store, callbacks);
                }
                Err(e) if opens => outcome::stop(&not_started(&e)),
                Err(e) => told(Err(e)),
            }
            // A join of the thread waits for the last reference to it: drop ours.
            threads::forget();
        })?;
        // Instantiating runs a start function, which may wait for the event loop; when the container's first process starts,
        // this thread runs that loop.
        if opens { Ok(()) } else { started.recv().unwrap_or(Err(WasiThreadError::InvalidWasmContext)) }
    }

    fn task_dedicated(&self, task: Box<dyn FnOnce() + Send + 'static>) -> Result<(), WasiThreadError> {
        self.start(threads::of_the_first_process(), task)
    }

    fn thread_parallelism(&self) -> Result<usize, WasiThreadError> {
        Ok(std::thread::available_parallelism().map_or(1, usize::from))
    }
}

/// The instance that a task runs in, in a store of its own.
fn prepare(task: TaskWasm) -> Result<(WasiFunctionEnv, wasmer::Store, TaskWasmCallbacks), WasiThreadError> {
    let (memory, group) = match task.spawn_type {
        SpawnType::CreateMemory => (SpawnMemoryTypeOrStore::New, None),
        SpawnType::NewLinkerInstanceGroup(group) => (SpawnMemoryTypeOrStore::New, Some(group)),
        SpawnType::CreateMemoryOfType(ty) => (SpawnMemoryTypeOrStore::Type(ty), None),
        SpawnType::AttachMemory(memory) => {
            let mut store = task.env.runtime().new_store();
            let memory = memory.attach(&mut store);
            (SpawnMemoryTypeOrStore::StoreAndMemory(store, memory), None)
        }
    };
    let (ctx, mut store) = WasiFunctionEnv::new_with_store(
        task.module,
        task.env,
        task.globals,
        memory,
        task.update_layout,
        task.call_initialize,
        group,
    )?;
    start::call(&mut store)?;
    Ok((ctx, store, task.callbacks))
}

fn run(mut ctx: WasiFunctionEnv, mut store: wasmer::Store, callbacks: TaskWasmCallbacks) {
    if let Some(pre_run) = callbacks.pre_run {
        block_on(pre_run(&mut ctx, &mut store));
    }
    (callbacks.run)(TaskWasmRunProperties { ctx, store, trigger_result: None, recycle: callbacks.recycle });
}

/// The text for a first process that could not be instantiated: its start function trapped, or there was no memory.
fn not_started(e: &WasiThreadError) -> String {
    match e {
        WasiThreadError::InstanceCreateFailed(e) => match e.as_ref() {
            wasmer::InstantiationError::Start(trap) => outcome::message(trap),
            e => format!("catamaran: the guest could not run: {e}\n"),
        },
        e => format!("catamaran: the guest could not run: {e}\n"),
    }
}
