//! An image's program, from its configuration (OCI image-spec, `config.md`; Docker's has the same form). A process without rights parses
//! the configuration and writes it down in lines:
//!
//! ```text
//! config DIRECTORY      then a line each: arg WORD, env NAME=VALUE
//! refused TEXT
//! ```

use catamaran_worker::quote::shortened;
use serde::Deserialize;

use super::manifest::bounded;

/// The most words and variables of a program, and the most bytes of their lines together.
const MOST_WORDS: usize = 1024;
const LONGEST: usize = 32 << 10;

/// The program that an image starts by default.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// `Entrypoint`, followed by `Cmd`.
    pub(crate) args: Vec<String>,
    /// `NAME=VALUE`
    pub(crate) env: Vec<String>,
    /// `WorkingDir`, or `/` if there is none.
    pub(crate) cwd: String,
}

#[derive(Deserialize)]
struct Written {
    config: Option<Inner>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inner {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
}

impl Config {
    /// Parses the document.
    pub(super) fn parse(document: &[u8]) -> Result<Self, String> {
        let written: Written = serde_json::from_slice(document).map_err(|e| shortened(&e.to_string()).into_owned())?;
        let Inner { entrypoint, cmd, env, working_dir } = written.config.unwrap_or_default();
        let args: Vec<String> = entrypoint.into_iter().chain(cmd).flatten().collect();
        let cwd = working_dir.filter(|folder| folder.starts_with('/')).unwrap_or_else(|| "/".to_owned());
        let config = Self { args, env: env.unwrap_or_default(), cwd };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let words = || self.args.iter().chain(&self.env).chain([&self.cwd]);
        if words().count() > MOST_WORDS || words().map(|word| word.len() + 8).sum::<usize>() > LONGEST {
            return Err(format!(
                "its program has more than {MOST_WORDS} words and variables, or more than {LONGEST} bytes of them"
            ));
        }
        match words().find(|word| word.contains(char::is_control)) {
            Some(word) => Err(format!("its program has a control character in {:?}", shortened(word))),
            None => Ok(()),
        }
    }

    /// Writes down a configuration, or why there is none.
    pub(super) fn write(config: &Result<Self, String>) -> String {
        match config {
            Err(reason) => format!("refused\t{}\n", bounded(reason.replace(char::is_control, " "))),
            Ok(config) => {
                let lines = config.args.iter().map(|word| format!("arg\t{word}\n"));
                let lines = lines.chain(config.env.iter().map(|word| format!("env\t{word}\n")));
                format!("config\t{}\n", config.cwd) + &lines.collect::<String>()
            }
        }
    }

    /// Reads what was written, and checks it, because its writer parsed hostile bytes.
    pub(super) fn read(written: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(written);
        let mut lines = text.lines().map(|line| line.split_once('\t').unwrap_or((line, "")));
        let mut config = match lines.next() {
            Some(("config", cwd)) if cwd.starts_with('/') => Self { cwd: cwd.to_owned(), ..Self::default() },
            Some(("refused", reason)) => return Err(bounded(reason.replace(char::is_control, " "))),
            _ => return Err(unexpected()),
        };
        for (key, word) in lines {
            match key {
                "arg" => config.args.push(word.to_owned()),
                "env" => config.env.push(word.to_owned()),
                _ => return Err(unexpected()),
            }
        }
        config.check()?;
        Ok(config)
    }
}

fn unexpected() -> String {
    "the process without rights that read it gave an answer that no configuration can lead to".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_configuration_is_read_and_passed_on() {
        let read = |document: &str| Config::read(Config::write(&Config::parse(document.as_bytes())).as_bytes());
        let config =
            read(r#"{"config": {"Entrypoint": ["/m.wasm", ""], "Cmd": ["a b"], "Env": ["A=b"], "WorkingDir": "/w"}}"#)
                .unwrap();
        assert_eq!(
            (config.args, config.env, config.cwd),
            (vec!["/m.wasm".into(), String::new(), "a b".into()], vec!["A=b".into()], "/w".into())
        );
        assert_eq!(
            read(r#"{"config": {"Entrypoint": null, "WorkingDir": "rel"}}"#),
            Ok(Config { cwd: "/".into(), ..Config::default() })
        );
        assert_eq!(read("{}").unwrap().args, Vec::<String>::new());
        let many = format!(r#"{{"config": {{"Cmd": [{}"x"]}}}}"#, "\"x\",".repeat(MOST_WORDS));
        for (document, word) in
            [("[", "EOF"), (r#"{"config": {"Cmd": ["a\nb"]}}"#, "control character"), (&many, "more than")]
        {
            assert!(read(document).unwrap_err().contains(word), "{word}");
        }
    }

    #[test]
    fn a_malformed_answer_about_a_configuration_is_refused() {
        for written in ["", "config\trel\n", "config\t/\nother\tx\n", "manifest\n", "{}"] {
            assert!(
                Config::read(written.as_bytes()).unwrap_err().contains("that no configuration can lead to"),
                "{written:?}"
            );
        }
        assert_eq!(Config::read(b"refused\ta\x1bb\n"), Err("a b".to_owned()));
    }
}
