//! The interfaces that a component may import, and texts for the user of a component that cannot run here.
//!
//! The compile process and the worker use the same texts; the compile process checks a component before it compiles.
//!
//! A plain command gets `wasi:cli/command` of WASI 0.2. An extended command and a server get HTTP and both WASI 0.2 and 0.3, whichever
//! version their own export has (a component built for 0.3 imports 0.2 too).

/// The export of a command, of WASI 0.2 or of 0.3.
pub const RUN: &str = "wasi:cli/run";
/// The export of a server of WASI 0.2.
pub const HANDLER: &str = "wasi:http/incoming-handler";
/// The export of a server of WASI 0.3.
pub const HANDLER_3: &str = "wasi:http/handler";
/// The annotation that makes a component a command or a server.
const ANNOTATION: &str = "catamaran.wasm/world";
/// The handler's option that switches WASI 0.3 off.
const OPTION: &str = "wasi_p3";

/// The interfaces by which a component makes HTTP requests, of WASI 0.2 and of 0.3.
const REQUESTING: &str = "wasi:http/outgoing-handler";
const REQUESTING_3: &str = "wasi:http/client";

/// The HTTP interfaces of WASI 0.2 that a server or an extended command may import beside [`PROVIDED`].
pub const HTTP: [&str; 2] = [REQUESTING, "wasi:http/types"];

/// The HTTP interfaces of WASI 0.3 that they may import beside [`PROVIDED_3`].
pub const HTTP_3: [&str; 2] = [REQUESTING_3, "wasi:http/types"];

/// The interfaces of WASI 0.2's `wasi:cli/command`, which every component may import.
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

/// The interfaces of WASI 0.3's `wasi:cli/command`, which a server or an extended command may import.
pub const PROVIDED_3: [&str; 21] = [
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
    "wasi:cli/types",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/system-clock",
    "wasi:clocks/types",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/types",
];

/// The interface for configuration, a proposal to WASI. A server or an extended command may import it and [`LOGGING`], in these versions
/// only.
pub const CONFIG: &str = "wasi:config/store@0.2.0-rc.1";
/// The interface for logging, a proposal to WASI, with and without its version.
pub const LOGGING: [&str; 2] = ["wasi:logging/logging@0.1.0-draft", "wasi:logging/logging"];

/// The interfaces that open sockets. A component that imports none of them can use no sockets. The last is of WASI 0.3 only.
const OPENING: [&str; 4] = [
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp-create-socket",
    "wasi:sockets/types",
];

/// Splits a name such as `wasi:cli/run@0.2.3` into interface and version. The version may be empty.
fn parts(name: &str) -> (&str, &str) {
    name.split_once('@').unwrap_or((name, ""))
}

/// Whether a version is one of WASI 0.2. Any patch version is accepted, because each only adds to the one before, and linking finds unknown
/// functions.
fn is_of_wasi_2(version: &str) -> bool {
    is_of(version, "0.2.")
}

/// Whether a version is one of WASI 0.3.
fn is_of_wasi_3(version: &str) -> bool {
    is_of(version, "0.3.")
}

