//! Golden exchanges under `tests/api`: requests to the API and their responses.
//!
//! ```text
//! GET|POST|PUT|PATCH|DELETE PATH [BODY] [HEADER=VALUE…]
//! > POST|PUT PATH BODY         the same, with backslashes taken literally
//! settle                       every mapping reaches its desired state
//! letters                      three mappings have given up records
//! redrive UUID                 a dead letter is being redriven
//! shards UUID ID…              the supervisor has added rows of these shards
//! unreadable                   the supervisor cannot read any mapping
//! auth                         a server that asks for keys, on the same store
//! ```
//!
//! `as=admin` and `as=viewer` sign a request with a key of that role, `as=stranger` with an unknown
//! one and `as=forger` with a wrong secret; `skew=SECONDS` and `region=NAME` change the signature,
//! `presigned=SECONDS` puts it into the URL, and `sent=BODY` replaces the body that was signed.
//!
//! UUIDs are written `UUID-1`, `UUID-2`, … in the order of appearance, also in requests. In a body,
//! `FILTERS 10` stands for ten filters, `TAGS 10` for ten tags and `CHARACTERS 10` for ten characters.
//! All functions and streams exist, except those named `missing`, `denied` and `silent`. No call of
//! what has `forbidden` in its name is permitted.

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use goldenscript::{Command, Context, Runner};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use windlass_admin::{
    AuthSettings, Control, ControlParts, MappingProblems, Metrics, MetricsSettings, Readiness,
    Server, ServerParts,
};
use windlass_core::arn::{Arn, ArnScope, SourceArn};
use windlass_core::failure::FailureCondition;
use windlass_core::function::FunctionName;
use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::lease::{Lease, LeaseKey, Unit, WorkerId};
use windlass_core::mapping::{DesiredState, Mapping, MappingId};
use windlass_core::outcome::Fault;
use windlass_core::position::{Checkpoint, Position};
use windlass_core::shard::lineage::Shard;
use windlass_core::time::Timestamp;
use windlass_engine::clock::Clock;
use windlass_engine::jobs::{DryRuns, Redriver};
use windlass_engine::memory::Budget;
use windlass_engine::ports::{
    DeadLetter, DeadLetterId, DeadLetterLimit, DeadLetterReason, FunctionLookup, Kept, NeededCall,
    NewDeadLetter, Permission, PortError, QueueDefaults, ResourceLookup, Store, UnreadableMapping,
};
use windlass_engine::settings::EngineSettings;
use windlass_engine::status::{LeaseCounts, StatusBoard};
use windlass_engine::stop::Stop;
use windlass_engine::supervisor::{Supervisor, SupervisorParts};
use windlass_testkit::fakes::{FakeAdapters, FakeStore, FakeStream};
use windlass_testkit::rng::Rng;
use windlass_tests::signature::{Signature, keys};

mod clocks;
mod document;
mod history;
mod mutations;
mod pages;
mod permissions;

type Failure = Box<dyn Error>;

/// From this length, a run of the same character is shown as a number.
const LONG_RUN: usize = 100;

/// Headers that are part of the API; the others belong to HTTP.
const SHOWN: [&str; 1] = ["x-amzn-errortype"];

#[test]
fn exchanges() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("api");
    let entries = std::fs::read_dir(&dir).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        println!("{}", path.display());
        goldenscript::run(&mut Exchange::new(), path).unwrap();
    }
}

/// Members of windlass's own API that are times of the test.
const TIMES: [&str; 4] = ["since", "time", "created_at", "ended_at"];

/// When the tests of clocks take place.
const NOON: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Whatever a caller sends, the answer is one of the model, and the server continues.
#[test]
fn any_request_gets_an_answer_of_the_model() {
    let mut rng = Rng::new(18);
    let mut exchange = Exchange::new();
    for round in 0..600 {
        if round == 300 {
            exchange.server = server(exchange.parts(), keys());
        }
        let request = random_request(&mut rng, exchange.server.address());
        let (is_head, shown) = (request.method() == "HEAD", format!("{request:?}"));
        let (head, body) = exchange.runtime.block_on(async {
            let response = exchange.client.request(request.map(Full::new)).await;
            let (head, body) = response.expect("the server responds").into_parts();
            let body = body.collect().await.expect("the body is complete");
            (head, body.to_bytes())
        });
        let status = head.status.as_u16();
        assert!(status < 500, "{shown}: {status} {body:?}");
        if 400 <= status && !is_head {
            let error: Value = serde_json::from_slice(&body).expect("an error is JSON");
            assert!(head.headers.contains_key("x-amzn-errortype"), "{shown}");
            let error = error.get("error").unwrap_or(&error);
            let message = error.get("message").or_else(|| error.get("Message"));
            assert!(message.is_some_and(Value::is_string), "{shown}: {error}");
        }
        assert!(
            round < 300 || matches!(status, 403 | 429),
            "a caller without a key is told nothing: {shown}: {status} {body:?}"
        );
    }
}

