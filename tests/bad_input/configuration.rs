//! Invalid configurations and command lines.

use windlass_tests::temp_dir::TempDir;

use crate::{FAILED, USAGE, run, serve};

/// `serve` and `check` report the same errors, and neither writes anything.
async fn assert_refused(config: &str, says: &[&str]) {
    let dir = TempDir::new("config");
    serve(dir.path(), config).await.assert(USAGE, says);
    let check = run(dir.path(), &["check", "--config", "windlass.yaml"]).await;
    check.assert(USAGE, says);
    let left = std::fs::read_dir(dir.path()).expect("the directory exists");
    assert_eq!(left.count(), 1, "only the configuration exists");
}

#[tokio::test]
async fn invalid_yaml() {
    let says = ["windlass.yaml:3: "];
    assert_refused("region: eu-west-1\nsqs:\n\twait_time: 1s\n", &says).await;
}

#[tokio::test]
async fn a_file_that_is_not_a_mapping_of_keys() {
    let says = ["windlass.yaml:1: the file: expected keys and values, found a list"];
    assert_refused("- FunctionName: f\n", &says).await;
}

#[tokio::test]
async fn values_out_of_bounds() {
    let says = ["windlass.yaml:1: sqs.wait_time: \"21s\" is not between 0s and 20s"];
    assert_refused("sqs: {wait_time: 21s}\n", &says).await;
}

#[tokio::test]
async fn unknown_keys() {
    let says =
        ["windlass.yaml:2: kinesis.poll_intervall: unknown key, expected one of poll_interval"];
    assert_refused("kinesis:\n  poll_intervall: 1s\n", &says).await;
}

#[tokio::test]
async fn endpoints_of_services_that_are_never_called() {
    let known = "unknown key, expected one of kinesis, dynamodb_streams, sqs, sns, s3, lambda, sts";
    let services = ["dynamodb", "events", "iam"];
    let mut config = "aws:\n  endpoints:\n".to_owned();
    for service in services {
        config.push_str(&format!("    {service}: http://127.0.0.1:9\n"));
    }
    let says = services.map(|service| format!("aws.endpoints.{service}: {known}"));
    assert_refused(&config, &says.each_ref().map(String::as_str)).await;
}

#[tokio::test]
async fn an_unset_variable() {
    let config = "region: us-east-1\nstore: sqlite:${NOWHERE_AT_ALL}\n";
    let says = [
        "windlass.yaml:2: ",
        "store: the variable NOWHERE_AT_ALL is not set",
        "${NOWHERE_AT_ALL:-default}",
    ];
    assert_refused(config, &says).await;
}

const FUNCTION: &str = "functions: {f: {url: 'http://127.0.0.1:9'}}\n";

#[tokio::test]
async fn invalid_arns() {
    for arn in [
        "arn:aws:kinesis:nowhere",
        "arn:aws:s3:::bucket",
        "arn:aws:kinesis:us-east-1:000000000000:stream/s/consumer/c",
    ] {
        let mapping = format!("mappings:\n- FunctionName: f\n  EventSourceArn: {arn}\n");
        let config = format!("{FUNCTION}{mapping}  StartingPosition: LATEST\n");
        let says = format!(
            "windlass.yaml:4: mappings[0]: EventSourceArn \"{arn}\" is not the ARN of a Kinesis stream"
        );
        assert_refused(&config, &[&says]).await;
    }
}

#[tokio::test]
async fn unsupported_members() {
    for member in ["TumblingWindowInSeconds: 901", "BatchSiz: 3"] {
        let shown = member.replace(':', "");
        let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
        let mapping = format!("mappings:\n- FunctionName: f\n  EventSourceArn: {arn}\n");
        let config = format!("{FUNCTION}{mapping}  StartingPosition: LATEST\n  {member}\n");
        let says = format!("windlass.yaml:6: mappings[0]: {shown}: ");
        assert_refused(&config, &[&says]).await;
    }
}

#[tokio::test]
async fn members_of_the_wrong_type() {
    let config = format!(
        "{FUNCTION}mappings:\n- FunctionName: f\n  BatchSize: ten\n  Enabled: 1\n  Nothing: 1\n"
    );
    let says = [
        "windlass.yaml:3: mappings[0]: EventSourceArn: ",
        "windlass.yaml:4: mappings[0]: BatchSize \"ten\" is not a whole number",
        "windlass.yaml:5: mappings[0]: Enabled 1 is not true or false",
        "windlass.yaml:6: mappings[0]: Nothing 1: ",
    ];
    assert_refused(&config, &says).await;
}

#[tokio::test]
async fn functions_whose_programs_cannot_be_started() {
    let config = "functions:\n  absent:\n    command: [./absent]\n  text:\n    command: [./windlass.yaml]\n  \
                  elsewhere:\n    command: [sh]\n    directory: nowhere\n";
    let says = [
        "windlass.yaml:3: functions.absent.command: the program ",
        "/absent does not exist",
        "windlass.yaml:5: functions.text.command: the program ",
        "is not executable; allow it with chmod +x",
        "windlass.yaml:8: functions.elsewhere.directory: the directory ",
    ];
    assert_refused(config, &says).await;
}

