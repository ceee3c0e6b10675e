//! Targets: what an artifact is made for, an engine and the world in which it calls the code. Each has machine code of its own in
//! the cache; a worker's and a compiler's executable lie beside the shim's own.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use catamaran_host::programs::Program;
use catamaran_worker::compiler::World;
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::error::{Error, Result};

/// What an artifact is made for. The shim knows names and files, and links no engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Commands on Wasmtime.
    Wasmtime,
    /// Servers on Wasmtime, whose requests end when they take too long.
    WasmtimeHttp,
    /// Servers on Wasmtime without a time limit for requests.
    WasmtimeHttpUninterrupted,
    /// Commands on Wasmer, which has no servers.
    Wasmer,
}

impl Target {
    /// All of them.
    pub const ALL: [Target; 4] =
        [Target::Wasmtime, Target::WasmtimeHttp, Target::WasmtimeHttpUninterrupted, Target::Wasmer];

    /// The engine's commands.
    pub fn command(engine: Engine) -> Self {
        match engine {
            Engine::Wasmtime => Target::Wasmtime,
            Engine::Wasmer => Target::Wasmer,
        }
    }

    /// The engine's servers, with or without a limit for the time of a request; none where the engine has no servers.
    pub fn server(engine: Engine, interruptible: bool) -> Option<Self> {
        match (engine, interruptible) {
            (Engine::Wasmtime, true) => Some(Target::WasmtimeHttp),
            (Engine::Wasmtime, false) => Some(Target::WasmtimeHttpUninterrupted),
            (Engine::Wasmer, _) => None,
        }
    }

    /// The commands of several engines.
    pub fn commands(engines: &[Engine]) -> Vec<Self> {
        engines.iter().copied().map(Self::command).collect()
    }

    /// Commands and servers of several engines: the module decides which of them it is. Requests have a time limit.
    pub fn any(engines: &[Engine]) -> Vec<Self> {
        let both = |engine: &Engine| [Some(Self::command(*engine)), Self::server(*engine, true)];
        engines.iter().flat_map(both).flatten().collect()
    }

    /// What runs it.
    pub fn engine(self) -> Engine {
        match self {
            Target::Wasmtime | Target::WasmtimeHttp | Target::WasmtimeHttpUninterrupted => Engine::Wasmtime,
            Target::Wasmer => Engine::Wasmer,
        }
    }

    /// How its code is called.
    pub fn world(self) -> World {
        match self {
            Target::Wasmtime | Target::Wasmer => World::Command,
            Target::WasmtimeHttp => World::Http,
            Target::WasmtimeHttpUninterrupted => World::HttpUninterrupted,
        }
    }

    /// Whether it is for servers.
    pub fn is_server(self) -> bool {
        self.world() != World::Command
    }

