//! Functions as local processes: the real program, a queue of the emulator, and functions in bash
//! that behave and misbehave.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use windlass_emulator::Emulator;
use windlass_tests::daemon::Daemon;
use windlass_tests::temp_dir::TempDir;
use windlass_tests::wait::until_some;

mod examples;
mod failures;
mod isolation;
mod kills;
mod life;

const TIMEOUT: Duration = Duration::from_secs(60);

/// What every function begins with: `next` sets `id` and `body`, `answer` and `fail` end an event.
const PRELUDE: &str = r#"#!/usr/bin/env bash
api=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime
next() {
  curl -sS -D head.$$ -o event.$$ "$api/invocation/next" || exit 9
  id=$(tr -d '\r' <head.$$ | sed -n 's/^lambda-runtime-aws-request-id: //Ip')
  body=$(sed -n 's/.*"body":"\([^"]*\)".*/\1/p' event.$$)
}
answer() { curl -sS -o answer.$$ -d '{}' "$api/invocation/${1:-$id}/response"; }
fail() { curl -sS -o answer.$$ -d '{"errorType":"Oops"}' "$api/invocation/$id/error"; }
"#;

/// Writes the body of every event to a file.
const RECORD: &str = "while next; do echo $body >>seen; answer; done\n";

/// A daemon with one function on one queue.
struct Setup {
    dir: TempDir,
    emulator: Emulator,
    daemon: Daemon,
}

impl Setup {
    /// `script` follows the prelude; `keys` are those of the function after its command.
    async fn start(name: &str, script: &str, keys: &str) -> Self {
        let dir = TempDir::new(name);
        write_function(dir.path(), script);
        Self::start_in(dir, keys, &[]).await
    }

    async fn start_in(dir: TempDir, keys: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_mapping(dir, keys, "  BatchSize: 1\n", variables).await
    }

    /// `members` are those of the mapping after its source.
    async fn start_mapping(
        dir: TempDir,
        keys: &str,
        members: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let (emulator, config) = prepare(dir.path(), keys, members).await;
        let variables = [&[("RUST_LOG", "debug,hyper=warn,aws=warn")], variables].concat();
        let daemon = Daemon::start_with(dir.path(), &config, &variables).await;
        Self {
            dir,
            emulator,
            daemon: daemon.expect("the daemon starts"),
        }
    }

    fn send(&self, body: &str) {
        self.emulator
            .sqs()
            .send("jobs", None, body)
            .expect("the queue exists");
    }

    /// Waits until a file of the function has this many lines, and returns them.
    async fn lines(&self, file: &str, count: usize) -> Vec<String> {
        let path = self.dir.path().join(file);
        let what = format!("{count} lines in {file}");
        let found = until_some(&what, TIMEOUT, async || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            Ok((count <= lines.len()).then_some(lines))
        });
        found.await.expect("the function runs")
    }

    /// Sends messages and waits until the function has recorded each of them.
    async fn expect_recorded(&self, bodies: &[&str]) {
        for body in bodies {
            self.send(body);
        }
        until_some("every message is recorded", TIMEOUT, async || {
            let seen = std::fs::read_to_string(self.dir.path().join("seen")).unwrap_or_default();
            let all = bodies.iter().all(|body| seen.lines().any(|it| it == *body));
            Ok(all.then_some(()))
        })
        .await
        .expect("the function runs");
    }
}

/// A queue, and the configuration of a daemon with a function on it.
async fn prepare(dir: &Path, keys: &str, members: &str) -> (Emulator, String) {
    let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let emulator = emulator.await.expect("a port is free");
    let attributes = [("VisibilityTimeout", "1")];
    let queue = emulator
        .sqs()
        .create_queue("jobs", &attributes)
        .expect("the queue is new");
    let config = format!(
        "store: sqlite:{}\naws: {{endpoints: {{kinesis: '{endpoint}', sqs: '{endpoint}'}}}}\nfunctions:\n  f:\n    command: \
         [./function]\n{keys}mappings:\n- FunctionName: f\n  EventSourceArn: {queue}\n{members}",
        dir.join("store").display(),
        endpoint = emulator.endpoint(),
    );
    (emulator, config)
}

fn write_function(dir: &Path, script: &str) {
    let file = dir.join("function");
    std::fs::write(&file, format!("{PRELUDE}{script}")).expect("the directory is writable");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).expect("the file is ours");
}

/// Pids of the processes whose working directory is this.
fn processes_in(dir: &Path) -> Vec<u32> {
    let inside =
        |pid: &u32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|it| it == dir);
    pids().filter(inside).collect()
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").expect("Linux has it").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
