//! A native sidecar's program: looks into the workers of its pod.

fn main() {
    catamaran_attacks::sidecar::watch();
}
