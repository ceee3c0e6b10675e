//! Chooses a container's engine and world: those that its pod asks for, if the node allows them, else those that the module needs.
//!
//! ```text
//! allowed_engines (the limit) > catamaran.wasm/engine.<container> > catamaran.wasm/engine > the module > default_engine
//!                               catamaran.wasm/world.<container> > catamaran.wasm/world > the module
//! ```
//!
//! Only a compile process can find out what a module needs: it refuses a module that is for the other engine, or a server, and the cache
//! keeps the refusal. So the choice is a list of targets, an engine and a world each, which are tried in order. If an annotation chooses,
//! the list has only that engine, or only that world.

use catamaran_cache::advice::{advice, said};
use catamaran_cache::engine::{Engine, quoted};
use catamaran_cache::target::Target;
use catamaran_worker::Guest;
use catamaran_worker::compiler::{Tier, World};
use catamaran_worker::job::{Rules, Server};
use oci_spec::runtime::LinuxResources;

use crate::engine::annotations::{Annotation, Annotations, Key, Written};
use crate::engine::http::Http;
use crate::engine::options::Policy;
use crate::engine::values::Form;
use crate::engine::words::words;
use crate::error::{Error, Result};
use crate::spec::oci::Spec;

pub(super) const WORLD: Annotation<World> = Annotation {
    key: Key::WORLD,
    form: Form {
        parse: |text| [World::Command, World::Http].into_iter().find(|world| world.word() == text),
        expected: "command, for a program that runs once, or http, for a component that answers requests",
        without: "the component decides",
    },
};
pub(super) const TIER: Annotation<Tier> = Annotation {
    key: Key::COMPILE,
    form: Form {
        parse: |text| [Tier::Fast, Tier::Best].into_iter().find(|tier| tier.word() == text),
        expected: "fast, to start as soon as possible, or best, to start on the fastest code, however long it takes to compile",
        without: "the module's size decides",
    },
};

/// Everything that decides a container's engine and world.
pub(crate) struct Choice {
    policy: Policy,
    engine: Option<Asked<Engine>>,
    world: Option<Asked<World>>,
    /// The container's name, if it has one.
    name: Option<String>,
    /// The tier of code that the container starts on, if its pod chooses one.
    pub(crate) tier: Option<Tier>,
    http: Http,
}

/// A choice by an annotation.
struct Asked<T> {
    what: T,
    key: String,
    /// Whether the annotation is for this container alone.
    own: bool,
}

impl<T> Asked<T> {
    fn new(what: T, written: Written<'_>) -> Self {
        Self { what, key: written.key, own: written.own }
    }
}

words! {
    /// The source of a decision, for the log.
    Reason {
        Container = "container-annotation",
        Pod = "pod-annotation",
        Module = "module",
        Option = "options",
        Default = "default",
    }
}

impl Choice {
    /// Reads the annotations of the spec, and checks them against the policy and the installed programs.
    pub(crate) fn new(spec: &Spec, policy: Policy) -> Result<Self> {
        let annotations = Annotations::new(spec);
        annotations.warn_of_unknown();
        let tier = annotations.read(&TIER)?;
        let http = Http::new(&annotations)?;
        let name = annotations.container().map(str::to_owned);
        let mut choice = Self { policy, engine: None, world: None, name, tier, http };
        if let Some(written) = annotations.get(Key::ENGINE) {
            let engine = Engine::parse(written.value)
                .ok_or_else(|| written.refused(format!("{}{}", quoted(&choice.policy.allowed), choice.limits())))?;
            if !choice.policy.allowed.contains(&engine) {
                return Err(choice.forbidden(engine, &written));
            }
            choice.engine = Some(Asked::new(engine, written));
        }
        if let Some(written) = annotations.get(WORLD.key) {
            choice.world = Some(Asked::new(written.read(&WORLD.form)?, written));
        }
        choice.check_world()?;
        choice.check_installed()?;
        Ok(choice)
    }

