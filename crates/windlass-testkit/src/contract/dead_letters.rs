//! The dead letters of a store.

use windlass_core::failure::FailureCondition;
use windlass_core::outcome::Swap;
use windlass_core::position::Position;
use windlass_core::time::Timestamp;
use windlass_engine::ports::{
    CheckpointSave, DeadLetter, DeadLetterFilter, DeadLetterId, DeadLetterLimit, DeadLetterReason,
    DeadLetterSelection, DeadLetterTotals, Deletion, DeletionLine, HistoryId, HistoryLine, Kept,
    NewDeadLetter, RedriveLine, SkipSave, Store, What,
};

use super::history::line;
use super::{after, free, function, id, insert, put, row, shard};

const AMPLE: DeadLetterLimit = DeadLetterLimit {
    maximum_size: 1 << 30,
    drops_oldest: false,
};

const ONE_KIB: DeadLetterLimit = DeadLetterLimit {
    maximum_size: 1024,
    drops_oldest: false,
};

const LAST_KIB: DeadLetterLimit = DeadLetterLimit {
    drops_oldest: true,
    ..ONE_KIB
};

/// A letter of the mapping with this number, given up at this time.
fn letter(number: u32, mapping: u32, given_up: u64, bytes: usize) -> NewDeadLetter {
    let payload = "{\"é\"}".chars().cycle().map(String::from);
    let mut payload: Vec<u8> = payload.take(bytes).collect::<String>().into_bytes();
    payload.truncate(bytes);
    let shard_id = "shardId-000000000001".into();
    NewDeadLetter {
        letter: DeadLetter {
            id: DeadLetterId::of(id(mapping).as_str(), &shard_id, &number.to_string()),
            mapping: Some(id(mapping)),
            replay: None,
            function_arn: function("f"),
            event_source_arn: function("stands-for-a-stream"),
            shard: shard_id,
            first: number.to_string().as_str().into(),
            last: "49590338271490256608559692".into(),
            records: 3,
            reason: DeadLetterReason::GivenUp(FailureCondition::RetryAttemptsExhausted),
            attempts: 4,
            last_error: Some("function error: Unhandled".to_owned()),
            first_arrival: Some(Timestamp::from_millis(1_732_552_345_678)),
            given_up: Timestamp::from_millis(given_up),
            bytes: bytes as u64,
            redrives: 0,
        },
        payload: payload.into(),
    }
}

async fn keep(store: &dyn Store, letters: Vec<NewDeadLetter>, limit: DeadLetterLimit) -> Kept {
    let kept = store.keep(letters, limit, None).await;
    kept.expect("the store can be written")
}

async fn keep_all(store: &dyn Store, letters: &[NewDeadLetter]) {
    let kept = keep(store, letters.to_vec(), AMPLE).await;
    assert!(matches!(kept, Kept::Done { .. }), "{kept:?}");
}

async fn list(store: &dyn Store, filter: &DeadLetterFilter) -> Vec<DeadLetterId> {
    let letters = store.dead_letters(filter, None, 100).await;
    let letters = letters.expect("the store can be read");
    letters.into_iter().map(|letter| letter.id).collect()
}

async fn ids(store: &dyn Store) -> Vec<DeadLetterId> {
    list(store, &DeadLetterFilter::default()).await
}

async fn totals(store: &dyn Store) -> (u64, u64) {
    let totals = store.dead_letter_totals().await;
    let DeadLetterTotals { letters, bytes } = totals.expect("the store can be read");
    (letters, bytes)
}

/// The line of a deletion: the letters in `after`.
async fn lines(store: &dyn Store) -> Vec<HistoryLine> {
    let history = store.history(None, None, 10).await;
    history.expect("the store can be read").lines
}

fn deletion_line() -> DeletionLine {
    Box::new(|ids| HistoryLine {
        id: HistoryId(1),
        time: Timestamp::from_millis(1_732_552_345_678),
        who: "local".to_owned(),
        what: What::DeadLettersDelete,
        mapping: None,
        before: serde_json::json!(ids.len()),
        after: serde_json::Value::Null,
    })
}

/// The part of a redrive's line for one letter.
fn redrive_line(redriven: &str, failed: u64) -> RedriveLine {
    RedriveLine {
        line: HistoryLine {
            what: What::Redrive,
            before: serde_json::Value::Null,
            after: serde_json::json!({"all": true}),
            ..deletion_line()(&[])
        },
        redriven: vec![redriven.to_owned()],
        failed,
    }
}

async fn delete(store: &dyn Store, selection: DeadLetterSelection, limit: usize) -> Deletion {
    let deleted = store
        .delete_dead_letters(&selection, limit, deletion_line())
        .await;
    deleted.expect("the store can be written")
}

