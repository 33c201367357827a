//! What surrounds one shard: the stream, the function and the store, each with its faults.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use windlass_core::failure::{DeliveryFault, FailureRecord};
use windlass_core::outcome::{
    Fault, ItemFailures, Outcome, RECURSIVE_INVOCATION, Response, ReturnedState, Swap,
};
use windlass_core::position::{Checkpoint, Cursor, Position};
use windlass_core::record::Record;
use windlass_core::record_page::RecordPageBuilder;
use windlass_core::shard::{Batch, PageStart, ReadResult, UnreadableRecord};
use windlass_core::time::Timestamp;
use windlass_core::window::WindowState;

use super::plan::{self, DeadLettersPlan, DestinationPlan, FunctionPlan, SourcePlan, StorePlan};
use super::{BrokenInvariant, Contents};
use crate::checkers::ensure;
use crate::rng::Rng;

/// The shard as the stream serves it.
#[derive(Debug)]
pub(super) struct Source {
    plan: SourcePlan,
    /// How many records at the start are trimmed.
    pub(super) trimmed: usize,
    /// Records that were trimmed before they could be read, and whose loss was reported to the reader
    /// or precedes its start.
    pub(super) excused: Vec<bool>,
    /// Since when pages are empty although there are more records.
    falsely_empty_since: Option<Timestamp>,
}

/// How long pages are empty at most although there are more records.
const FALSELY_EMPTY: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Function {
    plan: FunctionPlan,
    /// Records of successful invocations.
    pub(super) processed: Vec<bool>,
    /// What each state has that it returned: the records that it has processed in the window.
    states: Vec<Vec<usize>>,
    /// Records that were processed with a state, and not in the state of any final invocation yet.
    pub(super) unfinished: BTreeSet<usize>,
}

/// The on-failure destination.
#[derive(Debug)]
pub(super) struct Destination {
    plan: DestinationPlan,
    /// Records of deliveries that it has accepted.
    pub(super) delivered: Vec<bool>,
}

/// What is given up and kept.
#[derive(Debug)]
pub(super) struct DeadLetters {
    plan: DeadLettersPlan,
    /// Records that were ever kept.
    pub(super) kept: Vec<bool>,
    /// Of the letters that are there.
    n_records: usize,
}

/// The lease row of the shard.
#[derive(Debug)]
pub(super) struct Store {
    plan: StorePlan,
    pub(super) checkpoint: Checkpoint,
    /// Another owner has the lease.
    pub(super) taken: bool,
}

impl Source {
    pub(super) fn new(plan: SourcePlan, contents: &Contents) -> Self {
        Self {
            plan,
            trimmed: 0,
            excused: vec![false; contents.len()],
            falsely_empty_since: None,
        }
    }

    pub(super) fn latency(&self, rng: &mut Rng) -> Duration {
        rng.millis(self.plan.latency.0, self.plan.latency.1)
    }

    /// The result of a read, at the time at which it arrives.
    pub(super) fn read(
        &mut self,
        contents: &Contents,
        from: &Cursor,
        limit: u32,
        faulty: bool,
        now: Timestamp,
        rng: &mut Rng,
    ) -> Result<Result<ReadResult, Fault>, BrokenInvariant> {
        let unreadable = faulty && rng.per_mille(self.plan.unreadable);
        let n_again = rng.size(0, 8);
        let mut happens = |chance: u64| faulty && rng.per_mille(chance);
        if happens(self.plan.fault) {
            return Ok(Err(read_fault(from, rng)));
        }
        if faulty && self.plan.max_records < limit {
            return Ok(Err(Fault::TimedOut));
        }
        let stream = contents.stream_start(now);
        self.trimmed = self.trimmed.max(stream);
        let position = self.offset(contents, &from.after);
        let is_exact = from.after.sequence_number().is_some();
        let hint = match &from.iterator {
            Some(iterator) if !happens(self.plan.expired) => offset_of(iterator, stream)?,
            _ => None,
        };
        if is_exact && position <= stream && 0 < stream {
            self.excused[position..stream].fill(true);
            return Ok(self.read_former(hint.is_some(), from.inclusive, stream));
        }
        let start = match hint {
            Some(_) => PageStart::Continued,
            None if is_exact && from.inclusive => PageStart::AtPosition,
            None => PageStart::AfterPosition,
        };
        let last_read = position.saturating_sub(1);
        let aggregate = contents.aggregate_start(last_read);
        let at = || first_record(contents, &from.after, position, n_again);
        let first = match start {
            PageStart::AtPosition => at(),
            PageStart::Continued | PageStart::AfterPosition => hint.unwrap_or(position),
        };
        let is_of_position = (aggregate..=position.max(self.trimmed)).contains(&first);
        ensure(!is_exact || is_of_position, "reading", || {
            format!("an iterator at {first} is used with {:?}", from.after)
        })?;
        if is_exact && first < self.trimmed {
            self.excused[first.max(last_read)..self.trimmed].fill(true);
            if !self.plan.trims_silently {
                return Ok(Err(Fault::Trimmed));
            }
        }
        let begin = first.max(self.trimmed);
        if !is_exact {
            self.excused[..self.trimmed].fill(true);
        }

        let readable = contents.n_readable(now);
        let may_be_empty = self.may_be_empty(start, now);
        let max_records = if happens(self.plan.long_page) {
            limit as usize + rng.size(1, 5)
        } else if happens(self.plan.empty_page) && may_be_empty {
            0
        } else if happens(self.plan.short_page) {
            rng.size(1, limit as usize)
        } else {
            limit as usize
        };
        let end = readable.min(begin + max_records).max(begin);
        if begin < end && unreadable {
            return Ok(Ok(unreadable_page(contents, start, begin..end, now, rng)));
        }
        let mut page = page(contents, start, begin..end, now);
        self.hide_tip(&mut page, end < readable, now);
        if contents.aggregate_start(end) != end && rng.per_mille(500) {
            // No iterator leads into an aggregate, but an adapter may keep its rest.
            page.next = Some(Cursor::at(Position::TrimHorizon));
        }
        Ok(Ok(page))
    }

