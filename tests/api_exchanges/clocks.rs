//! Times of mappings, by the daemon's clock and by those of sources.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use windlass_admin::{ApplyParts, ConfigMapping, MappingProblems, PendingMappings};
use windlass_core::mapping::MappingRow;
use windlass_engine::clock::Clock;
use windlass_engine::ports::MappingStore as _;
use windlass_engine::supervisor::Wakeup;
use windlass_testkit::fakes::FakeStore;

use super::{Exchange, FakeResources, NOON, home};

pub(crate) const STREAM: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";
const TABLE: &str = "arn:aws:dynamodb:us-east-1:000000000000:table/orders/stream/2027";

/// A daemon that started while its wall time was wrong by `error` milliseconds, corrected since.
fn corrected_clock(error: i64) -> Clock {
    let clock = Clock::starting_at(NOON.shifted(error));
    clock.step_wall(-error);
    clock
}

#[test]
fn times_are_those_of_the_corrected_wall_clock() {
    let mut exchange = Exchange::with(corrected_clock(-3_600_000), FakeResources::default());
    let start = NOON.as_millis() / 1000 - 600;
    let members =
        format!(r#""StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": {start}"#);
    let row = exchange.create(STREAM, &members);
    assert!(NOON <= row.last_modified, "{:?}", row.last_modified);
}

#[test]
fn latest_is_measured_by_the_clock_of_the_source() {
    for source in [STREAM, TABLE] {
        for offset in [-600_000, 0, 8_000] {
            let answered = Some(NOON.shifted(offset));
            let resources = FakeResources { answered };
            let mut exchange = Exchange::with(corrected_clock(600_000), resources);
            let row = exchange.create(source, r#""StartingPosition": "LATEST""#);
            assert_eq!(row.created, NOON.shifted(offset - 1_000), "{source}");
        }
        let mut exchange = Exchange::with(corrected_clock(600_000), FakeResources::default());
        let row = exchange.create(source, r#""StartingPosition": "LATEST""#);
        let expected = row.last_modified.shifted(-60_000);
        assert_eq!(row.created, expected, "{source} has no clock");
    }
}

#[test]
fn a_replay_until_now_ends_by_the_clock_of_the_source() {
    let body =
        format!(r#"{{"name": "r", "event_source_arn": "{STREAM}", "function_name": "hello"}}"#);
    for (answered, end) in [(Some(NOON.shifted(8_000)), 9_000), (Some(NOON), 1_000)] {
        let resources = FakeResources { answered };
        let mut exchange = Exchange::with(corrected_clock(600_000), resources);
        let (status, replay) = exchange.post("/windlass/v1/replays", body.clone());
        assert_eq!(status, 201, "{replay}");
        let end = NOON.shifted(end).to_rfc3339_millis();
        assert_eq!(replay["to"]["timestamp"], json!(end), "{replay}");
    }
}

#[test]
fn configured_mappings_start_by_the_clock_of_the_source() {
    let runtime = Runtime::new().unwrap();
    let mapping = |answered, store: &Arc<FakeStore>| {
        let members = json!({
            "EventSourceArn": TABLE, "FunctionName": "hello", "StartingPosition": "LATEST",
        });
        let members = members.as_object().unwrap();
        let parsed = ConfigMapping::parse("here", members, &home(), NOON).unwrap();
        let parts = ApplyParts {
            store: Arc::clone(store) as _,
            lookup: Arc::new(FakeResources { answered }),
            problems: MappingProblems::default(),
            wakeup: Wakeup::default(),
            clock: corrected_clock(600_000),
            prune: false,
        };
        runtime.block_on(async {
            PendingMappings::apply(vec![parsed], parts).await.unwrap();
            store.mappings().await.unwrap().remove(0)
        })
    };
    let store = Arc::default();
    let row = mapping(Some(NOON.shifted(-8_000)), &store);
    assert_eq!(row.created, NOON.shifted(-9_000));
    let again = mapping(Some(NOON.shifted(500_000)), &store);
    assert_eq!(again, row, "a mapping that exists keeps its starting time");
    let row = mapping(None, &Arc::default());
    assert!(NOON.shifted(-60_000) <= row.created && row.created < NOON);
}

impl Exchange {
    /// Creates a mapping, and returns its row.
    fn create(&mut self, source: &str, members: &str) -> MappingRow {
        let body =
            format!(r#"{{"FunctionName": "hello", "EventSourceArn": "{source}", {members}}}"#);
        let (status, mapping) = self.post("/2015-03-31/event-source-mappings", body);
        assert_eq!(status, 202, "{mapping}");
        let rows = self.runtime.block_on(self.store.mappings());
        rows.expect("the store works").remove(0)
    }

    fn post(&mut self, path: &str, body: String) -> (StatusCode, Value) {
        let url = format!("http://{}{path}", self.server.address());
        let request = Request::post(url).body(Full::new(Bytes::from(body)));
        self.runtime.block_on(async {
            let request = request.expect("the request is valid");
            let response = self.client.request(request).await;
            let response = response.expect("the server responds");
            let status = response.status();
            let body = response.into_body().collect().await;
            let body = body.expect("the body is complete").to_bytes();
            let body = serde_json::from_slice(&body);
            (status, body.expect("the body is JSON"))
        })
    }
}