async fn claim(store: &dyn Store, ids: &[DeadLetterId]) -> Vec<DeadLetterId> {
    let claimed = store.claim_dead_letters(ids).await;
    let claimed = claimed.expect("the store can be written").into_iter();
    claimed.map(|letter| letter.id).collect()
}

pub(super) async fn are_read_back_unchanged(store: &dyn Store) {
    let first = letter(1, 1, 1_000, 100_000);
    let second = NewDeadLetter {
        letter: DeadLetter {
            mapping: None,
            replay: Some("night.1".to_owned()),
            reason: DeadLetterReason::Skipped,
            last_error: None,
            first_arrival: None,
            records: 0,
            ..letter(2, 1, 2_000, 1).letter
        },
        payload: letter(2, 1, 2_000, 1).payload,
    };
    keep_all(store, &[first.clone(), second.clone()]).await;
    for NewDeadLetter { letter, payload } in [first, second] {
        let read = store.dead_letter(letter.id).await;
        assert_eq!(read.expect("the store can be read"), Some(letter.clone()));
        let read = store.dead_letter_payload(letter.id).await;
        assert_eq!(read.expect("the store can be read"), Some(payload));
    }
    let unknown = letter(3, 1, 1, 1).letter.id;
    let read = store.dead_letter(unknown).await;
    assert_eq!(read.expect("the store can be read"), None);
    let read = store.dead_letter_payload(unknown).await;
    assert_eq!(read.expect("the store can be read"), None);
    assert_eq!(totals(store).await, (2, 100_001));
}

pub(super) async fn are_listed_by_age(store: &dyn Store) {
    let all = [
        letter(1, 1, 3_000, 1),
        letter(2, 2, 1_000, 1),
        letter(3, 1, 2_000, 1),
        letter(4, 1, 2_000, 1),
    ];
    keep_all(store, &all).await;
    let mut expected: Vec<_> = all.iter().map(|it| it.letter.marker()).collect();
    expected.sort();
    let expected: Vec<_> = expected.into_iter().map(|it| it.id).collect();
    assert_eq!(ids(store).await, expected);
    let of_mapping = DeadLetterFilter {
        mapping: Some(id(1)),
        ..DeadLetterFilter::default()
    };
    assert_eq!(list(store, &of_mapping).await, expected[1..]);
    let since = DeadLetterFilter {
        since: Some(Timestamp::from_millis(2_001)),
        reason: Some(DeadLetterReason::GivenUp(
            FailureCondition::RetryAttemptsExhausted,
        )),
        ..of_mapping.clone()
    };
    assert_eq!(list(store, &since).await, expected[3..]);
    let skipped = DeadLetterFilter {
        reason: Some(DeadLetterReason::Skipped),
        ..of_mapping
    };
    assert_eq!(list(store, &skipped).await, []);
    let (mut pages, mut marker) = (Vec::new(), None);
    loop {
        let page = store
            .dead_letters(&DeadLetterFilter::default(), marker, 1)
            .await;
        let page = page.expect("the store can be read");
        let Some(last) = page.last() else { break };
        marker = Some(last.marker());
        // The marker stays valid.
        delete(store, DeadLetterSelection::One(last.id), 1).await;
        pages.push(last.id);
    }
    assert_eq!(pages, expected);
}

pub(super) async fn replace_themselves(store: &dyn Store) {
    let first = letter(1, 1, 1_000, 100);
    keep_all(store, std::slice::from_ref(&first)).await;
    let id = first.letter.id;
    assert_eq!(claim(store, &[id]).await, [id]);
    let claimed = first.letter.marker();
    let released = store.release_dead_letters(&[claimed], true).await;
    released.expect("the store can be written");
    assert_eq!(claim(store, &[id]).await, [id]);
    // The same is written again after an error whose write was done.
    keep_all(store, &[first]).await;
    assert_eq!(claim(store, &[id]).await, []);
    let later = letter(1, 1, 2_000, 300);
    keep_all(store, std::slice::from_ref(&later)).await;
    assert_eq!(totals(store).await, (1, 300));
    let deleted = store.delete_redriven(claimed, &redrive_line("1", 0)).await;
    assert_eq!(deleted.expect("the store can be written"), Swap::Conflict);
    let read = store.dead_letter(id).await.expect("the store can be read");
    let expected = DeadLetter {
        redrives: 1,
        ..later.letter
    };
    assert_eq!(read, Some(expected));
    let payload = store.dead_letter_payload(id).await;
    assert_eq!(payload.expect("the store can be read"), Some(later.payload));
}