fn is_of(version: &str, minor: &str) -> bool {
    version.strip_prefix(minor).is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether the import or export `name` is of WASI 0.3.
pub fn asks_for_wasi_3(name: &str) -> bool {
    let (interface, version) = parts(name);
    interface.starts_with("wasi:") && is_of_wasi_3(version)
}

/// Says why a component with the import or export `name` is refused on a node whose administrator has switched WASI 0.3 off.
pub fn switched_off(name: &str) -> String {
    format!(
        "the component has `{name}`, which is of WASI 0.3; this node's handler does not run that: its administrator has set the \
         option {OPTION} to false; build the component for WASI 0.2"
    )
}

/// Whether the import is one of the provided proposals.
fn is_proposal(import: &str) -> bool {
    import == CONFIG || LOGGING.contains(&import)
}

/// Whether the import lets a component have sockets.
pub fn opens_sockets(import: &str) -> bool {
    OPENING.contains(&parts(import).0)
}

/// Whether the import lets a component make HTTP requests of its own.
pub fn makes_requests(import: &str) -> bool {
    [REQUESTING, REQUESTING_3].contains(&parts(import).0)
}

/// Says why a plain command cannot have the import, and what to do. Returns None if it can.
pub fn refusal(import: &str) -> Option<String> {
    refusal_of(import, false)
}

/// Says why a server or an extended command cannot have the import, and what to do. Returns None if it can.
pub fn extended_refusal(import: &str) -> Option<String> {
    let (interface, version) = parts(import);
    let known = || PROVIDED_3.contains(&interface) || HTTP_3.contains(&interface);
    // Not in `refusal_of`, so that the worker of plain commands does not contain these tables.
    let provided = is_of_wasi_3(version) && known() || is_proposal(import);
    if provided { None } else { refusal_of(import, true) }
}

fn refusal_of(import: &str, extended: bool) -> Option<String> {
    let (interface, version) = parts(import);
    let (common, http) = (PROVIDED.contains(&interface), HTTP.contains(&interface));
    if (common || (http && extended)) && is_of_wasi_2(version) {
        return None;
    }
    let what = format!("the component imports `{import}`");
    let beyond = match extended {
        true => None,
        false if asks_for_wasi_3(import) => Some("of WASI 0.3"),
        false if http && is_of_wasi_2(version) => Some("HTTP by the host"),
        false if is_proposal(import) => Some("a proposal to WASI"),
        false => None,
    };
    Some(if let Some(beyond) = beyond {
        format!("{what}, which is {beyond}: it is an extended command and no plain one")
    } else if common || http {
        format!(
            "{what}, which is a version from before WASI 0.2.0 or of no WASI that is known: build it again with a \
             toolchain for wasm32-wasip2"
        )
    } else if interface.starts_with("wasi:") {
        format!(
            "{what}, which is not in `wasi:http/proxy` or `wasi:cli/command` of WASI 0.2 or 0.3, nor `{CONFIG}` or `{}`: build the \
             component without it",
            LOGGING[0]
        )
    } else {
        format!(
            "{what}, which is no interface of WASI: compose it with a component that exports it (`wac plug`), a \
             container's component may import WASI only"
        )
    })
}

/// Whether the export makes a component a command that can run here.
pub fn is_run(export: &str) -> bool {
    is_run_2(export) || is_run_3(export)
}

/// Whether the export is a command's of WASI 0.2.
pub fn is_run_2(export: &str) -> bool {
    let (interface, version) = parts(export);
    interface == RUN && is_of_wasi_2(version)
}

/// Whether the export is a command's of WASI 0.3.
pub fn is_run_3(export: &str) -> bool {
    let (interface, version) = parts(export);
    interface == RUN && is_of_wasi_3(version)
}

/// Says why a component with these imports and exports is an extended command. Returns None if it is none.
pub fn extended<'a>(
    imports: impl IntoIterator<Item = &'a str>,
    exports: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let runs: Vec<&str> = exports.into_iter().filter(|name| is_run(name)).collect();
    let first = runs.first()?;
    let more = imports.into_iter().find_map(|name| refusal(name).filter(|_| extended_refusal(name).is_none()));
    let newer = || {
        let only = !runs.iter().any(|name| is_run_2(name));
        only.then(|| {
            format!("the component exports `{first}`, which is of WASI 0.3: it is an extended command and no plain one")
        })
    };
    more.or_else(newer)
}

/// Whether the export makes a component a server that can run here.
pub fn is_handler(export: &str) -> bool {
    let (interface, version) = parts(export);
    interface == HANDLER && is_of_wasi_2(version) || is_handler_3(export)
}

/// Whether the export is a server's of WASI 0.3.
pub fn is_handler_3(export: &str) -> bool {
    let (interface, version) = parts(export);
    interface == HANDLER_3 && is_of_wasi_3(version)
}

/// Says why a component cannot run whose `wasi:cli/run` of WASI 0.3 has another type.
pub fn no_run_3() -> String {
    format!(
        "the component's export `{RUN}` has another type than that of WASI 0.3, an instance with `run: async func() -> result`: \
         build it again with a toolchain for WASI 0.3"
    )
}

/// Says why a component cannot run whose `wasi:cli/run` of WASI 0.2 has another type.
pub fn no_run() -> String {
    format!(
        "the component's export `{RUN}` has another type than that of WASI 0.2, an instance with `run: func() -> result`: \
         build it with a toolchain for wasm32-wasip2"
    )
}

