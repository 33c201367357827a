//! Certificate authorities that TLS connections trust.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider};
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, RootCertStore};

/// How rustls spells that a server presents a certificate that is marked as an authority's. This is
/// the default of `openssl req -x509`, and other TLS libraries accept it.
const AUTHORITY: &str = "CaUsedAsEndEntity";

/// The SDK's default.
pub(crate) const TLS: Provider = Provider::Rustls(rustls_provider::CryptoMode::AwsLc);

/// Whether calls share connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connections {
    Shared,
    OnePerCall,
}

/// The certificates of `AWS_CA_BUNDLE`, read and checked.
///
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-gen-config.html>
#[derive(Clone, PartialEq, Eq)]
pub struct CaBundle {
    pem: Arc<[u8]>,
}

impl fmt::Debug for CaBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaBundle").finish_non_exhaustive()
    }
}

impl CaBundle {
    /// Reads a file of PEM certificates.
    ///
    /// # Errors
    /// A message for people: the file cannot be read, or has no or an invalid certificate.
    pub fn read(path: &Path) -> Result<Self, String> {
        let file = path.display();
        let pem = std::fs::read(path).map_err(|error| format!("cannot read {file}: {error}"))?;
        let bundle = Self { pem: pem.into() };
        let certificates = bundle
            .certificates()
            .map_err(|error| format!("{file} is not a PEM file: {error}"))?;
        if certificates.is_empty() {
            return Err(format!("{file} has no PEM certificate"));
        }
        let mut roots = RootCertStore::empty();
        for (index, certificate) in certificates.into_iter().enumerate() {
            roots.add(certificate).map_err(|error| {
                format!("certificate {} of {file} is invalid: {error}", index + 1)
            })?;
        }
        Ok(bundle)
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
        CertificateDer::pem_slice_iter(&self.pem).collect()
    }

    /// An HTTP client for the SDK like its default one, except that it trusts these authorities
    /// instead of the machine's, as the AWS CLI does.
    pub(crate) fn http_client(&self, connections: Connections) -> SharedHttpClient {
        let pem = Arc::clone(&self.pem);
        Builder::new().build_with_connector_fn(move |settings, components| {
            let roots = TrustStore::empty().with_pem_certificate(pem.to_vec());
            let context = TlsContext::builder().with_trust_store(roots).build();
            let mut connector = ConnectorBuilder::default()
                .tls_provider(TLS)
                .tls_context(context.expect("the certificates have been checked"));
            if connections == Connections::OnePerCall {
                connector.set_pool_max_idle_per_host(Some(0));
            }
            connector.set_connector_settings(settings.cloned());
            if let Some(components) = components {
                connector.set_sleep_impl(components.sleep_impl());
            }
            connector.set_proxy_config(Some(ProxyConfig::from_env()));
            connector.build()
        })
    }
}

/// What is wrong with the certificate of a server, where the words of the TLS library do not say.
pub(crate) fn explain(error: &(dyn Error + 'static)) -> Option<&'static str> {
    // Its own error is hidden in one of I/O, whose text names it.
    let mut cause = Some(error);
    while let Some(error) = cause.filter(|error| !error.to_string().contains(AUTHORITY)) {
        cause = error.source();
    }
    cause.map(|_| {
        "the server presents the certificate of an authority (CA:TRUE), which is good for issuing \
         others and not for a server itself; make one with CA:FALSE, for example by openssl req \
         -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=localhost -addext \
         subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
         -keyout server.key -out server.pem, and name it in AWS_CA_BUNDLE"
    })
}

/// Connects to a function or a daemon, over TLS if its URL says so.
pub type Connector = HttpsConnector<HttpConnector>;

/// `is_https`: without it no authorities are read, which a machine may not have. `bundle` adds to those
/// that the machine trusts.
///
/// # Errors
/// The URL is HTTPS and no root certificates can be read.
pub fn connector(
    mut http: HttpConnector,
    is_https: bool,
    bundle: Option<&CaBundle>,
) -> io::Result<Connector> {
    http.enforce_http(false);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let roots = match is_https {
        true => roots(bundle)?,
        false => RootCertStore::empty(),
    };
    let tls = tls.with_root_certificates(roots).with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1();
    Ok(connector.wrap_connector(http))
}

/// Why a server was not trusted, and the remedy; `None` if a call failed for another reason.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the others say why themselves"
)]
#[must_use]
pub fn describe(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = error;
    let found = loop {
        match tls_error(cause) {
            Some(found) => break found,
            None => cause = cause.source()?,
        }
    };
    if let Some(text) = explain(found) {
        return Some(text.to_owned());
    }
    Some(match found {
        rustls::Error::InvalidCertificate(why) => {
            format!("the certificate of the server {}", distrust(why))
        }
        rustls::Error::InvalidMessage(_) => {
            "the server does not speak TLS; call it by http://".to_owned()
        }
        other => format!("no TLS connection: {other}"),
    })
}

/// Why a certificate is not trusted, and the remedy.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the others say why themselves"
)]
fn distrust(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "is of an authority that is not trusted here; name a PEM file with the certificate of \
             the authority in AWS_CA_BUNDLE"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "is for other names ({}); call the server by one of them, or give it a certificate with \
             the name it is called by",
            presented.join(", ")
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has expired; give the server a new one".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet; compare the clocks of both machines".to_owned()
        }
        other => format!("is not accepted: {other}"),
    }
}

/// The TLS library's own error, which one or more of I/O contain without naming it as their cause.
fn tls_error<'a>(mut error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    while let Some(inner) = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        error = inner;
    }
    error.downcast_ref()
}

/// The machine's authorities and those of a bundle, for calls of functions and daemons.
///
/// They are not AWS: a bundle with only a company's authority must not cut off functions with
/// publicly trusted certificates.
///
/// # Errors
/// There are no authorities at all.
pub(crate) fn roots(bundle: Option<&CaBundle>) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let machine = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(machine.certs);
    if let Some(bundle) = bundle {
        let certificates = bundle.certificates().map_err(io::Error::other)?;
        roots.add_parsable_certificates(certificates);
    }
    if !roots.is_empty() {
        return Ok(roots);
    }
    let cause = machine.errors.first().map(|error| format!(": {error}"));
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!(
            "no root certificates found on this machine{}; install them (the package is often \
             called ca-certificates), or set AWS_CA_BUNDLE to a PEM file",
            cause.unwrap_or_default()
        ),
    ))
}

#[cfg(test)]
mod tests;
