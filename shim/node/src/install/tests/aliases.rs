//! Links by the names of runwasi's shims, on a k3s that looks for them when it starts.

use std::os::unix::fs::symlink;

use super::*;
use crate::look;

const NAMES: &str = "/opt/kwasm/bin";
const WASMTIME: &str = "/opt/kwasm/bin/containerd-shim-wasmtime-v1";
const WASMER: &str = "/opt/kwasm/bin/containerd-shim-wasmer-v1";

fn node_with_names() -> Fake {
    shapes().pop().unwrap().1
}

/// Installs release "one" with that folder and these options.
fn install_with(fake: &Fake, folder: Option<&str>, options: &str) -> Result<Done> {
    let programs = release(fake, "one");
    let settings = Settings { runwasi_names: folder.map(PathBuf::from), ..settings() };
    let options = Options::parse("options", options).unwrap();
    with(fake, &settings, |installer| installer.install(&programs, "catamaran", &options))
}

fn target(fake: &Fake, link: &str) -> Option<PathBuf> {
    fs::read_link(fake.path(link)).ok()
}

fn handlers(fake: &Fake) -> Vec<String> {
    fake.handlers(Path::new("/")).unwrap()
}

#[test]
fn k3s_finds_the_links_and_an_upgrade_moves_them() {
    let fake = node_with_names();
    for word in ["one", "two"] {
        install(&fake, word).unwrap();
        let shim = in_force(&fake).join(SHIM);
        for link in [WASMTIME, WASMER] {
            assert_eq!(target(&fake, link).as_ref(), Some(&shim), "{word}");
        }
        assert_eq!(fake.host.text(&shim).unwrap(), format!("{SHIM} {word}"));
        assert_eq!(handlers(&fake), ["catamaran", "runc", "wasmer", "wasmtime"], "{word}");
    }
    assert_eq!(fake.count("restart"), 2);
    let status = with(&fake, &settings(), look::status).unwrap();
    assert!(status.ready && status.to_string().contains(&format!("  link        {WASMER}\n")), "{status}");
    let told = serde_json::to_value(&status).unwrap();
    assert_eq!(told["installed"]["links"][0], serde_json::json!({"path": WASMTIME, "intact": true}));
}

/// k3s looks only when it starts.
#[test]
fn links_that_are_new_or_gone_need_a_restart_and_a_new_target_does_not() {
    let fake = node_with_names();
    let restarts = |work: &dyn Fn() -> Result<Done>| {
        let before = fake.count("restart");
        let done = work().unwrap();
        assert_eq!(done.changed, fake.count("restart") > before);
        fake.count("restart") - before
    };
    assert_eq!(restarts(&|| install_with(&fake, None, "{}")), 1);
    assert_eq!(handlers(&fake), ["catamaran", "runc"]);
    assert_eq!(restarts(&|| install_with(&fake, Some(NAMES), "{}")), 1);
    assert_eq!(handlers(&fake), ["catamaran", "runc", "wasmer", "wasmtime"]);
    assert_eq!(restarts(&|| install_with(&fake, Some(NAMES), "{}")), 0);

    let right = target(&fake, WASMER);
    fs::remove_file(fake.path(WASMER)).unwrap();
    // The link's target exists, so that k3s still finds a program at this path.
    let old = format!("/opt/catamaran/0.0.1-0123456789ab/{SHIM}");
    fake.write(&old, "of another version");
    symlink(&old, fake.path(WASMER)).unwrap();
    let status = with(&fake, &settings(), look::status).unwrap().to_string();
    assert!(status.contains(&format!("{WASMER}, changed by others")), "{status}");
    assert_eq!(restarts(&|| install_with(&fake, Some(NAMES), "{}")), 0);
    assert_eq!(target(&fake, WASMER), right);
    fs::remove_file(fake.path(WASMER)).unwrap();
    symlink("/opt/catamaran/0.0.1-0123456789ab/containerd-shim-catamaran-v1", fake.path(WASMER)).unwrap();
    assert_eq!(restarts(&|| install_with(&fake, Some(NAMES), "{}")), 1, "it led nowhere");
    fs::remove_file(fake.path(WASMER)).unwrap();
    assert_eq!(restarts(&|| install_with(&fake, Some(NAMES), "{}")), 1);

    // Another folder, in which this k3s does not look.
    fake.tree.borrow_mut().folder("opt/bin");
    assert_eq!(restarts(&|| install_with(&fake, Some("/opt/bin"), "{}")), 1);
    assert_eq!((target(&fake, WASMER), target(&fake, "opt/bin/containerd-shim-wasmer-v1")), (None, right));
    assert_eq!(handlers(&fake), ["catamaran", "runc"]);
    assert_eq!(restarts(&|| install_with(&fake, None, "{}")), 1);
    assert_eq!(snapshot(&fake.path("opt/bin")), []);
    assert_eq!(state::look(&fake.host).unwrap().links, Vec::<PathBuf>::new());
}