/// Says why a component cannot serve whose `wasi:http/incoming-handler` has another type.
pub fn no_handle() -> String {
    format!(
        "the component's export `{HANDLER}` has another type than that of WASI 0.2, an instance with `handle: func(request: \
         incoming-request, response-out: response-outparam)`: build it again with a toolchain for WASI 0.2"
    )
}

/// Says why a component cannot serve whose `wasi:http/handler` has another type.
pub fn no_handle_3() -> String {
    format!(
        "the component's export `{HANDLER_3}` has another type than that of WASI 0.3, an instance with `handle: async func(request: \
         request) -> result<response, error-code>`: build it again with a toolchain for WASI 0.3"
    )
}

/// Says that a component with these exports is a server and no command. Returns None if it is no server, or if it exports `wasi:cli/run` of
/// any version.
pub fn server<'a>(exports: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let exports: Vec<&str> = exports.into_iter().collect();
    let name = exports.iter().find(|name| is_handler(name))?;
    exports.iter().all(|name| parts(name).0 != RUN).then(|| {
        format!(
            "the component exports `{name}` and not `{RUN}`: it is a server, which is called for each HTTP request, and no \
             command; run it as a container of its own, without the annotation {ANNOTATION} or with `http` for its value"
        )
    })
}

/// Says why a component with these exports is no command. Returns None if it is one.
pub fn no_program<'a>(exports: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let exports: Vec<&str> = exports.into_iter().collect();
    let of = |interface: &str| exports.iter().find(|name| parts(name).0 == interface);
    match (of(RUN), server(exports.iter().copied())) {
        (Some(name), _) if is_run(name) => None,
        (Some(name), _) => Some(format!(
            "the component exports `{name}`; this version of Catamaran has WASI 0.2 and 0.3: build it for wasm32-wasip2"
        )),
        (None, Some(server)) => Some(server),
        (None, None) => Some(other_handler(&exports).unwrap_or_else(|| {
            format!(
                "the component does not export `{RUN}@0.2` or `{RUN}@0.3`{}: build it as a program with a main function for wasm32-wasip2, \
                 or, if it is a library, compose it with one (`wac plug`)",
                named(&exports)
            )
        })),
    }
}

/// Says why a component with these exports is no server. Returns None if it is one.
pub fn no_server<'a>(exports: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let exports: Vec<&str> = exports.into_iter().collect();
    if exports.iter().any(|name| is_handler(name)) {
        return None;
    }
    let run = exports.iter().find(|name| is_run(name));
    Some(match (other_handler(&exports), run) {
        (Some(other), _) => other,
        (None, Some(run)) => format!(
            "it is to be a server and does not export `{HANDLER_3}@0.3` or `{HANDLER}@0.2` but `{run}`: it is a command; run it without the \
             annotation {ANNOTATION}"
        ),
        (None, None) => format!(
            "it is to be a server and does not export `{HANDLER_3}@0.3` or `{HANDLER}@0.2`{}: build it for the world \
             `wasi:http/service` of WASI 0.3 or `wasi:http/proxy` of WASI 0.2",
            named(&exports)
        ),
    })
}

/// Says why a module is no server.
pub fn module_as_server() -> String {
    format!(
        "it is to be a server, and is a module and no component: build it as a component that exports `{HANDLER_3}@0.3` or \
         `{HANDLER}@0.2`, or run it as a command, without the annotation {ANNOTATION}"
    )
}

/// Says that a component handles HTTP by an unknown version of WASI. Returns None if it does not.
fn other_handler(exports: &[&str]) -> Option<String> {
    let name = exports.iter().find(|name| [HANDLER, HANDLER_3].contains(&parts(name).0) && !is_handler(name))?;
    Some(format!(
        "the component exports `{name}`, which is a version from before WASI 0.2.0 or of no WASI that is known: build it for \
         `{HANDLER_3}@0.3` or `{HANDLER}@0.2`"
    ))
}

