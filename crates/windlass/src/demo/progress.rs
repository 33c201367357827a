//! The progress of the demo: a live table and a bar on a terminal, plain lines in a pipe.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use windlass_admin::report::MappingReport;

use crate::output;

/// The time between two plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

pub(super) struct Snapshot {
    /// Since the first record was put.
    pub(super) elapsed: Duration,
    pub(super) put: u64,
    pub(super) delivered: u64,
    /// The number of records that will be put.
    pub(super) total: u64,
    /// The status of each mapping, from the API.
    pub(super) statuses: Vec<MappingReport>,
}

pub(super) enum Progress {
    Terminal {
        table: ProgressBar,
        bar: ProgressBar,
    },
    Pipe {
        next_line: Duration,
    },
}

impl Progress {
    pub(super) fn start(total: u64) -> Self {
        if !std::io::stdout().is_terminal() {
            return Self::Pipe {
                next_line: Duration::ZERO,
            };
        }
        let lines = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let style =
            |template| ProgressStyle::with_template(template).expect("the template is valid");
        let table = lines.add(ProgressBar::no_length().with_style(style("{msg}")));
        let style = style("\n delivered {bar:40} {human_pos} of {human_len}, {elapsed} ");
        let bar = lines.add(ProgressBar::new(total).with_style(style));
        Self::Terminal { table, bar }
    }

    pub(super) fn update(&mut self, snapshot: &Snapshot) -> anyhow::Result<()> {
        match self {
            Self::Terminal { table, bar } => {
                let width = output::terminal_width();
                let text = output::status_table(&snapshot.statuses, width);
                table.set_message(text);
                bar.set_position(snapshot.delivered);
            }
            Self::Pipe { next_line } => {
                let is_last = snapshot.delivered == snapshot.total;
                if !is_last && snapshot.elapsed < *next_line {
                    return Ok(());
                }
                *next_line = snapshot.elapsed + LINE_INTERVAL;
                output::print(&format!(
                    "{:5.1} s   put {:>6}   delivered {:>6} of {}",
                    snapshot.elapsed.as_secs_f64(),
                    snapshot.put,
                    snapshot.delivered,
                    snapshot.total
                ))?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) {
        if let Self::Terminal { table, bar } = self {
            table.finish();
            bar.finish();
        }
    }
}
