//! How replays end.

use std::collections::BTreeSet;

use windlass_core::replay::{ReplayRow, ReplayState};

use super::Supervisor;
use super::known::{KnownMapping, KnownReplay};
use crate::ports::PortError;

impl Supervisor {
    /// Ends a replay that is complete or cannot go on, and keeps what was lost of it.
    pub(super) async fn finish_replay(
        &self,
        known: &KnownMapping,
        replay: &KnownReplay,
    ) -> Result<(), PortError> {
        let row = &replay.row;
        if row.state != ReplayState::Running {
            return Ok(());
        }
        let mut reason = row.reason.clone();
        for gap in self.context.board.gaps_of(&row.id) {
            match &mut reason {
                Some(reason) if reason.contains(&gap) => {}
                Some(reason) => reason.push_str(&format!("; {gap}")),
                None => reason = Some(gap),
            }
        }
        let (state, reason) = if let Some(failure) = self.replay_ends.failed.get(&row.id) {
            (ReplayState::Failed, Some(failure.clone()))
        } else if self.is_complete(known, replay) {
            (ReplayState::Completed, reason)
        } else {
            (ReplayState::Running, reason)
        };
        if state == row.state && reason == row.reason {
            return Ok(());
        }
        let wall = self.context.clock.wall();
        let next = ReplayRow {
            state,
            reason,
            ended: state.is_ended().then_some(wall),
            ..row.next_revision()
        };
        // After a conflict the row has changed, and the next round looks at it.
        self.store
            .put_replay(&next, Some(row.revision), None)
            .await?;
        if state.is_ended() {
            let (replay, state) = (row.name.as_str(), state.as_str());
            tracing::info!(replay, reason = next.reason, "replay {state}");
        }
        Ok(())
    }

    fn is_complete(&self, known: &KnownMapping, replay: &KnownReplay) -> bool {
        let id = &replay.row.id;
        let Some((history, began)) = self.discovery.last_listing(id) else {
            return false;
        };
        let board = &self.context.board;
        let listed_at = board.source_time(id, self.context.clock, began);
        let none = BTreeSet::new();
        let with_end = self.replay_ends.with_end.get(id).unwrap_or(&none);
        let shards = &replay.shards;
        shards.is_complete(history, listed_at, &known.leases, with_end)
    }
}
