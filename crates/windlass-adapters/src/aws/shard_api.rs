//! Shards as a source lists them, and whether the end of one may be believed.

use windlass_core::ids::ShardId;
use windlass_core::shard::lineage::Shard;

/// A shard that is listed.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) shard: Shard,
    /// It takes no more records.
    pub(super) closed: bool,
}

impl Listed {
    /// Whether a shard may be at its end, as an answer without a next iterator says. One that still
    /// takes records is not: an answer that was cut short would end it for good. A shard that is no
    /// longer listed has nothing more to give.
    ///
    /// # Errors
    /// The shard is open.
    pub(super) fn confirm_end(all: &[Self], shard: &ShardId) -> Result<(), &'static str> {
        let open = |it: &Self| it.shard.id == *shard && !it.closed;
        if all.iter().any(open) {
            return Err("the answer names no next iterator although the shard is open");
        }
        Ok(())
    }
}
