//! Reads the records that a document names by its first and last number.
//!
//! More records may lie between them than the batch had: those that its mapping filters out, and
//! those of other lanes. Records are copied from their pages, so that no more than one event of each
//! choice is in memory, however many pages lie between.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use windlass_filter::{Criteria, Event, MatchBuffers};

use super::document::FailureDocument;
use crate::event::{PAYLOAD_LIMIT, event_len};
use crate::ids::SequenceNumber;
use crate::outcome::Fault;
use crate::position::{Cursor, Position};
use crate::record::Record;
use crate::record_page::RecordPageBuilder;
use crate::shard::ReadResult;

/// Reads in a row that may fail, or return nothing although the shard has more.
const MAX_FAILED_READS: u32 = 5;
const MAX_EMPTY_READS: u32 = 1_000;

/// Before a read that has failed is repeated: doubled each time.
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// Which records the mapping of a document takes together.
#[derive(Clone, Debug)]
pub struct Selection {
    /// `None`: every record.
    pub filter: Option<Arc<Criteria>>,
    /// Lanes of a shard, at least 1.
    pub lanes: usize,
}

/// Why the records of a document cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeError {
    /// All of them, or the first ones.
    PastRetention,
    /// The shard or its stream.
    Gone,
    /// The stream has no such numbers.
    OtherStream,
    /// The last ones.
    Incomplete,
    Count {
        expected: usize,
        found: usize,
        /// What the filter and the lane of the mapping leave of them; `None` without a mapping.
        selected: Option<usize>,
    },
    TooLarge,
    Unreadable(&'static str),
    Source(Fault),
}

/// What to do next.
#[derive(Debug)]
pub enum RangeStep {
    /// Read at [`RangeReader::cursor`] after a delay.
    Read(Duration),
    Done(Result<Vec<Record>, RangeError>),
}

/// Reads one range; the caller executes the reads.
#[derive(Debug)]
pub struct RangeReader {
    first: SequenceNumber,
    last: SequenceNumber,
    batch_size: usize,
    selection: Option<Selection>,
    /// Whether all that lies between is sent where the count does not tell which were meant.
    whole_range: bool,
    cursor: Cursor,
    has_begun: bool,
    /// Whether the last number was read, and only the rest of its aggregate may follow.
    has_last: bool,
    lane: Option<usize>,
    all: Chosen,
    selected: Chosen,
    failed_reads: u32,
    empty_reads: u32,
}

/// Copies of records, unless there are too many.
#[derive(Debug, Default)]
struct Chosen {
    n_records: usize,
    /// Of their events.
    bytes: usize,
    records: RecordPageBuilder,
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PastRetention => f.write_str(
                "its records have passed the retention of the stream, wholly or in part",
            ),
            Self::Gone => f.write_str("the stream or the shard no longer exists"),
            Self::OtherStream => f.write_str(
                "the shard has no record with this number: the stream was created again, or its \
                 records have passed the retention",
            ),
            Self::Incomplete => f.write_str("the shard ends before the last number"),
            Self::Count {
                expected,
                found,
                selected: None,
            } => write!(
                f,
                "{found} records lie between the numbers, not {expected}, and no mapping of this \
                 source and function tells which are meant; --whole-range sends all of them"
            ),
            Self::Count {
                expected,
                found,
                selected: Some(selected),
            } => write!(
                f,
                "{found} records lie between the numbers, and filter and lane of the mapping leave \
                 {selected} of them, not {expected}; --whole-range sends all of them"
            ),
            Self::TooLarge => write!(f, "the event would be larger than {PAYLOAD_LIMIT} bytes"),
            Self::Unreadable(reason) => write!(f, "one of its records cannot be read: {reason}"),
            Self::Source(Fault::Denied) => {
                f.write_str("the daemon's credentials may not read the stream")
            }
            Self::Source(_) => f.write_str("the stream cannot be read; the daemon's log says why"),
        }
    }
}

impl RangeReader {
    pub fn new(
        document: &FailureDocument,
        selection: Option<Selection>,
        whole_range: bool,
    ) -> Self {
        Self {
            first: document.first.clone(),
            last: document.last.clone(),
            batch_size: document.batch_size,
            selection,
            whole_range,
            cursor: Cursor {
                inclusive: true,
                ..Cursor::at(Position::After(document.first.clone()))
            },
            has_begun: false,
            has_last: false,
            lane: None,
            all: Chosen::default(),
            selected: Chosen::default(),
            failed_reads: 0,
            empty_reads: 0,
        }
    }

    /// Where the next read begins.
    pub const fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Bytes of the records in memory.
    pub fn bytes(&self) -> usize {
        self.all.records.len() + self.selected.records.len()
    }

