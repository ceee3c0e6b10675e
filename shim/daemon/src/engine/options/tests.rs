use catamaran_reference::{code, plain};
use containerd_shim_protos::protobuf::CodedOutputStream;

use super::*;

fn read(text: &str) -> Result<Policy> {
    Policy::read("conf", text, None)
}

/// Options as containerd sends them.
fn sent(fields: &[(u32, &str)]) -> Any {
    let mut value = Vec::new();
    let mut output = CodedOutputStream::vec(&mut value);
    for (number, text) in fields {
        output.write_string(*number, text).unwrap();
    }
    output.flush().unwrap();
    drop(output);
    Any { type_url: OURS.to_owned(), value, ..Default::default() }
}

#[test]
fn missing_options_have_defaults() {
    use Engine::{Wasmer, Wasmtime};
    for (text, allowed, default, said) in [
        ("", vec![Wasmtime, Wasmer], Wasmtime, false),
        ("# nothing\n", vec![Wasmtime, Wasmer], Wasmtime, false),
        ("default_engine = 'wasmer'", vec![Wasmtime, Wasmer], Wasmer, true),
        ("allowed_engines = ['wasmer']", vec![Wasmer], Wasmer, false),
        ("allowed_engines = ['wasmer', 'wasmtime']", vec![Wasmer, Wasmtime], Wasmer, false),
        (
            "allowed_engines = ['wasmer', 'wasmtime']\ndefault_engine = \"wasmtime\"",
            vec![Wasmer, Wasmtime],
            Wasmtime,
            true,
        ),
        ("TypeUrl = 'io.containerd.catamaran.v1.options'", vec![Wasmtime, Wasmer], Wasmtime, false),
    ] {
        let (native, runtime) = (true, "runc".to_owned());
        let (largest, place) = (128 << 20, "conf".to_owned());
        let (wasi_p3, link_local_requests) = (true, false);
        let expected = Policy { allowed, default, said, native, runtime, largest, wasi_p3, link_local_requests, place };
        assert_eq!(read(text).unwrap(), expected, "{text}");
    }
}

#[test]
fn a_wrong_option_is_refused_with_its_key_and_what_to_write() {
    for (text, words) in [
        (
            "engines = ['wasmtime']",
            &["line 1: engines = ['wasmtime']", "unknown field `engines`", "allowed_engines"][..],
        ),
        (
            "\n\nallowed_engines = 'wasmtime'",
            &["line 3: allowed_engines = 'wasmtime'", "string", "[\"wasmtime\", \"wasmer\"]"],
        ),
        ("allowed_engines = [1]", &["line 1: allowed_engines = [1]", "integer `1`", "string"]),
        ("wasi_p3 = 'no'", &["line 1: wasi_p3 = 'no'", "a boolean", "wasi_p3 (true or false)"]),
        (
            "link_local_requests = 1",
            &["line 1: link_local_requests = 1", "a boolean", "link_local_requests (true or false)"],
        ),
        ("default_engine = true", &["line 1: default_engine = true", "boolean `true`"]),
        ("default_engine = ['wasmer']", &["line 1: default_engine", "sequence"]),
        ("default_engine = 'wasmer'\ndefault_engine = 'wasmer'", &["line 2", "duplicate key"]),
        ("allowed_engines = [", &["line 1: allowed_engines = ["]),
        ("[section]\nallowed_engines = ['wasmer']", &["section", "unknown field"]),
        ("allowed_engines = []", &["conf: allowed_engines: an empty list", "\"wasmtime\" or \"wasmer\""]),
        ("allowed_engines = ['wasmedge']", &["conf: allowed_engines: \"wasmedge\"", "\"wasmtime\" or \"wasmer\""]),
        ("allowed_engines = ['wasmer', 'wasmer']", &["conf: allowed_engines: \"wasmer\" twice"]),
        ("default_engine = 'v8'", &["conf: default_engine: \"v8\"", "\"wasmtime\" or \"wasmer\""]),
        (
            "allowed_engines = ['wasmtime']\ndefault_engine = 'wasmer'",
            &["conf: default_engine: \"wasmer\"", "\"wasmtime\", as allowed_engines says"],
        ),
        ("TypeUrl = 'io.containerd.runsc.v1.options'", &["conf: TypeUrl", "io.containerd.catamaran.v1.options"]),
    ] {
        let said = read(text).unwrap_err().to_string();
        for word in words {
            assert!(said.contains(word), "{text}: {word:?} is missing in: {said}");
        }
    }
}

