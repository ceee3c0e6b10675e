//! `catamaran compare`: runs one module on both engines, as containers of the node's containerd and the installed shim.
//!
//! ```text
//! module + a section of its own --> folder --> for each engine: first start | await the best code | later starts --> table
//! ```
//!
//! The first start must not find machine code in the cache, and other users' code may not be removed for that. So the command runs a copy
//! of the module with one more custom section, which holds a number that was never used before: the copy's digest is new, and the copy does
//! the same. At the end its entries are removed from the cache.

mod output;
mod run;
mod table;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::rand::{GetRandomFlags, getrandom};
use serde::Serialize;

use crate::Answer;
use crate::cache;
use crate::cli::{CompareArgs, NodeArgs, OK, UNWELL};
use crate::error::{Error, On, Result};
use crate::files;
use crate::handler::{ENGINES, Options};
use crate::helper::Build;
use crate::host::Host;
use crate::image::{self, Fetched};
use crate::policy;
use crate::state;

pub(crate) use run::Run;
use run::{Guest, InImage};

const NAMESPACE: &str = "catamaran-compare";
const MAGIC: &[u8] = b"\0asm";
/// The largest file that is read; no handler accepts a larger module.
const LARGEST: u64 = 512 << 20;
/// The custom section's name.
const SECTION: &[u8] = b"catamaran-compare";
/// The pause between two checks for the best code.
const PAUSE: Duration = Duration::from_millis(50);

/// One engine's results.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct OfEngine {
    pub(crate) engine: &'static str,
    /// Why the guest does not run on it, in containerd's words.
    pub(crate) failed: Option<String>,
    /// Milliseconds from the order to make the container until the guest runs, with a compile.
    pub(crate) first_start: Option<f64>,
    /// The same with the machine code in the cache, the median of the later runs.
    pub(crate) later_start: Option<f64>,
    /// Milliseconds from the start to the end, the median of the later runs.
    pub(crate) run: Option<f64>,
    /// The largest number of bytes of memory that the container used, the median.
    pub(crate) memory: Option<u64>,
    /// Milliseconds of processor time, the median.
    pub(crate) processor: Option<f64>,
    /// None if the guest was killed after the time limit.
    pub(crate) exit: Option<u32>,
    /// Whether the guest was killed after the time limit.
    pub(crate) timed_out: bool,
    /// Whether the later runs had the optimiser's code, which may not be ready before the time limit.
    pub(crate) best: bool,
    pub(crate) stdout: Option<output::Text>,
    pub(crate) stderr: Option<output::Text>,
    /// Whether all runs had the same outputs and the same exit code.
    pub(crate) stable: bool,
}

/// Runs the command.
pub(crate) fn run(host: &Host, node: &NodeArgs, args: &CompareArgs) -> Result<Answer> {
    let build = Build::find(host)?;
    let options = policy::options(host, build.installed.as_ref(), None)?;
    let socket = image::socket(node, &build);
    let whole = match image::is_file(&args.what) {
        true => Fetched::file(Path::new(&args.what))?,
        false => image::fetch(&build, &socket, &args.namespace, &args.what, LARGEST)?,
    };
    let Fetched { file, args: own, env, cwd, snapshot } = whole;
    let copy = copy(&args.what, file)?;
    let folder = Folder::make(host, &copy)?;
    let digest = files::digest(&copy);
    drop(copy);
    let guest = Guest {
        socket: host.at(&socket),
        shim: build.shim(),
        options: &options,
        folder: &folder.inside,
        fifos: host.at(&folder.inside).join("fifos"),
        inside: folder.inside.join("fifos"),
        args: words(own, &args.args, snapshot.is_some()),
        env,
        cwd,
        image: snapshot.map(|snapshot| InImage { namespace: args.namespace.clone(), snapshot }),
        limit: Duration::from_secs(args.timeout),
    };
    let engines = ENGINES.map(|engine| {
        eprintln!("catamaran: running it on {engine} ...");
        of_engine(host, &guest, engine, &digest, args.runs, &options)
    });
    drop(folder);
    if let Err(e) = cache::forget(&build, &digest) {
        eprintln!("catamaran: its entries stay in the cache until it is full: {}", e.problem().found);
    }
    Ok(answer(&args.what, args.runs, &engines))
}

