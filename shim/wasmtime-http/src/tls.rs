//! The server's certificate and key: read from a folder, and read again when it changes.
//!
//! ```text
//! FOLDER/tls.crt    PEM: the server's certificate first, then those that vouch for it
//! FOLDER/tls.key    PEM: its key, of PKCS #8, PKCS #1 or SEC 1
//! ```
//!
//! The names are those of a Secret of the type `kubernetes.io/tls`. The folder is no part of the container's tree, so that no guest can
//! name it; the worker has only its descriptor. A new connection checks the folder, at most every ten seconds; an idle server does not.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, ResolveFlags, Stat};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::output::Output;

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// The most bytes of either file.
const LARGEST: u64 = 1 << 20;
/// How often new connections check the folder.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long a client's TLS handshake may take.
pub(crate) const LONGEST_HANDSHAKE: Duration = Duration::from_secs(10);
/// In the server's order of preference (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

pub(crate) struct Tls {
    folder: OwnedFd,
    /// The folder's name, as the pod's author knows it.
    name: String,
    output: Output,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    /// The state of both files when they were read. A pair that could not be used is not read again until it changes.
    read: [Known; 2],
    looked: Instant,
}

/// The properties by which a file is known to have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    device: u64,
    inode: u64,
    size: i64,
    changed: (i64, u64),
}

impl Tls {
    /// Reads both files. The text of an error is for the user.
    pub(crate) fn new(folder: OwnedFd, name: String, output: Output) -> Result<Self, String> {
        let (config, read) = load(&folder, &name)?;
        Ok(Self { folder, name, output, current: Mutex::new(Current { config, read, looked: Instant::now() }) })
    }

    /// Performs the TLS handshake with a client; returns None if it fails, or does not end in time.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.config());
        tokio::time::timeout(LONGEST_HANDSHAKE, acceptor.accept(stream)).await.ok()?.ok()
    }

    /// Returns the newest pair that can be used.
    fn config(&self) -> Arc<ServerConfig> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK_EVERY {
            current.looked = Instant::now();
            self.renew(&mut current);
        }
        Arc::clone(&current.config)
    }

    fn renew(&self, current: &mut Current) {
        let now = open(&self.folder, &self.name).map(|files| files.map(|(_, known)| known));
        match now {
            Ok(known) if known == current.read => return,
            Ok(known) => current.read = known,
            // The folder may be between two states: the next check is soon enough.
            Err(_) => return,
        }
        let words = match load(&self.folder, &self.name) {
            Ok((config, read)) => {
                (current.config, current.read) = (config, read);
                format!("catamaran: new connections have the new certificate of {}\n", self.name)
            }
            Err(text) => format!("catamaran: the certificate from before is kept: {text}\n"),
        };
        self.output.tell(words);
    }
}

fn load(folder: &OwnedFd, name: &str) -> Result<(Arc<ServerConfig>, [Known; 2]), String> {
    let [(certificate, known), (key, known_key)] = open(folder, name)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text(certificate, name, CERTIFICATE)?)
        .collect::<Result<_, _>>()
        .map_err(|e| format!("{name}/{CERTIFICATE} is no PEM: {e}"))?;
    if certificates.is_empty() {
        return Err(format!(
            "{name}/{CERTIFICATE} has no certificate: write the server's own into it, as PEM, and then its issuers'"
        ));
    }
    let key = PrivateKeyDer::from_pem_slice(&text(key, name, KEY)?).map_err(|e| {
        format!("{name}/{KEY} has no private key that can be read: {e}; write the one of {CERTIFICATE} into it, as PEM")
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|e| format!("{name}: {KEY} does not fit {CERTIFICATE}, or one of them cannot be used: {e}"))?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok((Arc::new(config), [known, known_key]))
}

/// Opens both files. No link in the folder can lead out of it.
fn open(folder: &OwnedFd, name: &str) -> Result<[(File, Known); 2], String> {
    let open = |file: &str| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let open = || rustix::fs::openat2(folder.as_fd(), file, flags, Mode::empty(), ResolveFlags::BENEATH);
        let opened = catamaran_worker::retried(open)
            .and_then(|opened| Ok((rustix::fs::fstat(&opened)?, opened)))
            .map_err(|e| format!("{name}/{file} cannot be read: {}{}", io::Error::from(e), advice(e)));
        let (stat, opened) = opened?;
        Ok::<_, String>((File::from(opened), Known::from(&stat)))
    };
    Ok([open(CERTIFICATE)?, open(KEY)?])
}

fn advice(e: rustix::io::Errno) -> String {
    match e {
        rustix::io::Errno::NOENT => {
            format!(
                "; mount a secret with the keys {CERTIFICATE} and {KEY} there (kubectl create secret tls makes one)"
            )
        }
        rustix::io::Errno::ACCESS => format!(
            "; the container runs as user {} of group {}: set the pod's fsGroup, or the volume's defaultMode",
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw()
        ),
        _ => String::new(),
    }
}

fn text(file: File, name: &str, which: &str) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    match file.take(LARGEST + 1).read_to_end(&mut text) {
        Ok(read) if read as u64 > LARGEST => Err(format!("{name}/{which} has more than {} MiB", LARGEST >> 20)),
        Ok(_) => Ok(text),
        Err(e) => Err(format!("{name}/{which} cannot be read: {e}")),
    }
}

impl From<&Stat> for Known {
    fn from(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}
