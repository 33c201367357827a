//! Targets against servers with the faults that functions and their servers have.

mod connections;
mod http;
mod lambda;
mod server;

use std::time::Duration;

use bytes::Bytes;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::{Fault, ItemFailures, Outcome, Response};
use windlass_engine::ports::{Invocation, Purpose};

use super::{HttpFunction, HttpTarget};

/// Timeout of functions in tests.
const MINUTE: Duration = Duration::from_secs(60);

fn target(url: &str) -> HttpTarget {
    HttpTarget::new(&HttpFunction::new(url), MINUTE, None, None).unwrap()
}

fn invocation(attempt: u32) -> Invocation {
    Invocation {
        event: Bytes::from_static(b"{\"Records\":[]}").into(),
        purpose: Purpose::Mapping(MappingId::new("14e0db71-5d35-4eb5-b481-8945cf9d10c2")),
        attempt,
        max_item_failures: None,
        returns_state: false,
        origin: None,
    }
}

/// An invocation of three items whose mapping asks which of them failed.
fn invocation_of_items() -> Invocation {
    Invocation {
        max_item_failures: Some(3),
        ..invocation(1)
    }
}

/// What a function returns, and what that means.
fn reported() -> [(&'static [u8], Option<ItemFailures>); 4] {
    [
        (b"", None),
        (b"{\"batchItemFailures\":[]}", None),
        (
            b"{\"batchItemFailures\":[{\"itemIdentifier\":\"1\"},{\"itemIdentifier\":\"3\"}]}",
            Some(ItemFailures::of_ids(["1", "3"])),
        ),
        (b"ok", Some(ItemFailures::Malformed)),
    ]
}

fn outcome_of(failures: Option<ItemFailures>, response: Response) -> Outcome {
    let response = Box::new(response);
    failures.map_or(Outcome::Success, |failures| Outcome::ItemFailures {
        failures,
        response,
    })
}

fn error(status: u16, error: &str) -> Outcome {
    Outcome::function_error(status, error)
}

fn not_invoked(cause: Fault) -> Outcome {
    Outcome::NotInvoked { cause }
}

fn throttled(seconds: Option<u64>) -> Outcome {
    not_invoked(Fault::Throttled {
        retry_after: seconds.map(Duration::from_secs),
    })
}
