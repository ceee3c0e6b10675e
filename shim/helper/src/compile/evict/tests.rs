use std::time::Duration;

use catamaran_cache::tenant;

use super::*;

const KB: u64 = 1 << 10;

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
                entry::mark(&path, tenant).unwrap();
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
    let room = cache.room("x", 200 * KB, 1 << 20);
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
    let room = cache.room("d", 192 * KB, 192 * KB);
    assert_eq!((room.removed.len(), room.lacking), (1, None), "in place of the one that is not used");
    assert_eq!(cache.names(), ["a", "b"]);
    let lacking = cache.room("d", 150 * KB, 150 * KB).lacking.unwrap();
    assert!(lacking.contains("in use takes up"), "{lacking}");
    assert_eq!(cache.names(), ["a", "b"]);
    drop(used);
}

#[test]
fn a_tenant_beyond_its_share_loses_its_own_entries() {
    let cache = Cache::new("share", &[("f/v", "victim"), ("f/a", "a"), ("f/b", "a"), ("f/c", "a")]);
    let room = cache.room("a", 1 << 20, 192 * KB);
    assert_eq!((room.removed.len(), room.lacking), (1, None));
    assert_eq!(cache.names(), ["b", "c", "v"], "its least recently used, though the other's is older");
    let used = [cache.open("f/b"), cache.open("f/c")];
    let lacking = cache.room("a", 1 << 20, 128 * KB).lacking.unwrap();
    assert!(lacking.contains("its namespace may have"), "{lacking}");
    let lacking = cache.room("victim", 1 << 20, 60 * KB).lacking.unwrap();
    assert!(lacking.contains("it has 65536 bytes"), "{lacking}");
    assert_eq!(cache.names(), ["b", "c", "v"], "nothing goes for what does not fit anyway");
    drop(used);
}

#[test]
fn eviction_takes_from_the_tenant_that_has_the_most() {
    let cache = Cache::new("most", &[("f/v", "victim"), ("f/a", "a"), ("f/b", "a"), ("f/c", "a")]);
    let room = cache.room("new", 256 * KB, 256 * KB);
    assert_eq!((room.removed.len(), room.lacking), (1, None));
    assert_eq!(cache.names(), ["b", "c", "v"]);
    // All that the greedy tenant has is in use: it gets no more at the cost of the other.
    let used = [cache.open("f/b"), cache.open("f/c")];
    assert!(cache.room("a", 192 * KB, 256 * KB).lacking.is_some());
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
