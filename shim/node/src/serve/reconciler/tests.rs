use std::path::Path;
use std::sync::Arc;

use super::super::board::Told;
use super::*;
use crate::fake::Fake;
use crate::layout::Wanted;
use crate::programs::PROGRAMS;
use crate::state::{self, Held};
use crate::tree::snapshot;

const DROP_IN: &str = "etc/containerd/conf.d/catamaran.toml";
const ROOT: &str = "version = 3\nimports = ['/etc/containerd/conf.d/*.toml']\n";
const INTERVAL: Duration = Duration::from_secs(60);

struct Fakes<'f>(&'f Fake);

impl Nodes for Fakes<'_> {
    fn to_look(&self) -> &dyn Node {
        self.0
    }

    fn to_work(&self, work: &mut dyn FnMut(&dyn Node) -> Result<Done>) -> Result<Done> {
        self.0.can_restart(None)?;
        work(self.0)
    }
}

/// A node of files, with all that its reconciler needs.
struct Bench {
    fake: Fake,
    settings: Settings,
    wish: Wish,
    programs: Programs,
    board: Board,
    stop: Arc<Stop>,
    begin: Instant,
}

impl Bench {
    fn new() -> Self {
        let fake = Fake::plain(Some(ROOT));
        for (name, _) in PROGRAMS {
            fake.write(&format!("release/{name}"), name);
        }
        let programs = Programs::find(&fake.path("release"), "1.2.3").unwrap();
        let wish = Wish {
            handler: "catamaran".to_owned(),
            options_file: None,
            mode_file: fake.path("configmap/mode"),
            interval: INTERVAL,
        };
        let settings = Settings {
            wanted: Wanted::default(),
            unit: None,
            by_hand: false,
            rollback_after: Duration::from_secs(300),
            runwasi_names: None,
        };
        let board = Board::new("catamaran", &programs.name);
        Self { fake, settings, wish, programs, board, stop: Arc::default(), begin: Instant::now() }
    }

    fn mode(&self, text: &str) {
        self.fake.write("configmap/mode", text);
    }

    /// Makes a new reconciler, and gives `work` a function that turns it at a number of seconds after its start.
    fn with<T>(&self, work: impl FnOnce(&mut dyn FnMut(u64) -> Told) -> T) -> T {
        let nodes = Fakes(&self.fake);
        let mut reconciler = self.reconciler(&nodes);
        work(&mut |seconds| {
            assert!(reconciler.turn(self.begin + Duration::from_secs(seconds)).is_ok(), "it was stopped");
            self.board.told()
        })
    }

    fn reconciler<'a>(&'a self, nodes: &'a Fakes<'a>) -> Reconciler<'a> {
        Reconciler::new(&self.fake.host, nodes, &self.settings, &self.wish, &self.programs, &self.board, &self.stop)
    }

    /// All files that an installation could leave.
    fn node(&self) -> Vec<(PathBuf, String)> {
        let all = ["etc", "opt", "var", "run"].map(|folder| snapshot(&self.fake.path(folder)));
        all.into_iter().flatten().collect()
    }

    fn listed(&self) -> bool {
        self.fake.handlers(Path::new("/")).is_ok_and(|all| all.contains(&"catamaran".to_owned()))
    }

    fn canaries(&self) -> usize {
        self.fake.count("canary wasmtime")
    }

    fn passes(&self, metric: &'static str, result: &'static str) -> u64 {
        self.board.passes().get(&(metric, result)).copied().unwrap_or(0)
    }
}

#[test]
fn without_a_mode_or_with_another_word_nothing_is_done() {
    let bench = Bench::new();
    let bare = bench.node();
    bench.with(|turn| {
        let told = turn(0);
        assert_eq!((told.mode, told.state, told.node_ready), (None, State::Failed, false));
        assert!(
            told.message.contains("configmap/mode") && told.message.contains("uninstall-force"),
            "{}",
            told.message
        );
        for text in ["", "instal", "Install", "install uninstall", "uninstall-Force"] {
            bench.mode(text);
            let told = turn(1000);
            assert_eq!((told.mode, told.state), (None, State::Failed), "{text}");
            assert!(told.message.contains(&format!("{text:?}")), "{}", told.message);
        }
        assert_eq!((bench.node(), bench.fake.events.borrow().len()), (bare, 0));

        bench.mode(" install \n");
        let told = turn(1001);
        assert_eq!((told.mode, told.state, told.node_ready), (Some(Mode::Install), State::Ready, true), "{told:?}");
        // Removing the file changes nothing on the node, and the last mode is not assumed to hold.
        let installed = bench.node();
        fs::remove_file(&bench.wish.mode_file).unwrap();
        assert!(!turn(5000).node_ready && bench.listed());
        assert_eq!(bench.node(), installed);
    });
}

