//! Connections: TLS, name resolution, and what to say when there is none.
//!
//! Promises: certificates are checked by the system's trust store and, if given, one more authority; checking is never
//! switched off. `localhost` and names below it are this machine without asking anybody (RFC 6761 section 6.3).

use std::error::Error as StdError;
use std::fs;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use reqwest::Certificate;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::{CertificateError, InvalidMessage};

use crate::error::CliError;
use crate::target::{Source, Target, is_loopback, key_of};

/// To open a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How the HTTP library tells that an answer does not begin as one in HTTP does, such as the alert of a TLS port.
const NOT_HTTP: &str = "invalid HTTP version parsed";
/// The largest file of certificates.
const CACERT_BYTES_MAX: u64 = 1 << 20;

/// The client for a server.
pub(crate) fn build(target: &Target) -> Result<reqwest::Client, CliError> {
    // Whoever installed a provider first wins; ours is the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("slipway-cli/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .dns_resolver(Resolver);
    if is_loopback(&target.url) {
        builder = builder.no_proxy();
    }
    let certificates = target.cacert.as_deref().map(read_certificates).transpose()?;
    builder = match (target.url.scheme(), certificates) {
        // Plain HTTP needs no roots, so a machine without any can still talk to its own server.
        ("http", _) => builder.tls_certs_only([]),
        (_, Some(certificates)) => builder.tls_certs_merge(certificates),
        (_, None) => builder,
    };
    builder.build().map_err(|error| {
        CliError::failed_with(
            format!("HTTPS is not possible here: {}", chain(&error)),
            "install the system's certificates (the package `ca-certificates`), or name the server's authority with --cacert",
        )
    })
}

fn read_certificates(path: &Path) -> Result<Vec<Certificate>, CliError> {
    let shown = path.display();
    let refuse = |why: String| {
        CliError::usage(
            format!("cannot use {shown} as certificate authority: {why}"),
            "--cacert takes a PEM file, on the server itself `<data dir>/ca/root.pem`",
        )
    };
    let mut pem = Vec::new();
    fs::File::open(path)
        .and_then(|f| f.take(CACERT_BYTES_MAX).read_to_end(&mut pem))
        .map_err(|error| refuse(error.to_string()))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| refuse(error.to_string()))?;
    if certificates.is_empty() {
        Err(refuse("it holds no certificate".into()))
    } else {
        Ok(certificates)
    }
}

/// The system's resolver, but `localhost` and what lies below it is always this machine.
struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str().trim_end_matches('.').to_ascii_lowercase();
            if host == "localhost" || host.ends_with(".localhost") {
                let here: Addrs = Box::new(std::iter::once(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
                return Ok(here);
            }
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Why the two ends do not understand each other: another try would end the same way.
pub(crate) enum Fault {
    /// The certificate is not acceptable.
    Certificate(CertificateError),
    /// The port was spoken to in TLS and answered in something else.
    NotTls,
    /// The port was spoken to in plain HTTP and answered in something else.
    NotPlainHttp,
}

/// The fault, if that is why there is no answer.
pub(crate) fn fault(error: &reqwest::Error) -> Option<Fault> {
    causes(error).find_map(|cause| match tls_error(cause) {
        Some(rustls::Error::InvalidCertificate(fault)) => Some(Fault::Certificate(fault.clone())),
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Some(Fault::NotTls),
        Some(_) => None,
        None => (cause.to_string() == NOT_HTTP).then_some(Fault::NotPlainHttp),
    })
}

/// The TLS library's error, which may be wrapped in errors of I/O that do not count it among their causes.
fn tls_error<'a>(cause: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    cause
        .downcast_ref()
        .or_else(|| tls_error(cause.downcast_ref::<io::Error>()?.get_ref()?))
}

/// Why there was no answer, and what to do.
pub(crate) fn explain(error: &reqwest::Error, target: &Target) -> CliError {
    let url = key_of(&target.url);
    if let Some(fault) = fault(error) {
        return explain_fault(&fault, &url);
    }
    let kind = causes(error)
        .find_map(|c| c.downcast_ref::<io::Error>())
        .map(io::Error::kind);
    if error.is_connect() && kind == Some(io::ErrorKind::ConnectionRefused) {
        return refused(target, &url);
    }
    if error.is_timeout() {
        return took_too_long(target);
    }
    let hint = if error.is_connect() {
        "check the address (`--url`, SLIPWAY_URL) and the network"
    } else {
        "the connection broke; try again"
    };
    CliError::failed_with(format!("no answer from {url}: {}", chain(error)), hint)
}

fn refused(target: &Target, url: &str) -> CliError {
    let hint = match target.source {
        Source::ThisMachine => {
            "start a server here with `slipway up`, or log in to one elsewhere with `slipway login URL`".to_owned()
        }
        Source::Stored => format!("is the server running? To forget it: `slipway logout {url}`"),
        Source::Given if is_loopback(&target.url) => "start the server with `slipway up`, or check the port".to_owned(),
        Source::Given => "check the address (`--url`, SLIPWAY_URL); is the server running?".to_owned(),
    };
    CliError::failed_with(format!("nothing listens at {url} (connection refused)"), hint)
}

/// The server did not answer in time.
pub(crate) fn took_too_long(target: &Target) -> CliError {
    CliError::timed_out(
        format!("{} did not answer in time", key_of(&target.url)),
        "try again; check the address (`--url`, SLIPWAY_URL) and the network",
    )
}

fn explain_fault(fault: &Fault, url: &str) -> CliError {
    let address = url.split_once("://").map_or(url, |(_, address)| address);
    match fault {
        Fault::Certificate(fault) => explain_certificate(fault, url),
        Fault::NotTls => CliError::failed_with(
            format!("there is no HTTPS at {url}: the port speaks plain HTTP"),
            format!("use `http://{address}`, over a network that you trust: the token then travels unencrypted"),
        ),
        Fault::NotPlainHttp => CliError::failed_with(
            format!("there is no plain HTTP at {url}: the port speaks HTTPS or something else"),
            format!("use `https://{address}`"),
        ),
    }
}

fn explain_certificate(fault: &CertificateError, url: &str) -> CliError {
    match fault {
        CertificateError::UnknownIssuer => CliError::failed_with(
            format!("the certificate of {url} is from an authority that this machine does not know"),
            "if it is the server's internal one, copy `<data dir>/ca/root.pem` from there and give it with --cacert or SLIPWAY_CACERT",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => CliError::failed_with(
            format!("the certificate of {url} has expired"),
            "tell the operator; check this machine's clock",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => CliError::failed_with(
            format!("the certificate of {url} is for another name"),
            "use the name that the certificate is for",
        ),
        other => CliError::failed_with(
            format!("the certificate of {url} is not acceptable: {other}"),
            "tell the operator of the server",
        ),
    }
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let current = next?;
        next = current.source();
        Some(current)
    })
}

/// The innermost cause says what happened; the outer ones only where.
fn chain(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_below_localhost_are_this_machine() {
        for name in ["localhost", "api.localhost", "A.LocalHost"] {
            let name: Name = name.parse().expect("valid");
            let found: Vec<_> = Resolver.resolve(name).await.expect("resolves").collect();
            assert_eq!(found, [SocketAddr::from((Ipv4Addr::LOCALHOST, 0))]);
        }
    }
}
