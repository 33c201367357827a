//! Functions that fail, hang and misbehave.

use super::*;

/// Does what the body of an event says the first time, and records it from the second time on.
const MISBEHAVE: &str = r#"
while next; do
  if [ ! -e "marker.$body" ]; then
    touch "marker.$body"
    case $body in
      sleep) sleep 1000 ;;
      exit) exit 3 ;;
      zero) exit 0 ;;
      killed) kill -9 $$ ;;
      error) fail; continue ;;
      bare_error) curl -sS -o answer.$$ -X POST "$api/invocation/$id/error"; continue ;;
      bare)
        curl -sS -w '%{http_code}\n' -o answer.$$ -X POST "$api/invocation/$id/response" >>bare
        echo "$body" >>seen; continue ;;
      unended) sleep 1000 | curl -sS -T - -X POST "$api/invocation/$id/response" ;;
      large)
        head -c 7000000 /dev/zero >large
        curl -sS -w '%{http_code}\n' -o answer.$$ --data-binary @large "$api/invocation/$id/response" >>codes
        sed -n 's/.*"errorType":"\([A-Za-z]*\)".*/\1/p' answer.$$ >>codes; echo >>codes
        continue ;;
      stranger)
        answer 00000000-0000-4000-8000-000000000000; cat answer.$$ >>codes; echo >>codes
        answer; answer; cat answer.$$ >>codes; echo >>codes
        continue ;;
      impatient) curl -sS -w '%{http_code}\n' -o answer.$$ "$api/invocation/next" >>codes ;;
      garbage)
        host=${AWS_LAMBDA_RUNTIME_API%:*} port=${AWS_LAMBDA_RUNTIME_API#*:}
        exec 5<>/dev/tcp/$host/$port; printf 'garbage\0\r\n\r\n' >&5; cat <&5 >answer.$$; exec 5>&-
        curl -sS -w '%{http_code}\n' -o answer.$$ -X POST "$api/nonsense" >>codes ;;
      flood) yes 'a line of a flood' | head -c 3000000; printf 'a\0b' ;;
      long) head -c 200000 /dev/zero | tr '\0' x; echo ;;
      header)
        curl -sS -o answer.$$ -H 'Lambda-Runtime-Function-Error-Type: InHeader' -d 'not JSON' \
          "$api/invocation/$id/error"
        continue ;;
      cause)
        printf 'Lambda-Runtime-Function-XRay-Error-Cause: ' >cause
        head -c 1000000 /dev/zero | tr '\0' x >>cause
        curl -sS -o answer.$$ -H @cause -d '{"errorType":"WithCause"}' "$api/invocation/$id/error"
        continue ;;
      trailer)
        exec 5<>/dev/tcp/${AWS_LAMBDA_RUNTIME_API%:*}/${AWS_LAMBDA_RUNTIME_API#*:}
        printf 'POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nhost: x\r\nconnection: close\r\n' $id >&5
        printf 'transfer-encoding: chunked\r\ntrailer: lambda-runtime-function-error-type\r\n\r\n2\r\n{}\r\n' >&5
        printf '0\r\nlambda-runtime-function-error-type: InTrailer\r\n\r\n' >&5
        cat <&5 >answer.$$; exec 5>&-
        continue ;;
    esac
  fi
  echo "about to record $body"
  echo "$body" >>seen
  answer
done
"#;

#[tokio::test]
async fn a_function_may_fail_in_every_way_and_nothing_is_lost() {
    let setup = Setup::start("misbehave", MISBEHAVE, "    timeout: 3s\n").await;
    let bodies = [
        "sleep",
        "exit",
        "zero",
        "killed",
        "error",
        "bare_error",
        "bare",
        "header",
        "cause",
        "trailer",
        "unended",
        "large",
        "impatient",
        "garbage",
        "flood",
        "fine",
    ];
    setup.expect_recorded(&bodies).await;
    assert_eq!(setup.lines("bare", 1).await, ["202"]);
    // It answered with success, although it said it twice.
    setup.send("stranger");
    let codes = setup.lines("codes", 6).await;
    let mut sorted = codes.clone();
    sorted.sort();
    let invalid = r#"{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}"#;
    let expected = [
        "403",
        "404",
        "413",
        "RequestEntityTooLarge",
        invalid,
        invalid,
    ];
    assert_eq!(sorted, expected, "{codes:?}");
    let dir = setup.dir.path().to_owned();
    let log = setup.daemon.stop().await.unwrap();
    for says in [
        "Task timed out after 3.00 seconds",
        "Runtime exited with error: exit status 3",
        "Runtime exited without providing a reason",
        "Runtime exited with error: signal: killed",
        "Oops",
        "InHeader",
        "WithCause",
        "InTrailer",
        "Function.ResponseSizeTooLarge",
    ] {
        assert!(log.contains(says), "'{says}' is not in:\n{log}");
    }
    // What was printed before the answer belongs to its request.
    let printed = log
        .lines()
        .find(|line| line.contains("about to record fine"));
    let printed = printed.unwrap();
    assert!(printed.contains("request_id="), "{printed}");
    assert!(printed.contains(" function: "), "{printed}");
    assert!(!log.contains('\0'));
    assert!(processes_in(&dir).is_empty());
}

#[tokio::test]
async fn the_log_has_the_start_and_end_of_each_event() {
    let setup = Setup::start("events", MISBEHAVE, "    timeout: 3s\n").await;
    let bodies = ["sleep", "exit", "error", "long", "fine"];
    setup.expect_recorded(&bodies).await;
    let log = setup.daemon.stop().await.unwrap();
    // Also of those that ended with their process.
    let count = |word: &str| log.lines().filter(|line| line.contains(word)).count();
    let (starts, ends) = (count(": START "), count(": END "));
    assert!(bodies.len() < starts, "{log}");
    assert_eq!((ends, count(": REPORT ")), (starts, starts), "{log}");
    let x = |n| "x".repeat(n);
    assert!(log.contains(&x(64 * 1024)), "long lines are shown");
    assert!(!log.contains(&x(64 * 1024 + 1)), "long lines are split");
}

/// Reports a message as failed, then with an id that is not of the batch, then records it.
const REPORT: &str = r#"
report() { curl -sS -o answer.$$ -d "{\"batchItemFailures\":[{\"itemIdentifier\":\"$1\"}]}" "$api/invocation/$id/response"; }
while next; do
  message=$(sed -n 's/.*"messageId":"\([^"]*\)".*/\1/p' event.$$)
  echo "$body" >>calls
  case $(grep -c "^$body\$" calls) in
    1) report "$message" ;;
    2) report unknown ;;
    *) echo "$body" >>seen; answer ;;
  esac