fn answer(name: &str, runs: u32, engines: &[OfEngine; 2]) -> Answer {
    let output = output::compare(&engines[0], &engines[1]);
    let text = table::text(name, runs, engines, &output);
    let value = serde_json::json!({"name": name, "runs": runs, "engines": engines, "output": output});
    let none = engines.iter().all(|of| of.failed.is_some());
    (text, value, if none { UNWELL } else { OK })
}

/// The guest's arguments, its own name first. The arguments that the user gives replace the image's.
fn words(own: Vec<String>, asked: &[String], in_image: bool) -> Vec<String> {
    let mut own = own.into_iter();
    let first = own.next().filter(|_| in_image).unwrap_or_else(|| format!("/{}", run::MODULE));
    let rest = if asked.is_empty() && in_image { own.collect() } else { asked.to_vec() };
    [vec![first], rest].concat()
}

/// The module with a section that no module had before. Returns an error if the file is not Wasm.
fn copy(name: &str, mut file: File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.by_ref().take(LARGEST + 1).read_to_end(&mut bytes).on("reading", Path::new(name))?;
    let refused = |found: String| Error::refused(found, format!("`catamaran inspect {name}` says what it is"));
    if !bytes.starts_with(MAGIC) {
        return Err(refused(format!("{name} is no Wasm: it does not begin with 00 61 73 6d")));
    }
    if bytes.len() as u64 > LARGEST {
        return Err(refused(format!("{name} has more than {LARGEST} bytes")));
    }
    let mut number = [0_u8; 16];
    getrandom(&mut number, GetRandomFlags::empty()).on("reading", Path::new("/dev/urandom"))?;
    bytes.extend(section(number));
    Ok(bytes)
}

/// A custom section (WebAssembly core specification, "Custom Section"), which modules and components may have anywhere.
fn section(number: [u8; 16]) -> Vec<u8> {
    // Both lengths are below 128, so each takes one byte.
    let mut body = vec![SECTION.len() as u8];
    body.extend(SECTION);
    body.extend(number);
    [&[0, body.len() as u8][..], &body].concat()
}

/// The folder that serves as the root file system. It is removed after the comparison.
struct Folder<'h> {
    host: &'h Host,
    inside: PathBuf,
}

impl<'h> Folder<'h> {
    fn make(host: &'h Host, module: &[u8]) -> Result<Self> {
        let folder = Self { host, inside: state::folder().join(format!("compare-{}", std::process::id())) };
        // The mount point of the devices' file system: nothing can be made in a root that is mounted read-only.
        files::make_folders(host, &folder.inside.join("root/dev"))?;
        files::make_folders(host, &folder.inside.join("fifos"))?;
        let path = folder.inside.join("root").join(run::MODULE);
        std::fs::write(host.at(&path), module).on("writing", &path)?;
        Ok(folder)
    }
}

impl Drop for Folder<'_> {
    fn drop(&mut self) {
        let _ = files::remove_folder(self.host, &self.inside);
        // If nothing is installed, this folder was made for the comparison alone.
        let _ = std::fs::remove_dir(self.host.at(&state::folder()));
    }
}

fn of_engine(
    host: &Host,
    guest: &Guest<'_>,
    engine: &'static str,
    digest: &str,
    runs: u32,
    options: &Options,
) -> OfEngine {
    let mut of = OfEngine {
        engine,
        failed: None,
        first_start: None,
        later_start: None,
        run: None,
        memory: None,
        processor: None,
        exit: None,
        timed_out: false,
        best: true,
        stdout: None,
        stderr: None,
        stable: true,
    };
    if !options.engines().iter().any(|allowed| allowed == engine) {
        of.failed = Some("the handler's options do not allow it (allowed_engines)".to_owned());
        return of;
    }
    let first = match guest.run(engine, 0) {
        Ok(first) => first,
        Err(why) => {
            of.failed = Some(why);
            return of;
        }
    };
    of.first_start = Some(first.start);
    of.best = await_best(host, engine, digest, guest.limit);
    let mut later = Vec::new();
    for number in 1..=runs {
        match guest.run(engine, number) {
            Ok(run) => later.push(run),
            Err(why) => {
                of.failed = Some(format!("it ran once, and then no more: {why}"));
                return of;
            }
        }
    }
    summed_up(&mut of, &first, &later);
    of
}