#[test]
fn options_are_read_from_text_or_a_file_or_are_missing() {
    let wasmer = "allowed_engines = ['wasmer']";
    assert_eq!(Policy::parse(&Any::new(), None).unwrap().default, Engine::Wasmtime);
    let runcs = Any { type_url: RUNCS.to_owned(), value: vec![0x10, 1], ..Default::default() };
    assert_eq!(Policy::parse(&runcs, None).unwrap().allowed, Engine::ALL);
    assert_eq!(Policy::parse(&sent(&[]), None).unwrap().allowed, Engine::ALL);
    let body = Policy::parse(&sent(&[(3, wasmer)]), None).unwrap();
    assert_eq!((body.default, body.place.as_str()), (Engine::Wasmer, "the handler's options (config_body)"));

    let path = std::env::temp_dir().join(format!("catamaran-options-{}.toml", std::process::id()));
    std::fs::write(&path, wasmer).unwrap();
    let name = path.display().to_string();
    let file = Policy::parse(&sent(&[(2, &name)]), None).unwrap();
    assert_eq!((file.default, &file.place), (Engine::Wasmer, &name));
    let both = Policy::parse(&sent(&[(1, TYPE), (2, &name), (3, "default_engine = 'wasmtime'")]), None).unwrap();
    assert_eq!(both.default, Engine::Wasmtime, "the text comes before the path");
    std::fs::write(&path, [0xff]).unwrap();
    let said = Policy::parse(&sent(&[(2, &name)]), None).unwrap_err().to_string();
    assert!(said.contains(&name) && said.contains("UTF-8"), "{said}");
    std::fs::write(&path, vec![b'\n'; LARGEST as usize + 1]).unwrap();
    let said = Policy::parse(&sent(&[(2, &name)]), None).unwrap_err().to_string();
    std::fs::remove_file(&path).unwrap();
    assert!(said.contains("at most 65536 bytes"), "{said}");
}

#[test]
fn options_of_a_wrong_path_or_message_are_refused() {
    for (path, word) in [
        ("/nowhere/options.toml", "there is none of this name"),
        ("options.toml", "an absolute path"),
        ("/dev/zero", "a file of TOML"),
        ("/proc", "a file of TOML"),
    ] {
        let said = Policy::parse(&sent(&[(2, path)]), None).unwrap_err().to_string();
        assert!(said.contains(path) && said.contains(word), "{said}");
    }
    for (type_url, value) in
        [("containerd.runhcs.v1.Options", vec![]), ("", vec![1]), (OURS, vec![0xff]), (OURS, vec![0x22, 0])]
    {
        let any = Any { type_url: type_url.to_owned(), value, ..Default::default() };
        let said = Policy::parse(&any, None).unwrap_err().to_string();
        assert!(said.contains("the request's options"), "{said}");
    }
    let said = Policy::parse(&sent(&[(1, "other")]), None).unwrap_err().to_string();
    assert!(said.contains("TypeUrl") && said.contains(TYPE), "{said}");
}

#[test]
fn options_can_forbid_native_containers_or_name_their_runtime() {
    let policy = read("native_containers = false\nnative_runtime = '/opt/crun'").unwrap();
    assert_eq!((policy.native, policy.runtime.as_str()), (false, "/opt/crun"));
    assert_eq!(read("native_runtime = 'crun'").unwrap().runtime, "crun");
    for (text, words) in [
        ("native_runtime = ''", ["conf: native_runtime", "absolute path"]),
        ("native_runtime = 'bin/runc'", ["conf: native_runtime", "bin/runc"]),
        ("native_containers = 'no'", ["native_containers = 'no'", "boolean"]),
    ] {
        let refused = read(text).unwrap_err().to_string();
        assert!(words.iter().all(|word| refused.contains(word)), "{refused}");
    }
}

#[test]
fn the_module_size_limit_is_a_number_of_bytes() {
    assert_eq!(read("").unwrap().largest, 128 << 20);
    assert_eq!(read("max_module_bytes = 67108864").unwrap().largest, 64 << 20);
    assert_eq!(read("max_module_bytes = 536870912").unwrap().largest, 512 << 20);
    for (text, words) in [
        ("max_module_bytes = 0", ["conf: max_module_bytes: 0", "from 1 to 536870912"]),
        ("max_module_bytes = 536870913", ["conf: max_module_bytes: 536870913", "without it 134217728"]),
        ("max_module_bytes = -1", ["max_module_bytes = -1", "u64"]),
        ("max_module_bytes = '128Mi'", ["max_module_bytes = '128Mi'", "u64"]),
    ] {
        let refused = read(text).unwrap_err().to_string();
        assert!(words.iter().all(|word| refused.contains(word)), "{refused}");
    }
}

