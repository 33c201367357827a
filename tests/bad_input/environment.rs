//! The environment: variables, AWS's configuration files, and signals.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use windlass_tests::daemon::{self, Daemon};
use windlass_tests::temp_dir::TempDir;

use crate::{FAILED, TIMEOUT, USAGE, run_with};

#[tokio::test]
async fn invalid_variables() {
    let dir = TempDir::new("variables");
    std::fs::write(dir.path().join("windlass.yaml"), "region: ''\n").unwrap();
    let check = &["check", "--config", "windlass.yaml"][..];
    let serve = &["serve", "--listen", "127.0.0.1:0"][..];
    for (name, value, arguments, says) in [
        (
            "AWS_CA_BUNDLE",
            "nowhere.pem",
            check,
            &["AWS_CA_BUNDLE: cannot read nowhere.pem", "region"][..],
        ),
        (
            "AWS_CA_BUNDLE",
            "windlass.yaml",
            serve,
            &["has no PEM certificate", "unset the variable"],
        ),
        (
            "RUST_LOG",
            "windlass=loud",
            serve,
            &["RUST_LOG: ", "info,windlass_engine=debug"],
        ),
    ] {
        let ended = run_with(dir.path(), &[(name, value)], arguments).await;
        ended.assert(USAGE, says);
    }
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 1, "no store was created");
}

/// Compose files and unit files cannot unset a variable, only empty it.
#[tokio::test]
async fn empty_variables_count_as_unset() {
    let dir = TempDir::new("empty");
    let store = dir.path().join("store").display().to_string();
    let variables = [
        ("WINDLASS_LISTEN", ""),
        ("WINDLASS_STORE", ""),
        ("WINDLASS_LOG_FORMAT", ""),
        ("WINDLASS_ENDPOINT", ""),
        ("RUST_LOG", ""),
        ("AWS_CA_BUNDLE", ""),
        ("AWS_REGION", ""),
    ];
    let config = format!("store: sqlite:{store}\n");
    let daemon = Daemon::start_with(dir.path(), &config, &variables)
        .await
        .unwrap();
    daemon.stop().await.unwrap();
    // The empty variable does not override the file.
    std::fs::write(dir.path().join("windlass.yaml"), "listen: nowhere\n").unwrap();
    let serve = ["serve", "--config", "windlass.yaml"];
    let ended = run_with(dir.path(), &variables, &serve).await;
    ended.assert(USAGE, &["windlass.yaml:1: listen: \"nowhere\""]);
}

#[tokio::test]
async fn the_region_of_the_profile() {
    let dir = TempDir::new("profile");
    let file = dir.path().join("aws");
    let profiles = "[default]\nregion = eu-west-3\n[profile far]\nregion = sa-east-1\n";
    std::fs::write(&file, profiles).unwrap();
    let config = format!(
        "store: sqlite:{}\nfunctions: {{f: {{url: 'http://127.0.0.1:9'}}}}\nmappings:\n\
         - {{FunctionName: f, Enabled: false, EventSourceArn: 'arn:aws:sqs:us-east-1:000000000000:q'}}\n",
        dir.path().join("store").display()
    );
    let file = file.to_str().unwrap();
    for (profile, region) in [("default", "eu-west-3"), ("far", "sa-east-1")] {
        let variables = [("AWS_CONFIG_FILE", file), ("AWS_PROFILE", profile)];
        let daemon = Daemon::start_with(dir.path(), &config, &variables)
            .await
            .unwrap();
        let (_, mappings) = daemon
            .call("GET", "/windlass/v1/mappings", None)
            .await
            .unwrap();
        let function = format!("arn:aws:lambda:{region}:000000000000:function:f");
        let functions = mappings.as_array().unwrap().iter();
        let mut functions = functions.map(|mapping| mapping["function_arn"].as_str());
        assert!(functions.any(|it| it == Some(&function)), "{mappings}");
        daemon.stop().await.unwrap();
    }
}

