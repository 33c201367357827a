//! The emulator as a program: by itself, or as an end of a measurement.

mod floor;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, value_parser};
use http::Uri;
use tokio::runtime::Builder;
use windlass_emulator::{BenchLoad, BenchSource, Emulator};

use floor::Floor;

#[derive(Parser)]
#[command(version, about)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Stand in for AWS's services until it is ended
    Serve {
        /// Address to listen at, such as 127.0.0.1:4566; port 0 takes any that is free
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    /// Offer records of a stream and take the calls of a function, for a measurement
    BenchSource {
        /// Address to listen at
        #[arg(long, value_name = "ADDRESS")]
        listen: SocketAddr,
        /// Open shards of the stream
        #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=100_000))]
        shards: u32,
        /// Bytes of data of each record
        #[arg(long, default_value_t = 1024, value_parser = value_parser!(u32).range(0..=1_048_576))]
        record_bytes: u32,
    },
    /// Move a bench source's records to its function with nothing done but the copy
    Floor {
        /// The bench source, such as http://127.0.0.1:4567
        #[arg(long, value_name = "URL")]
        source: Uri,
        /// Shards to read
        #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=100_000))]
        shards: u32,
        /// Records of one call of the function
        #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=1_000))]
        batch_size: u32,
        /// Milliseconds from one read of a shard to the next at least; Kinesis allows 200
        #[arg(long, default_value_t = 0, value_parser = value_parser!(u64).range(..=60_000))]
        read_interval: u64,
    },
}

fn main() -> Result<()> {
    let command = Options::parse().command;
    // An end of a measurement leaves the other core to what is measured.
    let mut builder = match command {
        Command::Serve { .. } => Builder::new_multi_thread(),
        Command::BenchSource { .. } | Command::Floor { .. } => Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build();
    runtime
        .context("starting the runtime")?
        .block_on(run(command))
}

async fn run(command: Command) -> Result<()> {
    let listening = |listen| move || format!("listening at {listen}");
    match command {
        Command::Serve { listen } => {
            let emulator = Emulator::start(listen)
                .await
                .with_context(listening(listen))?;
            announce(emulator.addr())?;
            emulator.run().await;
            Ok(())
        }
        Command::BenchSource {
            listen,
            shards,
            record_bytes,
        } => {
            let load = BenchLoad {
                shards,
                record_bytes,
            };
            let source = BenchSource::start(listen, load).await;
            let source = source.with_context(listening(listen))?;
            announce(source.addr())?;
            source.run().await;
            Ok(())
        }
        Command::Floor {
            source,
            shards,
            batch_size,
            read_interval,
        } => {
            let authority = source
                .authority()
                .filter(|_| source.scheme_str() == Some("http"));
            let authority = authority
                .with_context(|| format!("{source} is not of the form http://HOST:PORT"))?;
            let floor = Floor {
                authority: authority.to_string(),
                shards,
                batch_size: batch_size as usize,
                read_interval: Duration::from_millis(read_interval),
            };
            floor.run().await
        }
    }
}

fn announce(addr: SocketAddr) -> Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "listening on http://{addr}")
        .and_then(|()| output.flush())
        .context("writing the address")
}
