use std::fs::File;
use std::process::Command;
use std::time::Duration;

use catamaran_cache::tenant;

use super::*;

/// An entry of these tests on the disk, with its checksum.
const ONE: u64 = 68 << 10;
const BIG: u64 = 190 << 20;

struct Cache(PathBuf);

impl Cache {
    /// Entries of 64 kB, the least recently used first, with their tenants.
    fn new(name: &str, entries: &[(&str, &str)]) -> Self {
        let cache = Self(std::env::temp_dir().join(format!("catamaran-evict-{name}-{}", std::process::id())));
        for (index, (name, tenant)) in entries.iter().enumerate() {
            let path = cache.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, vec![1; 64 << 10]).unwrap();
            fs::write(checksum::beside(&path), "x").unwrap();
            if !tenant.is_empty() {
                entry::mark(&path, &tenant::name(tenant)).unwrap();
            }
            let age = Duration::from_secs(1000 - index as u64);
            File::open(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
        }
        cache
    }

    /// Makes room for one more of 64 kB.
    fn room(&self, tenant: &str, all: u64, own: u64) -> Room {
        let new = self.0.join("new/new-1.1-0");
        fs::create_dir_all(new.parent().unwrap()).unwrap();
        fs::write(&new, vec![1; 64 << 10]).unwrap();
        let room = make_room(&self.0, Bounds { all, own }, &tenant::name(tenant), Some(&new));
        assert!(new.exists(), "it is for this one");
        fs::remove_file(&new).unwrap();
        room
    }

    fn names(&self) -> Vec<String> {
        let files = folders(&self.0).flat_map(|folder| fs::read_dir(folder).unwrap().flatten());
        let mut names: Vec<_> = files.map(|file| file.file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.contains('.'));
        names.sort();
        names
    }

