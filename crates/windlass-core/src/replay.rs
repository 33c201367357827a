//! Replays as the store keeps them. What runs of one is described by a mapping of its own
//! ([`ReplayRow::mapping`]), which no list shows.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::arn::{Arn, SourceArn, SourceKind};
use crate::ids::ShardId;
use crate::lease::Lease;
use crate::mapping::{Change, DesiredState, MappingId, MappingRow, Origin, Revision};
use crate::place::Place;
use crate::position::Position;
use crate::spec::MappingSpec;
use crate::stretch::Stretch;
use crate::stretch_rows::StretchShards;
use crate::time::Timestamp;

/// Of a name of a replay.
const MAX_NAME_LENGTH: usize = 128;

/// Of the ids of replays.
const ID_PREFIX: &str = "replay-";

/// Identifies a replay among those that are not deleted: 1 to 128 of `A-Za-z0-9._-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplayName(Arc<str>);

#[derive(Clone, Debug, PartialEq)]
pub struct ReplayRow {
    /// Its leases and what runs of it go by this id, which is never used again: what ran of a replay
    /// that was deleted cannot save into another one of its name.
    pub id: MappingId,
    pub name: ReplayName,
    /// +1 with every change; writes are conditional on it.
    pub revision: Revision,
    /// +1 with every change for which consumers must start again.
    pub settings_revision: Revision,
    /// The parameters of the mapping that it was started with.
    pub spec: MappingSpec,
    /// Of the mapping: it may be a consumer of a stream, which the replay does not use.
    pub source: SourceArn,
    pub function_arn: Arn,
    /// Whose settings it has; the mapping may not exist any more.
    pub mapping: Option<MappingId>,
    /// Both are fixed: never [`Place::Now`].
    pub from: Place,
    pub to: Place,
    /// The only ones that it reads; empty: all.
    pub shards: Vec<ShardId>,
    /// Records a second over all shards; `None`: no limit.
    pub rate: Option<NonZeroU32>,
    pub state: ReplayState,
    /// Why it has ended, or what an operator should know of it.
    pub reason: Option<String>,
    pub created: Timestamp,
    pub ended: Option<Timestamp>,
    /// Since when it runs without a pause.
    pub resumed: Timestamp,
    /// How much of it was done then, 0 to 1.
    pub resumed_fraction: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayState {
    Running,
    /// Checkpoints are kept.
    Paused,
    /// All of its stretch is resolved.
    Completed,
    Cancelled,
    /// Its stretch cannot be read any more.
    Failed,
}

/// The id of a new replay. No mapping has such an id.
pub fn replay_id(uuid: &str) -> MappingId {
    MappingId::new(&format!("{ID_PREFIX}{uuid}"))
}

/// Whether an id is of a replay.
pub fn is_replay(id: &MappingId) -> bool {
    id.as_str().starts_with(ID_PREFIX)
}

impl ReplayName {
    /// `None` if the text is not a name.
    pub fn parse(text: &str) -> Option<Self> {
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let has_length = (1..=MAX_NAME_LENGTH).contains(&text.len());
        (has_length && text.bytes().all(is_valid)).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ReplayRow {
    /// The mapping whose consumers run it.
    pub fn mapping(&self) -> MappingRow {
        let desired = match self.state {
            ReplayState::Running => DesiredState::Enabled,
            ReplayState::Paused => DesiredState::Disabled,
            ReplayState::Completed | ReplayState::Cancelled | ReplayState::Failed => {
                DesiredState::Deleted
            }
        };
        MappingRow {
            id: self.id.clone(),
            revision: self.settings_revision,
            spec: self.spec.clone(),
            source: self.source.clone(),
            function_arn: self.function_arn.clone(),
            desired,
            change: Change::Created,
            created: self.created,
            last_modified: self.created,
            origin: Origin::Api,
        }
    }

    /// The records that it reads; `None` if nothing can end at [`ReplayRow::to`].
    pub fn stretch(&self) -> Option<Stretch> {
        let SourceKind::Stream(kind) = self.source.kind() else {
            return None;
        };
        Some(Stretch {
            from: self.from.start(self.created, kind),
            to: self.to.end(self.created).ok()?,
        })
    }

    /// The shards that hold it; see [`ReplayRow::stretch`].
    pub fn stretch_shards(&self) -> Option<StretchShards> {
        let selected: BTreeSet<_> = self.shards.iter().cloned().collect();
        Some(StretchShards {
            stretch: self.stretch()?,
            selected: Some(selected).filter(|selected| !selected.is_empty()),
        })
    }

    /// How much of it is done, 0 to 1: as far as the shard has come that is furthest back, in arrival
    /// time. While one has not read a record, nor its parents, that is nothing.
    pub fn fraction(&self, leases: &[Lease]) -> f64 {
        if self.state == ReplayState::Completed {
            return 1.0;
        }
        let checkpoints = leases.iter().map(|lease| &lease.checkpoint);
        let firsts = checkpoints
            .clone()
            .filter_map(|it| it.counts?.first_arrival);
        let start = match &self.from {
            Place::AtTimestamp(time) => Some(*time),
            Place::TrimHorizon
            | Place::Now
            | Place::AtSequenceNumber(_)
            | Place::AfterSequenceNumber(_) => firsts.min(),
        };
        let end = match &self.to {
            Place::AtTimestamp(time) => *time,
            // The record with a number has arrived before it was named.
            Place::TrimHorizon
            | Place::Now
            | Place::AtSequenceNumber(_)
            | Place::AfterSequenceNumber(_) => self.created,
        };
        let open = checkpoints
            .clone()
            .filter(|it| it.position != Position::ShardEnd);
        // If all have ended, their children may not have rows yet.
        let ended = checkpoints.filter_map(|it| it.arrival).max();
        let reached = open.map(|it| it.arrival).min().unwrap_or(ended);
        match (start, reached) {
            (Some(start), Some(reached)) if start < end => {
                let fraction = reached.since(start).as_secs_f64() / end.since(start).as_secs_f64();
                fraction.min(1.0)
            }
            _ => 0.0,
        }
    }

    /// When it ends if it continues as it has since it was started or resumed; `None` if that cannot be
    /// told yet.
    pub fn estimated_end(&self, fraction: f64, now: Timestamp) -> Option<Timestamp> {
        let done = fraction - self.resumed_fraction;
        if self.state != ReplayState::Running || done <= 0.0 {
            return None;
        }
        let seconds = now.since(self.resumed).as_secs_f64() * (1.0 - fraction) / done;
        Duration::try_from_secs_f64(seconds)
            .ok()
            .map(|rest| now + rest)
    }

    /// The same replay as its next revision.
    #[must_use]
    pub fn next_revision(&self) -> Self {
        Self {
            revision: Revision(self.revision.0 + 1),
            ..self.clone()
        }
    }
}

impl ReplayState {
    const ALL: [Self; 5] = [
        Self::Running,
        Self::Paused,
        Self::Completed,
        Self::Cancelled,
        Self::Failed,
    ];

    /// Also the stored form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Paused => "Paused",
            Self::Completed => "Completed",
            Self::Cancelled => "Cancelled",
            Self::Failed => "Failed",
        }
    }

    /// Inverse of [`ReplayState::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == name)
    }

    /// Whether it never runs again.
    pub const fn is_ended(self) -> bool {
        match self {
            Self::Running | Self::Paused => false,
            Self::Completed | Self::Cancelled | Self::Failed => true,
        }
    }
}

impl fmt::Display for ReplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_letters_digits_and_three_signs() {
        let longest = "a".repeat(MAX_NAME_LENGTH);
        for name in ["a", "replay-2026.11_23", "..", longest.as_str()] {
            assert!(ReplayName::parse(name).is_some(), "{name}");
        }
        let too_long = "a".repeat(MAX_NAME_LENGTH + 1);
        for name in ["", "a b", "a/b", "é", "a\n", "a:b", too_long.as_str()] {
            assert!(ReplayName::parse(name).is_none(), "{name}");
        }
    }
}
