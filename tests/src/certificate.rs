//! Certificates that are made by tests.

use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair};

/// A self-signed certificate with its key, both PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub pem: String,
    pub key: String,
}

impl Certificate {
    /// For hosts, from 2025 to the start of another year.
    ///
    /// # Panics
    /// If a host is not a name.
    #[must_use]
    pub fn new(hosts: &[&str], end_year: i32) -> Self {
        let hosts: Vec<String> = hosts.iter().copied().map(str::to_owned).collect();
        let mut params = CertificateParams::new(hosts).expect("they are names");
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(end_year, 1, 1);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.self_signed(&key).expect("it is complete");
        Self {
            pem: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// Writes `tls.crt` and `tls.key`, and returns their paths.
    ///
    /// # Panics
    /// If the directory cannot be written.
    pub fn write(&self, dir: &Path) -> [PathBuf; 2] {
        let files = ["tls.crt", "tls.key"].map(|name| dir.join(name));
        for (file, text) in files.iter().zip([&self.pem, &self.key]) {
            std::fs::write(file, text).expect("the directory is writable");
        }
        files
    }
}
