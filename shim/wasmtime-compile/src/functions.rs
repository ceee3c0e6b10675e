//! Functions that a namespace's components have in common, compiled once.
//!
//! Applications in JavaScript or Python are an interpreter and their own few functions, in one component. Cranelift names each function by a
//! digest of all that its machine code depends on: the translated body, the settings, Cranelift's version. A compile writes its functions
//! into a file by these names, and the next compile takes from such files what it finds.
//!
//! ```text
//! machine code of a function, as Cranelift serialises it; one after the other
//! name (32 bytes), begin (u64), length (u32) of each; integers little-endian
//! their number (u64), the mark
//! ```
//!
//! What a damaged or hostile file can do to this process is what a module's bytes can: the process has no rights. But such a file also
//! decides on the machine code, so the driver passes only files that the tenant's own modules have left, and keeps the artifact for that
//! tenant.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use catamaran_worker::compiler::Functions;
use wasmtime::CacheStore;
use wasmtime::wasmparser::{Parser, Payload};

/// A function's name: the digest that Cranelift makes of it.
type Name = [u8; 32];
/// The last bytes of a file.
const MARK: &[u8; 8] = b"functs01";
/// The bytes of a file's end: the number of functions and the mark.
const END: u64 = 16;
/// The bytes of a function in a file's index.
const ENTRY: u64 = 44;
/// The bytes that are written at once.
const BUFFER: usize = 256 << 10;
/// How many functions a compile finds for each that it compiles, if another application on the same interpreter was compiled before.
const KNOWN: u64 = 3;
/// The longest machine code of a function that is kept.
const LONGEST: usize = 16 << 20;

/// The functions of one compile: those of earlier modules, and those that are compiled now.
#[derive(Debug)]
pub(crate) struct Shared {
    known: HashMap<Name, Place>,
    found: AtomicU64,
    files: Vec<File>,
    new: Mutex<New>,
}

/// Where a function's machine code lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    file: usize,
    begin: u64,
    length: u32,
}

/// The file that is being written.
#[derive(Debug)]
struct New {
    /// None once it is finished.
    file: Option<BufWriter<File>>,
    /// The most bytes that it may have.
    most: u64,
    written: u64,
    /// Each function's begin and length.
    index: HashMap<Name, (u64, u32)>,
    failed: bool,
}

impl Shared {
    /// Reads the index of each file. A file that is not whole has no functions.
    pub(crate) fn new(functions: Functions) -> Self {
        let Functions { new, most, known: files } = functions;
        let mut known = HashMap::new();
        for (number, file) in files.iter().enumerate() {
            let index = index(file).unwrap_or_default();
            known.extend(index.into_iter().map(|(name, begin, length)| (name, Place { file: number, begin, length })));
        }
        let file = Some(BufWriter::with_capacity(BUFFER, new));
        let new = New { file, most, written: 0, index: HashMap::new(), failed: false };
        Self { known, found: AtomicU64::new(0), files, new: Mutex::new(new) }
    }

    /// Finishes the file of the functions that were compiled now. Leaves it empty if [`KNOWN`] times as many were found: the files that have
    /// them serve the next module too. A file that cannot be written is left empty as well, because no start needs it.
    pub(crate) fn finish(&self) {
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut file) = new.file.take() else { return };
        let mostly_known = self.found.load(Ordering::Relaxed) >= KNOWN * new.index.len() as u64;
        if mostly_known || new.index.is_empty() || new.failed || new.finish(&mut file).is_err() {
            // Without what is still in the buffer.
            let (file, _) = file.into_parts();
            let _ = file.set_len(0);
        }
    }
}

impl CacheStore for Shared {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let place = self.known.get(key)?;
        let mut code = vec![0; place.length as usize];
        self.files.get(place.file)?.read_exact_at(&mut code, place.begin).ok()?;
        self.found.fetch_add(1, Ordering::Relaxed);
        Some(code.into())
    }

    fn insert(&self, key: &[u8], code: Vec<u8>) -> bool {
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        new.add(key, &code)
    }
}

impl New {
    /// Writes a function. Returns false if it is not kept.
    fn add(&mut self, key: &[u8], code: &[u8]) -> bool {
        let (Ok(name), Ok(length)) = (Name::try_from(key), u32::try_from(code.len())) else { return false };
        // One of two functions that are the same.
        let there = self.index.contains_key(&name);
        let end = self.written + code.len() as u64 + ENTRY * (self.index.len() as u64 + 1) + END;
        let Some(file) = &mut self.file else { return false };
        if self.failed || there || code.len() > LONGEST || end > self.most {
            return there;
        }
        if file.write_all(code).is_err() {
            self.failed = true;
            return false;
        }
        self.index.insert(name, (self.written, length));
        self.written += u64::from(length);
        true
    }

    fn finish(&self, file: &mut BufWriter<File>) -> io::Result<()> {
        for (name, (begin, length)) in &self.index {
            file.write_all(name)?;
            file.write_all(&begin.to_le_bytes())?;
            file.write_all(&length.to_le_bytes())?;
        }
        file.write_all(&(self.index.len() as u64).to_le_bytes())?;
        file.write_all(MARK)?;
        file.flush()
    }
}

