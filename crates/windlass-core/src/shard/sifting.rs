//! What of a page is for the function: the filter, the start of the mapping, and the size.
//!
//! What is not is passed over. If little of a page is left, what is left moves to a buffer of its
//! own: a record would otherwise hold the page it was cut from, all of it.

use bytes::Bytes;

use super::{Report, ShardSettings};
use crate::batch::BatchLimits;
use crate::filter::{Scratch, Subject};
use crate::record::{Record, SequenceNumber};

/// A page, sifted.
#[derive(Debug, Default)]
pub(super) struct Sifted {
    /// Before the first record that is for the function.
    pub(super) passed_over: PassedOver,
    /// What is for the function, in the order of the shard.
    pub(super) records: Vec<Kept>,
    /// What has to be said of the page.
    pub(super) reports: Vec<Report>,
}

/// A record for the function, and what is passed over behind it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) record: Record,
    pub(super) passed_over: PassedOver,
}

/// A run of records that are not for the function.
#[derive(Debug, Default)]
pub(super) struct PassedOver {
    pub(super) n_records: u64,
    /// The last of them.
    pub(super) last: Option<SequenceNumber>,
}

/// Sifts the records of a page.
pub(super) fn sift(records: Vec<Record>, settings: &ShardSettings) -> Sifted {
    let mut sifted = Sifted::default();
    let mut scratch = Scratch::default();
    let limits = BatchLimits {
        items: settings.batch_size,
        payload: settings.payload_limit,
    };
    let (mut n_filtered_out, mut all, mut kept) = (0, 0, 0);
    for record in records {
        let bytes = record.event.len();
        all += bytes;
        if !is_wanted(&record, settings, &mut scratch) {
            n_filtered_out += 1;
            sifted.pass_over(record.sequence_number);
        } else if !limits.fits_alone(bytes) {
            let sequence_number = record.sequence_number.detached();
            sifted.reports.push(Report::RecordTooLarge {
                sequence_number,
                bytes,
            });
            sifted.pass_over(record.sequence_number);
        } else {
            kept += bytes;
            sifted.records.push(Kept {
                record,
                passed_over: PassedOver::default(),
            });
        }
    }
    if n_filtered_out != 0 {
        let n_records = n_filtered_out;
        sifted.reports.push(Report::FilteredOut { n_records });
    }
    if kept < all / 2 {
        move_out(&mut sifted.records, kept);
    }
    sifted
}

/// Whether a record is from after the start, and a filter lets it through.
fn is_wanted(record: &Record, settings: &ShardSettings, scratch: &mut Scratch) -> bool {
    let too_early = |earliest| record.approximate_arrival < earliest;
    if settings.skip_before.is_some_and(too_early) {
        return false;
    }
    settings.filter.as_ref().is_none_or(|filter| {
        let subject = Subject {
            event: &record.event,
            data: &record.event[record.data.clone()],
        };
        filter.passes(subject, scratch)
    })
}

impl Sifted {
    fn pass_over(&mut self, sequence_number: SequenceNumber) {
        let run = match self.records.last_mut() {
            Some(kept) => &mut kept.passed_over,
            None => &mut self.passed_over,
        };
        run.n_records += 1;
        run.last = Some(sequence_number);
    }
}

/// Copies records into a buffer of their own, with all that names them.
fn move_out(records: &mut [Kept], bytes: usize) {
    let mut buffer = Vec::with_capacity(bytes + bytes / 8);
    let mut ends = Vec::with_capacity(records.len());
    for kept in &*records {
        let event = append(&mut buffer, &kept.record.event);
        let number = append(&mut buffer, kept.record.sequence_number.as_str().as_bytes());
        let last = kept.passed_over.last.as_ref();
        let last = last.map(|last| append(&mut buffer, last.as_str().as_bytes()));
        ends.push((event, number, last));
    }
    let buffer = Bytes::from(buffer);
    let name = |range| {
        SequenceNumber::from_slice(buffer.slice(range)).expect("it is a copy of a sequence number")
    };
    for (kept, (event, number, last)) in records.iter_mut().zip(ends) {
        kept.record.event = buffer.slice(event);
        kept.record.sequence_number = name(number);
        kept.passed_over.last = last.map(name);
    }
}

fn append(buffer: &mut Vec<u8>, text: &[u8]) -> std::ops::Range<usize> {
    let start = buffer.len();
    buffer.extend_from_slice(text);
    start..buffer.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::KeyHash;
    use crate::time::Timestamp;

    #[test]
    fn records_that_are_moved_out_say_the_same_and_hold_their_page_no_longer() {
        let page = Bytes::from("xxxxxxxx{\"a\":\"17\"}18xxxxxxxx".to_owned());
        let slice = |range| SequenceNumber::from_slice(page.slice(range)).unwrap();
        let mut records = [Kept {
            record: Record {
                sequence_number: slice(14..16),
                key: KeyHash(1),
                approximate_arrival: Timestamp::EPOCH,
                event: page.slice(8..18),
                data: 6..8,
            },
            passed_over: PassedOver {
                n_records: 1,
                last: Some(slice(18..20)),
            },
        }];
        move_out(&mut records, 10);
        assert!(page.is_unique());
        let [
            Kept {
                record,
                passed_over,
            },
        ] = &records;
        assert_eq!(&record.event[..], b"{\"a\":\"17\"}");
        assert_eq!(&record.event[record.data.clone()], b"17");
        assert_eq!(record.sequence_number.as_str(), "17");
        assert_eq!(passed_over.last.as_ref().unwrap().as_str(), "18");
    }
}
