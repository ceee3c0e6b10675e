mod aliases;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::fake::{Fake, Killed};
use crate::handler::SHIM;
use crate::programs::PROGRAMS;
use crate::tree::{Tree, snapshot};

const CONFIG: &str = "etc/containerd/config.toml";
const DROP_IN: &str = "etc/containerd/conf.d/catamaran.toml";
/// A root file with an administrator's own values, which must stay.
const ROOT: &str = "version = 3\n# ours\nimports = ['/etc/containerd/conf.d/*.toml'] # keep\noom_score = -999\n\n\
    [plugins.'io.containerd.cri.v1.runtime'.cni]\n  bin_dirs = ['/home/kubernetes/bin']\n  conf_dir = '/etc/cni/net.d'\n\n\
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\n  runtime_type = 'io.containerd.runc.v2'\n";
/// A root file without imports, as kubeadm's guides, kind and EKS' nodeadm write it.
const BARE: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/opt/cni/bin\"\n";

/// A release whose programs contain this word.
fn release(fake: &Fake, word: &str) -> Programs {
    let folder = format!("releases/{word}");
    for (name, _) in PROGRAMS {
        fake.write(&format!("{folder}/{name}"), &format!("{name} {word}"));
    }
    Programs::find(&fake.path(&folder), VERSION).unwrap()
}

fn settings() -> Settings {
    Settings {
        wanted: Wanted::default(),
        unit: None,
        by_hand: false,
        rollback_after: Duration::from_secs(300),
        runwasi_names: None,
    }
}

