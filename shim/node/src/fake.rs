//! A node of files alone: its containerd reads its configuration as the real one does, and comes back from a restart or does not.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, Table};

use crate::error::{Error, Result};
use crate::handler::{ENGINES, Options};
use crate::host::Host;
use crate::node::{Node, Pod, Rollback};
use crate::process::Process;
use crate::root_file::RootFile;
use crate::state::Known;
use crate::tree::Tree;

/// The panic payload of a kill at a step.
pub(crate) struct Killed;

type AtStep = Box<dyn Fn(&str)>;

/// The node.
pub(crate) struct Fake {
    pub(crate) tree: RefCell<Tree>,
    pub(crate) host: Host,
    config: PathBuf,
    args: Vec<String>,
    /// The configuration that containerd runs by; None while it does not run.
    loaded: RefCell<Option<DocumentMut>>,
    pid: Cell<u32>,
    /// The events, in order.
    pub(crate) events: RefCell<Vec<String>>,
    /// How many steps pass before the process is killed at one.
    pub(crate) kill_after: Cell<Option<usize>>,
    /// Pods of the handler `catamaran`, or of another one: `HANDLER NAMESPACE/NAME`.
    pub(crate) pods: RefCell<Vec<String>>,
    pub(crate) armed: RefCell<Option<String>>,
    pub(crate) version: RefCell<String>,
    /// An engine whose test program fails.
    pub(crate) broken_engine: RefCell<Option<String>>,
    /// Whether containerd accepts a configuration in `config dump` and then does not come back with the handler.
    pub(crate) refuses_handler: Cell<bool>,
    /// Whether a newer drop-in below an older root file stops containerd, as it does containerd 2.3.0 to 2.3.4.
    pub(crate) strict_versions: Cell<bool>,
    /// For k3s: the configuration that the template's base is rendered to.
    pub(crate) base: RefCell<Option<String>>,
    /// For k3s: the folder where it looks for runwasi's shims when it starts, to write a handler for each.
    pub(crate) names: RefCell<Option<PathBuf>>,
    pub(crate) restart_fails: Cell<bool>,
    pub(crate) no_service_manager: Cell<bool>,
    /// Called with each step's name.
    pub(crate) at_step: RefCell<Option<AtStep>>,
}

impl Fake {
    /// A containerd with this root file, which the kubelet talks to. `args` are its arguments without the program.
    pub(crate) fn new(mut tree: Tree, program: &str, args: &[&str], config: &str, socket: &str) -> Self {
        let mut all = vec![program.to_owned()];
        all.extend(args.iter().map(|argument| (*argument).to_owned()));
        tree.folder("var/lib").folder("etc").folder("run");
        tree.process(10, &["kubelet", &format!("--container-runtime-endpoint=unix://{socket}")]);
        let host = tree.host();
        let fake = Self {
            tree: RefCell::new(tree),
            host,
            config: config.into(),
            args: all,
            loaded: RefCell::default(),
            pid: Cell::new(100),
            events: RefCell::default(),
            kill_after: Cell::default(),
            pods: RefCell::default(),
            armed: RefCell::default(),
            version: RefCell::new("containerd github.com/containerd/containerd/v2 2.1.9 abc".into()),
            broken_engine: RefCell::default(),
            refuses_handler: Cell::default(),
            strict_versions: Cell::default(),
            base: RefCell::default(),
            names: RefCell::default(),
            restart_fails: Cell::default(),
            no_service_manager: Cell::default(),
            at_step: RefCell::default(),
        };
        fake.boot().unwrap();
        fake.events.borrow_mut().clear();
        fake
    }

    /// The usual containerd.
    pub(crate) fn plain(root: Option<&str>) -> Self {
        let mut tree = Tree::new();
        if let Some(root) = root {
            tree.file("etc/containerd/config.toml", root);
        }
        Self::new(tree, "/usr/bin/containerd", &[], "/etc/containerd/config.toml", crate::containerd::SOCKET)
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.tree.borrow().path(inside)
    }

    pub(crate) fn write(&self, inside: &str, text: &str) {
        self.tree.borrow_mut().file(inside, text);
    }

