//! Deliberate mistakes, each of which must be found.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use catamaran_daemon::untrusted;
use catamaran_fuzz::profile::Profile;
use catamaran_fuzz::{bpf, meter, seccomp, tree};
use catamaran_worker::job::Instruction;

const PROFILE: &str = "default errno 38
allow read,write,futex
errno:1 socket 0 eq 40 ; 0 eq 16
allow clone 0 masked_eq 0x7e020000 0
kill mount 0 gt 5 ; 1 le 0x100000007 ; 2 ne 3
log ioctl 1 lt 9 ; 2 ge 0x8000000000000000";

#[test]
fn a_wrong_instruction_of_a_filter_is_found() {
    let profile = seccomp::written(PROFILE);
    let right = Profile::new(&profile).unwrap();
    let right = |call: &bpf::Call| Some(right.answer(call));
    let calls = seccomp::calls(&profile);
    let program = untrusted::seccomp(profile.to_string().as_bytes()).unwrap().program;
    assert_eq!(seccomp::mismatch(&program, &right, &calls), None);
    let wrong: [fn(Instruction) -> Instruction; 4] = [
        |i| Instruction { jt: i.jf, jf: i.jt, ..i },
        |i| Instruction { k: i.k ^ 1, ..i },
        |i| Instruction { k: i.k ^ 0x8000_0000, ..i },
        |i| Instruction { code: if i.code == 0x35 { 0x25 } else { i.code }, ..i },
    ];
    let (mut planted, mut missed) = (0, Vec::new());
    for at in 0..program.len() {
        for (kind, change) in wrong.iter().enumerate() {
            let mut broken = program.clone();
            broken[at] = change(broken[at]);
            if broken == program {
                continue;
            }
            planted += 1;
            if seccomp::mismatch(&broken, &right, &calls).is_none() {
                missed.push(format!("{kind} at {at}: {:?}", program[at]));
            }
        }
    }
    assert!(planted > 100, "{planted}");
    assert_eq!(missed, Vec::<String>::new(), "of {planted}");
}

/// A walk by the host's own names, which follows links out of the tree.
#[test]
fn a_walk_that_leaves_the_tree_is_found() {
    let naive: &tree::Opener = &|root, _, path| {
        let within = path.strip_prefix("/").unwrap_or(path);
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
        let file = rustix::fs::openat(root, within, flags, rustix::fs::Mode::empty());
        Some(file.map(|file| (File::from(file), None)).map_err(Into::into))
    };
    let finds = |input: &str| catch_unwind(AssertUnwindSafe(|| tree::differential(input.as_bytes(), naive))).is_err();
    assert!(!finds("d a\nf a/m\n? /a/m"), "what is right is no finding");
    for wrong in ["l out ../m\n? /out", "d a\nf a/m\nl b /a/m\n? /b", "? /../m", "d a\n? /a"] {
        assert!(finds(wrong), "{wrong}");
    }
}

#[test]
fn memory_without_bounds_is_found() {
    let allocating = |bytes: usize| {
        catch_unwind(AssertUnwindSafe(|| meter::bounded(10, || std::hint::black_box(vec![1_u8; bytes]).len()))).is_ok()
    };
    assert!(allocating(1 << 20) && !allocating(64 << 20));
}
