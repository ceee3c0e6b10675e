//! Attacks through WASI, by a Wasm guest on the shipped workers, on each engine.
//!
//! Some steps succeed on one engine and are harmless, because they read a file inside the container's tree. Such a step names the text that
//! it reads there: any other text is a break-through.

use catamaran_attacks::Outcome;
use catamaran_harness::{Engine, Image, Node};

use crate::report::Line;
use crate::world::World;

/// An attack: its name, its obstacles (`also`), steps that prepare it and must succeed (`first`), and its own steps. A step begins with a
/// letter of `reach.wat`.
struct Attack {
    name: &'static str,
    also: &'static str,
    first: Vec<String>,
    steps: Vec<Step>,
}

/// A step that must fail, or read only the text `inside`.
struct Step {
    text: String,
    inside: Option<&'static str>,
}

fn attack(name: &'static str, also: &'static str, first: &[&str], steps: &[&str]) -> Attack {
    let first = first.iter().map(|&step| step.to_owned()).collect();
    Attack { name, also, first, steps: Vec::new() }.and(steps)
}

impl Attack {
    fn first(mut self, steps: &[&str]) -> Self {
        self.first.extend(steps.iter().map(|&step| step.to_owned()));
        self
    }

    fn and(mut self, steps: &[&str]) -> Self {
        self.steps.extend(steps.iter().map(|&text| Step { text: text.to_owned(), inside: None }));
        self
    }

    /// Adds a step that may reach a file inside.
    fn inside(mut self, text: &str, inside: &'static str) -> Self {
        self.steps.push(Step { text: text.to_owned(), inside: Some(inside) });
        self
    }
}

/// The content of the guest's own file, `data/own`.
const OWN: &str = "own";
/// The text that `w` and `o` write.
const WRITTEN: &str = "x";

const ENGINE: &str = "engine, mount namespace";
/// Where the engine follows links as the kernel does, the worker's tree is the obstacle.
const MOUNTS: &str = "mount namespace";
const READ_ONLY: &str = "read-only mount";
const NO_PROCFS: &str = "no procfs in the tree";
const NODEV: &str = "nodev";

/// Attacks that the engines answer differently: the descriptors that are open at first, `..` of the root, and links that lead up.
fn of_the_engine(engine: Engine, secret: &str) -> Vec<Attack> {
    let inside = &secret[1..];
    let up = "../".repeat(30);
    // First, because a step's descriptors stay open.
    let open = attack("descriptors beside the streams and the root", ENGINE, &[], &["f5", "f6", "f7", "f8", "f9"]);
    let parents = attack(
        "..: from the root and from volumes",
        ENGINE,
        &[],
        &[
            &format!("r{up}{inside}"),
            &format!("rdata/{up}{inside}"),
            &format!("rproc/{up}{inside}"),
            &format!("wdata/../../{inside}"),
        ],
    );
    let absolute = attack("a link to an absolute path, made by the guest", MOUNTS, &[], &[]);
    let links = attack(
        "hard links and renames out of a mount",
        ENGINE,
        &["wtmp/mine"],
        &[
            "lhost/etc/passwd|tmp/passwd",
            "mtmp/mine|host/tmp/attack",
            "mtmp/mine|dev/shm/mine",
            "mproc|elsewhere",
            "mdata|elsewhere",
            "xproc",
            "ldev/null|tmp/null",
        ],
    );
    let (upwards, long) = (format!("ltmp/mine|{up}tmp/attack"), format!("sdata/{up}{inside}|tmp/long"));
    match engine {
        Engine::Wasmtime => vec![
            open.and(&["f4"]),
            parents.and(&[&format!("D{up}"), &format!("r{up}data/own")]),
            absolute
                .first(&[
                    &format!("s{secret}|tmp/absolute"),
                    "s/proc/self|tmp/process",
                    &format!("s/{up}{inside}|tmp/above"),
                ])
                .first(&["s/data/own|tmp/inside"])
                .and(&["rtmp/absolute", "otmp/absolute", "rtmp/process/mem", "rtmp/above", &format!("{long}/")])
                .inside("rtmp/inside", OWN),
            links.and(&[&upwards]),
        ],
        // `..` of the root is the root, as in the kernel, or the engine's list of preopened folders; the root is open twice.
        Engine::Wasmer => vec![
            open.inside("Rdata/own", OWN).and(&[
                &format!("R{up}{inside}"),
                &format!("R{secret}"),
                "R../proc/1/environ",
            ]),
            parents.inside(&format!("D{up}"), "///").inside(&format!("r{up}data/own"), OWN),
            absolute
                .first(&[&format!("s{secret}|tmp/absolute"), &long, "s/data/own|tmp/inside"])
                .and(&["rtmp/absolute", "otmp/absolute", "wtmp/absolute", "Dtmp/absolute", "ltmp/absolute|ro/hard"])
                .and(&["rtmp/long", "otmp/long", "wtmp/long"])
                .inside("rtmp/inside", OWN),
            links.first(&[&upwards]).inside("rtmp/attack", WRITTEN),
        ],
    }
}

