//! `windlass demo`: event source mappings on one machine, with nothing installed.
//!
//! A daemon and an emulator of the sources run in one process. Three mappings are created through
//! the API, records flow for some seconds, and the emulator's ledger proves that each of them
//! arrived, in order for each key.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use windlass_core::time::Timestamp;
use windlass_emulator::{Emulator, Ledger, Summary};

use crate::app::App;
use crate::cli::{DemoArgs, DemoLanguage, LogFormat};
use crate::client::Client;
use crate::config::{Config, Environment};
use crate::credentials::Credentials;
use crate::serve::Signals;
use crate::telemetry::Log;
use crate::{output, print_config_errors, telemetry};

mod function;
mod progress;
mod records;
mod replay;

use progress::{Progress, Snapshot};
use replay::Replay;

/// Name of the function.
const FUNCTION: &str = "hello";

const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(250);

/// Records that have not arrived this long after the start are lost.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(45);

const STOP_TIMEOUT: Duration = Duration::from_secs(8);

pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let log = match telemetry::start(LogFormat::Text, Some("warn")) {
        Ok(log) => log,
        Err(error) => return Ok(print_config_errors(None, &[error])),
    };
    let runtime = Runtime::new().context("starting the runtime")?;
    let code = runtime.block_on(demo(args, &log));
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