    /// `interval`: between reads of a shard.
    pub fn handle(&mut self, result: Result<ReadResult, Fault>, interval: Duration) -> RangeStep {
        let page = match result {
            Ok(page) => page,
            Err(fault) => return self.handle_fault(fault),
        };
        self.failed_reads = 0;
        let is_empty = page.records.is_empty();
        for record in &page.records {
            if self.is_before(record) {
                continue;
            }
            let number = SequenceNumber::from(record.sequence_number());
            let is_beyond = self.last.is_lower_than(&number);
            if !self.has_begun && number != self.first {
                return RangeStep::Done(Err(RangeError::PastRetention));
            }
            if is_beyond {
                return RangeStep::Done(self.finish());
            }
            self.has_begun = true;
            self.has_last = number == self.last;
            match record.unreadable() {
                // A batch has none: it is given up by itself.
                Some(reason) if self.whole_range || self.has_last || number == self.first => {
                    return RangeStep::Done(Err(RangeError::Unreadable(reason)));
                }
                Some(_) => continue,
                None => self.add(record),
            }
            if self.has_last && record.inner().is_none_or(|inner| inner.is_last) {
                return RangeStep::Done(self.finish());
            }
        }
        if let Some(unreadable) = page.unreadable {
            return RangeStep::Done(Err(RangeError::Unreadable(unreadable.reason)));
        }
        let at_tip = is_empty && page.behind.is_zero();
        let Some(next) = page.next.filter(|_| !at_tip) else {
            return RangeStep::Done(self.finish());
        };
        self.empty_reads = if is_empty { self.empty_reads + 1 } else { 0 };
        if MAX_EMPTY_READS < self.empty_reads {
            return RangeStep::Done(Err(RangeError::Source(Fault::Transient)));
        }
        self.cursor = next;
        RangeStep::Read(interval)
    }

    fn handle_fault(&mut self, fault: Fault) -> RangeStep {
        let error = match fault {
            Fault::Trimmed => RangeError::PastRetention,
            Fault::Gone => RangeError::Gone,
            Fault::UnknownPosition => RangeError::OtherStream,
            Fault::Denied => RangeError::Source(fault),
            Fault::Throttled { .. } | Fault::Transient | Fault::TimedOut => {
                self.failed_reads += 1;
                if self.failed_reads <= MAX_FAILED_READS {
                    let delay = FIRST_RETRY * 2_u32.pow(self.failed_reads - 1);
                    return RangeStep::Read(delay);
                }
                RangeError::Source(fault)
            }
        };
        RangeStep::Done(Err(error))
    }

    /// Whether a source has begun before the record that was asked for.
    fn is_before(&self, record: &Record) -> bool {
        !self.has_begun && SequenceNumber::from(record.sequence_number()).is_lower_than(&self.first)
    }

    fn add(&mut self, record: &Record) {
        let most = if self.whole_range {
            usize::MAX
        } else {
            self.batch_size
        };
        self.all.push(record, most);
        let Some(selection) = &self.selection else {
            return;
        };
        let lane = record.key().lane(selection.lanes);
        let is_of_lane = *self.lane.get_or_insert(lane) == lane;
        if is_of_lane && selection.passes(record) {
            self.selected.push(record, self.batch_size);
        }
    }

    fn finish(&mut self) -> Result<Vec<Record>, RangeError> {
        if !self.has_begun {
            return Err(RangeError::PastRetention);
        }
        if !self.has_last {
            return Err(RangeError::Incomplete);
        }
        let (all, selected) = (
            std::mem::take(&mut self.all),
            std::mem::take(&mut self.selected),
        );
        let has_selection = self.selection.is_some();
        if all.n_records == self.batch_size {
            all.into_records()
        } else if has_selection
            && self.batch_size < all.n_records
            && selected.n_records == self.batch_size
        {
            selected.into_records()
        } else if self.whole_range {
            all.into_records()
        } else {
            Err(RangeError::Count {
                expected: self.batch_size,
                found: all.n_records,
                selected: has_selection.then_some(selected.n_records),
            })
        }
    }
}

impl Selection {
    fn passes(&self, record: &Record) -> bool {
        self.filter.as_ref().is_none_or(|filter| {
            let event = Event {
                json: record.event(),
                data: record.data(),
            };
            filter.matches(event, &mut MatchBuffers::default())
        })
    }
}

impl Chosen {
    /// Counts a record, and keeps it while there are `most` at most and one event can have them.
    fn push(&mut self, record: &Record, most: usize) {
        self.n_records += 1;
        self.bytes += record.event_len();
        if self.n_records <= most && !self.is_too_large() {
            self.records
                .push(&record.meta(), record.event(), record.data_range());
        } else {
            self.records = RecordPageBuilder::default();
        }
    }

    const fn is_too_large(&self) -> bool {
        PAYLOAD_LIMIT < event_len(self.n_records, self.bytes)
    }