    fn offset(&self, contents: &Contents, after: &Position) -> usize {
        let is_time = matches!(after, Position::AtTimestamp(_));
        if is_time && !self.plan.has_iterators_by_time {
            return self.trimmed;
        }
        let offset = contents.offset_of(after, self.trimmed);
        offset.expect("a consumer reads after a record of the shard")
    }

    /// Whether a page may be empty although there are more records.
    fn may_be_empty(&self, start: PageStart, now: Timestamp) -> bool {
        let since = self.falsely_empty_since;
        let is_short = since.is_none_or(|since| now.since(since) < FALSELY_EMPTY);
        // Without its tip, the record at the position would seem to be gone.
        is_short && (self.plan.reports_tip || start != PageStart::AtPosition)
    }

    /// Shows any empty page as one at the tip, if the source does not report it.
    fn hide_tip(&mut self, page: &mut ReadResult, has_more: bool, now: Timestamp) {
        let is_falsely_empty = page.records.is_empty() && has_more;
        self.falsely_empty_since =
            is_falsely_empty.then(|| self.falsely_empty_since.unwrap_or(now));
        if !self.plan.reports_tip {
            page.behind = Duration::from_millis(u64::from(!page.records.is_empty()));
        }
    }

    /// A read after a record of a stream that no longer exists.
    fn read_former(
        &self,
        is_continued: bool,
        inclusive: bool,
        stream: usize,
    ) -> Result<ReadResult, Fault> {
        if self.plan.refuses_former_numbers {
            return Err(Fault::UnknownPosition);
        }
        Ok(ReadResult {
            start: match inclusive {
                _ if is_continued => PageStart::Continued,
                true => PageStart::AtPosition,
                false => PageStart::AfterPosition,
            },
            records: Vec::new(),
            next: Some(cursor(stream, usize::MAX)),
            behind: Duration::ZERO,
            has_children: false,
            unreadable: None,
        })
    }
}

fn read_fault(from: &Cursor, rng: &mut Rng) -> Fault {
    if from.after == Position::TrimHorizon && rng.per_mille(100) {
        Fault::Trimmed
    } else {
        plan::fault(rng)
    }
}

/// The first record of a page that starts with the one at a position, which is followed by that with
/// the index `position`. Of an aggregate, adapters may leave out what was read before, or return up to
/// `n_again` records of it again.
fn first_record(contents: &Contents, after: &Position, position: usize, n_again: usize) -> usize {
    let last_read = position.saturating_sub(1);
    let is_within = matches!(after, Position::Within(..));
    let last = if is_within { position } else { last_read };
    last - n_again.min(last - contents.aggregate_start(last_read))
}