/// Reads a file's index: each function's name, begin and length. Fails if the file is not whole.
fn index(file: &File) -> io::Result<Vec<(Name, u64, u32)>> {
    let broken = || io::Error::from(ErrorKind::InvalidData);
    let length = file.metadata()?.len();
    let end_at = length.checked_sub(END).ok_or_else(broken)?;
    let mut end = [0; END as usize];
    file.read_exact_at(&mut end, end_at)?;
    let (number, mark) = end.split_first_chunk::<8>().ok_or_else(broken)?;
    let bytes = u64::from_le_bytes(*number).checked_mul(ENTRY).filter(|_| mark == MARK).ok_or_else(broken)?;
    let codes = end_at.checked_sub(bytes).ok_or_else(broken)?;
    let mut entries = vec![0; usize::try_from(bytes).map_err(|_| broken())?];
    file.read_exact_at(&mut entries, codes)?;
    let read = |entry: &[u8]| {
        let (name, rest) = entry.split_first_chunk()?;
        let (begin, rest) = rest.split_first_chunk()?;
        let (begin, length) = (u64::from_le_bytes(*begin), u32::from_le_bytes(*rest.first_chunk()?));
        let within = begin.checked_add(length.into()).is_some_and(|end| end <= codes);
        (within && length as usize <= LONGEST).then_some((*name, begin, length))
    };
    entries.chunks_exact(ENTRY as usize).map(|entry| read(entry).ok_or_else(broken)).collect()
}

/// Whether Go's compiler made the module, or one of the component's. Its functions contain addresses that move with each change of the
/// program: half of them are found in another program, and cost what they save.
pub(crate) fn is_from_go(bytes: &[u8]) -> bool {
    let payloads = Parser::new(0).parse_all(bytes).map_while(Result::ok);
    payloads
        .into_iter()
        .any(|payload| matches!(payload, Payload::CustomSection(section) if section.name() == "go:buildid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> File {
        rustix::fs::memfd_create("functions", rustix::fs::MemfdFlags::CLOEXEC).unwrap().into()
    }

    fn functions(new: &File, known: &[&File]) -> Functions {
        let copy = |file: &File| file.try_clone().unwrap();
        Functions { new: copy(new), most: 1 << 20, known: known.iter().copied().map(copy).collect() }
    }

    const KEYS: [Name; 3] = [[1; 32], [2; 32], [3; 32]];

    #[test]
    fn functions_are_found_again_by_the_next_compile() {
        let (first, second) = (memory(), memory());
        let shared = Shared::new(functions(&first, &[]));
        assert!(shared.get(&KEYS[0]).is_none());
        assert!(shared.insert(&KEYS[0], b"one".to_vec()) && shared.insert(&KEYS[1], b"two".to_vec()));
        assert!(shared.insert(&KEYS[1], b"two".to_vec()), "it is there");
        assert!(!shared.insert(b"short", b"x".to_vec()));
        shared.finish();
        assert_eq!(first.metadata().unwrap().len(), 6 + 2 * ENTRY + END);

        let shared = Shared::new(functions(&second, &[&memory(), &first]));
        let found = [0, 1, 2].map(|number| shared.get(&KEYS[number]).map(Cow::into_owned));
        assert_eq!(found, [Some(b"one".to_vec()), Some(b"two".to_vec()), None]);
        shared.insert(&KEYS[2], b"three".to_vec());
        shared.get(&KEYS[0]);
        shared.finish();
        assert_eq!(second.metadata().unwrap().len(), 0, "most of its functions are kept already");
    }

    #[test]
    fn no_more_bytes_are_written_than_allowed() {
        let new = memory();
        let shared = Shared::new(Functions { most: 100, ..functions(&new, &[]) });
        assert!(shared.insert(&KEYS[0], vec![0; 40]) && !shared.insert(&KEYS[1], vec![0; 40]));
        shared.finish();
        assert_eq!(new.metadata().unwrap().len(), 100);
    }

    #[test]
    fn a_file_that_is_not_whole_has_no_functions() {
        let file = memory();
        let shared = Shared::new(functions(&file, &[]));
        shared.insert(&KEYS[0], b"one".to_vec());
        shared.finish();
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let found = |bytes: &[u8]| {
            let damaged = memory();
            damaged.write_all_at(bytes, 0).unwrap();
            Shared::new(functions(&memory(), &[&damaged])).get(&KEYS[0]).is_some()
        };
        assert!(found(&bytes));
        for length in 0..bytes.len() {
            assert!(!found(&bytes[..length]), "{length} bytes");
        }
        // A place behind the end, the largest numbers, another mark.
        for (at, with) in
            [(35, &[1][..]), (35, &[255; 8]), (43, &[255; 4]), (bytes.len() - 16, &[255; 8]), (bytes.len() - 1, &[0])]
        {
            let mut damaged = bytes.clone();
            damaged[at..at + with.len()].copy_from_slice(with);
            assert!(!found(&damaged), "{with:?} at {at}");
        }
    }

    #[test]
    fn modules_of_go_are_recognised_in_components_too() {
        let go = r#"(core module (@custom "go:buildid" "x"))"#;
        assert!(is_from_go(&wat::parse_str(r#"(module (@custom "go:buildid" "x") (func))"#).unwrap()));
        assert!(is_from_go(&wat::parse_str(format!("(component {go})")).unwrap()));
        assert!(!is_from_go(&wat::parse_str(r#"(module (@custom "go" "go:buildid") (func))"#).unwrap()));
        assert!(!is_from_go(b"\0asm"));
    }
}
