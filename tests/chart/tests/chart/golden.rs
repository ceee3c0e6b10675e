use std::path::Path;

use catamaran_chart_tests::helm::{Release, Tools};
use catamaran_chart_tests::matches_file;

use crate::{CASES, rendered};

#[test]
fn the_rendered_documents_are_the_reviewed_ones() {
    // The dashboard is a file of its own.
    for (name, values) in CASES.iter().filter(|(name, _)| *name != "dashboard") {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}.yaml"));
        matches_file(&file, &rendered(Release::with(values)));
    }
}

/// Helm 4 writes an empty line after each document.
fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty()).collect()
}

#[test]
fn both_helms_render_the_same_and_find_no_fault() {
    for (name, values) in CASES {
        let expected = rendered(Release::with(values));
        for helm in &Tools::provide().helms {
            let found = helm.lint(values).unwrap_or_else(|e| panic!("{name}: helm {} lint: {e}", helm.line));
            assert!(found.contains("0 chart(s) failed"), "{found}");
            let made =
                helm.template(Release::with(values)).unwrap_or_else(|e| panic!("{name}: helm {}: {e}", helm.line));
            assert_eq!(lines(&made), lines(&expected), "{name}: helm {}", helm.line);
        }
    }
}

/// By Helm 4 alone: Helm 3 shows no notes without a cluster.
#[test]
fn the_notes_say_what_to_do_with_these_values() {
    for (name, values) in CASES {
        let notes = Tools::provide().helms[0].notes(Release::with(values));
        let has = |words: &str| notes.contains(words);
        assert!(has("helm uninstall catamaran -n catamaran-system"), "{name}: {notes}");
        assert_eq!(has("helm test catamaran -n catamaran-system"), name != "little", "{name}: {notes}");
        assert_eq!(has("runtimeClass.create is false"), name == "little", "{name}: {notes}");
        assert_eq!(
            has("runtimeClassName: webassembly") && has("engine: wasmer"),
            name == "everything",
            "{name}: {notes}"
        );
    }
}