#[test]
fn a_node_is_uninstalled_once_when_no_pod_uses_it_and_by_force_when_one_does() {
    let bench = Bench::new();
    let bare = bench.node();
    bench.with(|turn| {
        bench.mode("install");
        assert_eq!(turn(0).state, State::Ready);
        bench.fake.pods.borrow_mut().push("default/a".to_owned());
        let installed = bench.node();
        bench.mode("uninstall");
        let told = turn(2);
        assert_eq!((told.state, told.node_ready), (State::Refused, false), "{told:?}");
        assert!(told.message.contains("default/a") && told.message.contains("What to do"), "{}", told.message);
        assert_eq!(bench.node(), installed);
        // The mode is set back: the node is as it was, and nothing was restarted.
        bench.mode("install");
        assert_eq!(turn(4).state, State::Ready);
        assert_eq!(bench.fake.count("restart"), 1);

        // After a second refusal the uninstallation is tried again, and succeeds once the pod has gone.
        bench.mode("uninstall");
        assert_eq!(turn(6).state, State::Refused);
        bench.fake.pods.borrow_mut().clear();
        assert_eq!(turn(6).state, State::Refused, "before its time");
        assert_eq!(turn(8).state, State::Uninstalled);
        assert_eq!(bench.node(), bare);
        let events = bench.fake.events.borrow().len();
        assert_eq!(turn(5000).state, State::Uninstalled);
        assert_eq!(bench.fake.events.borrow().len(), events, "it is done once");

        bench.mode("install");
        assert_eq!(turn(5002).state, State::Ready);
        bench.fake.pods.borrow_mut().push("default/b".to_owned());
        bench.mode("uninstall-force");
        let told = turn(5004);
        assert_eq!((told.mode, told.state), (Some(Mode::UninstallForce), State::Uninstalled));
        assert!(told.message.contains("default/b"), "{}", told.message);
        assert_eq!(bench.node(), bare);
    });
    let counts = ["changed", "refused"].map(|result| bench.passes(UNINSTALLS, result));
    assert_eq!(counts, [2, 2]);
    // A new process, as after an upgrade, finds nothing to do.
    let told = bench.with(|turn| turn(6000));
    assert_eq!((told.state, bench.node()), (State::Uninstalled, bare));
}

#[test]
fn changes_by_others_are_repaired_and_an_intact_node_runs_no_program() {
    let bench = Bench::new();
    bench.mode("install");
    bench.with(|turn| {
        turn(0);
        let installed = bench.node();
        let events = bench.fake.events.borrow().len();
        for minute in 1..5 {
            assert_eq!(turn(minute * 61).state, State::Ready);
        }
        assert_eq!((bench.fake.events.borrow().len(), bench.passes(RECONCILES, "intact")), (events, 4));

        let folder = bench.programs.name.clone();
        let shim = format!("opt/catamaran/{folder}/catamaran-helper");
        let text = fs::read_to_string(bench.fake.path(DROP_IN)).unwrap();
        let damages: [(&str, &dyn Fn(), usize); 5] = [
            ("an edited drop-in", &|| bench.fake.write(DROP_IN, &text.replace("runtime_path", "runtime_pat")), 1),
            ("a removed drop-in", &|| fs::remove_file(bench.fake.path(DROP_IN)).unwrap(), 1),
            (
                "a containerd that was restarted meanwhile without the handler",
                &|| {
                    fs::remove_file(bench.fake.path(DROP_IN)).unwrap();
                    bench.fake.boot().unwrap();
                    bench.fake.write(DROP_IN, &text);
                },
                1,
            ),
            ("a program that was written to", &|| bench.fake.write(&shim, "catamaran-helpex"), 0),
            ("a program that was removed", &|| fs::remove_file(bench.fake.path(&shim)).unwrap(), 0),
        ];
        for (number, (what, damage, restarts)) in damages.into_iter().enumerate() {
            let (before, canaries) = (bench.fake.count("restart"), bench.canaries());
            damage();
            assert_eq!(turn(1000 * (number as u64 + 1)).state, State::Ready, "{what}");
            assert_eq!(bench.fake.count("restart") - before, restarts, "{what}");
            assert!(bench.listed() && bench.canaries() > canaries, "{what}: not proven");
            assert_eq!(bench.passes(RECONCILES, "mended"), number as u64 + 2, "{what}");
        }
        // All but the installer's own state.
        let own = |all: Vec<(PathBuf, String)>| {
            let home = bench.fake.path("var/lib/catamaran");
            all.into_iter().filter(|(path, _)| !path.starts_with(&home)).collect::<Vec<_>>()
        };
        assert_eq!(own(bench.node()), own(installed));
    });
}