/// A page that ends with a record that cannot be rendered, or before one whose number cannot be read.
fn unreadable_page(
    contents: &Contents,
    start: PageStart,
    Range { start: begin, end }: Range<usize>,
    now: Timestamp,
    rng: &mut Rng,
) -> ReadResult {
    let unreadable = contents.aggregate_start(rng.size(begin, end - 1));
    let unreadable = unreadable.max(begin);
    let has_number = contents.records()[unreadable].inner().is_none() && rng.per_mille(800);
    if has_number {
        let last = Some(unreadable);
        return page_with(contents, start, begin..unreadable + 1, last, now);
    }
    ReadResult {
        unreadable: Some(UnreadableRecord { reason: "broken" }),
        ..page(contents, start, begin..unreadable, now)
    }
}

/// An iterator: the stream that issued it, and the offset.
fn cursor(stream: usize, offset: usize) -> Cursor {
    Cursor {
        iterator: Some(Arc::from(format!("{stream}/{offset}"))),
        // Deliberately useless: the consumer itself must know the last record that it read.
        ..Cursor::at(Position::TrimHorizon)
    }
}

/// The offset of an iterator; `None` if a former stream issued it.
fn offset_of(iterator: &str, stream: usize) -> Result<Option<usize>, BrokenInvariant> {
    let parts = iterator.split_once('/');
    let parts = parts
        .and_then(|(issuer, offset)| Some((issuer.parse::<usize>().ok()?, offset.parse().ok()?)));
    let unknown = || BrokenInvariant::new("reading", "an unknown iterator");
    let (issuer, offset) = parts.ok_or_else(unknown)?;
    Ok((issuer == stream).then_some(offset))
}

fn page(contents: &Contents, start: PageStart, range: Range<usize>, now: Timestamp) -> ReadResult {
    page_with(contents, start, range, None, now)
}

/// A page, one record of it may be one that cannot be rendered.
fn page_with(
    contents: &Contents,
    start: PageStart,
    Range { start: begin, end }: Range<usize>,
    unreadable: Option<usize>,
    now: Timestamp,
) -> ReadResult {
    let mut builder = RecordPageBuilder::default();
    for (index, record) in contents.records()[begin..end].iter().enumerate() {
        if unreadable == Some(begin + index) {
            builder.unreadable("broken");
        }
        if contents.is_undated(begin + index) {
            builder.undated(now);
        }
        builder.push(&record.meta(), record.event(), 0..0);
    }
    let closed = contents.closes.is_some_and(|closes| closes <= now);
    let at_end = closed && end == contents.len();
    let next = (!at_end).then(|| cursor(contents.stream_start(now), end));
    let behind = if end < contents.n_readable(now) {
        now.since(contents.readable_from(end))
            .max(Duration::from_millis(1))
    } else {
        Duration::ZERO
    };
    ReadResult {
        start,
        records: Record::of_page(builder.finish()),
        next,
        behind,
        has_children: false,
        unreadable: None,
    }
}

impl Function {
    pub(super) fn new(plan: FunctionPlan, contents: &Contents) -> Self {
        Self {
            plan,
            processed: vec![false; contents.len()],
            states: Vec::new(),
            unfinished: BTreeSet::new(),
        }
    }

    pub(super) fn latency(&self, rng: &mut Rng) -> Duration {
        rng.millis(self.plan.latency.0, self.plan.latency.1)
    }

    /// The outcome of an invocation, at the time at which it arrives.
    pub(super) fn invoke(
        &mut self,
        contents: &Contents,
        batch: &Batch,
        strict_order: bool,
        faulty: bool,
        now: Timestamp,
        rng: &mut Rng,
    ) -> Outcome {
        let Some(call) = &batch.window else {
            let outcome = self.call(contents, batch, strict_order, faulty, now, rng);
            self.unfinished.retain(|index| !self.processed[*index]);
            return outcome;
        };
        if faulty && rng.per_mille(self.plan.no_state) {
            return Outcome::Success;
        }
        let former = self.of_state(&call.state);
        if faulty && rng.per_mille(self.plan.large_state) && !call.is_final {
            return Outcome::Success.in_window(Some(ReturnedState::TooLarge));
        }
        let outcome = self.call(contents, batch, strict_order, faulty, now, rng);
        let n_done = match &outcome {
            Outcome::Success => batch.records.len(),
            Outcome::ItemFailures { failures, .. } => n_done(batch, failures),
            Outcome::FunctionError { .. } | Outcome::NotInvoked { .. } | Outcome::Windowed(_) => {
                return outcome;
            }
        };
        if call.is_final && outcome == Outcome::Success {
            for index in &former {
                self.unfinished.remove(index);
            }
        }
        let done = batch.records.iter().take(n_done);
        let done = done.map(|record| contents.index_of(record));
        let done = done.map(|index| index.expect("the checker has checked it"));
        let records: Vec<_> = former.into_iter().chain(done).collect();
        if !call.is_final && 0 < n_done {
            self.unfinished.extend(&records);
        }
        let state = self.new_state(records, rng);
        outcome.in_window(Some(ReturnedState::Json(state)))
    }

