# Catamaran's targets; `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Kept outside the clone: an unpacked containerd, built guests and, in CI, cargo's target folder.
export CATAMARAN_CACHE ?= $(HOME)/.cache/catamaran
ifeq ($(CI),true)
export CARGO_TARGET_DIR ?= $(CATAMARAN_CACHE)/target
else
export CARGO_TARGET_DIR ?= $(CURDIR)/target
endif

CARGO ?= cargo
TRIPLE := $(shell rustc -vV | sed -n 's/^host: //p')
# Workspaces of their own, with lock files of their own; the root's Cargo.toml says why.
WASMER_COMPILE := --manifest-path shim/wasmer-compile/Cargo.toml
HOLDER := --manifest-path shim/holder/Cargo.toml
BENCH_BIN := $(CARGO_TARGET_DIR)/$(TRIPLE)/release

.PHONY: help
help: ## Print what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

.PHONY: prepare
prepare:
	tests/harness/prepare

.PHONY: build
build: ## Build the shim, its holder, its workers and its compilers (the profile of demo and tests)
	shim/build

.PHONY: release
release: ## Build what is shipped and benchmarked
	shim/build --release

# Where releases are packed.
OUT ?= $(CARGO_TARGET_DIR)/dist
DIST := $(CARGO) run --locked -q -p catamaran-dist --
# Parts of `make index`: ARCHIVES="a.tar b.tar".
ARCHIVES ?=
# Images to write: IMAGES="installer examples/hello"; without it, all of them.
IMAGES ?=

.PHONY: image
image: release ## Write the images as OCI archives (IMAGES, OUT)
	$(DIST) image --programs $(BENCH_BIN) --out $(OUT) $(IMAGES)

.PHONY: dist
dist: release ## Write the tarball for installing by hand, its bill of materials and licences, and SHA256SUMS (OUT)
	$(DIST) tarball --programs $(BENCH_BIN) --out $(OUT)
	$(DIST) checksums $(OUT)

.PHONY: index
index: ## Join the archives of one image for several processors (ARCHIVES) into one (OUT=FILE)
	$(DIST) index --out $(OUT) $(ARCHIVES)

.PHONY: checksums
checksums: ## Write SHA256SUMS of a folder of a release (OUT)
	$(DIST) checksums $(OUT)

# Where `make talos` lays out the extension.
EXTENSION ?= $(CARGO_TARGET_DIR)/talos

.PHONY: talos
talos: release ## Lay out the folder of a Talos system extension (EXTENSION)
	shim/node/talos $(BENCH_BIN) $(EXTENSION)

.PHONY: demo-build
demo-build:
	tests/harness/prepare demo
	shim/build --demo

.PHONY: demo
demo: demo-build ## Run Wasm programs on both engines under a private containerd and show them
	$(CARGO) run --locked -q -p catamaran-harness --example demo

.PHONY: picture
picture: demo-build ## Make docs/demo.svg, README's picture, from what the demonstration shows
	$(CARGO) run --locked -q -p catamaran-harness --example demo >$(CARGO_TARGET_DIR)/demo.txt
	tests/harness/picture <$(CARGO_TARGET_DIR)/demo.txt >docs/demo.svg

# Names of test programs: TESTS="pods harness"; without it, all of them.
TESTS ?=

.PHONY: test
test: prepare build ## Run every test, and list what failed; root, and fails where it cannot run (TESTS)
	tests/all $(TESTS)

.PHONY: attacks
attacks: prepare build ## Attack from a worker that was broken into and from a guest, and print what denied each attack; root
	$(CARGO) test --locked -p catamaran-attacks --tests -- --nocapture

# The number of points to try in each step: 1000 covers all of its system calls. ROW="shim of a pod" tries that row alone,
# ROW=wasmtime-http the rows with a server.
POINTS ?= 16

.PHONY: faults
faults: prepare build ## Kill every process of a container's life at each step of it, and print a table of what was left; root (POINTS, ROW)
	CATAMARAN_FAULTS="$(strip $(POINTS) $(ROW))" $(CARGO) test --locked -p catamaran-faults --tests -- --nocapture

