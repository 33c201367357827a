//! The bytes that the daemon may hold. At the limit reading stops; nothing is dropped.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The budget is kept in units of so many bytes.
const UNIT: usize = 1024;

/// Bytes that all consumers share.
#[derive(Clone, Debug)]
pub struct ByteBudget {
    units: Arc<Semaphore>,
    total: usize,
}

/// A part of the budget; it goes back when it is dropped.
#[derive(Debug, Default)]
pub struct Reservation {
    permit: Option<OwnedSemaphorePermit>,
}

impl ByteBudget {
    /// A budget of so many bytes, at least one unit of 1 KiB.
    pub fn new(bytes: usize) -> Self {
        let total = (bytes / UNIT).clamp(1, u32::MAX as usize);
        Self {
            units: Arc::new(Semaphore::new(total)),
            total,
        }
    }

    /// Waits until so many bytes are free and takes them; never more than the whole budget.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        let units = bytes.div_ceil(UNIT).min(self.total);
        let units = u32::try_from(units).expect("the whole budget fits");
        let permit = Arc::clone(&self.units).acquire_many_owned(units).await;
        Reservation {
            permit: Some(permit.expect("the semaphore is never closed")),
        }
    }

    /// Bytes that are taken.
    pub fn used(&self) -> usize {
        (self.total - self.units.available_permits().min(self.total)) * UNIT
    }

    /// The whole budget in bytes.
    pub const fn total(&self) -> usize {
        self.total * UNIT
    }
}

impl Reservation {
    /// Adds another reservation of the same budget.
    pub fn merge(&mut self, other: Self) {
        let Some(other) = other.permit else { return };
        match &mut self.permit {
            Some(permit) => permit.merge(other),
            none => *none = Some(other),
        }
    }

    /// Gives back what goes beyond so many bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        let Some(permit) = &mut self.permit else {
            return;
        };
        let surplus = permit.num_permits().saturating_sub(bytes.div_ceil(UNIT));
        drop(permit.split(surplus));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_given_back_can_be_taken_again() {
        let budget = ByteBudget::new(10 * UNIT);
        let mut first = budget.reserve(8 * UNIT).await;
        assert_eq!(budget.used(), 8 * UNIT);
        first.shrink_to(3 * UNIT);
        let second = budget.reserve(7 * UNIT).await;
        assert_eq!(budget.used(), 10 * UNIT);
        first.merge(second);
        first.shrink_to(0);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn more_than_the_whole_budget_is_the_whole_budget() {
        let budget = ByteBudget::new(UNIT);
        let reservation = budget.reserve(1_000_000).await;
        assert_eq!(budget.used(), budget.total());
        drop(reservation);
        assert_eq!(budget.used(), 0);
    }
}