/// Names the first export, as part of a sentence.
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
    fn a_server_may_import_every_version_of_wasi_0_3_and_a_plain_command_may_not() {
        for interface in PROVIDED_3.into_iter().chain(HTTP_3) {
            for patch in [0, 2, 99] {
                let import = format!("{interface}@0.3.{patch}");
                assert_eq!(extended_refusal(&import), None);
                assert!(asks_for_wasi_3(&import));
                let text = refusal(&import).unwrap();
                assert!(text.contains("which is of WASI 0.3") && text.contains("an extended command"), "{text}");
            }
            for version in ["@0.3.0-rc-2026-03-15", "@0.3", "@0.3.", "@0.4.0"] {
                let import = format!("{interface}{version}");
                assert!(extended_refusal(&import).unwrap().contains(&format!("`{import}`")), "{import}");
                assert!(!asks_for_wasi_3(&import));
            }
        }
        // These interfaces are WASI 0.2's only.
        for import in ["wasi:io/poll@0.3.0", "wasi:http/outgoing-handler@0.3.0", "wasi:clocks/timezone@0.3.0"] {
            assert!(extended_refusal(import).is_some(), "{import}");
        }
        assert!(!asks_for_wasi_3("acme:log/sink@0.3.0") && !asks_for_wasi_3("wasi:http/types@0.2.3"));
        assert!(switched_off("wasi:http/handler@0.3.1").contains("`wasi:http/handler@0.3.1`, which is of WASI 0.3"));
    }

    #[test]
    fn a_server_may_import_http_and_a_plain_command_may_not() {
        for interface in HTTP {
            let import = |version: &str| format!("{interface}@{version}");
            assert_eq!(extended_refusal(&import("0.2.0")), None);
            assert_eq!(extended_refusal(&import("0.2.12")), None);
            assert!(extended_refusal(&import("0.2.0-rc-2023-12-05")).unwrap().contains("before WASI 0.2.0"));
            assert!(refusal(&import("0.2.0")).unwrap().contains("an extended command"));
        }
        for interface in PROVIDED {
            assert_eq!(extended_refusal(&format!("{interface}@0.2.3")), None);
        }
        let store = extended_refusal("wasi:keyvalue/store@0.2.0-draft").unwrap();
        assert!(store.contains("`wasi:http/proxy` or `wasi:cli/command` of WASI 0.2 or 0.3"), "{store}");
        assert!(extended_refusal("acme:log/sink").unwrap().contains("wac plug"));
    }

    #[test]
    fn proposals_are_provided_in_one_version() {
        for import in LOGGING.into_iter().chain([CONFIG]) {
            assert_eq!(extended_refusal(import), None);
            assert!(refusal(import).unwrap().contains("a proposal to WASI: it is an extended command"));
        }
        for import in [
            "wasi:config/store",
            "wasi:config/store@0.2.0",
            "wasi:config/runtime@0.2.0-rc.1",
            "wasi:logging/logging@0.1.0",
        ] {
            assert!(extended_refusal(import).unwrap().contains(CONFIG), "{import}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        assert!(refusal("wasi:keyvalue/store@0.2.0-draft").unwrap().contains("wasi:cli/command"));
        assert!(refusal("acme:log/sink").unwrap().contains("wac plug"));
    }

    #[test]
    fn a_command_exports_run() {
        assert_eq!(no_program(["acme:x/y", "wasi:cli/run@0.2.3"]), None);
        assert_eq!(no_program(["wasi:http/incoming-handler@0.2.0", "wasi:cli/run@0.2.3"]), None);
        assert_eq!(no_program(["wasi:cli/run@0.3.0"]), None);
        assert!(no_program(["wasi:http/incoming-handler@0.2.0"]).unwrap().contains("it is a server"));
        assert!(no_program(["wasi:cli/run@0.4.0"]).unwrap().contains("`wasi:cli/run@0.4.0`; this version"));
        assert!(no_program(["wasi:http/handler@0.3.0"]).unwrap().contains("it is a server"));
        assert!(no_program(["acme:x/y"]).unwrap().contains("`acme:x/y`"));
        assert!(no_program([]).unwrap().contains("anything else"));
    }

    #[test]
    fn a_server_exports_a_handler_and_no_run() {
        let text = server(["acme:x/y", "wasi:http/incoming-handler@0.2.3"]).unwrap();
        assert!(text.contains("`wasi:http/incoming-handler@0.2.3` and not `wasi:cli/run`"), "{text}");
        let text = server(["wasi:http/handler@0.3.2"]).unwrap();
        assert!(text.contains("`wasi:http/handler@0.3.2` and not `wasi:cli/run`"), "{text}");
        assert!(is_handler_3("wasi:http/handler@0.3.2") && !is_handler_3("wasi:http/incoming-handler@0.2.3"));
        for exports in [
            &["wasi:cli/run@0.2.0", "wasi:http/incoming-handler@0.2.0"][..],
            &["wasi:cli/run@0.3.0", "wasi:http/incoming-handler@0.2.0"],
            &["wasi:http/incoming-handler@0.2.0-rc-2023-12-05"],
            &["wasi:http/incoming-handler"],
            &["wasi:http/handler@0.3.0-rc-2026-03-15"],
            &["wasi:http/handler@0.2.0"],
            &["wasi:http/handler@0.3.0", "wasi:cli/run@0.3.0"],
            &[],
        ] {
            assert_eq!(server(exports.iter().copied()), None, "{exports:?}");
        }
    }

    #[test]
    fn imports_or_wasi_0_3_make_a_command_an_extended_one() {
        for (imports, exports, words) in [
            (
                &["wasi:http/outgoing-handler@0.2.3"][..],
                &["wasi:cli/run@0.2.0"][..],
                "`wasi:http/outgoing-handler@0.2.3`",
            ),
            (&["wasi:cli/exit@0.2.3", CONFIG], &["wasi:cli/run@0.2.0"], "`wasi:config/store@0.2.0-rc.1`"),
            (&["wasi:cli/exit@0.3.0"], &["wasi:cli/run@0.2.0"], "`wasi:cli/exit@0.3.0`"),
            (&[], &["acme:x/y", "wasi:cli/run@0.3.2"], "exports `wasi:cli/run@0.3.2`"),
        ] {
            let text = extended(imports.iter().copied(), exports.iter().copied()).unwrap();
            assert!(text.contains(words) && text.contains("an extended command and no plain one"), "{text}");
        }
        for (imports, exports) in [
            (&["wasi:cli/exit@0.2.3"][..], &["wasi:cli/run@0.2.0"][..]),
            (&[], &["wasi:cli/run@0.3.0", "wasi:cli/run@0.2.0"]),
            (&["acme:log/sink"], &["wasi:cli/run@0.2.0"]),
            (&["wasi:cli/exit@0.3.0"], &["wasi:http/handler@0.3.0"]),
        ] {
            assert_eq!(extended(imports.iter().copied(), exports.iter().copied()), None, "{imports:?}");
        }
    }

    #[test]
    fn the_refusal_of_a_component_as_a_server_says_what_to_export() {
        assert_eq!(no_server(["wasi:http/incoming-handler@0.2.12"]), None);
        assert_eq!(no_server(["wasi:cli/run@0.2.0", "wasi:http/incoming-handler@0.2.0"]), None);
        assert_eq!(no_server(["wasi:http/handler@0.3.1"]), None);
        assert_eq!(no_server(["wasi:http/handler@0.4.0", "wasi:http/incoming-handler@0.2.0"]), None);
        for (exports, words) in [
            (&["wasi:cli/run@0.2.0"][..], "but `wasi:cli/run@0.2.0`: it is a command"),
            (&["wasi:http/handler@0.4.0"], "`wasi:http/handler@0.4.0`, which is a version"),
            (&["wasi:http/incoming-handler@0.2.0-rc-2023-12-05"], "before WASI 0.2.0"),
            (&["acme:x/y", "b:c/d"], "but `acme:x/y` and others: build it for the world `wasi:http/service`"),
            (&[], "or anything else"),
        ] {
            let text = no_server(exports.iter().copied()).unwrap();
            assert!(text.contains(words), "{words:?} is missing in: {text}");
        }
        assert!(module_as_server().contains("is a module and no component"));
    }

    #[test]
    fn only_the_outgoing_handler_and_the_client_make_requests() {
        assert!(makes_requests("wasi:http/outgoing-handler@0.2.3") && makes_requests("wasi:http/client@0.3.0"));
        assert!(!makes_requests("wasi:http/types@0.2.3") && !makes_requests("wasi:http/incoming-handler@0.2.3"));
    }

    #[test]
    fn only_socket_imports_ask_for_sockets() {
        assert!(opens_sockets("wasi:sockets/udp-create-socket@0.2.0") && opens_sockets("wasi:sockets/ip-name-lookup"));
        // Other interfaces import these for their types. They open no sockets by themselves.
        assert!(!opens_sockets("wasi:sockets/network@0.2.0") && !opens_sockets("wasi:sockets/tcp@0.2.0"));
        assert!(opens_sockets("wasi:sockets/types@0.3.0") && opens_sockets("wasi:sockets/ip-name-lookup@0.3.0"));
    }
}
