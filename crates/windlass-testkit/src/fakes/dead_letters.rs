//! The dead letters of a [`FakeStore`].

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use windlass_core::outcome::{Fault, Swap};
use windlass_core::time::Timestamp;
use windlass_engine::ports::{
    DeadLetter, DeadLetterFilter, DeadLetterId, DeadLetterLimit, DeadLetterMarker,
    DeadLetterSelection, DeadLetterStore, DeadLetterTotals, Deletion, DeletionLine, Kept,
    NewDeadLetter, PortError, RedriveLine, SkipSave,
};

use super::{FakeStore, failed, lock};

#[derive(Debug)]
pub(super) struct FakeDeadLetter {
    letter: DeadLetter,
    payload: Bytes,
    is_claimed: bool,
}

impl FakeDeadLetter {
    /// Whether the claim has not ended.
    fn is_claim(&self, marker: DeadLetterMarker) -> bool {
        self.is_claimed && self.letter.marker() == marker
    }
}

impl FakeStore {
    /// The dead letters in the order of their markers, each with its payload.
    pub fn all_dead_letters(&self) -> Vec<(DeadLetter, Bytes)> {
        let letters = lock(&self.dead_letters);
        let letters = letters.values();
        let mut letters: Vec<_> = letters
            .map(|it| (it.letter.clone(), it.payload.clone()))
            .collect();
        letters.sort_by_key(|(letter, _)| letter.marker());
        letters
    }

    /// Lets every letter after the next `n_letters` fail, or none.
    pub fn fails_after_letters(&self, n_letters: Option<usize>) {
        *lock(&self.letters_left) = n_letters;
    }

    fn totals(&self) -> DeadLetterTotals {
        let letters = lock(&self.dead_letters);
        DeadLetterTotals {
            letters: letters.len() as u64,
            bytes: letters.values().map(|it| it.letter.bytes).sum(),
        }
    }

    /// The letters to drop, so that there is room for others.
    fn make_room(
        &self,
        new: &[NewDeadLetter],
        limit: DeadLetterLimit,
    ) -> Option<Vec<DeadLetterId>> {
        let ids: BTreeSet<_> = new.iter().map(|it| it.letter.id).collect();
        let letters = lock(&self.dead_letters);
        let mut others: Vec<_> = letters
            .values()
            .filter(|it| !ids.contains(&it.letter.id))
            .collect();
        others.sort_by_key(|it| it.letter.marker());
        let mut total: u64 = others.iter().map(|it| it.letter.bytes).sum();
        total += new.iter().map(|it| it.letter.bytes).sum::<u64>();
        let mut dropped = Vec::new();
        let unclaimed = others.iter().filter(|it| !it.is_claimed);
        for other in unclaimed.take_while(|_| limit.drops_oldest) {
            if limit.maximum_size < total {
                total -= other.letter.bytes;
                dropped.push(other.letter.id);
            }
        }
        (total <= limit.maximum_size).then_some(dropped)
    }
}

#[async_trait]
impl DeadLetterStore for FakeStore {
    async fn keep(
        &self,
        new: Vec<NewDeadLetter>,
        limit: DeadLetterLimit,
        skip: Option<SkipSave>,
    ) -> Result<Kept, PortError> {
        self.call("writing dead letters")?;
        if let Some(left) = &mut *lock(&self.letters_left) {
            let after = left.checked_sub(new.len());
            *left = after.ok_or_else(|| failed("writing dead letters", Fault::Transient))?;
        }
        let Some(dropped) = self.make_room(&new, limit) else {
            return Ok(Kept::Full);
        };
        if let Some(SkipSave { save, line }) = skip {
            if self.save_checkpoint(&save) == Swap::Conflict {
                return Ok(Kept::Conflict);
            }
            self.write_line(Some(&line));
        }
        let mut dropped_totals = DeadLetterTotals::default();
        let mut letters = lock(&self.dead_letters);
        for id in dropped {
            let removed = letters.remove(&id);
            dropped_totals.letters += 1;
            dropped_totals.bytes += removed.map_or(0, |it| it.letter.bytes);
        }
        for NewDeadLetter { letter, payload } in new {
            let known = letters.get(&letter.id);
            if known.is_some_and(|it| it.letter.given_up == letter.given_up) {
                continue;
            }
            let redrives = known.map_or(0, |it| it.letter.redrives);
            let letter = DeadLetter { redrives, ..letter };
            let id = letter.id;
            let is_claimed = false;
            letters.insert(
                id,
                FakeDeadLetter {
                    letter,
                    payload,
                    is_claimed,
                },
            );
        }
        drop(letters);
        Ok(Kept::Done {
            dropped: dropped_totals,
            totals: self.totals(),
        })
    }

