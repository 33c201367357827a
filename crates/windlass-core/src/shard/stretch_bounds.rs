//! Which records of a shard belong to the stretch that its consumer processes.
//!
//! Records before the stretch move no checkpoint: so a checkpoint that is after a record says that the
//! stretch has begun, and a later record that is stamped before its start is not left out.

use std::time::Duration;

use super::read_state::TipEnd;
use crate::position::Position;
use crate::record::Record;
use crate::stretch::{StretchEnd, StretchSettings};

/// By how much the clock of the source may differ from what is known of it: its answers have whole
/// seconds, and changes of less than a second are not reported.
const CLOCK_MARGIN: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct StretchBounds {
    settings: StretchSettings,
    has_begun: bool,
    has_ended: bool,
}

impl StretchBounds {
    /// `from` is the position of the checkpoint.
    pub(super) const fn new(settings: StretchSettings, from: &Position) -> Self {
        Self {
            settings,
            has_begun: from.sequence_number().is_some(),
            has_ended: false,
        }
    }

    /// Takes the records that do not belong to the stretch out of the next ones of the shard.
    pub(super) fn cut(&mut self, mut records: Vec<Record>) -> Vec<Record> {
        let stretch = &self.settings.stretch;
        if !self.has_begun {
            let begin = records.iter().position(|it| stretch.begins_with(it));
            records.drain(..begin.unwrap_or(records.len()));
            self.has_begun = begin.is_some();
        }
        let mut n_within = 0;
        for record in &records {
            self.has_ended |= stretch.is_before(record);
            if self.has_ended {
                break;
            }
            n_within += 1;
            self.has_ended = stretch.ends_with(record);
        }
        records.truncate(n_within);
        records
    }

    /// The stream is another one: if the bounds are numbers, nothing is left of the stretch.
    pub(super) fn lose_stream(&mut self) {
        self.has_ended |= self.settings.stretch.is_of_one_shard();
    }

    /// Whether a record, or a stream, was read that follows the stretch.
    pub(super) const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Which tip of the shard ends the stretch. `source_ahead`: by how many milliseconds the clock of the
    /// source is ahead.
    pub(super) fn tip_end(&self, source_ahead: i64) -> Option<TipEnd> {
        let StretchEnd::Time(to) = &self.settings.stretch.to else {
            return None;
        };
        Some(TipEnd {
            reads_from: to.shifted(source_ahead.saturating_neg()) + CLOCK_MARGIN,
            reports_tip: self.settings.reports_tip,
        })
    }
}
