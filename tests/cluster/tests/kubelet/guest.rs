//! The images of the tests' pods, and manifests of pods that run them.

use catamaran_cluster::Cluster;
use catamaran_harness::{Engine, Example, Image, guests};
use catamaran_integration::{net, rust_guest};

/// All commands of the tests: `/kitchen.wasm` (tests/guests/c/kitchen.c) and `/NAME.wasm` for each of `NAMES` (tests/guests/NAME.wat), for
/// either engine; and `/grpc.wasm` (tests/guests/wasix/grpc.c), for Wasmer alone.
pub(crate) const GUESTS: &str = "localhost/test/guests:latest";
/// A shell and small programs.
pub(crate) const BUSYBOX: &str = "localhost/test/busybox:latest";
const NAMES: [&str; 8] = ["sleep", "exit", "trap", "spin", "env", "args", "cat", "hello"];

fn guests_image() -> Image {
    let image = Image::new("guests").file("/kitchen.wasm", guests::c("kitchen"));
    let image = NAMES.iter().fold(image, |image, name| image.file(&format!("/{name}.wasm"), guests::wat(name)));
    let image = image.file("/grpc.wasm", guests::wasix("grpc"));
    image.dir("/tmp", 0o1777, 0, 0).entrypoint(["/sleep.wasm"])
}

/// Imports all images of the tests.
pub(crate) fn import_all(cluster: &Cluster) {
    let servers =
        [guests::of("http-server", guests::http("server")), guests::of("service", rust_guest("wasi3-server"))];
    for image in [guests_image(), guests::busybox(), net()].into_iter().chain(servers) {
        cluster.import(&image);
    }
    let server = guests::http("server");
    cluster.import_as(&guests::of("wasi-demo-http", &server), SERVER_FILE);
    cluster.import_as(
        &Image::new("hello-layer").blob("application/vnd.wasm.content.layer.v1+wasm", &server),
        SERVER_LAYER,
    );
    for name in Example::all() {
        cluster.import_example(&name);
    }
}

/// A component that exports `wasi:http/incoming-handler` (tests/guests/http/server.c).
pub(crate) const SERVER: &str = "localhost/test/http-server:latest";
/// The same component as a file of an image whose tag is not `latest`, so that the kubelet does not pull it.
pub(crate) const SERVER_FILE: &str = "localhost/test/wasi-demo-http:1";
/// The same as the image's only layer.
pub(crate) const SERVER_LAYER: &str = "localhost/test/hello-layer:1";
/// A component of WASI 0.3, which also answers gRPC (tests/guests/rust/wasi3-server).
pub(crate) const SERVICE: &str = "localhost/test/service:latest";

/// The image and the arguments of a web server on this engine, and its port.
pub(crate) fn web(engine: Engine) -> (&'static str, &'static str, u16) {
    match engine {
        Engine::Wasmtime => ("localhost/test/component-net:latest", r#"["/net.wasm", "web"]"#, 7000),
        Engine::Wasmer => ("localhost/wasix-server:latest", r#"["/server.wasm", "7000"]"#, 7000),
    }
}

/// Indents each line of a text by this number of blanks.
pub(crate) fn indented(text: &str, blanks: usize) -> String {
    text.trim_matches('\n').lines().map(|line| format!("{:blanks$}{line}\n", "")).collect()
}

/// The common part of the manifests of pods and pod templates: annotations, labels and specification.
pub(crate) fn template(labels: &str, engine: Engine, spec: &str) -> String {
    format!(
        "metadata:\n  labels: {{{labels}}}\n  annotations: {{catamaran.wasm/engine: {}}}\nspec:\n  \
         runtimeClassName: catamaran\n  terminationGracePeriodSeconds: 5\n{}",
        engine.name(),
        indented(spec, 2)
    )
}

/// A pod of this name; `spec` is its specification besides the runtime class.
pub(crate) fn pod(name: &str, engine: Engine, spec: &str) -> String {
    let rest = template(&format!("app: {name}"), engine, spec);
    format!("apiVersion: v1\nkind: Pod\n{}", rest.replacen("metadata:\n", &format!("metadata:\n  name: {name}\n"), 1))
}

/// A pod of one container, `main`, that is not restarted: its command in JSON, and more lines of the container.
pub(crate) fn once(name: &str, engine: Engine, command: &str, more: &str) -> String {
    let rest = indented(more, 2);
    pod(
        name,
        engine,
        &format!(
            "restartPolicy: Never\ncontainers:\n- name: main\n  image: {GUESTS}\n  imagePullPolicy: Never\n  command: {command}\n{rest}"
        ),
    )
}