    fn into_records(self) -> Result<Vec<Record>, RangeError> {
        if self.is_too_large() {
            return Err(RangeError::TooLarge);
        }
        Ok(Record::of_page(self.records.finish()))
    }
}

#[cfg(test)]
mod tests {
    use windlass_filter::EventFormat;

    use super::super::document::tests::document;
    use super::*;
    use crate::ids::{InnerRecord, KeyHash};
    use crate::record_page::RecordMeta;
    use crate::shard::{PageStart, UnreadableRecord};
    use crate::time::Timestamp;

    const INTERVAL: Duration = Duration::from_millis(200);

    /// Numbers with their keys; the event of a record is its number.
    fn page(records: &[(u64, u64)]) -> ReadResult {
        let mut builder = RecordPageBuilder::default();
        for (number, key) in records {
            let meta = RecordMeta {
                sequence_number: &number.to_string(),
                inner: None,
                key: KeyHash(*key),
                approximate_arrival: Timestamp::EPOCH,
            };
            builder.push(&meta, format!("{{\"n\":{number}}}").as_bytes(), 0..0);
        }
        result(Record::of_page(builder.finish()))
    }

    fn result(records: Vec<Record>) -> ReadResult {
        let after = records
            .last()
            .map_or(Position::TrimHorizon, Position::after);
        ReadResult {
            start: PageStart::AtPosition,
            records,
            next: Some(Cursor::at(after)),
            behind: Duration::from_secs(1),
            has_children: false,
            unreadable: None,
        }
    }

    fn tip() -> ReadResult {
        ReadResult {
            behind: Duration::ZERO,
            ..result(Vec::new())
        }
    }

    fn run(
        mut reader: RangeReader,
        pages: impl IntoIterator<Item = ReadResult>,
    ) -> Result<Vec<u64>, RangeError> {
        let mut pages = pages.into_iter();
        loop {
            let page = pages.next().expect("the range has ended");
            if let RangeStep::Done(done) = reader.handle(Ok(page), INTERVAL) {
                assert!(pages.next().is_none(), "it reads no further than it must");
                let number = |record: &Record| record.sequence_number().parse().unwrap();
                return done.map(|records| records.iter().map(number).collect());
            }
        }
    }

    fn reader(first: &str, last: &str, batch_size: usize) -> RangeReader {
        RangeReader::new(&document("0", first, last, batch_size), None, false)
    }

    fn selecting(batch_size: usize, lanes: usize, pattern: Option<&str>) -> RangeReader {
        let filter = pattern.map(|pattern| {
            let criteria = Criteria::compile(EventFormat::Json, &[pattern]);
            Arc::new(criteria.unwrap())
        });
        let selection = Selection { filter, lanes };
        let document = document("0", "2", "7", batch_size);
        RangeReader::new(&document, Some(selection), false)
    }

    const KEYS: [(u64, u64); 6] = [(2, 0), (3, 1), (4, 2), (5, 3), (6, 1), (7, 0)];

    #[test]
    fn a_batch_without_gaps_is_all_that_lies_between_over_any_pages() {
        assert_eq!(run(reader("2", "3", 2), [page(&KEYS)]), Ok(vec![2, 3]));
        let pages = [page(&KEYS[..1]), result(Vec::new()), page(&KEYS[1..])];
        assert_eq!(
            run(reader("2", "7", 6), pages),
            Ok((2..=7).collect::<Vec<_>>())
        );
        // A source may begin earlier.
        let pages = [page(&[(1, 0), (2, 0)])];
        assert_eq!(run(reader("2", "2", 1), pages), Ok(vec![2]));
    }

    #[test]
    fn of_more_records_filter_and_lane_tell_which_were_meant() {
        let of_lane = run(selecting(3, 2, None), [page(&KEYS)]);
        assert_eq!(of_lane, Ok(vec![2, 4, 7]));
        let filter = "{\"n\":[2,5,6]}";
        assert_eq!(
            run(selecting(3, 1, Some(filter)), [page(&KEYS)]),
            Ok(vec![2, 5, 6])
        );
        assert_eq!(
            run(selecting(1, 2, Some(filter)), [page(&KEYS)]),
            Ok(vec![2])
        );
        assert_eq!(
            run(selecting(4, 2, None), [page(&KEYS)]),
            Err(RangeError::Count {
                expected: 4,
                found: 6,
                selected: Some(3)
            })
        );
        assert_eq!(
            run(reader("2", "7", 3), [page(&KEYS)]),
            Err(RangeError::Count {
                expected: 3,
                found: 6,
                selected: None
            })
        );
        let whole = RangeReader::new(&document("0", "2", "7", 3), None, true);
        assert_eq!(run(whole, [page(&KEYS)]).unwrap().len(), 6);
    }

