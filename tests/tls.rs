//! Encrypted connections: the real program, its commands, and certificates that are replaced.

use std::os::unix::fs::symlink;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::json;
use windlass_tests::certificate::Certificate;
use windlass_tests::daemon::{self, Daemon};
use windlass_tests::temp_dir::TempDir;
use windlass_tests::wait::until_some;

const TIMEOUT: Duration = Duration::from_secs(60);

const SECRET: &str = "0123456789abcdef";

/// A daemon whose certificate and secret are files of the directory.
async fn start(dir: &TempDir) -> anyhow::Result<Daemon> {
    std::fs::write(dir.path().join("secret"), SECRET)?;
    let config = json!({
        "store": format!("sqlite:{}", dir.path().join("store").display()),
        "tls": {"certificate": "tls.crt", "key": "tls.key"},
        "auth": {"access_keys": [{"id": "K", "secret_file": "secret", "role": "admin"}]},
    });
    Daemon::start(dir.path(), &config.to_string()).await
}

/// `windlass status` of an endpoint, which trusts a file of certificates: its exit code and its output.
async fn status(
    dir: &TempDir,
    endpoint: &str,
    bundle: Option<&str>,
) -> anyhow::Result<(Option<i32>, String)> {
    let mut command = tokio::process::Command::from(daemon::command());
    command
        .args(["status", "--endpoint", endpoint])
        .envs(bundle.map(|bundle| ("AWS_CA_BUNDLE", bundle)))
        .env("WINDLASS_ACCESS_KEY_ID", "K")
        .env("WINDLASS_SECRET_ACCESS_KEY", SECRET)
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let ended = tokio::time::timeout(TIMEOUT, command.output()).await??;
    let Output {
        status,
        stdout,
        stderr,
    } = ended;
    let text = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    Ok((status.code(), text.concat()))
}

/// Waits until the status is as it should be.
async fn until_status(
    what: &str,
    dir: &TempDir,
    endpoint: &str,
    bundle: &str,
    holds: impl Fn(&str) -> bool,
) -> anyhow::Result<()> {
    until_some(what, TIMEOUT, async || {
        let (code, text) = status(dir, endpoint, Some(bundle)).await?;
        Ok((code == Some(0) && holds(&text)).then_some(()))
    })
    .await
}

#[tokio::test]
async fn commands_call_a_daemon_by_https_or_say_why_not() -> anyhow::Result<()> {
    let dir = TempDir::new("tls");
    Certificate::new(&["localhost"], 2100).write(dir.path());
    let daemon = start(&dir).await?;
    let by_address = &daemon.endpoint;
    let by_name = by_address.replace("127.0.0.1", "localhost");
    let unencrypted = by_name.replace("https", "http");
    for (endpoint, bundle, code, says) in [
        (&by_name, Some("tls.crt"), 0, "no mappings"),
        (
            &by_name,
            None,
            1,
            "name a PEM file with the certificate of the authority in AWS_CA_BUNDLE",
        ),
        (
            by_address,
            Some("tls.crt"),
            1,
            "is for other names (DnsName(\"localhost\"))",
        ),
        (&unencrypted, None, 1, "call it by https://"),
        (
            &by_name,
            Some("none.pem"),
            64,
            "AWS_CA_BUNDLE: cannot read none.pem",
        ),
    ] {
        let (exit, text) = status(&dir, endpoint, bundle).await?;
        assert_eq!(exit, Some(code), "{endpoint} {bundle:?}: {text}");
        assert!(text.contains(says), "'{says}' is not in: {text}");
    }
    daemon.stop().await?;
    Ok(())
}

#[tokio::test]
async fn the_doctor_says_when_the_certificate_expires() -> anyhow::Result<()> {
    let dir = TempDir::new("tls");
    Certificate::new(&["localhost"], 2100).write(dir.path());
    let config = json!({
        "listen": "127.0.0.1:0",
        "store": format!("sqlite:{}", dir.path().join("store").display()),
        "tls": {"certificate": "tls.crt", "key": "tls.key"},
    });
    std::fs::write(dir.path().join("windlass.yaml"), config.to_string())?;
    let mut command = tokio::process::Command::from(daemon::command());
    command
        .args(["doctor", "--config", "windlass.yaml"])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(TIMEOUT, command.output()).await??;
    let text = String::from_utf8_lossy(&output.stdout);
    let says = "tls.certificate: the certificate expires at 2100-01-01T00:00:00Z";
    assert!(text.contains(says), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_daemon_without_tls_is_not_called_by_https() -> anyhow::Result<()> {
    let dir = TempDir::new("tls");
    Certificate::new(&["localhost"], 2100).write(dir.path());
    let config = json!({"store": format!("sqlite:{}", dir.path().join("store").display())});
    let daemon = Daemon::start(dir.path(), &config.to_string()).await?;
    let endpoint = daemon.endpoint.replace("http", "https");
    let (code, text) = status(&dir, &endpoint, Some("tls.crt")).await?;
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("does not speak TLS; call it by http://"),
        "{text}"
    );
    daemon.stop().await?;
    Ok(())
}

/// As Kubernetes replaces secrets: the files are links through a directory, whose link is replaced.
#[tokio::test]
async fn files_are_replaced_while_the_daemon_runs_and_bad_ones_are_reported() -> anyhow::Result<()>
{
    let dir = TempDir::new("tls");
    let point_to = |version: &str| -> std::io::Result<()> {
        symlink(version, dir.path().join("new"))?;
        std::fs::rename(dir.path().join("new"), dir.path().join("data"))
    };
    let [first, second, third] = [1, 2, 3].map(|_| Certificate::new(&["localhost"], 2100));
    let mixed = Certificate {
        pem: second.pem.clone(),
        key: first.key.clone(),
    };
    let versions = [
        ("1", &first),
        ("2", &second),
        ("3", &third),
        ("mixed", &mixed),
    ];
    for (name, certificate) in versions {
        std::fs::create_dir(dir.path().join(name))?;
        certificate.write(&dir.path().join(name));
    }
    point_to("1")?;
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("data/{name}"), dir.path().join(name))?;
    }
    let daemon = start(&dir).await?;
    let endpoint = daemon.endpoint.replace("127.0.0.1", "localhost");
    let is_good = |text: &str| !text.contains("warning");
    until_status("the first is in use", &dir, &endpoint, "1/tls.crt", is_good).await?;
    point_to("2")?;
    until_status(
        "the second is in use",
        &dir,
        &endpoint,
        "2/tls.crt",
        is_good,
    )
    .await?;
    point_to("mixed")?;
    let is_mixed = |text: &str| {
        text.contains("warning: TLS certificate: ")
            && text.contains("is not the key of the first certificate")
    };
    until_status(
        "the mixed one is reported",
        &dir,
        &endpoint,
        "2/tls.crt",
        is_mixed,
    )
    .await?;
    point_to("3")?;
    until_status("the third is in use", &dir, &endpoint, "3/tls.crt", is_good).await?;
    std::fs::write(dir.path().join("secret"), "short")?;
    let is_short = |text: &str| {
        text.contains("warning: access key K: ") && text.contains("has at least 16 characters")
    };
    until_status(
        "the bad secret is reported",
        &dir,
        &endpoint,
        "3/tls.crt",
        is_short,
    )
    .await?;
    let log = daemon.stop().await?;
    assert!(log.contains("what was read before stays in use"), "{log}");
    Ok(())
}
