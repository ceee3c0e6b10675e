//! The pages, their fenced blocks and the commands in them.

use std::fs;
use std::path::Path;

/// Languages of blocks that hold no commands.
const NO_COMMANDS: [&str; 6] = ["yaml", "toml", "dockerfile", "rust", "js", "text"];

/// A Markdown page.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its path in the clone.
    pub path: String,
    /// All of it.
    pub text: String,
}

/// A fenced block.
#[derive(Clone, Debug)]
pub struct Block {
    /// Where its fence is, as `PAGE:LINE`.
    pub place: String,
    /// The word behind the fence; empty for a figure.
    pub language: String,
    /// Its lines.
    pub text: String,
}

/// A command as its reader types it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    /// The command in one line, without its prompt and the remark behind it.
    pub text: String,
    /// The output that the page shows.
    pub output: String,
}

/// Reads one page of the clone.
///
/// # Panics
/// When it cannot be read.
pub fn page(path: &str) -> Page {
    let text = fs::read_to_string(crate::clone().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    Page { path: path.to_owned(), text }
}

/// Reads every page whose commands are to be run.
///
/// # Panics
/// When a folder or page cannot be read.
pub fn pages() -> Vec<Page> {
    let mut paths = vec!["README.md".to_owned()];
    paths.extend(names("docs").into_iter().map(|name| format!("docs/{name}")).filter(|path| path.ends_with(".md")));
    for folder in ["examples", "charts"] {
        let readmes = names(folder).into_iter().map(|name| format!("{folder}/{name}/README.md"));
        paths.extend(readmes.filter(|path| crate::clone().join(path).exists()));
    }
    paths.iter().map(|path| page(path)).collect()
}

fn names(folder: &str) -> Vec<String> {
    let entries =
        fs::read_dir(crate::clone().join(Path::new(folder))).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

impl Page {
    /// Its fenced blocks, in their order.
    ///
    /// # Panics
    /// When a fence is not closed.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (number, line) in self.text.lines().enumerate() {
            match (line.trim_start().strip_prefix("```"), &mut open) {
                (Some(language), None) => {
                    let place = format!("{}:{}", self.path, number + 1);
                    open = Some(Block { place, language: language.trim().to_owned(), text: String::new() });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some(block)) => block.text.extend([line, "\n"]),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a fence is not closed", self.path);
        blocks
    }

    /// The text of its blocks in one language, in their order.
    pub fn texts(&self, language: &str) -> Vec<String> {
        self.blocks().into_iter().filter(|block| block.language == language).map(|block| block.text).collect()
    }
}

impl Block {
    /// Its commands: in `console` each line behind a prompt, `$ ` or root's `# `, and in `sh` each line.
    ///
    /// # Errors
    /// When its language is not known, or it has output before a command.
    pub fn commands(&self) -> Result<Vec<Command>, String> {
        match self.language.as_str() {
            "console" => self.behind_prompts(),
            "sh" => Ok(joined(&self.text).into_iter().map(|text| Command { text, output: String::new() }).collect()),
            "" => Ok(Vec::new()),
            other if NO_COMMANDS.contains(&other) => Ok(Vec::new()),
            other => Err(format!("{}: a block in '{other}': write console, sh, or one of {NO_COMMANDS:?}", self.place)),
        }
    }

    fn behind_prompts(&self) -> Result<Vec<Command>, String> {
        let mut commands: Vec<Command> = Vec::new();
        for line in joined(&self.text) {
            match (line.strip_prefix("$ ").or_else(|| line.strip_prefix("# ")), commands.last_mut()) {
                (Some(text), _) => commands.push(Command { text: text.to_owned(), output: String::new() }),
                (None, Some(last)) => last.output.extend([line.as_str(), "\n"]),
                (None, None) => return Err(format!("{}: '{line}' is behind no prompt", self.place)),
            }
        }
        Ok(commands)
    }
}

/// The lines of a block without remarks; one that ends in a backslash goes on in the next.
fn joined(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        let line = line.split_once("  # ").map_or(line, |(before, _)| before).trim_end();
        let (line, more) = line.strip_suffix('\\').map_or((line, false), |line| (line.trim_end(), true));
        match lines.last_mut().filter(|_| goes_on) {
            Some(last) => last.extend([" ", line.trim_start()]),
            None => lines.push(line.to_owned()),
        }
        goes_on = more;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{Command, Page};

    fn commands(text: &str) -> Result<Vec<Command>, String> {
        let page = Page { path: "page.md".into(), text: text.into() };
        page.blocks().iter().map(super::Block::commands).collect::<Result<Vec<_>, _>>().map(|all| all.concat())
    }

    #[test]
    fn commands_stand_behind_prompts_go_on_below_and_show_their_output() {
        let text = "Words, `$ not this`.\n```console\n$ one \\\n    --more\nsaid\n  indented\n# two   # why\n```\n```yaml\n$ no\n```\n```sh\nA=1 three\n```\n";
        let expected = [("one --more", "said\n  indented\n"), ("two", ""), ("A=1 three", "")];
        let expected = expected.map(|(text, output)| Command { text: text.into(), output: output.into() });
        assert_eq!(commands(text).unwrap(), expected);
    }

    #[test]
    fn a_block_in_an_unknown_language_and_output_without_a_command_are_refused() {
        assert!(commands("```bash\nls\n```\n").unwrap_err().contains("page.md:1: a block in 'bash'"));
        assert!(commands("\n```console\nls\n```\n").unwrap_err().contains("page.md:2: 'ls' is behind no prompt"));
    }
}
