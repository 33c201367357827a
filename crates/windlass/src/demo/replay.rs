//! `windlass demo --replay`: half of the demo's records are replayed into a second function, whose
//! ledger proves that each of them arrived once more.

use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::json;
use windlass_core::time::Timestamp;
use windlass_emulator::{Emulator, Ledger, Summary};

use super::print_summary;
use crate::client::Client;
use crate::output;

/// Name of the function, and of the replay.
pub(super) const FUNCTION: &str = "again";

/// The second function, which counts for itself.
pub(super) struct Replay(Emulator);

impl Replay {
    pub(super) async fn new() -> anyhow::Result<Self> {
        let emulator = Emulator::start(([127, 0, 0, 1], 0).into()).await;
        Ok(Self(emulator.context("starting the second function")?))
    }

    pub(super) fn function_url(&self) -> String {
        self.0.function_url(FUNCTION)
    }

    /// Where the records that are to be replayed are noted.
    pub(super) fn ledger(&self) -> &Ledger {
        self.0.ledger()
    }

    /// Replays what has arrived since `from`, and shows the proof.
    pub(super) async fn run(
        &self,
        client: &Client,
        mapping: &str,
        from: Timestamp,
    ) -> anyhow::Result<()> {
        output::print(
            "\nhalf of the records are replayed from the stream into a second function\n",
        )?;
        let body = json!({
            "name": FUNCTION,
            "mapping": mapping,
            "function_name": FUNCTION,
            "from": {"type": "at_timestamp", "timestamp": from.to_rfc3339_millis()},
        });
        if crate::replay::start_and_watch(client, FUNCTION, &body).await? != ExitCode::SUCCESS {
            bail!("the replay has not completed");
        }
        let summary = self.0.ledger().summary();
        // A replay comes long after the put.
        print_summary(&Summary {
            p50: None,
            p99: None,
            ..summary
        })?;
        if summary.lost() != 0 || summary.counts.out_of_order != 0 || summary.counts.foreign != 0 {
            bail!(
                "replayed records are missing, too many or out of order: this is a bug in windlass"
            );
        }
        Ok(())
    }
}