    /// A state is a number, and as long as it happens to be.
    fn new_state(&mut self, records: Vec<usize>, rng: &mut Rng) -> WindowState {
        self.states.push(records);
        let len = rng.size(2, self.plan.max_state.max(2));
        let number = self.states.len();
        WindowState::new(format!("{number:<len$}").into())
    }

    /// The records of a state; none of the empty one.
    pub(super) fn of_state(&self, state: &WindowState) -> Vec<usize> {
        let text = str::from_utf8(state.json()).unwrap_or_default();
        match text.trim_end().parse::<usize>() {
            Ok(number) => self.states[number - 1].clone(),
            Err(_) => Vec::new(),
        }
    }

    /// The outcome of an invocation without windows, at the time at which it arrives.
    fn call(
        &mut self,
        contents: &Contents,
        batch: &Batch,
        strict_order: bool,
        faulty: bool,
        now: Timestamp,
        rng: &mut Rng,
    ) -> Outcome {
        let indices = || {
            let index = |record| contents.index_of(record);
            let records = batch.records.iter();
            records.map(move |record| index(record).expect("the checker has checked it"))
        };
        if faulty {
            let mut outages = self.plan.outages.iter();
            if let Some((_, _, outcome)) = outages.find(|it| it.0 <= now && now < it.1) {
                return outcome.clone();
            }
            if rng.per_mille(self.plan.not_reached) {
                let cause = plan::fault(rng);
                return Outcome::NotInvoked { cause };
            }
            let max_records = self.plan.max_records.unwrap_or(usize::MAX);
            if max_records < batch.records.len() {
                return Outcome::function_error(413, "HTTP 413");
            }
            if rng.per_mille(self.plan.recursive) {
                return Outcome::function_error(400, RECURSIVE_INVOCATION);
            }
            let mut poison = self.plan.poison.iter_mut();
            let poisonous = poison.find(|it| 0 < it.1 && indices().any(|index| index == it.0));
            if let Some((poisoned, left)) = poisonous {
                *left -= 1;
                if !self.plan.names_poison {
                    return plan::function_error();
                }
                let number = contents.records()[*poisoned].sequence_number();
                let failures = ItemFailures::of_ids([number]);
                let mut records = batch.records.iter();
                let named = records.position(|it| it.sequence_number() == number);
                let done = done(batch, &[named.expect("it is in the batch")], strict_order);
                self.process(
                    indices()
                        .zip(done)
                        .filter(|it| it.1)
                        .map(|it| it.0)
                        .collect(),
                );
                return reported(failures, rng);
            }
            if rng.per_mille(self.plan.item_failures) && !batch.records.is_empty() {
                let (failures, named) = draw_failures(batch, rng);
                let done = named.map(|named| done(batch, &named, strict_order));
                let done = indices().zip(done.unwrap_or_default());
                self.process(done.filter(|it| it.1).map(|it| it.0).collect());
                return reported(failures, rng);
            }
            if rng.per_mille(self.plan.error) {
                return plan::function_error();
            }
        }
        self.process(indices().collect());
        Outcome::Success
    }

    fn process(&mut self, indices: Vec<usize>) {
        for index in indices {
            self.processed[index] = true;
        }
    }
}

/// How many records at the start of a batch are done in spite of these failures.
fn n_done(batch: &Batch, failures: &ItemFailures) -> usize {
    let numbers = batch.records.iter().map(Record::sequence_number);
    let indexes = failures.indexes(numbers).unwrap_or_default();
    indexes.first().copied().unwrap_or(0)
}

/// Of each record of a batch, whether it counts as processed if those at the positions `named` failed:
/// not what follows one of them, of any key or with `strict_order` of the same.
fn done(batch: &Batch, named: &[usize], strict_order: bool) -> Vec<bool> {
    let key = |at: usize| batch.records[at].key();
    let comes_again = |at: usize| {
        let mut earlier = named.iter().filter(|failed| **failed <= at);
        earlier.any(|failed| !strict_order || key(*failed) == key(at))
    };
    (0..batch.records.len())
        .map(|at| !comes_again(at))
        .collect()
}