    fn note(&self, event: impl Into<String>) {
        self.events.borrow_mut().push(event.into());
    }

    pub(crate) fn count(&self, event: &str) -> usize {
        self.events.borrow().iter().filter(|found| *found == event).count()
    }

    /// Starts containerd, as a service manager does.
    pub(crate) fn boot(&self) -> std::result::Result<(), String> {
        let old = self.pid.get();
        let _ = std::fs::remove_dir_all(self.path(&format!("proc/{old}")));
        *self.loaded.borrow_mut() = None;
        self.render();
        let read = self.merged(&self.config)?;
        if self.refuses_handler.get() && text(&read).contains("catamaran") {
            return Err("containerd ended at its start".into());
        }
        *self.loaded.borrow_mut() = Some(read);
        let pid = old + 1;
        self.pid.set(pid);
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let mut tree = self.tree.borrow_mut();
        let _ = tree.process(pid, &args).exe(&self.args[0]).unit("containerd.service");
        let stat = format!("{pid} (containerd) S{} {pid}00", " 0".repeat(18));
        tree.file(&format!("proc/{pid}/stat"), &stat);
        Ok(())
    }

    /// Renders the root file, as k3s and microk8s do before they start containerd.
    fn render(&self) {
        let folder = self.config.parent().unwrap();
        if let Some(base) = self.base.borrow().as_ref() {
            let template = self.host.text(&folder.join("config-v3.toml.tmpl"));
            let base = base.clone() + &self.found();
            let rendered = template.map_or(base.clone(), |text| text.replace("{{ template \"base\" . }}\n", &base));
            std::fs::write(self.host.at(&self.config), rendered).unwrap();
        }
        if folder == Path::new("/etc/k0s") {
            let mut cri = "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.cni]\nbin_dir = '/opt/cni'\n".to_owned();
            for path in self.host.glob(Path::new("/etc/k0s/containerd.d/*.toml")) {
                cri += &self.host.text(&path).unwrap().replace("version = 2\n", "");
            }
            self.write("run/k0s/containerd-cri.toml", &cri);
        }
        if let Some(text) = self.host.text(&folder.join("containerd-template.toml")) {
            std::fs::write(self.host.at(&self.config), text.replace("${SNAP}", "/snap/microk8s/1")).unwrap();
        }
    }

    /// k3s' handlers for programs with the names of runwasi's shims.
    fn found(&self) -> String {
        let names = self.names.borrow();
        let program = |engine: &str| Some(names.as_ref()?.join(format!("containerd-shim-{engine}-v1")));
        let found = ENGINES.into_iter().filter(|engine| program(engine).is_some_and(|path| self.host.exists(&path)));
        let table = "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes";
        found.map(|engine| format!("{table}.{engine}]\nruntime_type = 'io.containerd.{engine}.v1'\n")).collect()
    }

    fn merged(&self, config: &Path) -> std::result::Result<DocumentMut, String> {
        let root = RootFile::read(&self.host, config).map_err(|e| e.to_string())?;
        let version = root.version().map_err(|e| e.to_string())?;
        let mut merged = root.document.clone().unwrap_or_default();
        for import in root.imports() {
            for path in self.host.glob(&root.import_path(&import)) {
                let part = RootFile::read(&self.host, &path).map_err(|e| e.to_string())?;
                let its = part.version().map_err(|e| e.to_string())?;
                if self.strict_versions.get() && its > version {
                    return Err(format!("{}: version {its} below {version}", path.display()));
                }
                let part = part.document.unwrap_or_default();
                if text(&part).contains("runtimes.catamaran]") && (its == 2) != text(&part).contains("grpc.v1.cri") {
                    return Err(format!("{}: a plugin of another version", path.display()));
                }
                merge(merged.as_table_mut(), part.as_table());
            }
        }
        merged.remove("imports");
        // Version 4, which the real containerd shows whatever the files say.
        merged["version"] = toml_edit::value(4);
        Ok(merged)
    }
}

fn text(document: &DocumentMut) -> String {
    document.to_string()
}