#[test]
fn alias_links_are_repaired_and_a_foreign_file_of_that_name_is_reported() {
    let mut bench = Bench::new();
    bench.settings.runwasi_names = Some("/usr/local/bin".into());
    bench.fake.tree.borrow_mut().folder("usr/local/bin");
    bench.mode("install");
    bench.with(|turn| {
        assert_eq!(turn(0).state, State::Ready);
        let installed = snapshot(&bench.fake.path("usr/local"));
        assert_eq!(installed.len(), 3, "{installed:?}");
        turn(100);
        assert_eq!(bench.passes(RECONCILES, "intact"), 1);
        let link = bench.fake.path("usr/local/bin/containerd-shim-wasmer-v1");
        fs::remove_file(&link).unwrap();
        assert_eq!(turn(200).state, State::Ready);
        assert_eq!(snapshot(&bench.fake.path("usr/local")), installed);
        assert_eq!(bench.passes(RECONCILES, "mended"), 2);

        fs::remove_file(&link).unwrap();
        fs::write(&link, "runwasi's").unwrap();
        let told = turn(300);
        assert_eq!((told.state, told.node_ready), (State::Refused, false));
        assert!(told.message.contains("containerd-shim-wasmer-v1 is a file"), "{}", told.message);
        fs::remove_file(&link).unwrap();
        assert_eq!(turn(400).state, State::Ready);
        assert_eq!(snapshot(&bench.fake.path("usr/local")), installed);
    });
}

/// nodeadm does this at each boot.
#[test]
fn a_rewritten_root_file_gets_its_import_again() {
    let bench = Bench::new();
    bench.mode("install");
    bench.with(|turn| {
        turn(0);
        bench.fake.write("etc/containerd/config.toml", "version = 3\n");
        bench.fake.boot().unwrap();
        assert_eq!((turn(100).state, bench.listed()), (State::Ready, true));
        bench.mode("uninstall");
        assert_eq!(turn(102).state, State::Uninstalled);
        let left = fs::read_to_string(bench.fake.path("etc/containerd/config.toml")).unwrap();
        assert_eq!((left.as_str(), bench.fake.path(DROP_IN).exists()), ("version = 3\n", false));
    });
}