#[tokio::test]
async fn a_check_starts_no_process() {
    let dir = TempDir::new("starts");
    let config = "functions:\n  f:\n    command: [sh, -c, 'echo started >started']\n    \
                  processes: {minimum: 1}\n";
    std::fs::write(dir.path().join("windlass.yaml"), config).unwrap();
    let check = run(dir.path(), &["check", "--config", "windlass.yaml"]).await;
    check.assert(0, &["is valid"]);
    assert!(!dir.path().join("started").exists());
}

#[tokio::test]
async fn duplicate_keys_and_documents() {
    let says = [
        "windlass.yaml:1: listen: ",
        "windlass.yaml:3: region: duplicate key, first defined on line 2",
        "windlass.yaml:5: a second YAML document",
    ];
    let config = "listen: nowhere\nregion: a\nregion: b\n---\nregion: c\n";
    assert_refused(config, &says).await;
}

#[tokio::test]
async fn duplicate_mappings() {
    let arn = "arn:aws:sqs:us-east-1:000000000000:q";
    let mapping = format!("- FunctionName: f\n  EventSourceArn: {arn}\n");
    let again = format!("- FunctionName: 000000000000:f\n  EventSourceArn: {arn}\n");
    let config = format!("{FUNCTION}mappings:\n{mapping}{again}");
    assert_refused(
        &config,
        &["windlass.yaml:5: ", "same source and function", "line 3"],
    )
    .await;
}

#[tokio::test]
async fn all_errors_are_reported_at_once() {
    let config = "listen: nowhere\nstore: 7\nfunctions: {f: {url: ftp://x}}\ndrain_timeout: 9\n";
    let says = [1, 2, 3, 4].map(|line| format!("windlass.yaml:{line}: "));
    assert_refused(config, &says.each_ref().map(String::as_str)).await;
}

#[tokio::test]
async fn an_unknown_kind_of_store() {
    let says = ["windlass.yaml:1: store: ", "sqlite:DIRECTORY"];
    assert_refused("store: postgres://me:hush@127.0.0.1/db\n", &says).await;
}

#[tokio::test]
async fn an_address_that_is_not_loopback() {
    let says = ["reachable from other machines", "auth: none"];
    assert_refused("listen: 0.0.0.0:9870\n", &says).await;
    let dir = TempDir::new("listen");
    let serve = run(dir.path(), &["serve", "--listen", "0.0.0.0:0"]).await;
    serve.assert(USAGE, &["--listen", says[0], says[1]]);
    // `auth: none` allows it. Only checked, because tests stay on loopback.
    let config = "listen: 0.0.0.0:9870\nauth: none\n";
    std::fs::write(dir.path().join("open.yaml"), config).unwrap();
    let check = run(dir.path(), &["check", "--config", "open.yaml"]).await;
    check.assert(0, &["is valid"]);
}

#[tokio::test]
async fn unreadable_files() {
    let dir = TempDir::new("files");
    for command in ["serve", "check"] {
        for file in ["missing.yaml", "."] {
            let ended = run(dir.path(), &[command, "--config", file]).await;
            ended.assert(USAGE, &[file, "cannot read the file"]);
        }
    }
}

#[tokio::test]
async fn invalid_command_lines() {
    let dir = TempDir::new("usage");
    for (arguments, says) in [
        (&["serve", "--nonsense"][..], "--nonsense"),
        (&["server"], "serve"),
        (&[], "Usage"),
        (&["mappings", "get"], "<MAPPING>"),
        (
            &["mappings", "create", "--batch-size", "many"],
            "--batch-size",
        ),
        (
            &["mappings", "list", "--endpoint", "nowhere"],
            "http://127.0.0.1:9870",
        ),
        (&["serve", "--store", "nowhere"], "sqlite:DIRECTORY"),
    ] {
        run(dir.path(), arguments).await.assert(USAGE, &[says]);
    }
    run(dir.path(), &["--help"]).await.assert(0, &["Usage"]);
}

#[tokio::test]
async fn a_client_without_a_daemon() {
    let dir = TempDir::new("client");
    for command in [&["mappings", "list"][..], &["status"]] {
        // The discard port, where nothing listens.
        let arguments = [command, &["--endpoint", "http://127.0.0.1:9"]].concat();
        let ended = run(dir.path(), &arguments).await;
        ended.assert(FAILED, &["http://127.0.0.1:9", "windlass serve"]);
    }
}

#[tokio::test]
async fn input_that_cannot_be_read_is_told_apart_from_every_result() {
    let dir = TempDir::new("input");
    std::fs::write(dir.path().join("half"), "{\"FunctionName\": \"f\"").unwrap();
    let (pattern, event) = (r#"{"a": [1]}"#, r#"{"a": 1}"#);
    for (arguments, says) in [
        (
            &["filter", "test", "--pattern", "@gone", "--event", event][..],
            "cannot read gone",
        ),
        (
            &["filter", "test", "--pattern", pattern, "--event", "gone"],
            "cannot read gone",
        ),
        (
            &[
                "filter",
                "test",
                "--source",
                "sqs",
                "--pattern",
                pattern,
                "--event",
                r#"{"Records": []}"#,
            ],
            "Records is empty",
        ),
        (&["mappings", "create", "-f", "gone"], "cannot read gone"),
        (&["mappings", "create", "-f", "half"], "half: "),
        (&["mappings", "apply", "-f", "gone"], "cannot read gone"),
        (
            &["mappings", "create", "--filter-criteria", "{"],
            "FilterCriteria is not JSON",
        ),
    ] {
        run(dir.path(), arguments).await.assert(USAGE, &[says]);
    }
}
