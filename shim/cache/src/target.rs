//! Targets: what an artifact is made for, an engine and the world in which it calls the code. Each target has machine code of its own
//! in the cache. The executables of workers and compilers lie beside the shim's own.

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
    /// Commands on Wasmtime that need more than WASI 0.2 has for commands.
    WasmtimeExtended,
    /// Servers on Wasmtime, whose requests end when they take too long.
    WasmtimeHttp,
    /// Servers on Wasmtime without a time limit for requests.
    WasmtimeHttpUninterrupted,
    /// Commands on Wasmer, which has no servers.
    Wasmer,
}

impl Target {
    /// All of them.
    pub const ALL: [Target; 5] = [
        Target::Wasmtime,
        Target::WasmtimeExtended,
        Target::WasmtimeHttp,
        Target::WasmtimeHttpUninterrupted,
        Target::Wasmer,
    ];

    /// Returns the target of the engine's commands.
    pub fn command(engine: Engine) -> Self {
        match engine {
            Engine::Wasmtime => Target::Wasmtime,
            Engine::Wasmer => Target::Wasmer,
        }
    }

    /// Returns the target of the engine's commands that need more than WASI 0.2 has for commands; None if the engine has none.
    pub fn extended(engine: Engine) -> Option<Self> {
        match engine {
            Engine::Wasmtime => Some(Target::WasmtimeExtended),
            Engine::Wasmer => None,
        }
    }

    /// Returns the target of the engine's servers, with or without a time limit for requests; None if the engine has no servers.
    pub fn server(engine: Engine, interruptible: bool) -> Option<Self> {
        match (engine, interruptible) {
            (Engine::Wasmtime, true) => Some(Target::WasmtimeHttp),
            (Engine::Wasmtime, false) => Some(Target::WasmtimeHttpUninterrupted),
            (Engine::Wasmer, _) => None,
        }
    }

    /// Returns the targets of several engines' commands.
    pub fn commands(engines: &[Engine]) -> Vec<Self> {
        engines.iter().copied().flat_map(Self::all_commands).collect()
    }

    /// Returns the plain target first, because its compile says whether a component is an extended command.
    fn all_commands(engine: Engine) -> impl Iterator<Item = Self> {
        [Some(Self::command(engine)), Self::extended(engine)].into_iter().flatten()
    }

    /// Returns the targets of several engines' commands and servers; the module decides which of them fits. Requests have a time limit.
    pub fn any(engines: &[Engine]) -> Vec<Self> {
        let all = |engine: &Engine| Self::all_commands(*engine).chain(Self::server(*engine, true));
        engines.iter().flat_map(all).collect()
    }

    /// Returns the engine that runs it.
    pub fn engine(self) -> Engine {
        match self {
            Target::Wasmtime | Target::WasmtimeExtended | Target::WasmtimeHttp | Target::WasmtimeHttpUninterrupted => {
                Engine::Wasmtime
            }
            Target::Wasmer => Engine::Wasmer,
        }
    }

    /// Returns the world in which the engine calls its code.
    pub fn world(self) -> World {
        match self {
            Target::Wasmtime | Target::Wasmer => World::Command,
            Target::WasmtimeExtended => World::ExtendedCommand,
            Target::WasmtimeHttp => World::Http,
            Target::WasmtimeHttpUninterrupted => World::HttpUninterrupted,
        }
    }

    /// Whether it is for servers.
    pub fn is_server(self) -> bool {
        self.world().is_http()
    }

    /// Returns the world as a pod's author names it: `command`, or `http` for servers with and without a time limit.
    pub fn world_word(self) -> &'static str {
        if self.is_server() { World::Http.word() } else { World::Command.word() }
    }

    /// Returns its word in the names of files. The engine's word stands before the first hyphen.
    pub fn word(self) -> &'static str {
        match self {
            Target::Wasmtime => "wasmtime",
            Target::WasmtimeExtended => "wasmtime-extended",
            Target::WasmtimeHttp => "wasmtime-http",
            Target::WasmtimeHttpUninterrupted => "wasmtime-http-uninterrupted",
            Target::Wasmer => "wasmer",
        }
    }

    /// Returns the target of this word, or None for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.word() == text)
    }

    /// Returns the name of its workers' executable.
    pub fn worker_name(self) -> &'static str {
        match self {
            Target::Wasmtime => "catamaran-wasmtime",
            Target::WasmtimeExtended | Target::WasmtimeHttp | Target::WasmtimeHttpUninterrupted => {
                "catamaran-wasmtime-http"
            }
            Target::Wasmer => "catamaran-wasmer",
        }
    }

    /// Returns the name of its compile processes' executable.
    pub fn compiler_name(self) -> &'static str {
        match self.engine() {
            Engine::Wasmtime => "catamaran-wasmtime-compile",
            Engine::Wasmer => "catamaran-wasmer-compile",
        }
    }

    /// Opens the executable of its workers.
    ///
    /// # Errors
    /// If the file is missing, which the error names.
    pub fn worker(self) -> Result<Program> {
        Ok(Program::open(self.worker_name())?)
    }

    /// Opens the executable of its compile processes.
    ///
    /// # Errors
    /// If the file is missing, which the error names.
    pub fn compiler(self) -> Result<Program> {
        Ok(Program::open(self.compiler_name())?)
    }

    /// Returns the file that this node lacks to run it, if any.
    ///
    /// # Errors
    /// If the kernel does not tell whether a file is there.
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