async fn demo(args: &DemoArgs, log: &Log) -> anyhow::Result<ExitCode> {
    // Registered first, so that a signal does not leave the directory in place.
    let mut signals = Signals::new()?;
    let emulator = Emulator::start(([127, 0, 0, 1], 0).into()).await;
    let emulator = emulator.context("starting the emulator")?;
    let directory = TempDir::new()?;
    let function = match args.function {
        None => json!({"url": emulator.function_url(FUNCTION)}),
        Some(DemoLanguage::Python) => {
            function::python(directory.path(), &emulator.function_url(FUNCTION))?
        }
    };
    let replay = match args.replay {
        true => Some(Replay::new().await?),
        false => None,
    };
    let mut functions = json!({FUNCTION: function});
    if let Some(replay) = &replay {
        functions[replay::FUNCTION] = json!({"url": replay.function_url()});
    }
    let config = build_config(&emulator, directory.path(), args.port, &functions)?;
    let running = App::build(config, false, log).await?.spawn().await?;
    let api = format!("http://{}", running.address());
    let client = Client::new(&api, Credentials::None);
    print_introduction(&emulator, &api, args.function)?;
    let mut mappings = Vec::new();
    for (source, starting_position) in records::create_sources(&emulator)? {
        let mapping = json!({
            "FunctionName": FUNCTION,
            "EventSourceArn": source,
            "StartingPosition": starting_position,
        });
        mappings.push(client.create(&mapping).await?);
    }
    let ledger = replay.as_ref().map(Replay::ledger);
    let ended = run_until_delivered(args, &emulator, ledger, &client, &mut signals).await?;
    let interrupted = ended.is_none();
    if let (Some(replay), Some(from)) = (&replay, ended.flatten()) {
        print_summary(&emulator.ledger().summary())?;
        // The first mapping is that of the stream.
        let mapping = mappings[0]["UUID"].as_str().unwrap_or_default();
        tokio::select! {
            replayed = replay.run(&client, mapping, from) => replayed?,
            _ = signals.next() => bail!("interrupted before the replay had ended"),
        }
    }
    if args.keep && !interrupted {
        if replay.is_none() {
            print_summary(&emulator.ledger().summary())?;
        }
        output::print(&format!(
            "still running: API at {api}, sources at {}; press Ctrl-C to stop",
            emulator.endpoint()
        ))?;
        signals.next().await;
        running.stop(STOP_TIMEOUT, signals.next()).await?;
        return Ok(ExitCode::SUCCESS);
    }
    running.stop(STOP_TIMEOUT, signals.next()).await?;
    if interrupted {
        // Records in flight are not lost, so a summary would mislead.
        bail!("interrupted before all records had arrived");
    }
    let summary = emulator.ledger().summary();
    if replay.is_none() {
        print_summary(&summary)?;
    }
    if summary.lost() != 0 || summary.counts.out_of_order != 0 {
        bail!("records are missing or arrived out of order: this is a bug in windlass");
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts the records and shows the progress until all have arrived. Returns where the stretch begins whose
/// records are noted in `replayed`; `None` if a signal interrupted it.
async fn run_until_delivered(
    args: &DemoArgs,
    emulator: &Emulator,
    replayed: Option<&Ledger>,
    client: &Client,
    signals: &mut Signals,
) -> anyhow::Result<Option<Option<Timestamp>>> {
    let total = u64::from(args.records);
    let started = Instant::now();
    let mut progress = Progress::start(total);
    let watch = async {
        while started.elapsed() < DELIVERY_TIMEOUT {
            tokio::time::sleep(SNAPSHOT_INTERVAL).await;
            let counts = emulator.ledger().counts();
            let statuses = client.statuses().await?;
            progress.update(&Snapshot {
                elapsed: started.elapsed(),
                put: counts.put,
                delivered: counts.delivered,
                total,
                statuses,
            })?;
            if counts.delivered == total {
                break;
            }
        }
        anyhow::Ok(())
    };
    let put = records::put(emulator, total, replayed);
    let both = async { tokio::try_join!(put, watch) };
    let ended = tokio::select! {
        done = both => Some(done?.0),
        _ = signals.next() => None,
    };
    progress.finish();
    Ok(ended)
}

fn print_introduction(
    emulator: &Emulator,
    api: &str,
    language: Option<DemoLanguage>,
) -> anyhow::Result<()> {
    let function = match language {
        None => "a function over HTTP",
        Some(DemoLanguage::Python) => "a function in Python, in processes that it starts",
    };
    output::print(&format!(
        "windlass reads a Kinesis stream, a DynamoDB stream and an SQS queue at {}\n\
         and invokes {function}; its API is at {api}\n",
        emulator.endpoint()
    ))
}

fn print_summary(summary: &Summary) -> anyhow::Result<()> {
    let Summary { counts, p50, p99 } = summary;
    let mut text = format!(
        "\n\
         records put         {}\n\
         records delivered   {}\n\
         lost                {}\n\
         out of order        {}\n\
         repeated            {}\n\
         batches             {}\n",
        counts.put,
        counts.delivered,
        summary.lost(),
        counts.out_of_order,
        counts.repeated,
        counts.batches,
    );
    if let (Some(p50), Some(p99)) = (p50, p99) {
        let (p50, p99) = (p50.as_millis(), p99.as_millis());
        text.push_str(&format!("put to invoke       p50 {p50} ms, p99 {p99} ms\n"));
    }
    output::print(&text)
}

/// The configuration of an ordinary daemon whose endpoints are the emulator.
fn build_config(
    emulator: &Emulator,
    directory: &Path,
    port: u16,
    functions: &Value,
) -> anyhow::Result<Config> {
    let endpoint = emulator.endpoint();
    let text = json!({
        "listen": format!("127.0.0.1:{port}"),
        "store": format!("sqlite:{}", directory.display()),
        "region": "us-east-1",
        "account_id": "000000000000",
        "aws": {"endpoints": {"kinesis": endpoint, "dynamodb_streams": endpoint, "sqs": endpoint}},
        "sqs": {"wait_time": "1s"},
        "functions": functions,
    });
    // Where programs are found; nothing else of the environment matters.
    let path = std::env::var("PATH").ok();
    let env = Environment {
        variable: &|name| path.clone().filter(|_| name == "PATH"),
        region_of_profile: &|| None,
        directory: None,
    };
    // JSON is YAML.
    let config = Config::parse(&text.to_string(), env);
    let mut config = config.map_err(|problems| {
        let problems: Vec<_> = problems.into_iter().map(|it| it.message).collect();
        anyhow::anyhow!(
            "the configuration of the demo is invalid: {}",
            problems.join("; ")
        )
    })?;
    config.adapters.aws.placeholder_credentials = true;
    Ok(config)
}

/// A directory that is removed when dropped.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> anyhow::Result<Self> {
        let name = format!("windlass-demo-{}", uuid::Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove a temporary directory");
        }
    }
}
