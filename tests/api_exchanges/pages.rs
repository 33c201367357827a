//! The pages of the status of all mappings.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use windlass_core::mapping::MappingId;
use windlass_engine::ports::UnreadableMapping;

use super::Exchange;

const PATH: &str = "/windlass/v1/mappings";

fn uuids(mappings: &Value) -> Vec<String> {
    let mappings = mappings.as_array().into_iter().flatten();
    let uuids = mappings.filter_map(|it| it["uuid"].as_str());
    uuids.map(str::to_owned).collect()
}

/// The UUIDs of all pages of this size, and how many pages there are.
fn paged(exchange: &Exchange, size: usize) -> (Vec<String>, usize) {
    let (mut seen, mut pages) = (Vec::new(), 0);
    let mut path = format!("{PATH}?max_items={size}");
    loop {
        let (status, page) = exchange.call("GET", &path);
        assert_eq!(status, 200, "{page}");
        seen.extend(uuids(&page["mappings"]));
        pages += 1;
        let Some(marker) = page["next_marker"].as_str() else {
            return (seen, pages);
        };
        path = format!("{PATH}?max_items={size}&marker={marker}");
    }
}

#[test]
fn the_status_of_all_mappings_is_paged_on_request() {
    let exchange = Exchange::new();
    let mut expected = BTreeSet::new();
    for number in 0..5 {
        let body = json!({
            "FunctionName": format!("f{number}"),
            "EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:jobs",
        });
        let path = "/2015-03-31/event-source-mappings";
        let (status, mapping) = exchange.call_with("POST", path, body.to_string().into());
        assert_eq!(status, 202, "{mapping}");
        let uuid = mapping["UUID"].as_str().unwrap();
        for path in [path, PATH] {
            let path = format!("{path}/{}", uuid.to_ascii_uppercase());
            assert_eq!(exchange.call("GET", &path).0, 200, "{path}");
        }
        expected.insert(uuid.to_owned());
    }
    // Without a row that can be read: before, between and after the others.
    for id in [
        "00000000-0000-4000-8000-000000000000",
        "80000000-0000-4000-8000-000000000000",
        "ffffffff-ffff-4fff-bfff-ffffffffffff",
    ] {
        let unreadable = UnreadableMapping {
            source_arn: "arn:aws:sqs:us-east-1:000000000000:jobs".to_owned(),
            function_arn: "arn:aws:lambda:us-east-1:000000000000:function:old".to_owned(),
            reason: "an unknown member".to_owned(),
        };
        let id = MappingId::new(id);
        exchange.board.show_unreadable(&id, Some(unreadable));
        expected.insert(id.to_string());
    }
    let expected: Vec<String> = expected.into_iter().collect();
    let (status, all) = exchange.call("GET", PATH);
    assert_eq!((status, uuids(&all)), (200, expected.clone()));
    for size in 1..=9 {
        let (seen, pages) = paged(&exchange, size);
        assert_eq!(seen, expected, "{size}");
        assert_eq!(pages, expected.len().div_ceil(size), "{size}");
    }
    let (_, rest) = exchange.call("GET", &format!("{PATH}?marker={}", expected[5]));
    assert_eq!(uuids(&rest["mappings"]), expected[6..]);
}

#[test]
fn a_page_that_cannot_be_given_is_refused() {
    let exchange = Exchange::new();
    for (query, field) in [
        ("max_items=0", "max_items"),
        ("max_items=101", "max_items"),
        ("max_items=many", "max_items"),
        ("marker=7", "marker"),
        ("marker=00000000000040008000000000000000", "marker"),
        ("MaxItems=7", "MaxItems"),
    ] {
        let (status, answer) = exchange.call("GET", &format!("{PATH}?{query}"));
        assert_eq!(status, 400, "{query}: {answer}");
        assert_eq!(answer["error"]["field"], field, "{query}: {answer}");
    }
}
