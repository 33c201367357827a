//! `GET /metrics`, in the text format of Prometheus.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use thiserror::Error;
use windlass_core::time::Timestamp;
use windlass_engine::memory::Budget;
use windlass_engine::status::StatusBoard;

/// Interval of [`Metrics::upkeep`].
pub(crate) const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// A counter or gauge that no scrape has set for this long is dropped: its mapping is gone. Those of
/// all other mappings are set before each scrape.
const SERIES_TTL: Duration = Duration::from_secs(60);

/// Which metrics are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetricsSettings {
    /// How far each shard is behind its tip: a series for each shard that runs.
    pub per_shard: bool,
}

/// The metrics of this process.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    settings: MetricsSettings,
    log_lines_dropped: Arc<AtomicU64>,
}

#[derive(Debug, Error)]
#[error("cannot install the metrics recorder")]
pub struct MetricsError(#[from] BuildError);

impl Metrics {
    /// Once per process.
    ///
    /// # Errors
    /// A recorder is installed already.
    pub fn install(
        settings: MetricsSettings,
        log_lines_dropped: Arc<AtomicU64>,
    ) -> Result<Self, MetricsError> {
        let handle = builder(SERIES_TTL).install_recorder()?;
        windlass_engine::metrics::describe();
        Ok(Self {
            handle,
            settings,
            log_lines_dropped,
        })
    }

    /// `wall` is the daemon's wall time.
    pub(crate) fn render(
        &self,
        board: &StatusBoard,
        budget: &Budget,
        refused: u64,
        wall: Timestamp,
    ) -> String {
        windlass_engine::metrics::publish(board, budget);
        windlass_engine::metrics::publish_log(self.log_lines_dropped.load(Ordering::Relaxed));
        windlass_engine::metrics::publish_refused_requests(refused);
        let mut text = self.handle.render() + &windlass_engine::metrics::render_histograms(board);
        if self.settings.per_shard {
            text += &windlass_engine::metrics::render_shards(board, wall);
        }
        text
    }

    /// Work that the exporter wants done between scrapes.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn builder(series_ttl: Duration) -> PrometheusBuilder {
    PrometheusBuilder::new().idle_timeout(MetricKindMask::ALL, Some(series_ttl))
}

#[cfg(test)]
mod tests {
    use metrics::{counter, gauge, with_local_recorder};

    use super::*;

    #[test]
    fn series_that_are_not_set_before_a_scrape_are_dropped() {
        let recorder = builder(Duration::ZERO).build_recorder();
        let handle = recorder.handle();
        with_local_recorder(&recorder, || {
            counter!("kept", "mapping" => "a").absolute(1);
            counter!("gone", "mapping" => "b").absolute(1);
            gauge!("gone_too", "mapping" => "b").set(1.0);
            assert!(handle.render().contains("gone_too"));
            counter!("kept", "mapping" => "a").absolute(1);
        });
        let text = handle.render();
        assert!(text.contains("kept") && !text.contains("gone"), "{text}");
    }
}
