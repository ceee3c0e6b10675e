//! The table that helps to choose an annotation.

use std::fmt::Write as _;

use super::OfEngine;
use super::output::Compared;

use crate::units::readable;
const FIRST: usize = 14;
const WIDTH: usize = 16;

/// A column for each engine and a line for each figure; below them the differences.
pub(crate) fn text(name: &str, runs: u32, engines: &[OfEngine; 2], output: &Compared) -> String {
    let mut text = format!("{name}: the first start compiles, later figures are medians of {runs} runs\n\n");
    let mut line = |name: &str, cell: &dyn Fn(&OfEngine) -> String| {
        let cells = engines.each_ref().map(|of| format!("{:>WIDTH$}", cell(of)));
        let _ = writeln!(text, "{name:<FIRST$}{}", cells.concat());
    };
    line("", &|of| of.engine.to_owned());
    line("first start", &|of| milliseconds(of.first_start));
    line("later start", &|of| milliseconds(of.later_start));
    line("run", &|of| milliseconds(of.run));
    line("processor", &|of| milliseconds(of.processor));
    line("peak memory", &|of| of.memory.map_or("-".to_owned(), readable));
    line("exit code", &|of| match (of.exit, of.timed_out) {
        (Some(code), _) => code.to_string(),
        (None, true) => "killed, too long".to_owned(),
        (None, false) => "-".to_owned(),
    });
    line("stdout", &|of| of.stdout.as_ref().map_or("-".to_owned(), |text| readable(text.bytes)));
    line("stderr", &|of| of.stderr.as_ref().map_or("-".to_owned(), |text| readable(text.bytes)));
    text.push('\n');
    notes(&mut text, engines, output);
    text
}

fn notes(text: &mut String, engines: &[OfEngine; 2], output: &Compared) {
    let _ = match (output.equal, &output.difference) {
        (Some(true), _) => writeln!(text, "The output is equal."),
        (Some(false), Some(difference)) => {
            let place = match difference.line {
                Some(line) => format!("in line {line} of {}", difference.stream),
                None => format!("far behind in {}", difference.stream),
            };
            let _ = writeln!(text, "The output differs, first {place}:");
            let mut written = Ok(());
            for (of, line) in engines.iter().zip(&difference.lines) {
                let line = line.as_ref().map_or("(it ends before)".to_owned(), |line| format!("{line:?}"));
                written = writeln!(text, "  {:<FIRST$}{line}", of.engine);
            }
            written
        }
        _ => Ok(()),
    };
    for of in engines {
        let engine = of.engine;
        if let Some(why) = &of.failed {
            let _ = writeln!(text, "Not on {engine}: {why}");
        } else {
            if !of.stable {
                let _ = writeln!(text, "Not every run on {engine} came to the same output and exit code.");
            }
            if !of.best {
                let _ = writeln!(
                    text,
                    "The later runs on {engine} had no optimised code: there was none in the cache in time."
                );
            }
        }
    }
}

fn milliseconds(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| match value {
        ..100.0 => format!("{value:.1} ms"),
        ..10_000.0 => format!("{value:.0} ms"),
        _ => format!("{:.1} s", value / 1000.0),
    })
}

#[cfg(test)]
mod tests {
    use super::super::output::{Text, compare};
    use super::*;

    fn of(engine: &'static str, words: &str) -> OfEngine {
        let stream = |words: &str| {
            Some(Text { bytes: words.len() as u64, digest: words.to_owned(), kept: words.as_bytes().to_vec() })
        };
        OfEngine {
            engine,
            failed: None,
            first_start: Some(1234.5),
            later_start: Some(12.34),
            run: Some(20_000.0),
            memory: Some(5 << 20),
            processor: Some(0.0),
            exit: Some(3),
            timed_out: false,
            best: true,
            stdout: stream(words),
            stderr: stream(""),
            stable: true,
        }
    }

    #[test]
    fn the_table_has_a_column_for_each_engine() {
        let engines = [of("wasmtime", "a\n"), of("wasmer", "a\n")];
        let text = text("m.wasm", 5, &engines, &compare(&engines[0], &engines[1]));
        for line in [
            "                      wasmtime          wasmer",
            "first start            1234 ms         1234 ms",
            "later start            12.3 ms         12.3 ms",
            "run                     20.0 s          20.0 s",
            "peak memory            5.0 MiB         5.0 MiB",
            "exit code                    3               3",
            "The output is equal.",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is missing in:\n{text}");
        }
    }

    #[test]
    fn differences_and_failures_are_listed_below_the_table() {
        let mut engines = [of("wasmtime", "a\nb\n"), of("wasmer", "a\n")];
        engines[1].stable = false;
        engines[0].best = false;
        let told = text("m", 1, &engines, &compare(&engines[0], &engines[1]));
        for words in [
            "The output differs, first in line 2 of stdout:\n  wasmtime      \"b\"\n  wasmer        (it ends before)\n",
            "Not every run on wasmer",
            "The later runs on wasmtime had no optimised code",
        ] {
            assert!(told.contains(words), "{words:?} is missing in:\n{told}");
        }
        let mut failed = of("wasmer", "");
        failed = OfEngine {
            failed: Some("it is a component".into()),
            stdout: None,
            stderr: None,
            exit: None,
            first_start: None,
            ..failed
        };
        let engines = [of("wasmtime", ""), failed];
        let told = text("m", 1, &engines, &compare(&engines[0], &engines[1]));
        assert!(told.contains("Not on wasmer: it is a component\n") && !told.contains("The output"), "{told}");
    }
}
