//! Which records of a shard belong to the stretch that its consumer processes.
//!
//! Records before the stretch move no checkpoint: so a checkpoint that is after a record says that the
//! stretch has begun, and a later record that is stamped before its start is not left out.

use std::time::Duration;

use super::read_state::TipEnd;
use crate::position::Position;
use crate::record::Record;
use crate::stretch::{StretchEnd, StretchSettings};
use crate::time::Timestamp;

/// By how much the clock of the source may differ from what is known of it: its answers have whole
/// seconds, and changes of less than a second are not reported.
const CLOCK_MARGIN: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct StretchBounds {
    settings: StretchSettings,
    has_begun: bool,
    has_ended: bool,
    totals: StretchTotals,
}

/// What was read of a stretch since the consumer started, whether or not a filter matches it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StretchTotals {
    pub n_records: u64,
    /// Of Kinesis records, as they were put; 0 of other sources.
    pub data_bytes: u64,
    pub event_bytes: u64,
    /// Arrivals of the first and the last record, in the order of the shard.
    pub first_arrival: Option<Timestamp>,
    pub last_arrival: Option<Timestamp>,
}

impl StretchBounds {
    /// `from` is the position of the checkpoint.
    pub(super) fn new(settings: StretchSettings, from: &Position) -> Self {
        Self {
            settings,
            has_begun: from.sequence_number().is_some(),
            has_ended: false,
            totals: StretchTotals::default(),
        }
    }

    pub(super) const fn totals(&self) -> &StretchTotals {
        &self.totals
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
            self.totals.add(record);
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

impl StretchTotals {
    fn add(&mut self, record: &Record) {
        let arrival = record.approximate_arrival();
        self.n_records += 1;
        self.data_bytes += decoded_len(record.data());
        self.event_bytes += record.event_len() as u64;
        self.first_arrival.get_or_insert(arrival);
        self.last_arrival = Some(arrival);
    }
}

/// The length of what base64 encodes.
fn decoded_len(base64: &[u8]) -> u64 {
    let padding = base64.iter().rev().take_while(|byte| **byte == b'=');
    let n_digits = base64.len() - padding.count();
    (n_digits * 3 / 4) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_data_is_that_before_base64() {
        for (base64, len) in [
            ("", 0),
            ("YQ==", 1),
            ("YWI=", 2),
            ("YWJj", 3),
            ("YWJjZA==", 4),
        ] {
            assert_eq!(decoded_len(base64.as_bytes()), len, "{base64}");
        }
    }
}