#[test]
fn an_engine_that_is_forbidden_later_loses_its_link() {
    let fake = node_with_names();
    install(&fake, "one").unwrap();
    install_with(&fake, Some(NAMES), r#"{"allowed_engines": ["wasmer"]}"#).unwrap();
    assert!(target(&fake, WASMTIME).is_none() && target(&fake, WASMER).is_some());
    assert_eq!(handlers(&fake), ["catamaran", "runc", "wasmer"]);
}

#[test]
fn a_foreign_file_at_a_links_place_is_refused_before_anything_changes() {
    type Case = (&'static str, fn(&Path));
    let cases: &[Case] = &[
        ("is a file", |path| fs::write(path, "runwasi's").unwrap()),
        ("is a folder", |path| fs::create_dir(path).unwrap()),
        ("is a link to /usr/bin/runwasi", |path| symlink("/usr/bin/runwasi", path).unwrap()),
        ("is a link to /usr/local/bin/containerd-shim-catamaran-v1", |path| {
            symlink("/usr/local/bin/containerd-shim-catamaran-v1", path).unwrap();
        }),
    ];
    for (words, spoil) in cases {
        let fake = node_with_names();
        spoil(&fake.path(WASMER));
        // k3s has its handler already.
        fake.boot().unwrap();
        let bare = node(&fake);
        let error = install(&fake, "one").unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains(WASMER) && text.contains(words) && text.contains("--runwasi-names"), "{text}");
        assert_eq!((node(&fake), fake.count("restart")), (bare.clone(), 0), "{words}");
        // Without the option, neither the program nor its link is in the way.
        install_with(&fake, None, "{}").unwrap();
        uninstall(&fake, false).unwrap();
        assert_eq!(node(&fake), bare, "{words}");
    }
    let fake = node_with_names();
    for folder in ["/opt/none", "opt/kwasm/bin", "/etc/hostname"] {
        fake.write("etc/hostname", "a");
        let error = install_with(&fake, Some(folder), "{}").unwrap_err().to_string();
        assert!(error.contains(folder) && error.contains("absolute path of a folder"), "{error}");
    }
    let programs = release(&fake, "one");
    let settings = Settings { runwasi_names: Some(NAMES.into()), ..settings() };
    let own = |options: &str| {
        let options = Options::parse("options", options).unwrap();
        with(&fake, &settings, |installer| installer.install(&programs, "wasmer", &options))
    };
    let error = own("{}").unwrap_err().to_string();
    assert!(error.contains("a second handler of the name \"wasmer\"") && error.contains("--handler"), "{error}");
    own(r#"{"allowed_engines": ["wasmtime"]}"#).unwrap();
    assert_eq!(handlers(&fake), ["runc", "wasmer", "wasmtime"]);
}

#[test]
fn a_link_that_somebody_replaced_is_left_alone() {
    let fake = node_with_names();
    install(&fake, "one").unwrap();
    fs::remove_file(fake.path(WASMTIME)).unwrap();
    fake.write(WASMTIME, "runwasi's");
    let theirs = snapshot(&fake.path("opt/kwasm"));
    let theirs: Vec<_> = theirs.into_iter().filter(|(path, _)| *path != fake.path(WASMER)).collect();
    let error = install(&fake, "two").unwrap_err().to_string();
    assert!(error.contains(WASMTIME), "{error}");
    assert!(target(&fake, WASMER).is_some(), "what is installed stays");

    // Its pods are not ours either.
    *fake.pods.borrow_mut() = vec!["wasmtime shop/cart".into()];
    uninstall(&fake, false).unwrap();
    assert_eq!(snapshot(&fake.path("opt/kwasm")), theirs);
    assert_eq!(handlers(&fake), ["runc", "wasmtime"]);
}

#[test]
fn a_rollback_of_an_upgrade_takes_the_links_back_too() {
    for steps in 0.. {
        let fake = node_with_names();
        install(&fake, "one").unwrap();
        if !killed_after(&fake, steps, || drop(install(&fake, "two").unwrap())) {
            assert!(steps > 12, "only {steps} steps");
            break;
        }
        let Some(id) = fake.armed.borrow().clone() else { continue };
        let back = roll_back(&fake, &id).unwrap();
        let shim = in_force(&fake).join(SHIM);
        assert_eq!(fake.host.text(&shim).unwrap(), format!("{SHIM} {}", if back { "one" } else { "two" }));
        for link in [WASMTIME, WASMER] {
            assert_eq!(target(&fake, link).as_ref(), Some(&shim), "step {steps}");
        }
        assert_eq!(handlers(&fake), ["catamaran", "runc", "wasmer", "wasmtime"], "step {steps}");
    }
}

/// Every link is written down before it is made.
#[test]
fn a_first_run_that_is_killed_at_any_step_leaves_no_link_to_an_uninstallation() {
    for steps in 0.. {
        let fake = node_with_names();
        let bare = node(&fake);
        if !killed_after(&fake, steps, || drop(install(&fake, "one").unwrap())) {
            assert!(steps > 12, "only {steps} steps");
            break;
        }
        uninstall(&fake, false).unwrap();
        assert_eq!((node(&fake), handlers(&fake)), (bare, vec!["runc".to_owned()]), "step {steps}");
    }
}

#[test]
fn pods_of_the_handlers_that_k3s_made_keep_an_uninstallation_away() {
    let fake = node_with_names();
    let bare = node(&fake);
    install(&fake, "one").unwrap();
    *fake.pods.borrow_mut() = vec!["wasmer shop/cart".into()];
    let error = uninstall(&fake, false).unwrap_err().to_string();
    assert!(error.contains("pods use the handler \"wasmer\": shop/cart"), "{error}");
    assert!(target(&fake, WASMER).is_some());
    assert_eq!(uninstall(&fake, true).unwrap().broken, ["shop/cart"]);
    assert_eq!(node(&fake), bare);
}

/// For instance in a folder that is read-only.
#[test]
fn links_that_cannot_be_made_are_told_and_the_rest_is_as_it_was() {
    let fake = node_with_names();
    let bare = node(&fake);
    // A folder in place of the unfinished link.
    let unfinished = fake.path("opt/kwasm/bin/.catamaran-new.containerd-shim-wasmer-v1");
    fs::create_dir(&unfinished).unwrap();
    let error = install(&fake, "one").unwrap_err();
    assert!(matches!(error, Error::RolledBack(_)) && error.to_string().contains(WASMER), "{error}");
    fs::remove_dir(&unfinished).unwrap();
    assert_eq!((handlers(&fake), fake.count("restart")), (vec!["runc".to_owned()], 0));
    assert_eq!(snapshot(&fake.path("opt/kwasm/bin")), []);
    uninstall(&fake, false).unwrap();
    assert_eq!(node(&fake), bare);
}

/// The kernel names the program that a link led to, so the folder is known to be in use.
#[test]
fn a_pod_of_such_a_handler_keeps_its_version() {
    let fake = node_with_names();
    install(&fake, "one").unwrap();
    let old = in_force(&fake);
    let running = target(&fake, WASMER).unwrap().display().to_string();
    let _ = fake.tree.borrow_mut().process(500, &[WASMER]).exe(&running);
    assert_eq!(install(&fake, "two").unwrap().in_use, [old]);
    let error = uninstall(&fake, false).unwrap_err().to_string();
    assert!(error.contains("processes run from"), "{error}");
}

#[test]
fn a_shim_is_known_by_its_links_names() {
    for (program, is) in [(WASMER, true), ("containerd-shim-wasmtime-v1", true), ("containerd-shim-wasmedge-v1", false)]
    {
        assert_eq!(crate::handler::is_alias(program), is, "{program}");
    }
}