fn random_request(rng: &mut Rng, address: SocketAddr) -> Request<Bytes> {
    let paths = [
        "/2015-03-31/event-source-mappings",
        "/2015-03-31/event-source-mappings/",
        "/2015-03-31/event-source-mappings/%ff",
        "/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:event-source-mapping:",
        "/windlass/v1/mappings",
        "/windlass/v1/functions",
        "/windlass/v1/replays",
        "/windlass/v1/replays/again",
        "/windlass/v1/history",
        "/windlass/v1/dead-letters",
        "/windlass/v1/dead-letters/",
        "/metrics",
        "/",
    ];
    let mut url = format!("http://{address}{}", rng.pick(&paths));
    for _ in 0..rng.size(0, 12) {
        url.push(rng.pick(&[
            '/', '.', '%', '+', '?', '&', '=', 'a', '0', 'X', '-', ';', '~',
        ]));
    }
    for name in [
        "Algorithm=AWS4-HMAC-SHA256",
        "Date=0",
        "Expires=-1",
        "Credential=a/b/c/d/e",
    ] {
        if rng.per_mille(200) {
            url.push_str(&format!("?&X-Amz-{name}"));
        }
    }
    let method = rng.pick(&["GET", "PUT", "POST", "DELETE", "HEAD", "PATCH", "FOO"]);
    let mut request = Request::builder().method(method).uri(url);
    for name in [
        "authorization",
        "x-amz-date",
        "x-amz-content-sha256",
        "content-type",
    ] {
        if rng.per_mille(500) {
            request = request.header(name, random_header(rng));
        }
    }
    let body = rng.pick(&[
        "",
        "{}",
        "{",
        "[]",
        "null",
        "{\"Tags\": {\"\\u0000\": \"\"}}",
        "\u{feff}",
    ]);
    request
        .body(Bytes::from(body))
        .expect("a client can send it")
}

fn random_header(rng: &mut Rng) -> Vec<u8> {
    let parts: [&[u8]; 14] = [
        b"AWS4-HMAC-SHA256 ",
        b"Bearer ",
        b"Credential=",
        b"SignedHeaders=host",
        b"Signature=",
        b"WINDLASSADMIN",
        b"/20270115/us-east-1/lambda/aws4_request",
        b"20270115T080000Z",
        b", ",
        b"=",
        b"/",
        b";",
        b"\xff\xfe",
        b"0",
    ];
    let n_parts = rng.size(0, 9);
    (0..n_parts)
        .flat_map(|_| rng.pick(&parts).to_vec())
        .collect()
}

/// An API server with a store, without an engine.
struct Exchange {
    runtime: Runtime,
    client: Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>,
    store: Arc<dyn Store>,
    resources: Arc<FakeResources>,
    board: Arc<StatusBoard>,
    clock: Clock,
    server: Server,
    /// In the order of appearance.
    uuids: Vec<String>,
}

/// Finds every function and stream, unless its name requests an error.
#[derive(Default)]
struct FakeResources {
    /// When every source answers, by its own clock.
    answered: Option<Timestamp>,
}

impl Exchange {
    fn new() -> Self {
        Self::with(Clock::start(), FakeResources::default())
    }

    fn with(clock: Clock, resources: FakeResources) -> Self {
        let store: Arc<dyn Store> = Arc::new(FakeStore::default());
        let board = Arc::new(StatusBoard::default());
        board.show_leases(Some(LeaseCounts::default()));
        let resources = Arc::new(resources);
        let parts = control_parts(&store, &resources, &board, clock);
        Self {
            runtime: Runtime::new().expect("threads start"),
            client: Client::builder(TokioExecutor::new()).build_http(),
            store,
            resources,
            board,
            clock,
            server: server(parts, AuthSettings::None),
            uuids: Vec::new(),
        }
    }

    fn parts(&self) -> ControlParts {
        control_parts(&self.store, &self.resources, &self.board, self.clock)
    }