/// The SDK ignores it, and would call AWS.
#[tokio::test]
async fn an_endpoint_of_the_profile_that_is_not_a_url() {
    let dir = TempDir::new("endpoint");
    let file = dir.path().join("aws");
    let profiles = "[default]\nendpoint_url = 127.0.0.1:4566\n[profile one]\nservices = local\n\
                    [services local]\nkinesis =\n  endpoint_url = localhost\n";
    std::fs::write(&file, profiles).unwrap();
    let file = file.to_str().unwrap();
    let config = "listen: 127.0.0.1:0\nstore: sqlite:store\n";
    std::fs::write(dir.path().join("windlass.yaml"), config).unwrap();
    for (profile, says) in [
        ("default", "endpoint_url of "),
        (
            "one",
            "endpoint_url of kinesis in the AWS profile is not a URL",
        ),
    ] {
        let variables = [("AWS_CONFIG_FILE", file), ("AWS_PROFILE", profile)];
        for command in ["serve", "doctor"] {
            let arguments = [command, "--config", "windlass.yaml"];
            let ended = run_with(dir.path(), &variables, &arguments).await;
            ended.assert(FAILED, &[says]);
        }
    }
}

#[tokio::test]
async fn a_demo_without_what_its_function_needs_says_how_to_install_it() {
    let dir = TempDir::new("runtime");
    let demo = &["demo", "--function", "python"];
    let path = dir.path().display().to_string();
    let ended = run_with(dir.path(), &[("PATH", &path)], demo).await;
    ended.assert(1, &["cannot run python3", "install Python 3"]);
    // One without packages.
    let python = dir.path().join("python3");
    std::fs::write(&python, "#!/bin/sh\nexit 1\n").unwrap();
    std::fs::set_permissions(&python, PermissionsExt::from_mode(0o755)).unwrap();
    let ended = run_with(dir.path(), &[("PATH", &path)], demo).await;
    ended.assert(1, &["python3 -m pip install awslambdaric"]);
}

#[tokio::test]
async fn a_demo_removes_its_files_on_sigterm() {
    let dir = TempDir::new("demo");
    for (arguments, until, code) in [
        (&["--records", "100", "--keep"][..], "still running", 0),
        (&["--records", "10000"], "delivered", 1),
    ] {
        let mut command = tokio::process::Command::from(daemon::command());
        let mut demo = command
            .arg("demo")
            .args(arguments)
            .env("TMPDIR", dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
        // Delivering all records takes a while.
        let found = tokio::time::timeout(TIMEOUT * 3, async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains(until) {
                    return true;
                }
            }
            false
        });
        assert!(found.await.expect(until), "{until}");
        let pid = demo.id().unwrap().to_string();
        let killed = std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status();
        assert!(killed.unwrap().success());
        let ended = async {
            while let Some(_line) = lines.next_line().await.unwrap() {}
            demo.wait().await.unwrap()
        };
        let ended = tokio::time::timeout(TIMEOUT, ended)
            .await
            .expect("it exits");
        assert_eq!(ended.code(), Some(code));
        let left = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 0, "its directory is removed");
    }
}

#[tokio::test]
async fn a_hangup_stops_the_daemon() {
    let dir = TempDir::new("hangup");
    let config = format!("store: sqlite:{}\n", dir.path().join("store").display());
    let daemon = Daemon::start(dir.path(), &config).await.unwrap();
    let log = daemon.stop_by("HUP").await.unwrap();
    assert!(log.contains("SIGHUP"), "{log}");
    // Unless nohup has told it to ignore them.
    let daemon = Daemon::start_after(dir.path(), &config, "trap '' HUP")
        .await
        .unwrap();
    daemon.signal("HUP").unwrap();
    let log = daemon.stop_by("TERM").await.unwrap();
    assert!(!log.contains("SIGHUP") && log.contains("SIGTERM"), "{log}");
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_and_reported_if_it_is_too_low() {
    let dir = TempDir::new("files");
    let config = format!("store: sqlite:{}\n", dir.path().join("store").display());
    for (setup, is_too_low) in [("ulimit -S -n 256", false), ("ulimit -n 600", true)] {
        let daemon = Daemon::start_after(dir.path(), &config, setup)
            .await
            .unwrap();
        let log = daemon.stop().await.unwrap();
        let says = "the limit of open files is 600, below the 1512";
        assert_eq!(log.contains(says), is_too_low, "{log}");
        assert_eq!(log.contains("limit of open files"), is_too_low, "{log}");
    }
}
