//! `windlass demo`: the main job on one machine, with nothing installed.
//!
//! A whole daemon runs beside an emulator of the sources. Three mappings are made through the API,
//! records flow for a while, and the emulator's ledger proves in the end that every one of them
//! arrived, in order for each key.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use tokio::runtime::Runtime;
use windlass_emulator::{Emulator, Summary};

use crate::app::App;
use crate::cli::{DemoArgs, LogFormat};
use crate::client::Client;
use crate::config::{Config, Surroundings};
use crate::serve::Signals;
use crate::{output, refuse, telemetry};

mod records;
mod show;

use show::{Seen, Show};

/// Between two looks at how it goes.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// What has not arrived by then, counted from the start, is lost.
const PATIENCE: Duration = Duration::from_secs(45);

/// How long the stop may take.
const GRACE: Duration = Duration::from_secs(8);

/// Runs the demo to its end.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    if let Err(problem) = telemetry::start(LogFormat::Text, Some("warn")) {
        return Ok(refuse(None, &[problem]));
    }
    let runtime = Runtime::new().context("starting the runtime")?;
    let code = runtime.block_on(demo(args));
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

async fn demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    // Before the folder is made, so that however it is told to end, the folder goes.
    let mut signals = Signals::new()?;
    let emulator = Emulator::start(([127, 0, 0, 1], 0).into()).await;
    let emulator = emulator.context("starting the stand-in for AWS")?;
    let folder = Folder::new()?;
    let config = configuration(&emulator, folder.path(), args.port)?;
    let running = App::build(config, false).await?.spawn().await?;
    let api = format!("http://{}", running.address());
    let client = Client::new(&api);
    introduce(&emulator, &api)?;
    for (source, starting_position) in records::sources(&emulator)? {
        let mapping = json!({
            "FunctionName": "hello",
            "EventSourceArn": source,
            "StartingPosition": starting_position,
        });
        client.create(&mapping).await?;
    }
    let interrupted = flow(args, &emulator, &client, &mut signals).await?;
    if args.keep && !interrupted {
        report(&emulator.ledger().summary())?;
        output::print(&format!(
            "still running: the API is at {api}, the sources are at {}; Ctrl-C ends it",
            emulator.endpoint()
        ))?;
        signals.next().await;
        running.stop(GRACE, signals.next()).await;
        return Ok(ExitCode::SUCCESS);
    }
    running.stop(GRACE, signals.next()).await;
    if interrupted {
        // What is still on its way is not lost, so there is nothing to sum up.
        bail!("interrupted before everything had arrived");
    }
    let summary = emulator.ledger().summary();
    report(&summary)?;
    if summary.lost() != 0 || summary.counts.out_of_order != 0 {
        bail!("records are missing or came out of order: this is a defect of windlass");
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts the records and shows how they arrive, until all have; whether somebody interrupted it.
async fn flow(
    args: &DemoArgs,
    emulator: &Emulator,
    client: &Client,
    signals: &mut Signals,
) -> anyhow::Result<bool> {
    let total = u64::from(args.records);
    let started = Instant::now();
    let mut show = Show::start(total);
    let watching = async {
        while started.elapsed() < PATIENCE {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let counts = emulator.ledger().counts();
            let statuses = client.statuses().await?;
            show.update(&Seen {
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
    let both = async { tokio::try_join!(records::put(emulator, total), watching) };
    let interrupted = tokio::select! {
        done = both => done.map(|_| false)?,
        _ = signals.next() => true,
    };
    show.finish();
    Ok(interrupted)
}

fn introduce(emulator: &Emulator, api: &str) -> anyhow::Result<()> {
    output::print(&format!(
        "a Kinesis stream, a DynamoDB stream and an SQS queue at {}, a function behind HTTP,\n\
         and windlass between them; its API is at {api}\n",
        emulator.endpoint()
    ))
}

fn report(summary: &Summary) -> anyhow::Result<()> {
    let Summary { counts, p50, p99 } = summary;
    let time = |time: &Option<Duration>| match time {
        Some(time) => format!("{} ms", time.as_millis()),
        None => "unknown".to_owned(),
    };
    output::print(&format!(
        "\n\
         records put         {}\n\
         records delivered   {}\n\
         lost                {}\n\
         out of order        {}\n\
         delivered again     {}\n\
         batches             {}\n\
         from put to invoke  p50 {}, p99 {}\n",
        counts.put,
        counts.delivered,
        summary.lost(),
        counts.out_of_order,
        counts.repeated,
        counts.batches,
        time(p50),
        time(p99),
    ))
}

/// A daemon like any other, with all sources at the emulator.
fn configuration(emulator: &Emulator, folder: &Path, port: u16) -> anyhow::Result<Config> {
    let endpoint = emulator.endpoint();
    let text = json!({
        "listen": format!("127.0.0.1:{port}"),
        "store": format!("sqlite:{}", folder.display()),
        "region": "us-east-1",
        "account_id": "000000000000",
        "aws": {"endpoints": {"kinesis": endpoint, "dynamodb_streams": endpoint, "sqs": endpoint}},
        "sqs": {"wait_time": "1s"},
        "functions": {"hello": {"url": emulator.function_url("hello")}},
    });
    // JSON is YAML.
    let nothing = Surroundings {
        variable: &|_| None,
        region_of_profile: &|| None,
    };
    let config = Config::parse(&text.to_string(), nothing);
    let mut config = config.map_err(|problems| {
        let problems: Vec<_> = problems.into_iter().map(|it| it.message).collect();
        anyhow::anyhow!("the demo's configuration is wrong: {}", problems.join("; "))
    })?;
    config.placeholder_credentials = true;
    Ok(config)
}

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
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

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a temporary folder could not be removed");
        }
    }
}
