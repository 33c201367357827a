//! `GET /metrics`, in the text format of Prometheus.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use thiserror::Error;
use windlass_engine::memory::Budget;
use windlass_engine::status::StatusBoard;

/// How often the exporter is given a chance to fold what it has gathered.
pub(crate) const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Upper bounds of the buckets, in seconds: from a fast function to records that wait for hours.
const BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 3_600.0, 86_400.0,
];

/// A series that nothing has been added to for so long goes. That is how those of deleted mappings
/// go; one of a mapping that had nothing to do begins again at zero, as after a restart.
const SERIES_LAST: Duration = Duration::from_secs(60 * 60);

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
        let handle = builder(SERIES_LAST)?.install_recorder()?;
        windlass_engine::metrics::describe();
        Ok(Self { handle })
    }

    /// What a scrape sees now.
    pub(crate) fn render(&self, board: &StatusBoard, budget: &Budget) -> String {
        windlass_engine::metrics::publish(board, budget);
        self.handle.render()
    }

    /// Folds what has been gathered; without it, memory grows until the next scrape.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn builder(series_last: Duration) -> Result<PrometheusBuilder, BuildError> {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &BUCKETS)?;
    Ok(builder.idle_timeout(MetricKindMask::ALL, Some(series_last)))
}

#[cfg(test)]
mod tests {
    use metrics::{counter, histogram, with_local_recorder};

    use super::*;

    #[test]
    fn series_to_which_nothing_is_added_go() {
        let recorder = builder(Duration::ZERO).unwrap().build_recorder();
        let handle = recorder.handle();
        with_local_recorder(&recorder, || {
            counter!("kept", "mapping" => "a").absolute(1);
            counter!("gone", "mapping" => "b").absolute(1);
            histogram!("gone_seconds", "mapping" => "b").record(1.0);
            assert!(handle.render().contains("gone_seconds_bucket"));
            counter!("kept", "mapping" => "a").absolute(1);
        });
        let text = handle.render();
        assert!(text.contains("kept") && !text.contains("gone"), "{text}");
    }
}
