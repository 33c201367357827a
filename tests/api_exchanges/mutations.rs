//! Mutated requests: whatever a caller makes of a valid request, the answer is one of the model, and the
//! server continues.
//!
//! The valid ones are those of the golden exchanges. A mutation replaces, removes, renames, nests or
//! doubles a member of the body, damages its bytes, or changes the method, the path, the query, a header
//! or the signature. A round is reproduced by its number alone.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use goldenscript::{Command, Context, Runner};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::http::response::Parts;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Map, Value, json};
use windlass_testkit::rng::Rng;
use windlass_tests::signature::{Signature, keys};

use super::{Exchange, document, server};

const ROUNDS: u64 = 2_500;

/// From this round on, callers need a key.
const WITH_KEYS: u64 = 1_800;

/// Of one request.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Names of errors: those of Lambda's model, and AWS's common ones.
const ERRORS: [&str; 17] = [
    "AccessDeniedException",
    "IncompleteSignatureException",
    "InvalidParameterValueException",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "RequestTimeoutException",
    "RequestTooLargeException",
    "ResourceConflictException",
    "ResourceInUseException",
    "ResourceNotFoundException",
    "SerializationException",
    "ServiceException",
    "ServiceUnavailableException",
    "TooManyRequestsException",
    "UnknownOperationException",
    "UnrecognizedClientException",
    "ValidationException",
];

/// Members of a mapping that the API shows for some source, and windlass's own.
const SHOWN_MEMBERS: [&str; 25] = [
    "BatchSize",
    "BisectBatchOnFunctionError",
    "DestinationConfig",
    "EventSourceArn",
    "EventSourceMappingArn",
    "FilterCriteria",
    "FunctionArn",
    "FunctionResponseTypes",
    "LastModified",
    "LastProcessingResult",
    "MaximumBatchingWindowInSeconds",
    "MaximumRecordAgeInSeconds",
    "MaximumRetryAttempts",
    "MetricsConfig",
    "ParallelizationFactor",
    "ProvisionedPollerConfig",
    "ScalingConfig",
    "StartingPosition",
    "StartingPositionTimestamp",
    "State",
    "StateTransitionReason",
    "TumblingWindowInSeconds",
    "UUID",
    "Windlass",
    "NextMarker",
];

/// A request of a golden exchange.
#[derive(Clone, Debug)]
struct Example {
    method: String,
    path: String,
    body: Vec<u8>,
    headers: Vec<(&'static str, Vec<u8>)>,
}

/// Collects the requests of exchanges and sends none.
#[derive(Default)]
struct Collector(Vec<Example>);

impl Runner for Collector {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut arguments = command.consume_args();
        let mut words = command.name.splitn(3, ' ');
        let method = words.next().unwrap_or_default();
        let mut next = || words.next().or_else(|| arguments.next_pos());
        if let ("GET" | "POST" | "PUT" | "DELETE", Some(path)) = (method, next()) {
            self.0.push(Example {
                method: method.to_owned(),
                path: path.to_owned(),
                body: next().unwrap_or_default().as_bytes().to_vec(),
                headers: Vec::new(),
            });
        }
        Ok(String::new())
    }
}

fn examples() -> Vec<Example> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("api");
    let entries = std::fs::read_dir(&dir).expect("it is a directory");
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut collector = Collector::default();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("it is a text");
        goldenscript::generate(&mut collector, &text).expect("it is an exchange");
    }
    collector.0
}

