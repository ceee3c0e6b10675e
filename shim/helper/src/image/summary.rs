//! The summary of an index or a manifest, in which a process without rights reports it to the driver:
//!
//! ```text
//! index       candidate TYPE DIGEST SIZE PLATFORM ...   platforms TEXT
//! manifest    config DIGEST      wasm TYPE DIGEST SIZE | several TEXT | other TEXT | malformed TEXT
//! refused TEXT
//! ```
//!
//! Each entry is a line, with tabs between the words. The driver is root and trusts none of them, because the process parsed hostile bytes:
//! a digest must stand in the document itself, a size must be a number, texts are cut and lose control characters, and anything else is
//! refused.

use super::manifest::{Candidate, Descriptor, Digest, Document, Layers, MOST_DOCUMENTS, bounded};

/// The most bytes of a summary. Names, types and texts are cut to stay below this.
pub(super) const LONGEST_SUMMARY: usize = 64 << 10;
/// One more than the driver reads, so that it notices that there are more.
const MOST_CANDIDATES: usize = MOST_DOCUMENTS + 1;

/// The content of a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Summary {
    Index {
        /// The candidates, best first.
        candidates: Vec<Candidate>,
        /// The platforms of all parts, for messages.
        platforms: String,
    },
    Manifest {
        /// The digest of the manifest's configuration.
        config: Option<Digest>,
        layers: Layers,
    },
}

impl Summary {
    /// Summarises a document. `media_type` is its descriptor's. `resolved` is true if containerd resolved one part of an index.
    pub(super) fn new(media_type: &str, resolved: bool, document: &[u8]) -> Result<Self, String> {
        Ok(match Document::parse(media_type, document)? {
            Document::Index(index) => {
                let mut candidates = index.candidates(resolved)?;
                candidates.truncate(MOST_CANDIDATES);
                Self::Index { candidates, platforms: index.platforms() }
            }
            Document::Manifest(manifest) => Self::Manifest {
                config: manifest.config(),
                layers: manifest.layers().unwrap_or_else(Layers::Malformed),
            },
        })
    }

    /// Writes down a summary, or why there is none.
    pub(super) fn write(summary: &Result<Self, String>) -> String {
        let lines = match summary {
            Err(reason) => vec![line(["refused", reason])],
            Ok(Self::Index { candidates, platforms }) => {
                let candidate = |Candidate { descriptor, platform }: &Candidate| {
                    let (digest, size) = (descriptor.digest.to_string(), descriptor.size.to_string());
                    line(["candidate", &told(&descriptor.media_type), &digest, &size, platform])
                };
                let first = std::iter::once(line(["index"]));
                first.chain(candidates.iter().map(candidate)).chain([line(["platforms", platforms])]).collect()
            }
            Ok(Self::Manifest { config, layers }) => {
                let config = config.as_ref().map(|digest| line(["config", &digest.to_string()]));
                let layers = match layers {
                    Layers::Wasm(Descriptor { media_type, digest, size }) => {
                        line(["wasm", media_type, &digest.to_string(), &size.to_string()])
                    }
                    Layers::Several(what) => line(["several", what]),
                    Layers::Other(what) => line(["other", what]),
                    Layers::Malformed(reason) => line(["malformed", reason]),
                };
                [line(["manifest"])].into_iter().chain(config).chain([layers]).collect()
            }
        };
        lines.concat()
    }

    /// Reads and checks what was written about `document`.
    pub(super) fn parse(written: &[u8], document: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(written);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
        let lines: Vec<&[&str]> = lines.iter().map(Vec::as_slice).collect();
        match lines.as_slice() {
            [["refused", reason]] => Err(told(reason)),
            [["index"], candidates @ .., ["platforms", platforms]] if candidates.len() <= MOST_CANDIDATES => {
                let candidates = candidates.iter().map(|line| match line {
                    ["candidate", media_type, digest, size, platform] => {
                        let descriptor = described(media_type, digest, size, document)?;
                        Ok(Candidate { descriptor, platform: told(platform) })
                    }
                    _ => Err(unexpected()),
                });
                Ok(Self::Index { candidates: candidates.collect::<Result<_, _>>()?, platforms: told(platforms) })
            }
            [["manifest"], layers] => Ok(Self::Manifest { config: None, layers: read_layers(layers, document)? }),
            [["manifest"], ["config", digest], layers] => {
                let config = Some(named(digest, document)?);
                Ok(Self::Manifest { config, layers: read_layers(layers, document)? })
            }
            _ => Err(unexpected()),
        }
    }
}

fn read_layers(line: &[&str], document: &[u8]) -> Result<Layers, String> {
    match line {
        ["wasm", media_type, digest, size] => described(media_type, digest, size, document).map(Layers::Wasm),
        ["several", what] => Ok(Layers::Several(told(what))),
        ["other", what] => Ok(Layers::Other(told(what))),
        ["malformed", reason] => Ok(Layers::Malformed(told(reason))),
        _ => Err(unexpected()),
    }
}

