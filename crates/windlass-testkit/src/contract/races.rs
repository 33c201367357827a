//! Daemons that do the same at the same time.

use std::sync::Arc;

use tokio::sync::Barrier;
use tokio::task::JoinSet;
use windlass_core::ids::SequenceNumber;
use windlass_core::mapping::{MappingRow, Revision};
use windlass_core::outcome::Swap;
use windlass_core::position::Position;
use windlass_engine::ports::Store;

use super::{free, id, insert, leases, mappings, put, row, save, shard, swap, taken};

/// Daemons that race.
const DAEMONS: u32 = 8;

/// Races of each kind.
const ROUNDS: u32 = 20;

pub(super) async fn one_of_many_gets_a_lease(store: Arc<dyn Store>) {
    put(&*store, &row(1), None).await;
    let mut lease = free(shard(1, "a"));
    insert(&*store, std::slice::from_ref(&lease)).await;
    for round in 0..ROUNDS {
        let wins = race(&store, {
            let lease = lease.clone();
            move |store, daemon| {
                let (seen, next) = (lease.clone(), taken(&lease, &format!("daemon {daemon}")));
                async move { (swap(&*store, &seen, &next).await, next) }
            }
        });
        let wins = wins.await;
        let mut winners = wins.into_iter().filter(|(swap, _)| *swap == Swap::Done);
        let (_, next) = winners.next().expect("one gets the lease");
        assert_eq!(
            winners.next(),
            None,
            "round {round}: two have got one lease"
        );
        assert_eq!(leases(&*store).await, std::slice::from_ref(&next));
        lease = next;
    }
}

/// One saves all the time; another takes its lease, saves once, and no later save of the first is
/// done.
pub(super) async fn no_checkpoint_is_written_by_a_former_owner(store: Arc<dyn Store>) {
    put(&*store, &row(1), None).await;
    let mut lease = taken(&free(shard(1, "a")), "first");
    insert(&*store, std::slice::from_ref(&lease)).await;
    for round in 0..ROUNDS {
        let (former, key) = (lease.epoch, lease.key.clone());
        let mut saves = JoinSet::new();
        for daemon in 0..DAEMONS {
            let (store, key) = (Arc::clone(&store), key.clone());
            saves.spawn(async move {
                let number = format!("{round}000{daemon}");
                let mut swap = Swap::Done;
                while swap == Swap::Done {
                    swap = save(&*store, &key, former, &after(&number)).await;
                    tokio::task::yield_now().await;
                }
            });
        }
        let next = taken(&lease, &format!("owner {round}"));
        assert_eq!(swap(&*store, &lease, &next).await, Swap::Done);
        let mine = after(&format!("{round}"));
        assert_eq!(save(&*store, &key, next.epoch, &mine).await, Swap::Done);
        while let Some(ended) = saves.join_next().await {
            ended.expect("a saving daemon ends when its lease is lost");
        }
        lease = next;
        lease.checkpoint = mine;
        assert_eq!(
            leases(&*store).await,
            std::slice::from_ref(&lease),
            "round {round}"
        );
    }
}

pub(super) async fn one_of_many_gets_a_pair(store: Arc<dyn Store>) {
    let puts = race(&store, |store, daemon| async move {
        let mapping = MappingRow {
            id: id(daemon),
            ..row(1)
        };
        put(&*store, &mapping, None).await
    });
    let n_done = puts
        .await
        .into_iter()
        .filter(|put| *put == Swap::Done)
        .count();
    assert_eq!(n_done, 1, "one mapping of a pair");
    assert_eq!(mappings(&*store).await.len(), 1);
}

/// Everybody raises the revision until it has succeeded some times; in the end it counts them all.
pub(super) async fn no_change_of_a_mapping_is_lost(store: Arc<dyn Store>) {
    const CHANGES: u32 = 5;
    put(&*store, &row(1), None).await;
    let changes = race(&store, |store, _| async move {
        let mut n_done = 0;
        while n_done < CHANGES {
            let seen = mappings(&*store).await.remove(0);
            let next = seen.next_revision(seen.last_modified);
            if put(&*store, &next, Some(seen.revision.0)).await == Swap::Done {
                n_done += 1;
            }
        }
    });
    changes.await;
    let last = mappings(&*store).await.remove(0);
    assert_eq!(last.revision, Revision(u64::from(1 + DAEMONS * CHANGES)));
}

/// Lets all daemons do something at one moment.
async fn race<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    store: &Arc<dyn Store>,
    act: impl Fn(Arc<dyn Store>, u32) -> F,
) -> Vec<T> {
    let start = Arc::new(Barrier::new(DAEMONS as usize));
    let mut daemons = JoinSet::new();
    for daemon in 0..DAEMONS {
        let (start, act) = (Arc::clone(&start), act(Arc::clone(store), daemon));
        daemons.spawn(async move {
            start.wait().await;
            act.await
        });
    }
    daemons.join_all().await
}

fn after(number: &str) -> Position {
    Position::After(SequenceNumber::from(number))
}