pub(super) async fn have_their_room(store: &dyn Store) {
    let kept = keep(store, vec![letter(1, 1, 1_000, 500)], ONE_KIB).await;
    assert!(matches!(kept, Kept::Done { .. }), "{kept:?}");
    let kept = keep(store, vec![letter(2, 1, 2_000, 524)], ONE_KIB).await;
    assert!(matches!(kept, Kept::Done { .. }), "{kept:?}");
    let third = letter(3, 1, 3_000, 1);
    assert_eq!(keep(store, vec![third.clone()], ONE_KIB).await, Kept::Full);
    // What replaces a letter takes its room.
    let again = letter(1, 1, 1_500, 500);
    let kept = keep(store, vec![again.clone()], ONE_KIB).await;
    assert!(matches!(kept, Kept::Done { .. }), "{kept:?}");
    let first = again.letter.id;
    assert_eq!(claim(store, &[first]).await, [first]);
    let kept = keep(store, vec![third.clone()], LAST_KIB).await;
    let totals = |letters, bytes| DeadLetterTotals { letters, bytes };
    let (dropped, left) = (totals(1, 524), totals(2, 501));
    let expected = Kept::Done {
        dropped,
        totals: left,
    };
    assert_eq!(kept, expected);
    assert_eq!(ids(store).await, [first, third.letter.id]);
    // One that is being redriven stays, and nothing is dropped in vain.
    let large = letter(4, 1, 4_000, 600);
    assert_eq!(keep(store, vec![large], LAST_KIB).await, Kept::Full);
    let larger = letter(5, 1, 5_000, 1_025);
    assert_eq!(keep(store, vec![larger], LAST_KIB).await, Kept::Full);
    assert_eq!(ids(store).await, [first, third.letter.id]);
}

pub(super) async fn are_written_with_their_checkpoint(store: &dyn Store) {
    assert_eq!(put(store, &row(1), None).await, Swap::Done);
    let key = shard(1, "shardId-000000000001");
    insert(store, &[free(key.clone())]).await;
    let skip = |epoch| SkipSave {
        save: CheckpointSave {
            key: key.clone(),
            epoch,
            checkpoint: after("7"),
        },
        line: line(1, What::Skip, Some(1)),
    };
    let first = letter(1, 1, 1_000, 500);
    let keep = |letter: &NewDeadLetter, limit, epoch| {
        store.keep(vec![letter.clone()], limit, Some(skip(epoch)))
    };
    let kept = keep(&first, AMPLE, 5).await;
    assert_eq!(kept.expect("the store can be written"), Kept::Conflict);
    assert_eq!(ids(store).await, []);
    let full = DeadLetterLimit {
        maximum_size: 499,
        ..AMPLE
    };
    let kept = keep(&first, full, 0).await;
    assert_eq!(kept.expect("the store can be written"), Kept::Full);
    let position = |leases: Vec<windlass_core::lease::Lease>| {
        let lease = leases.into_iter().next();
        lease.map(|lease| lease.checkpoint.position)
    };
    let leases = store.leases_of(&key.mapping).await;
    let leases = leases.expect("the store can be read");
    assert_ne!(position(leases), Some(Position::After("7".into())));
    assert_eq!(lines(store).await, []);
    let kept = keep(&first, AMPLE, 0)
        .await
        .expect("the store can be written");
    assert!(matches!(kept, Kept::Done { .. }), "{kept:?}");
    assert_eq!(lines(store).await, [line(1, What::Skip, Some(1))]);
    let leases = store.leases_of(&key.mapping).await;
    let leases = leases.expect("the store can be read");
    assert_eq!(position(leases), Some(Position::After("7".into())));
    // They outlive their mapping.
    let removed = store.remove(&key.mapping, row(1).revision).await;
    assert_eq!(removed.expect("the store can be written"), Swap::Done);
    assert_eq!(ids(store).await, [first.letter.id]);
}

