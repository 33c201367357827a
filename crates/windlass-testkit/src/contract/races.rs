//! Daemons that do the same thing at the same time.

use std::sync::Arc;

use tokio::sync::Barrier;
use tokio::task::JoinSet;
use windlass_core::mapping::{MappingRow, Revision};
use windlass_core::outcome::Swap;
use windlass_engine::ports::Store;

use super::{after, free, id, insert, leases, mappings, put, row, save, shard, take, taken};

const DAEMONS: u32 = 8;

const ROUNDS: u32 = 20;

pub(super) async fn one_daemon_gets_a_lease(store: Arc<dyn Store>) {
    put(&*store, &row(1), None).await;
    let mut lease = free(shard(1, "a"));
    insert(&*store, std::slice::from_ref(&lease)).await;
    for round in 0..ROUNDS {
        let wins = race(&store, {
            let lease = lease.clone();
            move |store, daemon| {
                let seen = lease.clone();
                async move { take(&*store, &seen, &format!("daemon {daemon}")).await }
            }
        });
        let wins = wins.await;
        let mut winners = wins.into_iter().flatten();
        let next = winners.next().expect("one daemon gets the lease");
        assert_eq!(
            winners.next(),
            None,
            "round {round}: two daemons got the lease"
        );
        assert_eq!(leases(&*store).await, std::slice::from_ref(&next));
        lease = next;
    }
}

/// One owner saves in a loop; another daemon takes the lease and saves once, after which no save of
/// the former owner succeeds.
pub(super) async fn a_former_owner_saves_no_checkpoint(store: Arc<dyn Store>) {
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
        let next = take(&*store, &lease, &format!("owner {round}")).await;
        let next = next.expect("the lease is as it was");
        let mine = after(&format!("{round}"));
        assert_eq!(save(&*store, &key, next.epoch, &mine).await, Swap::Done);
        while let Some(ended) = saves.join_next().await {
            ended.expect("saving ends when the lease is lost");
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

pub(super) async fn one_mapping_of_a_pair_is_created(store: Arc<dyn Store>) {
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
    assert_eq!(n_done, 1, "one mapping per pair");
    assert_eq!(mappings(&*store).await.len(), 1);
}

/// Every daemon increments the revision a number of times; the last revision counts them all.
pub(super) async fn no_update_is_lost(store: Arc<dyn Store>) {
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

/// Runs `act` for all daemons at the same time.
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
