//! The text format of Prometheus.
//!
//! Series that live as long as something on the status board are rendered from it, past the recorder,
//! which keeps a series for a while after the last time it was set.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::{Arguments, Display, Write as _};

use metrics::Label;

/// Adds the help and the type of a metric, before its series.
pub(crate) fn render_head(text: &mut String, name: &str, metric_type: &str, help: &str) {
    line(text, format_args!("# HELP {name} {help}"));
    line(text, format_args!("# TYPE {name} {metric_type}"));
}

/// Adds the value of a series; its labels are those of [`render_labels`].
pub(crate) fn series(text: &mut String, name: &str, labels: &str, value: impl Display) {
    line(text, format_args!("{name}{{{labels}}} {value}"));
}

pub(crate) fn render_labels(labels: &[Label]) -> String {
    let labels = labels.iter().map(|label| {
        let value = label.value().replace('\\', "\\\\");
        let value = value.replace('"', "\\\"").replace('\n', "\\n");
        format!("{}=\"{value}\"", label.key())
    });
    labels.collect::<Vec<_>>().join(",")
}

fn line(text: &mut String, line: Arguments<'_>) {
    writeln!(text, "{line}").expect("a string accepts everything");
}