fn with<T>(fake: &Fake, settings: &Settings, work: impl FnOnce(&Installer<'_>) -> T) -> T {
    work(&Installer { host: &fake.host, node: fake, settings, say: &|_| () })
}

fn install(fake: &Fake, word: &str) -> Result<Done> {
    let programs = release(fake, word);
    let settings = Settings { runwasi_names: fake.names.borrow().clone(), ..settings() };
    with(fake, &settings, |installer| installer.install(&programs, "catamaran", &Options::default()))
}

fn uninstall(fake: &Fake, force: bool) -> Result<Done> {
    with(fake, &settings(), |installer| installer.uninstall(force))
}

fn roll_back(fake: &Fake, id: &str) -> Result<bool> {
    with(fake, &settings(), |installer| installer.roll_back(id))
}

fn listed(fake: &Fake) -> bool {
    fake.handlers(Path::new("/")).is_ok_and(|handlers| handlers.contains(&"catamaran".to_owned()))
}

/// All files that an installation could leave, without the tests' own.
fn node(fake: &Fake) -> Vec<(PathBuf, String)> {
    let all = ["etc", "opt", "var", "run", "home"].map(|folder| snapshot(&fake.path(folder)));
    all.into_iter().flatten().collect()
}

/// The folder of the programs that the handler names.
fn in_force(fake: &Fake) -> PathBuf {
    let state = state::look(&fake.host).unwrap();
    state.installed.unwrap().folder
}

/// Every kind of node, each with a name.
fn shapes() -> Vec<(&'static str, Fake)> {
    let k3s = |root: &str| {
        let folder = "/var/lib/rancher/k3s/agent/etc/containerd";
        let mut tree = Tree::new();
        tree.file(&format!("{folder}/config.toml"), root);
        let config = format!("{folder}/config.toml");
        let fake = Fake::new(
            tree,
            "/var/lib/rancher/k3s/data/current/bin/containerd",
            &["-c", &config],
            &config,
            "/run/containerd/containerd.sock",
        );
        *fake.base.borrow_mut() = Some(root.to_owned());
        fake
    };
    let k3s_imports = "version = 3\nimports = ['/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.d/*.toml']\n";
    let mut owned = k3s("version = 3\noom_score = 1\n");
    owned.tree.get_mut().file(
        "var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.tmpl",
        "{{ template \"base\" . }}\n[debug]\n  level = 'info'",
    );
    owned.boot().unwrap();
    let mut microk8s = Tree::new();
    let args = "/var/snap/microk8s/7/args";
    microk8s.file(&format!("{args}/containerd-template.toml"), "version = 3\n# ${SNAP}\n");
    let config = format!("{args}/containerd.toml");
    let microk8s = Fake::new(
        microk8s,
        "/snap/microk8s/7/bin/containerd",
        &["--config", &config],
        &config,
        "/run/containerd/containerd.sock",
    );
    let mut k0s = Tree::new();
    k0s.file(
        "etc/k0s/containerd.toml",
        "# k0s_managed=true\nversion = 2\nimports = ['/run/k0s/containerd-cri.toml']\n",
    );
    let config = "/etc/k0s/containerd.toml";
    let k0s =
        Fake::new(k0s, "/var/lib/k0s/bin/containerd", &["--config", config], config, "/run/containerd/containerd.sock");
    vec![
        ("a root file that imports a folder", Fake::plain(Some(ROOT))),
        ("a root file without imports", Fake::plain(Some(BARE))),
        ("no root file", Fake::plain(None)),
        ("k3s with a folder", k3s(k3s_imports)),
        ("k3s without a template", k3s("version = 3\noom_score = 1\n")),
        ("k3s with a template of its owner's", owned),
        ("microk8s", microk8s),
        ("k0s", k0s),
        ("k3s in runwasi's place", with_names(k3s(k3s_imports))),
    ]
}

/// A node where k3s looks for runwasi's shims, and where `install` makes links by their names.
fn with_names(fake: Fake) -> Fake {
    fake.tree.borrow_mut().folder("opt/kwasm/bin");
    *fake.names.borrow_mut() = Some("/opt/kwasm/bin".into());
    fake
}

#[test]
fn ten_loops_leave_every_file_as_it_was_byte_for_byte() {
    for (shape, fake) in shapes() {
        let before = node(&fake);
        for turn in 0..10 {
            let done = install(&fake, if turn % 2 == 0 { "one" } else { "two" }).unwrap();
            assert!(done.changed && listed(&fake), "{shape}");
            assert_eq!(
                fs::metadata(fake.host.at(&in_force(&fake).join("catamaran-holder"))).unwrap().permissions_mode(),
                0o711
            );
            let done = uninstall(&fake, false).unwrap();
            assert!(done.changed && !listed(&fake), "{shape}");
            assert_eq!(node(&fake), before, "{shape}, turn {turn}");
        }
        assert_eq!(fake.count("restart"), 20, "{shape}");
        assert_eq!(*fake.armed.borrow(), None);
    }
}

trait Mode {
    fn permissions_mode(&self) -> u32;
}

impl Mode for fs::Metadata {
    fn permissions_mode(&self) -> u32 {
        std::os::unix::fs::PermissionsExt::mode(&self.permissions()) & 0o7777
    }
}

/// A public bug: the 150th loop of a DaemonSet had appended 150 tables, or restarted containerd 150 times.
#[test]
fn the_150th_run_changes_nothing_and_restarts_nothing() {
    for (shape, fake) in shapes() {
        install(&fake, "one").unwrap();
        let after = node(&fake);
        for _ in 0..150 {
            assert!(!install(&fake, "one").unwrap().changed, "{shape}");
        }
        assert_eq!(node(&fake), after, "{shape}");
        assert_eq!(fake.count("restart"), 1, "{shape}");
    }
}

/// Runs `work`, and kills it after this many steps. Returns whether it was killed.
fn killed_after(fake: &Fake, steps: usize, work: impl FnOnce()) -> bool {
    fake.kill_after.set(Some(steps));
    let ended = catch_unwind(AssertUnwindSafe(work));
    fake.kill_after.set(None);
    match ended {
        Ok(()) => false,
        Err(why) => why.is::<Killed>() || panic!("it failed at step {steps}"),
    }
}

#[test]
fn an_installation_that_is_killed_at_any_step_succeeds_when_it_is_run_again() {
    for shape in 0..shapes().len() {
        let fresh = || shapes().remove(shape);
        let (name, whole) = fresh();
        let before = node(&whole);
        install(&whole, "one").unwrap();
        let expected: Vec<String> = names(&node(&whole), &whole);
        drop(before);
        for steps in 0.. {
            let (_, fake) = fresh();
            let bare = node(&fake);
            if !killed_after(&fake, steps, || drop(install(&fake, "one").unwrap())) {
                assert!(steps >= 9, "{name}: only {steps} steps");
                break;
            }
            let done = install(&fake, "one").unwrap();
            assert!(listed(&fake) && done.ended == Ended::Proven, "{name}, step {steps}");
            assert!(fake.count("restart") <= 2, "{name}, step {steps}");
            assert_eq!(*fake.armed.borrow(), None, "{name}, step {steps}");
            assert_eq!(names(&node(&fake), &fake), expected, "{name}, step {steps}");
            uninstall(&fake, false).unwrap();
            assert_eq!(node(&fake), bare, "{name}, step {steps}");
        }
    }
}

/// Names and configuration, without the ids in the state, which differ between runs.
fn names(found: &[(PathBuf, String)], fake: &Fake) -> Vec<String> {
    let root = fake.path("");
    let line = |(path, what): &(PathBuf, String)| {
        let path = path.strip_prefix(&root).unwrap().display().to_string();
        let what = if path.contains("var/lib/catamaran") { what.split(' ').next().unwrap() } else { what };
        format!("{path} {what}")
    };
    found.iter().map(line).collect()
}

#[test]
fn an_uninstallation_that_is_killed_at_any_step_succeeds_when_it_is_run_again() {
    for shape in 0..shapes().len() {
        for steps in 0.. {
            let (name, fake) = shapes().remove(shape);
            let bare = node(&fake);
            install(&fake, "one").unwrap();
            fake.write("var/lib/catamaran/cache/x/artifact", "code");
            if !killed_after(&fake, steps, || drop(uninstall(&fake, false).unwrap())) {
                assert!(steps >= 9, "{name}: only {steps} steps");
                break;
            }
            uninstall(&fake, false).unwrap();
            assert!(!listed(&fake), "{name}, step {steps}");
            assert_eq!(*fake.armed.borrow(), None, "{name}, step {steps}");
            assert_eq!(node(&fake), bare, "{name}, step {steps}");
        }
    }
}

#[test]
fn after_an_upgrade_is_killed_at_any_step_either_version_and_an_uninstallation_succeed() {
    for shape in 0..shapes().len() {
        for steps in 0.. {
            let mut ended = false;
            for then in ["two", "one", "nothing"] {
                let (name, fake) = shapes().remove(shape);
                let bare = node(&fake);
                install(&fake, "one").unwrap();
                if !killed_after(&fake, steps, || drop(install(&fake, "two").unwrap())) {
                    ended = true;
                    break;
                }
                if then != "nothing" {
                    install(&fake, then).unwrap();
                    assert!(listed(&fake), "{name}, step {steps}");
                    let expected = format!("{SHIM} {then}");
                    assert_eq!(fake.host.text(&in_force(&fake).join(SHIM)).unwrap(), expected);
                    assert_eq!(
                        programs::versions(&fake.host, Path::new("/opt/catamaran")).len(),
                        1,
                        "{name}, step {steps}"
                    );
                }
                uninstall(&fake, false).unwrap();
                assert_eq!(node(&fake), bare, "{name}, step {steps}, then {then}");
            }
            if ended {
                break;
            }
        }
    }
}

#[test]
fn a_rollback_undoes_a_killed_change_and_keeps_a_proven_one() {
    for (shape, _) in shapes().iter().enumerate() {
        for steps in 0.. {
            let (name, fake) = shapes().remove(shape);
            let bare = ["etc", "var/lib/rancher", "var/snap"].map(|folder| snapshot(&fake.path(folder)));
            if !killed_after(&fake, steps, || drop(install(&fake, "one").unwrap())) {
                break;
            }
            let Some(id) = fake.armed.borrow().clone() else { continue };
            let back = roll_back(&fake, &id).unwrap();
            assert_eq!(listed(&fake), !back, "{name}, step {steps}");
            if back {
                let now = ["etc", "var/lib/rancher", "var/snap"].map(|folder| snapshot(&fake.path(folder)));
                assert_eq!(now, bare, "{name}, step {steps}");
            }
            assert!(!roll_back(&fake, &id).unwrap(), "a rollback is done once");
            install(&fake, "one").unwrap();
            assert!(listed(&fake), "{name}, step {steps}");
        }
    }
}

#[test]
fn a_containerd_that_does_not_come_back_gets_its_configuration_back() {
    for (shape, fake) in shapes() {
        let bare = ["etc", "var/lib/rancher", "var/snap"].map(|folder| snapshot(&fake.path(folder)));
        fake.refuses_handler.set(true);
        let error = install(&fake, "one").unwrap_err();
        assert!(matches!(error, Error::RolledBack(_)), "{shape}: {error}");
        assert!(error.to_string().contains("containerd ended at its start"), "{error}");
        let now = ["etc", "var/lib/rancher", "var/snap"].map(|folder| snapshot(&fake.path(folder)));
        assert_eq!(now, bare, "{shape}");
        assert_eq!(fake.handlers(Path::new("/")).unwrap(), ["runc"], "{shape}");
        assert_eq!((fake.count("restart"), fake.armed.borrow().clone()), (2, None));
        assert!(state::look(&fake.host).unwrap().rolled_back.is_some());
        fake.refuses_handler.set(false);
        assert!(install(&fake, "one").unwrap().changed, "{shape}");
        assert_eq!(state::look(&fake.host).unwrap().rolled_back, None);
    }
}

/// A public bug: a restart that hangs left the node with half of a change.
#[test]
fn a_restart_that_hangs_is_taken_back_by_the_timer_if_not_by_the_installer() {
    let fake = Fake::plain(Some(ROOT));
    fake.restart_fails.set(true);
    let error = install(&fake, "one").unwrap_err().to_string();
    assert!(error.contains("150 s") && error.contains("Nor could the change be taken back"), "{error}");
    let id = fake.armed.borrow().clone().expect("the timer stays armed");
    assert!(!fake.path(DROP_IN).exists());
    fake.restart_fails.set(false);
    assert!(roll_back(&fake, &id).unwrap());
    assert_eq!(fake.handlers(Path::new("/")).unwrap(), ["runc"]);
}

/// A public bug: deploy, clean up and deploy again killed the node.
#[test]
fn deploy_clean_up_deploy_again_leaves_a_node_that_works() {
    for (shape, fake) in shapes() {
        install(&fake, "one").unwrap();
        uninstall(&fake, false).unwrap();
        install(&fake, "one").unwrap();
        assert!(listed(&fake), "{shape}");
        fake.boot().unwrap();
        assert!(listed(&fake), "{shape}");
    }
}

/// A public bug: handlers outlived a redeploy.
#[test]
fn a_handler_of_another_name_goes_with_the_next_installation() {
    for (shape, fake) in shapes() {
        let programs = release(&fake, "one");
        with(&fake, &settings(), |installer| installer.install(&programs, "first", &Options::default())).unwrap();
        with(&fake, &settings(), |installer| installer.install(&programs, "second", &Options::default())).unwrap();
        assert_eq!(fake.handlers(Path::new("/")).unwrap(), ["runc", "second"], "{shape}");
    }
}

/// k3s imports its folder only in newer releases: an upgrade turns a block in a template into a drop-in.
#[test]
fn files_of_an_earlier_layout_are_removed_when_their_place_changes() {
    let (_, fake) = shapes().remove(4);
    let bare = snapshot(&fake.path("var/lib/rancher"));
    install(&fake, "one").unwrap();
    let folder = "var/lib/rancher/k3s/agent/etc/containerd";
    *fake.base.borrow_mut() =
        Some(format!("version = 3\noom_score = 1\nimports = ['/{folder}/config-v3.toml.d/*.toml']\n"));
    fake.boot().unwrap();
    install(&fake, "one").unwrap();
    assert!(listed(&fake));
    assert!(!fake.path(&format!("{folder}/config-v3.toml.tmpl")).exists());
    assert!(fake.path(&format!("{folder}/config-v3.toml.d/catamaran.toml")).exists());
    *fake.base.borrow_mut() = Some("version = 3\noom_score = 1\n".into());
    uninstall(&fake, false).unwrap();
    assert_eq!(snapshot(&fake.path("var/lib/rancher")), bare);
}

/// A public bug: a configuration was restored, or written, without a restart.
#[test]
fn a_configuration_that_containerd_has_not_read_is_read() {
    let fake = Fake::plain(Some(ROOT));
    install(&fake, "one").unwrap();
    let written = fs::read_to_string(fake.path(DROP_IN)).unwrap();
    fs::remove_file(fake.path(DROP_IN)).unwrap();
    fake.boot().unwrap();
    fake.write(DROP_IN, &written);
    assert!(!listed(&fake));
    assert!(install(&fake, "one").unwrap().changed);
    assert!(listed(&fake));
    uninstall(&fake, false).unwrap();
    assert_eq!(fake.handlers(Path::new("/")).unwrap(), ["runc"], "the restart of an uninstallation");
}

/// A public bug: nodeadm writes the root file anew at each boot, without imports.
#[test]
fn a_root_file_that_others_rewrote_is_repaired_and_later_restored_to_their_text() {
    let fake = Fake::plain(Some(BARE));
    install(&fake, "one").unwrap();
    let rewritten = "version = 2\n# of the next boot\noom_score = -1\n";
    fake.write(CONFIG, rewritten);
    fake.boot().unwrap();
    assert!(!listed(&fake));
    assert!(install(&fake, "one").unwrap().changed);
    assert!(listed(&fake));
    // An administrator adds something to the file with our import in it.
    let text = fs::read_to_string(fake.path(CONFIG)).unwrap();
    fake.write(CONFIG, &format!("{text}\n[debug]\n  level = 'debug'\n"));
    assert!(!install(&fake, "one").unwrap().changed);
    uninstall(&fake, false).unwrap();
    assert_eq!(fs::read_to_string(fake.path(CONFIG)).unwrap(), format!("{rewritten}\n[debug]\n  level = 'debug'\n"));
}

/// A public bug: a drop-in of version 4 below a root file of version 2 stopped containerd.
#[test]
fn the_drop_in_has_the_version_of_the_root_file_not_of_the_dump() {
    for (root, line) in [(BARE, "version = 2"), ("version = 3\n", "version = 3"), ("version = 4\n", "version = 4")] {
        let fake = Fake::plain(Some(root));
        fake.strict_versions.set(true);
        install(&fake, "one").unwrap();
        let text = fs::read_to_string(fake.path("etc/containerd/catamaran.toml")).unwrap();
        assert!(text.contains(line), "{text}");
    }
}

/// A public bug: an old CRI table was left after containerd's upgrade, and the root file's version with it.
#[test]
fn a_root_file_of_a_new_version_brings_the_drop_in_along() {
    let fake = Fake::plain(Some(BARE));
    install(&fake, "one").unwrap();
    let text = fs::read_to_string(fake.path(CONFIG)).unwrap();
    fake.write(CONFIG, &text.replace("version = 2", "version = 3").replace("grpc.v1.cri", "cri.v1.runtime"));
    assert!(install(&fake, "one").unwrap().changed);
    let text = fs::read_to_string(fake.path("etc/containerd/catamaran.toml")).unwrap();
    assert!(text.contains("version = 3") && text.contains("io.containerd.cri.v1.runtime"), "{text}");
    assert!(listed(&fake));
}

/// A public bug: the CNI table was lost.
#[test]
fn every_other_value_stays() {
    let fake = Fake::plain(Some(ROOT));
    let other = |fake: &Fake| {
        let mut dump: toml_edit::DocumentMut =
            fake.dump(Path::new("/"), Path::new("/etc/containerd/config.toml")).unwrap().parse().unwrap();
        let runtimes = &mut dump["plugins"]["io.containerd.cri.v1.runtime"]["containerd"]["runtimes"];
        runtimes.as_table_like_mut().unwrap().remove("catamaran");
        dump.to_string()
    };
    let before = other(&fake);
    install(&fake, "one").unwrap();
    assert!(before.contains("/home/kubernetes/bin"));
    assert_eq!(other(&fake), before);
    assert_eq!(fs::read_to_string(fake.path(CONFIG)).unwrap(), ROOT, "the root file is not touched");
}

/// containerd's own reading decides: a file that it reads differently from how it was meant is not put in place.
#[test]
fn a_configuration_that_containerd_would_read_differently_is_refused_and_nothing_changes() {
    let foreign =
        "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.catamaran]\nruntime_type = 'x'\n";
    let later =
        "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.catamaran]\nruntime_path = '/x'\n";
    for (file, text, words) in [
        ("etc/containerd/conf.d/a.toml", foreign, "that is not this installer's"),
        ("etc/containerd/conf.d/z.toml", later, "that is not this installer's"),
        (CONFIG, "version = 3\nimports = 'x'\n", "which is no list"),
        (CONFIG, "version = 3\ndisabled_plugins = ['cri']\n", "disabled_plugins has \"cri\""),
        (CONFIG, "version = 3\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n", "disabled_plugins"),
        (CONFIG, "version = 3\n[broken\n", "cannot be read"),
        ("etc/containerd/conf.d/broken.toml", "version = 3\n[broken\n", "broken.toml cannot be read"),
    ] {
        let fake = Fake::plain(Some(ROOT));
        fake.write(file, text);
        let before = snapshot(&fake.path("etc"));
        let error = install(&fake, "one").unwrap_err();
        assert!(matches!(error, Error::Refused(_)) && error.to_string().contains(words), "{error}");
        assert_eq!(snapshot(&fake.path("etc")), before);
        assert_eq!((fake.count("restart"), fake.count("arm")), (0, 0));
    }
}

#[test]
fn an_impossible_installation_is_refused_before_anything_changes() {
    type Case = (&'static str, fn(&Fake));
    let cases: &[Case] = &[
        ("containerd is 1.7.27", |fake| {
            *fake.version.borrow_mut() = "containerd github.com/containerd/containerd 1.7.27 abc".into()
        }),
        ("did not run", |fake| *fake.broken_engine.borrow_mut() = Some("wasmer".into())),
        ("write --restart none", |fake| fake.no_service_manager.set(true)),
    ];
    for (words, spoil) in cases {
        let fake = Fake::plain(Some(ROOT));
        spoil(&fake);
        let before = snapshot(&fake.path("etc"));
        let error = install(&fake, "one").unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert_eq!(snapshot(&fake.path("etc")), before, "{words}");
        assert_eq!(fake.count("restart"), 0, "{words}");
        uninstall(&fake, false).unwrap();
        assert!(!fake.path("opt").exists() && !fake.path("var/lib/catamaran").exists(), "{words}");
    }
}

/// Public bugs: an upgrade changed nothing; the binary was overwritten while it ran.
#[test]
fn an_upgrade_leaves_running_pods_alone_and_starts_new_pods_on_the_new_version() {
    let fake = Fake::plain(Some(ROOT));
    install(&fake, "one").unwrap();
    let old = in_force(&fake);
    let running = format!("{}/{SHIM}", old.display());
    let _ = fake.tree.borrow_mut().process(500, &["shim"]).exe(&running);
    let done = install(&fake, "two").unwrap();
    assert!(done.changed && done.in_use == [old.clone()]);
    assert_eq!(fake.host.text(&old.join(SHIM)).unwrap(), format!("{SHIM} one"));
    let text = fs::read_to_string(fake.path(DROP_IN)).unwrap();
    assert!(text.contains(&in_force(&fake).display().to_string()) && !text.contains(&running));

    let error = uninstall(&fake, false).unwrap_err().to_string();
    assert!(error.contains("processes run from") && error.contains(&old.display().to_string()), "{error}");
    fs::remove_dir_all(fake.path("proc/500")).unwrap();
    assert!(!install(&fake, "two").unwrap().changed);
    assert!(!fake.host.exists(&old));
}

/// A public bug: the shim was not in containerd's PATH. The handler names it by its path.
#[test]
fn the_shim_is_named_by_its_path_and_is_there_before_it_is_named() {
    let fake = Fake::plain(Some(ROOT));
    for steps in 0.. {
        let killed = killed_after(&fake, steps, || drop(install(&fake, "one").unwrap()));
        if let Ok(text) = fs::read_to_string(fake.path(DROP_IN)) {
            let line = text.lines().find_map(|line| line.trim().strip_prefix("runtime_path = ")).unwrap();
            assert!(fake.host.exists(Path::new(line.trim_matches(['"', '\'']))), "{line}");
        }
        if !killed {
            break;
        }
        uninstall(&fake, false).unwrap();
    }
}

/// A public bug: the binary was deleted before the configuration that names it.
#[test]
fn programs_go_after_containerd_has_forgotten_them() {
    let fake = Fake::plain(Some(ROOT));
    for steps in 0.. {
        install(&fake, "one").unwrap();
        let folder = in_force(&fake);
        let killed = killed_after(&fake, steps, || drop(uninstall(&fake, false).unwrap()));
        if listed(&fake) {
            assert!(fake.host.exists(&folder.join(SHIM)), "step {steps}");
        }
        if !killed {
            break;
        }
    }
}

#[test]
fn pods_keep_an_uninstallation_away_unless_it_is_forced() {
    let fake = Fake::plain(Some(ROOT));
    let bare = node(&fake);
    install(&fake, "one").unwrap();
    *fake.pods.borrow_mut() = vec!["shop/cart".into()];
    let installed = node(&fake);
    let error = uninstall(&fake, false).unwrap_err();
    assert!(matches!(&error, Error::Refused(_)) && error.to_string().contains("shop/cart"), "{error}");
    assert_eq!(node(&fake), installed);
    assert_eq!(uninstall(&fake, true).unwrap().broken, ["shop/cart"]);
    assert_eq!(node(&fake), bare);
}

/// containerd says whether it has such a handler from elsewhere, however the table is written.
#[test]
fn a_handler_of_that_name_that_others_added_does_not_stop_an_uninstallation() {
    let cri = "plugins.'io.containerd.cri.v1.runtime'.containerd";
    for table in [
        format!("[{cri}.runtimes.\"catamaran\"]\nruntime_type = 'x'\n"),
        format!("[{cri}]\nruntimes.catamaran = {{ runtime_type = 'x' }}\n"),
    ] {
        let fake = Fake::plain(Some(ROOT));
        install(&fake, "one").unwrap();
        fake.write("etc/containerd/conf.d/others.toml", &format!("version = 3\n{table}"));
        fake.boot().unwrap();
        uninstall(&fake, false).unwrap_or_else(|e| panic!("{table}: {e}"));
        assert!(listed(&fake), "their handler is gone");
        assert!(!fake.path("opt/catamaran").exists() && !fake.path(DROP_IN).exists());
    }
}

#[test]
fn after_a_restart_by_hand_the_command_is_run_again() {
    let fake = Fake::plain(Some(BARE));
    let bare = node(&fake);
    let by_hand = Settings { by_hand: true, ..settings() };
    let programs = release(&fake, "one");
    let again = |fake: &Fake| {
        with(fake, &by_hand, |installer| installer.install(&programs, "catamaran", &Options::default())).unwrap()
    };
    assert_eq!(again(&fake).ended, Ended::RestartNeeded);
    assert_eq!(again(&fake).ended, Ended::RestartNeeded, "nobody has restarted it yet");
    fake.boot().unwrap();
    assert_eq!(again(&fake).ended, Ended::Proven);
    assert!(!again(&fake).changed);
    let away = |fake: &Fake| with(fake, &by_hand, |installer| installer.uninstall(false)).unwrap();
    assert_eq!(away(&fake).ended, Ended::RestartNeeded);
    assert!(fake.path("opt/catamaran").exists(), "containerd still has the handler");
    fake.boot().unwrap();
    assert_eq!(away(&fake).ended, Ended::Proven);
    assert_eq!((fake.count("restart"), fake.count("arm")), (0, 0));
    assert_eq!(node(&fake), bare);
}

/// The README once told users to copy a drop-in of this very name: such a file is theirs.
#[test]
fn a_drop_in_of_that_name_that_somebody_else_wrote_is_refused() {
    let by_hand =
        "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.other]\nruntime_type = 'x'\n";
    let fake = Fake::plain(Some(ROOT));
    fake.write(DROP_IN, by_hand);
    fake.boot().unwrap();
    let error = install(&fake, "one").unwrap_err().to_string();
    assert!(error.contains("other"), "a handler in it would be lost: {error}");
    let ours = by_hand.replace("runtimes.other", "runtimes.catamaran");
    fake.write(DROP_IN, &ours);
    fake.boot().unwrap();
    let error = install(&fake, "one").unwrap_err().to_string();
    assert!(error.contains("that is not this installer's"), "{error}");
}

#[test]
fn versions_before_2_are_refused_and_odd_words_too() {
    assert_eq!(check_version("containerd github.com/containerd/containerd/v2 v2.3.7 4f").unwrap(), "2.3.7");
    assert_eq!(check_version("containerd containerd.io 2.0.5 fb4c30d").unwrap(), "2.0.5");
    for words in ["containerd github.com/containerd/containerd 1.7.27 05044ec", "containerd", ""] {
        assert!(check_version(words).is_err(), "{words}");
    }
}