done
"#;

#[tokio::test]
async fn a_message_that_a_process_reports_as_failed_comes_again() {
    let dir = TempDir::new("report");
    write_function(dir.path(), REPORT);
    let members = "  BatchSize: 1\n  FunctionResponseTypes: [ReportBatchItemFailures]\n";
    let setup = Setup::start_mapping(dir, "", members, &[]).await;
    setup.expect_recorded(&["a", "b"]).await;
    let calls = setup.lines("calls", 6).await;
    assert_eq!(calls.iter().filter(|it| *it == "a").count(), 3);
}

#[tokio::test]
async fn a_program_that_does_not_start_is_not_reached_until_it_is_repaired() {
    for (name, script, keys, says) in [
        (
            "exits",
            "exit 4\n",
            "",
            "exit status 4 before it asked for an event",
        ),
        (
            "hangs",
            "sleep 1000\n",
            "    init_timeout: 200ms\n",
            "it did not ask for an event within 200ms",
        ),
        (
            "reports",
            "curl -sS -d '{\"errorType\":\"NoCode\"}' $api/init/error; sleep 1000\n",
            "",
            "it reported NoCode",
        ),
        (
            "leaves",
            "(sleep 1000; next) &\nexit 0\n",
            "",
            "exit status 0 before it asked for an event",
        ),
    ] {
        let setup = Setup::start(name, script, keys).await;
        setup.send("message");
        let problem = until_some("the problem is shown", TIMEOUT, async || {
            let (_, shown) = setup
                .daemon
                .call("GET", "/windlass/v1/functions", None)
                .await?;
            Ok(shown["functions"][0]["problem"].as_str().map(str::to_owned))
        });
        let problem = problem.await.unwrap();
        assert!(problem.contains(says), "{problem}");
        // The file is replaced at once: a shell reads a script while it runs.
        let path = setup.dir.path();
        let file = path.join("function");
        std::fs::rename(&file, path.join("old")).unwrap();
        write_function(path, RECORD);
        setup.expect_recorded(&["message"]).await;
        let log = setup.daemon.stop().await.unwrap();
        assert!(log.contains(says), "'{says}' is not in:\n{log}");
        assert!(
            !log.contains("function failed"),
            "an attempt was used:\n{log}"
        );
    }
}

#[tokio::test]
async fn a_program_that_vanishes_is_not_reached() {
    let setup = Setup::start("vanishes", RECORD, "").await;
    let file = setup.dir.path().join("function");
    std::fs::remove_file(&file).unwrap();
    setup.send("message");
    until_some("the problem is shown", TIMEOUT, async || {
        let (_, shown) = setup
            .daemon
            .call("GET", "/windlass/v1/functions", None)
            .await?;
        let problem = shown["functions"][0]["problem"].as_str();
        Ok(problem
            .filter(|it| it.contains("function does not exist"))
            .map(|_| ()))
    })
    .await
    .unwrap();
    write_function(setup.dir.path(), RECORD);
    setup.expect_recorded(&["message"]).await;
    setup.daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_fails_the_function_until_there_is_space() {
    let dir = TempDir::new("full");
    let script = "while next; do echo $body >>seen || exit 7; answer; done\n";
    write_function(dir.path(), script);
    let seen = dir.path().join("seen");
    std::os::unix::fs::symlink("/dev/full", &seen).unwrap();
    let setup = Setup::start_in(dir, "", &[]).await;
    setup.send("message");
    until_some("the function has failed", TIMEOUT, async || {
        let (_, shown) = setup
            .daemon
            .call("GET", "/windlass/v1/functions", None)
            .await?;
        let exits = shown["functions"][0]["exits"].as_u64();
        Ok(exits.filter(|exits| 1 <= *exits))
    })
    .await
    .unwrap();
    std::fs::remove_file(&seen).unwrap();
    setup.expect_recorded(&["message"]).await;
    let log = setup.daemon.stop().await.unwrap();
    for says in [
        "No space left on device",
        "Runtime exited with error: exit status 7",
    ] {
        assert!(log.contains(says), "'{says}' is not in:\n{log}");
    }
}

#[tokio::test]
async fn a_process_above_its_memory_fails_alone() {
    let script = r#"
while next; do
  if [ $body = much ] && [ ! -e marker ]; then
    touch marker
    text=$(head -c 300000000 /dev/zero | tr '\0' x)
  fi
  echo $body >>seen; answer
done
"#;
    let setup = Setup::start("memory", script, "    memory: 64MiB\n").await;
    setup.expect_recorded(&["little", "much"]).await;
    let log = setup.daemon.stop().await.unwrap();
    for says in [
        "Runtime exited with error",
        "the memory of functions is limited by",
    ] {
        assert!(log.contains(says), "'{says}' is not in:\n{log}");
    }
}
