//! `GET /metrics`, in the text format of Prometheus.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use thiserror::Error;
use windlass_engine::budget::ByteBudget;
use windlass_engine::status::StatusBoard;

/// How often the exporter is given a chance to fold what it has gathered.
pub(crate) const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Upper bounds of the buckets, in seconds: from a fast function to records that wait for hours.
const BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 3_600.0, 86_400.0,
];

/// Gathers the metrics of this process.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

/// Metrics cannot be gathered.
#[derive(Debug, Error)]
#[error("metrics cannot be gathered")]
pub struct MetricsError(#[from] BuildError);

impl Metrics {
    /// Begins to gather; once for a process.
    ///
    /// # Errors
    /// It was done before.
    pub fn install() -> Result<Self, MetricsError> {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)?
            .install_recorder()?;
        windlass_engine::metrics::describe();
        Ok(Self { handle })
    }

    /// What a scrape sees now.
    pub(crate) fn render(&self, board: &StatusBoard, budget: &ByteBudget) -> String {
        windlass_engine::metrics::publish(board, budget);
        self.handle.render()
    }

    /// Folds what has been gathered; without it, memory grows until the next scrape.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}
