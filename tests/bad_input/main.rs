//! What the program says to what it cannot do: its exit code, the place and the remedy.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use windlass_tests::daemon;

mod configuration;
mod network;
mod store;

/// A mistake is found within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// Wrong usage or configuration.
const USAGE: i32 = 64;

/// Anything else.
const FAILED: i32 = 1;

/// How a run of the program ended.
#[derive(Debug)]
struct Ended {
    code: i32,
    /// Standard output and standard error.
    text: String,
}

impl Ended {
    /// It ended with this code, and says each of these.
    #[track_caller]
    fn assert(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, code, "{}", self.text);
        for part in says {
            assert!(
                self.text.contains(part),
                "'{part}' is not in:\n{}",
                self.text
            );
        }
    }
}

/// Runs the program in a folder.
///
/// # Panics
/// If it does not end.
async fn run(folder: &Path, arguments: &[&str]) -> Ended {
    let mut command = tokio::process::Command::from(daemon::command());
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output
        .expect("it ends by itself")
        .expect("it can be started");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let code = output.status.code().expect("it ends by itself");
    Ended { code, text }
}

/// Writes a configuration and starts a daemon with it, which is to end by itself.
async fn serve(folder: &Path, config: &str) -> Ended {
    std::fs::write(folder.join("windlass.yaml"), config).expect("a folder of a test is writable");
    run(
        folder,
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--config",
            "windlass.yaml",
        ],
    )
    .await
}
