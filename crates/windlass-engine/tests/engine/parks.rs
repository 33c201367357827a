//! Parked shards: nothing is read and invoked there, and everything else continues.

use std::time::Duration;

use windlass_core::ids::ShardId;
use windlass_core::mapping::{Change, MappingId};
use windlass_core::outcome::{Outcome, Swap};
use windlass_core::parks::{Park, Parks};
use windlass_core::position::Position;
use windlass_engine::ports::OverrideStore as _;
use windlass_engine::status::LeaseCounts;
use windlass_testkit::fakes::Answer;

use crate::daemon::{Daemon, after, pass, until};

impl Daemon {
    /// Parks as the API does.
    async fn park(&self, id: &MappingId, shard: Option<&str>) {
        self.change_parks(id, |parks| {
            let since = self.clock.wall();
            let park = Park {
                since,
                reason: None,
            };
            parks.park(shard.map(ShardId::from).as_ref(), park);
        })
        .await;
    }

    async fn unpark(&self, id: &MappingId, shard: Option<&str>) {
        let shard = shard.map(ShardId::from);
        self.change_parks(id, |parks| parks.unpark(shard.as_ref()))
            .await;
    }

    async fn change_parks(&self, id: &MappingId, change: impl FnOnce(&mut Parks)) {
        let seen = self.store.overrides_of(id).parks;
        let mut parks = seen.clone();
        change(&mut parks);
        let set = self.store.set_parks(id, &seen, &parks, None).await;
        assert_eq!(set.expect("the store works"), Swap::Done);
        self.wake();
    }

    fn all_run(&self, running: usize) -> bool {
        let all = LeaseCounts {
            running,
            ..LeaseCounts::default()
        };
        self.board.leases() == Some(all)
    }
}

#[tokio::test(start_paused = true)]
async fn a_parked_shard_stops_alone_also_over_a_restart() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 2);
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(Duration::from_secs(5), Outcome::Success));
    stream.put(0, b"{\"n\":0}");
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it is in flight", || function.n_running() == 1).await;
    stream.put(0, b"{\"n\":1}");
    daemon.park(&id, Some("0")).await;
    until("what is in flight ends", || {
        daemon.checkpoint_is(&id, "0", &after("0"))
    })
    .await;
    until("it stops", || daemon.status(&id).units.len() == 1).await;
    let reads = stream.n_reads(0);
    let other_reads = stream.n_reads(1);
    pass(60).await;
    assert_eq!((stream.n_reads(0), function.n_calls()), (reads, 1));
    assert!(other_reads < stream.n_reads(1), "the other shard is read");
    assert_eq!(daemon.state(&id), "Enabled");
    assert!(daemon.all_run(2), "a parked shard counts as running");

    let daemon = daemon.restart_after_a_kill().await;
    until("it is enabled", || daemon.state(&id) == "Enabled").await;
    daemon
        .change(&id, |row| {
            row.spec.set("BatchSize", 2);
            row.change = Change::Updated;
        })
        .await;
    until("it is updated", || daemon.state(&id) == "Enabled").await;
    pass(60).await;
    assert_eq!((stream.n_reads(0), function.n_calls()), (reads, 1));
    daemon.unpark(&id, Some("0")).await;
    until("it continues", || {
        daemon.checkpoint_is(&id, "0", &after("1"))
    })
    .await;
    assert_eq!(function.calls()[1].event, "{\"Records\":[{\"n\":1}]}");
}

#[tokio::test(start_paused = true)]
async fn a_parked_shard_in_a_backoff_tries_again_at_once() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    let error = Outcome::function_error(200, "Unhandled");
    function.answers(Answer::After(Duration::ZERO, error));
    stream.put(0, b"{}");
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it fails", || 8 < function.n_calls()).await;
    daemon.park(&id, None).await;
    until("it stops", || daemon.status(&id).units.is_empty()).await;
    let n_calls = function.n_calls();
    pass(600).await;
    assert_eq!(function.n_calls(), n_calls);
    daemon.unpark(&id, None).await;
    let unparked = tokio::time::Instant::now();
    until("it tries again", || n_calls < function.n_calls()).await;
    assert!(unparked.elapsed() < Duration::from_secs(2));
    assert_eq!(function.calls()[n_calls].attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn a_park_of_the_mapping_covers_shards_that_come_later() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 1);
    let function = daemon.adapters.function("f");
    let id = daemon.map("stream/orders", "f", 1).await;
    until("it is enabled", || daemon.state(&id) == "Enabled").await;
    daemon.park(&id, None).await;
    until("it stops", || daemon.status(&id).units.is_empty()).await;
    stream.put(0, b"{\"n\":0}");
    stream.follow(0, 1);
    stream.put(1, b"{\"n\":1}");
    pass(120).await;
    assert_eq!(daemon.store.leases_of(&id).len(), 1, "the child waits");
    daemon.unpark(&id, Some("0")).await;
    until("the child has a row", || {
        daemon.checkpoint_is(&id, "1", &Position::TrimHorizon)
    })
    .await;
    pass(60).await;
    assert_eq!((function.n_calls(), stream.n_reads(1)), (1, 0));
    let counts = daemon.board.leases().expect("they are known");
    assert_eq!((counts.running, counts.waiting), (1, 0));
    daemon.unpark(&id, None).await;
    until("it continues", || {
        daemon.checkpoint_is(&id, "1", &after("0"))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_parked_shard_that_ends_or_leaves_hands_its_park_to_its_children() {
    let daemon = Daemon::start();
    let stream = daemon.stream("orders", 2);
    let function = daemon.adapters.function("f");
    function.answers(Answer::After(Duration::from_secs(5), Outcome::Success));
    stream.put(0, b"{\"n\":0}");
    stream.put(1, b"{\"n\":1}");
    stream.follow(0, 2);
    let id = daemon.map("stream/orders", "f", 1).await;
    until("both are in flight", || function.n_running() == 2).await;
    pass(1).await;
    for shard in ["0", "1"] {
        daemon.park(&id, Some(shard)).await;
    }
    until("one ends", || {
        daemon.checkpoint_is(&id, "0", &Position::ShardEnd)
    })
    .await;
    until("its child has a row", || {
        daemon.store.leases_of(&id).len() == 3
    })
    .await;
    stream.put(2, b"{\"n\":2}");
    stream.put(1, b"{\"n\":3}");
    stream.follow(1, 3);
    stream.put(3, b"{\"n\":4}");
    pass(60).await;
    stream.remove(1);
    until("the other is lost", || {
        daemon.status(&id).counts.lost_shards.get() == 1
    })
    .await;
    pass(120).await;
    assert_eq!(function.n_calls(), 2, "the children are parked");
    let parks = daemon.store.overrides_of(&id).parks;
    let parked: Vec<_> = parks.shards.keys().map(ShardId::as_str).collect();
    assert_eq!(parked, ["2", "3"]);
    let counts = daemon.board.leases().expect("they are known");
    assert_eq!((counts.running, counts.waiting), (2, 0));
    daemon.unpark(&id, None).await;
    until("they go on", || function.n_calls() == 4).await;
}