#[test]
fn any_mutation_of_a_request_gets_an_answer_of_the_model() {
    let mut exchange = Exchange::new();
    let examples = examples();
    assert!(200 < examples.len());
    let all = (0..30).map(|number| {
        json!({"FunctionName": format!("f{number}"),
        "EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:jobs", "Tags": {"a": "b"}})
    });
    for body in all {
        let example = Example {
            method: "POST".to_owned(),
            path: "/2015-03-31/event-source-mappings".to_owned(),
            body: body.to_string().into_bytes(),
            headers: Vec::new(),
        };
        let (head, mut body) = send(
            &exchange,
            request(&exchange, &example).expect("it is valid"),
        );
        assert_eq!(head.status, 202);
        let mut body = serde_json::from_slice(&body.split_off(0)).expect("it is JSON");
        exchange.hide(&mut body);
    }
    for round in 0..ROUNDS {
        if round == WITH_KEYS {
            exchange.server = server(exchange.parts(), keys());
        }
        let mut rng = Rng::new(round);
        let mut example = examples[rng.size(0, examples.len() - 1)].clone();
        example.path = exchange.with_uuids(&example.path);
        let body = exchange.with_uuids(&String::from_utf8_lossy(&example.body));
        example.body = body.into_bytes();
        for _ in 0..rng.size(1, 3) {
            mutate(&mut example, &examples, &mut rng);
        }
        let Some(mut request) = request(&exchange, &example) else {
            continue;
        };
        let is_forged = round >= WITH_KEYS && !sign(&mut request, &exchange, &mut rng);
        let method = request.method().to_string();
        let shown = format!("round {round}: {request:?}");
        let shown: String = shown.chars().take(2_000).collect();
        let (head, body) = send(&exchange, request);
        check(&example, &method, &head, &body, &shown);
        let status = head.status.as_u16();
        let is_probe =
            ["/livez", "/readyz"].contains(&example.path.split('?').next().unwrap_or(""));
        assert!(
            !is_forged || is_probe || matches!(status, 403 | 429),
            "a forged request is refused: {shown}: {status}"
        );
    }
}

/// `None` if no client can send it.
fn request(exchange: &Exchange, example: &Example) -> Option<Request<Bytes>> {
    let url = format!("http://{}{}", exchange.server.address(), example.path);
    let mut request = Request::builder().method(&*example.method).uri(url);
    for (name, value) in &example.headers {
        request = request.header(*name, &value[..]);
    }
    request.body(Bytes::from(example.body.clone())).ok()
}

fn send(exchange: &Exchange, request: Request<Bytes>) -> (Parts, Vec<u8>) {
    let shown = format!("{request:?}");
    // Without reuse of connections: the server closes those whose request it has not read to its end.
    let mut client = Client::builder(TokioExecutor::new());
    let client = client.pool_max_idle_per_host(0).build_http();
    exchange.runtime.block_on(async {
        let answer = async {
            let response = client.request(request.map(Full::new)).await;
            let response = response.unwrap_or_else(|error| panic!("{error:?}: {shown:.2000}"));
            let (head, body) = response.into_parts();
            let body = body.collect().await.expect("the body is complete");
            (head, body.to_bytes().to_vec())
        };
        let answer = tokio::time::timeout(TIMEOUT, answer).await;
        answer.unwrap_or_else(|_| panic!("no answer in time: {shown:.2000}"))
    })
}

/// Signs a request and may damage the signature; whether it is still valid.
fn sign(request: &mut Request<Bytes>, exchange: &Exchange, rng: &mut Rng) -> bool {
    let caller = rng.pick(&["admin", "admin", "viewer", "stranger", "forger"]);
    let signature = Signature::by(caller).and_then(|mut signature| {
        if rng.per_mille(200) {
            signature.set("presigned", "60")?;
        }
        signature.apply(request, exchange.clock.wall())
    });
    if signature.is_err() {
        return false;
    }
    let is_known = matches!(caller, "admin" | "viewer");
    let Some(header) = request.headers().get("authorization") else {
        // A presigned URL is checked as a whole.
        return is_known;
    };
    if !is_known || rng.per_mille(500) {
        return is_known;
    }
    let mut value = header.as_bytes().to_vec();
    // The last 64 characters are the signature.
    let index = rng.size(value.len().saturating_sub(64), value.len() - 1);
    value[index] = if value[index] == b'0' { b'1' } else { b'0' };
    let value = value.try_into().expect("it has the same characters");
    request.headers_mut().insert("authorization", value);
    false
}

