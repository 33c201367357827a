//! Requests to HTTP functions, and the outcomes of their responses.

use std::time::Duration;

use bytes::Bytes;
use windlass_core::event::Event;
use windlass_core::ids::KeyHash;
use windlass_core::outcome::{Fault, Outcome, Response};
use windlass_core::record::Record;
use windlass_core::record_page::{RecordMeta, RecordPageBuilder};
use windlass_core::time::Timestamp;
use windlass_engine::ports::{Invocation, Purpose, ShardOrigin, Target};

use super::server::{Act, Received, Server, response};
use super::{
    MINUTE, error, invocation, invocation_of_items, not_invoked, outcome_of, reported, target,
    throttled,
};
use crate::targets::{HttpFunction, HttpTarget, MAX_RESPONSE_BYTES};

const EMULATOR: &str = "/2015-03-31/functions/function/invocations";

/// Invokes a function once per response, and asserts the outcomes.
async fn assert_outcomes(path: &str, responses: &[(Vec<u8>, Outcome)]) {
    for (bytes, expected) in responses {
        let server = Server::start([Act::Respond(bytes.clone())]).await;
        let outcome = target(&server.url(path)).invoke(invocation(1)).await;
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
        assert_eq!(outcome, *expected, "{shown}");
    }
}

/// The rows of the table of functions: which responses are function errors, which mean that the
/// function was not reached, and which are neither.
#[tokio::test]
async fn a_status_determines_whether_a_function_failed_or_was_not_invoked() {
    let plain = |status| response(status, &[], b"secret");
    let after = |status, value: &str| response(status, &[&format!("retry-after: {value}")], b"");
    let kind = "x-amz-function-error: Unhandled";
    let far = "Fri, 31 Dec 9999 23:59:59 GMT";
    let rows = [
        ("200", plain(200), Outcome::Success),
        ("another 2xx", plain(201), Outcome::Success),
        (
            "a 2xx without a body",
            b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            Outcome::Success,
        ),
        (
            "a 2xx whose X-Amz-Function-Error is set",
            response(202, &[kind], b"{}"),
            error(202, "Unhandled"),
        ),
        ("3xx", plain(302), error(302, "HTTP 302")),
        ("4xx", plain(400), error(400, "HTTP 400")),
        ("413", plain(413), error(413, "HTTP 413")),
        ("500", plain(500), error(500, "HTTP 500")),
        ("another 5xx", plain(501), error(501, "HTTP 501")),
        ("504: it may have run", plain(504), error(504, "HTTP 504")),
        ("504 with a pause", after(504, "5"), error(504, "HTTP 504")),
        ("500 with a pause", after(500, "5"), error(500, "HTTP 500")),
        ("429", plain(429), throttled(None)),
        ("502", plain(502), not_invoked(Fault::Transient)),
        ("503", plain(503), not_invoked(Fault::Transient)),
        (
            "503 with X-Amz-Function-Error",
            response(503, &[kind], b""),
            not_invoked(Fault::Transient),
        ),
        (
            "a pause in seconds",
            after(429, "120"),
            throttled(Some(120)),
        ),
        ("a pause after 502", after(502, "5"), throttled(Some(5))),
        ("no pause", after(503, " 0 "), throttled(Some(0))),
        (
            "a date that has passed",
            after(503, "Wed, 21 Oct 2015 07:28:00 GMT"),
            throttled(Some(0)),
        ),
        (
            "no number",
            after(503, "soon"),
            not_invoked(Fault::Transient),
        ),
        ("a negative number", after(429, "-1"), throttled(None)),
    ];
    for (row, bytes, expected) in rows {
        let server = Server::start([Act::Respond(bytes)]).await;
        let outcome = target(&server.url("/")).invoke(invocation(1)).await;
        assert_eq!(outcome, expected, "{row}");
    }
    // The pause of a date is the time until then, which the core limits.
    let server = Server::start([Act::Respond(after(429, far))]).await;
    let outcome = target(&server.url("/")).invoke(invocation(1)).await;
    let Outcome::NotInvoked {
        cause: Fault::Throttled { retry_after },
    } = outcome
    else {
        panic!("{outcome:?}");
    };
    assert!(Some(Duration::from_secs(3_600)) < retry_after);
}

