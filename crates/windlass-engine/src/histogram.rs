//! Durations counted by size, in the text format of Prometheus.
//!
//! They live on the status board with their mapping, so that a mapping that was idle for a day
//! continues counting, and one that was deleted leaves nothing.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::Label;
use windlass_core::outcome::Outcome;

use crate::metrics_text::{render_labels, series};

/// Upper bounds in seconds, from fast functions to records that wait for hours.
const BOUNDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 3_600.0, 86_400.0,
];

/// Durations of the invocations of one mapping.
#[derive(Debug, Default)]
pub(crate) struct InvocationMetrics {
    pub(crate) iterator_age: Histogram,
    pub(crate) success: Histogram,
    pub(crate) function_error: Histogram,
    pub(crate) not_invoked: Histogram,
}

#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// By bound; the last one has what is above all bounds.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_micros: AtomicU64,
}

impl InvocationMetrics {
    /// Records the age of a batch's last record when the batch is sent.
    pub(crate) fn iterator_age(&self, age: Duration) {
        self.iterator_age.record(age);
    }

    pub(crate) fn invocation(&self, outcome: &Outcome, took: Duration) {
        let series = match outcome {
            Outcome::Success | Outcome::ItemFailures { .. } | Outcome::Windowed(_) => &self.success,
            Outcome::FunctionError { .. } => &self.function_error,
            Outcome::NotInvoked { .. } => &self.not_invoked,
        };
        series.record(took);
    }
}

impl Histogram {
    pub(crate) fn record(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let index = BOUNDS.partition_point(|bound| *bound < seconds);
        self.buckets[index].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Adds its series, unless nothing has been recorded.
    pub(crate) fn render(&self, text: &mut String, name: &str, labels: &[Label]) {
        let labels = render_labels(labels);
        let counts = self.buckets.iter().map(|it| it.load(Ordering::Relaxed));
        let counts: Vec<u64> = counts.collect();
        if counts.iter().all(|count| *count == 0) {
            return;
        }
        let bounds = BOUNDS.iter().map(ToString::to_string);
        let bounds = bounds.chain(["+Inf".to_owned()]);
        let mut total = 0;
        for (bound, count) in bounds.zip(counts) {
            total += count;
            line(
                text,
                name,
                "bucket",
                &format!("{labels},le=\"{bound}\""),
                total,
            );
        }
        let sum = Duration::from_micros(self.sum_micros.load(Ordering::Relaxed));
        line(text, name, "sum", &labels, sum.as_secs_f64());
        line(text, name, "count", &labels, total);
    }
}

fn line(text: &mut String, name: &str, suffix: &str, labels: &str, value: impl Display) {
    series(text, &format!("{name}_{suffix}"), labels, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_durations_up_to_each_bound() {
        let histogram = Histogram::default();
        let labels = [Label::new("mapping", "a\"b")];
        let mut text = String::new();
        histogram.render(&mut text, "x_seconds", &labels);
        assert_eq!(text, "", "nothing recorded, nothing shown");
        for millis in [5, 6, 250, 100_000_000] {
            histogram.record(Duration::from_millis(millis));
        }
        histogram.render(&mut text, "x_seconds", &labels);
        for line in [
            r#"x_seconds_bucket{mapping="a\"b",le="0.005"} 1"#,
            r#"x_seconds_bucket{mapping="a\"b",le="0.01"} 2"#,
            r#"x_seconds_bucket{mapping="a\"b",le="0.1"} 2"#,
            r#"x_seconds_bucket{mapping="a\"b",le="0.25"} 3"#,
            r#"x_seconds_bucket{mapping="a\"b",le="86400"} 3"#,
            r#"x_seconds_bucket{mapping="a\"b",le="+Inf"} 4"#,
            r#"x_seconds_sum{mapping="a\"b"} 100000.261"#,
            r#"x_seconds_count{mapping="a\"b"} 4"#,
        ] {
            assert!(text.lines().any(|it| it == line), "{line} not in\n{text}");
        }
    }
}