pub(super) async fn are_deleted_with_a_line(store: &dyn Store) {
    let letters: Vec<_> = (1..=5)
        .map(|n| letter(n, n % 2, u64::from(n), 10))
        .collect();
    keep_all(store, &letters).await;
    let all: Vec<_> = letters.iter().map(|it| it.letter.id).collect();
    assert_eq!(claim(store, &all[..1]).await, all[..1]);
    let of_first = [
        DeadLetterSelection::One(all[0]),
        DeadLetterSelection::OfMapping(id(1)),
        DeadLetterSelection::All,
    ];
    for selection in of_first {
        assert_eq!(delete(store, selection, 9).await, Deletion::BeingRedriven);
    }
    assert_eq!(totals(store).await, (5, 50));
    let history = store.history(None, None, 10).await;
    assert_eq!(history.expect("the store can be read").lines, []);
    let claimed = [letters[0].letter.marker()];
    let released = store.release_dead_letters(&claimed, false).await;
    released.expect("the store can be written");
    let of_mapping = DeadLetterSelection::OfMapping(id(1));
    assert_eq!(
        delete(store, of_mapping.clone(), 2).await,
        Deletion::Done(2)
    );
    assert_eq!(ids(store).await, [all[1], all[3], all[4]]);
    assert_eq!(
        delete(store, of_mapping.clone(), 2).await,
        Deletion::Done(1)
    );
    assert_eq!(delete(store, of_mapping, 2).await, Deletion::Done(0));
    let one = DeadLetterSelection::One(all[1]);
    assert_eq!(delete(store, one.clone(), 1).await, Deletion::Done(1));
    assert_eq!(delete(store, one, 1).await, Deletion::Done(0));
    assert_eq!(
        delete(store, DeadLetterSelection::All, 9).await,
        Deletion::Done(1)
    );
    assert_eq!(totals(store).await, (0, 0));
    let history = store.history(None, None, 10).await;
    let lines = history.expect("the store can be read").lines;
    let lines: Vec<_> = lines
        .into_iter()
        .map(|line| (line.what, line.before))
        .collect();
    assert_eq!(lines, [(What::DeadLettersDelete, serde_json::json!(1))]);
}

pub(super) async fn expire_unless_they_are_redriven(store: &dyn Store) {
    let letters: Vec<_> = (1..=4).map(|n| letter(n, 1, u64::from(n), 10)).collect();
    keep_all(store, &letters).await;
    let all: Vec<_> = letters.iter().map(|it| it.letter.id).collect();
    assert_eq!(claim(store, &all[1..2]).await, all[1..2]);
    let expire = |limit| store.expire_dead_letters(Timestamp::from_millis(4), limit);
    assert_eq!(expire(1).await.expect("the store can be written"), 1);
    assert_eq!(ids(store).await, all[1..]);
    assert_eq!(expire(9).await.expect("the store can be written"), 1);
    assert_eq!(ids(store).await, [all[1], all[3]]);
    assert_eq!(expire(9).await.expect("the store can be written"), 0);
}

pub(super) async fn are_deleted_after_a_redrive_with_its_line(store: &dyn Store) {
    let letters: Vec<_> = (1..=4).map(|n| letter(n, 1, u64::from(n), 10)).collect();
    keep_all(store, &letters).await;
    let markers: Vec<_> = letters.iter().map(|it| it.letter.marker()).collect();
    let all: Vec<_> = markers.iter().map(|marker| marker.id).collect();
    assert_eq!(claim(store, &all[..3]).await, all[..3]);
    let delete = async |index: usize, failed| {
        let line = redrive_line(&index.to_string(), failed);
        let deleted = store.delete_redriven(markers[index], &line).await;
        deleted.expect("the store can be written")
    };
    let after = async || {
        let history = store.history(None, None, 10).await;
        let lines = history.expect("the store can be read").lines;
        lines.into_iter().map(|line| line.after).collect::<Vec<_>>()
    };
    // It is not claimed.
    assert_eq!(delete(3, 5).await, Swap::Conflict);
    assert_eq!(after().await, [serde_json::Value::Null; 0]);
    assert_eq!(delete(0, 1).await, Swap::Done);
    let grown = |redriven: &[&str], failed| {
        serde_json::json!({
            "all": true, "redriven": redriven.len(), "failed": failed, "ids": redriven,
        })
    };
    assert_eq!(after().await, [grown(&["0"], 1)]);
    // The second was given up again, and somebody else has claimed it.
    let again = letter(2, 1, 1_000, 10);
    keep_all(store, std::slice::from_ref(&again)).await;
    assert_eq!(claim(store, &all[1..2]).await, all[1..2]);
    assert_eq!(delete(1, 0).await, Swap::Conflict);
    let released = store.release_dead_letters(&markers[1..2], true).await;
    released.expect("the store can be written");
    assert_eq!(claim(store, &all[1..2]).await, []);
    let read = store.dead_letter(all[1]).await;
    let read = read.expect("the store can be read").map(|it| it.redrives);
    assert_eq!(read, Some(0));
    assert_eq!(delete(2, 0).await, Swap::Done);
    assert_eq!(after().await, [grown(&["0", "2"], 1)]);
    let released = store
        .release_dead_letters(&[again.letter.marker()], true)
        .await;
    released.expect("the store can be written");
    assert_eq!(claim(store, &all[1..2]).await, all[1..2]);
    assert_eq!(ids(store).await, [all[3], all[1]]);
}
