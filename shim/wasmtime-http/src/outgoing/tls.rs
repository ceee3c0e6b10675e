//! The certificates that a guest's requests trust: the container's own bundle, or else those that browsers trust.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use wasmtime_wasi_http::Error;

use super::Shared;

/// Where images have their bundle (Debian, Alpine, and all that follow them).
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The most bytes that are read of a bundle.
const LARGEST: u64 = 16 << 20;

/// The settings, which the first request that needs them reads once.
#[derive(Default)]
pub(super) struct Settings(OnceLock<Result<Arc<ClientConfig>, ()>>);

impl Settings {
    /// Reads the settings, if that was not done.
    ///
    /// # Errors
    /// [`Error::ConfigurationError`] when the settings cannot be read; the container's standard error says why.
    pub(super) fn load(&self, shared: &Shared) -> Result<Arc<ClientConfig>, Error> {
        let read = || {
            read(shared.certificates.as_deref()).map_err(|text| {
                shared.output.tell(format!("catamaran: no request can be made by HTTPS: {text}\n"));
            })
        };
        self.0.get_or_init(read).clone().map_err(|()| Error::ConfigurationError)
    }
}

fn read(named: Option<&str>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let (path, required) = match named {
        Some(path) => (path, true),
        None => (BUNDLE, false),
    };
    match bundle(path) {
        Ok(certificates) => {
            // A bundle may have certificates that cannot be used. One that can is enough.
            let (taken, ignored) = roots.add_parsable_certificates(certificates);
            if taken == 0 {
                return Err(format!(
                    "{path} has no certificate that can be used ({ignored} that cannot): write some of PEM into it"
                ));
            }
        }
        Err(e) if required => {
            return Err(format!("SSL_CERT_FILE of the environment names {path}, which cannot be read: {e}"));
        }
        Err(e) if e.kind() == ErrorKind::NotFound => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Err(e) => return Err(format!("{path} cannot be read: {e}")),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn bundle(path: &str) -> std::io::Result<Vec<CertificateDer<'static>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
    // Everything that is no certificate is passed over.
    Ok(CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok).collect())
}
