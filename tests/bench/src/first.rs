//! Real programs with much to compile, from Create to their first output: the first start, with an empty cache, and later ones, on the
//! optimiser's code; quiet and beside load.
//!
//! The time is taken up to the output, because some shims compile in Create and others in Start. The load runs only from before Create to
//! the output: the optimiser has the lowest weight, and would never finish beside it.

use std::path::Path;
use std::time::Duration;

use catamaran_harness::{Image, Node, guests};

use crate::account::Account;
use crate::busy::Busy;
use crate::contender::Contender;
use crate::plan::Plan;
use crate::rows::{Program, Row, Start};
use crate::run::Run;
use crate::samples::{Samples, milliseconds};
use crate::{compiles, start};

/// The number of later starts of a kind in a round; they are cheap, and improve the median.
const LATER: usize = 3;
/// The largest takes many seconds of one core, and beside load twice as long.
const LIMIT: Duration = Duration::from_secs(240);

/// A program as a guest.
struct Guest {
    program: Program,
    name: &'static str,
    module: Vec<u8>,
    words: &'static [&'static str],
    /// The beginning of its output.
    says: &'static str,
    /// What starts before its first start.
    before: Option<Vec<u8>>,
}

/// Measures the rows of the starts, for contenders that run Wasm.
pub(crate) fn measure(run: &Run<'_>, samples: &mut Samples) {
    let Run { node, account, contenders, plan } = *run;
    for round in 0..plan.first.max(plan.large) {
        for guest in guests(plan, round) {
            for contender in contenders {
                let Some(image) = contender.module_image(guest.name, &guest.module) else { continue };
                if guest.before.is_some() && !contender.runs_components() {
                    continue;
                }
                eprintln!("first {}: {} on {}", round + 1, guest.name, contender.name);
                node.import(&image);
                let mut turn = |start: Start, number: usize| {
                    let row = Row::ToOutput(guest.program, start);
                    account.turn(samples, contender.side(), &[row], || {
                        vec![(row, milliseconds(guest.start(node, account, contender, &image, start, number)))]
                    });
                };
                for (first, later) in [(Start::First, Start::Later), (Start::FirstBesideLoad, Start::LaterBesideLoad)] {
                    compiles::empty_the_cache(node);
                    guest.prepare(node, contender);
                    turn(first, round);
                    (0..LATER).for_each(|number| turn(later, round * LATER + number));
                }
            }
        }
    }
}

/// The programs of a round.
fn guests(plan: &Plan, round: usize) -> Vec<Guest> {
    let one = |program, name, words, says| Guest { program, name, module: Vec::new(), words, says, before: None };
    let mut all = Vec::new();
    if round < plan.first {
        let report = one(Program::Go6, "report", &["two words"][..], "2 words: [\"two\",\"words\"]\n");
        all.push(Guest { module: guests::go("report"), ..report });
        all.push(Guest { module: guests::go_tool("vet"), ..one(Program::Go14, "vet", &["-flags"], "[") });
        if let Some(file) = &plan.cpython {
            let python = one(Program::CPython, "python", &["-c", "print(6 * 7)"], "42\n");
            all.push(Guest { module: read(file), ..python });
        }
        if let Some([before, file]) = &plan.applications {
            let application = one(Program::Application, "application", &[], "");
            all.push(Guest { module: read(file), before: Some(read(before)), ..application });
        }
    }
    if round < plan.large {
        let compiler = one(Program::Go49, "compile", &["-V"], "compile version go");
        all.push(Guest { module: guests::go_tool("compile"), ..compiler });
    }
    all
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

impl Guest {
    /// Runs what comes before its first start, and waits until all is compiled.
    fn prepare(&self, node: &Node, contender: &Contender) {
        let Some(image) = self.before.as_ref().and_then(|before| contender.module_image("before", before)) else {
            return;
        };
        let output = contender.container(node, &contender.id("before", 0), &image).limit(LIMIT).run();
        assert!(output.code == 0, "what comes before {} ended badly: {output:?}", self.name);
        node.await_compiles();
    }

    /// Runs it once, and returns the time to its first output.
    fn start(
        &self,
        node: &Node,
        account: &Account<'_>,
        contender: &Contender,
        image: &Image,
        start: Start,
        number: usize,
    ) -> Duration {
        let id = contender.id(&format!("{}-{start:?}", self.name), number);
        let program = format!("/{}", self.name);
        let words = [program.as_str()].into_iter().chain(self.words.iter().copied());
        let order = contender.container(node, &id, image).args(words).limit(LIMIT);
        let load = matches!(start, Start::FirstBesideLoad | Start::LaterBesideLoad).then(|| Busy::start(account));
        let (task, duration) = start::to_output(node, &order, LIMIT);
        drop(load);
        task.wait(LIMIT);
        let output = task.delete();
        assert!(output.code == 0 && output.stdout.starts_with(self.says), "{id} ended badly: {output:?}");
        eprintln!("- {start:?}: {:.3} s", duration.as_secs_f64());
        duration
    }
}
