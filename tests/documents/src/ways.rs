//! The table of all commands.

/// How a command is kept true.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// A test takes it from the pages and runs it, or compares it with what it runs.
    Test {
        /// The test's file.
        file: &'static str,
        /// The test's function.
        name: &'static str,
    },
    /// CI runs it: it is a step of `.ci/run`.
    Ci,
    /// Nothing here can run it, for this reason.
    NotHere(&'static str),
}

const fn test(file: &'static str, name: &'static str) -> Way {
    Way::Test { file, name }
}

const DOCKER: &str =
    "needs Docker's daemon, which no machine of the tests has; the harness packs what the Dockerfile says";
const DOWNLOAD: &str = "changes the machine's toolchain, by a download; the harness fetches Debian's compilers";
const RELEASE: &str = "needs a release that is published and signed, and there is none yet";
const LOADERS: &str = "not on the machines of the tests, which read the same archive by `ctr images import`";

/// Every command of the pages, by what runs it.
pub const WAYS: &[(Way, &[&str])] = &[
    (Way::Ci, &["make demo"]),
    (
        test("tests/integration/tests/documents.rs", "hello_greets_as_the_readmes_say"),
        &[
            "ctr images import hello.tar",
            "ctr run --rm --runtime io.containerd.catamaran.v1 localhost/hello:latest hello",
        ],
    ),
    (
        test("tests/integration/tests/documents.rs", "each_toolchains_section_builds_a_program_that_runs"),
        &[
            "GOOS=wasip1 GOARCH=wasm go build -o app.wasm .",
            "cargo build --release --target wasm32-wasip1",
            "cargo build --release --target wasm32-wasip2",
            "clang --target=wasm32-wasi -O2 app.c -o app.wasm",
            "clang --target=wasm32-wasi -O2 -pthread -matomics -mbulk-memory -mmutable-globals -ftls-model=local-exec app.c -o app.wasm \
             -Wl,--import-memory,--export-memory,--shared-memory,--max-memory=268435456 \
             -Wl,--export=__stack_pointer,--export=__heap_base,--export=__data_end \
             -Wl,--export=__wasm_init_tls,--export=__wasm_signal,--export=__tls_size,--export=__tls_align,--export=__tls_base",
        ],
    ),
    // Each example is built by its Dockerfile's lines, in `examples.rs` and `example_pods.rs` beside it.
    (
        test("tests/integration/tests/documents.rs", "the_examples_readmes_build_as_their_dockerfiles_do"),
        &[
            "wat2wasm hello.wat -o hello.wasm",
            "GOOS=wasip1 GOARCH=wasm go build -o go-hello.wasm main.go",
            "wit-bindgen go http.wit",
            "go mod tidy",
            "GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags=-checklinkname=0 -o core.wasm .",
            "wasm-tools component embed http.wit core.wasm -o embedded.wasm",
            "wasm-tools component new --adapt wasi_snapshot_preview1.reactor.wasm embedded.wasm -o server.wasm",
            "npm install",
            "npm run build",
            "./build",
            "pip install componentize-py==0.25.1",
            "componentize-py -d http.wit -w server componentize server -o server.wasm",
        ],
    ),
    (
        test("tests/integration/tests/go_client.rs", "a_go_program_runs_an_image_on_the_engine_that_it_names"),
        &["go build", "./go-client -tar hello.tar localhost/hello:latest"],
    ),
    (
        test("tests/node/tests/documents.rs", "an_administrators_commands_do_what_the_pages_say"),
        &[
            "catamaran install [--handler NAME] [--options-file FILE] [--from FOLDER] [--runwasi-names FOLDER]",
            "catamaran status",
            "catamaran doctor",
            "catamaran uninstall [--force]",
            "catamaran inspect FILE|IMAGE",
            "catamaran compare FILE|IMAGE [-- ARGS]",
            "catamaran cache list|prune|verify",
            "catamaran cache warm IMAGE...",
            "catamaran inspect hello.wasm",
            "catamaran inspect app.wasm",
            "catamaran compare registry.example/app:1.0 -- --size 1000",
        ],
    ),
    (
        test("dist/tests/documents.rs", "a_release_is_made_checked_and_loaded_as_the_pages_say"),
        &[
            "make image IMAGES=\"installer labeller examples/hello\"",
            "make image",
            "make dist",
            "make index ARCHIVES=\"A-linux-amd64.tar A-linux-arm64.tar\" OUT=A.tar",
            "sha256sum --ignore-missing -c SHA256SUMS",
            "ctr -n k8s.io images import catamaran-installer-VERSION-linux-amd64.tar",
            "for archive in target/dist/*-amd64.tar target/dist/catamaran-example-hello-*.tar; do kind load image-archive \"$archive\"; done",
            "for archive in target/dist/*-amd64.tar target/dist/catamaran-example-hello-*.tar; do minikube image load \"$archive\"; done",
            "for archive in *-amd64.tar catamaran-example-hello-*.tar; do k3s ctr images import \"$archive\"; done",
            "kind load image-archive catamaran-installer-VERSION-linux-amd64.tar",
            "minikube image load catamaran-installer-VERSION-linux-amd64.tar",
        ],
    ),
    (
        test("tests/cluster/tests/by_hand.rs", "a_cluster_is_used_and_leaves_nothing_however_it_ends"),
        &[
            "make cluster-up",
            ". target/cluster/environment",
            "kubectl apply -f examples/hello/pod.yaml",
            "kubectl wait --for=jsonpath='{.status.phase}'=Succeeded pod/hello",
            "kubectl logs hello",
            "make cluster-down",
        ],
    ),
    (
        test("tests/cluster/tests/kubelet/documents.rs", "the_pods_of_the_first_guide_greet_on_each_engine"),
        &[
            "kubectl apply -f pods.yaml",
            "kubectl wait --for=jsonpath='{.status.phase}'=Succeeded pod/hello-wasmtime pod/hello-wasmer",
            "kubectl logs hello-wasmtime",
            "kubectl logs hello-wasmer",
        ],
    ),
    (
        test("tests/cluster/tests/kubelet/documents.rs", "the_examples_answer_as_their_readmes_ask_them"),
        &[
            "kubectl apply -f pod.yaml",
            "kubectl wait --for=jsonpath='{.status.phase}'=Succeeded pod/go-hello",
            "kubectl logs go-hello",
            "kubectl wait --for=condition=Ready --timeout=5m pod/http-go",
            "kubectl wait --for=condition=Ready --timeout=5m pod/http-js",
            "kubectl wait --for=condition=Ready --timeout=5m pod/http-python",
            "kubectl wait --for=condition=Ready --timeout=5m pod/http-rust",
            "kubectl wait --for=condition=Ready --timeout=5m pod/wasix-server",
            "kubectl run ask --rm -i --restart=Never --image=busybox -- wget -qO- 'http://http-go/?name=Kubernetes'",
            "kubectl run ask --rm -i --restart=Never --image=busybox -- wget -qO- 'http://http-js/?name=Kubernetes'",
            "kubectl run ask --rm -i --restart=Never --image=busybox -- wget -qO- 'http://http-python/?name=Kubernetes'",
            "kubectl run ask --rm -i --restart=Never --image=busybox -- wget -qO- 'http://http-rust/?name=Kubernetes'",
            "kubectl run ask --rm -i --restart=Never --image=busybox -- wget -qO- http://wasix-server/",
        ],
    ),
    (
        test("tests/cluster/tests/chart.rs", "a_bare_cluster_is_made_ready_by_helm_upgraded_mended_and_left_as_it_was"),
        &[
            "helm install catamaran oci://ghcr.io/catamaran-wasm/charts/catamaran --namespace catamaran-system --create-namespace --wait",
            "helm install catamaran charts/catamaran --namespace catamaran-system --create-namespace --wait",
            "helm test catamaran --namespace catamaran-system",
            "helm upgrade catamaran oci://ghcr.io/catamaran-wasm/charts/catamaran --namespace catamaran-system --reuse-values --set options.default_engine=wasmer",
            "helm uninstall catamaran --namespace catamaran-system",
            "kubectl label namespace catamaran-system pod-security.kubernetes.io/enforce=privileged",
            "kubectl run hello -i --rm --restart=Never --image=ghcr.io/catamaran-wasm/examples/hello:0.1.0 --overrides='{\"spec\": {\"runtimeClassName\": \"catamaran\"}}'",
        ],
    ),
    (
        Way::NotHere(DOCKER),
        &[
            "docker build -t localhost/hello:latest .",
            "docker save localhost/hello:latest -o hello.tar",
            "docker build -t localhost/go-hello:latest .",
            "docker build -t localhost/http-go:latest .",
            "docker build -t localhost/http-js:latest .",
            "docker build -t localhost/http-python:latest .",
            "docker build -t localhost/http-rust:latest .",
            "docker build -t localhost/wasix-server:latest .",
        ],
    ),
    (
        Way::NotHere(
            "starts a cluster in Docker's containers or in virtual machines, which no machine of the tests can",
        ),
        &["kind create cluster", "minikube start --container-runtime=containerd"],
    ),
    (
        Way::NotHere(DOWNLOAD),
        &[
            "rustup target add wasm32-wasip1",
            "rustup target add wasm32-wasip2",
            "cargo install wit-bindgen-cli wasm-tools",
        ],
    ),
    (
        Way::NotHere("a compiler that is on no machine of the tests, as the page says"),
        &["GOOS=wasip1 GOARCH=wasm tinygo build -o app.wasm .", "/opt/wasi-sdk/bin/clang -O2 app.c -o app.wasm"],
    ),
    (
        Way::NotHere("pulls from a registry, and no machine of the tests has one; with -tar the same program runs"),
        &["./go-client -engine wasmer registry.example/team/hello:1.0"],
    ),
    (
        Way::NotHere(LOADERS),
        &[
            "podman load -i catamaran-installer-VERSION-linux-amd64.tar",
            "skopeo copy oci-archive:catamaran-installer-VERSION-linux-amd64.tar docker://registry.example/catamaran-installer:VERSION",
        ],
    ),
    (
        Way::NotHere(RELEASE),
        &[
            "cosign verify-blob SHA256SUMS --bundle SHA256SUMS.sigstore.json \
         --certificate-oidc-issuer https://token.actions.githubusercontent.com \
         --certificate-identity-regexp '^https://github.com/catamaran-wasm/catamaran/\\.github/workflows/release\\.yml@refs/tags/v'",
            "cosign verify ghcr.io/catamaran-wasm/catamaran-installer:VERSION \
         --certificate-oidc-issuer https://token.actions.githubusercontent.com \
         --certificate-identity-regexp '^https://github.com/catamaran-wasm/catamaran/\\.github/workflows/release\\.yml@refs/tags/v'",
            "gh attestation verify catamaran-VERSION-linux-amd64.tar.gz --repo catamaran-wasm/catamaran",
        ],
    ),
];
