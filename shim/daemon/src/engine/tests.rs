//! The tables of docs/reference.md about annotations and a server's variables.

use catamaran_cache::engine::{Engine, quoted};
use catamaran_cache::order::{COMMANDS_WORTH_TWO, SERVERS_WORTH_TWO};
use catamaran_reference::{code, plain};
use catamaran_worker::variables::{CERTIFICATES, HOME, PATH, WORKING_DIRECTORY};
use serde_json::json;

use super::annotations::{Annotation, Annotations, Key};
use super::http::{self, Http};
use super::values::Form;
use super::{choice, engine_variable, values};
use crate::error::Result;
use crate::spec::oci::Spec;

/// A row of the table of annotations.
struct Row {
    key: Key,
    values: String,
    without: &'static str,
    means: String,
}

fn row<T>(annotation: &Annotation<T>, means: impl Into<String>) -> Row {
    let Annotation { key, form } = annotation;
    Row { key: *key, values: form.expected.to_owned(), without: form.without, means: means.into() }
}

/// Every annotation, and what it means.
fn rows() -> [Row; Key::ALL.len()] {
    let (commands, servers) = (COMMANDS_WORTH_TWO >> 10, SERVERS_WORTH_TWO >> 20);
    [
        Row {
            key: Key::ENGINE,
            values: quoted(&Engine::ALL),
            without: "the engine that the module needs, else the node's default_engine",
            means: "The engine, among those that the node allows.".to_owned(),
        },
        row(
            &choice::WORLD,
            "What the container's process is. A component that exports `wasi:http/incoming-handler` or `wasi:http/handler` and not \
             `wasi:cli/run` is a server; everything else is a command.",
        ),
        row(
            &choice::TIER,
            format!(
                "The code of a first start. Without the annotation, commands from {commands} KiB on start on fast code, servers only \
                 beyond {servers} MiB; later starts use the best code."
            ),
        ),
        row(&http::LISTEN, "The address at which a server listens."),
        row(&http::MOST_REQUESTS, "How many requests a server handles at once."),
        row(&http::REQUEST_TIMEOUT, "The time for a request, until its response begins."),
        row(
            &http::INSTANCE_REUSE,
            "How many requests one instance handles: of WASI 0.2 one after the other, of 0.3 up to 16 at once.",
        ),
        row(&http::INSTANCE_MEMORY, "The memory of one instance."),
        row(&http::MOST_BODY, "The size of a request's body: a longer one is answered 413."),
        row(&http::LAME_DUCK, "How long a stopping server still accepts connections."),
        row(&http::TLS, "The server's certificate: it speaks TLS only."),
    ]
}

#[test]
fn the_reference_has_every_annotation() {
    assert_eq!(rows().map(|row| row.key), Key::ALL);
    let cells = |row: Row| [code(row.key), plain(&row.values), plain(row.without), row.means];
    catamaran_reference::matches("annotations", ["annotation", "values", "without it", "meaning"], rows().map(cells));
}

#[test]
fn the_reference_has_every_variable_that_guests_get() {
    let rows = [
        (engine_variable::VARIABLE, format!("The engine's name: {}.", plain(&quoted(&Engine::ALL)))),
        (HOME, "The home directory of the container's user in the image's `/etc/passwd`, else `/`.".to_owned()),
        (
            WORKING_DIRECTORY,
            "The working directory, for modules of WASI preview 1 and components, which have no other way to know it."
                .to_owned(),
        ),
    ];
    let rows = rows.map(|(name, value)| [code(name), value]);
    catamaran_reference::matches("variables that guests get", ["variable", "value"], rows);
}

#[test]
fn the_reference_has_every_variable_of_guests_that_is_read() {
    fn of_server<T>(name: &str, form: &Form<T>, means: &str) -> [String; 4] {
        [code(name), plain(form.expected), plain(form.without), means.to_owned()]
    }
    let read = |name: &str, values: &str, without: &str, means: &str| {
        [code(name), plain(values), plain(without), means.to_owned()]
    };
    let rows = [
        of_server(http::RUNWASI_ADDRESS, &http::ADDRESS, "Where a server listens, as runwasi's shims read it."),
        of_server(http::SPIN_ADDRESS, &http::ADDRESS, "The same, as Spin reads it and its operator sets it."),
        of_server(http::PORT, &http::PORT_FORM, "The same, as Knative and Cloud Run set it."),
        of_server(http::BACKLOGS[0], &http::BACKLOG, "How many connections wait to be accepted by a server."),
        of_server(http::BACKLOGS[1], &http::BACKLOG, "The same; the first name takes precedence."),
        read(
            PATH,
            "folders, with a colon between two",
            "the working directory alone",
            "Where a command without a slash, the container's or an exec's, is looked for before the working directory.",
        ),
        read(
            CERTIFICATES,
            "a file in the container, of certificates as PEM",
            "those of the container's image, else those that Catamaran brings",
            "The certificates that a component's HTTPS requests trust.",
        ),
    ];
    let columns = ["variable", "values", "without it", "meaning"];
    catamaran_reference::matches("variables of guests", columns, rows);
}

fn http(annotations: serde_json::Value) -> Result<Http> {
    let spec: Spec = serde_json::from_value(json!({"ociVersion": "1.2.0", "annotations": annotations})).unwrap();
    Http::new(&Annotations::new(&spec))
}

/// Returns the next value above or below this one.
fn beside(text: &str, above: bool) -> Option<String> {
    let moved = |n: u64| if above { n.checked_add(1) } else { n.checked_sub(1) };
    match (text.parse().ok(), values::duration(text), values::bytes(text)) {
        (Some(n), ..) => moved(n).map(|n| n.to_string()),
        (None, Some(duration), _) => moved(duration.as_millis() as u64).map(|n| format!("{n}ms")),
        (None, None, bytes) => moved(bytes.unwrap()).map(|n| n.to_string()),
    }
}

#[test]
fn the_documented_defaults_and_bounds_are_those_in_force() {
    let none = http(json!({})).unwrap();
    let with = |key: Key, value: &str| http(json!({key.to_string(): value}));
    let (mut defaults, mut bounds) = (0, 0);
    for row in rows() {
        let Row { key, values, without, .. } = row;
        // The other defaults are not a value to write, or depend on the version of WASI.
        if [Key::MOST_REQUESTS, Key::REQUEST_TIMEOUT, Key::LAME_DUCK].contains(&key) {
            assert_eq!(with(key, without).unwrap(), none, "{key}: {without}");
            defaults += 1;
        }
        let words: Vec<_> = values.split([' ', ',']).collect();
        let from = words.windows(4).find(|words| words[0] == "from" && words[2] == "to");
        let Some(&[_, least, _, most]) = from.filter(|_| key != Key::LISTEN) else { continue };
        for (bound, above) in [(least, false), (most, true)] {
            with(key, bound).unwrap();
            if let Some(beyond) = beside(bound, above) {
                assert!(with(key, &beyond).is_err(), "{key}: {beyond} is taken, beyond {bound}");
            }
        }
        bounds += 1;
    }
    assert_eq!((defaults, bounds), (3, 5));
    let listen = |without: &str| with(Key::LISTEN, without.rsplit(' ').next().unwrap()).unwrap().said.listen;
    assert_eq!(listen(http::LISTEN.form.without), none.said.listen);
    assert_eq!(listen(http::PORT_FORM.without), none.said.listen);
    assert_eq!(http::BACKLOG.without, none.said.backlog.to_string());
}