fn attacks(engine: Engine, secret: &str) -> Vec<Attack> {
    let inside = &secret[1..];
    let up = "../".repeat(30);
    let mut all = of_the_engine(engine, secret);
    all.extend([
        attack(
            "/proc/self/mem, exe, fd, root, maps, environ",
            NO_PROCFS,
            &[],
            &[
                "rproc/self/mem",
                "oproc/self/mem",
                "rproc/self/exe",
                // The guest's own descriptors would be there.
                "rproc/self/fd/20",
                "rproc/self/fd/30",
                "Dproc/self/root",
                "rproc/self/maps",
                "rproc/self/environ",
                "Dproc/self",
                "rproc/thread-self/mem",
            ],
        ),
        attack(
            "/proc/1 and the kernel's files",
            NO_PROCFS,
            &[],
            &[
                "rproc/1/mem",
                "Dproc/1/root",
                "rproc/1/environ",
                "rproc/kcore",
                "oproc/sysrq-trigger",
                "rproc/kallsyms",
                "oproc/sys/kernel/core_pattern",
            ],
        ),
        attack("a file made in /proc", READ_ONLY, &[], &["wproc/mem", "dproc/self", "sx|proc/link"]),
        attack(
            "a procfs that a volume brings",
            NO_PROCFS,
            &[],
            &["rhost/proc/self/status", "ohost/proc/self/mem", "Dhost/proc/1/root", "rhost/proc/1/environ"],
        ),
        attack("an absolute path", ENGINE, &[], &[&format!("r{secret}"), "r/etc/shadow", "r/proc/self/mem"]),
        attack("links of the image", MOUNTS, &[], &["rlink-absolute", "rlink-relative", "olink-relative"]),
        attack(
            "links of a volume",
            MOUNTS,
            &[],
            &["rdata/link-absolute", "rdata/link-relative", "odata/link-relative"],
        ),
        attack(
            "links that the guest makes",
            MOUNTS,
            &[&format!("s{up}{inside}|tmp/own"), "s../proc/self|tmp/self", "s..|tmp/up", "stmp/up/..|up2"],
            &["rtmp/own", "rtmp/self/mem", &format!("rtmp/up/../../{inside}"), &format!("rup2/..{secret}")],
        ),
        attack(
            "device nodes of the image and of a volume",
            NODEV,
            &[],
            &["rnode-null", "rnode-mem", "rdata/node-null", "rdata/node-mem", "rdata/node-disk", "odata/node-disk"],
        ),
        attack(
            "the host's devices, by the host's tree",
            NODEV,
            &[],
            &["rhost/dev/mem", "rhost/dev/kmsg", "rhost/dev/null", "ohost/dev/loop-control", "rhost/dev/tty"],
        ),
        attack(
            "devices that are not in the tree",
            ENGINE,
            &[],
            &["rdev/mem", "rdev/kmsg", "rdev/tty", "rdev/fd/20", "rdev/ptmx"],
        ),
        attack(
            "a read-only volume",
            READ_ONLY,
            &[],
            &[
                "wro/new",
                "oro/file",
                "dro/folder",
                "uro/file",
                "mro/file|ro/other",
                "mro/file|tmp/file",
                "sx|ro/link",
                "tro/file",
                "lro/file|ro/hard",
            ],
        ),
        attack(
            "a single read-only file, as /etc/hosts",
            READ_ONLY,
            &[],
            &["oetc/bound", "tetc/bound", "uetc/bound", "mtmp|etc/bound"],
        ),
        attack(
            "the host's tree, read-only, and what is mounted below",
            READ_ONLY,
            &[],
            &[
                "whost/tmp/attack",
                "ohost/etc/passwd",
                "dhost/attack",
                "whost/dev/shm/attack",
                "ohost/sys/power/state",
                "ohost/sys/fs/cgroup/cgroup.procs",
                "ohost/sys/fs/cgroup/pids/release_agent",
                "dhost/sys/fs/cgroup/pids/attack",
            ],
        ),
        attack(
            "/sys and /sys/fs/cgroup",
            READ_ONLY,
            &[],
            &[
                "osys/kernel/uevent_helper",
                "osys/power/state",
                "osys/fs/cgroup/cgroup.procs",
                "dsys/fs/cgroup/attack",
                "wsys/fs/cgroup/attack",
            ],
        ),
        attack(
            "a message queue: a file made in an mqueue",
            READ_ONLY,
            &[],
            &["wdev/mqueue/attack", "odev/mqueue/attack", "whost/dev/mqueue/attack"],
        ),
        attack("/dev/null: times of the host's node", READ_ONLY, &[], &["tdev/null", "udev/null"]),
    ]);
    all
}

