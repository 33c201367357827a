//! The API over TLS as the unmodified AWS CLI and boto3 call it, with signatures.

use serde_json::{Value, json};
use tokio::process::Command;
use windlass_tests::certificate::Certificate;
use windlass_tests::daemon::Daemon;
use windlass_tests::servers::Servers;
use windlass_tests::temp_dir::TempDir;

use crate::TIMEOUT;
use crate::clients::client;

const SECRET: &str = "0123456789abcdef";

const BOTO3: &str = "
import boto3, ssl, sys, urllib.request
trusted = ssl.create_default_context(cafile=sys.argv[2])
with urllib.request.urlopen(sys.argv[1] + '/livez', context=trusted) as answer:
    print(answer.status)
lambda_ = boto3.client('lambda', endpoint_url=sys.argv[1], verify=sys.argv[2])
print(lambda_.list_event_source_mappings()['EventSourceMappings'])
";

/// Its exit code and its output.
async fn ended(mut command: Command) -> anyhow::Result<(Option<i32>, String)> {
    command
        .env("AWS_ACCESS_KEY_ID", "K")
        .env("AWS_SECRET_ACCESS_KEY", SECRET);
    let output = tokio::time::timeout(TIMEOUT, command.output()).await??;
    let text = [output.stdout, output.stderr];
    let text = text.map(|text| String::from_utf8_lossy(&text).into_owned());
    Ok((output.status.code(), text.concat()))
}

#[tokio::test]
async fn the_aws_cli_and_boto3_call_a_daemon_by_https() {
    by_https().await.unwrap();
}

async fn by_https() -> anyhow::Result<()> {
    let servers = Servers::running();
    let dir = TempDir::new("interop-tls");
    let [certificate, _] = Certificate::new(&["localhost"], 2100).write(dir.path());
    let config = json!({
        "store": format!("sqlite:{}", dir.path().join("store").display()),
        "tls": {"certificate": "tls.crt", "key": "tls.key"},
        "auth": {"access_keys": [{"id": "K", "secret": SECRET, "role": "read_only"}]},
    });
    let daemon = Daemon::start(dir.path(), &config.to_string()).await?;
    let endpoint = daemon.endpoint.replace("127.0.0.1", "localhost");
    let list = |is_trusted: bool| {
        let mut cli = client(servers.aws_cli());
        cli.args(["--endpoint-url", &endpoint, "--output", "json"]);
        if is_trusted {
            cli.arg("--ca-bundle").arg(&certificate);
        }
        cli.args(["lambda", "list-event-source-mappings"]);
        ended(cli)
    };
    let (code, text) = list(true).await?;
    assert_eq!(code, Some(0), "{text}");
    let listed: Value = serde_json::from_str(&text)?;
    assert_eq!(listed["EventSourceMappings"], json!([]));
    let (code, text) = list(false).await?;
    assert_ne!(code, Some(0), "{text}");
    assert!(text.contains("SSL"), "{text}");
    let mut boto3 = client(servers.python());
    boto3.args(["-c", BOTO3, &endpoint]).arg(&certificate);
    let (code, text) = ended(boto3).await?;
    assert_eq!((code, text.trim()), (Some(0), "200\n[]"));
    daemon.stop().await?;
    Ok(())
}