    /// The world as a pod's author names it, who tells servers with and without a time limit not apart: `command` or `http`.
    pub fn world_word(self) -> &'static str {
        if self.is_server() { World::Http.word() } else { World::Command.word() }
    }

    /// As it is written in names of files. The engine's word stands before the first hyphen.
    pub fn word(self) -> &'static str {
        match self {
            Target::Wasmtime => "wasmtime",
            Target::WasmtimeHttp => "wasmtime-http",
            Target::WasmtimeHttpUninterrupted => "wasmtime-http-uninterrupted",
            Target::Wasmer => "wasmer",
        }
    }

    /// The target of this word; none for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.word() == text)
    }

    /// The name of its workers' executable.
    pub fn worker_name(self) -> &'static str {
        match self {
            Target::Wasmtime => "catamaran-wasmtime",
            Target::WasmtimeHttp | Target::WasmtimeHttpUninterrupted => "catamaran-wasmtime-http",
            Target::Wasmer => "catamaran-wasmer",
        }
    }

    /// The name of its compile processes' executable.
    pub fn compiler_name(self) -> &'static str {
        match self.engine() {
            Engine::Wasmtime => "catamaran-wasmtime-compile",
            Engine::Wasmer => "catamaran-wasmer-compile",
        }
    }

    /// The executable of its workers.
    ///
    /// # Errors
    /// The file that is missing.
    pub fn worker(self) -> Result<Program> {
        Ok(Program::open(self.worker_name())?)
    }

    /// The executable of its compile processes.
    ///
    /// # Errors
    /// The file that is missing.
    pub fn compiler(self) -> Result<Program> {
        Ok(Program::open(self.compiler_name())?)
    }

    /// The file that this node lacks to run it.
    ///
    /// # Errors
    /// When the kernel does not tell whether it is there.
    pub fn missing(self) -> Result<Option<PathBuf>> {
        for program in [self.worker(), self.compiler()] {
            match program {
                Ok(_) => {}
                Err(Error::Host(catamaran_host::Error::File { path, source }))
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    return Ok(Some(path));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// The names of all executables of these targets, each once.
pub fn programs(targets: &[Target]) -> Vec<&'static str> {
    let mut names: Vec<_> = targets.iter().flat_map(|target| [target.worker_name(), target.compiler_name()]).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The targets that are yet to be asked for a module, one after the other.
///
/// ```text
/// a command's --- "a server" ------> the servers' behind it, and no command's
///      |-------- "another engine's" ----> the next command's; servers' are passed over
/// servers' alone ----------------------> each as it comes
/// ```
///
/// Servers' targets behind a command's are asked only when that one has said that the module is a server: what a command's says of
/// any other module stays the last word.
#[derive(Debug, Clone)]
pub struct Untried {
    left: VecDeque<Target>,
    servers: bool,
}

impl Untried {
    /// All of `targets`, in their order.
    pub fn new(targets: &[Target]) -> Self {
        let servers = targets.iter().all(|target| target.is_server());
        let mut untried = Self { left: targets.iter().copied().collect(), servers };
        untried.pass_over();
        untried
    }

    /// The one to ask now; none when all were.
    pub fn next(&self) -> Option<Target> {
        self.left.front().copied()
    }

    /// All that are left, the next one first.
    pub fn targets(&self) -> Vec<Target> {
        self.left.iter().copied().collect()
    }

    /// The next one does not take the module: it is left to the others.
    pub fn decline(&mut self) {
        self.left.pop_front();
        self.pass_over();
    }

    /// The next one, a command's, says that the module is a server: servers' targets are left alone. False where there is none.
    pub fn keep_servers(&mut self) -> bool {
        self.left.pop_front();
        self.left.retain(|target| target.is_server());
        self.servers = true;
        !self.left.is_empty()
    }

    fn pass_over(&mut self) {
        while !self.servers && self.next().is_some_and(Target::is_server) {
            self.left.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Target::*;
    use super::*;

    #[test]
    fn a_target_is_an_engine_and_a_world() {
        for target in Target::ALL {
            assert_eq!(Target::parse(target.word()), Some(target));
            assert_eq!(serde_json::to_value(target).unwrap(), target.word());
            assert_eq!(Engine::parse(target.word().split('-').next().unwrap()), Some(target.engine()));
            let same = match target.world() {
                World::Command => Some(Target::command(target.engine())),
                World::Http => Target::server(target.engine(), true),
                World::HttpUninterrupted => Target::server(target.engine(), false),
            };
            assert_eq!(same, Some(target));
            assert_eq!(target.world_word(), if target.word().contains("http") { "http" } else { "command" });
        }
        assert!(
            ["", "Wasmtime", "wasmer-http", "wasmtime-", "../wasmer"].iter().all(|text| Target::parse(text).is_none())
        );
        assert_eq!(Target::any(&[Engine::Wasmer, Engine::Wasmtime]), [Wasmer, Wasmtime, WasmtimeHttp]);
        assert_eq!(Target::commands(&Engine::ALL), [Wasmtime, Wasmer]);
    }

    #[test]
    fn each_program_is_named_once() {
        assert_eq!(
            programs(&[Wasmtime, WasmtimeHttp, WasmtimeHttpUninterrupted]),
            ["catamaran-wasmtime", "catamaran-wasmtime-compile", "catamaran-wasmtime-http"]
        );
        assert_eq!(programs(&[Wasmer]), ["catamaran-wasmer", "catamaran-wasmer-compile"]);
    }

    #[test]
    fn a_missing_program_is_named() {
        // Beside a test's executable lies none.
        for (target, name) in [(Wasmer, "catamaran-wasmer"), (WasmtimeHttp, "catamaran-wasmtime-http")] {
            let missing = target.missing().unwrap().unwrap();
            assert_eq!(missing, std::env::current_exe().unwrap().with_file_name(name));
        }
    }

    #[test]
    fn a_servers_target_is_asked_when_a_command_is_a_server_or_when_it_stands_alone() {
        let mut untried = Untried::new(&[Wasmtime, WasmtimeHttp, Wasmer]);
        assert_eq!(untried.next(), Some(Wasmtime));
        assert!(untried.keep_servers());
        assert_eq!(untried.targets(), [WasmtimeHttp], "Wasmer is not asked about a server");
        assert_eq!(
            Untried::new(&untried.targets()).next(),
            Some(WasmtimeHttp),
            "an order begins where the shim stopped"
        );
        untried.decline();
        assert_eq!(untried.next(), None);

        let mut untried = Untried::new(&[Wasmtime, WasmtimeHttp, Wasmer]);
        untried.decline();
        assert_eq!(untried.targets(), [Wasmer], "WASIX and the like");
        untried.decline();
        assert_eq!(untried.next(), None);

        let mut untried = Untried::new(&[Wasmer, Wasmtime, WasmtimeHttpUninterrupted]);
        untried.decline();
        assert_eq!(untried.targets(), [Wasmtime, WasmtimeHttpUninterrupted]);
        assert!(untried.keep_servers());
        assert_eq!(untried.next(), Some(WasmtimeHttpUninterrupted));

        assert_eq!(Untried::new(&[WasmtimeHttp]).next(), Some(WasmtimeHttp));
        assert!(!Untried::new(&[Wasmtime, Wasmer]).keep_servers(), "an exec, or a pod that asked for a command");
        assert_eq!(Untried::new(&[]).next(), None);
    }
}
