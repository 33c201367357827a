//! The certificate of the server, with its key, from files that are read again when they change.

use std::fmt;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, Error, RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::watched_files::{Reread, WatchedFiles, open};

/// The protocols that clients may choose from, the preferred one first.
pub(crate) const HTTP_2: &[u8] = b"h2";
const PROTOCOLS: [&[u8]; 2] = [HTTP_2, b"http/1.1"];

/// Before a certificate expires, from which on it is reported.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// How rustls spells that a certificate for a server is marked as an authority's. This is the default
/// of `openssl req -x509`, and not every client refuses it.
const AUTHORITY: &str = "CaUsedAsEndEntity";

/// Of each of the two files, in bytes.
const MAX_FILE_SIZE: u64 = 1024 * 1024;

/// A certificate with its chain and its key, read and checked.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    watched: WatchedFiles,
    certificate: CertificateDer<'static>,
    /// The end of its validity.
    expires: UnixTime,
    config: Arc<ServerConfig>,
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate of the server first, then those of its issuers.
    pub certificate: TlsFile,
    pub key: TlsFile,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFile {
    pub path: PathBuf,
    /// What messages call it.
    pub shown: String,
}

/// What clients do not accept of a certificate that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateWarning {
    pub found: String,
    pub remedy: &'static str,
}

/// What is wrong, and with which of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsError {
    Certificate(String),
    Key(String),
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.files).finish()
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files && self.certificate == other.certificate
    }
}

impl Eq for Tls {}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(text) => write!(f, "tls.certificate: {text}"),
            Self::Key(text) => write!(f, "tls.key: {text}"),
        }
    }
}

impl Tls {
    /// Reads and checks both files.
    ///
    /// # Errors
    /// A file cannot be used, the two do not fit, or the certificate has expired.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        Self::load_at(files, UnixTime::now())
    }

    fn load_at(files: TlsFiles, now: UnixTime) -> Result<Self, TlsError> {
        let watched = WatchedFiles::new([&files.certificate.path, &files.key.path]);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = read_chain(&files.certificate).map_err(TlsError::Certificate)?;
        let key = read_key(&files.key).map_err(TlsError::Key)?;
        let shown = &files.certificate.shown;
        let of_certificate = |error| TlsError::Certificate(format!("{shown}: {error}"));
        let certificate = chain[0].clone();
        let expires = expiry(&certificate).map_err(of_certificate)?;
        if expires < now {
            let time = display_time(expires);
            let text = format!("the certificate has expired at {time}; put a new one in its place");
            return Err(of_certificate(text));
        }
        let pair = pair(&files, chain, key, &provider)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| of_certificate(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Self {
            files,
            watched,
            certificate,
            expires,
            config: Arc::new(config),
        })
    }

    /// When the certificate expires: RFC 3339.
    #[must_use]
    pub fn expires_at(&self) -> String {
        display_time(self.expires)
    }

    /// Why clients refuse the certificate, or soon will.
    #[must_use]
    pub fn warnings(&self) -> Vec<CertificateWarning> {
        self.warnings_at(UnixTime::now())
    }

    fn warnings_at(&self, now: UnixTime) -> Vec<CertificateWarning> {
        let mut warnings = Vec::new();
        let time = self.expires_at();
        if self.expires < now {
            warnings.push(CertificateWarning {
                found: format!("the certificate has expired at {time}, and clients refuse it"),
                remedy: "put a new one in its place",
            });
        } else if self.expires.as_secs() < now.as_secs() + EXPIRES_SOON.as_secs() {
            warnings.push(CertificateWarning {
                found: format!("the certificate expires at {time}"),
                remedy: "put a new one in its place before",
            });
        }
        match problem_at(&self.certificate, now) {
            // The issuer is for the clients to know, and an expiry is reported above.
            None
            | Some(Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::ExpiredContext { .. },
            )) => {}
            Some(error) if error.to_string().contains(AUTHORITY) => {
                warnings.push(CertificateWarning {
                    found:
                        "the certificate is marked as an authority's (CA:TRUE), and clients may \
                            refuse it"
                            .to_owned(),
                    remedy: "make one with basicConstraints CA:FALSE",
                });
            }
            Some(error) => warnings.push(CertificateWarning {
                found: format!("clients may refuse the certificate ({error})"),
                remedy: "put one in its place that they accept now",
            }),
        }
        warnings
    }
}

impl fmt::Display for CertificateWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tls.certificate: {}; {}", self.found, self.remedy)
    }
}