fn summed_up(of: &mut OfEngine, first: &Run, later: &[Run]) {
    of.later_start = median(later.iter().map(|run| run.start));
    of.run = median(later.iter().map(|run| run.run));
    of.memory = median(later.iter().filter_map(|run| run.memory).map(|bytes| bytes as f64)).map(|bytes| bytes as u64);
    of.processor = median(later.iter().filter_map(|run| run.processor));
    let last = later.last().unwrap_or(first);
    of.exit = last.exit;
    of.timed_out = last.exit.is_none();
    let same = |run: &Run| (run.exit, &run.stdout, &run.stderr) == (last.exit, &last.stdout, &last.stderr);
    of.stable = same(first) && later.iter().all(same);
    of.stdout = Some(last.stdout.clone());
    of.stderr = Some(last.stderr.clone());
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values.get(middle).copied(),
        _ => Some((values.get(middle.checked_sub(1)?)? + values.get(middle)?) / 2.0),
    }
}

/// Waits for the optimiser's code if the first start had the fast compiler's. If the cache cannot be used, there is neither.
fn await_best(host: &Host, engine: &str, digest: &str, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    loop {
        let entries = host.glob(&state::home().join(format!("cache/{engine}-*/{digest}*")));
        let after = |path: &PathBuf| path.to_string_lossy().rsplit_once(digest).map(|(_, rest)| rest.to_owned());
        let endings: Vec<_> = entries.iter().filter_map(after).collect();
        // Either may be for the namespace alone.
        let best = endings.iter().any(|ending| ending.is_empty() || ending.starts_with(".own-"));
        let fast = endings.iter().any(|ending| ending == ".fast" || ending.starts_with(".fast.own-"));
        if best || !fast {
            return best;
        }
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_the_module_with_a_section_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.wasm");
        let module = wat::parse_str(r#"(module (func (export "_start")))"#).unwrap();
        std::fs::write(&path, &module).unwrap();
        let copy = || copy("m.wasm", File::open(&path).unwrap());
        let (one, other) = (copy().unwrap(), copy().unwrap());
        assert!(one.starts_with(&module) && one != other);
        let added = &one[module.len()..];
        assert_eq!((added[0], usize::from(added[1]), usize::from(added[2])), (0, added.len() - 2, SECTION.len()));
        assert_eq!(&added[3..3 + SECTION.len()], SECTION);
        std::fs::write(&path, "#!/bin/sh").unwrap();
        let refused = copy().unwrap_err().to_string();
        assert!(refused.contains("no Wasm") && refused.contains("catamaran inspect"), "{refused}");
    }

    #[test]
    fn arguments_stand_in_place_of_an_images_own() {
        let own = || vec!["/m.wasm".to_owned(), "own".to_owned()];
        let asked = ["asked".to_owned()];
        assert_eq!(words(own(), &[], true), ["/m.wasm", "own"]);
        assert_eq!(words(own(), &asked, true), ["/m.wasm", "asked"]);
        assert_eq!(words(Vec::new(), &asked, false), ["/module.wasm", "asked"]);
    }

    #[test]
    fn medians_are_of_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0].into_iter()), Some(2.5));
        assert_eq!(median(std::iter::empty()), None);
    }

    #[test]
    fn the_best_code_is_awaited_only_while_there_is_faster_code() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        let folder = root.path().join(state::home().strip_prefix("/").unwrap()).join("cache/wasmer-1-2-3");
        std::fs::create_dir_all(&folder).unwrap();
        let short = Duration::from_millis(200);
        assert!(!await_best(&host, "wasmer", "d", Duration::from_secs(3600)), "there is nothing to wait for");
        std::fs::write(folder.join("d.fast"), "").unwrap();
        assert!(!await_best(&host, "wasmer", "d", short));
        std::fs::rename(folder.join("d.fast"), folder.join("d.fast.own-0123456789abcdef")).unwrap();
        assert!(!await_best(&host, "wasmer", "d", short));
        std::fs::write(folder.join("d"), "").unwrap();
        assert!(await_best(&host, "wasmer", "d", short) && !await_best(&host, "wasmtime", "d", short));
    }
}