/// What a function says that failed, and the positions of these records; `None` if the whole batch
/// counts as failed.
fn draw_failures(batch: &Batch, rng: &mut Rng) -> (ItemFailures, Option<Vec<usize>>) {
    if rng.per_mille(200) {
        return (ItemFailures::Malformed, None);
    }
    let n_records = batch.records.len();
    let n_named = rng.size(1, n_records);
    let named: Vec<_> = (0..n_named).map(|_| rng.size(0, n_records - 1)).collect();
    let number = |at: usize| batch.records[at].sequence_number();
    let mut names: BTreeSet<_> = named.iter().map(|at| number(*at)).collect();
    if rng.per_mille(200) {
        names.insert(rng.pick(&["", "123", "no number"]));
        return (ItemFailures::of_ids(names), None);
    }
    // Of records with one number the first is meant.
    let first = |name: &&str| (0..n_records).find(|at| number(*at) == *name);
    let named = names.iter().filter_map(first).collect();
    (ItemFailures::of_ids(names), Some(named))
}

fn reported(failures: ItemFailures, rng: &mut Rng) -> Outcome {
    let response = Response {
        status: 200,
        request_id: rng.per_mille(700).then(|| rng.any().to_string().into()),
        executed_version: rng.per_mille(500).then(|| "$LATEST".into()),
        function_error: None,
    };
    Outcome::ItemFailures {
        failures,
        response: Box::new(response),
    }
}

impl Destination {
    pub(super) fn new(plan: DestinationPlan, contents: &Contents) -> Self {
        Self {
            plan,
            delivered: vec![false; contents.len()],
        }
    }

    pub(super) fn latency(&self, rng: &mut Rng) -> Duration {
        rng.millis(self.plan.latency.0, self.plan.latency.1)
    }

    pub(super) fn deliver(
        &mut self,
        contents: &Contents,
        failure: &FailureRecord,
        faulty: bool,
        rng: &mut Rng,
    ) -> Result<(), Fault> {
        let failed = faulty && rng.per_mille(self.plan.fault);
        if !failed || rng.per_mille(self.plan.done_anyway) {
            mark(&mut self.delivered, contents, failure);
        }
        if failed {
            return Err(plan::fault(rng));
        }
        Ok(())
    }
}

impl DeadLetters {
    pub(super) fn new(plan: DeadLettersPlan, contents: &Contents) -> Self {
        Self {
            plan,
            kept: vec![false; contents.len()],
            n_records: 0,
        }
    }

    pub(super) fn keep(
        &mut self,
        contents: &Contents,
        failure: &FailureRecord,
        faulty: bool,
        rng: &mut Rng,
    ) -> Result<(), DeliveryFault> {
        let n_records = failure.records.len();
        let plan = &self.plan;
        if faulty && plan.room < self.n_records.saturating_add(n_records) {
            if !plan.drops_oldest || plan.room < n_records {
                if rng.per_mille(plan.cleared) {
                    self.n_records = 0;
                }
                return Err(DeliveryFault::NoRoom);
            }
            self.n_records = 0;
        }
        let failed = faulty && rng.per_mille(plan.fault);
        if !failed || rng.per_mille(plan.done_anyway) {
            mark(&mut self.kept, contents, failure);
            self.n_records = self.n_records.saturating_add(n_records);
        }
        if failed {
            return Err(DeliveryFault::DeadLetters(plan::fault(rng)));
        }
        Ok(())
    }
}

/// Marks the records of a failure.
pub(super) fn mark(marks: &mut [bool], contents: &Contents, failure: &FailureRecord) {
    for record in &*failure.records {
        let index = contents.index_of(record);
        marks[index.expect("the checker has checked it")] = true;
    }
}

impl Store {
    pub(super) fn new(plan: StorePlan, checkpoint: Checkpoint) -> Self {
        Self {
            plan,
            checkpoint,
            taken: false,
        }
    }

    pub(super) fn latency(&self, rng: &mut Rng) -> Duration {
        rng.millis(self.plan.latency.0, self.plan.latency.1)
    }

    /// Writes a checkpoint, unless another owner has the lease.
    pub(super) fn save(
        &mut self,
        checkpoint: &Checkpoint,
        faulty: bool,
        rng: &mut Rng,
    ) -> Result<Swap, Fault> {
        let failed = faulty && rng.per_mille(self.plan.fault);
        if !self.taken && (!failed || rng.per_mille(self.plan.done_anyway)) {
            self.checkpoint = checkpoint.clone();
        }
        if failed {
            return Err(plan::fault(rng));
        }
        Ok(if self.taken {
            Swap::Conflict
        } else {
            Swap::Done
        })
    }
}
