//! Tests without root: the page's form.

use super::markdown::rows;
use super::{CHOICE, Figures, Pair, Started, Taken, text};
use crate::programs::start::Start;
use crate::programs::work::Work;

const EMPTY: &str = "before\n<!-- table: choice -->\n\n\n<!-- end of table -->\n<!-- table: runs -->\n\n\n<!-- end of table -->\n\
                     between\n<!-- table: starts -->\n\n\n<!-- end of table -->\nafter\n";

fn figures(ratio: f64) -> Figures {
    let pair = Pair::new(100.0, 100.0 * ratio);
    Figures {
        works: Work::ALL.map(|_| Taken { run: pair, processor: pair }).to_vec(),
        starts: Start::ALL.map(|_| Started { first: pair, later: pair, memory: pair }).to_vec(),
    }
}

#[test]
fn the_engines_page_has_every_row_in_order_as_make_engines_writes_it() {
    let page = text();
    let own = Figures::read(&page);
    assert_eq!((own.works.len(), own.starts.len()), (Work::ALL.len(), Start::ALL.len()));
    assert_eq!(own.written(&page), page, "write the tables anew: make engines BLESS=1");
}

#[test]
fn figures_are_written_into_the_page_and_read_from_it() {
    let made = figures(0.8);
    let page = made.written(EMPTY);
    assert_eq!(Figures::read(&page), made);
    assert!(page.starts_with("before\n") && page.contains("\nbetween\n") && page.ends_with("\nafter\n"), "{page}");
    assert_eq!(figures(2.0).written(&page), figures(2.0).written(EMPTY), "the earlier figures are gone");
}

#[test]
fn an_engine_is_chosen_if_it_is_a_tenth_faster() {
    for (ratio, choice) in [(0.89, "Wasmer"), (0.91, "either"), (1.0, "either"), (1.09, "either"), (1.11, "Wasmtime")] {
        let page = figures(ratio).written(EMPTY);
        let chosen = rows(&page, "choice", CHOICE.len());
        assert_eq!(chosen.len(), Work::ALL.len());
        assert!(chosen.iter().all(|row| row[1] == choice && row[2] == format!("{ratio:.2}")), "{chosen:?}");
    }
}

#[test]
#[should_panic(expected = "no numbers")]
fn a_figure_that_is_no_number_is_found() {
    Figures::read(&figures(0.8).written(EMPTY).replacen("80.0", "fast", 1));
}
