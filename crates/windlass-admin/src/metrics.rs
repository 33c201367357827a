//! `GET /metrics`, in the text format of Prometheus.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use thiserror::Error;
use windlass_engine::memory::Budget;
use windlass_engine::status::StatusBoard;

/// Interval at which the exporter aggregates its samples.
pub(crate) const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Upper bounds in seconds, from fast functions to records that wait for hours.
const BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 3_600.0, 86_400.0,
];

/// A series without a new sample for this long is dropped, as are those of deleted mappings. One of
/// an idle mapping starts again at zero, as after a restart.
const SERIES_TTL: Duration = Duration::from_secs(60 * 60);

/// The metrics of this process.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

#[derive(Debug, Error)]
#[error("cannot install the metrics recorder")]
pub struct MetricsError(#[from] BuildError);

impl Metrics {
    /// Once per process.
    ///
    /// # Errors
    /// A recorder is installed already.
    pub fn install() -> Result<Self, MetricsError> {
        let handle = builder(SERIES_TTL)?.install_recorder()?;
        windlass_engine::metrics::describe();
        Ok(Self { handle })
    }

    pub(crate) fn render(&self, board: &StatusBoard, budget: &Budget) -> String {
        windlass_engine::metrics::publish(board, budget);
        self.handle.render()
    }

    /// Aggregates the samples; without it, memory grows until the next scrape.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn builder(series_ttl: Duration) -> Result<PrometheusBuilder, BuildError> {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &BUCKETS)?;
    Ok(builder.idle_timeout(MetricKindMask::ALL, Some(series_ttl)))
}

#[cfg(test)]
mod tests {
    use metrics::{counter, histogram, with_local_recorder};

    use super::*;

    #[test]
    fn idle_series_are_dropped() {
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