/// Returns the names of all executables of these targets, each once.
pub fn programs(targets: &[Target]) -> Vec<&'static str> {
    let mut names: Vec<_> = targets.iter().flat_map(|target| [target.worker_name(), target.compiler_name()]).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The targets that are still to be asked about a module, one after the other.
///
/// ```text
/// a plain command's --- "a server" ------------> the servers' behind it, and no command's
///        |------------- "an extended command" -> those of extended commands behind it
///        |------------- "another engine's" ----> the next plain command's; all others are passed over
/// no plain command's among them --------------> each as it comes
/// ```
///
/// Targets of other worlds behind a plain command's are asked only if that one has said that the module is of their world. What a
/// plain command's says of any other module stays the last word.
#[derive(Debug, Clone)]
pub struct Untried {
    left: VecDeque<Target>,
    /// Whether targets of other worlds than the plain commands' are asked.
    others: bool,
}

impl Untried {
    /// Starts with all of `targets`, in their order.
    pub fn new(targets: &[Target]) -> Self {
        let others = targets.iter().all(|target| target.world() != World::Command);
        let mut untried = Self { left: targets.iter().copied().collect(), others };
        untried.pass_over();
        untried
    }

    /// Returns the target to ask now, or None if all were asked.
    pub fn next(&self) -> Option<Target> {
        self.left.front().copied()
    }

    /// Returns all that are left, the next one first.
    pub fn targets(&self) -> Vec<Target> {
        self.left.iter().copied().collect()
    }

    /// Drops the next target, which does not take the module.
    pub fn decline(&mut self) {
        self.left.pop_front();
        self.pass_over();
    }

    /// Keeps only the targets of `world`, which the next target, a plain command's, has named. Returns false if there are none.
    pub fn keep(&mut self, world: World) -> bool {
        self.left.pop_front();
        self.left.retain(|target| target.world() == world || target.is_server() && world.is_http());
        self.others = true;
        !self.left.is_empty()
    }

    fn pass_over(&mut self) {
        while !self.others && self.next().is_some_and(|target| target.world() != World::Command) {
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
                World::ExtendedCommand => Target::extended(target.engine()),
                World::Http => Target::server(target.engine(), true),
                World::HttpUninterrupted => Target::server(target.engine(), false),
            };
            assert_eq!(same, Some(target));
            assert_eq!(target.world_word(), if target.word().contains("http") { "http" } else { "command" });
        }
        assert!(
            ["", "Wasmtime", "wasmer-http", "wasmtime-", "../wasmer"].iter().all(|text| Target::parse(text).is_none())
        );
        assert_eq!(
            Target::any(&[Engine::Wasmer, Engine::Wasmtime]),
            [Wasmer, Wasmtime, WasmtimeExtended, WasmtimeHttp]
        );
        assert_eq!(Target::commands(&Engine::ALL), [Wasmtime, WasmtimeExtended, Wasmer]);
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
        // No such file lies beside a test's executable.
        for (target, name) in [(Wasmer, "catamaran-wasmer"), (WasmtimeHttp, "catamaran-wasmtime-http")] {
            let missing = target.missing().unwrap().unwrap();
            assert_eq!(missing, std::env::current_exe().unwrap().with_file_name(name));
        }
    }

    #[test]
    fn a_servers_target_is_asked_when_a_command_is_a_server_or_when_it_stands_alone() {
        let mut untried = Untried::new(&[Wasmtime, WasmtimeHttp, Wasmer]);
        assert_eq!(untried.next(), Some(Wasmtime));
        assert!(untried.keep(World::Http));
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
        assert!(untried.keep(World::Http));
        assert_eq!(untried.next(), Some(WasmtimeHttpUninterrupted));

        assert_eq!(Untried::new(&[WasmtimeHttp]).next(), Some(WasmtimeHttp));
        let commands = [Wasmtime, WasmtimeExtended, Wasmer];
        assert!(!Untried::new(&commands).keep(World::Http), "an exec, or a pod that asked for a command");
        let mut untried = Untried::new(&Target::any(&Engine::ALL));
        assert!(untried.keep(World::ExtendedCommand));
        assert_eq!(untried.targets(), [WasmtimeExtended]);
        let mut untried = Untried::new(&commands);
        untried.decline();
        assert_eq!(untried.targets(), [Wasmer], "WASIX and the like in an exec");
        assert_eq!(Untried::new(&[]).next(), None);
    }
}
