use std::path::Path;

use catamaran_chart_tests::helm::{Release, Tools};
use catamaran_chart_tests::matches_file;

use crate::{CASES, rendered};

#[test]
fn what_is_rendered_is_what_was_looked_at() {
    // The dashboard is a file of its own.
    for (name, values) in CASES.iter().filter(|(name, _)| *name != "dashboard") {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}.yaml"));
        matches_file(&file, &rendered(Release::with(values)));
    }
}

#[test]
fn both_helms_render_the_same_and_find_no_fault() {
    for (name, values) in CASES {
        for helm in &Tools::provide().helms {
            let found = helm.lint(values).unwrap_or_else(|e| panic!("{name}: helm {} lint: {e}", helm.line));
            assert!(found.contains("0 chart(s) failed"), "{found}");
            let made =
                helm.template(Release::with(values)).unwrap_or_else(|e| panic!("{name}: helm {}: {e}", helm.line));
            assert!(made == rendered(Release::with(values)), "{name}: helm {} renders otherwise:\n{made}", helm.line);
        }
    }
}

#[test]
fn both_helms_say_the_same_after_an_installation() {
    for (name, values) in CASES {
        let [four, three] = &Tools::provide().helms;
        let release = Release::with(values);
        let notes = four.notes(release);
        assert_eq!(notes.trim(), three.notes(release).trim(), "{name}");
        assert_eq!(notes.contains("helm test catamaran -n catamaran-system"), name != "little", "{notes}");
        assert_eq!(notes.contains("runtimeClass.create is false"), name == "little", "{notes}");
    }
}
