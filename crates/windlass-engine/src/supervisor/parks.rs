//! What a supervisor does with parks when their shards end or leave the stream.

use windlass_core::lease::{Lease, Unit};
use windlass_core::lease_rows::lost_parked_shards;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::Swap;
use windlass_core::position::{Checkpoint, Position};

use super::Supervisor;
use super::shard_reader::report_lost;
use crate::ports::{CheckpointSave, PortError};

impl Supervisor {
    /// Ends the parked shards of a mapping that have left their stream, and hands the parks of shards
    /// that have ended to their children, before these get rows. Returns whether anything changed;
    /// `None` if the parks have changed meanwhile, so that the rows must wait.
    pub(super) async fn settle_parks(&mut self, id: &MappingId) -> Result<Option<bool>, PortError> {
        let known = self.known.get(id);
        let Some((known, listings)) = known.zip(self.discovery.history(id)) else {
            return Ok(Some(false));
        };
        let parks = &known.overrides.parks;
        if parks.is_empty() {
            return Ok(Some(false));
        }
        let running = self.tasks.running_of(id);
        let lost = lost_parked_shards(listings, &known.leases, parks).into_iter();
        let lost: Vec<_> = lost
            .filter(|row| !running.contains_key(&row.key))
            .cloned()
            .collect();
        let has_ended = self.end_lost(&lost).await?;
        let Some(handed_over) = parks.handed_over(listings, &known.leases) else {
            return Ok(Some(has_ended));
        };
        match self.store.set_parks(id, parks, &handed_over, None).await? {
            Swap::Done => Ok(Some(true)),
            Swap::Conflict => {
                self.changed.insert(id.clone());
                Ok(None)
            }
        }
    }

    async fn end_lost(&self, lost: &[Lease]) -> Result<bool, PortError> {
        if lost.is_empty() {
            return Ok(false);
        }
        let taken = self.store.take_many(lost, &self.worker).await?;
        let saves = taken.iter().map(|row| CheckpointSave {
            key: row.key.clone(),
            epoch: row.epoch,
            checkpoint: Checkpoint::at(Position::ShardEnd),
        });
        let saves: Vec<_> = saves.collect();
        let saved = self.store.save_many(&saves).await?;
        for (row, _) in taken.iter().zip(saved).filter(|(_, it)| *it == Swap::Done) {
            if let Unit::Shard(shard) = &row.key.unit {
                let (mapping, position) = (&row.key.mapping, &row.checkpoint.position);
                report_lost(
                    &self.context.board,
                    mapping,
                    shard,
                    position,
                    "it was parked",
                );
            }
        }
        Ok(true)
    }
}