    fn open(&self, name: &str) -> File {
        File::open(self.0.join(name)).unwrap()
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_least_recently_used_entry_is_evicted_and_never_one_in_use() {
    let cache = Cache::new("lru", &[("old/a", ""), ("wasmer-new/b", ""), ("wasmer-new/c", ""), ("wasmer-new/d", "")]);
    let used = cache.open("wasmer-new/b");
    assert_eq!(cache.room("x", 1 << 20, 1 << 20).removed, []);
    let room = cache.room("x", 3 * ONE, 1 << 20);
    assert_eq!((room.removed, room.lacking), (vec![None, Some(Engine::Wasmer)], None));
    assert!(!cache.0.join("old").exists(), "an empty folder goes");
    assert_eq!(cache.names(), ["b", "d"]);
    let sum = |name: &str| cache.0.join("wasmer-new").join(name).exists();
    assert!(sum("b.sum") && !sum("c.sum") && sum("d.sum"));
    drop(used);
    let removed = make_room(&cache.0, Bounds { all: 0, own: 0 }, "", None).removed;
    assert_eq!(removed.len(), 2);
}

#[test]
fn entries_in_use_count_towards_the_bound() {
    let cache = Cache::new("used", &[("f/a", "a"), ("f/b", "b"), ("f/c", "c")]);
    let used = [cache.open("f/a"), cache.open("f/b")];
    let room = cache.room("d", 3 * ONE, 3 * ONE);
    assert_eq!((room.removed.len(), room.lacking), (1, None), "in place of the one that is not used");
    assert_eq!(cache.names(), ["a", "b"]);
    let lacking = cache.room("d", 5 * ONE / 2, 5 * ONE / 2).lacking.unwrap();
    assert!(lacking.contains("in use takes up"), "{lacking}");
    assert_eq!(cache.names(), ["a", "b"]);
    drop(used);
}

#[test]
fn a_tenant_beyond_its_share_loses_its_own_entries() {
    let cache = Cache::new("share", &[("f/v", "victim"), ("f/a", "a"), ("f/b", "a"), ("f/c", "a")]);
    let room = cache.room("a", 1 << 20, 3 * ONE);
    assert_eq!((room.removed.len(), room.lacking), (1, None));
    assert_eq!(cache.names(), ["b", "c", "v"], "its least recently used, though the other's is older");
    let used = [cache.open("f/b"), cache.open("f/c")];
    let lacking = cache.room("a", 1 << 20, 2 * ONE).lacking.unwrap();
    assert!(lacking.contains("its namespace may have"), "{lacking}");
    let lacking = cache.room("victim", 1 << 20, ONE - 1).lacking.unwrap();
    assert!(lacking.contains(&format!("it takes {ONE} bytes on the disk")), "{lacking}");
    assert_eq!(cache.names(), ["b", "c", "v"], "nothing goes for what does not fit anyway");
    drop(used);
}

#[test]
fn eviction_takes_from_the_tenant_that_has_the_most() {
    let cache = Cache::new("most", &[("f/v", "victim"), ("f/a", "a"), ("f/b", "a"), ("f/c", "a")]);
    let room = cache.room("new", 4 * ONE, 4 * ONE);
    assert_eq!((room.removed.len(), room.lacking), (1, None));
    assert_eq!(cache.names(), ["b", "c", "v"]);
    // All that the greedy tenant has is in use: it gets no more at the cost of the other.
    let used = [cache.open("f/b"), cache.open("f/c")];
    assert!(cache.room("a", 3 * ONE, 4 * ONE).lacking.is_some());
    assert_eq!(cache.names(), ["b", "c", "v"]);
    drop(used);
}

#[test]
fn a_mark_without_an_entry_is_removed() {
    let cache = Cache::new("stray", &[("f/a", "a")]);
    fs::write(cache.0.join("f/gone.of-0123"), "").unwrap();
    assert_eq!(cache.room("a", 1 << 20, 1 << 20).lacking, None);
    let marks = |name: &str| cache.0.join("f").join(format!("{name}.of-{}", tenant::name("a"))).exists();
    assert!(!cache.0.join("f/gone.of-0123").exists() && marks("a"));
}

/// The sum that `du` prints of all files below the cache's folders.
fn du(cache: &Cache) -> u64 {
    let files = folders(&cache.0).flat_map(|folder| fs::read_dir(folder).unwrap().flatten());
    let mut du = Command::new("du");
    let told = du.args(["--block-size=1", "--total"]).args(files.map(|file| file.path())).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    told.lines().last().unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

/// Makes a file with so many bytes on the disk, or with a hole in their place.
fn big(path: &Path, bytes: u64, hole: bool) -> File {
    let file = File::create(path).unwrap();
    match hole {
        true => file.set_len(bytes).unwrap(),
        false => rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).unwrap(),
    }
    file
}

fn counted(cache: &Cache) -> u64 {
    entries(&cache.0, None).values().map(|of| of.sum).sum()
}

#[test]
fn an_entry_of_190_megabytes_counts_the_blocks_that_du_counts() {
    let cache = Cache::new("big", &[("f/whole", "a"), ("f/hole", "a"), ("f/small", "b")]);
    big(&cache.0.join("f/whole"), BIG, false);
    big(&cache.0.join("f/hole"), BIG, true);
    let all = counted(&cache);
    assert_eq!(all, du(&cache));
    assert!((BIG..BIG + (1 << 20)).contains(&all), "{all} bytes: the hole counted");
    let own = entries(&cache.0, None)[&tenant::name("b")].sum;
    assert_eq!(own, ONE, "with its checksum");
}

#[test]
fn an_artifact_larger_than_its_share_displaces_nothing() {
    let cache = Cache::new("larger", &[("f/a", "a"), ("f/b", "b")]);
    let new = cache.0.join("f/new-1.1-0");
    // A file system may give a file its blocks later, so that it looks like a hole when it was just written.
    for hole in [false, true] {
        big(&new, BIG, hole);
        for bounds in [Bounds { all: 4 * BIG, own: BIG }, Bounds { all: BIG, own: 4 * BIG }] {
            let room = make_room(&cache.0, bounds, &tenant::name("a"), Some(&new));
            let lacking = room.lacking.unwrap();
            assert!(lacking.contains(&format!("and one namespace may have {BIG} in the cache")), "{lacking}");
            assert_eq!((room.removed.len(), cache.names()), (0, vec!["a".to_owned(), "b".to_owned()]));
        }
        let bounds = Bounds { all: 4 * BIG, own: BIG + (1 << 20) };
        assert_eq!(make_room(&cache.0, bounds, &tenant::name("a"), Some(&new)).lacking, None, "its checksum has room");
    }
}

#[test]
fn what_is_being_written_counts_as_far_as_it_is_and_what_a_dead_process_left_goes() {
    let cache = Cache::new("unfinished", &[("f/a", "a")]);
    let pid = std::process::id();
    let started = catamaran_host::child::started(pid).unwrap();
    let (written, left) = (cache.0.join(format!("f/new-{pid}.{started}-0")), cache.0.join(format!("f/new-{pid}.1-0")));
    let writer = big(&written, BIG / 2, false);
    // Written to its half.
    writer.set_len(BIG).unwrap();
    big(&left, BIG, false);
    let all = counted(&cache);
    assert!(!left.exists() && written.exists());
    assert_eq!(all, du(&cache));
    assert!((BIG / 2..BIG / 2 + (1 << 20)).contains(&all), "{all} bytes");
    let room = make_room(&cache.0, Bounds { all: BIG / 4, own: BIG / 4 }, &tenant::name("a"), None);
    assert!(room.lacking.is_some() && written.exists(), "it is in use");
    drop(writer);
}

#[test]
fn fast_code_goes_when_the_best_is_there_unless_a_process_runs_it() {
    let (digest, other) = ("a".repeat(64), "b".repeat(64));
    let fast = |digest: &str| format!("f/{digest}.fast");
    let names = [fast(&digest), format!("f/{digest}"), fast(&other)];
    let cache = Cache::new("fast", &names.each_ref().map(|name| (name.as_str(), "a")));
    let runs = cache.open(&names[0]);
    assert_eq!(counted(&cache), 3 * ONE, "the disk has its blocks as long as a process has it open");
    assert_eq!(cache.room("a", 1 << 20, 7 * ONE / 2).removed.len(), 1, "and so it counts towards the share");
    assert!(cache.0.join(&names[0]).exists() && !cache.0.join(&names[1]).exists());
    fs::write(cache.0.join(&names[1]), "the best again").unwrap();
    drop(runs);
    counted(&cache);
    let left = names.each_ref().map(|name| cache.0.join(name).exists());
    assert_eq!(left, [false, true, true], "the other one has no better code yet");
    assert!(!checksum::beside(&cache.0.join(&names[0])).exists());
}
