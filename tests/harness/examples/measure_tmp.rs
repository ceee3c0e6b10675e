#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "x")]
use catamaran_harness::{Node, Runtime, guests};
use std::fs;
use std::time::Instant;
fn main() {
    let node = Node::start();
    let image = guests::image(Runtime::Catamaran, "sleep");
    let mut tasks = Vec::new();
    for n in 0..8 {
        let t = node.container(&format!("s{n}")).image(&image).spawn();
        t.expect_stdout("ready\n");
        tasks.push(t);
    }
    std::thread::sleep(std::time::Duration::from_secs(1));
    let mut sums: Vec<(u64, u64)> = tasks
        .iter()
        .map(|t| {
            let st = fs::read_to_string(format!("/proc/{}/status", t.pid())).unwrap();
            let pp = st.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap().trim().to_owned();
            let r = fs::read_to_string(format!("/proc/{pp}/smaps_rollup")).unwrap();
            let k = |n: &str| {
                r.lines()
                    .find_map(|l| l.strip_prefix(n))
                    .unwrap()
                    .trim()
                    .trim_end_matches(" kB")
                    .parse::<u64>()
                    .unwrap()
            };
            (k("Pss:"), k("Private_Dirty:"))
        })
        .collect();
    sums.sort();
    println!("pss, private dirty: {sums:?}");
    for t in tasks {
        t.discard();
    }
    let mut ms = Vec::new();
    for n in 0..40 {
        let o = node.container(&format!("c{n}")).image(&image);
        let t0 = o.create();
        drop(t0.discard());
        let _ = n;
    }
    let log = node.log();
    for l in log.lines().filter(|l| l.contains("created id=c")) {
        ms.push(l.split("milliseconds=").last().unwrap().trim_end_matches('"').to_owned());
    }
    ms.sort_by_key(|m| m.parse::<u64>().unwrap());
    println!("create ms: {ms:?}");
    let begin = Instant::now();
    let _ = begin;
    node.finish();
}
