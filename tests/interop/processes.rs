//! AWS's own runtime interface clients as local processes, by the examples of the configuration.

use windlass_tests::examples;
use windlass_tests::servers::Servers;

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
async fn aws_lambda_ric_for_node() {
    let dir = examples::copy("node").unwrap();
    let modules = Servers::running().node_modules().to_owned();
    std::os::unix::fs::symlink(&modules, dir.path().join("node_modules")).unwrap();
    let path = path_with(&format!("{modules}/node/bin"));
    examples::run(&dir, &[("PATH", &path)]).await.unwrap();
}
