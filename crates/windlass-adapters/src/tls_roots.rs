//! Which authorities are trusted to say who a server is.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider};
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// The certificates of `AWS_CA_BUNDLE`, which have been read and can be used.
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
    /// Reads a file of certificates in the form of PEM.
    ///
    /// # Errors
    /// It cannot be read, holds no certificate, or one that is damaged: in words.
    pub fn read(path: &Path) -> Result<Self, String> {
        let place = path.display();
        let pem =
            std::fs::read(path).map_err(|error| format!("{place} cannot be read: {error}"))?;
        let bundle = Self { pem: pem.into() };
        let certificates = bundle.certificates();
        let certificates =
            certificates.map_err(|error| format!("{place} is no file of PEM: {error}"))?;
        if certificates.is_empty() {
            return Err(format!("{place} holds no certificate in the form of PEM"));
        }
        let mut roots = RootCertStore::empty();
        for (index, certificate) in certificates.into_iter().enumerate() {
            roots
                .add(certificate)
                .map_err(|error| format!("certificate {} of {place}: {error}", index + 1))?;
        }
        Ok(bundle)
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
        CertificateDer::pem_slice_iter(&self.pem).collect()
    }

    /// What the SDK connects with: as it would by itself, but these authorities are trusted in
    /// place of the machine's, as in the AWS CLI.
    pub(crate) fn http_client(&self) -> SharedHttpClient {
        let pem = Arc::clone(&self.pem);
        Builder::new().build_with_connector_fn(move |settings, components| {
            let trusted = TrustStore::empty().with_pem_certificate(pem.to_vec());
            let context = TlsContext::builder().with_trust_store(trusted).build();
            let provider = Provider::Rustls(rustls_provider::CryptoMode::AwsLc);
            let mut connector = ConnectorBuilder::default()
                .tls_provider(provider)
                .tls_context(context.expect("the certificates were read before"));
            connector.set_connector_settings(settings.cloned());
            if let Some(components) = components {
                connector.set_sleep_impl(components.sleep_impl());
            }
            connector.set_proxy_config(Some(ProxyConfig::from_env()));
            connector.build()
        })
    }
}

/// The machine's authorities and those of a bundle.
///
/// Functions are not AWS: those with a certificate that everybody trusts stay within reach of a
/// daemon whose bundle holds only the authority of a company.
///
/// # Errors
/// There are none.
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
    let why = machine.errors.first().map(|error| format!(": {error}"));
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!(
            "this machine has no root certificates{}; install them (the package is often called \
             ca-certificates), or set AWS_CA_BUNDLE to a file of PEM",
            why.unwrap_or_default()
        ),
    ))
}

#[cfg(test)]
mod tests;
