//! The programs of a benchmark: its source with the function, and the floor.

mod floor;
mod runtime;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, value_parser};
use http::Uri;
use tokio::runtime::Builder;
use windlass_emulator::{BenchLoad, BenchSource, QueueLoad, StreamLoad};

use floor::{Connection, Floor, QueueFloor};

#[derive(Parser)]
#[command(version, about = "Runs the source or the floor of a benchmark")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the stream and the function of a benchmark
    BenchSource {
        /// Address to listen on
        #[arg(long, value_name = "ADDRESS")]
        listen: SocketAddr,
        /// Open shards of the stream
        #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=100_000))]
        shards: u32,
        /// Bytes of data of each record
        #[arg(long, default_value_t = 1024, value_parser = value_parser!(u32).range(0..=1_048_576))]
        record_bytes: u32,
        /// How long each read of a shard takes, in milliseconds
        #[arg(long, default_value_t = 0, value_parser = value_parser!(u64).range(..=60_000))]
        read_delay: u64,
    },
    /// Serve the queues and the function of a benchmark
    BenchQueues {
        /// Address to listen on
        #[arg(long, value_name = "ADDRESS")]
        listen: SocketAddr,
        /// Bytes of the body of each message
        #[arg(long, default_value_t = 1024, value_parser = value_parser!(u32).range(1..=1_048_576))]
        message_bytes: u32,
        /// Bytes of each receipt handle
        #[arg(long, default_value_t = 412, value_parser = value_parser!(u32).range(24..=1_024))]
        handle_bytes: u32,
        /// Number of queues
        #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=1_000))]
        queues: u32,
        /// Message groups of a FIFO queue; a standard queue has none
        #[arg(long, default_value_t = 0, value_parser = value_parser!(u32).range(..=1_000_000))]
        groups: u32,
    },
    /// Move the records of a bench source to its function with the least possible work
    Floor {
        /// URL of the bench source, such as http://127.0.0.1:4567
        #[arg(long, value_name = "URL")]
        source: Uri,
        /// Number of shards to read
        #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=100_000))]
        shards: u32,
        /// Records per invocation of the function
        #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=1_000))]
        batch_size: u32,
        /// Minimum time between two reads of a shard, in milliseconds; the limit of Kinesis is 200
        #[arg(long, default_value_t = 0, value_parser = value_parser!(u64).range(..=60_000))]
        read_interval: u64,
        /// Subscribe to the shards instead of reading them
        #[arg(long, conflicts_with = "read_interval")]
        fan_out: bool,
    },
    /// Move the messages of a bench queue to its function with the least possible work
    QueueFloor {
        /// URL of the bench queue, such as http://127.0.0.1:4567
        #[arg(long, value_name = "URL")]
        source: Uri,
        /// Receives at a time, each followed by its invocation and deletion
        #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=1_000))]
        receivers: u32,
        /// Messages per invocation of the function
        #[arg(long, default_value_t = 10, value_parser = value_parser!(u32).range(1..=10_000))]
        batch_size: u32,
    },
    /// Be the function of a benchmark as a local process: count the records of each event, and answer
    Function {
        /// URL of the bench source, which adds the counts up
        #[arg(long, value_name = "URL")]
        source: Uri,
    },
}

fn main() -> Result<()> {
    let command = Options::parse().command;
    // One thread leaves the other cores to the program that is measured.
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime
        .context("starting the runtime")?
        .block_on(run(command))
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::BenchSource {
            listen,
            shards,
            record_bytes,
            read_delay,
        } => {
            let read_delay = Duration::from_millis(read_delay);
            let load = StreamLoad {
                shards,
                record_bytes,
                read_delay,
            };
            serve(listen, BenchLoad::Stream(load)).await
        }
        Command::BenchQueues {
            listen,
            queues,
            message_bytes,
            handle_bytes,
            groups,
        } => {
            let load = QueueLoad {
                queues,
                message_bytes,
                handle_bytes,
                groups,
            };
            serve(listen, BenchLoad::Queues(load)).await
        }
        Command::Floor {
            source,
            shards,
            batch_size,
            read_interval,
            fan_out,
        } => {
            let floor = Floor {
                authority: authority_of(&source)?,
                shards,
                batch_size: batch_size as usize,
                read_interval: Duration::from_millis(read_interval),
            };
            if fan_out {
                floor.run_fan_out().await
            } else {
                floor.run().await
            }
        }
        Command::QueueFloor {
            source,
            receivers,
            batch_size,
        } => {
            let floor = QueueFloor {
                authority: authority_of(&source)?,
                receivers,
                batch_size: batch_size as usize,
            };
            floor.run().await
        }
        Command::Function { source } => {
            let api = std::env::var("AWS_LAMBDA_RUNTIME_API");
            let api = api.context("AWS_LAMBDA_RUNTIME_API is not set; windlass sets it")?;
            let source = Connection::open(&authority_of(&source)?).await?;
            runtime::run(Connection::open(&api).await?, source).await
        }
    }
}

async fn serve(listen: SocketAddr, load: BenchLoad) -> Result<()> {
    let source = BenchSource::start(listen, load).await;
    let source = source.with_context(|| format!("listening on {listen}"))?;
    print_address(source.addr())?;
    source.run().await;
    Ok(())
}

fn authority_of(source: &Uri) -> Result<String> {
    let authority = source
        .authority()
        .filter(|_| source.scheme_str() == Some("http"));
    let authority =
        authority.with_context(|| format!("{source} does not have the form http://HOST:PORT"))?;
    Ok(authority.to_string())
}

fn print_address(addr: SocketAddr) -> Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "listening on http://{addr}")
        .and_then(|()| output.flush())
        .context("writing the address")
}
