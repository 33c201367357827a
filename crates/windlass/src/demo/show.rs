//! How the demo shows itself: a live table and a bar on a terminal, plain lines in a pipe.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use windlass_admin::report::MappingReport;

use crate::output;

/// Between two plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// What is seen at one look.
pub(super) struct Seen {
    /// Since the first record was put.
    pub(super) elapsed: Duration,
    pub(super) put: u64,
    pub(super) delivered: u64,
    /// How many will be put.
    pub(super) total: u64,
    /// What the API says of each mapping.
    pub(super) statuses: Vec<MappingReport>,
}

/// Shows one look after the other.
pub(super) enum Show {
    Terminal {
        table: ProgressBar,
        bar: ProgressBar,
    },
    Pipe {
        next_line: Duration,
    },
}

impl Show {
    pub(super) fn start(total: u64) -> Self {
        if !std::io::stdout().is_terminal() {
            return Self::Pipe {
                next_line: Duration::ZERO,
            };
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let plain =
            |template| ProgressStyle::with_template(template).expect("it names known fields");
        let table = all.add(ProgressBar::no_length().with_style(plain("{msg}")));
        let style = plain("\n delivered {bar:40} {human_pos} of {human_len}, {elapsed} ");
        let bar = all.add(ProgressBar::new(total).with_style(style));
        Self::Terminal { table, bar }
    }

    pub(super) fn update(&mut self, seen: &Seen) -> anyhow::Result<()> {
        match self {
            Self::Terminal { table, bar } => {
                let width = output::terminal_width();
                let shown = output::status_table(&seen.statuses, width);
                table.set_message(shown);
                bar.set_position(seen.delivered);
            }
            Self::Pipe { next_line } => {
                let last = seen.delivered == seen.total;
                if !last && seen.elapsed < *next_line {
                    return Ok(());
                }
                *next_line = seen.elapsed + LINE_INTERVAL;
                output::print(&format!(
                    "{:5.1} s   put {:>6}   delivered {:>6} of {}",
                    seen.elapsed.as_secs_f64(),
                    seen.put,
                    seen.delivered,
                    seen.total
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