fn described(media_type: &str, digest: &str, size: &str, document: &[u8]) -> Result<Descriptor, String> {
    let size = size.parse().map_err(|_| unexpected())?;
    named(digest, document)?;
    Descriptor::new(&told(media_type), digest, size)
}

/// Returns the digest if it stands in the document, so that a compromised reader can name no other blob than the image itself could.
fn named(digest: &str, document: &[u8]) -> Result<Digest, String> {
    let digest = Digest::parse(digest)?;
    let text = digest.to_string();
    match memchr::memmem::find(document, text.as_bytes()) {
        Some(_) => Ok(digest),
        None => Err(format!("it does not contain the digest {digest}, which the process that read it reported")),
    }
}

/// Returns a text as a message has it. Controls become spaces before the text is cut, because some have two bytes.
fn told(text: &str) -> String {
    bounded(without_controls(text))
}

fn line<const N: usize>(words: [&str; N]) -> String {
    words.map(without_controls).join("\t") + "\n"
}

fn without_controls(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn unexpected() -> String {
    "the process without rights that read it gave an answer that no document can lead to".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(digit: char) -> String {
        format!("sha256:{}", digit.to_string().repeat(64))
    }

    /// A compromised reader could write all of this.
    #[test]
    fn a_forged_summary_is_refused() {
        let (own, other) = (digest('a'), digest('b'));
        let document = format!("{{\"layers\":[{{\"digest\":\"{own}\"}}]}}");
        let parse = |written: &str| Summary::parse(written.as_bytes(), document.as_bytes());
        assert!(parse(&format!("manifest\nwasm\tapplication/wasm\t{own}\t7\n")).is_ok());
        for (written, word) in [
            (format!("manifest\nwasm\tapplication/wasm\t{other}\t7\n"), "does not contain the digest"),
            (format!("manifest\nconfig\t{other}\nwasm\tapplication/wasm\t{own}\t7\n"), "does not contain the digest"),
            (format!("index\ncandidate\tx\t{other}\t7\twasi/wasm\nplatforms\tx\n"), "does not contain the digest"),
            ("manifest\nwasm\tapplication/wasm\tsha256:../../x\t7\n".to_owned(), "64 hexadecimal digits"),
            (format!("manifest\nwasm\tapplication/wasm\t{own}\t-7\n"), "a size of -7"),
            (format!("manifest\nwasm\tapplication/wasm\t{own}\tx\n"), "that no document can lead to"),
            (format!("manifest\nwasm\tapplication/wasm\t{own}\n"), "that no document can lead to"),
            (
                format!("index\n{}platforms\tx\n", format!("candidate\tx\t{own}\t7\tx\n").repeat(18)),
                "that no document can lead to",
            ),
            ("manifest\n".to_owned(), "that no document can lead to"),
            ("manifest\nconfig\t\n".to_owned(), "that no document can lead to"),
            ("index\n".to_owned(), "that no document can lead to"),
            (String::new(), "that no document can lead to"),
            ("{}".to_owned(), "that no document can lead to"),
            ("manifest\nother\tx\nother\ty\n".to_owned(), "that no document can lead to"),
        ] {
            let refused = parse(&written).map(drop);
            assert!(refused.as_ref().is_err_and(|reason| reason.contains(word)), "{written:?}: {refused:?}");
        }
        assert!(Summary::parse(&[0xff; 1000], document.as_bytes()).is_err());
    }

    #[test]
    fn texts_are_cut_and_have_no_control_characters() {
        let long = format!("refused\t\u{1b}[2J{}\n", "é".repeat(20_000));
        let reason = Summary::parse(long.as_bytes(), b"").unwrap_err();
        assert!(reason.starts_with(" [2Jéé") && reason.ends_with("...") && reason.len() < 2100, "{reason}");
        let written = Summary::write(&Err("a\tb\nc\u{1b}".to_owned()));
        assert_eq!(written, "refused\ta b c \n");
        assert_eq!(Summary::parse(written.as_bytes(), b""), Err("a b c ".to_owned()));
    }

    #[test]
    fn a_long_type_with_a_control_character_is_read_as_it_was_written() {
        // In place of a control of two bytes the text gets a space of one.
        let long = format!("\u{85}{}", "x".repeat(3000));
        let document = format!(r#"{{"manifests":[{{"mediaType":"{long}","digest":"{}","size":1}}]}}"#, digest('a'));
        let written = crate::untrusted::written(0, false, document.as_bytes());
        assert!(written.starts_with("index\ncandidate\t xxx") && written.contains("xxx...\t"), "{written}");
        assert_eq!(crate::untrusted::believed(0, written.as_bytes(), document.as_bytes()), Ok(written));
    }
}