fn pair(
    files: &TlsFiles,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let [certificate, shown] = [&files.certificate, &files.key].map(|it| &it.shown);
    let signer = provider.key_provider.load_private_key(key);
    let signer =
        signer.map_err(|error| TlsError::Key(format!("{shown} cannot be used: {error}")))?;
    let pair = CertifiedKey::new(chain, signer);
    match pair.keys_match() {
        // Not every kind of key can say.
        Ok(()) | Err(Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(pair),
        Err(Error::InconsistentKeys(_)) => Err(TlsError::Key(format!(
            "{shown} is not the key of the first certificate in {certificate}, which must be the \
             server's own; give the two that were issued together"
        ))),
        Err(error) => Err(TlsError::Certificate(format!(
            "{certificate}: the first certificate is invalid: {error}"
        ))),
    }
}

fn read(file: &TlsFile) -> Result<Vec<u8>, String> {
    let mut pem = Vec::new();
    let opened = open(&file.path).and_then(|opened| {
        let n = opened.take(MAX_FILE_SIZE + 1).read_to_end(&mut pem)?;
        match u64::try_from(n).is_ok_and(|n| n <= MAX_FILE_SIZE) {
            true => Ok(()),
            false => Err(io::Error::other("it has more than 1 MiB")),
        }
    });
    match opened {
        Ok(()) => Ok(pem),
        Err(error) => Err(format!("cannot read {}: {error}", file.shown)),
    }
}

/// At least one certificate.
fn read_chain(file: &TlsFile) -> Result<Vec<CertificateDer<'static>>, String> {
    let (pem, shown) = (read(file)?, &file.shown);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(format!(
            "{shown} has no PEM certificate; give the file with '-----BEGIN CERTIFICATE-----'"
        )),
        Err(error) => Err(format!("{shown} is not a PEM file: {error}")),
    }
}

fn read_key(file: &TlsFile) -> Result<PrivateKeyDer<'static>, String> {
    let (bytes, shown) = (read(file)?, &file.shown);
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    // Of PKCS #8, and of the older form of OpenSSL.
    if lines.any(|line| {
        line.starts_with("-----BEGIN ENCRYPTED ") || line.starts_with("Proc-Type: 4,ENCRYPTED")
    }) {
        return Err(format!(
            "{shown} is encrypted, and a daemon has nobody to ask for the password; give a key \
             without one (openssl pkey -in {shown} -out FILE)"
        ));
    }
    let key = PrivateKeyDer::from_pem_slice(&bytes);
    key.map_err(|error| match matches!(error, pem::Error::NoItemsFound) {
        true => format!(
            "{shown} has no PEM private key; give the file with '-----BEGIN PRIVATE KEY-----'"
        ),
        false => format!("{shown} is not a PEM file: {error}"),
    })
}

/// What a client would find at a time that knows no issuer at all.
fn problem_at(certificate: &CertificateDer<'_>, time: UnixTime) -> Option<Error> {
    let verified = ParsedCertificate::try_from(certificate).and_then(|parsed| {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        let issuers = RootCertStore::empty();
        verify_server_cert_signed_by_trust_anchor(&parsed, &issuers, &[], time, algorithms.all)
    });
    verified.err()
}

/// The end of the validity, which rustls tells of a certificate that has expired: all have at the end of
/// time.
fn expiry(certificate: &CertificateDer<'_>) -> Result<UnixTime, String> {
    let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    match problem_at(certificate, end_of_time) {
        Some(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Ok(not_after)
        }
        Some(error) => Err(format!("the first certificate is invalid: {error}")),
        None => Err("the first certificate does not expire".to_owned()),
    }
}

fn display_time(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok();
    let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "the end of time".to_owned(), |time| time.to_string())
}

/// The certificate that is in use.
#[derive(Debug)]
pub(crate) struct ServerTls(Mutex<CurrentTls>);

#[derive(Debug)]
struct CurrentTls {
    tls: Tls,
    /// Warnings that were logged, so that each is logged once.
    logged: Vec<CertificateWarning>,
}

impl ServerTls {
    pub(crate) fn new(tls: Tls) -> Self {
        let logged = Vec::new();
        Self(Mutex::new(CurrentTls { tls, logged }))
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.lock().tls.config))
    }

    /// Reads the files again if they have changed; a pair that cannot be used is reported, and the one
    /// in use stays.
    pub(crate) fn refresh(&self, now: UnixTime) {
        let mut current = self.lock();
        let CurrentTls { tls, logged } = &mut *current;
        let read = || Tls::load_at(tls.files.clone(), now).map_err(|error| error.to_string());
        let new = tls
            .watched
            .refresh(Reread::IfChangedOrFailed, "TLS certificate", read);
        if let Some(new) = new {
            *tls = new;
        }
        let warnings = tls.warnings_at(now);
        for warning in warnings.iter().filter(|it| !logged.contains(it)) {
            tracing::warn!("{warning}");
        }
        *logged = warnings;
    }

    /// What is wrong with the certificate in use, or with the files that should replace it.
    pub(crate) fn problems(&self, now: UnixTime) -> Vec<String> {
        let current = self.lock();
        let reload = current.tls.watched.problem().map(str::to_owned);
        let warnings = current.tls.warnings_at(now);
        let warnings = warnings.iter().map(ToString::to_string);
        warnings.chain(reload).collect()
    }

    /// When the certificate in use expires: RFC 3339.
    pub(crate) fn expires_at(&self) -> String {
        self.lock().tls.expires_at()
    }

    fn lock(&self) -> MutexGuard<'_, CurrentTls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests;