#[test]
fn wasi_p3_and_link_local_requests_are_read() {
    for (text, wasi_p3, link_local_requests) in [
        ("wasi_p3 = false", false, false),
        ("link_local_requests = true", true, true),
        ("link_local_requests = false", true, false),
    ] {
        let policy = read(text).unwrap();
        assert_eq!((policy.wasi_p3, policy.link_local_requests), (wasi_p3, link_local_requests), "{text}");
    }
}

/// k3s and rke2 write runc's options for each of their handlers.
#[test]
fn a_shim_named_after_an_engine_uses_that_engine_and_accepts_the_options_of_k3s() {
    let k3s = "BinaryName = '/usr/local/bin/containerd-shim-wasmer-v1'\nSystemdCgroup = true";
    let policy = Policy::read("conf", k3s, Some(Engine::Wasmer)).unwrap();
    assert_eq!((policy.default, policy.said, policy.allowed.as_slice()), (Engine::Wasmer, true, &[Engine::Wasmer][..]));
    assert!(policy.place.contains("the name of wasmer"), "{}", policy.place);
    let said = read(k3s).unwrap_err().to_string();
    assert!(said.contains("conf: BinaryName") && said.contains("default_engine"), "{said}");
    let both = "allowed_engines = ['wasmtime', 'wasmer']\ndefault_engine = 'wasmtime'";
    let written = Policy::read("conf", both, Some(Engine::Wasmer)).unwrap();
    assert_eq!(written.default, Engine::Wasmtime, "what is written comes before the name");
    let ceiling = Policy::read("conf", "allowed_engines = ['wasmtime']", Some(Engine::Wasmer)).unwrap();
    assert_eq!(ceiling.default, Engine::Wasmtime, "the name does not lift the limit");
    let asked = Policy::parse(&sent(&[(3, k3s)]), Some(Engine::Wasmer)).unwrap();
    assert_eq!(asked.default, Engine::Wasmer);
}

/// What each option means, and its default, for docs/reference.md.
fn rows() -> [[String; 4]; OPTIONS.len()] {
    let none = read("").unwrap();
    let values = |key: &str| OPTIONS.iter().find(|(known, _)| *known == key).unwrap().1;
    let row = |key: &str, values: &str, without: String, means: &str| {
        [code(key), plain(values), plain(&without), means.to_owned()]
    };
    let switch = |key: &str, without: bool, means: &str| row(key, values(key), without.to_string(), means);
    [
        row(
            ALLOWED_ENGINES,
            values(ALLOWED_ENGINES),
            none.allowed.iter().map(|engine| engine.word()).collect::<Vec<_>>().join(" and "),
            "The engines that pods may choose, and no others.",
        ),
        row(
            DEFAULT_ENGINE,
            &format!("{}, if allowed_engines has it", quoted(&Engine::ALL)),
            format!("the first of allowed_engines, or {}", none.default),
            "The engine of pods that choose none and could run on both.",
        ),
        switch("native_containers", none.native, "Whether programs that are not Wasm run, by `native_runtime`."),
        row(NATIVE_RUNTIME, RUNTIMES, none.runtime.clone(), "The runtime of native containers, such as runc or crun."),
        row(MAX_MODULE_BYTES, &sizes(), none.largest.to_string(), "A larger module is refused."),
        switch("wasi_p3", none.wasi_p3, "Whether components of WASI 0.3 run."),
        switch(
            "link_local_requests",
            none.link_local_requests,
            "Whether components' HTTP requests may go to link-local addresses and the clouds' metadata services, which hand out the \
             node's credentials.",
        ),
    ]
}

#[test]
fn the_reference_has_every_option() {
    assert_eq!(rows().map(|[key, ..]| key), OPTIONS.map(|(key, _)| code(key)));
    catamaran_reference::matches("options", ["option", "values", "without it", "meaning"], rows());
}

#[test]
fn every_key_that_is_read_is_an_option() {
    let said = read("no_such_key = 1").unwrap_err().to_string();
    let (_, known) = said.split_once("expected one of ").unwrap();
    let known: Vec<_> = known.split('`').skip(1).step_by(2).filter(|key| !FOREIGN.contains(key)).collect();
    assert_eq!(known, OPTIONS.map(|(key, _)| key));
}

/// Keys that containerd, k3s and rke2 write by themselves.
const FOREIGN: [&str; 3] = ["TypeUrl", "BinaryName", "SystemdCgroup"];
