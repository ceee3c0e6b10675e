//! `catamaran-dist`: packs a release. The library has the formats.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use catamaran_dist::checksums;
use catamaran_dist::error::{Error, On, Result};
use catamaran_dist::images::{Kind, REGISTRY};
use catamaran_dist::layout::Layout;
use catamaran_dist::licences::Licences;
use catamaran_dist::origin::Origin;
use catamaran_dist::programs::{NODE, Programs};
use catamaran_dist::{sbom, tarball};
use clap::{Args, Parser, Subcommand};

/// Packs a release: the same bytes from the same inputs. SOURCE_DATE_EPOCH sets the time of every file; its default is the commit's time.
#[derive(Debug, Parser)]
#[command(name = "catamaran-dist", version)]
struct Cli {
    /// The clone of the repository.
    #[arg(long, global = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/.."), hide_default_value = true, value_name = "FOLDER")]
    source: PathBuf,
    /// The commit that is written into the packed files; without it, git is asked.
    #[arg(long, global = true, value_name = "COMMIT")]
    revision: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write images, one archive each, and bills of materials: installer, labeller, examples/NAME; without names, all of them.
    Image {
        #[command(flatten)]
        built: Built,
        /// The folder that the archives are written into.
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
        /// The registry that the images are to be pulled from.
        #[arg(long, default_value = REGISTRY, value_name = "PREFIX")]
        registry: String,
        names: Vec<String>,
    },
    /// Join archives of one image for several platforms into one.
    Index {
        /// The archive that is written.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// Write the tarball for installing by hand, its bill of materials and its licences.
    Tarball {
        #[command(flatten)]
        built: Built,
        /// The folder that they are written into.
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
    },
    /// Write a bill of materials of some programs, CycloneDX 1.6.
    Sbom(Document),
    /// Write the licences of all that some programs link.
    Licences(Document),
    /// Write SHA256SUMS of all files in a folder.
    Checksums { folder: PathBuf },
}

#[derive(Debug, Args)]
struct Built {
    /// The folder of the built programs.
    #[arg(long, value_name = "FOLDER")]
    programs: PathBuf,
}

#[derive(Debug, Args)]
struct Document {
    #[command(flatten)]
    built: Built,
    /// The file that is written.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The programs; without names, those of a node.
    names: Vec<String>,
}

impl Document {
    fn programs(&self) -> Result<Programs> {
        let mut names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        if names.is_empty() {
            names = NODE.map(|(name, _)| name).to_vec();
        }
        Programs::read(&self.built.programs, &names)
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("catamaran-dist: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let origin = || {
        let epoch = std::env::var("SOURCE_DATE_EPOCH").ok();
        Origin::read(&cli.source, epoch.as_deref(), cli.revision.clone())
    };
    match &cli.command {
        Command::Image { built, out, registry, names } => {
            let kinds = match &**names {
                [] => Kind::all(&cli.source),
                names => names.iter().map(|name| Kind::parse(&cli.source, name)).collect::<Result<_>>()?,
            };
            let origin = origin()?;
            kinds.iter().try_for_each(|kind| image(cli, &origin, built, out, registry, kind))
        }
        Command::Index { out, archives } => {
            let read = |path: &PathBuf| Layout::read(&path.display().to_string(), &fs::read(path).on("reading", path)?);
            let layout = Layout::join(archives.iter().map(read).collect::<Result<_>>()?)?;
            write_layout(out, &layout, &origin()?)
        }
        Command::Tarball { built, out } => {
            let files = tarball::files(&cli.source, &origin()?, &built.programs)?;
            files.iter().try_for_each(|(name, bytes)| write(&out.join(name), bytes))
        }
        Command::Sbom(document) => {
            write(&document.out, &sbom::document(&cli.source, &origin()?, &document.programs()?)?)
        }
        Command::Licences(document) => {
            let licences = Licences::read(&cli.source, &document.programs()?)?;
            licences.warn();
            write(&document.out, licences.text().as_bytes())
        }
        Command::Checksums { folder } => checksums::write(folder),
    }
}

fn image(cli: &Cli, origin: &Origin, built: &Built, out: &Path, registry: &str, kind: &Kind) -> Result<()> {
    let image = kind.image(&cli.source, &built.programs, registry)?;
    let architecture = match *image.architectures {
        [only] => Some(only),
        _ => None,
    };
    let path = out.join(kind.archive(&origin.version, architecture));
    write_layout(&path, &image.layout(origin)?, origin)?;
    match &*kind.programs() {
        [] => Ok(()),
        // This bill is attached to the image when the image is pushed.
        names => {
            let programs = Programs::read(&built.programs, names)?;
            write(&path.with_extension("cdx.json"), &sbom::document(&cli.source, origin, &programs)?)
        }
    }
}

fn write_layout(path: &Path, layout: &Layout, origin: &Origin) -> Result<()> {
    write(path, &layout.to_tar(origin.time)?)?;
    println!("  {} for {}", layout.name(), layout.platforms().join(", "));
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().ok_or_else(|| Error::new(format!("{} has no folder", path.display()), "name a file"))?;
    fs::create_dir_all(folder).on("making the folder", folder)?;
    fs::write(path, bytes).on("writing", path)?;
    println!("{}, {} kB", path.display(), bytes.len().div_ceil(1000));
    Ok(())
}
