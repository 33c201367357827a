//! The memory of a read that shows whether a shard, or a record, exists.

use async_trait::async_trait;

use crate::ports::{KeptMemory, ResponseMemory};

/// The record is dropped at once: it gets no memory of the budget.
#[derive(Debug)]
pub struct OneRecord;

#[async_trait]
impl ResponseMemory for OneRecord {
    async fn reserve(&self, _: Option<usize>) -> usize {
        1
    }

    fn keep(&self, _: usize) -> KeptMemory {
        Box::new(())
    }
}
