//! Compares the walk with the kernel's own: openat2(2) can take a folder for the root.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, openat2};

use super::*;

/// A folder that is removed when the test ends, even if it fails.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let unique = format!("catamaran-links-{name}-{:?}-{}", std::thread::current().id(), std::process::id());
        let tree = Self(std::env::temp_dir().join(unique));
        fs::create_dir(&tree.0).unwrap();
        tree
    }

    fn link(&self, text: &str, at: &str) {
        symlink(text, self.0.join(at)).unwrap();
    }

    fn open(&self) -> OwnedFd {
        fs::File::open(&self.0).unwrap().into()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tree() -> Tree {
    let tree = Tree::new("kernel");
    fs::create_dir_all(tree.0.join("d/e")).unwrap();
    fs::write(tree.0.join("f"), "").unwrap();
    fs::write(tree.0.join("d/f"), "").unwrap();
    for (text, at) in [
        ("/d", "abs"),
        ("/d/", "abs-slash"),
        ("/f", "abs-file"),
        ("/", "root"),
        ("/../../d", "above"),
        ("../../../d/e", "up"),
        ("d/../d//./e", "rel"),
        ("/loop", "loop"),
        ("/gone/at/all", "gone"),
        ("/d/new", "new"),
        ("/d/new/", "new-slash"),
        ("..", "d/up"),
        ("/abs/up/rel", "d/long"),
        ("/f/..", "through-file"),
    ] {
        tree.link(text, at);
    }
    tree
}

/// Returns the file that the kernel finds, or its error.
fn kernel(root: &OwnedFd, path: &[u8], follow: bool, resolve: ResolveFlags) -> Result<(u64, u64)> {
    let flags = OFlags::PATH | if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    let file = openat2(root, path, flags, Mode::empty(), resolve | ResolveFlags::NO_MAGICLINKS)?;
    let found = fstat(file)?;
    Ok((found.st_dev, found.st_ino))
}

/// Returns the place of a path that names no descriptor; None if the path leads out of the root.
fn led(root: &OwnedFd, path: &[u8], follow: bool) -> Result<Option<Vec<u8>>> {
    expand(root.as_fd(), path, follow).map(|place| match place {
        Expanded::Outside => None,
        Expanded::At(path) => Some(path),
        Expanded::Descriptor(number) => panic!("{number}"),
    })
}

#[test]
fn every_path_resolves_as_the_kernel_resolves_it() {
    let tree = tree();
    let root = tree.open();
    let names = [
        "d",
        "e",
        "f",
        "abs",
        "abs-slash",
        "abs-file",
        "root",
        "above",
        "up",
        "rel",
        "long",
        "loop",
        "gone",
        "new",
        "new-slash",
        "through-file",
        "missing",
        ".",
        "..",
    ];
    let mut paths: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    for depth in 0..2 {
        let longer = paths.iter().filter(|path| path.matches('/').count() == depth);
        let longer: Vec<_> = longer.flat_map(|path| names.map(|name| format!("{path}/{name}"))).collect();
        paths.extend(longer);
    }
    let (mut found_some, mut left) = (0, 0);
    for path in paths.iter().flat_map(|path| [path.clone(), format!("{path}/"), format!("{path}//.")]) {
        for follow in [true, false] {
            // A last name that has to be a folder is followed in any case; any other is left to the call.
            let expands = follow || matches!(path.rsplit('/').next(), Some("" | "." | ".."));
            let Some(place) = led(&root, path.as_bytes(), expands).transpose() else {
                left += 1;
                assert!(path.contains(".."), "{path} does not leave the root by itself");
                continue;
            };
            let expected = kernel(&root, path.as_bytes(), follow, ResolveFlags::IN_ROOT);
            let links = if expands { ResolveFlags::NO_SYMLINKS } else { ResolveFlags::empty() };
            let found = place.and_then(|place| kernel(&root, &place, false, ResolveFlags::BENEATH | links));
            found_some += usize::from(found.is_ok());
            assert_eq!(found, expected, "{path}, {follow}");
        }
    }
    assert!(found_some > 1000 && left > 100, "{found_some} {left}");
}

#[test]
fn a_missing_last_name_resolves_to_where_it_would_be_made() {
    let tree = tree();
    let root = tree.open();
    let place = |path: &str, follow| String::from_utf8(led(&root, path.as_bytes(), follow).unwrap().unwrap()).unwrap();
    assert_eq!(place("new", true), "d/new");
    assert_eq!(place("new-slash", true), "d/new/");
    // The link itself, with the slashes and names behind it.
    assert_eq!(place("new", false), "new");
    assert_eq!(place("abs/new", false), "d/new");
    assert_eq!(place("abs/up//", false), "d/up//");
    assert_eq!(place("abs/.", false), "d/.");
    assert_eq!(place("d/missing", true), "d/missing");
    assert_eq!(place(".", true), "./");
}

#[test]
fn a_path_that_leaves_the_root_by_its_own_names_is_outside() {
    let tree = tree();
    let root = tree.open();
    for path in ["", "/", "/d", "..", "../d", "d/../../d", "abs/../../d", "root/..", "d/up/../d"] {
        for follow in [true, false] {
            assert_eq!(expand(root.as_fd(), path.as_bytes(), follow), Ok(Expanded::Outside), "{path}");
        }
    }
}

#[test]
fn at_most_forty_links_are_followed() {
    let tree = Tree::new("forty");
    tree.link("/", "0");
    for n in 1..=40 {
        tree.link(&format!("/{}", n - 1), &n.to_string());
    }
    let root = tree.open();
    for (path, expected) in [("39", Ok(())), ("40", Err(Errno::LOOP))] {
        assert_eq!(kernel(&root, path.as_bytes(), true, ResolveFlags::IN_ROOT).map(drop), expected);
        assert_eq!(expand(root.as_fd(), path.as_bytes(), true).map(drop), expected);
    }
}

#[test]
fn a_long_path_resolves_in_linear_time() {
    let tree = Tree::new("long");
    fs::create_dir_all(tree.0.join("a/b")).unwrap();
    for n in 0..40 {
        let text =
            format!("/{}{}", "a/b/../../".repeat(400), if n == 0 { "a".to_owned() } else { (n - 1).to_string() });
        tree.link(&text, &n.to_string());
    }
    let begin = std::time::Instant::now();
    assert_eq!(expand(tree.open().as_fd(), b"39", true), Ok(Expanded::At(b"a".to_vec())));
    assert!(begin.elapsed().as_secs() < 5, "{:?}", begin.elapsed());
}

#[test]
fn a_path_below_a_procfs_that_is_not_there_is_a_descriptor() {
    let tree = Tree::new("descriptors");
    fs::create_dir(tree.0.join("dev")).unwrap();
    let own = std::process::id();
    let links = [("fd", "/proc/self/fd".to_owned()), ("stdout", "/proc/self/fd/1".to_owned())];
    let others = [("log", "stdout".to_owned()), ("own", format!("/proc/{own}/fd/2")), ("other", "/proc/2/fd/2".into())];
    for (at, text) in links.into_iter().chain(others) {
        tree.link(&text, &format!("dev/{at}"));
    }
    for proc in [false, true] {
        if proc {
            fs::create_dir(tree.0.join("proc")).unwrap();
        }
        let root = tree.open();
        let leads = |path: &str| expand(root.as_fd(), path.as_bytes(), true);
        let some = [("dev/stdout", 1), ("dev/log", 1), ("dev/own", 2), ("dev/fd/0", 0), ("dev/fd//17", 17)];
        for (path, number) in some.into_iter().chain([("proc/self/fd/3", 3), ("proc/thread-self/fd/3", 3)]) {
            assert_eq!(leads(path), Ok(Expanded::Descriptor(number)), "{path}");
        }
        let none =
            ["dev/other", "dev/fd/x", "dev/fd/01", "dev/fd/+1", "dev/fd/1/", "dev/stdout/x", "dev/fd/99999999999"];
        for path in none.into_iter().chain(["proc/self/mem", "proc/self/fd/", "proc/self/fd/1/x", "self/fd/1"]) {
            assert_eq!(leads(path), Err(Errno::NOENT), "{path}");
        }
        assert_eq!(expand(root.as_fd(), b"dev/stdout", false), Ok(Expanded::At(b"dev/stdout".to_vec())));
    }
}

#[test]
fn a_file_of_the_image_at_a_procfs_path_is_used_in_place_of_a_descriptor() {
    let tree = Tree::new("procfs");
    fs::create_dir_all(tree.0.join("proc/self/fd")).unwrap();
    fs::write(tree.0.join("proc/self/fd/1"), "").unwrap();
    let place = expand(tree.open().as_fd(), b"proc/self/fd/1", true);
    assert_eq!(place, Ok(Expanded::At(b"proc/self/fd/1".to_vec())));
}
