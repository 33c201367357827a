//! Counts refused requests, and limits how many each address gets an answer to.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Refusals of one address in a second that say why.
const MAX_PER_SECOND: u32 = 10;

/// Addresses whose refusals are counted apart; all further ones are counted as one.
const MAX_ADDRESSES: usize = 1_024;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Refusals {
    total: AtomicU64,
    windows: Mutex<HashMap<Option<IpAddr>, Window>>,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    refused: u32,
}

impl Refusals {
    pub(super) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Counts a refusal; `false` if its address has had too many of them.
    pub(super) fn count(&self, address: Option<IpAddr>) -> bool {
        self.total.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut address = address.map(network);
        if MAX_ADDRESSES <= windows.len() && !windows.contains_key(&address) {
            windows.retain(|_, window| now < window.since + SECOND);
            if MAX_ADDRESSES <= windows.len() {
                address = None;
            }
        }
        let window = windows.entry(address).or_insert(Window {
            since: now,
            refused: 0,
        });
        if window.since + SECOND <= now {
            *window = Window {
                since: now,
                refused: 0,
            };
        }
        window.refused = window.refused.saturating_add(1);
        window.refused <= MAX_PER_SECOND
    }
}

/// One caller of IPv6 has a network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let bits = address.to_bits() >> 64 << 64;
            IpAddr::V6(bits.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_ten_refusals_a_second() {
        let refusals = Refusals::default();
        let one = Some(address("10.0.0.1"));
        for _ in 0..10 {
            assert!(refusals.count(one));
        }
        assert!(!refusals.count(one));
        assert!(refusals.count(Some(address("10.0.0.2"))), "another address");
        tokio::time::advance(SECOND).await;
        assert!(refusals.count(one));
        assert_eq!(refusals.total(), 13);
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_bounded_and_those_of_one_network_are_one() {
        let refusals = Refusals::default();
        for number in 0..10 {
            assert!(refusals.count(Some(address(&format!("2001:db8::{number:x}")))));
        }
        assert!(!refusals.count(Some(address("2001:db8::ffff"))));
        for number in 0..2_000_u32 {
            refusals.count(Some(IpAddr::V4(number.into())));
        }
        assert_eq!(refusals.windows.lock().unwrap().len(), MAX_ADDRESSES + 1);
    }
}