    fn send(&mut self, command: &Command) -> Result<String, Failure> {
        let mut arguments = command.consume_args();
        let mut words = command.name.splitn(3, ' ');
        let method = words.next().unwrap_or_default();
        let mut next = || words.next().or_else(|| arguments.next_pos());
        let path = next().ok_or("a path is needed")?;
        let mut body = expand(&self.with_uuids(next().unwrap_or("")))?;
        if let Some(length) = body.strip_prefix("BYTES ") {
            body = " ".repeat(length.parse()?);
        }
        let url = format!("http://{}{}", self.server.address(), self.with_uuids(path));
        let mut request = Request::builder().method(method).uri(url);
        let mut signature = None;
        while let Some((name, value)) = arguments.next_key() {
            match name {
                "as" => signature = Some(Signature::by(value)?),
                "skew" | "region" | "presigned" | "sent" => {
                    let signature = signature.as_mut().ok_or("'as' comes before it")?;
                    signature.set(name, value)?;
                }
                _ => request = request.header(name, value),
            }
        }
        arguments.reject_next()?;
        let mut request = request.body(Bytes::from(body))?;
        if let Some(signature) = signature {
            signature.apply(&mut request, self.clock.wall())?;
        }
        let request = request.map(Full::new);
        let response = self.runtime.block_on(async {
            let (head, body) = self.client.request(request).await?.into_parts();
            Ok::<_, Failure>(Response::from_parts(head, body.collect().await?.to_bytes()))
        })?;
        assert!(response.headers().contains_key("x-amzn-requestid"));
        let mut shown = format!("{}\n", response.status());
        for name in SHOWN {
            if let Some(value) = response.headers().get(name) {
                shown.push_str(&format!("{name}: {}\n", value.to_str()?));
            }
        }
        let body = response.body();
        self.check(method, path, response.status().as_u16(), body)?;
        match serde_json::from_slice::<Value>(body) {
            Ok(mut json) => {
                self.hide(&mut json);
                shown.push_str(&collapse(&format!("{json:#}\n")));
            }
            Err(_) => {
                for line in String::from_utf8_lossy(body).lines() {
                    shown.push_str(&self.shown_line(line));
                    shown.push('\n');
                }
            }
        }
        Ok(shown)
    }

    /// A line of the answer of a job, or of text.
    fn shown_line(&mut self, line: &str) -> String {
        match serde_json::from_str::<Value>(line) {
            Ok(mut json) => {
                self.hide(&mut json);
                json.to_string()
            }
            Err(_) => line.to_owned(),
        }
    }

    /// Compares a response of windlass's own API with the document that describes it. Those to callers
    /// without rights have AWS's form.
    fn check(&self, method: &str, path: &str, status: u16, body: &[u8]) -> Result<(), Failure> {
        match serde_json::from_slice(body) {
            Ok(json) if !matches!(status, 403 | 429) => {
                Ok(document::document().check(method, path, status, &json)?)
            }
            _ => Ok(()),
        }
    }

    /// Sends a request without a body.
    fn call(&self, method: &str, path: &str) -> (u16, Value) {
        self.call_with(method, path, Bytes::new())
    }

    fn call_with(&self, method: &str, path: &str, body: Bytes) -> (u16, Value) {
        let url = format!("http://{}{path}", self.server.address());
        let request = Request::builder().method(method).uri(url);
        let request = request.body(Full::new(body)).expect("the request is valid");
        self.runtime.block_on(async {
            let response = self.client.request(request).await;
            let (head, body) = response.expect("the server responds").into_parts();
            let body = body
                .collect()
                .await
                .expect("the body is complete")
                .to_bytes();
            let json = serde_json::from_slice(&body).unwrap_or_default();
            (head.status.as_u16(), json)
        })
    }

    /// Stands in for the supervisor and its drivers.
    fn settle(&self) -> Result<String, Failure> {
        self.runtime.block_on(async {
            for row in self.store.mappings().await? {
                if row.desired == DesiredState::Deleted {
                    self.store.remove(&row.id, row.revision).await?;
                } else {
                    self.board.applied(&row.id, row.revision);
                }
            }
            Ok(String::new())
        })
    }

