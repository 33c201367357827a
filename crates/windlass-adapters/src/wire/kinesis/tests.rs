//! Pages of GetRecords and of subscriptions, and what they leave out.

use windlass_core::event::Event;
use windlass_core::record::Record;

use super::*;
use crate::wire::aggregate::tests::aggregate;
use crate::wire::streaming_parser::parse_pieces;

const READ_AT: Timestamp = Timestamp::from_millis(1_500_000_000_000);

fn parse(body: &[u8], max_bytes: usize) -> Result<GetRecordsResponse, WireError> {
    let (template, estimate) = (template(), PageEstimate::new(1));
    let parser = GetRecordsParser::new(&template, &estimate, body.len(), max_bytes, READ_AT);
    parse_pieces(&[body], parser)
}

fn template() -> EventTemplate {
    let arn = "arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream";
    let role = "arn:aws:iam::123456789012:role/lambda-role";
    EventTemplate::new("shardId-000000000006", arn, "us-east-2", role)
}

#[test]
fn a_record_is_rendered_as_lambda_does() {
    let body = br#"{"MillisBehindLatest":1500,"NextShardIterator":"AAA=","Records":[{
        "ApproximateArrivalTimestamp":1.545084650987E9,"Data":"SGVsbG8=","PartitionKey":"1",
        "SequenceNumber":"4959033827149025660855969","EncryptionType":"NONE"}]}"#;
    let response = parse(body, usize::MAX).unwrap();
    assert_eq!(response.next_iterator.as_deref(), Some("AAA="));
    assert_eq!(response.behind_latest, Some(Duration::from_millis(1500)));
    let record = &response.records[0];
    assert_eq!(record.sequence_number(), "4959033827149025660855969");
    assert_eq!(record.data(), b"SGVsbG8=");
    assert_eq!(
        std::str::from_utf8(record.event()).unwrap(),
        concat!(
            r#"{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"1","#,
            r#""sequenceNumber":"4959033827149025660855969","data":"SGVsbG8=","#,
            r#""approximateArrivalTimestamp":1545084650.987},"#,
            r#""eventSource":"aws:kinesis","eventVersion":"1.0","#,
            r#""eventID":"shardId-000000000006:4959033827149025660855969","#,
            r#""eventName":"aws:kinesis:record","#,
            r#""invokeIdentityArn":"arn:aws:iam::123456789012:role/lambda-role","#,
            r#""awsRegion":"us-east-2","eventSourceARN":"#,
            r#""arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream"}"#
        )
    );
}

