//! The worlds of redrives: of dead letters, and of the messages of a queue. Two of them run at once,
//! functions fail, jobs are cancelled and the daemon is killed.

mod letters;
mod messages;

use windlass_core::arn::Arn;
use windlass_core::outcome::{Fault, ItemFailures, Outcome, Response};

use super::{Totals, Trace};
use crate::checkers::BrokenInvariant;
use crate::rng::Rng;

/// Runs the world of one seed to its end.
///
/// # Errors
/// An invariant was broken, or the world did not settle.
pub fn run(seed: u64, trace: &mut Trace) -> Result<Totals, BrokenInvariant> {
    if seed.is_multiple_of(2) {
        letters::run(seed, trace)
    } else {
        messages::run(seed, trace)
    }
}

fn function(number: u64) -> Arn {
    let text = format!("arn:aws:lambda:us-east-1:123456789012:function:f{number}");
    Arn::parse(&text).expect("it is the ARN of a function")
}

/// What a function does with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behavior {
    Succeeds,
    Fails,
    /// It names the first item as failed.
    NamesItems,
    /// Its answer cannot be read for failed items.
    Garbles,
    IsThrottled,
    IsNotReached,
}

impl Behavior {
    fn draw(rng: &mut Rng, trouble: u64) -> Self {
        if rng.per_mille(1_000 - trouble) {
            return Self::Succeeds;
        }
        rng.pick(&[
            Self::Fails,
            Self::Fails,
            Self::NamesItems,
            Self::NamesItems,
            Self::Garbles,
            Self::IsThrottled,
            Self::IsThrottled,
            Self::IsThrottled,
            Self::IsNotReached,
        ])
    }

    fn outcome(self, first: &str, rng: &mut Rng) -> Outcome {
        let items = |failures| Outcome::ItemFailures {
            failures,
            response: Box::new(Response::default()),
        };
        match self {
            Self::Succeeds => Outcome::Success,
            Self::Fails => Outcome::function_error(200, "Unhandled"),
            Self::NamesItems => items(ItemFailures::of_ids([first])),
            Self::Garbles => items(ItemFailures::Malformed),
            Self::IsThrottled => {
                let retry_after = rng.per_mille(300).then(|| rng.millis(0, 70_000));
                let cause = Fault::Throttled { retry_after };
                Outcome::NotInvoked { cause }
            }
            Self::IsNotReached => Outcome::NotInvoked {
                cause: rng.pick(&[Fault::Transient, Fault::Gone, Fault::Denied]),
            },
        }
    }
}
