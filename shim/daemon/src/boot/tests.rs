//! The table of docs/reference.md about the shim's own environment.

use catamaran_cache::places::{self, BYTES_VARIABLE, FUNCTIONS_VARIABLE, ROOT_VARIABLE, SHARE_VARIABLE};
use catamaran_reference::{code, matches};

use super::start::EVENTS_VARIABLE;
use crate::native::PATH_VARIABLE;

#[test]
fn the_reference_has_every_variable_of_the_shim() {
    let rows = [
        (ROOT_VARIABLE, code(places::ROOT), "The folder of everything that outlives a container on a node, such as the cache.".to_owned()),
        (
            BYTES_VARIABLE,
            places::MOST_BYTES.to_string(),
            "The bytes on the disk that the machine code of all engines and versions may take.".to_owned(),
        ),
        (
            SHARE_VARIABLE,
            format!("a quarter of {}", code(BYTES_VARIABLE)),
            format!(
                "How many of these bytes the modules of one Kubernetes namespace may take. A quarter below {0} is raised to {0}, or \
                 to the whole cache if that is smaller.",
                places::LEAST_SHARE
            ),
        ),
        (
            FUNCTIONS_VARIABLE,
            code("on"),
            "Whether a compile takes over functions that other modules of its namespace have left ([the cache](node.md#the-cache)): `on` or `off`."
                .to_owned(),
        ),
        (
            PATH_VARIABLE,
            "none".to_owned(),
            "The folders in which [`native_runtime`](#options-of-the-handler) is looked for. Folders that are not absolute are left out."
                .to_owned(),
        ),
        (
            EVENTS_VARIABLE,
            "none".to_owned(),
            "Where containerd listens for events: set by containerd 2.0 to 2.2. Later versions pass it in the bootstrap message.".to_owned(),
        ),
    ];
    matches(
        "variables of the shim",
        ["variable", "without it", "meaning"],
        rows.map(|(name, without, means)| [code(name), without, means]),
    );
}