# Parts of the names of the specs to try, in critest or conformance: SPECS="NoNewPrivs"; without it, all of them.
SPECS ?=

.PHONY: critest
critest: prepare build ## Run Kubernetes' critest on runc's handler and on ours, and print where the results differ; root (SPECS)
	$(CARGO) run --locked -q -p catamaran-critest -- $(if $(SPECS),"$(SPECS)")

# Suites, Go's packages or CPython's modules: PARTS="cpython io/fs net"; without it, all of them.
PARTS ?=

.PHONY: suites
suites: prepare build ## Run the tests of Go's standard library and CPython's of files on both engines, and print a table; root (PARTS)
	$(CARGO) run --locked -q -p catamaran-suites -- $(PARTS)

# Parts of names of tests through the kubelet: CASES="probe volume"; without it, all of them.
CASES ?=
# Another line of containerd, built from its Go module: CONTAINERD=2.4.
CONTAINERD ?=
# The folder that `cluster-up` writes, by which `cluster-down` finds the cluster.
CLUSTER := $(CARGO_TARGET_DIR)/cluster

.PHONY: cluster
cluster: prepare build ## Run pods through a whole Kubernetes on both engines; root (CASES, CONTAINERD)
	CATAMARAN_CONTAINERD=$(CONTAINERD) $(CARGO) test --locked -q -p catamaran-cluster --test kubelet --test by_hand --test chart -- $(CASES)

# Which runtimes the suite runs on, in this order: ON=catamaran leaves out the comparison.
ON ?= runc catamaran

.PHONY: conformance
conformance: prepare build ## Run Kubernetes' own suite with Catamaran as the node's default runtime, and on runc; root (SPECS, ON, CONTAINERD)
	CATAMARAN_CONTAINERD=$(CONTAINERD) $(CARGO) run --locked -q -p catamaran-cluster --bin catamaran-conformance -- $(ON:%=--on %) $(if $(SPECS),"$(SPECS)")

.PHONY: conformance-sample
conformance-sample: prepare build ## Run ten specs of Kubernetes' own suite; root (ON, CONTAINERD)
	CATAMARAN_CONTAINERD=$(CONTAINERD) $(CARGO) run --locked -q -p catamaran-cluster --bin catamaran-conformance -- $(ON:%=--on %) --sample

.PHONY: cluster-up
cluster-up: prepare build ## Start a Kubernetes of one node for use by hand, with the images of examples/; root
	CATAMARAN_CONTAINERD=$(CONTAINERD) $(CARGO) run --locked -q -p catamaran-cluster --bin catamaran-cluster -- up $(CLUSTER)

.PHONY: cluster-down
cluster-down: ## End the cluster of cluster-up, and remove the remains of killed ones; root
	$(CARGO) run --locked -q -p catamaran-cluster --bin catamaran-cluster -- down $(CLUSTER)

# The machine is some fifteen times slower, so only tests run there whose outcome depends on the kernel, systemd or AppArmor.
# The skipped tests of `update` need files on a disk, and the machine's files are in its memory.
MACHINE_TESTS ?= machine:--ignored lifecycle:--skip,many_creations,--skip,signals_end processes:--skip,intermediates \
	guest:an_image_of_many_layers_is_mounted catamaran-harness/leftovers:planted,--include-ignored resources cri \
	pods:a_holder_ends,annotation_share native:events_of_a_native,what_its_spec_gives native_exec:terminal native_ends:paused,limits_of_a_native stats:--skip,a_thousand oom:--skip,on_runc pause update:--skip,breaks_off catamaran-node-tests/systemd:--ignored catamaran-attacks/table

.PHONY: machine
machine: prepare build ## Run tests in an emulated machine with cgroup v2, systemd, AppArmor (SUITE=forky: a new kernel)
	tests/machine/run $(if $(SUITE),--suite $(SUITE)) $(MACHINE_TESTS)

# BLESS=1 accepts the present output as right: in `make chart` the rendered objects and README's table, in `make reference` the code's tables.
BLESS ?=

