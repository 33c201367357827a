//! Certificates that are made here, good and bad.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use super::*;

/// 2026-01-01T00:00:00Z
const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_767_225_600));

struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        let name = format!("windlass-tls-{}", uuid::Uuid::new_v4());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn files(&self) -> TlsFiles {
        let file = |name: &str| TlsFile {
            path: self.0.join(name),
            shown: name.to_owned(),
        };
        TlsFiles {
            certificate: file("tls.crt"),
            key: file("tls.key"),
        }
    }

    fn write(&self, certificate: &str, key: &str) -> TlsFiles {
        let files = self.files();
        std::fs::write(&files.certificate.path, certificate).unwrap();
        std::fs::write(&files.key.path, key).unwrap();
        files
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A certificate that expires at the start of a day of 2026, and its key.
fn made(expires: (u8, u8), change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2025, 1, 1);
    params.not_after = rcgen::date_time_ymd(2026, expires.0, expires.1);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// A certificate that clients accept today, if they trust it, and itself.
pub(crate) fn lasting() -> (Tls, CertificateDer<'static>) {
    let dir = TempDir::new();
    let (certificate, key) = made((1, 1), |params| {
        params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    });
    let tls = Tls::load(dir.write(&certificate, &key)).unwrap();
    let certificate = tls.certificate.clone();
    (tls, certificate)
}

fn later(days: u64) -> UnixTime {
    let day = Duration::from_secs(24 * 60 * 60);
    UnixTime::since_unix_epoch(Duration::from_secs(NOW.as_secs() + days * day.as_secs()))
}

#[test]
fn what_is_wrong_is_said_of_the_file_at_fault() {
    let dir = TempDir::new();
    let (certificate, key) = made((6, 1), |_| {});
    let (expired, its_key) = made((1, 1), |params| {
        params.not_after = rcgen::date_time_ymd(2025, 12, 31);
    });
    let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let older = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n";
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (certificate, key, of_key, says) in [
        ("", &*key, false, "tls.crt has no PEM certificate"),
        (&*key, &key, false, "tls.crt has no PEM certificate"),
        (
            "-----BEGIN CERTIFICATE-----\n",
            &key,
            false,
            "tls.crt is not a PEM file",
        ),
        (broken, &key, false, "the first certificate is invalid"),
        (
            &expired,
            &its_key,
            false,
            "has expired at 2025-12-31T00:00:00Z; put a new one",
        ),
        (&certificate, "", true, "tls.key has no PEM private key"),
        (
            &certificate,
            &certificate,
            true,
            "tls.key has no PEM private key",
        ),
        (&certificate, &encrypted, true, "tls.key is encrypted"),
        (&certificate, older, true, "tls.key is encrypted"),
        (
            &certificate,
            &its_key,
            true,
            "tls.key is not the key of the first certificate in",
        ),
    ] {
        let error = Tls::load_at(dir.write(certificate, key), NOW).unwrap_err();
        assert_eq!(matches!(error, TlsError::Key(_)), of_key, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    let mut files = dir.write(&certificate, &key);
    files.key.path = dir.0.join("none");
    let error = Tls::load_at(files, NOW).unwrap_err().to_string();
    assert!(error.contains("tls.key: cannot read tls.key: "), "{error}");
}

#[test]
fn an_expiry_is_reported_two_weeks_before() {
    let dir = TempDir::new();
    let (certificate, key) = made((1, 31), |_| {});
    let tls = Tls::load_at(dir.write(&certificate, &key), NOW).unwrap();
    assert_eq!(tls.warnings_at(later(16)), []);
    let [soon] = &tls.warnings_at(later(17))[..] else {
        panic!("one warning");
    };
    assert!(
        soon.found.contains("expires at 2026-01-31T00:00:00Z"),
        "{soon}"
    );
    let [expired] = &tls.warnings_at(later(31))[..] else {
        panic!("one warning");
    };
    assert!(
        expired.found.contains("has expired at 2026-01-31"),
        "{expired}"
    );
}

#[test]
fn what_clients_may_refuse_is_reported() {
    let dir = TempDir::new();
    let authority = |params: &mut CertificateParams| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    };
    let future = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2026, 2, 1);
    };
    let authority = (made((6, 1), authority), "CA:TRUE");
    let future = (made((6, 1), future), "not valid yet");
    for ((certificate, key), says) in [authority, future] {
        let tls = Tls::load_at(dir.write(&certificate, &key), NOW).unwrap();
        let warnings = tls.warnings_at(NOW);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].found.contains("may refuse"), "{warnings:?}");
        assert!(warnings[0].found.contains(says), "{warnings:?}");
    }
}

#[test]
fn a_pair_that_cannot_be_used_leaves_the_one_in_use() {
    let dir = TempDir::new();
    let (certificate, key) = made((6, 1), |_| {});
    let tls = ServerTls::new(Tls::load_at(dir.write(&certificate, &key), NOW).unwrap());
    tls.refresh(NOW);
    assert_eq!(tls.problems(NOW), [""; 0]);
    let (certificate, other_key) = made((7, 1), |_| {});
    dir.write(&certificate, &key);
    tls.refresh(NOW);
    let [problem] = &tls.problems(NOW)[..] else {
        panic!("one problem");
    };
    assert!(problem.starts_with("TLS certificate: "), "{problem}");
    assert!(problem.contains("is not the key of"), "{problem}");
    assert_eq!(tls.expires_at(), "2026-06-01T00:00:00Z");
    dir.write(&certificate, &other_key);
    tls.refresh(NOW);
    assert_eq!(tls.problems(NOW), [""; 0]);
    assert_eq!(tls.expires_at(), "2026-07-01T00:00:00Z");
}
