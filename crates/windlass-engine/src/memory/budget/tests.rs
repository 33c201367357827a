//! Reservations add up, and no mapping can take the whole budget.

use futures::FutureExt as _;

use super::*;

const MIB: usize = 1024 * 1024;

fn budget() -> Budget {
    Budget::new(512 * MIB)
}

fn account(budget: &Budget, number: usize) -> Account {
    budget.account(&MappingId::new(&format!("m{number:04}")))
}

/// Takes pieces as long as it can, like a mapping whose function hangs.
fn fill(account: &Account, piece: usize) -> Reservation {
    let mut all = account.empty();
    while let Some(more) = account.try_reserve(piece) {
        all.merge(more);
    }
    all
}

#[test]
fn what_is_released_can_be_reserved_again() {
    let budget = Budget::new(1_600);
    let account = account(&budget, 0);
    let mut first = account.try_reserve(80).unwrap();
    assert_eq!(budget.used(), 80);
    first.set(30);
    first.merge(account.try_reserve(70).unwrap());
    assert_eq!(budget.used(), 100);
    first.shrink_to(1_000);
    assert_eq!(budget.used(), 100);
    drop(first);
    assert_eq!(budget.used(), 0);
    assert!(budget.lock().is_empty());
}

#[test]
fn a_part_of_a_reservation_is_released_by_itself() {
    let budget = Budget::new(1_600);
    let mut whole = account(&budget, 0).try_reserve(100).unwrap();
    let part = whole.split(30);
    assert_eq!(
        (whole.amount(), part.amount(), budget.used()),
        (70, 30, 100)
    );
    drop(part);
    assert_eq!(budget.used(), 70);
    // What is in use is counted, whether or not it was reserved.
    let part = whole.split(90);
    assert_eq!((whole.amount(), part.amount(), budget.used()), (0, 90, 90));
    drop(whole);
    drop(part);
    assert_eq!(budget.used(), 0);
    assert!(budget.lock().is_empty());
}

#[test]
fn a_reservation_can_grow_beyond_the_budget() {
    let budget = Budget::new(1_600);
    let mut reservation = account(&budget, 0).try_reserve(100).unwrap();
    reservation.set(2_000);
    assert_eq!(budget.used(), 2_000);
    assert!(account(&budget, 1).try_reserve(1).is_none());
    reservation.set(0);
    assert!(account(&budget, 1).try_reserve(1).is_some());
}

#[test]
fn a_reservation_is_at_most_a_share() {
    let budget = Budget::new(1_600);
    let reservation = account(&budget, 0).try_reserve(1_000_000).unwrap();
    assert_eq!((budget.used(), budget.total()), (100, 1_600));
    drop(reservation);
}

#[test]
fn each_mapping_that_hangs_leaves_half_of_the_common_pool() {
    let budget = budget();
    let held: Vec<_> = (0..3)
        .map(|number| fill(&account(&budget, number), MIB))
        .collect();
    let held: Vec<_> = held.iter().map(|it| it.amount / MIB).collect();
    assert_eq!(held, [192, 96, 48]);
}

#[test]
fn a_late_mapping_gets_its_share() {
    let budget = budget();
    let hanging: Vec<_> = (0..7)
        .map(|number| fill(&account(&budget, number), 32 * MIB))
        .collect();
    let late = account(&budget, 7).try_reserve(32 * MIB).unwrap();
    assert!(late.is_scarce() && !hanging[0].is_scarce());
    assert_eq!(late.amount, 32 * MIB);
}

#[test]
fn a_thousand_mappings_get_memory_for_a_batch_each() {
    let budget = budget();
    let _hanging: Vec<_> = (0..4)
        .map(|number| fill(&account(&budget, number), 32 * MIB))
        .collect();
    let mut held = Vec::new();
    for number in 4..1_000 {
        let mut batch = account(&budget, number).try_reserve(8 * MIB).unwrap();
        batch.set(MIB / 8);
        held.push(batch);
    }
    assert!(budget.used() <= budget.total());
}

#[test]
fn the_mapping_that_holds_least_is_served_first() {
    let budget = Budget::new(1_600);
    let accounts = [0, 1, 2].map(|number| account(&budget, number));
    let _held = [80, 50].map(|amount| accounts[amount / 80].try_reserve(amount).unwrap());
    let mut full = account(&budget, 9).empty();
    full.set(1_600 - 130);
    let mut waiting: Vec<_> = accounts.iter().map(|it| it.wait(10)).collect();
    let (mut order, mut served) = (Vec::new(), Vec::new());
    for free in [10, 20, 30] {
        // The common pool is three quarters.
        full.set(1_200 - 130 - free);
        for (number, wait) in waiting.iter_mut().enumerate() {
            if let Ok(reservation) = wait.granted.try_recv() {
                order.push(number);
                served.push(reservation);
            }
        }
    }
    // The first holds 50, the second 80.
    assert_eq!(order, [2, 0, 1]);
}

#[test]
fn a_cancelled_waiter_gets_nothing() {
    let budget = Budget::new(1_600);
    let mut full = account(&budget, 0).try_reserve(1).unwrap();
    full.set(1_600);
    let (impatient, patient) = (account(&budget, 1), account(&budget, 2));
    let mut first = Box::pin(impatient.reserve(100));
    let mut second = Box::pin(patient.reserve(100));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    drop(first);
    full.set(0);
    let second = second.now_or_never().expect("it is available");
    assert_eq!(budget.used(), second.amount);
}

#[test]
fn a_grant_that_is_never_received_is_released() {
    let budget = Budget::new(1_600);
    let wait = account(&budget, 1).wait(100);
    assert_eq!(budget.used(), 100);
    drop(wait);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_small_request_does_not_wait_for_a_large_one_that_cannot_be_served() {
    let budget = budget();
    let mut rest = account(&budget, 20).empty();
    rest.set(budget.total() - budget.used() - MIB);
    let large = account(&budget, 21);
    let mut large = Box::pin(large.reserve(32 * MIB));
    assert!(large.as_mut().now_or_never().is_none());
    let small = account(&budget, 22).reserve(MIB / 8).now_or_never();
    assert!(small.expect("it fits").is_scarce());
}

#[test]
fn in_any_order_amounts_add_up_and_no_waiter_is_stuck() {
    for seed in 0..200 {
        let mut random = windlass_testkit::rng::Rng::new(seed);
        let budget = Budget::new(10_000);
        let (mut held, mut waiting) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            let number = random.size(0, 5);
            let amount = random.size(0, 900);
            match random.between(0, 3) {
                0 => held.extend(account(&budget, number).try_reserve(amount)),
                1 => waiting.push(account(&budget, number).wait(amount)),
                2 if number < held.len() => drop(held.swap_remove(number)),
                _ if number < waiting.len() => drop(waiting.swap_remove(number)),
                _ => {}
            }
            waiting.retain_mut(|wait| {
                let granted = wait.granted.try_recv().ok();
                let waits = granted.is_none();
                held.extend(granted);
                waits
            });
            let sum: usize = held.iter().map(|it| it.amount).sum();
            assert_eq!(budget.used(), sum);
            assert!(sum <= budget.total());
            let state = budget.lock();
            if let Some(stuck) = state.next(None) {
                let (held, amount) = (stuck.held, stuck.amount);
                let available = budget.0.availability(state.used, held, amount);
                assert_eq!(available, Availability::None, "the first waiter is stuck");
            }
        }
        drop((held, waiting));
        assert_eq!(budget.used(), 0);
        assert!(budget.lock().is_empty());
    }
}
