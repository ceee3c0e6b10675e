//! Names the reasons for which a guest's request has no response, as `wasi:http` has them.

use std::error::Error as StdError;
use std::io;

use catamaran_names::Failure as Names;
use hyper_util::client::legacy;
use wasmtime_wasi_http::Error;

/// The failures of a connection that are our own.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Name(#[from] Names),
    #[error("all of its addresses are the node's own")]
    Prohibited,
    #[error("no connection in time")]
    Late,
}

/// Returns the first cause that has a name in `wasi:http`, because the client's own words are of no use to a guest.
pub(super) fn of_client(error: &legacy::Error) -> Error {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(named) = named(error) {
            return named;
        }
        cause = error.source();
    }
    match error.is_connect() {
        true => Error::DestinationUnavailable,
        false => Error::HttpProtocolError,
    }
}

fn named(error: &(dyn StdError + 'static)) -> Option<Error> {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return Some(match failure {
            Failure::Name(Names::NotFound) => dns("NXDOMAIN"),
            Failure::Name(Names::Unavailable) => dns("SERVFAIL"),
            Failure::Name(Names::Invalid) => Error::HttpRequestUriInvalid,
            Failure::Prohibited => Error::DestinationIpProhibited,
            Failure::Late => Error::ConnectionTimeout,
        });
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(match error {
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => Error::TlsCertificateError,
            rustls::Error::AlertReceived(alert) => {
                Error::TlsAlertReceived { alert_id: Some(u8::from(*alert)), alert_message: Some(format!("{alert:?}")) }
            }
            _ => Error::TlsProtocolError,
        });
    }
    // The guest's own body may be what failed.
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return match () {
            () if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => {
                Some(Error::ConnectionTerminated)
            }
            () if error.is_parse_too_large() => Some(Error::HttpResponseHeaderSectionSize(None)),
            () if error.is_parse() => Some(Error::HttpProtocolError),
            () => None,
        };
    }
    let error = error.downcast_ref::<io::Error>()?;
    // An error of TLS comes within an I/O error.
    if let Some(named) = error.get_ref().and_then(|inner| named(inner)) {
        return Some(named);
    }
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            Error::ConnectionTerminated
        }
        io::ErrorKind::UnexpectedEof => Error::ConnectionTerminated,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => Error::DestinationIpUnroutable,
        _ => Error::DestinationUnavailable,
    })
}

fn dns(code: &str) -> Error {
    Error::DnsError { rcode: Some(code.to_owned()), info_code: None }
}
