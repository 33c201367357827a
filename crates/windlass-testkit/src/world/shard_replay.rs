//! What a replay adds to the world of a shard: the stretch that it reads, and its rate.

use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use windlass_core::rate::{Rate, RateTurns, TurnId};
use windlass_core::record::Record;
use windlass_core::stretch::{Stretch, StretchEnd, StretchSettings, StretchStart};
use windlass_core::time::Timestamp;

use super::clocks::WallClock;
use super::plan::START;
use super::{BrokenInvariant, Contents};
use crate::checkers::ensure;
use crate::rng::Rng;

/// Draws the stretch of a replay of records that arrive within `length`. Numbers are bounds only of a
/// stream that is not created again.
pub(super) fn draw_stretch(
    rng: &mut Rng,
    contents: &Contents,
    clock: &WallClock,
    length: Duration,
) -> Option<StretchSettings> {
    let last = contents.len().checked_sub(1)?;
    let first = rng.size(0, last);
    let end = rng.size(first, last);
    let number = |index: usize| contents.records()[index].sequence_number().into();
    let arrival = |index: usize| contents.records()[index].approximate_arrival();
    let has_numbers = !contents.is_recreated();
    let from = match rng.between(0, 4) {
        0 => StretchStart::TrimHorizon,
        1 if has_numbers => StretchStart::At(number(first)),
        2 if has_numbers => StretchStart::After(number(first)),
        _ => StretchStart::Time(arrival(first)),
    };
    let longest = length + Duration::from_secs(100);
    let millis = u64::try_from(longest.as_millis()).expect("a world lasts minutes");
    let to = match rng.between(0, 3) {
        0 if has_numbers => StretchEnd::Through(number(end)),
        1 => StretchEnd::Time(clock.at(START + rng.millis(0, millis))),
        _ => StretchEnd::Time(arrival(end) + rng.millis(0, 1)),
    };
    let to = match to {
        // It comes although the clock is set back.
        StretchEnd::Time(time) => StretchEnd::Time(time.min(clock.at(START + longest))),
        StretchEnd::Through(last) => StretchEnd::Through(last),
    };
    let from = match (from, &to) {
        (StretchStart::Time(from), StretchEnd::Time(to)) => StretchStart::Time(from.min(*to)),
        (from, _) => from,
    };
    Some(StretchSettings {
        stretch: Stretch { from, to },
        reports_tip: rng.per_mille(400),
    })
}

/// The records of a stretch, if none of them is trimmed before it is read. A source without iterators
/// by time is read from its oldest record.
pub(super) fn range(
    stretch: &Stretch,
    contents: &Contents,
    has_iterators_by_time: bool,
) -> Range<usize> {
    let number = |text: &str| {
        text.parse::<u128>()
            .expect("numbers of the world are short")
    };
    let of = |record: &Record| number(record.sequence_number());
    let records = || contents.records().iter().enumerate();
    let begins = |index: usize, record: &Record| match &stretch.from {
        StretchStart::TrimHorizon => true,
        StretchStart::Time(from) => {
            let is_undated = contents.is_undated(index) && !has_iterators_by_time;
            is_undated || *from <= record.approximate_arrival()
        }
        StretchStart::At(from) => number(from.as_str()) <= of(record),
        StretchStart::After(from) => number(from.as_str()) < of(record),
    };
    let follows = |index: usize, record: &Record| match &stretch.to {
        StretchEnd::Time(to) => !contents.is_undated(index) && *to <= record.approximate_arrival(),
        StretchEnd::Through(last) => number(last.as_str()) < of(record),
    };
    let first = |found: Option<(usize, &Record)>| found.map_or(contents.len(), |it| it.0);
    let begin = first(records().find(|(index, record)| begins(*index, record)));
    let end = first(records().find(|(index, record)| begin <= *index && follows(*index, record)));
    begin..end
}

/// Whether a record of the stretch that can be read from `readable` on must be delivered: it could be
/// read before the clock of the source has shown the end of the stretch.
pub(super) fn is_before_its_end(stretch: &Stretch, clock: &WallClock, readable: Timestamp) -> bool {
    match &stretch.to {
        StretchEnd::Time(to) => clock.latest_until(readable) < *to,
        StretchEnd::Through(_) => true,
    }
}

/// Whether a record is stamped before the start of the stretch.
pub(super) fn is_early(stretch: &Stretch, record: &Record) -> bool {
    matches!(stretch.from, StretchStart::Time(from) if record.approximate_arrival() < from)
}

/// The turns of the replay, and what its consumer has sent.
#[derive(Debug)]
pub(super) struct Turns {
    turns: RateTurns,
    request: Option<TurnId>,
    /// Since a rate is set.
    sent: Vec<Sent>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Timestamp,
    /// What pays for it, in nanoseconds.
    price: u64,
}

/// What the consumer waits for.
pub(super) enum Wait {
    Slot,
    /// Its turn, which is to be asked for then.
    Turn(Timestamp),
}

impl Turns {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            turns: RateTurns::new(draw_rate(rng)),
            request: None,
            sent: Vec::new(),
        }
    }

    pub(super) fn change(&mut self, rng: &mut Rng) {
        let rate = draw_rate(rng);
        self.turns.set_rate(rate);
        if rate.is_none() {
            self.sent.clear();
        }
    }

    pub(super) fn request(&mut self) {
        self.request = Some(self.turns.request());
    }

    /// Asks whether it is the turn of the consumer; `None` if it does not wait.
    pub(super) fn poll(&mut self, now: Timestamp) -> Option<Wait> {
        self.request?;
        Some(match self.turns.poll_turn(now) {
            Some(_) => Wait::Slot,
            None => Wait::Turn(self.turns.poll_timeout().unwrap_or(now)),
        })
    }

    pub(super) fn max_records(&self) -> Option<usize> {
        self.turns.max_records()
    }

    pub(super) fn cancel(&mut self) {
        if let Some(request) = self.request.take() {
            self.turns.cancel(request);
        }
    }

    /// Between any two batches there is the time that pays for the first of them and for those between
    /// them, but for the millisecond that clocks have.
    pub(super) fn sent(&mut self, n_records: usize, now: Timestamp) -> Result<(), BrokenInvariant> {
        let request = self.request.take();
        let request =
            request.ok_or_else(|| BrokenInvariant::new("rate", "a batch without a turn"))?;
        let mut unpaid = 0;
        for sent in self.sent.iter().rev() {
            unpaid += sent.price;
            let passed = now.since(sent.at) + Duration::from_millis(1);
            ensure(u128::from(unpaid) <= passed.as_nanos(), "rate", || {
                format!("a batch follows {sent:?} after {passed:?}")
            })?;
        }
        if let Some(Rate(rate)) = self.turns.rate() {
            let max_records = u64::from(rate.get());
            let n_records = n_records as u64;
            ensure(n_records <= max_records, "rate", || {
                format!("a batch of {n_records} records at {max_records} a second")
            })?;
            self.sent.push(Sent {
                at: now,
                price: n_records * 1_000_000_000 / max_records,
            });
        }
        self.turns.sent(request, n_records, now);
        Ok(())
    }
}

/// Records a second, or no limit.
fn draw_rate(rng: &mut Rng) -> Option<Rate> {
    let rate = rng.pick(&[0, 0, 0, 1, 7, 100, 3_000]);
    NonZeroU32::new(u32::try_from(rate).expect("it is small")).map(Rate)
}
