//! The runtime interface clients of each language as local processes, by the examples of the configuration.

use std::time::Duration;

use windlass_tests::servers::Servers;
use windlass_tests::{daemon, examples};

/// `PATH` of this test, with a directory before it.
fn path_with(directory: &str) -> String {
    format!("{directory}:{}", std::env::var("PATH").unwrap_or_default())
}

#[tokio::test]
async fn awslambdaric_for_python() {
    let dir = examples::copy("python").unwrap();
    let python = Servers::running().python().to_owned();
    let bin = std::path::Path::new(&python).parent().unwrap();
    let path = path_with(bin.to_str().unwrap());
    examples::run(&dir, &[("PATH", &path)]).await.unwrap();
}

#[tokio::test]
async fn the_demo_with_a_function_in_python() {
    let python = Servers::running().python().to_owned();
    let bin = std::path::Path::new(&python).parent().unwrap();
    let mut demo = tokio::process::Command::new(daemon::binary());
    demo.args(["demo", "--function", "python", "--records", "1000"]);
    demo.env("PATH", path_with(bin.to_str().unwrap()));
    let demo = demo.kill_on_drop(true).output();
    let ended = tokio::time::timeout(Duration::from_secs(120), demo).await;
    let ended = ended.expect("it ends by itself").unwrap();
    let output = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{ended:?}");
    for says in [
        "in Python",
        "records delivered   1000",
        "lost                0",
    ] {
        assert!(output.contains(says), "'{says}' is not in:\n{output}");
    }
}

#[tokio::test]
async fn aws_lambda_ric_for_node() {
    let dir = examples::copy("node").unwrap();
    let modules = Servers::running().node_modules().to_owned();
    std::os::unix::fs::symlink(&modules, dir.path().join("node_modules")).unwrap();
    let path = path_with(&format!("{modules}/node/bin"));
    examples::run(&dir, &[("PATH", &path)]).await.unwrap();
}

#[tokio::test]
async fn lambda_runtime_for_rust() {
    let dir = examples::copy("rust").unwrap();
    let built = Servers::running().rust_example().to_owned();
    std::os::unix::fs::symlink(built, dir.path().join("target")).unwrap();
    examples::run(&dir, &[]).await.unwrap();
}

#[tokio::test]
async fn aws_lambda_go() {
    let dir = examples::copy("go").unwrap();
    let built = Servers::running().go_example().to_owned();
    std::os::unix::fs::symlink(built, dir.path().join("hello")).unwrap();
    examples::run(&dir, &[]).await.unwrap();
}
