//! `catamaran cache`: shows and changes the cache of machine code through the helper, which knows its rules.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Answer;
use crate::cli::{CacheAction, NodeArgs, OK, UNWELL};
use crate::error::Result;
use crate::helper::Build;
use crate::host::Host;
use crate::image::{self, Fetched};
use crate::policy::{self, Policy};
use crate::units::readable;

/// A verification reads all artifacts.
const LIMIT: Duration = Duration::from_secs(1800);
/// The number of digits that the text shows of a digest; JSON has all.
const DIGITS: usize = 16;

/// The helper's answer.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Found {
    folder: PathBuf,
    /// The most that entries may take, in bytes.
    most: u64,
    entries: Vec<Entry>,
    removed: Vec<Entry>,
    damaged: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    digest: String,
    engine: Option<String>,
    /// The target of the code: the engine's word, followed by the world's unless the world is a command's.
    target: Option<String>,
    tier: String,
    /// Whether it serves one namespace alone.
    own: bool,
    bytes: u64,
    /// In seconds since 1970, exact to the hour.
    used: u64,
    in_use: bool,
    current: bool,
    path: PathBuf,
}

/// Runs the command.
pub(crate) fn run(host: &Host, node: &NodeArgs, action: &CacheAction) -> Result<Answer> {
    let build = Build::find(host)?;
    let asked = match action {
        CacheAction::Warm { images, namespace, pod_namespace } => {
            return warm(host, &build, &image::socket(node, &build), images, namespace, pod_namespace);
        }
        CacheAction::List => json!("list"),
        CacheAction::Prune { older_than, to_bytes } => prune(*older_than, *to_bytes, None),
        CacheAction::Verify { remove } => json!({"verify": {"remove": remove}}),
    };
    let found: Found = build.ask("cache", &asked, None, LIMIT)?;
    Ok(answer(action, &found))
}

/// The helper's answer about one module.
#[derive(Debug, Serialize, Deserialize)]
struct Warmed {
    digest: String,
    engine: String,
    target: String,
    tier: String,
    hit: bool,
    warnings: Vec<String>,
}

fn warm(
    host: &Host,
    build: &Build<'_>,
    socket: &Path,
    images: &[String],
    namespace: &str,
    pod_namespace: &str,
) -> Result<Answer> {
    let policy = Policy::new(&policy::options(host, build.installed.as_ref(), None)?);
    let (mut text, mut all, mut failed) = (String::new(), Vec::new(), false);
    for name in images {
        eprintln!("catamaran: compiling {name} ...");
        let fetched = match image::is_file(name) {
            true => Fetched::file(Path::new(name)),
            false => image::fetch(build, socket, namespace, name, policy.largest),
        };
        let asked =
            json!({"name": name, "engines": policy.engines, "tenant": pod_namespace, "largest": policy.largest});
        let warmed = fetched.and_then(|fetched| build.ask::<Warmed>("warm", &asked, Some(fetched.file), LIMIT));
        all.push(match warmed {
            Ok(warmed) => {
                let word = if warmed.hit { "was there" } else { "compiled" };
                let _ = writeln!(text, "{name}: {word}, for {} ({})", warmed.target, warmed.tier);
                for warning in &warmed.warnings {
                    let _ = writeln!(text, "  {warning}");
                }
                json!({"name": name, "warmed": warmed})
            }
            Err(e) => {
                failed = true;
                let _ = writeln!(text, "{name}: not compiled: {}", e.problem().found);
                json!({"name": name, "error": e.problem()})
            }
        });
    }
    Ok((text, json!({"images": all}), if failed { UNWELL } else { OK }))
}

fn prune(older_than: Option<u64>, to_bytes: Option<u64>, digest: Option<&str>) -> Value {
    json!({"prune": {"older_than": older_than, "to_bytes": to_bytes, "digest": digest}})
}

/// Removes one module's entries that are not in use.
pub(crate) fn forget(build: &Build<'_>, digest: &str) -> Result<()> {
    build.ask::<Found>("cache", &prune(None, None, Some(digest)), None, LIMIT).map(drop)
}

fn answer(action: &CacheAction, found: &Found) -> Answer {
    let value = serde_json::to_value(found).unwrap_or_default();
    let sum = |entries: &[Entry]| readable(entries.iter().map(|entry| entry.bytes).sum());
    match action {
        // `warm` answers once for each image, not with a list of entries.
        CacheAction::Warm { .. } => (String::new(), value, OK),
        CacheAction::List => {
            let all = format!(
                "{} entries, {} of {} in {}\n",
                found.entries.len(),
                sum(&found.entries),
                readable(found.most),
                found.folder.display()
            );
            (table(&found.entries) + &all, value, OK)
        }
        CacheAction::Prune { .. } => {
            let mut text = table(&found.removed);
            let _ = writeln!(text, "{} entries removed, {}", found.removed.len(), sum(&found.removed));
            let used = found.entries.iter().filter(|entry| entry.in_use).count();
            let _ = writeln!(
                text,
                "{} entries stay, {}; {used} of them are in use",
                found.entries.len(),
                sum(&found.entries)
            );
            (text, value, OK)
        }
        CacheAction::Verify { remove } => {
            let mut text = String::new();
            for entry in &found.damaged {
                let removed = found.removed.iter().any(|one| one.path == entry.path);
                let word = if removed { "damaged, removed" } else { "damaged" };
                let _ = writeln!(text, "{word}: {}", entry.path.display());
            }
            let _ = writeln!(text, "{} entries are whole, {} damaged", found.entries.len(), found.damaged.len());
            let left = found.damaged.len() > found.removed.len();
            if left && !remove {
                text.push_str("Run `catamaran cache verify --remove`: their modules are compiled anew when they are started next.\n");
            }
            (text, value, if left { UNWELL } else { OK })
        }
    }
}

