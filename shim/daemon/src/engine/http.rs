//! Settings of an HTTP server: from its pod's annotations, its environment, and its limit of processor time.
//!
//! ```text
//! its address:  catamaran.wasm/http-listen > WASMTIME_HTTP_PROXY_SOCKET_ADDR > SPIN_HTTP_LISTEN_ADDR > PORT > [::]:8080
//! ```
//!
//! The annotations are read for every Wasm container, because the shim does not know yet which one is a server. The environment is read
//! only for a server, because a command may use the same variables for something else. The guest gets PORT, but not other runtimes'
//! variables.

use std::net::SocketAddr;
use std::time::Duration;

use catamaran_worker::job::Server;
use oci_spec::runtime::LinuxResources;

use crate::engine::annotations::{Annotation, Annotations, Key, Written};
use crate::engine::values::{self, Form, address, number};
use crate::error::{Error, Result};

/// The address variable of containerd's Wasm shims.
pub(super) const RUNWASI_ADDRESS: &str = "WASMTIME_HTTP_PROXY_SOCKET_ADDR";
/// The backlog variable of those shims: the name in their documents, and the name that they really read.
pub(super) const BACKLOGS: [&str; 2] = ["WASMTIME_HTTP_PROXY_BACKLOG", "WASMTIME_HTTP_BACKLOG"];
/// The address variable of Spin, which Spin's operator sets.
pub(super) const SPIN_ADDRESS: &str = "SPIN_HTTP_LISTEN_ADDR";
/// The port variable of Knative and Cloud Run, which the programs read too.
pub(super) const PORT: &str = "PORT";

const DEFAULT_PORT: u16 = 8080;
/// The default of the CPU controller's period, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;

const HOUR: u64 = 3600;

pub(super) const ADDRESS: Form<SocketAddr> = Form {
    parse: address,
    expected: "ADDRESS:PORT such as 0.0.0.0:8080, [ADDRESS]:PORT such as [::]:8080, or :PORT for every address of the pod; no \
               host name, and a port from 1 to 65535",
    without: "the address in the environment, else [::]:8080",
};
pub(super) const LISTEN: Annotation<SocketAddr> = Annotation { key: Key::LISTEN, form: ADDRESS };
pub(super) const MOST_REQUESTS: Annotation<u32> = Annotation {
    key: Key::MOST_REQUESTS,
    form: Form { parse: |text| number(text, 1..=4096), expected: "a number from 1 to 4096", without: "128" },
};
pub(super) const REQUEST_TIMEOUT: Annotation<Option<Duration>> = Annotation {
    key: Key::REQUEST_TIMEOUT,
    form: Form {
        parse: |text| match text {
            "none" => Some(None),
            text => duration(text, Duration::from_millis(1), Duration::from_secs(24 * HOUR)).map(Some),
        },
        expected: "a duration from 1ms to 24h, such as 500ms, 30s, 5m or 1h, or none for no limit",
        without: "60s",
    },
};
pub(super) const INSTANCE_REUSE: Annotation<u32> = Annotation {
    key: Key::INSTANCE_REUSE,
    form: Form {
        parse: |text| number(text, 1..=1_000_000),
        expected: "a number from 1 to 1000000",
        without: "1, or 128 for a component of WASI 0.3",
    },
};
pub(super) const INSTANCE_MEMORY: Annotation<u64> = Annotation {
    key: Key::INSTANCE_MEMORY,
    form: Form {
        parse: |text| values::bytes(text).filter(|bytes| (64 << 10..=4 << 30).contains(bytes)),
        expected: "a quantity from 64Ki to 4Gi, such as 64Mi, 500M or 1Gi",
        without: "no limit but the container's",
    },
};
pub(super) const MOST_BODY: Annotation<u64> = Annotation {
    key: Key::MOST_BODY,
    form: Form {
        parse: values::bytes,
        expected: "a quantity, such as 512Ki, 10M or 1Gi, or a number of bytes",
        without: "no limit",
    },
};
pub(super) const LAME_DUCK: Annotation<Duration> = Annotation {
    key: Key::LAME_DUCK,
    form: Form {
        parse: |text| duration(text, Duration::ZERO, Duration::from_secs(600)),
        expected: "a duration from 0s to 10m, such as 500ms, 5s or 1m",
        without: "0s",
    },
};
pub(super) const TLS: Annotation<String> = Annotation {
    key: Key::TLS,
    form: Form {
        parse: folder,
        expected: "the absolute path at which a volume with the secret is mounted, such as /etc/tls",
        without: "HTTP in clear",
    },
};
pub(super) const PORT_FORM: Form<SocketAddr> = Form {
    parse: |text| values::port(text).map(values::every_address),
    expected: "a port from 1 to 65535, of every address of the pod",
    without: "[::]:8080",
};
pub(super) const BACKLOG: Form<u32> = Form {
    parse: |text| number(text, 1..=i32::MAX as u32),
    expected: "a number of connections from 1 on",
    without: "1024",
};