.PHONY: chart
chart: prepare ## Lint the Helm chart, render it by both Helms, try good and bad values, check the objects for Kubernetes 1.30 to 1.37 (BLESS)
	BLESS=$(BLESS) $(CARGO) test --locked -q -p catamaran-chart-tests -- --nocapture

.PHONY: reference
reference: ## Compare the tables of docs/reference.md with the code, or write them anew (BLESS=1)
	BLESS=$(BLESS) $(CARGO) test --locked -q -p catamaran-daemon --lib the_reference_has
	BLESS=$(BLESS) $(CARGO) test --locked -q -p catamaran-node the_reference_has
	BLESS=$(BLESS) $(CARGO) test --locked -q -p catamaran-helper --lib the_reference_has
	BLESS=$(BLESS) $(CARGO) test --locked -q -p catamaran-labeller the_reference_has
	$(CARGO) test --locked -q -p catamaran-reference

.PHONY: lint
lint: ## rustfmt, clippy with warnings denied, the layering rules, import circles, the links and error texts of the documents, the chart where a Helm was built, shellcheck and cargo-deny where they are installed
	$(CARGO) fmt --all --check
	$(CARGO) fmt $(WASMER_COMPILE) --check
	$(CARGO) fmt $(HOLDER) --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked $(WASMER_COMPILE) --all-targets -- -D warnings
	$(CARGO) clippy --locked $(HOLDER) -- -D warnings
	tests/layering
	tests/circles --self-test
	tests/circles
	tests/links --self-test
	tests/links
	tests/texts --self-test
	tests/texts
	if helm=$$(tests/harness/provision-helm 4 --built); then "$$(sed -n 's/^helm=//p' <<<"$$helm")" lint --strict charts/catamaran; else echo "lint: charts/catamaran is left out, since no Helm was built yet: make chart"; fi
	if command -v shellcheck >/dev/null; then shellcheck -S warning -x .ci/run shim/build shim/node/talos tests/all tests/layering tests/links tests/texts tests/harness/steps.sh tests/harness/go-module.sh tests/fuzz/run tests/bench/provision-serve tests/chart/provision tests/cluster/provision tests/cluster/provision-suite tests/critest/provision tests/suites/provision-cpython tests/harness/picture tests/harness/prepare tests/harness/provision tests/harness/provision-containerd tests/harness/provision-helm tests/harness/provision-protos tests/harness/provision-busybox tests/harness/provision-clang tests/harness/provision-cni tests/harness/provision-rust examples/wasix-server/build tests/machine/program tests/machine/provision tests/machine/run tests/machine/root/init tests/machine/root/machine/main; fi
	if command -v cargo-deny >/dev/null; then $(CARGO) deny --locked check && $(CARGO) deny --locked $(WASMER_COMPILE) check --config deny.toml; fi

.PHONY: bench
bench: prepare release ## Measure this shim on both engines beside runc and VERSUS=/path/to/another/shim, interleaved
	CATAMARAN_BIN=$(BENCH_BIN) $(CARGO) run --locked --release -q -p catamaran-bench

.PHONY: engines
engines: prepare release ## Compare both engines by `catamaran compare`, and print the tables of docs/engines.md, or write them there (BLESS=1); root
	BLESS=$(BLESS) CATAMARAN_BIN=$(BENCH_BIN) $(CARGO) run --locked --release -q -p catamaran-bench --bin catamaran-engines

MINUTES ?= 20

.PHONY: soak
soak: prepare build ## Test every order of calls, floods of 200 starts and 100,000 requests to a server, then print what MINUTES (20) of mixed load make grow; root
	$(CARGO) test --locked -p catamaran-integration --test order --test floods --test http_soak -- --ignored --nocapture
	$(CARGO) run --locked -q -p catamaran-soak -- $(MINUTES)

# A target of tests/fuzz/corpus; without, all of them. MINUTES is each one's.
TARGET ?=

.PHONY: fuzz
fuzz: ## Give each fuzz target MINUTES (20), or TARGET alone, and print what was found; needs a C++ compiler
	tests/fuzz/run $(MINUTES) $(TARGET)

.PHONY: clean
clean: ## Remove what was built here; the cache outside the clone stays
	$(CARGO) clean
