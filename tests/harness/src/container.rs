//! The order for a container, in the words of a test.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::api::containers::{
    Container as Record, CreateContainerRequest, DeleteContainerRequest, GetContainerRequest, GetContainerResponse,
    UpdateContainerRequest,
};
use crate::api::known::{Any, FieldMask};
use crate::api::sandboxes::{self, Sandbox, StoreCreateRequest};
use crate::api::snapshots::{Info, UpdateSnapshotRequest};
use crate::deadline::PATIENCE;
use crate::grpc::{Code, Status};
use crate::image::Image;
use crate::node::Node;
use crate::runtime::{Engine, Runtime};
use crate::task::Task;
use crate::{ctr, leftovers};

/// The exit code and output of a container or a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit code.
    pub code: i32,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr; `ctr`'s own complaints too where it ran the container.
    pub stderr: String,
    /// From start to end.
    pub duration: Duration,
}

const CONTAINERS: &str = "containerd.services.containers.v1.Containers";

/// A change to a container's OCI spec.
type Edit = Arc<dyn Fn(&mut serde_json::Value) + Send + Sync>;

/// The order for a container, which [`Container::run`] or [`Container::create`] carries out.
#[derive(Clone)]
pub struct Container<'n> {
    pub(crate) node: &'n Node,
    pub(crate) id: String,
    runtime: Runtime,
    engine: Option<Engine>,
    image: Option<String>,
    args: Vec<String>,
    flags: Vec<String>,
    edits: Vec<Edit>,
    recorded: Option<String>,
    pod: Option<String>,
    pub(crate) kept: bool,
    pub(crate) stdin: Option<String>,
    pub(crate) hold_stdin: bool,
    pub(crate) terminal: bool,
    pub(crate) streams: [Option<String>; 3],
    pub(crate) limit: Duration,
}

impl<'n> Container<'n> {
    pub(crate) fn new(node: &'n Node, id: &str, runtime: Runtime) -> Self {
        Self {
            node,
            id: id.to_owned(),
            runtime,
            engine: None,
            image: None,
            args: Vec::new(),
            flags: Vec::new(),
            edits: Vec::new(),
            recorded: None,
            pod: None,
            kept: false,
            stdin: None,
            hold_stdin: false,
            terminal: false,
            streams: [None, None, None],
            limit: PATIENCE,
        }
    }

    /// The image; imported if the node does not have it yet.
    #[must_use]
    pub fn image(mut self, image: &Image) -> Self {
        self.node.import(image);
        self.image = Some(image.name().to_owned());
        self
    }

    /// The image by its name; it must have been imported.
    #[must_use]
    pub fn image_name(mut self, name: &str) -> Self {
        self.image = Some(name.to_owned());
        self
    }

    /// Puts the name of another image into the container's record than that of its root file system; an empty name means none. For images
    /// that `ctr` cannot make a container of. Works where [`Container::spec`] does.
    #[must_use]
    pub fn recorded_image(mut self, name: &str) -> Self {
        self.recorded = Some(name.to_owned());
        self
    }

    /// A further container of a pod, as the CRI makes them: served by the shim of the running task of that name. Works where
    /// [`Container::spec`] does.
    #[must_use]
    pub fn in_pod(mut self, pod: &str) -> Self {
        self.pod = Some(pod.to_owned());
        self
    }

    /// Leaves the container's record in place if its Create is refused, for tests whose containerd is gone by then.
    #[must_use]
    pub fn keep(mut self) -> Self {
        self.kept = true;
        self
    }

