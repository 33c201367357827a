//! A daemon that is killed in the middle of a change of a mapping: the next one settles it, and no record
//! is lost.

use std::time::Duration;

use windlass_core::mapping::{Change, DesiredState, MappingId};
use windlass_core::outcome::Outcome;
use windlass_testkit::fakes::Answer;

use crate::daemon::{Daemon, after, until};

/// Lets a change go on for a while, kills the daemon and waits for the state in the next one.
async fn settles(daemon: Daemon, id: &MappingId, millis: u64, state: &str) -> Daemon {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    let daemon = daemon.restart_after_a_kill().await;
    until("it settles", || daemon.state(id) == state).await;
    daemon
}

#[tokio::test(start_paused = true)]
async fn every_change_settles_after_a_kill_in_the_middle_of_it() {
    // From the write to the end of what is in flight.
    for millis in [0, 1, 99, 101, 1_000, 3_000, 20_000] {
        let daemon = Daemon::start();
        let stream = daemon.stream("orders", 2);
        let function = daemon.adapters.function("f");
        let late = Duration::from_secs(2);
        function.answers(Answer::After(late, Outcome::Success));
        for number in 0..20 {
            stream.put(number % 2, b"{}");
        }
        let id = daemon.map("stream/orders", "f", 1).await;
        let daemon = settles(daemon, &id, millis, "Enabled").await;
        daemon.set(&id, DesiredState::Disabled).await;
        let daemon = settles(daemon, &id, millis, "Disabled").await;
        daemon.set(&id, DesiredState::Enabled).await;
        let daemon = settles(daemon, &id, millis, "Enabled").await;
        let update = daemon.change(&id, |row| {
            row.spec.set("BatchSize", 2);
            row.change = Change::Updated;
        });
        update.await;
        let daemon = settles(daemon, &id, millis, "Enabled").await;
        until("all is saved", || {
            let shards = [("0", "9"), ("1", "9")];
            shards
                .iter()
                .all(|(shard, last)| daemon.checkpoint(&id, shard) == after(last))
        })
        .await;
        daemon.set(&id, DesiredState::Deleted).await;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let daemon = daemon.restart_after_a_kill().await;
        until("it is gone", || daemon.store.row(&id).is_none()).await;
        assert_eq!(daemon.store.leases_of(&id), []);
    }
}