fn table(entries: &[Entry]) -> String {
    let target = |entry: &Entry| entry.target.clone().or_else(|| entry.engine.clone()).unwrap_or("unknown".to_owned());
    // The column is 9 wide, and wider if there are servers.
    let width = entries.iter().map(|entry| target(entry).len()).max().unwrap_or_default().max(9);
    let mut text = String::new();
    if !entries.is_empty() {
        let _ = writeln!(
            text,
            "{:<DIGITS$}  {:<width$} {:<9} {:>10}  {:<12} STATE",
            "MODULE", "TARGET", "TIER", "BYTES", "LAST USED"
        );
    }
    for entry in entries {
        let state = match (entry.in_use, entry.current, entry.own) {
            (true, ..) => "in use",
            (false, false, _) => "of another build",
            (false, true, true) => "of one namespace",
            (false, true, false) => "",
        };
        let line = format!(
            "{:<DIGITS$}  {:<width$} {:<9} {:>10}  {:<12} {state}",
            entry.digest.get(..DIGITS).unwrap_or(&entry.digest),
            target(entry),
            entry.tier,
            readable(entry.bytes),
            ago(entry.used),
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// The time since then, in words.
fn ago(used: u64) -> String {
    let age = (SystemTime::UNIX_EPOCH + Duration::from_secs(used)).elapsed().unwrap_or_default().as_secs();
    match age {
        ..3600 => "this hour".to_owned(),
        3600..172_800 => format!("{} h ago", age / 3600),
        _ => format!("{} days ago", age / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(digit: char, in_use: bool) -> Entry {
        Entry {
            digest: digit.to_string().repeat(64),
            engine: Some("wasmtime".into()),
            target: Some("wasmtime".into()),
            tier: "best".into(),
            own: digit == 'd',
            bytes: 3 << 19,
            used: 0,
            in_use,
            current: digit != 'c',
            path: PathBuf::from(format!("/cache/{digit}")),
        }
    }

    #[test]
    fn entries_are_listed_in_a_table() {
        let entries = vec![entry('a', true), entry('b', false), entry('c', false), entry('d', false)];
        let found = Found { most: 1 << 30, folder: "/cache".into(), entries, ..Found::default() };
        let (text, value, code) = answer(&CacheAction::List, &found);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].starts_with("aaaaaaaaaaaaaaaa  wasmtime  best         1.5 MiB") && lines[1].ends_with("in use"),
            "{text}"
        );
        assert!(lines[2].ends_with("days ago") && lines[3].ends_with("of another build"), "{text}");
        assert!(lines[4].ends_with("of one namespace"), "{text}");
        assert_eq!((lines[5], code), ("4 entries, 6.0 MiB of 1.0 GiB in /cache", OK));
        assert_eq!(value["entries"][0]["in_use"], true);
    }

    #[test]
    fn the_table_distinguishes_code_of_servers_and_commands() {
        let mut entries = vec![entry('a', false), entry('b', false), entry('c', false)];
        entries[1].target = Some("wasmtime-http-uninterrupted".into());
        // An entry of a version that has one more engine.
        (entries[2].target, entries[2].engine) = (None, None);
        let text = table(&entries);
        let targets: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(targets, ["TARGET", "wasmtime", "wasmtime-http-uninterrupted", "unknown"]);
        let columns: Vec<_> = text.lines().map(|line| line.find("best").or(line.find("TIER"))).collect();
        assert!(columns.iter().all(|column| *column == columns[0]), "{text}");
    }

    #[test]
    fn damage_that_is_not_repaired_has_an_exit_code() {
        let mut found = Found { damaged: vec![entry('a', false)], ..Found::default() };
        let (text, _, code) = answer(&CacheAction::Verify { remove: false }, &found);
        assert!(text.starts_with("damaged: /cache/a\n") && text.contains("--remove") && code == UNWELL, "{text}");
        found.removed = vec![entry('a', false)];
        let (text, _, code) = answer(&CacheAction::Verify { remove: true }, &found);
        assert!(text.starts_with("damaged, removed: /cache/a\n") && code == OK, "{text}");
    }
}
