//! Client commands against servers that are not a daemon, or that disappear.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use windlass_tests::daemon::{self, Daemon};
use windlass_tests::temp_dir::TempDir;

use crate::{FAILED, TIMEOUT, USAGE, answering, answering_at, run, run_with, serve};

const NO_MAPPINGS: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                           connection: close\r\ncontent-length: 2\r\n\r\n[]";

#[tokio::test]
async fn a_server_that_is_not_a_daemon() {
    let dir = TempDir::new("stranger");
    for (answer, says) in [
        (
            "HTTP/1.1 404 Not Found\r\nserver: other\r\ncontent-type: text/html\r\n\
             connection: close\r\ncontent-length: 4\r\n\r\n<p/>",
            "404 Not Found from the server 'other' with text/html",
        ),
        (
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\n<p/>",
            "200 OK with no type",
        ),
        (
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
            "JSON ",
        ),
    ] {
        let (endpoint, _, _server) = answering(answer).await;
        for command in [&["mappings", "list"][..], &["status"]] {
            let arguments = [command, &["--endpoint", &endpoint]].concat();
            let ended = run(dir.path(), &arguments).await;
            let says = [&endpoint, "is not a windlass daemon", says, "--endpoint"];
            ended.assert(FAILED, &says);
        }
    }
}

#[tokio::test]
async fn a_daemon_that_is_restarted_while_it_is_watched() {
    let (endpoint, _, server) = answering(NO_MAPPINGS).await;
    let mut command = tokio::process::Command::from(daemon::command());
    let mut watching = command
        .args(["status", "--watch", "--endpoint", &endpoint])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut until = async |says: &str| {
        let found = tokio::time::timeout(TIMEOUT, async {
            loop {
                let line = lines.next_line().await.unwrap();
                let line = line.expect("the command keeps running");
                assert!(!line.contains('\u{1b}'), "escape codes in a pipe: {line:?}");
                if line.contains(says) {
                    return;
                }
            }
        });
        found.await.expect(says);
    };
    until("no mappings").await;
    drop(server);
    until("retrying").await;
    let address = endpoint.strip_prefix("http://").unwrap().parse().unwrap();
    let (_, _, _server) = answering_at(address, NO_MAPPINGS).await;
    until("no mappings").await;

    // It exits when its reader closes the pipe.
    drop(lines);
    let ended = tokio::time::timeout(TIMEOUT, watching.wait()).await;
    assert!(ended.expect("it exits").unwrap().success());
}

/// The variables that say who a command is, in the order of the arrays below.
const CREDENTIALS: [&str; 5] = [
    "WINDLASS_ACCESS_KEY_ID",
    "WINDLASS_SECRET_ACCESS_KEY",
    "WINDLASS_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
];
const LIST: [&str; 2] = ["mappings", "list"];
const ADMIN: [&str; 5] = ["ADMIN", "secret-of-the-admin", "", "", ""];

/// Runs a command of this caller against a daemon.
async fn call(
    (dir, daemon): (&TempDir, &Daemon),
    credentials: [&str; 5],
    arguments: &[&str],
    code: i32,
    says: &[&str],
) {
    let mut variables: Vec<_> = CREDENTIALS.into_iter().zip(credentials).collect();
    variables.extend([("AWS_SESSION_TOKEN", ""), ("AWS_REGION", "")]);
    variables.extend([("AWS_DEFAULT_REGION", "us-east-1")]);
    let arguments = [arguments, &["--endpoint", &daemon.endpoint]].concat();
    let ended = run_with(dir.path(), &variables, &arguments).await;
    ended.assert(code, says);
}