    #[test]
    fn records_that_are_no_longer_there_are_not_skipped() {
        let past = || Err(RangeError::PastRetention);
        assert_eq!(run(reader("1", "4", 4), [page(&KEYS)]), past());
        assert_eq!(run(reader("1", "4", 4), [tip()]), past());
        let cut = [page(&KEYS[..2]), tip()];
        assert_eq!(run(reader("2", "7", 6), cut), Err(RangeError::Incomplete));
        let ended = ReadResult {
            next: None,
            ..page(&KEYS[..2])
        };
        assert_eq!(
            run(reader("2", "7", 6), [ended]),
            Err(RangeError::Incomplete)
        );
        let unreadable = UnreadableRecord { reason: "damaged" };
        let unreadable = ReadResult {
            unreadable: Some(unreadable),
            ..page(&KEYS[..2])
        };
        assert_eq!(
            run(reader("2", "7", 6), [unreadable]),
            Err(RangeError::Unreadable("damaged"))
        );
    }

    #[test]
    fn a_record_that_cannot_be_rendered_is_not_sent() {
        let damaged = || {
            let mut builder = RecordPageBuilder::default();
            for number in ["2", "3", "4"] {
                if number == "3" {
                    builder.unreadable("damaged");
                }
                let meta = RecordMeta {
                    sequence_number: number,
                    inner: None,
                    key: KeyHash(0),
                    approximate_arrival: Timestamp::EPOCH,
                };
                builder.push(&meta, b"{}", 0..0);
            }
            [result(Record::of_page(builder.finish()))]
        };
        assert_eq!(run(reader("2", "4", 2), damaged()), Ok(vec![2, 4]));
        let whole = RangeReader::new(&document("0", "2", "4", 2), None, true);
        for reader in [whole, reader("2", "3", 1)] {
            assert_eq!(
                run(reader, damaged()),
                Err(RangeError::Unreadable("damaged"))
            );
        }
    }

    #[test]
    fn the_records_of_the_last_aggregate_belong_to_the_range() {
        let inner = |index, is_last| {
            let meta = RecordMeta {
                sequence_number: "3",
                inner: Some(InnerRecord {
                    index,
                    is_last,
                    is_outside_hash_key_range: false,
                }),
                key: KeyHash(0),
                approximate_arrival: Timestamp::EPOCH,
            };
            Record::standalone(&meta, b"{}", 0..0)
        };
        let pages = [
            page(&KEYS[..1]),
            result(vec![inner(0, false)]),
            result(vec![inner(1, false), inner(2, true)]),
        ];
        assert_eq!(run(reader("2", "3", 4), pages), Ok(vec![2, 3, 3, 3]));
    }

    #[test]
    fn a_read_that_fails_is_repeated_a_few_times_unless_it_cannot_succeed() {
        let mut reader = reader("2", "3", 2);
        let delays = std::iter::from_fn(|| {
            match reader.handle(Err(Fault::Throttled { retry_after: None }), INTERVAL) {
                RangeStep::Read(delay) => Some(delay.as_millis()),
                RangeStep::Done(_) => None,
            }
        });
        assert_eq!(
            delays.collect::<Vec<_>>(),
            [500, 1_000, 2_000, 4_000, 8_000]
        );
        for (fault, expected) in [
            (Fault::Trimmed, RangeError::PastRetention),
            (Fault::Gone, RangeError::Gone),
            (Fault::UnknownPosition, RangeError::OtherStream),
            (Fault::Denied, RangeError::Source(Fault::Denied)),
        ] {
            let RangeStep::Done(Err(error)) =
                self::reader("2", "3", 2).handle(Err(fault), INTERVAL)
            else {
                panic!("{fault:?} was repeated");
            };
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn no_more_is_kept_than_one_event_can_have() {
        let event = vec![b'x'; PAYLOAD_LIMIT / 2];
        let record = |number: &str| {
            let meta = RecordMeta {
                sequence_number: number,
                inner: None,
                key: KeyHash(0),
                approximate_arrival: Timestamp::EPOCH,
            };
            Record::standalone(&meta, &event, 0..0)
        };
        let document = document("0", "1", "9", 2);
        let mut reader = RangeReader::new(&document, None, true);
        for number in 1..9 {
            let page = result(vec![record(&number.to_string())]);
            assert!(matches!(
                reader.handle(Ok(page), INTERVAL),
                RangeStep::Read(_)
            ));
            assert!(reader.bytes() <= PAYLOAD_LIMIT);
        }
        let RangeStep::Done(Err(error)) = reader.handle(Ok(result(vec![record("9")])), INTERVAL)
        else {
            panic!("it is too large");
        };
        assert_eq!(error, RangeError::TooLarge);
    }
}