/// The status, the name of an error, and the shape of the body.
fn check(example: &Example, method: &str, head: &Parts, body: &[u8], shown: &str) {
    let status = head.status.as_u16();
    let text = String::from_utf8_lossy(body);
    let of_source = is_silent(example) && status == 500;
    assert!(status < 500 || of_source, "{shown}: {status} {text}");
    assert!(head.headers.contains_key("x-amzn-requestid"), "{shown}");
    if method == "HEAD" || status == 204 {
        return;
    }
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let path = example.path.split('?').next().unwrap_or_default();
    if status >= 400 {
        let json = json.unwrap_or_else(|| panic!("{shown}: {status} {text}"));
        let name = head.headers.get("x-amzn-errortype");
        let name = name.and_then(|name| name.to_str().ok()).unwrap_or_default();
        assert!(ERRORS.contains(&name), "{shown}: {status} '{name}' {text}");
        let error = json.get("error").unwrap_or(&json);
        let message = error.get("message").or_else(|| error.get("Message"));
        assert!(message.is_some_and(Value::is_string), "{shown}: {text}");
    } else if path.starts_with("/2015-03-31/") {
        let json = json.unwrap_or_else(|| panic!("{shown}: {status} {text}"));
        let mappings = match json.get("EventSourceMappings") {
            Some(list) => list.as_array().expect("it is a list").clone(),
            None => vec![json],
        };
        for mapping in &mappings {
            let members = mapping.as_object().expect("a mapping is an object");
            let unknown = members
                .keys()
                .find(|name| !SHOWN_MEMBERS.contains(&name.as_str()));
            assert_eq!(unknown, None, "{shown}: {text}");
            assert!(members.contains_key("UUID"), "{shown}: {text}");
        }
    } else if let Some(json) = json {
        let checked = document::document().check(method, path, status, &json);
        assert_eq!(checked, Ok(()), "{shown}: {text}");
    }
}

/// Whether a source or function of this name, which does not answer, may be meant.
fn is_silent(example: &Example) -> bool {
    let body = String::from_utf8_lossy(&example.body);
    body.contains("silent") || example.path.contains("silent")
}

fn mutate(example: &mut Example, examples: &[Example], rng: &mut Rng) {
    match rng.size(0, 11) {
        0..=5 => mutate_body(example, examples, rng),
        6 | 7 => example.body = damaged(&example.body, rng),
        8 | 9 => mutate_path(example, rng),
        10 => {
            let methods = [
                "GET", "PUT", "POST", "DELETE", "HEAD", "PATCH", "OPTIONS", "X",
            ];
            example.method = rng.pick(&methods).to_owned();
        }
        _ => {
            let headers: [(&str, &[u8]); 8] = [
                ("content-type", b"text/plain"),
                (
                    "content-type",
                    b"application/x-amz-json-1.1; charset=utf-16",
                ),
                ("content-encoding", b"gzip"),
                ("accept", b"\xff"),
                ("x-amz-content-sha256", b"UNSIGNED-PAYLOAD"),
                ("x-amz-date", b"20270115T080000Z"),
                ("x-amz-security-token", b"token"),
                (
                    "authorization",
                    b"AWS4-HMAC-SHA256 Credential=/////, SignedHeaders=, Signature=",
                ),
            ];
            let (name, value) = rng.pick(&headers);
            example.headers.push((name, value.to_vec()));
        }
    }
}