    /// Stands in for shards that give up records.
    fn keep_letters(&self) -> Result<String, Failure> {
        let given_up = FailureCondition::RetryAttemptsExhausted;
        let too_large = FailureCondition::RecordTooLarge;
        let letters = [
            (
                "00000000-0000-4000-8000-000000000001",
                DeadLetterReason::GivenUp(given_up),
                250,
            ),
            (
                "00000000-0000-4000-8000-000000000001",
                DeadLetterReason::Skipped,
                60_000,
            ),
            (
                "00000000-0000-4000-8000-000000000002",
                DeadLetterReason::GivenUp(too_large),
                120_000,
            ),
        ];
        let letters = letters.map(|(mapping, reason, after)| letter(mapping, reason, after));
        let limit = DeadLetterLimit {
            maximum_size: 1 << 20,
            drops_oldest: false,
        };
        let kept = self.store.keep(letters.to_vec(), limit, None);
        let kept = self.runtime.block_on(kept)?;
        assert!(matches!(kept, Kept::Done { .. }), "{kept:?}");
        Ok(String::new())
    }

    fn claim_letter(&self, command: &Command) -> Result<String, Failure> {
        let id = command.consume_args().next_pos().ok_or("an id is needed")?;
        let id = self.with_uuids(id).parse()?;
        let claimed = self
            .runtime
            .block_on(self.store.claim_dead_letters(&[id]))?;
        assert_eq!(claimed.len(), 1);
        Ok(String::new())
    }

    /// Stands in for the supervisor once it has listed the shards of a mapping.
    fn add_shards(&self, command: &Command) -> Result<String, Failure> {
        let mut arguments = command.consume_args();
        let uuid = arguments.next_pos().ok_or("a mapping is needed")?;
        let mapping = MappingId::new(&self.with_uuids(uuid));
        let shards = std::iter::from_fn(|| arguments.next_pos());
        let leases = shards.map(|shard| Lease {
            key: LeaseKey {
                mapping: mapping.clone(),
                unit: Unit::Shard(shard.into()),
            },
            owner: None,
            epoch: 0,
            checkpoint: Checkpoint::at(Position::TrimHorizon),
            shard_start: None,
            seek: None,
            waits: false,
        });
        let leases: Vec<_> = leases.collect();
        self.runtime.block_on(self.store.insert(&leases))?;
        Ok(String::new())
    }

    /// Stands in for the supervisor when it cannot read the leases of the mappings.
    fn make_unreadable(&self) -> Result<String, Failure> {
        for row in self.runtime.block_on(self.store.mappings())? {
            let unreadable = UnreadableMapping {
                source_arn: row.source.as_str().to_owned(),
                function_arn: row.function_arn.as_str().to_owned(),
                reason: "unsupported checkpoint 'window' in the database".to_owned(),
            };
            self.board.show_unreadable(&row.id, Some(unreadable));
        }
        Ok(String::new())
    }

    /// Replaces `UUID-1` by the first UUID that appeared, and so on.
    fn with_uuids(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // From the last: `UUID-1` is a prefix of `UUID-10`.
        for (number, uuid) in (1..).zip(&self.uuids).collect::<Vec<_>>().into_iter().rev() {
            text = text.replace(&format!("UUID-{number}"), uuid);
        }
        text
    }