#[tokio::test]
async fn a_function_error_is_reported_without_its_message() {
    let with = |value: &str| response(200, &[&format!("X-Amz-Function-Error: {value}")], b"{}");
    assert_outcomes(
        "/",
        &[
            (with("Unhandled"), error(200, "Unhandled")),
            (with("Handled"), error(200, "Handled")),
            (with("card 4111 1111"), error(200, "Unhandled")),
            (with(""), error(200, "Unhandled")),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_emulator_reports_errors_in_the_body() {
    let failed = br#"{"errorMessage": "secret", "errorType": "ValueError", "stackTrace": []}"#;
    let late = b"Task timed out after 3.00 seconds";
    let prefixed = format!("/team-a{EMULATOR}");
    for path in [
        EMULATOR.to_owned(),
        format!("{EMULATOR}/"),
        format!("{EMULATOR}?a=b"),
        format!("{prefixed}/?a=b"),
        prefixed,
    ] {
        assert_emulator_outcomes(&path, failed, late).await;
    }
    for path in ["/", "/2015-03-31/functions/other/invocations"] {
        let fine = [
            (response(200, &[], failed), Outcome::Success),
            (response(200, &[], late), Outcome::Success),
            (response(502, &[], failed), not_invoked(Fault::Transient)),
        ];
        assert_outcomes(path, &fine).await;
    }
}

async fn assert_emulator_outcomes(path: &str, failed: &[u8], late: &[u8]) {
    assert_outcomes(
        path,
        &[
            (response(200, &[], failed), error(200, "ValueError")),
            (response(502, &[], failed), error(502, "ValueError")),
            (response(502, &[], b""), not_invoked(Fault::Transient)),
            (response(200, &[], late), error(200, "timeout")),
            (response(200, &[], b"null"), Outcome::Success),
            (response(200, &[], b""), Outcome::Success),
            (response(503, &[], failed), not_invoked(Fault::Transient)),
            (response(500, &[], failed), error(500, "HTTP 500")),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_items_that_failed_are_read_from_the_response_if_the_mapping_asks_for_them() {
    let headers = ["x-amzn-requestid: r-1", "x-amz-executed-version: 7"];
    let head = Response {
        status: 200,
        request_id: Some("r-1".into()),
        executed_version: Some("7".into()),
        function_error: None,
    };
    for path in ["/", EMULATOR] {
        for (body, failures) in reported() {
            let answers = [&headers[..], &[]].map(|it| Act::Respond(response(200, it, body)));
            let server = Server::start(answers).await;
            let target = target(&server.url(path));
            let outcome = target.invoke(invocation_of_items()).await;
            assert_eq!(outcome, outcome_of(failures, head.clone()));
            assert_eq!(target.invoke(invocation(1)).await, Outcome::Success);
        }
        let failed = response(500, &[], b"{\"batchItemFailures\":[]}");
        let server = Server::start([Act::Respond(failed)]).await;
        let outcome = target(&server.url(path))
            .invoke(invocation_of_items())
            .await;
        assert_eq!(outcome, error(500, "HTTP 500"));
    }
    let failed = br#"{"errorMessage": "secret", "errorType": "ValueError"}"#;
    let server = Server::start([Act::Respond(response(200, &[], failed))]).await;
    let outcome = target(&server.url(EMULATOR))
        .invoke(invocation_of_items())
        .await;
    assert_eq!(outcome, error(200, "ValueError"));
}

#[tokio::test]
async fn the_size_of_a_response_is_limited() {
    let max = vec![b'x'; MAX_RESPONSE_BYTES];
    let too_large = vec![b'x'; MAX_RESPONSE_BYTES + 1];
    let chunked = [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n600001\r\n".as_slice(),
        &too_large,
        b"\r\n0\r\n\r\n",
    ];
    assert_outcomes(
        "/",
        &[
            (response(200, &[], &max), Outcome::Success),
            (
                response(200, &[], &too_large),
                error(200, "response too large"),
            ),
            (chunked.concat(), error(200, "response too large")),
            (response(500, &[], &too_large), error(500, "HTTP 500")),
            (response(429, &[], &too_large), throttled(None)),
        ],
    )
    .await;
}

async fn request_of(
    function: HttpFunction,
    server: &mut Server,
    event: impl Into<Event>,
) -> Received {
    let target = HttpTarget::new(&function, MINUTE, None, None).unwrap();
    let invocation = Invocation {
        event: event.into(),
        ..invocation(3)
    };
    assert_eq!(target.invoke(invocation).await, Outcome::Success);
    server.received().await
}

#[tokio::test]
async fn a_request_has_the_documented_headers() {
    let mut server = Server::start([]).await;
    let event = Bytes::from(format!("{{\"Records\":[\"{}\"]}}", "é".repeat(100_000)));
    let function = HttpFunction {
        headers: [
            ("X-Team", "orders"),
            ("Content-Type", "application/cloudevents+json"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        ..HttpFunction::new(&server.url("/a/b?c=d%20e#f"))
    };
    let received = request_of(function, &mut server, event.clone()).await;
    assert_eq!(received.line, "POST /a/b?c=d%20e HTTP/1.1");
    assert_eq!(received.body, event);
    let traceparent = &received.headers["traceparent"];
    let parts: Vec<_> = traceparent.split('-').collect();
    assert_eq!(
        parts.iter().map(|part| part.len()).collect::<Vec<_>>(),
        [2, 32, 16, 2]
    );
    let is_lower_hex = |part: &str| {
        part.bytes()
            .all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
    };
    assert!(parts.iter().all(|part| is_lower_hex(part)), "{traceparent}");
    assert!(parts[0] == "00" && parts[1] != "0".repeat(32) && parts[2] != "0".repeat(16));
    let others = [
        ("host", server.address()),
        ("user-agent", "windlass"),
        ("content-type", "application/cloudevents+json"),
        ("content-length", "200016"),
        ("x-team", "orders"),
        ("x-windlass-attempt", "3"),
        ("x-windlass-mapping", "14e0db71-5d35-4eb5-b481-8945cf9d10c2"),
    ];
    for (name, value) in others {
        assert_eq!(received.headers[name], value, "{name}");
    }
    assert_eq!(
        received.headers.len(),
        others.len() + 1,
        "{:?}",
        received.headers
    );
}

#[tokio::test]
async fn a_replay_and_a_redrive_say_so_in_place_of_the_mapping() {
    for (purpose, name, value) in [
        (Purpose::Replay("may".into()), "x-windlass-replay", "may"),
        (Purpose::Redrive("7".into()), "x-windlass-redrive", "7"),
    ] {
        let mut server = Server::start([]).await;
        let invocation = Invocation {
            purpose,
            ..invocation(1)
        };
        let outcome = target(&server.url("/")).invoke(invocation).await;
        assert_eq!(outcome, Outcome::Success);
        let received = server.received().await;
        assert_eq!(received.headers[name], value);
        assert!(!received.headers.contains_key("x-windlass-mapping"));
    }
}

#[tokio::test]
async fn a_batch_of_a_stream_says_which_shard_and_lease_it_comes_from() {
    let mut server = Server::start([]).await;
    let invocation = Invocation {
        origin: Some(ShardOrigin {
            shard: "shardId-000000000001".into(),
            epoch: 7,
            sequence_number: Some("4959".into()),
        }),
        ..invocation(1)
    };
    let outcome = target(&server.url("/")).invoke(invocation).await;
    assert_eq!(outcome, Outcome::Success);
    let received = server.received().await;
    for (name, value) in [
        ("x-windlass-shard", "shardId-000000000001"),
        ("x-windlass-epoch", "7"),
        ("x-windlass-sequence", "4959"),
    ] {
        assert_eq!(received.headers[name], value, "{name}");
    }
}

#[tokio::test]
async fn every_request_has_its_own_trace_and_is_json_by_default() {
    let mut server = Server::start([]).await;
    let mut traces = Vec::new();
    for _ in 0..2 {
        let function = HttpFunction::new(&server.url(""));
        let received = request_of(function, &mut server, Bytes::from_static(b"{}")).await;
        assert_eq!(received.line, "POST / HTTP/1.1");
        assert_eq!(received.headers["content-type"], "application/json");
        assert!(!received.headers.contains_key("x-windlass-signature"));
        traces.push(received.headers["traceparent"].clone());
    }
    assert_ne!(traces[0], traces[1]);
}

/// Key and body of a published example of HMAC-SHA256.
#[tokio::test]
async fn a_secret_signs_the_body() {
    let mut server = Server::start([]).await;
    let function = HttpFunction {
        signing_secret: Some("key".to_owned()),
        ..HttpFunction::new(&server.url("/"))
    };
    let event = Bytes::from_static(b"The quick brown fox jumps over the lazy dog");
    let received = request_of(function, &mut server, event).await;
    assert_eq!(
        received.headers["x-windlass-signature"],
        "sha256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"
    );
}

/// Records of two pages, not all of one of them, each larger than a socket buffer.
fn event_of_several_pieces() -> Event {
    let mut records = Vec::new();
    for page in ["a", "b"] {
        let mut builder = RecordPageBuilder::default();
        for number in ["1", "2", "3"] {
            let meta = RecordMeta {
                sequence_number: number,
                inner: None,
                key: KeyHash(1),
                approximate_arrival: Timestamp::EPOCH,
            };
            let event = format!("\"{number}{}\"", page.repeat(300_000));
            builder.push(&meta, event.as_bytes(), 0..0);
        }
        records.extend(Record::of_page(builder.finish()));
    }
    records.remove(1);
    Event::of_records(&records)
}

#[tokio::test]
async fn an_event_of_several_pieces_arrives_as_one() {
    let mut server = Server::start([]).await;
    let signed = || HttpFunction {
        signing_secret: Some("key".to_owned()),
        ..HttpFunction::new(&server.url("/"))
    };
    let (function, again) = (signed(), signed());
    let event = event_of_several_pieces();
    assert_eq!(event.pieces().len(), 5);
    let received = request_of(function, &mut server, event.clone()).await;
    assert_eq!(received.body, event.to_bytes());
    assert_eq!(
        received.headers["content-length"],
        event.to_bytes().len().to_string()
    );
    let whole = request_of(again, &mut server, event.to_bytes()).await;
    let signature = "x-windlass-signature";
    assert_eq!(received.headers[signature], whole.headers[signature]);
}

#[test]
fn a_function_that_cannot_be_called_is_rejected() {
    let error_of = |function: &HttpFunction| {
        let target = HttpTarget::new(function, MINUTE, None, None);
        target.unwrap_err().to_string()
    };
    for (url, reason) in [
        ("", "http:// or https://"),
        ("127.0.0.1:80", "http:// or https://"),
        ("/path", "http:// or https://"),
        ("ftp://host/", "http:// or https://"),
        ("http://user:word@host/", "user name"),
        ("http://host/a b", "not a URL"),
    ] {
        let error = error_of(&HttpFunction::new(url));
        assert!(error.contains(reason), "{url}: {error}");
        assert!(!error.contains("word"), "{error}");
    }
    for (name, value) in [("bad name", "x"), ("x-name", "line\nbreak"), ("host", "x")] {
        let error = error_of(&HttpFunction {
            headers: [(name.to_owned(), value.to_owned())].into(),
            ..HttpFunction::new("http://host/")
        });
        assert!(error.contains(&format!("header {name}")), "{error}");
        assert!(!error.contains("break"), "{error}");
    }
}