/// The settings in a container's annotations, in case it is a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Http {
    /// The values of the annotations, or the defaults.
    pub(super) said: Server,
    /// Whether an annotation sets the address, so that the environment does not count.
    listens: bool,
}

impl Http {
    /// Reads all annotations of a server.
    ///
    /// # Errors
    /// If an annotation has an invalid value.
    pub(crate) fn new(annotations: &Annotations<'_>) -> Result<Self> {
        let placed = |written: Written<'_>| Ok::<_, Error>((written.read(&LISTEN.form)?, written.place()));
        let listen = annotations.get(LISTEN.key).map(placed).transpose()?;
        let listens = listen.is_some();
        let (listen, listen_from) =
            listen.unwrap_or_else(|| (values::every_address(DEFAULT_PORT), "the default".to_owned()));
        let default = Server::new(listen, listen_from);
        let said = Server {
            most_requests: annotations.read(&MOST_REQUESTS)?.unwrap_or(default.most_requests),
            request_timeout: annotations.read(&REQUEST_TIMEOUT)?.unwrap_or(default.request_timeout),
            instance_reuse: annotations.read(&INSTANCE_REUSE)?,
            instance_memory: annotations.read(&INSTANCE_MEMORY)?,
            most_body: annotations.read(&MOST_BODY)?,
            lame_duck: annotations.read(&LAME_DUCK)?.unwrap_or(default.lame_duck),
            tls: annotations.read(&TLS)?,
            ..default
        };
        Ok(Self { said, listens })
    }

    /// Returns the settings for the worker of a server with this environment and these limits.
    ///
    /// # Errors
    /// If a variable that counts has an invalid value.
    pub(crate) fn server(&self, env: &[(String, String)], resources: Option<&LinuxResources>) -> Result<Server> {
        let mut server = Server { processors: processors(resources), ..self.said.clone() };
        let of_environment = || {
            let read = [(RUNWASI_ADDRESS, &ADDRESS), (SPIN_ADDRESS, &ADDRESS), (PORT, &PORT_FORM)];
            read.into_iter().find_map(|(name, form)| variable(env, name, form)).transpose()
        };
        if !self.listens
            && let Some((listen, listen_from)) = of_environment()?
        {
            (server.listen, server.listen_from) = (listen, listen_from);
        }
        if let Some(backlog) = BACKLOGS.into_iter().find_map(|name| variable(env, name, &BACKLOG)) {
            server.backlog = backlog?.0;
        }
        Ok(server)
    }
}

/// Removes the variables of other runtimes from a server's environment, as those runtimes' own shims do.
pub(crate) fn without_consumed(env: &mut Vec<(String, String)>) {
    let consumed = |name: &str| name == RUNWASI_ADDRESS || name == SPIN_ADDRESS || BACKLOGS.contains(&name);
    env.retain(|(name, _)| !consumed(name));
}

/// Reads a variable, and returns its value and place; None if there is no such variable.
fn variable<T>(env: &[(String, String)], name: &str, form: &Form<T>) -> Option<Result<(T, String)>> {
    let (_, value) = env.iter().find(|(known, _)| known == name)?;
    let written = Written { key: name.to_owned(), kind: "environment variable", own: true, value };
    Some(written.read(form).map(|read| (read, written.place())))
}

