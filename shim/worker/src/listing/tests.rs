use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::*;

/// A folder full of files, which is removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: usize) -> Self {
        let folder = Self(std::env::temp_dir().join(format!("catamaran-listing-{}-{name}", std::process::id())));
        fs::create_dir(&folder.0).unwrap();
        (0..files).for_each(|n| fs::write(folder.0.join(file(n)), "").unwrap());
        folder
    }

    fn open(&self) -> Listing {
        Listing::new(fs::File::open(&self.0).unwrap().into()).unwrap()
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.0.join(name)).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn file(n: usize) -> String {
    format!("file-{n:05}-{}", "x".repeat(n % 100))
}

/// Returns the whole names of a piece, with the position behind each, and whether the piece was full.
fn piece(listing: &mut Listing, from: u64, room: usize) -> (Vec<(String, u64)>, bool) {
    let mut buffer = vec![0xff; room];
    let filled = listing.fill(from, &mut buffer, |found| found.inode).unwrap();
    let (mut names, mut at) = (Vec::new(), 0);
    while at + HEADER <= filled {
        let number = |from: usize, bytes: usize| {
            buffer[at + from..at + from + bytes].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let (behind, end) = (number(0, 8), at + HEADER + number(16, 4) as usize);
        if end > filled {
            break;
        }
        names.push((String::from_utf8(buffer[at + HEADER..end].to_vec()).unwrap(), behind));
        at = end;
    }
    (names, filled == room)
}

/// Reads on from the last whole name, as a C library does, and calls `seen` for each.
fn read(listing: &mut Listing, mut from: u64, mut seen: impl FnMut(&str, u64)) -> usize {
    let mut count = 0;
    loop {
        let (names, full) = piece(listing, from, 4096);
        for (name, behind) in &names {
            from = *behind;
            if !matches!(name.as_str(), "." | "..") {
                count += 1;
                seen(name, from);
            }
        }
        if !full {
            return count;
        }
    }
}

#[test]
fn every_name_of_a_folder_is_listed_once_with_its_type() {
    let folder = Folder::new("all", 3000);
    fs::create_dir(folder.0.join("folder")).unwrap();
    std::os::unix::fs::symlink("x", folder.0.join("link")).unwrap();
    let (mut listing, mut names) = (folder.open(), BTreeSet::new());
    assert_eq!(read(&mut listing, 0, |name, _| assert!(names.insert(name.to_owned()), "{name} twice")), 3002);
    assert_eq!(read(&mut listing, 0, |name, _| assert!(names.remove(name), "{name} is new")), 3002);
    let mut buffer = vec![0; 1 << 20];
    let filled = listing.fill(0, &mut buffer, |found| found.device + found.inode).unwrap();
    for (name, kind) in [("folder", 3), ("link", 7), (file(7).as_str(), 4)] {
        let at = buffer[..filled].windows(name.len()).position(|bytes| bytes == name.as_bytes()).unwrap();
        assert_eq!(buffer[at - 4], kind, "{name}");
        let found = rustix::fs::lstat(folder.0.join(name)).unwrap();
        assert_eq!(buffer[at - 16..at - 8], (found.st_dev + found.st_ino).to_le_bytes(), "{name}");
    }
}

#[test]
fn removing_files_while_listing_misses_no_other() {
    let folder = Folder::new("removed", 3000);
    assert_eq!(read(&mut folder.open(), 0, |name, _| folder.remove(name)), 3000);
    assert_eq!(read(&mut folder.open(), 0, |name, _| panic!("{name} stayed")), 0);
}

#[test]
fn a_listing_position_always_names_the_same_file() {
    let folder = Folder::new("seek", 2000);
    let (mut listing, mut all) = (folder.open(), Vec::new());
    read(&mut listing, 0, |name, behind| all.push((name.to_owned(), behind)));
    let next = |listing: &mut Listing, from| piece(listing, from, 4096).0[0].0.clone();
    for n in [0, 1, 500, 1500, 1998, 20] {
        assert_eq!(next(&mut listing, all[n].1), all[n + 1].0, "{n}");
        // A new listing, which was not read that far yet.
        assert_eq!(next(&mut folder.open(), all[n].1), all[n + 1].0, "{n}");
    }
    // Remove and make other files than those that the listing comes back to.
    (0..600).for_each(|n| folder.remove(&all[n].0));
    (0..50).for_each(|n| fs::write(folder.0.join(format!("new-{n}")), "").unwrap());
    let (mut positions, mut names) = (BTreeSet::new(), BTreeSet::new());
    read(&mut listing, all[700].1, |name, behind| {
        assert!(positions.insert(behind) && names.insert(name.to_owned()), "{name} {behind}");
    });
    names.retain(|name| name.starts_with("file"));
    assert!(names.iter().eq(all[701..].iter().map(|(name, _)| name).collect::<BTreeSet<_>>()));
    let (last, end) = all.last().unwrap();
    assert_eq!(read(&mut folder.open(), *end + 5000, |name, _| panic!("{name} lies behind {last}")), 0);
}

#[test]
fn a_rewound_listing_shows_new_files() {
    let folder = Folder::new("anew", 10);
    let mut listing = folder.open();
    assert_eq!(read(&mut listing, 0, |_, _| {}), 10);
    fs::write(folder.0.join("new"), "").unwrap();
    folder.remove(&file(3));
    folder.remove(&file(4));
    assert_eq!(read(&mut listing, 0, |_, _| {}), 9);
}

#[test]
fn a_piece_of_a_listing_fits_its_buffer() {
    let folder = Folder::new("room", 20);
    let mut listing = folder.open();
    let mut whole = vec![0; 1 << 16];
    let filled = listing.fill(0, &mut whole, |found| found.inode).unwrap();
    for room in (0..filled + 3).step_by(7) {
        let mut buffer = vec![0; room];
        assert_eq!(listing.fill(0, &mut buffer, |found| found.inode).unwrap(), room.min(filled));
        assert_eq!(buffer[..room.min(filled)], whole[..room.min(filled)]);
    }
}

#[test]
fn listing_many_names_takes_linear_time() {
    let folder = Folder::new("many", 20_000);
    let (mut listing, begin) = (folder.open(), std::time::Instant::now());
    assert_eq!(read(&mut listing, 0, |_, _| {}), 20_000);
    assert!(begin.elapsed().as_millis() < 1000, "{:?}", begin.elapsed());
}
