//! Runs the functions of `config/examples`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use windlass_emulator::Emulator;

use crate::daemon::Daemon;
use crate::temp_dir::TempDir;
use crate::wait::until_some;

const TIMEOUT: Duration = Duration::from_secs(120);

const BODIES: [&str; 3] = ["one", "two", "three"];

/// Copies the files of an example into a directory of its own, without its subdirectories.
pub fn copy(name: &str) -> anyhow::Result<TempDir> {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/examples");
    let dir = TempDir::new(name);
    for entry in std::fs::read_dir(Path::new(examples).join(name))? {
        let file = entry?.path();
        if file.is_dir() {
            continue;
        }
        let name = file.file_name().context("a file has a name")?;
        std::fs::copy(&file, dir.path().join(name))?;
    }
    Ok(dir)
}

/// Runs a daemon with the configuration of an example until its function has received some messages.
pub async fn run(dir: &TempDir, variables: &[(&str, &str)]) -> anyhow::Result<()> {
    let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let endpoint = emulator.endpoint();
    let queue = emulator.sqs().create_queue("jobs", &[]);
    queue.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let config = std::fs::read_to_string(dir.path().join("windlass.yaml"))?;
    let store = dir.path().join("store");
    let config = format!("store: sqlite:{}\n{config}", store.display());
    let variables = [&[("AWS_ENDPOINT_URL", &*endpoint)], variables].concat();
    let daemon = Daemon::start_with(dir.path(), &config, &variables).await?;
    for body in BODIES {
        let sent = emulator.sqs().send("jobs", None, body);
        sent.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    }
    until_some("the messages are processed", TIMEOUT, async || {
        let (_, mappings) = daemon.call("GET", "/windlass/v1/mappings", None).await?;
        let deleted = mappings[0]["counts"]["deleted"].as_u64();
        Ok((deleted == Some(BODIES.len() as u64)).then_some(()))
    })
    .await?;
    let log = daemon.stop().await?;
    for body in BODIES {
        let line = format!("got {body}");
        anyhow::ensure!(log.contains(&line), "'{line}' is not in:\n{log}");
    }
    anyhow::ensure!(!log.contains("function failed"), "{log}");
    Ok(())
}