    /// Returns the targets to try for a container's own process, in this order.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let asked = self.world.as_ref().map(|world| world.what);
        let interruptible = self.http.said.request_timeout.is_some();
        let of = |engine| {
            let commands = (asked != Some(World::Http)).then(|| Target::commands(&[engine]));
            let server = (asked != Some(World::Command)).then(|| Target::server(engine, interruptible)).flatten();
            commands.into_iter().flatten().chain(server)
        };
        self.engines().into_iter().flat_map(of).collect()
    }

    /// Returns the targets to try for an exec, which is a command even in a server's container.
    pub(crate) fn targets_of_exec(&self) -> Vec<Target> {
        Target::commands(&self.engines())
    }

    /// Returns the settings by which a process of that target serves HTTP; None for a command.
    ///
    /// # Errors
    /// If a server's variable in the environment has an invalid value.
    pub(crate) fn server(
        &self,
        target: Target,
        guest: &Guest,
        limits: Option<&LinuxResources>,
    ) -> Result<Option<Server>> {
        target.is_server().then(|| self.http.server(&guest.env, limits)).transpose()
    }

    /// Returns the node administrator's rules for components.
    pub(crate) fn rules(&self) -> Rules {
        Rules { wasi_p3: self.policy.wasi_p3, link_local_requests: self.policy.link_local_requests }
    }

    fn engines(&self) -> Vec<Engine> {
        if let Some(asked) = &self.engine {
            return vec![asked.what];
        }
        let default = self.policy.default;
        let others = Engine::ALL.into_iter().filter(|other| *other != default && self.policy.allowed.contains(other));
        [default].into_iter().chain(others).collect()
    }

    /// Returns the reason why `engine`, one of those in [`Choice::targets`], was chosen.
    pub(crate) fn reason(&self, engine: Engine) -> Reason {
        match self.engine.as_ref().map(|asked| asked.own) {
            Some(false) => Reason::Pod,
            Some(true) => Reason::Container,
            None if engine != self.policy.default => Reason::Module,
            None if self.policy.said || self.policy.allowed.len() == 1 => Reason::Option,
            None => Reason::Default,
        }
    }

    /// Turns the error of a module that all tried engines have declined into one with advice.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let Error::Declined { module, declined } = error else { return error };
        let tried = self.engines();
        let untried = |other: &Engine| !tried.contains(other) && self.policy.allowed.contains(other);
        let allowed: Vec<_> = Engine::ALL.into_iter().filter(untried).collect();
        let advice = match &self.engine {
            Some(asked) if !allowed.is_empty() => format!(
                "the annotation {} asks for {}: write {}, or leave it out{}",
                asked.key,
                asked.what,
                quoted(&allowed),
                self.advice_for_one(Key::ENGINE, asked.own)
            ),
            _ => advice(&self.policy.allowed, &self.policy.place),
        };
        Error::Module { module, reason: format!("{}; {advice}", said(declined)) }
    }

    /// Returns advice about the key for this container alone, if the pod's key was used.
    fn advice_for_one(&self, key: Key, own: bool) -> String {
        if own { String::new() } else { key.advice_for_one(self.name.as_deref()) }
    }

    fn forbidden(&self, engine: Engine, written: &Written<'_>) -> Error {
        Error::unavailable(
            written.place(),
            format!("{:?}, which this node does not allow", engine.word()),
            format!("{}{}, or no annotation", quoted(&self.policy.allowed), self.limits()),
        )
    }

    /// Returns an error if the pod asks for a world that none of the container's possible engines has.
    fn check_world(&self) -> Result<()> {
        let Some(asked) = self.world.as_ref().filter(|_| self.targets().is_empty()) else { return Ok(()) };
        let (place, word) = (format!("annotation {}", asked.key), asked.what.word());
        let able: Vec<_> = Engine::ALL.into_iter().filter(|engine| Target::server(*engine, true).is_some()).collect();
        let able = quoted(&able);
        Err(match &self.engine {
            Some(engine) => Error::refused(
                place,
                format!("{word:?}, which {} does not run", engine.what),
                format!(
                    "{able} in the annotation {}, or no such annotation{}",
                    engine.key,
                    self.advice_for_one(Key::ENGINE, engine.own)
                ),
            ),
            None => Error::unavailable(
                place,
                format!("{word:?}, which {} does not run", quoted(&self.policy.allowed)),
                format!("a node that allows {able}{}", self.limits()),
            ),
        })
    }

    /// Names the source of the allowed engines, if not all are allowed.
    fn limits(&self) -> String {
        let all = Engine::ALL.iter().all(|engine| self.policy.allowed.contains(engine));
        if all { String::new() } else { format!(" (allowed_engines of {})", self.policy.place) }
    }

    /// Returns an error if the first target's program is not installed on the node.
    fn check_installed(&self) -> Result<()> {
        let targets = self.targets();
        let Some(first) = targets.first() else { return Ok(()) };
        let Some(file) = first.missing()? else { return Ok(()) };
        let (place, what) = match (&self.engine, &self.world) {
            (Some(asked), _) => (format!("annotation {}", asked.key), asked.what.word()),
            (None, Some(asked)) if first.is_server() => (format!("annotation {}", asked.key), asked.what.word()),
            (None, _) => (format!("{}: default_engine", self.policy.place), first.engine().word()),
        };
        let mut others = Vec::new();
        for other in self.policy.allowed.iter().copied().filter(|other| *other != first.engine() && !first.is_server())
        {
            if Target::command(other).missing()?.is_none() {
                others.push(other);
            }
        }
        let installed = match others.is_empty() {
            true => String::new(),
            false => format!(", or write {}", quoted(&others)),
        };
        Err(Error::unavailable(
            place,
            format!("{what:?}, which is not installed"),
            format!("the file {} of this shim's version: have it installed{installed}", file.display()),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::annotations::CONTAINER;
    use serde_json::json;

    const KEY: &str = "catamaran.wasm/engine";
    const WORLD_KEY: &str = "catamaran.wasm/world";

    fn policy(allowed: &[Engine]) -> Policy {
        Policy {
            allowed: allowed.to_vec(),
            default: allowed[0],
            said: true,
            native: true,
            runtime: "runc".to_owned(),
            largest: 1 << 20,
            wasi_p3: true,
            link_local_requests: false,
            place: "conf".to_owned(),
        }
    }

    fn choice(annotations: serde_json::Value, allowed: &[Engine]) -> Result<Choice> {
        let spec: Spec = serde_json::from_value(json!({"ociVersion": "1.2.0", "annotations": annotations})).unwrap();
        Choice::new(&spec, policy(allowed))
    }

    const BOTH: &[Engine] = &Engine::ALL;

    #[test]
    fn a_wrong_annotation_is_refused_with_its_key() {
        let long = "c".repeat(57);
        for (annotations, allowed, words) in [
            (json!({KEY: "v8"}), BOTH, &["annotation catamaran.wasm/engine: \"v8\"", "\"wasmtime\" or \"wasmer\""][..]),
            (json!({KEY: "é".repeat(100_000)}), BOTH, &["éé\": \"wasmtime\" or \"wasmer\""]),
            (json!({KEY: ""}), BOTH, &["catamaran.wasm/engine: \"\""]),
            (json!({KEY: "Wasmer"}), &[Engine::Wasmer], &["\"Wasmer\"", "\"wasmer\" (allowed_engines of conf)"]),
            (
                json!({KEY: "wasmtime", CONTAINER: "a", "catamaran.wasm/engine.a": "v8"}),
                BOTH,
                &["annotation catamaran.wasm/engine.a: \"v8\""],
            ),
            (
                json!({KEY: "wasmer"}),
                &[Engine::Wasmtime],
                &[
                    "annotation catamaran.wasm/engine: \"wasmer\"",
                    "does not allow",
                    "\"wasmtime\" (allowed_engines of conf)",
                ],
            ),
            (
                json!({KEY: "wasmtime", CONTAINER: &long, format!("{KEY}.{long}"): "v8"}),
                BOTH,
                &["annotation catamaran.wasm/engine.ccc", "\"v8\""],
            ),
            (
                json!({WORLD_KEY: "server"}),
                BOTH,
                &["annotation catamaran.wasm/world: \"server\"", "command, for", "http, for"],
            ),
            (
                json!({WORLD_KEY: "http-uninterrupted", CONTAINER: "a", "catamaran.wasm/world.a": "HTTP"}),
                BOTH,
                &["annotation catamaran.wasm/world.a: \"HTTP\""],
            ),
            (
                json!({"catamaran.wasm/compile": "slow"}),
                BOTH,
                &["annotation catamaran.wasm/compile: \"slow\"", "fast, to start", "best, to start"],
            ),
            // Settings of a server are checked for every container.
            (json!({"catamaran.wasm/http-listen": "80"}), BOTH, &["annotation catamaran.wasm/http-listen: \"80\""]),
            (
                json!({WORLD_KEY: "http", KEY: "wasmer", CONTAINER: "a"}),
                BOTH,
                &[
                    "annotation catamaran.wasm/world: \"http\", which wasmer does not run",
                    "\"wasmtime\" in the annotation catamaran.wasm/engine, or no such annotation",
                    "for this container alone: catamaran.wasm/engine.a",
                ],
            ),
            (
                json!({WORLD_KEY: "http"}),
                &[Engine::Wasmer],
                &[
                    "annotation catamaran.wasm/world: \"http\", which \"wasmer\" does not run",
                    "a node that allows \"wasmtime\" (allowed_engines of conf)",
                ],
            ),
            // No program lies beside a test's executable.
            (
                json!({WORLD_KEY: "http"}),
                BOTH,
                &[
                    "annotation catamaran.wasm/world: \"http\", which is not installed",
                    "catamaran-wasmtime-http of this shim's",
                ],
            ),
        ] {
            let said = choice(annotations, allowed).map(drop).unwrap_err().to_string();
            for word in words {
                assert!(said.contains(word), "{word:?} is missing in: {said}");
            }
        }
    }

    fn asked(key: Key, container: Option<&str>, engine: Engine) -> Option<Asked<Engine>> {
        let own = container.is_some();
        Some(Asked { what: engine, key: container.map_or(key.to_string(), |name| key.of(name)), own })
    }

    fn made(engine: Option<Asked<Engine>>, allowed: &[Engine], name: Option<&str>) -> Choice {
        let spec: Spec = serde_json::from_value(json!({"ociVersion": "1.2.0"})).unwrap();
        let http = Http::new(&Annotations::new(&spec)).unwrap();
        Choice { policy: policy(allowed), engine, world: None, name: name.map(str::to_owned), tier: None, http }
    }

    #[test]
    fn without_annotations_the_module_chooses_its_engine() {
        use Engine::{Wasmer, Wasmtime};
        let pods = |engine| asked(Key::ENGINE, None, engine);
        assert_eq!(made(None, BOTH, None).engines(), [Wasmtime, Wasmer]);
        assert_eq!(made(None, &[Wasmer, Wasmtime], None).engines(), [Wasmer, Wasmtime]);
        assert_eq!(made(None, &[Wasmer], None).engines(), [Wasmer]);
        assert_eq!(made(pods(Wasmer), BOTH, None).engines(), [Wasmer]);
        assert_eq!(made(None, BOTH, None).reason(Wasmer), Reason::Module);
        assert_eq!(made(None, BOTH, None).reason(Wasmtime), Reason::Option);
        assert_eq!(made(pods(Wasmer), BOTH, None).reason(Wasmer), Reason::Pod);
        assert_eq!(made(asked(Key::ENGINE, Some("a"), Wasmer), BOTH, None).reason(Wasmer), Reason::Container);
    }

    #[test]
    fn without_annotations_the_module_chooses_its_world() {
        use Target::{Wasmer, Wasmtime, WasmtimeExtended, WasmtimeHttp, WasmtimeHttpUninterrupted};
        let in_world = |world, allowed: &[Engine]| {
            let world = Some(Asked { what: world, key: WORLD_KEY.to_owned(), own: false });
            Choice { world, ..made(None, allowed, None) }
        };
        let with_no_limit = |mut choice: Choice| {
            choice.http.said.request_timeout = None;
            choice
        };
        for (choice, targets) in [
            (made(None, BOTH, None), &[Wasmtime, WasmtimeExtended, WasmtimeHttp, Wasmer][..]),
            (
                made(None, &[Engine::Wasmer, Engine::Wasmtime], None),
                &[Wasmer, Wasmtime, WasmtimeExtended, WasmtimeHttp],
            ),
            (made(None, &[Engine::Wasmer], None), &[Wasmer]),
            (made(asked(Key::ENGINE, None, Engine::Wasmtime), BOTH, None), &[Wasmtime, WasmtimeExtended, WasmtimeHttp]),
            (with_no_limit(made(None, BOTH, None)), &[Wasmtime, WasmtimeExtended, WasmtimeHttpUninterrupted, Wasmer]),
            (in_world(World::Command, BOTH), &[Wasmtime, WasmtimeExtended, Wasmer]),
            (in_world(World::Http, BOTH), &[WasmtimeHttp]),
            (in_world(World::Http, &[Engine::Wasmer, Engine::Wasmtime]), &[WasmtimeHttp]),
            (with_no_limit(in_world(World::Http, BOTH)), &[WasmtimeHttpUninterrupted]),
        ] {
            assert_eq!(choice.targets(), targets);
            assert!(choice.targets_of_exec().iter().all(|target| !target.is_server()), "an exec is a command");
        }
        assert_eq!(in_world(World::Http, BOTH).targets_of_exec(), [Wasmtime, WasmtimeExtended, Wasmer]);
    }

    #[test]
    fn a_module_that_no_allowed_engine_runs_says_what_to_change() {
        let declined = |engines: &[Engine]| Error::Declined {
            module: "/m.wasm".to_owned(),
            declined: engines
                .iter()
                .map(|engine| (engine.word().to_owned(), "it needs the other".to_owned()))
                .collect(),
        };
        let (long, time) = ("c".repeat(57), Engine::Wasmtime);
        let pods = || asked(Key::ENGINE, None, time);
        for (choice, tried, words) in [
            (
                made(pods(), BOTH, Some("a")),
                &[time][..],
                &[
                    "annotation catamaran.wasm/engine asks for wasmtime: write \"wasmer\"",
                    "alone: catamaran.wasm/engine.a",
                ][..],
            ),
            (made(pods(), BOTH, Some(&long)), &[time], &["up to 56 characters", "has 57"]),
            (made(asked(Key::ENGINE, Some("a"), time), BOTH, Some("a")), &[time], &["engine.a asks for wasmtime"]),
            (made(None, &[time], None), &[time], &["does not allow \"wasmer\" (allowed_engines of conf)"]),
            (made(pods(), &[time], None), &[time], &["does not allow \"wasmer\"", "for \"wasmtime\""]),
            (made(None, BOTH, None), BOTH, &["not on wasmtime", "not on wasmer", "no engine of this node runs it"]),
        ] {
            let said = choice.explain(declined(tried)).to_string();
            assert!(said.starts_with("/m.wasm: not on wasmtime: it needs the other"), "{said}");
            for word in words {
                assert!(said.contains(word), "{word:?} is missing in: {said}");
            }
        }
    }
}