#[test]
fn changed_options_are_written_and_wrong_ones_are_named() {
    let mut bench = Bench::new();
    bench.wish.options_file = Some(bench.fake.path("configmap/options.json"));
    bench.mode("install");
    bench.fake.write("configmap/options.json", "{}");
    bench.with(|turn| {
        assert_eq!(turn(0).state, State::Ready);
        bench.fake.write("configmap/options.json", r#"{"default_engine": "wasmer"}"#);
        assert_eq!(turn(100).state, State::Ready);
        assert!(fs::read_to_string(bench.fake.path(DROP_IN)).unwrap().contains("default_engine = \"wasmer\""));
        bench.fake.write("configmap/options.json", r#"{"engine": "wasmer"}"#);
        let told = turn(200);
        assert_eq!((told.state, told.node_ready), (State::Refused, false));
        assert!(told.message.contains("options.json") && told.message.contains("\"engine\""), "{}", told.message);
        bench.fake.write("configmap/options.json", "{}");
        assert_eq!(turn(300).state, State::Ready);
        assert!(!fs::read_to_string(bench.fake.path(DROP_IN)).unwrap().contains("default_engine"));
    });
}

#[test]
fn a_failing_pass_is_retried_with_growing_pauses_until_it_succeeds() {
    let bench = Bench::new();
    bench.mode("install");
    *bench.fake.broken_engine.borrow_mut() = Some("wasmtime".to_owned());
    bench.with(|turn| {
        let mut tries = Vec::new();
        for second in 0..300 {
            let before = bench.canaries();
            let told = turn(second);
            assert_eq!((told.state, told.node_ready), (State::Failed, false));
            assert!(told.message.contains("a test program on wasmtime did not run"), "{}", told.message);
            if bench.canaries() > before {
                tries.push(second);
            }
        }
        let pauses: Vec<u64> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // The test's turns are whole seconds, and a pass takes a little time itself.
        for (pause, expected) in pauses.iter().zip([1, 2, 4, 8, 16, 32, 60, 60]) {
            assert!((expected..=expected + 1).contains(pause), "{pauses:?}");
        }
        assert!(pauses.len() >= 8, "{pauses:?}");
        *bench.fake.broken_engine.borrow_mut() = None;
        assert_eq!(turn(400).state, State::Ready);
        // The next failure starts from the first pause again.
        *bench.fake.broken_engine.borrow_mut() = Some("wasmtime".to_owned());
        bench.fake.write(DROP_IN, "version = 3\n");
        assert_eq!(turn(500).state, State::Failed);
        *bench.fake.broken_engine.borrow_mut() = None;
        assert_eq!(turn(502).state, State::Ready);
    });
}

#[test]
fn a_rolled_back_change_is_not_retried_every_minute() {
    let bench = Bench::new();
    bench.mode("install");
    bench.fake.refuses_handler.set(true);
    bench.with(|turn| {
        let told = turn(0);
        assert!(told.state == State::Failed && told.message.contains("taken back"), "{told:?}");
        for second in 1..290 {
            turn(second);
        }
        assert_eq!(bench.fake.count("restart"), 2);
        turn(302);
        assert_eq!(bench.fake.count("restart"), 4);
        for second in 303..890 {
            turn(second);
        }
        assert_eq!(bench.fake.count("restart"), 4);
        bench.fake.refuses_handler.set(false);
        assert_eq!(turn(910).state, State::Ready);
    });
    assert_eq!(bench.passes(INSTALLS, "rolled-back"), 2);
}

#[test]
fn without_a_service_manager_the_text_says_what_to_do_and_the_next_pass_checks_it() {
    let mut bench = Bench::new();
    bench.settings.by_hand = true;
    bench.mode("install");
    bench.with(|turn| {
        let told = turn(0);
        assert_eq!((told.state, told.node_ready), (State::Failed, false));
        assert!(told.message.contains("restart containerd on this node"), "{}", told.message);
        bench.fake.boot().unwrap();
        assert_eq!(turn(10).state, State::Ready);
        bench.mode("uninstall");
        let told = turn(12);
        assert!(told.state == State::Failed && told.message.contains("removes the programs"), "{told:?}");
        bench.fake.boot().unwrap();
        assert_eq!(turn(20).state, State::Uninstalled);
    });
    assert_eq!(bench.fake.count("restart"), 0);
}

#[test]
fn a_node_that_cannot_be_installed_on_is_left_without_a_trace() {
    let bench = Bench::new();
    let bare = bench.node();
    bench.fake.no_service_manager.set(true);
    bench.mode("install");
    bench.with(|turn| {
        let told = turn(0);
        assert!(told.state == State::Refused && told.message.contains("systemd does not answer"), "{told:?}");
        bench.mode("uninstall");
        assert_eq!(turn(2).state, State::Uninstalled);
    });
    assert_eq!(bench.node(), bare);
}

/// The steps of a pass, in their order.
fn steps(bench: &Bench, mode: &str) -> Vec<String> {
    bench.fake.events.borrow_mut().clear();
    bench.mode(mode);
    bench.with(|turn| turn(0));
    let events = bench.fake.events.borrow();
    events.iter().filter_map(|event| event.strip_prefix("step ").map(str::to_owned)).collect()
}

#[test]
fn a_signal_ends_a_pass_between_two_steps_and_never_uninstalls() {
    let whole = Bench::new();
    let all = steps(&whole, "install");
    assert!(all.len() >= 9, "{all:?}");
    for (number, step) in all.iter().enumerate() {
        let bench = Bench::new();
        bench.mode("install");
        let (stop, count) = (bench.stop.clone(), std::cell::Cell::new(0));
        *bench.fake.at_step.borrow_mut() = Some(Box::new(move |_| {
            if count.replace(count.get() + 1) == number {
                stop.ask();
            }
        }));
        let nodes = Fakes(&bench.fake);
        bench.reconciler(&nodes).run();
        let state = state::look(&bench.fake.host).unwrap();
        let begun = number >= all.iter().position(|step| step == "written-down").unwrap();
        assert_eq!((bench.listed(), state.installed.is_some(), state.pending), (begun, begun, None), "{step}");
        assert_eq!(*bench.fake.armed.borrow(), None, "{step}");
        // The lock is free, so the next process goes on.
        *bench.fake.at_step.borrow_mut() = None;
        let next = Bench { stop: Arc::default(), ..bench };
        assert_eq!(next.with(|turn| turn(0)).state, State::Ready, "{step}");
    }
    // On a node that is ready, and on one whose mode has just changed.
    let installed = whole.node();
    whole.stop.ask();
    whole.mode("uninstall");
    whole.reconciler(&Fakes(&whole.fake)).run();
    assert_eq!((whole.node(), whole.listed()), (installed, true));
}

#[test]
fn a_signal_ends_the_wait_for_another_installer() {
    let bench = Bench::new();
    bench.mode("install");
    let held = Held::take(&bench.fake.host, || panic!("nobody holds it")).unwrap();
    let stop = bench.stop.clone();
    *bench.fake.at_step.borrow_mut() = Some(Box::new(move |step| {
        assert_eq!(step, "waiting");
        stop.ask();
    }));
    bench.reconciler(&Fakes(&bench.fake)).run();
    assert_eq!(bench.fake.count("restart"), 0);
    drop(held);
}
