//! Guests in Go.

use std::path::PathBuf;
use std::process::Command;

use sha2::{Digest, Sha256};

use super::built::{answer, built, kept, run};
use super::source;

/// Nothing is fetched: neither modules (there are none) nor another toolchain.
pub(crate) const GO_STAYS_HOME: [(&str, &str); 4] =
    [("GOFLAGS", "-mod=mod"), ("GOTOOLCHAIN", "local"), ("GOWORK", "off"), ("GOPROXY", "off")];

const WASIP1: [(&str, &str); 3] = [("GOOS", "wasip1"), ("GOARCH", "wasm"), ("CGO_ENABLED", "0")];

/// The first Go that knows `wasip1`.
const OLDEST_GO: (u32, u32) = (1, 21);

/// A module from `tests/guests/go/NAME.go`.
pub fn go(name: &str) -> Vec<u8> {
    compiled(name, "", &WASIP1)
}

fn compiled(name: &str, kind: &str, environment: &[(&str, &str)]) -> Vec<u8> {
    let path = source(&format!("go/{name}.go"));
    let version = go_version();
    assert!(go_is_new_enough(&version), "{version} is too old for the Go guests: install Go 1.21 or newer");
    built(&path, kind, &version, |target| {
        let mut command = Command::new("go");
        command
            .args(["build", "-trimpath", "-o"])
            .arg(target)
            .arg(&path)
            .envs(environment.iter().copied())
            .envs(GO_STAYS_HOME);
        command
    })
}

/// A tool of the machine's own Go as a module, such as `vet` (14 MB) and `compile` (49 MB), which takes a minute to build.
pub fn go_tool(name: &str) -> Vec<u8> {
    let version = go_version();
    assert!(go_is_new_enough(&version), "{version} is too old for the Go guests: install Go 1.21 or newer");
    kept(&format!("go-{name}"), &Sha256::digest(&version), |fresh| {
        let mut command = Command::new("go");
        command.args(["build", "-trimpath", "-o"]).arg(fresh).arg(format!("cmd/{name}"));
        command.envs(WASIP1).envs(GO_STAYS_HOME);
        run(command, &format!("Go's {name}"));
    })
}

/// The test program of a package of the machine's own Go, such as `io/fs`, as a module.
pub fn go_test(package: &str) -> Vec<u8> {
    kept(&format!("go-{}-test", package.replace('/', "-")), &Sha256::digest(go_version()), |fresh| {
        let mut command = Command::new("go");
        command.args(["test", "-c", "-vet=off", "-ldflags=-s -w", "-o"]).arg(fresh).arg(package);
        command.envs(WASIP1).envs(GO_STAYS_HOME);
        run(command, &format!("the tests of {package}"));
    })
}

/// The native program to compare a guest with, from `tests/guests/go/NAME.go`, as a static ELF.
pub fn go_native(name: &str) -> Vec<u8> {
    compiled(name, "-native", &[("CGO_ENABLED", "0")])
}

/// The version of the machine's Go, as it names it: `go1.26.8`.
///
/// # Panics
/// When there is none.
pub(crate) fn go_version() -> String {
    answer(Command::new("go").args(["env", "GOVERSION"]), "go", "install Go 1.21 or newer")
}

/// The folder of the machine's Go, with the sources of its packages below `src`.
///
/// # Panics
/// When there is none.
pub fn go_root() -> PathBuf {
    answer(Command::new("go").args(["env", "GOROOT"]), "go", "install Go 1.25 or newer").into()
}

fn go_is_new_enough(version: &str) -> bool {
    let Some(numbers) = version.trim().strip_prefix("go") else {
        // A build from Go's own repository: "devel ...".
        return version.starts_with("devel");
    };
    let mut numbers = numbers.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= OLDEST_GO
}

#[cfg(test)]
mod tests {
    use super::go_is_new_enough;

    #[test]
    fn a_version_of_go_is_compared_by_its_numbers() {
        for (version, enough) in [
            ("go1.20.14", false),
            ("go1.21", true),
            ("go1.21rc2", true),
            ("go1.26.8", true),
            ("go2.0", true),
            ("", false),
        ] {
            assert_eq!(go_is_new_enough(version), enough, "{version}");
        }
    }
}