    /// Replaces values that differ between runs.
    fn hide(&mut self, json: &mut Value) {
        match json {
            Value::Object(members) => {
                if let Some(modified) = members.get_mut("LastModified") {
                    assert!(modified.is_f64(), "seconds and milliseconds since 1970");
                    *modified = "TIME".into();
                }
                for name in TIMES {
                    if let Some(Value::String(text)) = members.get_mut(name) {
                        assert!(Timestamp::parse_rfc3339(text).is_some(), "{text}");
                        *text = "TIME".to_owned();
                    }
                }
                members.values_mut().for_each(|value| self.hide(value));
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide(item)),
            Value::String(text) => {
                *text = without_times(text);
                if let Some(rest) = text.strip_prefix("parked since ") {
                    let end = rest.find('Z').expect("a time ends with its zone");
                    *text = format!("parked since TIME{}", &rest[end + 1..]);
                }
                for word in text.clone().split([':', ' ', '"']) {
                    if uuid::Uuid::try_parse(word).is_ok() && word.len() == 36 {
                        let known = self.uuids.iter().position(|it| it == word);
                        let index = known.unwrap_or_else(|| {
                            self.uuids.push(word.to_owned());
                            self.uuids.len() - 1
                        });
                        *text = text.replace(word, &format!("UUID-{}", index + 1));
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// A letter that was given up `after` milliseconds after noon.
fn letter(mapping: &str, reason: DeadLetterReason, after: i64) -> NewDeadLetter {
    let shard = "shardId-000000000000".into();
    let payload: Bytes = r#"{"Records":[{"kinesis":{}}]}"#.into();
    let arn = |text| Arn::parse(text).expect("it is an ARN");
    NewDeadLetter {
        letter: DeadLetter {
            id: DeadLetterId::of(mapping, &shard, &after.to_string()),
            mapping: Some(MappingId::new(mapping)),
            replay: None,
            function_arn: arn("arn:aws:lambda:us-east-1:000000000000:function:hello"),
            event_source_arn: arn(clocks::STREAM),
            shard,
            first: "4959".into(),
            last: "4960".into(),
            records: 2,
            reason,
            attempts: 3,
            last_error: Some("function error: Unhandled".to_owned()),
            first_arrival: Some(NOON),
            given_up: NOON.shifted(after),
            bytes: payload.len() as u64,
            redrives: 0,
        },
        payload,
    }
}

fn control_parts(
    store: &Arc<dyn Store>,
    resources: &Arc<FakeResources>,
    board: &Arc<StatusBoard>,
    clock: Clock,
) -> ControlParts {
    let adapters = FakeAdapters::default();
    adapters.stream("orders", FakeStream::new(clock, 2));
    let settings = EngineSettings::default();
    let supervisor = Supervisor::new(SupervisorParts {
        store: Arc::clone(store),
        adapters: Arc::new(adapters),
        board: Arc::clone(board),
        clock,
        worker: WorkerId::new("this daemon"),
        budget: Budget::new(settings.buffer_limit),
        settings,
        seed: 1,
    });
    ControlParts {
        store: Arc::clone(store),
        lookup: Arc::clone(resources) as _,
        board: Arc::clone(board),
        wakeup: supervisor.wakeup(),
        operator: supervisor.operator(),
        clock,
        problems: MappingProblems::default(),
        home: home(),
        queues: EngineSettings::default().queue_defaults(),
    }
}

fn server(parts: ControlParts, auth: AuthSettings) -> Server {
    let (redriver, dry_runs) = jobs();
    let parts = ServerParts {
        control: Control::new(parts),
        readiness: Readiness::default(),
        metrics: metrics(),
        budget: Budget::new(1024),
        redriver,
        dry_runs,
        allowed_hosts: Vec::new(),
        auth,
        tls: None,
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    Server::start(listener, parts).expect("its settings are sound")
}

/// An engine with a store of its own, the stream `orders` with three records in its shard `0`, and the
/// function `hello`. It runs as long as the tests.
fn jobs() -> (Redriver, DryRuns) {
    type Jobs = (Redriver, DryRuns);
    static ENGINE: OnceLock<(Runtime, watch::Sender<Stop>, Jobs)> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| {
        let clock = Clock::starting_at(NOON);
        let adapters = FakeAdapters::default();
        adapters.function("hello");
        let stream = adapters.stream("orders", FakeStream::new(clock, 1));
        (0..3).for_each(|_| stream.put(0, b"{}"));
        let settings = EngineSettings::default();
        let supervisor = Supervisor::new(SupervisorParts {
            store: Arc::new(FakeStore::default()),
            adapters: Arc::new(adapters),
            board: Arc::default(),
            clock,
            worker: WorkerId::new("this daemon"),
            budget: Budget::new(settings.buffer_limit),
            settings,
            seed: 1,
        });
        let jobs = (supervisor.redriver(), supervisor.dry_runs());
        let (stop, stopped) = watch::channel(Stop::No);
        let runtime = Runtime::new().expect("threads start");
        runtime.spawn(supervisor.run(stopped));
        (runtime, stop, jobs)
    });
    engine.2.clone()
}

/// Expands `FILTERS n`, `TAGS n` and `CHARACTERS n`.
fn expand(body: &str) -> Result<String, Failure> {
    let mut body = body.to_owned();
    let filter = r#"{"Pattern": "{\"body\": [\"ready\"]}"}"#;
    if let Some((before, rest)) = body.split_once("TAGS ") {
        let (number, rest) = rest.split_once('}').ok_or("the tags have an end")?;
        let tags = (1..=number.parse::<usize>()?).map(|number| format!(r#""k{number}": """#));
        body = format!("{before}{}}}{rest}", tags.collect::<Vec<_>>().join(","));
    }
    for (word, one, between) in [("FILTERS ", filter, ","), ("CHARACTERS ", "x", "")] {
        let Some((before, rest)) = body.split_once(word) else {
            continue;
        };
        let end = rest.find(|it: char| !it.is_ascii_digit());
        let (number, rest) = rest.split_at(end.unwrap_or(rest.len()));
        let all = vec![one; number.parse()?].join(between);
        body = format!("{before}{all}{rest}");
    }
    Ok(body)
}

/// Replaces the times of signatures, `20270115T080000Z`, by a word.
fn without_times(text: &str) -> String {
    let is_time = |word: &&str| {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        word.len() == 16 && digits == 14 && word.ends_with('Z')
    };
    let mut text = text.to_owned();
    let words: Vec<_> = text
        .split([' ', '(', '\'', ','])
        .filter(is_time)
        .map(str::to_owned)
        .collect();
    for word in words {
        text = text.replace(&word, "TIME");
    }
    text
}

/// Collapses long runs of `x` to `CHARACTERS n`.
fn collapse(answer: &str) -> String {
    let Some(start) = answer.find(&"x".repeat(LONG_RUN)) else {
        return answer.to_owned();
    };
    let (before, run) = answer.split_at(start);
    let rest = run.trim_start_matches('x');
    let n_characters = run.len() - rest.len();
    format!("{before}CHARACTERS {n_characters}{}", collapse(rest))
}

impl Runner for Exchange {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Failure> {
        match command.name.split(' ').next().unwrap_or_default() {
            "GET" | "POST" | "PUT" | "PATCH" | "DELETE" => self.send(command),
            "settle" => self.settle(),
            "shards" => self.add_shards(command),
            "auth" => {
                self.server = server(self.parts(), keys());
                Ok(String::new())
            }
            "unreadable" => self.make_unreadable(),
            "letters" => self.keep_letters(),
            "redrive" => self.claim_letter(command),
            name => Err(format!("unknown command '{name}'").into()),
        }
    }
}

#[async_trait::async_trait]
impl ResourceLookup for FakeResources {
    async fn function(&self, name: &FunctionName) -> Result<FunctionLookup, PortError> {
        match name.name.as_str() {
            "missing" => Ok(FunctionLookup::Missing),
            "unchecked" => Ok(FunctionLookup::Unchecked {
                arn: name.resolve(&home()),
                reason: "GetFunctionConfiguration of unchecked: HTTP 404".to_owned(),
            }),
            "silent" => Err(error(
                "GetFunctionConfiguration of silent",
                Fault::Transient,
            )),
            _ => Ok(FunctionLookup::Found(name.resolve(&home()))),
        }
    }

    async fn source(&self, source: &SourceArn) -> Result<Option<Timestamp>, PortError> {
        match source.arn().source_name() {
            "missing" => Err(error("looking it up", Fault::Gone)),
            "denied" => Err(error("looking it up", Fault::Denied)),
            "silent" => Err(error("DescribeStreamSummary of silent", Fault::Transient)),
            _ => Ok(self.answered),
        }
    }

    fn needed_calls(&self, mapping: &Mapping, _: &QueueDefaults) -> Vec<NeededCall> {
        permissions::needed_calls(mapping)
    }

    async fn permission(&self, call: &NeededCall) -> Permission {
        permissions::permission(call)
    }

    /// Two: the second is the child of the first.
    async fn shards(&self, _: &SourceArn) -> Result<Vec<Shard>, PortError> {
        let parent = Shard {
            id: "shardId-000000000000".into(),
            parents: Vec::new(),
            starting_sequence_number: Some("100".into()),
            is_closed: true,
        };
        let child = Shard {
            id: "shardId-000000000001".into(),
            parents: vec![parent.id.clone()],
            starting_sequence_number: Some("200".into()),
            is_closed: false,
        };
        Ok(vec![parent, child])
    }

    /// The source itself knows odd numbers only.
    async fn is_of_shard(
        &self,
        _: &SourceArn,
        _: &ShardId,
        number: &SequenceNumber,
    ) -> Result<bool, PortError> {
        Ok(number.as_str().ends_with(['1', '3', '5', '7', '9']))
    }
}

fn error(operation: &str, fault: Fault) -> PortError {
    PortError {
        operation: operation.to_owned(),
        fault,
        source: "no answer".into(),
    }
}

fn home() -> ArnScope {
    ArnScope {
        partition: "aws".to_owned(),
        region: "us-east-1".to_owned(),
        account_id: "000000000000".to_owned(),
    }
}

/// A process can install them only once.
fn metrics() -> Metrics {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS
        .get_or_init(|| {
            let metrics = Metrics::install(MetricsSettings { per_shard: true }, Arc::default());
            metrics.expect("no other recorder is installed")
        })
        .clone()
}
