//! Certificates that cannot be used.

use std::path::Path;

use windlass_tests::certificate::Certificate;
use windlass_tests::temp_dir::TempDir;

use crate::{USAGE, run, serve};

/// `serve` and `check` refuse a file of the directory, in the line of its key.
async fn assert_refused(files: &Path, line: u32, says: &str) {
    let dir = TempDir::new("tls");
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| files.join(name));
    let config = format!(
        "tls:\n  certificate: {}\n  key: {}\n",
        certificate.display(),
        key.display()
    );
    let says = [&*format!("windlass.yaml:{line}: tls."), says];
    serve(dir.path(), &config).await.assert(USAGE, &says);
    let check = run(dir.path(), &["check", "--config", "windlass.yaml"]).await;
    check.assert(USAGE, &says);
}

#[tokio::test]
async fn a_certificate_or_key_that_cannot_be_used() {
    let files = TempDir::new("tls-files");
    let write = |certificate: &str, key: &str| {
        let (pem, key) = (certificate.to_owned(), key.to_owned());
        drop(Certificate { pem, key }.write(files.path()));
    };
    let good = Certificate::new(&["localhost"], 2100);
    let other = Certificate::new(&["localhost"], 2100);
    let expired = Certificate::new(&["localhost"], 2026);
    let encrypted = good.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert_refused(files.path(), 2, "cannot read ").await;
    write(&good.pem, &other.key);
    let not_its_key = "give the two that were issued together";
    assert_refused(files.path(), 3, not_its_key).await;
    write(&expired.pem, &expired.key);
    let has_expired = "has expired at 2026-01-01T00:00:00Z; put a new one in its place";
    assert_refused(files.path(), 2, has_expired).await;
    write("nothing\n", &good.key);
    assert_refused(files.path(), 2, "has no PEM certificate").await;
    write(&good.pem, &encrypted);
    assert_refused(files.path(), 3, "openssl pkey -in").await;
}

#[tokio::test]
async fn a_certificate_without_its_key() {
    let dir = TempDir::new("tls");
    for (config, says) in [
        (
            "tls: {certificate: a}\n",
            "tls: both are required: certificate and key",
        ),
        (
            "tls: {certificate: a, key: b, more: c}\n",
            "tls.more: unknown key",
        ),
        ("tls: on\n", "tls: expected a map with certificate and key"),
    ] {
        serve(dir.path(), config)
            .await
            .assert(USAGE, &["windlass.yaml:1: ", says]);
    }
}