fn merge(into: &mut dyn toml_edit::TableLike, from: &dyn toml_edit::TableLike) {
    for (key, item) in from.iter() {
        match (into.get_mut(key).and_then(Item::as_table_like_mut), item.as_table_like()) {
            (Some(into), Some(from)) => merge(into, from),
            (None, Some(from)) => {
                let mut table = Table::new();
                merge(&mut table, from);
                into.insert(key, Item::Table(table));
            }
            _ => _ = into.insert(key, item.clone()),
        }
    }
}

impl Node for Fake {
    fn processes(&self) -> Vec<Process> {
        self.tree.borrow().processes()
    }

    fn started(&self, pid: u32) -> Option<u64> {
        self.host.text(&crate::process::proc_of(pid).join("stat"))?.split_whitespace().last()?.parse().ok()
    }

    fn unit_of(&self, _: u32) -> Option<String> {
        None
    }

    fn version(&self, _: &Path) -> Result<String> {
        Ok(self.version.borrow().clone())
    }

    fn dump(&self, _: &Path, config: &Path) -> Result<String> {
        let merged = self.merged(config).map_err(|why| Error::refused(why, "mend it"))?;
        Ok(merged.to_string())
    }

    fn can_restart(&self, _: Option<&str>) -> Result<()> {
        if self.no_service_manager.get() {
            return Err(Error::refused("systemd does not answer", "write --restart none"));
        }
        Ok(())
    }

    fn restart(&self, _: Option<&str>) -> Result<()> {
        self.note("restart");
        if self.restart_fails.get() {
            return Err(Error::failed("its restart was not done after 150 s", "look at the log"));
        }
        self.boot().map_err(|why| Error::failed(why, "look at the log"))
    }

    fn arm(&self, rollback: &Rollback<'_>) -> Result<()> {
        self.note("arm");
        assert!(self.host.exists(rollback.program), "{}", rollback.program.display());
        *self.armed.borrow_mut() = Some(rollback.id.to_owned());
        Ok(())
    }

    fn disarm(&self, id: &str) -> Result<()> {
        let mut armed = self.armed.borrow_mut();
        if armed.as_deref() == Some(id) {
            *armed = None;
        }
        Ok(())
    }

    fn handlers(&self, _: &Path) -> Result<Vec<String>> {
        let loaded = self.loaded.borrow();
        let loaded =
            loaded.as_ref().ok_or_else(|| Error::failed("containerd does not answer the CRI", "look at its log"))?;
        let mut found = BTreeSet::from(["runc".to_owned()]);
        for (_, plugin) in
            loaded.get("plugins").and_then(Item::as_table_like).into_iter().flat_map(|plugins| plugins.iter())
        {
            let runtimes = plugin.get("containerd").and_then(|part| part.get("runtimes")).and_then(Item::as_table_like);
            found.extend(runtimes.into_iter().flat_map(|all| all.iter()).map(|(name, _)| name.to_owned()));
        }
        Ok(found.into_iter().collect())
    }

    fn pods(&self, _: &Path, handler: &str) -> Result<Vec<Pod>> {
        if self.loaded.borrow().is_none() {
            return Err(Error::failed("containerd does not answer the CRI", "look at its log"));
        }
        let pods = self.pods.borrow();
        let named = pods.iter().map(|pod| pod.split_once(' ').unwrap_or(("catamaran", pod)));
        Ok(named.filter(|(of, _)| *of == handler).map(|(_, name)| Pod { name: name.to_owned() }).collect())
    }

    fn canary(&self, _: &Known, shim: &Path, engine: &str, _: &Options) -> Result<()> {
        self.note(format!("canary {engine}"));
        assert!(self.host.exists(shim), "{}", shim.display());
        match self.broken_engine.borrow().as_deref() == Some(engine) {
            true => Err(Error::failed(format!("a test program on {engine} did not run"), "look at the log")),
            false => Ok(()),
        }
    }

    fn step(&self, name: &'static str) {
        self.note(format!("step {name}"));
        if let Some(call) = &*self.at_step.borrow() {
            call(name);
        }
        match self.kill_after.get() {
            Some(0) => std::panic::resume_unwind(Box::new(Killed)),
            Some(left) => self.kill_after.set(Some(left - 1)),
            None => (),
        }
    }
}
