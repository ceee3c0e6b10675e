//! The interfaces that a component may import, and what to tell a user whose component cannot run here.
//!
//! The compile process says the same about a component as the worker, before it spends time on it.

/// What a program exports.
pub const RUN: &str = "wasi:cli/run";

/// The interfaces of WASI 0.2 that are provided: those of its `wasi:cli/command`.
pub const PROVIDED: [&str; 27] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// Those of them that make the worker open sockets: without one, a component has none to use.
const OPENING: [&str; 3] =
    ["wasi:sockets/ip-name-lookup", "wasi:sockets/tcp-create-socket", "wasi:sockets/udp-create-socket"];

/// A name such as `wasi:cli/run@0.2.3`, taken apart; no version where there is none.
fn parts(name: &str) -> (&str, &str) {
    name.split_once('@').unwrap_or((name, ""))
}

/// Any version of WASI 0.2: they only add to what was there, and a function that is not known here is found when the
/// component is linked.
fn is_of_wasi_2(version: &str) -> bool {
    version.strip_prefix("0.2.").is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether the import lets a component have sockets.
pub fn opens_sockets(import: &str) -> bool {
    OPENING.contains(&parts(import).0)
}

/// Why the import is not provided and what to do about it; none if it is.
pub fn refusal(import: &str) -> Option<String> {
    let (interface, version) = parts(import);
    if PROVIDED.contains(&interface) && is_of_wasi_2(version) {
        return None;
    }
    let what = format!("the component imports `{import}`");
    Some(if interface.starts_with("wasi:") && version.starts_with("0.3") {
        format!("{what}, which is of WASI 0.3; this version of Catamaran has WASI 0.2: build it for wasm32-wasip2")
    } else if PROVIDED.contains(&interface) {
        format!(
            "{what}, which is a version from before WASI 0.2.0 or of no WASI that is known: build it again with a \
             toolchain for wasm32-wasip2"
        )
    } else if interface.starts_with("wasi:http/") {
        format!(
            "{what}, which is HTTP by the host; this version of Catamaran does not provide it: use an HTTP library over \
             sockets (wasi:sockets)"
        )
    } else if interface.starts_with("wasi:") {
        format!("{what}, which is not in `wasi:cli/command` of WASI 0.2: build the component without it")
    } else {
        format!(
            "{what}, which is no interface of WASI: compose it with a component that exports it (`wac plug`), a \
             container's component may import WASI 0.2 only"
        )
    })
}

/// Whether the export is the interface of a program, in a version that can run here.
pub fn is_run(export: &str) -> bool {
    let (interface, version) = parts(export);
    interface == RUN && is_of_wasi_2(version)
}

/// Why a component whose `wasi:cli/run` is another one cannot run.
pub fn no_run() -> String {
    format!(
        "the component's export `{RUN}` has another type than that of WASI 0.2, an instance with `run: func() -> result`: \
         build it with a toolchain for wasm32-wasip2"
    )
}

/// Why a component with these exports is no program; none if it is.
pub fn no_program<'a>(exports: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let exports: Vec<&str> = exports.into_iter().collect();
    let version_of_run = |name: &&str| parts(name).0 == RUN;
    match exports.iter().find(|name| version_of_run(name)) {
        Some(name) if is_run(name) => None,
        Some(name) => Some(format!(
            "the component exports `{name}`; this version of Catamaran has WASI 0.2: build it for wasm32-wasip2"
        )),
        None if exports.iter().any(|name| parts(name).0 == "wasi:http/incoming-handler") => Some(
            "the component exports `wasi:http/incoming-handler` and not `wasi:cli/run`: it is a handler that an HTTP server \
             of the host calls, which this version of Catamaran does not have; build it as a program that listens by \
             itself (wasi:sockets)"
                .to_owned(),
        ),
        None => Some(format!(
            "the component does not export `{RUN}@0.2`{}: build it as a program with a main function for wasm32-wasip2, \
             or, if it is a library, compose it with one (`wac plug`)",
            named(&exports)
        )),
    }
}

fn named(exports: &[&str]) -> String {
    match exports {
        [] => " or anything else".to_owned(),
        [first, ..] => format!(" but `{first}`{}", if exports.len() > 1 { " and others" } else { "" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_of_wasi_0_2_is_provided() {
        for interface in PROVIDED {
            for patch in [0, 6, 12, 99] {
                assert_eq!(refusal(&format!("{interface}@0.2.{patch}")), None);
            }
            for version in ["", "@0.2.0-rc-2023-11-10", "@0.3.0", "@0.1.0", "@0.2.", "@1.0.0"] {
                let import = format!("{interface}{version}");
                assert!(refusal(&import).unwrap().contains(&format!("`{import}`")));
            }
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        assert!(refusal("wasi:http/types@0.2.0").unwrap().contains("wasi:sockets"));
        assert!(refusal("wasi:keyvalue/store@0.2.0-draft").unwrap().contains("wasi:cli/command"));
        assert!(refusal("wasi:cli/stdout@0.3.0").unwrap().contains("wasm32-wasip2"));
        assert!(refusal("acme:log/sink").unwrap().contains("wac plug"));
    }

    #[test]
    fn a_program_exports_run() {
        assert_eq!(no_program(["acme:x/y", "wasi:cli/run@0.2.3"]), None);
        assert!(no_program(["wasi:cli/run@0.3.0"]).unwrap().contains("`wasi:cli/run@0.3.0`"));
        assert!(no_program(["wasi:http/incoming-handler@0.2.0"]).unwrap().contains("HTTP server"));
        assert!(no_program(["acme:x/y"]).unwrap().contains("`acme:x/y`"));
        assert!(no_program([]).unwrap().contains("anything else"));
    }

    #[test]
    fn only_socket_imports_ask_for_sockets() {
        assert!(opens_sockets("wasi:sockets/udp-create-socket@0.2.0") && opens_sockets("wasi:sockets/ip-name-lookup"));
        // In the types of others, and of no use without the ones above.
        assert!(!opens_sockets("wasi:sockets/network@0.2.0") && !opens_sockets("wasi:sockets/tcp@0.2.0"));
    }
}
