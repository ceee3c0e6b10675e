//! The table, and the verdict.

use crate::census::{Census, ROWS};

pub(crate) struct Report {
    start: Census,
    during: Vec<Census>,
    end: Option<(Census, String)>,
}

impl Report {
    pub(crate) fn new(start: Census) -> Self {
        Self { start, during: Vec::new(), end: None }
    }

    pub(crate) fn start(&self) -> &Census {
        &self.start
    }

    pub(crate) fn add(&mut self, census: Census) {
        self.during.push(census);
    }

    /// Records the state after the load had stopped, and a summary of the load.
    pub(crate) fn end(&mut self, census: Census, done: String) {
        self.end = Some((census, done));
    }

    pub(crate) fn print(&self) {
        let (end, done) = self.end.as_ref().expect("the run is not over");
        println!("{done}; {} samples under load", self.during.len());
        println!("start and end are taken at rest, middle and most under load\n");
        println!("{:<45} {:>3} {:>9} {:>9} {:>9} {:>9}", "", "", "start", "middle", "end", "most");
        let middle = &self.during[self.during.len() / 2];
        for (number, (name, unit, _)) in ROWS.iter().enumerate() {
            let most = self.during.iter().map(|census| census.0[number]).max().unwrap_or(0);
            let figures = [self.start.0[number], middle.0[number], end.0[number], most];
            let [start, middle, end, most] = figures.map(|figure| if *unit == "kB" { figure / 1000 } else { figure });
            println!("{name:<45} {unit:>3} {start:>9} {middle:>9} {end:>9} {most:>9}");
        }
    }

    /// # Panics
    /// When something is left at the end that was not there at the start.
    pub(crate) fn judge(&self) {
        let (end, _) = self.end.as_ref().expect("the run is not over");
        let grown = end.grown(&self.start);
        assert!(grown.is_empty(), "not as it was before the load:\n  {}", grown.join("\n  "));
        println!("\nnothing has grown beyond its limit");
    }
}