    /// The whole argument vector, in place of the image's entrypoint and command.
    #[must_use]
    pub fn args<S: AsRef<str>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        self
    }

    /// The shim that runs it, instead of the node's.
    #[must_use]
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = runtime;
        self
    }

    /// The engine that its annotation asks for, instead of the node's.
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = Some(engine);
        self
    }

    /// A flag of `ctr run` that has no method here, and its value if it takes one.
    #[must_use]
    pub fn flag<S: AsRef<str>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.flags.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn env(self, name: &str, value: &str) -> Self {
        self.flag(["--env", &format!("{name}={value}")])
    }

    /// The working directory.
    #[must_use]
    pub fn cwd(self, path: &str) -> Self {
        self.flag(["--cwd", path])
    }

    /// The user, `uid` or `uid:gid`.
    #[must_use]
    pub fn user(self, user: &str) -> Self {
        self.flag(["--user", user])
    }

    /// An OCI annotation.
    #[must_use]
    pub fn annotation(self, key: &str, value: &str) -> Self {
        self.flag(["--annotation", &format!("{key}={value}")])
    }

    /// A containerd label of the container.
    #[must_use]
    pub fn label(self, key: &str, value: &str) -> Self {
        self.flag(["--label", &format!("{key}={value}")])
    }

    /// A bind mount of a path of the machine's, such as `bind(dir, "/data", ["rbind", "ro"])`.
    #[must_use]
    pub fn bind<'o>(self, source: &Path, destination: &str, options: impl IntoIterator<Item = &'o str>) -> Self {
        let options = options.into_iter().collect::<Vec<_>>().join(":");
        self.flag(["--mount", &format!("type=bind,src={},dst={destination},options={options}", source.display())])
    }

    /// A mount of any type: `mount("tmpfs", "tmpfs", "/scratch", ["size=1m"])`.
    #[must_use]
    pub fn mount<'o>(
        self,
        kind: &str,
        source: &str,
        destination: &str,
        options: impl IntoIterator<Item = &'o str>,
    ) -> Self {
        let options = options.into_iter().collect::<Vec<_>>().join(":");
        self.flag(["--mount", &format!("type={kind},src={source},dst={destination},options={options}")])
    }

    /// The memory limit in bytes.
    #[must_use]
    pub fn memory(self, bytes: u64) -> Self {
        self.flag(["--memory-limit", &bytes.to_string()])
    }

    /// A read-only root.
    #[must_use]
    pub fn read_only(self) -> Self {
        self.flag(["--read-only"])
    }

    /// Changes the OCI spec that `ctr` wrote, for the keys that it has no flag for: `spec(|s| s["linux"]["resources"]
    /// ["pids"] = json!({"limit": 5}))`. For [`Container::create`], [`Container::spawn`] and their like.
    #[must_use]
    pub fn spec(mut self, edit: impl Fn(&mut serde_json::Value) + Send + Sync + 'static) -> Self {
        self.edits.push(Arc::new(edit));
        self
    }

    /// A mount after those of `ctr`'s spec, of any type and any options. Works where [`Container::spec`] does.
    #[must_use]
    pub fn with_mount(self, kind: &str, source: &str, destination: &str, options: &[&str]) -> Self {
        let mount = serde_json::json!({"type": kind, "source": source, "destination": destination, "options": options});
        self.spec(move |spec| spec["mounts"].as_array_mut().expect("a spec with mounts").push(mount.clone()))
    }

    /// A bind mount, as [`Container::with_mount`].
    #[must_use]
    pub fn with_volume(self, source: &Path, destination: &str, options: &[&str]) -> Self {
        self.with_mount("bind", &source.display().to_string(), destination, options)
    }

    /// The text of the container's stdin, which then ends. Without this, stdin is empty.
    #[must_use]
    pub fn stdin(mut self, text: &str) -> Self {
        self.stdin = Some(text.to_owned());
        self
    }

    /// Keeps stdin open: for [`Task::write`] and [`Task::close_stdin`].
    #[must_use]
    pub fn hold_stdin(mut self) -> Self {
        self.hold_stdin = true;
        self
    }

    /// Gives it a terminal for its streams.
    #[must_use]
    pub fn terminal(mut self) -> Self {
        self.terminal = true;
        self.spec(|spec| spec["process"]["terminal"] = true.into())
    }

    /// Names another place for a stream (`stdin`, `stdout` or `stderr`) in Create: any text instead of the path of the task's FIFO. The
    /// test itself reads what is written there. For [`Container::create`] and its like.
    #[must_use]
    pub fn stream(mut self, name: &str, place: &str) -> Self {
        let index = ["stdin", "stdout", "stderr"].iter().position(|stream| *stream == name);
        self.streams[index.expect("the name of a stream")] = Some(place.to_owned());
        self
    }

    /// Sends both outputs to one place, as `ctr run --log-uri` does.
    #[must_use]
    pub fn log_uri(self, uri: &str) -> Self {
        self.stream("stdout", uri).stream("stderr", uri)
    }

    /// How long the container may run, and Create and Start may take, instead of 30 s.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    fn words(&self, command: &[&str]) -> Vec<String> {
        self.node.require(self.runtime);
        leftovers::note_id(self.node.dir(), self.node.namespace(), &self.id);
        let mut words: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
        words.extend(["--runtime".to_owned(), self.runtime.name().to_owned()]);
        words.extend(["--snapshotter".to_owned(), "overlayfs".to_owned()]);
        if let Some(engine) = self.engine.filter(|_| self.runtime == Runtime::Catamaran) {
            words.extend(["--annotation".to_owned(), format!("catamaran.wasm/engine={}", engine.name())]);
        }
        words.extend(self.flags.iter().cloned());
        words.push(self.image.clone().expect("a container needs an image"));
        words.push(self.id.clone());
        words.extend(self.args.iter().cloned());
        words
    }

    /// Runs it to its end and removes it, by `ctr run --rm`. When it cannot be started, `ctr` says why in
    /// `stderr` and the code is 1.
    ///
    /// # Panics
    /// When it does not end within the limit.
    pub fn run(&self) -> Output {
        let changed = !self.edits.is_empty() || self.recorded.is_some() || self.pod.is_some();
        assert!(!changed, "ctr run takes no changed record: use create or spawn");
        let fifo = self.node.dir().join("fifo").display().to_string();
        let words = self.words(&["run", "--rm", "--fifo-dir", &fifo]);
        ctr::foreground(self.node, words, self.stdin.clone().map(String::into_bytes), self.limit)
    }

    /// Creates the container and its task, and does not start it: after this the shim runs, the program does not.
    ///
    /// # Errors
    /// The refusal of containerd or the shim. The container is removed then.
    pub fn try_create(&self) -> Result<Task<'n>, Status> {
        self.record();
        Task::create(self)
    }

    /// Checks that Create is refused with this code, and with each of these words in the text.
    ///
    /// # Panics
    /// When it is not.
    pub fn expect_refused(&self, code: Code, words: &[&str]) {
        let status = self.try_create().err().unwrap_or_else(|| panic!("it was created; expected {words:?}"));
        assert_eq!(status.code, code, "{status}");
        for word in words {
            assert!(status.message.contains(word), "{word:?} is missing in: {status}");
        }
    }

    /// Makes the container's record and snapshot, for [`Container::try_create_again`].
    ///
    /// # Panics
    /// When containerd refuses it.
    pub fn record(&self) {
        let words = self.words(&["containers", "create"]);
        self.node.ctr_ok(words);
        if !self.edits.is_empty() {
            self.edit_spec().unwrap_or_else(|status| panic!("cannot change the spec of {}: {status}", self.id));
        }
        if let Some(image) = &self.recorded {
            let record = Record { id: self.id.clone(), image: image.clone(), ..Record::default() };
            self.update(record, "image").unwrap_or_else(|status| panic!("cannot name {image}: {status}"));
        }
        if let Some(pod) = &self.pod {
            self.enter(pod).unwrap_or_else(|status| panic!("cannot put {} into the pod {pod}: {status}", self.id));
        }
    }

    /// Puts the sandbox's name into the container's record. Replaces the record, because containerd does not change this field.
    fn enter(&self, pod: &str) -> Result<(), Status> {
        let address = self.node.address();
        let runtime = sandboxes::Runtime { name: self.runtime.name().to_owned() };
        let sandbox =
            Sandbox { sandbox_id: pod.to_owned(), runtime: Some(runtime), sandboxer: "podsandbox".to_owned() };
        let request = StoreCreateRequest { sandbox: Some(sandbox) };
        match address.call::<()>("containerd.services.sandbox.v1.Store/Create", &request, PATIENCE) {
            Err(status) if status.code != Code::AlreadyExists => return Err(status),
            _ => {}
        }
        let record = Record { sandbox: pod.to_owned(), ..self.get()? };
        // Without a record containerd may collect the snapshot at once.
        let label = "containerd.io/gc.root";
        let keep = UpdateSnapshotRequest {
            snapshotter: "overlayfs".to_owned(),
            info: Some(Info { name: self.id.clone(), labels: BTreeMap::from([(label.to_owned(), "test".to_owned())]) }),
            update_mask: Some(FieldMask { paths: vec![format!("labels.{label}")] }),
        };
        address.call::<()>("containerd.services.snapshots.v1.Snapshots/Update", &keep, PATIENCE)?;
        let delete = DeleteContainerRequest { id: self.id.clone() };
        address.call::<()>(&format!("{CONTAINERS}/Delete"), &delete, PATIENCE)?;
        let create = CreateContainerRequest { container: Some(record) };
        address.call(&format!("{CONTAINERS}/Create"), &create, PATIENCE)
    }

    /// The container's record.
    fn get(&self) -> Result<Record, Status> {
        let asked = GetContainerRequest { id: self.id.clone() };
        let answer: GetContainerResponse = self.node.address().call(&format!("{CONTAINERS}/Get"), &asked, PATIENCE)?;
        Ok(answer.container.unwrap_or_default())
    }

    fn update(&self, record: Record, field: &str) -> Result<(), Status> {
        let update_mask = Some(FieldMask { paths: vec![field.to_owned()] });
        let request = UpdateContainerRequest { container: Some(record), update_mask };
        self.node.address().call(&format!("{CONTAINERS}/Update"), &request, PATIENCE)
    }

    /// Replaces the spec in the container's record, from which Create takes it.
    fn edit_spec(&self) -> Result<(), Status> {
        let any = self.get()?.spec.expect("a record without a spec");
        let mut spec = serde_json::from_slice(&any.value).expect("the spec is no JSON");
        for edit in &self.edits {
            edit(&mut spec);
        }
        let spec = Some(Any { value: spec.to_string().into_bytes(), ..any });
        self.update(Record { id: self.id.clone(), spec, ..Record::default() }, "spec")
    }

    /// Creates a further task of a container whose record exists, without `ctr` and the time that it takes.
    ///
    /// # Errors
    /// The refusal of containerd or the shim. The container is removed then.
    pub fn try_create_again(&self) -> Result<Task<'n>, Status> {
        Task::create(self)
    }

    /// As [`Container::try_create`].
    ///
    /// # Panics
    /// When that is refused.
    pub fn create(&self) -> Task<'n> {
        self.try_create().unwrap_or_else(|status| panic!("cannot create {}: {status}", self.id))
    }

    /// Creates and starts it.
    ///
    /// # Panics
    /// When either is refused.
    pub fn spawn(&self) -> Task<'n> {
        let task = self.create();
        task.start();
        task
    }

    /// Creates and starts it, waits for its end and deletes it. Not by `ctr run`: its CloseIO gets lost on every runtime if its own stdin
    /// ends before the task exists, and it takes no changed spec.
    ///
    /// # Panics
    /// When one of these is refused, or it does not end within the limit.
    pub fn to_its_end(&self) -> Output {
        let task = self.spawn();
        task.wait(self.limit);
        task.delete()
    }
}
