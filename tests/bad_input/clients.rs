//! Commands that ask a daemon, and what answers is none, or goes away.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use windlass_tests::daemon;
use windlass_tests::scratch::Scratch;

use crate::{FAILED, PATIENCE, answering, answering_at, run};

const NO_MAPPINGS: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                           connection: close\r\ncontent-length: 2\r\n\r\n[]";

#[tokio::test]
async fn a_client_of_something_else() {
    let folder = Scratch::new("stranger");
    for (answer, says) in [
        (
            "HTTP/1.1 404 Not Found\r\nserver: other\r\ncontent-type: text/html\r\n\
             connection: close\r\ncontent-length: 4\r\n\r\n<p/>",
            "404 Not Found by the server 'other' with text/html",
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
            let ended = run(folder.path(), &arguments).await;
            let says = [&endpoint, "no windlass daemon", says, "--endpoint"];
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
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let line = lines.next_line().await.unwrap();
                let line = line.expect("it goes on");
                assert!(!line.contains('\u{1b}'), "a pipe is no terminal: {line:?}");
                if line.contains(says) {
                    return;
                }
            }
        });
        found.await.expect(says);
    };
    until("no mappings").await;
    drop(server);
    until("trying again").await;
    let address = endpoint.strip_prefix("http://").unwrap().parse().unwrap();
    let (_, _, _server) = answering_at(address, NO_MAPPINGS).await;
    until("no mappings").await;

    // It ends with its reader.
    drop(lines);
    let ended = tokio::time::timeout(PATIENCE, watching.wait()).await;
    assert!(ended.expect("it ends").unwrap().success());
}