    async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        after: Option<DeadLetterMarker>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, PortError> {
        self.call("listing dead letters")?;
        let letters = self
            .all_dead_letters()
            .into_iter()
            .map(|(letter, _)| letter);
        let is_listed = |letter: &DeadLetter| {
            let is_of_mapping = filter.mapping.is_none() || filter.mapping == letter.mapping;
            let is_of_reason = filter.reason.is_none_or(|reason| reason == letter.reason);
            let is_since = filter.since.is_none_or(|since| since <= letter.given_up);
            let is_after = after.is_none_or(|after| after < letter.marker());
            is_of_mapping && is_of_reason && is_since && is_after
        };
        Ok(letters.filter(is_listed).take(limit).collect())
    }

    async fn dead_letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, PortError> {
        self.call("reading a dead letter")?;
        Ok(lock(&self.dead_letters)
            .get(&id)
            .map(|it| it.letter.clone()))
    }

    async fn dead_letter_payload(&self, id: DeadLetterId) -> Result<Option<Bytes>, PortError> {
        self.call("reading the payload of a dead letter")?;
        Ok(lock(&self.dead_letters)
            .get(&id)
            .map(|it| it.payload.clone()))
    }

    async fn dead_letter_totals(&self) -> Result<DeadLetterTotals, PortError> {
        self.call("counting dead letters")?;
        Ok(self.totals())
    }

    async fn delete_dead_letters(
        &self,
        selection: &DeadLetterSelection,
        limit: usize,
        line: DeletionLine,
    ) -> Result<Deletion, PortError> {
        self.call("deleting dead letters")?;
        let mut letters = lock(&self.dead_letters);
        let is_selected = |letter: &DeadLetter| match selection {
            DeadLetterSelection::One(id) => letter.id == *id,
            DeadLetterSelection::OfMapping(mapping) => letter.mapping.as_ref() == Some(mapping),
            DeadLetterSelection::All => true,
        };
        let selected = || letters.values().filter(|it| is_selected(&it.letter));
        if selected().any(|it| it.is_claimed) {
            return Ok(Deletion::BeingRedriven);
        }
        let mut markers: Vec<_> = selected().map(|it| it.letter.marker()).collect();
        markers.sort();
        let ids: Vec<_> = markers.into_iter().take(limit).map(|it| it.id).collect();
        for id in &ids {
            letters.remove(id);
        }
        if !ids.is_empty() {
            self.write_line(Some(&line(&ids)));
        }
        Ok(Deletion::Done(ids.len()))
    }

    async fn expire_dead_letters(
        &self,
        given_up_before: Timestamp,
        limit: usize,
    ) -> Result<u64, PortError> {
        self.call("deleting expired dead letters")?;
        let expired = self
            .all_dead_letters()
            .into_iter()
            .map(|(letter, _)| letter);
        let mut letters = lock(&self.dead_letters);
        let is_expired = |letter: &DeadLetter| {
            letter.given_up < given_up_before && !letters[&letter.id].is_claimed
        };
        let expired: Vec<_> = expired.filter(is_expired).take(limit).collect();
        for letter in &expired {
            letters.remove(&letter.id);
        }
        Ok(expired.len() as u64)
    }

    async fn claim_dead_letters(&self, ids: &[DeadLetterId]) -> Result<Vec<DeadLetter>, PortError> {
        self.call("claiming dead letters")?;
        let mut letters = lock(&self.dead_letters);
        let mut claimed = Vec::new();
        for id in ids {
            if let Some(it) = letters.get_mut(id).filter(|it| !it.is_claimed) {
                it.is_claimed = true;
                claimed.push(it.letter.clone());
            }
        }
        Ok(claimed)
    }

    async fn release_dead_letters(
        &self,
        claimed: &[DeadLetterMarker],
        has_failed: bool,
    ) -> Result<(), PortError> {
        self.call("releasing dead letters")?;
        let mut letters = lock(&self.dead_letters);
        for marker in claimed {
            let letter = letters.get_mut(&marker.id);
            if let Some(it) = letter.filter(|it| it.is_claim(*marker)) {
                it.is_claimed = false;
                it.letter.redrives += u32::from(has_failed);
            }
        }
        Ok(())
    }

    async fn delete_redriven(
        &self,
        claimed: DeadLetterMarker,
        line: &RedriveLine,
    ) -> Result<Swap, PortError> {
        self.call("deleting a redriven dead letter")?;
        let mut letters = lock(&self.dead_letters);
        let letter = letters.get(&claimed.id);
        if letter.is_none_or(|it| !it.is_claim(claimed)) {
            return Ok(Swap::Conflict);
        }
        letters.remove(&claimed.id);
        self.add_to_redrive(line);
        Ok(Swap::Done)
    }
}
