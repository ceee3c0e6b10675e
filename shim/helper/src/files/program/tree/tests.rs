use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;

use super::*;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("catamaran-source-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn read(tree: &Tree<'_>, path: &str) -> io::Result<String> {
    let mut text = String::new();
    tree.open(Path::new(path))?.0.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn symbolic_links_stay_in_the_tree_and_mounts_cover_it() {
    let (root, volume) = (folder("root"), folder("volume"));
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::create_dir_all(root.join("run")).unwrap();
    fs::write(root.join("a/b/m"), "root").unwrap();
    fs::write(volume.join("m"), "volume").unwrap();
    symlink("/a/b", root.join("absolute")).unwrap();
    symlink("../../../../../../etc/passwd", root.join("out")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("/run", root.join("a/run")).unwrap();
    symlink("/a/b/m", volume.join("back")).unwrap();
    let (root_fd, volume_fd) = (File::open(&root).unwrap(), File::open(&volume).unwrap());
    let mut tree = Tree::new(root_fd.as_fd());
    assert_eq!(read(&tree, "/a/b/m").unwrap(), "root");
    assert_eq!(read(&tree, "/absolute/m").unwrap(), "root");
    assert_eq!(read(&tree, "/../../a/./b/../b/m").unwrap(), "root");
    assert_eq!(read(&tree, "/out").unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(read(&tree, "/loop").unwrap_err().raw_os_error(), Some(nix::libc::ELOOP));
    assert_eq!(read(&tree, "/a").unwrap_err().kind(), io::ErrorKind::IsADirectory);
    assert_eq!(read(&tree, "/a/b/m/x").unwrap_err().kind(), io::ErrorKind::NotADirectory);
    // A volume at a place behind a link is found by both names. The volume's own links start at the container's root.
    tree.mount("/a/run/new/place", Some(volume_fd.as_fd())).unwrap();
    assert_eq!(read(&tree, "/run/new/place/m").unwrap(), "volume");
    assert_eq!(read(&tree, "/a/run/new/place/back").unwrap(), "root");
    // An empty file system on top hides the volume.
    tree.mount("/run", None).unwrap();
    assert_eq!(read(&tree, "/run/new/place/m").unwrap_err().kind(), io::ErrorKind::NotFound);
    // Folders that the worker makes for the mounts below them.
    tree.mount("/made/for/it", Some(volume_fd.as_fd())).unwrap();
    assert_eq!(read(&tree, "/made/../made/for/it/m").unwrap(), "volume");
    assert_eq!(read(&tree, "/made/for").unwrap_err().kind(), io::ErrorKind::IsADirectory);
    tree.mount("/run/deep/er", Some(volume_fd.as_fd())).unwrap();
    assert_eq!(read(&tree, "/run/deep/er/m").unwrap(), "volume", "a mount in an empty file system is found");
    fs::remove_dir_all(&root).unwrap();
    fs::remove_dir_all(&volume).unwrap();
}

/// A finding of `tests/fuzz`.
#[test]
fn a_path_through_a_file_or_with_a_slash_after_one_is_refused() {
    let root = folder("file-as-folder");
    fs::create_dir(root.join("a")).unwrap();
    fs::write(root.join("a/m"), "a/m").unwrap();
    fs::write(root.join("m"), "m").unwrap();
    symlink("a/m", root.join("link")).unwrap();
    symlink("a/m/", root.join("slash")).unwrap();
    symlink("a/.", root.join("dot")).unwrap();
    let root_fd = File::open(&root).unwrap();
    let mut tree = Tree::new(root_fd.as_fd());
    for path in ["/m/", "/m/.", "/m/..", "/m/../m", "/a/m/../m", "/link/", "/link/../m", "/slash", "/slash/../m"] {
        assert_eq!(read(&tree, path).unwrap_err().kind(), io::ErrorKind::NotADirectory, "{path}");
    }
    assert_eq!(read(&tree, "/a/").unwrap_err().kind(), io::ErrorKind::IsADirectory);
    assert_eq!(read(&tree, "/a/./../dot/m").unwrap(), "a/m");
    tree.mount("/new/", Some(root_fd.as_fd())).unwrap();
    assert_eq!(read(&tree, "/new/a/../m").unwrap(), "m");
    fs::remove_dir_all(&root).unwrap();
}

#[test]
fn a_file_in_a_mount_is_not_taken_for_one_of_the_image() {
    let (root, volume) = (folder("in-root"), folder("in-volume"));
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::write(root.join("bin/m"), "").unwrap();
    symlink("/bin", root.join("usr")).unwrap();
    fs::write(volume.join("m"), "").unwrap();
    let flags = rustix::mount::OpenTreeFlags::OPEN_TREE_CLONE | rustix::mount::OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let [root_fd, volume_fd] =
        [&root, &volume].map(|folder| rustix::mount::open_tree(rustix::fs::CWD, folder, flags).unwrap());
    let mut tree = Tree::new(root_fd.as_fd());
    tree.mount("/data", Some(volume_fd.as_fd())).unwrap();
    let in_root = |path: &str| tree.open(Path::new(path)).unwrap().1;
    assert_eq!(in_root("/usr/../bin/./m"), Some(PathBuf::from("/bin/m")));
    assert_eq!(in_root("/usr/m"), Some(PathBuf::from("/bin/m")));
    assert_eq!(in_root("/data/m"), None);
    fs::remove_dir_all(&root).unwrap();
    fs::remove_dir_all(&volume).unwrap();
}

/// Makes the deepest folder that one path of names of one letter can name. It is too deep for the host's own paths to it.
fn deep(root: &Path) -> usize {
    let mut at = OwnedFd::from(File::open(root).unwrap());
    let depth = 2030;
    for _ in 0..depth {
        rustix::fs::mkdirat(&at, "d", Mode::from_raw_mode(0o755)).unwrap();
        at = rustix::fs::openat(&at, "d", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    depth
}

#[test]
fn a_search_through_deep_folders_has_a_budget() {
    let root = folder("deep");
    let depth = deep(&root);
    fs::write(root.join("m"), "here").unwrap();
    let root_fd = File::open(&root).unwrap();
    let tree = Tree::new(root_fd.as_fd());
    let begin = std::time::Instant::now();
    for _ in 0..64 {
        let refused = read(&tree, &format!("/{}m", "d/".repeat(depth))).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(nix::libc::ENAMETOOLONG));
    }
    // A path that goes in and out of a folder: each name costs one step.
    let there_and_back = format!("{}m", "d/../".repeat(700));
    assert!(tree.exhausted().is_some(), "64 paths of more than 256 names use up the budget");
    assert_eq!(
        read(&tree, "/m").unwrap_err().raw_os_error(),
        Some(nix::libc::ENAMETOOLONG),
        "without a budget nothing is found"
    );
    let tree = Tree::new(root_fd.as_fd());
    assert_eq!(read(&tree, &there_and_back).unwrap(), "here");
    assert!(tree.exhausted().is_none());
    // Enough for a busy machine. Walking from the root for each name would take seconds.
    assert!(begin.elapsed() < std::time::Duration::from_secs(1), "{:?}", begin.elapsed());
    // The tree is too deep for the standard library, which keeps each folder open.
    assert!(std::process::Command::new("rm").arg("-rf").arg(&root).status().unwrap().success());
}

#[test]
fn a_search_through_long_links_has_a_budget() {
    let root = folder("links");
    for n in 0..MOST_LINKS {
        symlink(format!("{}l{}", "./".repeat(2000), n + 1), root.join(format!("l{n}"))).unwrap();
    }
    fs::write(root.join(format!("l{MOST_LINKS}")), "end").unwrap();
    let root_fd = File::open(&root).unwrap();
    let tree = Tree::new(root_fd.as_fd());
    assert_eq!(read(&tree, "/l0").unwrap(), "end");
    let refused = (0..64).find_map(|_| read(&tree, "/l0").err()).unwrap();
    assert_eq!(refused.raw_os_error(), Some(nix::libc::ENAMETOOLONG));
    fs::remove_dir_all(&root).unwrap();
}
