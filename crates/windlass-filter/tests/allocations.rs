//! Evaluation does not allocate once the buffers have grown to the size of the events.

use allocation_counter::measure;
use base64_simd::STANDARD;
use windlass_filter::{Criteria, Event, EventFormat, MatchBuffers};

const N_RECORDS: usize = 1_000;

const PATTERNS: [&str; 9] = [
    r#"{"data":{"status":["paid"]}}"#,
    r#"{"data":{"status":["paid"],"customer":{"tier":["gold"]},"amount":[250]}}"#,
    r#"{"data":{"amount":[{"numeric":[">",100,"<=",2.5e3]}]}}"#,
    r#"{"data":{"note":[{"wildcard":"*\"*-*"},{"equals-ignore-case":"ÄÖ"}]}}"#,
    r#"{"data":{"$or":[{"status":["x"]},{"amount":[{"numeric":[">",100]}]}]}}"#,
    r#"{"data":{"items":{"sku":[{"prefix":"A-9"}],"quantity":[3]}}}"#,
    r#"{"data":{"items":{"sku":[{"exists":true}],"gone":[{"exists":false}],"quantity":[9]}}}"#,
    r#"{"partitionKey":[{"suffix":"7"}],"data":{"address":[{"cidr":"10.0.0.0/8"}]}}"#,
    r#"{"data":{"big":[12345678901234567890,{"anything-but":[1.25e-7]}]}}"#,
];

#[test]
fn matching_a_record_does_not_allocate() {
    let records: Vec<_> = (0..N_RECORDS).map(record).collect();
    for pattern in PATTERNS {
        let criteria = Criteria::compile(EventFormat::Kinesis, &[pattern]).unwrap();
        let mut buffers = MatchBuffers::default();
        let mut n_matches = 0;
        let mut match_all = || {
            for (event, data) in &records {
                let (json, data) = (event.as_bytes(), data.as_bytes());
                n_matches += usize::from(criteria.matches(Event { json, data }, &mut buffers));
            }
        };
        match_all();
        let allocations = measure(match_all);
        assert_eq!(allocations.count_total, 0, "{pattern}");
        assert!(n_matches < 2 * N_RECORDS, "{pattern} matches every record");
    }
}

fn record(number: usize) -> (String, String) {
    let item = |item: usize| format!(r#"{{"sku":"A-{}","quantity":{item}}}"#, number + item);
    let items: Vec<String> = (0..5).map(item).collect();
    let (status, tier) = if number.is_multiple_of(3) {
        ("paid", "gold")
    } else {
        ("open", "none")
    };
    let json = format!(
        r#"{{"status":"{status}","customer":{{"tier":"{tier}"}},"amount":{number},"note":"a\"b-{number}","items":[{}],"address":"10.0.{}.1","big":{number}2345678901234567890}}"#,
        items.join(","),
        number % 256
    );
    let data = STANDARD.encode_to_string(json);
    let event = format!(r#"{{"kinesis":{{"partitionKey":"k{number}","data":"{data}"}}}}"#);
    (event, data)
}
