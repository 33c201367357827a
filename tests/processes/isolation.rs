//! What a process sees of the daemon, and who may use its Runtime API.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn a_process_has_the_variables_of_lambda_and_not_the_credentials_of_the_daemon() {
    let dir = TempDir::new("variables");
    write_function(dir.path(), "env >variables; ls /proc/$$/fd >files\n");
    let keys = "    handler: app.handler\n    memory: 100MiB\n    inherit_environment: [TEAM_*]\n    \
                environment: {TABLE: words, COUNT: 3}\n    processes: {minimum: 1}\n";
    let more = [("TEAM_A", "a"), ("OTHER", "b")];
    let setup = Setup::start_in(dir, keys, &more).await;
    let files = setup.lines("files", 3).await;
    let variables = setup.lines("variables", 10).await;
    for expected in [
        "_HANDLER=app.handler",
        "AWS_LAMBDA_FUNCTION_NAME=f",
        "AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=100",
        "AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/f",
        "AWS_REGION=us-east-1",
        "AWS_DEFAULT_REGION=us-east-1",
        "TABLE=words",
        "COUNT=3",
        "TEAM_A=a",
        &format!("LAMBDA_TASK_ROOT={}", setup.dir.path().display()),
    ] {
        assert!(
            variables.iter().any(|it| it == expected),
            "{expected} not in {variables:#?}"
        );
    }
    for name in [
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "OTHER",
        "RUST_LOG",
    ] {
        let prefix = format!("{name}=");
        assert!(
            !variables.iter().any(|it| it.starts_with(&prefix)),
            "{name}"
        );
    }
    // 255 is the script itself, which the shell reads.
    assert_eq!(files, ["0", "1", "2", "255"]);
    setup.daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_process_and_its_supervisor_have_sessions_of_their_own() {
    // A signal to the group of the daemon, as of a terminal, reaches neither.
    let script = r#"
session() { sed 's/.*) //' /proc/$1/stat | cut -d' ' -f4; }
echo $$ $(session $$) >>sessions
echo $PPID $(session $PPID) >>sessions
while next; do answer; done
"#;
    let setup = Setup::start("sessions", script, "    processes: {minimum: 1}\n").await;
    for line in setup.lines("sessions", 2).await {
        let (pid, session) = line.split_once(' ').unwrap();
        assert_eq!(session, pid);
    }
    setup.daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_program_has_none_of_the_files_that_the_daemon_inherited() {
    let script = format!(
        "exec 9</dev/null 17</dev/null; exec {} launch-function {} - ls /proc/self/fd",
        windlass_tests::daemon::binary().display(),
        std::process::id(),
    );
    let listed = std::process::Command::new("bash")
        .args(["-c", &script])
        .output()
        .unwrap();
    let files = String::from_utf8_lossy(&listed.stdout);
    // The last is the directory, which the program itself has opened.
    assert_eq!(
        files.lines().collect::<Vec<_>>(),
        ["0", "1", "2", "3"],
        "{listed:?}"
    );
}

#[tokio::test]
async fn the_client_context_says_where_a_batch_comes_from() {
    let script = r#"
while next; do
  sed -n 's/^lambda-runtime-client-context: //Ip' head.$$ | tr -d '\r' >>contexts
  answer
done
"#;
    let setup = Setup::start("context", script, "").await;
    setup.send("message");
    let context = |line: &str| -> Value { serde_json::from_str(line).unwrap() };
    let queue = context(&setup.lines("contexts", 1).await[0]);
    let members = queue["custom"].as_object().unwrap();
    assert_eq!(members.len(), 2, "{queue}");
    assert_eq!(members["x-windlass-attempt"], "1");
    let stream = setup.emulator.kinesis().create_stream("orders", 1).unwrap();
    let mapping = serde_json::json!({
        "FunctionName": "f", "EventSourceArn": stream, "StartingPosition": "TRIM_HORIZON",
    });
    let uuid = setup.daemon.create_mapping(&mapping).await.unwrap();
    setup
        .emulator
        .kinesis()
        .put("orders", "key", b"data")
        .unwrap();
    let context = context(&setup.lines("contexts", 2).await[1]);
    let custom = &context["custom"];
    assert_eq!(custom["x-windlass-mapping"], *uuid);
    assert_eq!(custom["x-windlass-shard"], "shardId-000000000000");
    assert_eq!(custom["x-windlass-epoch"], "1");
    let sequence = custom["x-windlass-sequence"].as_str().unwrap();
    assert!(
        !sequence.is_empty() && sequence.bytes().all(|it| it.is_ascii_digit()),
        "{context}"
    );
    setup.daemon.stop().await.unwrap();
}

#[tokio::test]
async fn only_a_process_and_its_descendants_are_answered() {
    let script = r#"
echo $AWS_LAMBDA_RUNTIME_API >>addresses
while [ $(wc -l <addresses) -lt 2 ]; do sleep 0.05; done
sibling=$(grep -v "^$AWS_LAMBDA_RUNTIME_API$" addresses)
curl -sS -m 20 http://$sibling/2018-06-01/runtime/invocation/next >stolen.$$ 2>&1
echo $? >>siblings
setsid curl -sS -o answer.$$ -w '%{http_code}\n' -d '{}' $api/invocation/none/response >>descendants
while next; do echo $body >>seen; answer; done
"#;
    let keys = "    processes: {minimum: 2, maximum: 2}\n";
    let setup = Setup::start("outsiders", script, keys).await;
    assert_eq!(setup.lines("descendants", 2).await, ["403", "403"]);
    for code in setup.lines("siblings", 2).await {
        // The connection was closed without an answer, which curl reports in either way.
        assert!(["52", "56"].contains(&code.as_str()), "{code}");
    }
    let addresses = setup.lines("addresses", 2).await;
    for address in &addresses {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: x\r\n\r\n";
        // It may be closed already.
        drop(stream.write_all(request.as_bytes()).await);
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    }
    setup.expect_recorded(&["a", "b"]).await;
    let log = setup.daemon.stop().await.unwrap();
    assert!(
        log.contains("a connection to the Runtime API of a process was closed"),
        "{log}"
    );
}