/// Runs all of them in one container of each engine.
pub(crate) fn lines() -> Vec<Line> {
    Engine::ALL.into_iter().flat_map(on).collect()
}

fn on(engine: Engine) -> Vec<Line> {
    let node = Node::start().engine(engine);
    let world = World::new(&node);
    let module = wat::parse_str(include_str!("reach.wat")).unwrap();
    let secret = world.secret().display().to_string();
    let image = Image::new("reach")
        .file("/attack.wasm", module)
        .dir("/tmp", 0o1777, 0, 0)
        .device("/node-null", 1, 3)
        .device("/node-mem", 1, 1)
        .link("/link-absolute", &secret)
        .link("/link-relative", &format!("{}{}", "../".repeat(30), &secret[1..]));
    let attacks = attacks(engine, &secret);
    let of =
        |attack: &Attack| attack.first.iter().cloned().chain(attack.steps.iter().map(|s| s.text.clone())).collect();
    let mut steps: Vec<String> = attacks.iter().flat_map::<Vec<String>, _>(of).collect();
    steps.push("rdata/own".to_owned());
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    let before = world.look();
    let task = crate::run::order(&world, &image, catamaran_attacks::Shape::Plain, &steps).create();
    // Looked at before Start, because the guest may end at once.
    assert_eq!(std::fs::read_link(format!("/proc/{}/exe", task.pid())).unwrap(), engine.worker());
    task.start();
    task.wait(std::time::Duration::from_secs(30));
    let output = task.delete();
    assert_eq!(world.changes(&before, true), Vec::<String>::new(), "changed outside of the container");
    let answers: Vec<&str> = output.stdout.lines().collect();
    assert_eq!((output.code, answers.len()), (0, steps.len()), "{output:?}");
    assert_eq!(answers.last(), Some(&format!("00 {OWN}").as_str()), "the guest cannot read its own file: {output:?}");
    let mut rest = answers.as_slice();
    let mut lines = Vec::new();
    for attack in &attacks {
        let (mine, next) = rest.split_at(attack.first.len() + attack.steps.len());
        rest = next;
        let (made, got) = mine.split_at(attack.first.len());
        assert!(made.iter().all(|answer| answer.starts_with("00")), "{}: {:?} {made:?}", attack.name, attack.first);
        lines.push(Line::guest(attack.name, engine, attack.also, outcome(&attack.steps, got)));
    }
    drop(world);
    node.finish();
    lines
}

fn outcome(steps: &[Step], answers: &[&str]) -> Outcome {
    let mut words = Vec::new();
    let mut open = Vec::new();
    for (Step { text, inside }, answer) in steps.iter().zip(answers) {
        let (number, read) = answer.split_once(' ').unwrap();
        match (number, inside) {
            ("00", Some(inside)) if read == *inside => words.push("inside".to_owned()),
            ("00", _) => open.push(format!("{text} {read:?}")),
            (number, _) => words.push(errno(number)),
        }
    }
    words.sort();
    words.dedup();
    if open.is_empty() { Outcome::Denied(words.join(", ")) } else { Outcome::Open(open.join(", ")) }
}

/// WASI preview 1's error numbers, with the kernel's names.
fn errno(number: &str) -> String {
    let names = [
        ("02", "EACCES"),
        ("06", "EAGAIN"),
        ("08", "EBADF"),
        ("10", "EBUSY"),
        ("20", "EEXIST"),
        ("28", "EINVAL"),
        ("29", "EIO"),
        ("31", "EISDIR"),
        ("37", "ENAMETOOLONG"),
        ("32", "ELOOP"),
        ("44", "ENOENT"),
        ("54", "ENOTDIR"),
        ("55", "ENOTEMPTY"),
        ("58", "ENOTSUP"),
        ("60", "ENXIO"),
        ("63", "EPERM"),
        ("69", "EROFS"),
        ("75", "EXDEV"),
        ("76", "ENOTCAPABLE"),
    ];
    names.iter().find(|(n, _)| *n == number).map_or_else(|| format!("error {number}"), |(_, name)| (*name).to_owned())
}