#[tokio::test]
async fn commands_prove_who_they_are() {
    let dir = TempDir::new("credentials");
    let config = format!(
        "store: sqlite:{}\nauth:\n  access_keys:\n    \
         - {{id: ADMIN, secret: secret-of-the-admin, role: admin}}\n    \
         - {{id: VIEWER, secret: secret-of-the-viewer, role: read_only}}\n  bearer_tokens:\n    \
         - {{name: t, token: token-of-grafana, role: read_only}}\n",
        dir.path().join("store").display(),
    );
    let daemon = Daemon::start(dir.path(), &config).await.unwrap();
    let at = (&dir, &daemon);
    let create = ["mappings", "create", "--function-name=f"];
    let status = ["status"];
    let none = [""; 5];
    let viewer = ["VIEWER", "secret-of-the-viewer", "token-of-nobody", "", ""];
    let token = ["", "", "token-of-grafana", "ADMIN", "secret-of-the-admin"];
    let of_aws = ["", "", "", "ADMIN", "secret-of-the-admin"];
    let missing = ["MissingAuthenticationTokenException"];
    call(at, none, &LIST, FAILED, &missing).await;
    call(at, none, &status, FAILED, &missing).await;
    call(at, ADMIN, &LIST, 0, &["no mappings"]).await;
    call(at, of_aws, &LIST, 0, &["no mappings"]).await;
    let unrecognized = ["Unrecognized event source."];
    call(at, ADMIN, &create, FAILED, &unrecognized).await;
    call(at, viewer, &LIST, 0, &["no mappings"]).await;
    let denied = ["AccessDeniedException", "lambda:CreateEventSourceMapping"];
    call(at, viewer, &create, FAILED, &denied).await;
    call(at, token, &status, 0, &["no mappings"]).await;
    let needs_a_key = ["WINDLASS_TOKEN", "WINDLASS_ACCESS_KEY_ID"];
    call(at, token, &LIST, USAGE, &needs_a_key).await;
    daemon.stop().await.unwrap();
}

#[tokio::test]
async fn secrets_are_made_once_and_read_again_from_their_files() {
    let dir = TempDir::new("secrets");
    let key = dir.path().join("key");
    std::fs::write(&key, "secret-of-the-admin\n").unwrap();
    let config = format!(
        "store: sqlite:{}\nauth:\n  access_keys:\n    \
         - {{id: ADMIN, secret_file: {}, role: admin}}\n    \
         - {{id: NEW, secret_file: store/new, generate: true, role: admin}}\n",
        dir.path().join("store").display(),
        key.display()
    );
    let daemon = Daemon::start(dir.path(), &config).await.unwrap();
    let at = (&dir, &daemon);

    // The secret that the daemon has made is in its file, and not in its log.
    let secret = std::fs::read_to_string(dir.path().join("store/new")).unwrap();
    let made = ["NEW", secret.trim(), "", "", ""];
    call(at, made, &LIST, 0, &["no mappings"]).await;

    // A file that is replaced is read again, and one that cannot be used changes nothing.
    std::fs::write(&key, "short").unwrap();
    call(at, ADMIN, &LIST, 0, &["no mappings"]).await;
    std::fs::write(&key, "another-secret-of-the-admin\n").unwrap();
    call(at, ADMIN, &LIST, FAILED, &["InvalidSignatureException"]).await;
    let new = ["ADMIN", "another-secret-of-the-admin", "", "", ""];
    call(at, new, &LIST, 0, &["no mappings"]).await;
    let log = daemon.stop().await.unwrap();
    assert!(log.contains("a new secret is in "), "{log}");
    assert!(!log.contains(secret.trim()), "{log}");
}

#[tokio::test]
async fn a_daemon_that_nobody_could_call_or_guess_is_refused() {
    let dir = TempDir::new("auth");
    for (auth, says) in [
        (
            "{bearer_tokens: [{name: t, token: abc, role: admin}]}",
            "auth.bearer_tokens[0].token: a secret has at least 16 characters",
        ),
        (
            "{access_keys: [{id: A, secret_file: nowhere, role: admin}]}",
            "auth.access_keys[0].secret_file: cannot open nowhere",
        ),
    ] {
        let ended = serve(dir.path(), &format!("auth: {auth}\n")).await;
        ended.assert(USAGE, &["windlass.yaml:1: ", says]);
        assert!(!ended.text.contains("abc"), "{}", ended.text);
    }
}