/// Returns the number of processors that a quota of processor time is worth, rounded up; None without a quota.
fn processors(resources: Option<&LinuxResources>) -> Option<u32> {
    let cpu = resources?.cpu().as_ref()?;
    let quota = cpu.quota().and_then(|quota| u64::try_from(quota).ok()).filter(|quota| *quota > 0)?;
    let period = cpu.period().filter(|period| *period > 0).unwrap_or(DEFAULT_PERIOD);
    Some(u32::try_from(quota.div_ceil(period)).unwrap_or(u32::MAX))
}

/// Normalizes an absolute path without `.` and `..` to the form that a job's mounts have.
fn folder(text: &str) -> Option<String> {
    let names = text.strip_prefix('/')?.split('/').filter(|name| !name.is_empty());
    let path = names.fold(String::new(), |path, name| path + "/" + name);
    let plain = |path: &&String| !path.is_empty() && !path.split('/').any(|name| name == "." || name == "..");
    Some(path).filter(|path| plain(&path))
}

fn duration(text: &str, least: Duration, most: Duration) -> Option<Duration> {
    values::duration(text).filter(|duration| (least..=most).contains(duration))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::spec::oci::Spec;

    fn http(annotations: serde_json::Value) -> Result<Http> {
        let spec: Spec = serde_json::from_value(json!({"ociVersion": "1.2.0", "annotations": annotations})).unwrap();
        Http::new(&Annotations::new(&spec))
    }

    fn environment(env: &[(&str, &str)]) -> Vec<(String, String)> {
        env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_server_without_annotations_has_the_defaults() {
        let server = http(json!({})).unwrap().server(&[], None).unwrap();
        let expected = Server {
            listen: "[::]:8080".parse().unwrap(),
            listen_from: "the default".to_owned(),
            backlog: 1024,
            processors: None,
            most_requests: 128,
            request_timeout: Some(Duration::from_secs(60)),
            instance_reuse: None,
            instance_memory: None,
            most_body: None,
            lame_duck: Duration::ZERO,
            tls: None,
        };
        assert_eq!(server, expected);
    }

    #[test]
    fn every_annotation_of_a_server_is_read() {
        let server = http(json!({
            "catamaran.wasm/http-listen": "127.0.0.1:80",
            "catamaran.wasm/http-max-concurrent-requests": "4096",
            "catamaran.wasm/http-request-timeout": "none",
            "catamaran.wasm/http-instance-reuse": "1000000",
            "catamaran.wasm/http-instance-memory": "64Ki",
            "catamaran.wasm/http-max-request-body": "0",
            "catamaran.wasm/http-lame-duck": "10m",
        }));
        let server = server.unwrap().server(&[], None).unwrap();
        assert_eq!(server.listen, "127.0.0.1:80".parse().unwrap());
        assert_eq!(server.listen_from, "annotation catamaran.wasm/http-listen");
        assert_eq!((server.most_requests, server.request_timeout), (4096, None));
        assert_eq!((server.instance_reuse, server.instance_memory), (Some(1_000_000), Some(65536)));
        assert_eq!((server.most_body, server.lame_duck), (Some(0), Duration::from_secs(600)));
    }

    #[test]
    fn a_value_that_does_not_parse_names_its_key_and_what_to_write() {
        for (key, value, words) in [
            ("http-listen", "localhost:80", "no host name"),
            ("http-listen", "8080", ":PORT for every address"),
            ("http-listen", "0.0.0.0:0", "from 1 to 65535"),
            ("http-max-concurrent-requests", "0", "from 1 to 4096"),
            ("http-max-concurrent-requests", "4097", "from 1 to 4096"),
            ("http-request-timeout", "0s", "from 1ms to 24h"),
            ("http-request-timeout", "24h1ms", "or none for no limit"),
            ("http-request-timeout", "30", "such as 500ms, 30s"),
            ("http-request-timeout", "None", "or none for no limit"),
            ("http-instance-reuse", "1000001", "from 1 to 1000000"),
            ("http-instance-reuse", "0", "from 1 to 1000000"),
            ("http-instance-memory", "65535", "from 64Ki to 4Gi"),
            ("http-instance-memory", "4.1Gi", "from 64Ki to 4Gi"),
            ("http-instance-memory", "64MB", "such as 64Mi"),
            ("http-max-request-body", "-1", "a quantity"),
            ("http-lame-duck", "601s", "from 0s to 10m"),
            ("http-lame-duck", "", "such as 500ms"),
        ] {
            for suffix in ["", ".web"] {
                let key = format!("catamaran.wasm/{key}{suffix}");
                let said = http(json!({"io.kubernetes.cri.container-name": "web", &key: value}));
                let said = said.map(drop).unwrap_err().to_string();
                assert!(said.contains(&format!("annotation {key}: {value:?}")) && said.contains(words), "{said}");
            }
        }
    }

    #[test]
    fn a_servers_address_comes_from_the_first_source_that_has_one() {
        let none = http(json!({})).unwrap();
        let all = [(PORT, "1"), (SPIN_ADDRESS, "0.0.0.0:2"), (RUNWASI_ADDRESS, "[::1]:3")];
        for (http, env, listen, from) in [
            (
                http(json!({"catamaran.wasm/http-listen": ":4"})).unwrap(),
                &all[..],
                "[::]:4",
                "annotation catamaran.wasm/http-listen",
            ),
            (none.clone(), &all, "[::1]:3", "environment variable WASMTIME_HTTP_PROXY_SOCKET_ADDR"),
            (none.clone(), &all[..2], "0.0.0.0:2", "environment variable SPIN_HTTP_LISTEN_ADDR"),
            (none.clone(), &all[..1], "[::]:1", "environment variable PORT"),
            (none, &[], "[::]:8080", "the default"),
        ] {
            let server = http.server(&environment(env), None).unwrap();
            assert_eq!((server.listen.to_string().as_str(), server.listen_from.as_str()), (listen, from));
        }
    }

    #[test]
    fn a_variable_that_counts_and_does_not_parse_is_refused_by_name() {
        let none = http(json!({})).unwrap();
        for (name, value) in [
            (PORT, "http"),
            (PORT, ""),
            (PORT, "tcp://10.0.0.1:80"),
            (SPIN_ADDRESS, "80"),
            (RUNWASI_ADDRESS, "localhost:80"),
            (BACKLOGS[0], "0"),
            (BACKLOGS[1], "many"),
        ] {
            let said = none.server(&environment(&[(name, value)]), None).unwrap_err().to_string();
            assert!(said.contains(&format!("environment variable {name}: {value:?}")), "{said}");
        }
        // The variable does not count if an annotation sets the address.
        let listen = http(json!({"catamaran.wasm/http-listen": ":80"})).unwrap();
        listen.server(&environment(&[(PORT, "http"), (SPIN_ADDRESS, "")]), None).unwrap();
    }

    #[test]
    fn the_backlog_has_two_names() {
        let http = http(json!({})).unwrap();
        let backlog = |env: &[(&str, &str)]| http.server(&environment(env), None).unwrap().backlog;
        assert_eq!(backlog(&[(BACKLOGS[1], "7")]), 7);
        assert_eq!(backlog(&[(BACKLOGS[1], "7"), (BACKLOGS[0], "8")]), 8);
    }

    #[test]
    fn variables_for_other_runtimes_are_not_passed_to_the_guest() {
        let names = [PORT, SPIN_ADDRESS, RUNWASI_ADDRESS, BACKLOGS[0], BACKLOGS[1], "PATH"];
        let mut env = environment(&names.map(|name| (name, "1")));
        without_consumed(&mut env);
        assert_eq!(env, environment(&[(PORT, "1"), ("PATH", "1")]));
    }

    #[test]
    fn a_cpu_quota_is_rounded_up_to_whole_processors() {
        for (cpu, expected) in [
            (json!({}), None),
            (json!({"quota": -1, "period": 100_000}), None),
            (json!({"quota": 0, "period": 100_000}), None),
            (json!({"quota": 1, "period": 100_000}), Some(1)),
            (json!({"quota": 100_000, "period": 100_000}), Some(1)),
            (json!({"quota": 100_001, "period": 100_000}), Some(2)),
            (json!({"quota": 250_000}), Some(3)),
            (json!({"quota": 50_000, "period": 10_000}), Some(5)),
            (json!({"quota": 50_000, "period": 0}), Some(1)),
            (json!({"quota": i64::MAX, "period": 1}), Some(u32::MAX)),
        ] {
            let resources: LinuxResources = serde_json::from_value(json!({"cpu": cpu})).unwrap();
            assert_eq!(processors(Some(&resources)), expected, "{cpu}");
        }
        assert_eq!(processors(None), None);
    }
}
