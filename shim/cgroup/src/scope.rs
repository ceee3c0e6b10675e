//! A container's cgroup that systemd makes: a transient scope, requested with the pid of its first process (`slice:prefix:name`
//! in `linux.cgroupsPath`, as kubelets with the systemd driver and runc have it).
//!
//! A short-lived child, catamaran-helper as `scope` ([`catamaran_host::errand`]), speaks to systemd, so that the shim's one event
//! loop does not wait for an answer and its memory does not grow. The child gets a [`Request`] and gives an [`Answer`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use catamaran_host::{errand, programs};

use super::request::{Answer, Property, Request};
use crate::error::{Doing, Error, Result};

/// For the making of a scope: as long as runc waits.
const TO_START: Duration = Duration::from_secs(30);
/// For an Update: systemd writes limits itself, and may wait for the kernel.
pub(crate) const TO_CHANGE: Duration = Duration::from_secs(15);
/// For the end of a unit: an empty one ends at once, and containerd gives `delete` five seconds in all.
const TO_STOP: Duration = Duration::from_secs(2);
/// systemd.unit(5).
const LONGEST_NAME: usize = 255;

/// The socket on which systemd itself listens, for root; no bus need run.
pub const SOCKET: &str = "/run/systemd/private";

/// Whether systemd is this host's init.
pub fn runs() -> bool {
    Path::new(SOCKET).exists()
}

/// The names of a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) unit: String,
    pub(crate) slice: String,
}

impl Scope {
    /// Reads `slice:prefix:name`, if the path has that form; a path of folders begins with a slash or has no colons.
    pub(crate) fn parse(path: &str) -> Result<Option<Self>> {
        let [slice, prefix, name] = path.split(':').collect::<Vec<_>>()[..] else { return Ok(None) };
        if path.starts_with('/') {
            return Ok(None);
        }
        let refused = |expected: &str| Err(Error::refused("config.json: linux.cgroupsPath", path, expected));
        if name.is_empty() || name.ends_with(".slice") {
            return refused("SLICE:PREFIX:NAME, with the name of a scope and not of a slice");
        }
        let unit = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b));
        if !plain(&unit) || !plain(slice) || unit.len() > LONGEST_NAME || slice.len() > LONGEST_NAME {
            return refused("SLICE:PREFIX:NAME, of letters, digits and -_.\\@, 255 at most");
        }
        let slice = if slice.is_empty() { "system.slice" } else { slice };
        if expand(slice).is_none() {
            return refused("a slice such as kubepods-burstable.slice, without empty parts between its dashes");
        }
        Ok(Some(Self { unit, slice: slice.to_owned() }))
    }

    /// Returns the scope's folder, below the root of the tree.
    pub(crate) fn folder(&self, root: &Path) -> PathBuf {
        root.join(expand(&self.slice).unwrap_or_default()).join(&self.unit)
    }
}

/// Returns a slice's path: `a-b.slice` lies in the folder of `a.slice` (systemd.slice(5)).
fn expand(slice: &str) -> Option<PathBuf> {
    let name = slice.strip_suffix(".slice")?;
    if name == "-" {
        return Some(PathBuf::new());
    }
    let mut path = PathBuf::new();
    let mut prefix = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            return None;
        }
        prefix.push_str(part);
        path.push(format!("{prefix}.slice"));
        prefix.push('-');
    }
    Some(path)
}

/// Returns the unit that a container's folder belongs to: the folder has the unit's name.
pub(crate) fn unit_of(folder: &Path) -> Option<String> {
    let name = folder.file_name()?.to_str()?;
    (name.ends_with(".scope") && runs()).then(|| name.to_owned())
}

/// Makes the scope.
pub(crate) async fn start(scope: &Scope, properties: Vec<Property>) -> Result<Answer> {
    ask(&Request::Start { unit: scope.unit.clone(), properties }, TO_START).await
}

/// Changes the scope's properties.
pub(crate) async fn change(scope: &Scope, properties: Vec<Property>) -> Result<()> {
    let request = Request::Change { unit: scope.unit.clone(), properties };
    done(&scope.unit, "changing", ask(&request, TO_CHANGE).await?)
}

/// Ends the unit, if there is one.
pub(crate) async fn stop(unit: &str) -> Result<()> {
    done(unit, "stopping", ask(&Request::Stop { unit: unit.to_owned() }, TO_STOP).await?)
}

pub(crate) fn done(unit: &str, doing: &str, answer: Answer) -> Result<()> {
    let reason = match answer {
        Answer::Done => return Ok(()),
        Answer::Exists => "it exists already".to_owned(),
        Answer::Failed(reason) => reason,
    };
    Err(std::io::Error::other(reason)).doing(|| format!("{doing} the unit {unit} of systemd"))
}

async fn ask(request: &Request, limit: Duration) -> Result<Answer> {
    let answer = errand::run(programs::SCOPE, &(request, limit), limit, "asking systemd").await?;
    Ok(answer.unwrap_or_else(|| Answer::Failed(format!("no answer within {limit:?}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_read_from_its_cgroups_path() {
        let parse = |path: &str| Scope::parse(path).unwrap().unwrap();
        let root = Path::new("/sys/fs/cgroup");
        let pod = parse("kubepods-besteffort-pod1.slice:cri-containerd:abc");
        assert_eq!(
            (pod.unit.as_str(), pod.slice.as_str()),
            ("cri-containerd-abc.scope", "kubepods-besteffort-pod1.slice")
        );
        let folder = "/sys/fs/cgroup/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/\
                      cri-containerd-abc.scope";
        assert_eq!(pod.folder(root), Path::new(folder));
        assert_eq!(parse(":docker:1").folder(root), Path::new("/sys/fs/cgroup/system.slice/docker-1.scope"));
        assert_eq!(parse("-.slice::one").folder(root), Path::new("/sys/fs/cgroup/one.scope"));
        for plain in ["/a:b:c", "/default/a", "a/b", "a:b"] {
            assert_eq!(Scope::parse(plain).unwrap(), None, "{plain}");
        }
        for bad in [
            "a.slice:b:",
            "a:b:c",
            ".slice:b:c",
            "a--b.slice:b:c",
            "-a.slice:b:c",
            "a/b.slice:b:c",
            "a.slice:b:c/d",
            "a.slice:b:c d",
            "a.slice:b:c.slice",
            "a.slice:b/..:c",
        ] {
            let text = Scope::parse(bad).unwrap_err().to_string();
            assert!(text.contains("linux.cgroupsPath") && text.contains(bad), "{text}");
        }
        assert!(Scope::parse(&format!("a.slice:b:{}", "c".repeat(300))).is_err());
    }
}