/// Changes one member of the body, at any depth.
fn mutate_body(example: &mut Example, examples: &[Example], rng: &mut Rng) {
    let Ok(mut body) = serde_json::from_slice::<Value>(&example.body) else {
        example.body = value(rng).to_string().into_bytes();
        return;
    };
    let other = &examples[rng.size(0, examples.len() - 1)].body;
    let other = serde_json::from_slice::<Value>(other).unwrap_or_default();
    let mut at = &mut body;
    while rng.per_mille(600) {
        let size = match &*at {
            Value::Object(members) => members.len(),
            Value::Array(items) => items.len(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        };
        if size == 0 {
            break;
        }
        let index = rng.size(0, size - 1);
        at = match at {
            Value::Object(members) => members.values_mut().nth(index).expect("it is one of them"),
            Value::Array(items) => &mut items[index],
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => break,
        };
    }
    match (rng.size(0, 7), at) {
        (0, Value::Object(members)) => {
            members.extend(other.as_object().cloned().unwrap_or_default())
        }
        (1, Value::Object(members)) => rename(members, rng),
        (2, Value::Object(members)) => {
            let name = members.keys().next().cloned().unwrap_or_default();
            members.remove(&name);
        }
        (3, Value::Array(items)) => {
            let item = items.first().cloned().unwrap_or_else(|| value(rng));
            items.extend(std::iter::repeat_n(item, rng.size(1, 60)));
        }
        (4, at) => *at = json!([at.take()]),
        (5, at) => *at = json!({"": at.take()}),
        (_, at) => *at = value(rng),
    }
    example.body = body.to_string().into_bytes();
    if rng.per_mille(50) {
        // The last member twice.
        let text = String::from_utf8_lossy(&example.body).into_owned();
        if let Some(inner) = text.strip_prefix('{').and_then(|it| it.strip_suffix('}')) {
            example.body = format!("{{{inner},{inner}}}").into_bytes();
        }
    }
}

fn rename(members: &mut Map<String, Value>, rng: &mut Rng) {
    let index = rng.size(0, members.len());
    let Some(name) = members.keys().nth(index).cloned() else {
        return;
    };
    let value = members.remove(&name).unwrap_or_default();
    let name = match rng.size(0, 4) {
        0 => name.to_lowercase(),
        1 => format!("{name} "),
        2 => format!("\u{0}{name}"),
        3 => rng
            .pick(&["Topics", "KMSKeyArn", "UUID", "LoggingConfig", "Queues"])
            .to_owned(),
        _ => name.repeat(50),
    };
    members.insert(name, value);
}

fn value(rng: &mut Rng) -> Value {
    let nested = |depth| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    match rng.size(0, 19) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1),
        3 => json!(0),
        4 => json!(u64::MAX),
        5 => json!(i64::MIN),
        6 => json!(1e308),
        7 => json!(0.5),
        8 => json!(""),
        9 => json!("\u{0}"),
        10 => json!("😀\u{202e}\u{feff}"),
        11 => json!("x".repeat(rng.size(100, 20_000))),
        12 => json!([]),
        13 => json!({}),
        14 => nested(rng.size(2, 120)),
        15 => json!("arn:aws:kinesis:us-east-1:000000000000:stream/orders/consumer/c:1"),
        16 => json!("arn:aws:sqs:us-east-1:000000000000:"),
        17 => json!("arn:aws:lambda:us-east-1:000000000000:function:hello:$LATEST"),
        18 => json!({"Filters": [{"Pattern": "{\"a\":[{\"numeric\":[\">\",1e400]}]}"}]}),
        _ => json!(rng.any() % 20_000),
    }
}

/// Bytes that are not what they were.
fn damaged(body: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut body = body.to_vec();
    let index = rng.size(0, body.len());
    match rng.size(0, 6) {
        0 => body.truncate(index),
        1 => body.insert(index, 0xff),
        2 => body.insert(index, rng.pick(b"\0{}[]\",:\\e-")),
        3 => body.splice(0..0, *b"\xef\xbb\xbf").for_each(drop),
        4 => body.extend_from_slice(b"{}"),
        5 => body = b"[".repeat(rng.size(1, 20_000)),
        _ => body = b"{\"a\":".repeat(rng.size(1, 20_000)),
    }
    body
}

fn mutate_path(example: &mut Example, rng: &mut Rng) {
    let path = &mut example.path;
    let index = rng.size(1, path.len());
    if !path.is_char_boundary(index) {
        return;
    }
    let pieces = [
        "%",
        "%2",
        "%00",
        "%ff",
        "%2F",
        "%2f",
        "%252F",
        "/",
        "//",
        "/../",
        "/./",
        ";",
        "+",
        "%20",
        "?",
        "&",
        "=",
        "#",
        "a",
        "%F0%9F%98%80",
        "'",
        "~",
        ":",
        "@",
        "$LATEST",
    ];
    let queries = [
        "MaxItems=0",
        "MaxItems=10001",
        "MaxItems=-1",
        "MaxItems=x",
        "MaxItems=1&MaxItems=2",
        "Marker=",
        "Marker=%00",
        "Marker=AAAA",
        "FunctionName=",
        "FunctionName=%ff",
        "FunctionName=silent",
        "EventSourceArn=arn",
        "tagKeys=",
        "tagKeys=a&tagKeys=%20",
        "tagKeys=%ff",
        "=",
        "&&",
        "%=%",
    ];
    match rng.size(0, 5) {
        0 | 1 => path.insert_str(index, rng.pick(&pieces)),
        2 => path.truncate(index),
        3 => path.push_str(&"x".repeat(rng.size(1, 6_000))),
        _ => {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(rng.pick(&queries));
        }
    }
}