#[test]
fn a_record_without_a_time_has_that_of_the_record_before_it_or_of_the_read() {
    let record = |number: u8, time: &str| {
        format!(r#"{{"SequenceNumber":"{number}","Data":"","PartitionKey":"k"{time}}}"#)
    };
    let records = [
        record(1, ""),
        record(2, r#","ApproximateArrivalTimestamp":7"#),
        record(3, r#","ApproximateArrivalTimestamp":null"#),
        record(4, ""),
    ];
    let body = format!(
        r#"{{"Records":[{}],"NextShardIterator":"n"}}"#,
        records.join(",")
    );
    let records = parse(body.as_bytes(), usize::MAX).unwrap().records;
    let times: Vec<_> = records.iter().map(|it| it.approximate_arrival()).collect();
    let before = Timestamp::from_millis(7_000);
    assert_eq!(times, [READ_AT, before, before, before]);
    let undated: Vec<_> = records.iter().map(Record::is_undated).collect();
    assert_eq!(undated, [true, false, true, true]);
    let event = std::str::from_utf8(records[3].event()).unwrap();
    assert!(
        event.contains(r#""approximateArrivalTimestamp":7.0}"#),
        "{event}"
    );
}

#[test]
fn a_record_that_cannot_be_rendered_is_kept_as_it_is() {
    let record = |number: u8, data: &[u8]| {
        let (start, end) = (format!(r#"{{"SequenceNumber":"{number}","#), b"}".to_vec());
        [start.into_bytes(), data.to_vec(), end].concat()
    };
    for (data, number, reason) in [
        (&b"\"Data\":\"!\""[..], Some("2"), "expected base64"),
        (
            b"\"Data\":\"\",\"PartitionKey\":\"\xff\"",
            Some("2"),
            "string with",
        ),
        (
            b"\"Data\":\"\",\"PartitionKey\":\"\\ud800\"",
            Some("2"),
            "unpaired",
        ),
        (
            b"\"Data\":\"\",\"PartitionKey\":1",
            Some("2"),
            "expected a string",
        ),
        (
            b"\"Data\":\"\",\"ApproximateArrivalTimestamp\":-1",
            Some("2"),
            "time before",
        ),
        (b"\"PartitionKey\":\"k\"", Some("2"), "record without Data"),
        (
            b"\"Data\":\"\",\"SequenceNumber\":\"\\u0000\"",
            None,
            "record without a valid",
        ),
        // Its end cannot be found.
        (b"\"Data\":\"\"!", None, "expected a comma"),
    ] {
        let (good, bad) = (record(1, b"\"Data\":\"\""), record(2, data));
        let records = [&good[..], &bad, &good].join(&b","[..]);
        let body = [
            b"{\"Records\":[",
            &records[..],
            b"],\"NextShardIterator\":\"n\"}",
        ]
        .concat();
        let response = parse(&body, usize::MAX).unwrap();
        let found = if let Some(number) = number {
            assert_eq!(response.records.len(), 3, "{reason}");
            assert!(!response.is_truncated, "{reason}");
            let unreadable = &response.records[1];
            assert_eq!(unreadable.sequence_number(), number);
            assert_eq!(unreadable.event(), bad);
            assert_eq!(response.records[2].unreadable(), None);
            unreadable.unreadable().unwrap()
        } else {
            // The page ends before it.
            assert_eq!(response.records.len(), 1, "{reason}");
            assert!(response.is_truncated, "{reason}");
            response.unreadable.unwrap().reason
        };
        assert!(found.starts_with(reason), "{found}");
        // Incomplete, it is a failed read.
        if reason != "expected a comma" {
            let end = body.len() - records.len() / 2;
            assert!(parse(&body[..end], usize::MAX).is_err(), "{reason}");
        }
    }
}

#[test]
fn a_page_is_truncated_where_there_is_no_more_room() {
    let record = r#"{"ApproximateArrivalTimestamp":1,"Data":"","SequenceNumber":"1"}"#;
    let body = format!(r#"{{"Records":[{record},{record},{record}],"NextShardIterator":"n"}}"#);
    let body = body.as_bytes();
    let length = parse(body, usize::MAX).unwrap().records[0].event_len();
    for (max_bytes, expected) in [
        (1, (1, true)),
        (length + 1, (1, true)),
        (length + 2, (2, true)),
        (3 * length, (3, false)),
    ] {
        let response = parse(body, max_bytes).unwrap();
        assert_eq!((response.records.len(), response.is_truncated), expected);
    }
}

fn parse_apart(body: &str, position: &Position, max_bytes: usize) -> GetRecordsResponse {
    let (template, estimate) = (template(), PageEstimate::new(1));
    let parser = GetRecordsParser::new(&template, &estimate, body.len(), max_bytes, READ_AT);
    parse_pieces(&[body.as_bytes()], parser.taking_apart(position, None)).unwrap()
}

/// The pages of a body for which there is room of `max_bytes` at a time, each without what the page
/// before it has left out.
fn parse_rest_by_rest(body: &str, piece: usize, max_bytes: usize) -> Vec<GetRecordsResponse> {
    let (template, estimate) = (template(), PageEstimate::new(1));
    let mut pages: Vec<GetRecordsResponse> = Vec::new();
    let mut rest = Some(Bytes::copy_from_slice(body.as_bytes()));
    while let Some(text) = rest {
        let last = pages.last().and_then(|page| page.records.last());
        let position = last.map_or(Position::TrimHorizon, Position::after);
        let pieces: Vec<_> = text.chunks(piece).collect();
        let length = text.len();
        let parser = GetRecordsParser::new(&template, &estimate, length, max_bytes, READ_AT);
        let parser = parser.taking_apart(&position, None).keeping_rest(length);
        let mut page = parse_pieces(&pieces, parser).unwrap();
        rest = page.rest.take();
        assert_eq!(rest.is_some(), page.is_truncated);
        assert!(rest.as_ref().is_none_or(|rest| rest.len() <= body.len()));
        pages.push(page);
    }
    pages
}

fn written(number: u8, key: &str, data: &str, time: &str) -> String {
    let key = serde_json::Value::from(key);
    format!(r#"{{{time}"PartitionKey":{key},"SequenceNumber":"{number}","Data":"{data}"}}"#)
}

fn body(records: &[String]) -> String {
    let records = records.join(",");
    format!(r#"{{"Records":[{records}],"NextShardIterator":"n"}}"#)
}

/// Records 6, 7, which is an aggregate of three, and 8; and the same without an aggregate.
fn with_and_without_aggregate(time: &str) -> (String, String) {
    let user_records = [("a", "one"), ("\"\u{1}ü", ""), ("a", "three")];
    let inner = user_records.map(|(key, data)| {
        (
            key.to_owned(),
            Some("7".to_owned()),
            data.as_bytes().to_vec(),
        )
    });
    let [first, last] = [6, 8].map(|number| written(number, "k", "SGVsbG8=", time));
    let plain =
        user_records.map(|(key, data)| written(7, key, &STANDARD.encode_to_string(data), time));
    // Servers may escape slashes.
    let aggregate = aggregate(&inner).replace('/', "\\/");
    let whole = written(7, "a", &aggregate, time);
    let apart = [
        std::slice::from_ref(&first),
        &plain,
        std::slice::from_ref(&last),
    ]
    .concat();
    (body(&[first, whole, last]), body(&apart))
}

#[test]
fn an_aggregate_is_taken_apart_into_records_with_its_number_and_time() {
    for time in [r#""ApproximateArrivalTimestamp":7.5,"#, ""] {
        let (whole, apart) = with_and_without_aggregate(time);
        let taken = parse_apart(&whole, &Position::TrimHorizon, usize::MAX).records;
        let plain = parse(apart.as_bytes(), usize::MAX).unwrap().records;
        assert_eq!(taken.len(), 5);
        for (taken, plain) in taken.iter().zip(&plain) {
            assert_eq!(taken.event(), plain.event());
            assert_eq!((taken.data(), taken.key()), (plain.data(), plain.key()));
            assert_eq!(taken.approximate_arrival(), plain.approximate_arrival());
            assert_eq!(taken.is_undated(), plain.is_undated());
        }
        let inner = taken
            .iter()
            .map(|it| it.inner().map(|it| (it.index, it.is_last)));
        let expected = [
            None,
            Some((0, false)),
            Some((1, false)),
            Some((2, true)),
            None,
        ];
        assert_eq!(inner.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn without_enhanced_fan_out_an_aggregate_is_delivered_as_it_is() {
    let (whole, _) = with_and_without_aggregate("");
    let records = parse(whole.as_bytes(), usize::MAX).unwrap().records;
    assert_eq!(records.len(), 3);
    assert!(may_be_aggregate(records[1].data()));
    assert_eq!(records[1].inner(), None);
}

#[test]
fn a_damaged_aggregate_is_delivered_as_it_is() {
    let (whole, _) = with_and_without_aggregate("");
    let (start, end) = whole.split_once("84maw").unwrap();
    for damaged in [
        format!("{start}84max{end}"),
        format!("{start}84mawg=={}", &end[end.find('"').unwrap()..]),
    ] {
        let taken = parse_apart(&damaged, &Position::TrimHorizon, usize::MAX).records;
        assert_eq!(
            taken,
            parse(damaged.as_bytes(), usize::MAX).unwrap().records
        );
    }
}

#[test]
fn a_page_that_ends_within_an_aggregate_is_continued_there() {
    let (whole, _) = with_and_without_aggregate("");
    let all = parse_apart(&whole, &Position::TrimHorizon, usize::MAX).records;
    for (read, next) in [(0, 2), (1, 3)] {
        let position = Position::Within("7".into(), read);
        let page = parse_apart(&whole, &position, usize::MAX).records;
        assert_eq!(page[0], all[0]);
        assert_eq!(page[1..], all[next..]);
    }
    let after = Position::After("7".into());
    let page = parse_apart(&whole, &after, usize::MAX).records;
    assert_eq!(page[1].inner(), None, "it proves the position");
    let length = all[..2].iter().map(Record::event_len).sum::<usize>() + 1;
    let page = parse_apart(&whole, &Position::TrimHorizon, length);
    assert!(page.is_truncated);
    assert_eq!(page.records, all[..2]);
    assert_eq!(
        Position::after(&page.records[1]),
        Position::Within("7".into(), 0)
    );
}

#[test]
fn what_a_page_leaves_out_is_the_next_page() {
    let (whole, _) = with_and_without_aggregate("");
    let all = parse_apart(&whole, &Position::TrimHorizon, usize::MAX).records;
    let length = all.iter().map(Record::event_len).sum::<usize>() + all.len();
    for piece in [1, 7, whole.len()] {
        for max_bytes in (1..length).step_by(61).chain([length]) {
            let pages = parse_rest_by_rest(&whole, piece, max_bytes);
            assert!(1 < pages.len() || 1 < max_bytes);
            assert!(pages.len() == 1 || max_bytes < length);
            assert_eq!(pages[0].next_iterator.as_deref(), Some("n"));
            let records = pages.into_iter().flat_map(|page| page.records);
            assert_eq!(records.collect::<Vec<_>>(), all);
        }
    }
}

#[test]
fn what_is_left_out_after_a_record_without_a_number_or_has_no_end_is_not_kept() {
    let good = written(6, "k", "", "");
    let unreadable = written(7, "k", "!", "");
    let without_number = good.replace("\"6\"", "6");
    let without_end = good.replace("}", "!}");
    let (template, estimate) = (template(), PageEstimate::new(1));
    for (records, is_kept) in [
        ([&good, &good, &good], true),
        ([&good, &good, &unreadable], true),
        ([&good, &unreadable, &good], true),
        ([&unreadable, &good, &good], true),
        ([&without_number, &good, &good], false),
        ([&good, &good, &without_end], false),
    ] {
        let body = body(&records.map(String::clone));
        let parser = GetRecordsParser::new(&template, &estimate, body.len(), 1, READ_AT);
        let page = parse_pieces(&[body.as_bytes()], parser.keeping_rest(body.len())).unwrap();
        assert!(page.is_truncated);
        assert_eq!(page.rest.is_some(), is_kept, "{body}");
    }
}

#[test]
fn records_of_an_aggregate_whose_keys_belong_to_other_shards_are_like_the_others() {
    let (whole, _) = with_and_without_aggregate("");
    let expected = parse_apart(&whole, &Position::TrimHorizon, usize::MAX).records;
    let (template, estimate) = (template(), PageEstimate::new(1));
    // The explicit hash key of the inner records is 7.
    for (hash_keys, is_outside) in [
        (None, false),
        (Some(0..=7), false),
        (Some(7..=u128::MAX), false),
        (Some(0..=6), true),
        (Some(8..=u128::MAX), true),
    ] {
        let parser = GetRecordsParser::new(&template, &estimate, 1, usize::MAX, READ_AT);
        let parser = parser.taking_apart(&Position::TrimHorizon, hash_keys);
        let records = parse_pieces(&[whole.as_bytes()], parser).unwrap().records;
        let outside = |record: &Record| record.inner().map(|it| it.is_outside_hash_key_range);
        let found: Vec<_> = records.iter().map(outside).collect();
        let inner = Some(is_outside);
        assert_eq!(found, [None, inner, inner, inner, None]);
        for (record, expected) in records.iter().zip(&expected) {
            assert_eq!(record.event(), expected.event());
        }
    }
}

#[test]
fn an_empty_response_is_not_the_end_of_a_shard() {
    let parse = |body: &str| parse(body.as_bytes(), usize::MAX);
    let end = parse(r#"{"Records":[],"ChildShards":[{"ShardId":"s"}]}"#).unwrap();
    assert_eq!((end.next_iterator, end.has_children), (None, true));
    let no_children = parse(r#"{"Records":[],"ChildShards":[]}"#).unwrap();
    assert!(!no_children.has_children);
    for body in ["{}", "", r#"{"Records":[{}"#] {
        assert!(parse(body).is_err(), "{body}");
    }
}

#[test]
fn the_events_of_a_lane_are_sent_in_few_pieces_and_the_records_keep_their_order() {
    const LANES: usize = 10;
    let data = STANDARD.encode_to_string([7; 1_000]);
    let records: Vec<String> = (0..1_000)
        .map(|number| {
            format!(r#"{{"Data":"{data}","PartitionKey":"{number}","SequenceNumber":"{number}"}}"#)
        })
        .collect();
    let body = body(&records);
    let [one, ten] = [1, LANES].map(|n_lanes| {
        let (template, estimate) = (template(), PageEstimate::new(n_lanes));
        let parser = GetRecordsParser::new(&template, &estimate, body.len(), usize::MAX, READ_AT);
        parse_pieces(&[body.as_bytes()], parser).unwrap().records
    });
    assert_eq!(one, ten);
    for lane in 0..LANES {
        let of_lane = |records: &[Record]| -> Vec<Record> {
            let records = records.iter().filter(|it| it.key().lane(LANES) == lane);
            records.cloned().collect()
        };
        let [of_one, of_ten] = [&one, &ten].map(|records| Event::of_records(&of_lane(records)));
        assert_eq!(of_one.to_bytes(), of_ten.to_bytes());
        assert!((3..=12).contains(&of_ten.pieces().len()), "{of_ten:?}");
    }
}
