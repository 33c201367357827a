//! Reads the response of a function while it arrives, and keeps what consumers need of it.
//!
//! A response may have 6 MiB, in every invocation at once, so it is never kept: one pass checks that
//! it is JSON, collects the identifiers of failed items, and copies the state of a tumbling window.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting>

use std::collections::BTreeMap;

use windlass_core::outcome::{ItemFailures, Outcome, Response, RetryAfter, ReturnedState};
use windlass_core::window::{MAX_STATE, WindowState};
use windlass_engine::ports::Invocation;

use super::json_steps::{JsonSteps, Kind, NotJson, Step};

/// Bytes of the longest identifier of any source: a sequence number of Kinesis.
///
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Record.html>
const MAX_IDENTIFIER: usize = 129;

/// A response, as far as it has arrived.
#[derive(Debug)]
pub(super) struct ResponseWalker {
    reads: Reads,
    steps: JsonSteps,
    /// The member of the response that is being read.
    member: Option<Member>,
    failures: Failures,
    state: State,
    /// Of the item that is being read; empty if it has no valid one.
    identifier: String,
    /// Of the item that is being read.
    retry_after: RetryAfter,
    /// The member of the item that is being read.
    item_member: Option<ItemMember>,
    /// The response is another kind of value than a function may return.
    is_wrong_kind: bool,
    is_empty: bool,
    is_json: bool,
}

/// What a response is read for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reads {
    /// Items of the batch, if the response says which of them failed.
    max_items: Option<usize>,
    /// Whether it has a state.
    state: bool,
}

/// What a response says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    needs_state: bool,
    /// The items that failed; `None` if none has.
    pub(super) failures: Option<ItemFailures>,
    /// `None` if it is missing or null.
    pub(super) state: Option<ReturnedState>,
}

/// The members of a response that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    BatchItemFailures,
    State,
}

/// The value of `state`.
#[derive(Debug)]
enum State {
    /// The member is missing or null.
    None,
    Begun {
        /// As much as was read, unless it is too large.
        json: Option<Vec<u8>>,
        /// A number, `true` or `false`: what does not belong to it ends it.
        is_scalar: bool,
    },
    Ended(ReturnedState),
}

/// The members of an item that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ItemMember {
    ItemIdentifier,
    RetryAfterSeconds,
}

/// The value of `batchItemFailures`.
#[derive(Debug)]
enum Failures {
    /// The member is missing or null.
    None,
    /// No more than the batch has.
    Items(BTreeMap<Box<str>, RetryAfter>),
    Malformed,
}

/// What a value is, by its position in the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Response,
    Failures,
    Item,
    Identifier,
    RetryAfter,
    State,
    Other,
}

impl Reads {
    #[cfg(test)]
    pub(super) const fn all(max_items: usize) -> Self {
        Self {
            max_items: Some(max_items),
            state: true,
        }
    }

    /// What the response to an invocation is read for; `None` for nothing.
    pub(super) fn of(invocation: &Invocation) -> Option<Self> {
        let reads = Self {
            max_items: invocation.max_item_failures,
            state: invocation.returns_state,
        };
        (reads.max_items.is_some() || reads.state).then_some(reads)
    }
}

impl Answer {
    /// The outcome of a function that has returned it.
    pub(super) fn outcome(self, response: impl FnOnce() -> Response) -> Outcome {
        Outcome::returned(self.needs_state, self.state, self.failures, response)
    }
}

impl ResponseWalker {
    pub(super) fn new(reads: Reads) -> Self {
        Self {
            reads,
            steps: JsonSteps::new(MAX_IDENTIFIER),
            member: None,
            failures: Failures::None,
            state: State::None,
            identifier: String::new(),
            retry_after: RetryAfter::None,
            item_member: None,
            is_wrong_kind: false,
            is_empty: true,
            is_json: true,
        }
    }

    pub(super) const fn reads(&self) -> Reads {
        self.reads
    }

    /// Reads the next piece.
    pub(super) fn read(&mut self, mut piece: &[u8]) {
        self.is_empty &= piece.is_empty();
        while self.is_json && !piece.is_empty() {
            let unread = piece;
            let step = self.steps.next(&mut piece);
            let read = &unread[..unread.len() - piece.len()];
            self.state.push(read);
            match step {
                Ok(None) => return,
                Ok(Some(step)) => self.take(step, read),
                Err(NotJson) => self.is_json = false,
            }
        }
    }

    /// What the response says, after the last piece.
    ///
    /// As on AWS, a response without bytes, `null`, `{}`, `[]`, `""` and a list that is null or empty
    /// mean that no item failed.
    pub(super) fn finish(mut self) -> Answer {
        if self.is_empty {
            return Answer {
                needs_state: self.reads.state,
                ..Answer::default()
            };
        }
        let is_valid = self.is_json && self.steps.is_complete() && !self.is_wrong_kind;
        let failures = match self.failures {
            _ if !is_valid => Some(ItemFailures::Malformed),
            Failures::None => None,
            Failures::Items(items) if items.is_empty() => None,
            Failures::Items(items) => Some(ItemFailures::Items(items)),
            Failures::Malformed => Some(ItemFailures::Malformed),
        };
        self.state.end();
        let state = match self.state {
            State::Ended(state) if is_valid => Some(state),
            State::Ended(_) | State::None | State::Begun { .. } => None,
        };
        Answer {
            needs_state: self.reads.state,
            failures: failures.filter(|_| self.reads.max_items.is_some()),
            state,
        }
    }

    /// `read` are the bytes of the step.
    fn take(&mut self, step: Step, read: &[u8]) {
        match step {
            Step::Begin(kind) if self.role() == Role::State => {
                let first = read.last().copied();
                self.state = State::begin(kind, first.unwrap_or_default());
            }
            Step::Begin(kind) => self.begin(self.role(), kind),
            Step::Name => self.name(),
            Step::String | Step::End if self.role() == Role::State => self.state.end(),
            Step::String => self.string(),
            Step::Number => self.number(),
            // An item has ended.
            Step::End if self.steps.depth() == 2 && self.is_in_failures() => self.add_item(),
            Step::End => {}
        }
    }

    fn begin(&mut self, role: Role, kind: Kind) {
        match (role, kind) {
            (Role::Response, Kind::Boolean | Kind::Number) => self.is_wrong_kind = true,
            // A value in an array that is the response.
            (Role::Other, _) if self.steps.depth() == 1 && self.steps.is_in_array() => {
                self.is_wrong_kind = true;
            }
            // The last of two members with one name counts.
            (Role::Failures, Kind::Null) => self.failures = Failures::None,
            (Role::Failures, Kind::Array) => self.failures = Failures::Items(BTreeMap::new()),
            (Role::Item, Kind::Object) => {
                self.identifier.clear();
                self.retry_after = RetryAfter::None;
            }
            (Role::Identifier, _) => self.identifier.clear(),
            (Role::RetryAfter, Kind::Null) => self.retry_after = RetryAfter::None,
            // A number is read to its end.
            (Role::RetryAfter, _) => self.retry_after = RetryAfter::Invalid,
            (Role::Failures | Role::Item, _) => self.failures = Failures::Malformed,
            (Role::Response | Role::State | Role::Other, _) => {}
        }
    }

    fn name(&mut self) {
        let name = self.steps.text();
        match self.steps.depth() {
            1 => {
                self.member = match name {
                    Some("batchItemFailures") if self.reads.max_items.is_some() => {
                        Some(Member::BatchItemFailures)
                    }
                    Some("state") if self.reads.state => Some(Member::State),
                    _ => None,
                };
            }
            3 => {
                self.item_member = match name {
                    Some("itemIdentifier") => Some(ItemMember::ItemIdentifier),
                    Some("retryAfterSeconds") => Some(ItemMember::RetryAfterSeconds),
                    _ => None,
                };
            }
            _ => {}
        }
    }

    fn string(&mut self) {
        let text = self.steps.text();
        match self.role() {
            Role::Response => self.is_wrong_kind = text != Some(""),
            // One that is too long is not of the batch, as an empty one.
            Role::Identifier => text.unwrap_or_default().clone_into(&mut self.identifier),
            Role::Failures | Role::Item | Role::RetryAfter | Role::State | Role::Other => {}
        }
    }

    fn number(&mut self) {
        if self.role() == Role::RetryAfter {
            let number = self.steps.text().and_then(|text| text.parse().ok());
            self.retry_after = number.map_or(RetryAfter::Invalid, RetryAfter::from_number);
        }
    }

    fn add_item(&mut self) {
        let Failures::Items(items) = &mut self.failures else {
            return;
        };
        items.insert(self.identifier.as_str().into(), self.retry_after);
        // More items than the batch has, or one without an identifier.
        let is_too_many = self.reads.max_items.is_none_or(|max| max < items.len());
        if is_too_many || self.identifier.is_empty() {
            self.failures = Failures::Malformed;
        }
    }

    /// Of the value that begins or has just ended.
    fn role(&self) -> Role {
        match self.steps.depth() {
            0 => Role::Response,
            1 if self.member == Some(Member::BatchItemFailures) => Role::Failures,
            1 if self.member == Some(Member::State) => Role::State,
            2 if self.is_in_failures() => Role::Item,
            3 if self.is_in_failures() => match self.item_member {
                Some(ItemMember::ItemIdentifier) => Role::Identifier,
                Some(ItemMember::RetryAfterSeconds) => Role::RetryAfter,
                None => Role::Other,
            },
            _ => Role::Other,
        }
    }

    /// Whether the values at depth 2 are items.
    fn is_in_failures(&self) -> bool {
        self.member == Some(Member::BatchItemFailures)
            && matches!(self.failures, Failures::Items(_))
    }
}

impl State {
    /// The value begins with this byte.
    fn begin(kind: Kind, first: u8) -> Self {
        match kind {
            Kind::Null => Self::None,
            Kind::Boolean | Kind::Number | Kind::String | Kind::Array | Kind::Object => {
                Self::Begun {
                    json: Some(vec![first]),
                    is_scalar: matches!(kind, Kind::Boolean | Kind::Number),
                }
            }
        }
    }

    /// Adds the next bytes of the response, if the value has begun.
    fn push(&mut self, read: &[u8]) {
        let Self::Begun { json, is_scalar } = self else {
            return;
        };
        let is_of_scalar = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        let len = if *is_scalar {
            let len = read.iter().position(|byte| !is_of_scalar(byte));
            len.unwrap_or(read.len())
        } else {
            read.len()
        };
        match json {
            Some(bytes) if bytes.len() + len <= MAX_STATE => bytes.extend_from_slice(&read[..len]),
            Some(_) | None => *json = None,
        }
        if len < read.len() {
            self.end();
        }
    }

    /// The value has ended.
    fn end(&mut self) {
        if let Self::Begun { json, .. } = self {
            *self = Self::Ended(match json.take() {
                // A state is kept for long, so it must not retain unused memory.
                Some(json) => ReturnedState::Json(WindowState::new(json.into_boxed_slice().into())),
                None => ReturnedState::TooLarge,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn answer(pieces: &[&[u8]], max_items: usize) -> Answer {
        let mut walker = ResponseWalker::new(Reads::all(max_items));
        pieces.iter().for_each(|piece| walker.read(piece));
        walker.finish()
    }

    fn read(pieces: &[&[u8]], max_items: usize) -> Option<ItemFailures> {
        answer(pieces, max_items).failures
    }

    fn state(body: &[&[u8]]) -> Option<ReturnedState> {
        answer(body, 3).state
    }

    fn json_state(text: &str) -> ReturnedState {
        ReturnedState::Json(WindowState::new(text.to_owned().into()))
    }

    const MALFORMED: Option<ItemFailures> = Some(ItemFailures::Malformed);

    /// The rules again, over a document.
    fn of_document(body: &[u8], max_items: usize) -> Option<ItemFailures> {
        if body.is_empty() {
            return None;
        }
        let failures = match serde_json::from_slice(body) {
            Ok(Value::Null) => return None,
            Ok(Value::Array(values)) if values.is_empty() => return None,
            Ok(Value::String(text)) if text.is_empty() => return None,
            Ok(Value::Object(mut members)) => members.remove("batchItemFailures"),
            Ok(_) | Err(_) => return MALFORMED,
        };
        let values = match failures {
            None | Some(Value::Null) => return None,
            Some(Value::Array(values)) => values,
            Some(_) => return MALFORMED,
        };
        let ids = values.iter().map(|item| match item.get("itemIdentifier") {
            Some(Value::String(id)) if (1..=MAX_IDENTIFIER).contains(&id.len()) => Some((
                id.as_str().into(),
                retry_after(item.get("retryAfterSeconds")),
            )),
            _ => None,
        });
        match ids.collect::<Option<BTreeMap<Box<str>, RetryAfter>>>() {
            Some(ids) if ids.is_empty() => None,
            Some(ids) if ids.len() <= max_items => Some(ItemFailures::Items(ids)),
            _ => MALFORMED,
        }
    }

    fn retry_after(value: Option<&Value>) -> RetryAfter {
        match value {
            None | Some(Value::Null) => RetryAfter::None,
            Some(Value::Number(number)) => {
                let seconds = number.as_f64();
                let is_same = |it: &u16| seconds == Some(f64::from(*it));
                let seconds = (0..=43_200).find(is_same);
                seconds.map_or(RetryAfter::Invalid, RetryAfter::Seconds)
            }
            Some(_) => RetryAfter::Invalid,
        }
    }

    fn state_of_document(body: &[u8]) -> Option<Value> {
        let mut document: Value = serde_json::from_slice(body).ok()?;
        let state = document.as_object_mut()?.remove("state");
        state.filter(|state| !state.is_null())
    }

    #[track_caller]
    fn check_splits(body: &[u8], expected: &Option<ItemFailures>) {
        let text = String::from_utf8_lossy(body);
        for split in 0..=body.len() {
            let (first, rest) = body.split_at(split);
            assert_eq!(&read(&[first, rest], 3), expected, "{text} at {split}");
        }
        let bytes: Vec<_> = body.chunks(1).collect();
        assert_eq!(&read(&bytes, 3), expected, "{text}");
    }

    #[track_caller]
    fn check(body: &str, expected: &Option<ItemFailures>) {
        check_splits(body.as_bytes(), expected);
        assert_eq!(&of_document(body.as_bytes(), 3), expected, "{body}");
    }

    fn list(items: &str) -> String {
        format!("{{\"batchItemFailures\":{items}}}")
    }

    #[test]
    fn an_empty_response_means_success() {
        for body in [
            "",
            "null",
            " \r\n\t{ } ",
            "[]",
            "\"\"",
            "{\"batchItemFailures\":[]}",
            "{\"batchItemFailures\": null }",
            "{\"Records\":[{\"batchItemFailures\":[1]}],\"a\":-1.5e+3}",
            "{\"batchItemFailures\":[{\"itemIdentifier\":\"1\"}],\"batchItemFailures\":[]}",
        ] {
            check(body, &None);
        }
    }

    #[test]
    fn identifiers_are_read_wherever_the_response_is_split() {
        let long = "1".repeat(129);
        let long_item = list(&format!("[{{\"itemIdentifier\":\"{long}\"}}]"));
        for (body, ids) in [
            (list(r#"[{"itemIdentifier":"1"}]"#), &["1"][..]),
            (
                list(
                    r#"[ {"a":[{"itemIdentifier":2}],"itemIdentifier" : "1","b":{"itemIdentifier":""}} ]"#,
                ),
                &["1"],
            ),
            (
                list(r#"[{"itemIdentifier":"2"},{"itemIdentifier":"1"},{"itemIdentifier":"2"}]"#),
                &["1", "2"],
            ),
            (
                r#"{"batch\u0049temFailures":[{"item\u0049dentifier":"\u00e9\ud83d\ude00\/"}]}"#
                    .into(),
                &["é😀/"],
            ),
            (
                list(r#"[{"itemIdentifier":1,"itemIdentifier":"1"}]"#),
                &["1"],
            ),
            (
                r#"{"batchItemFailures":7,"batchItemFailures":[{"itemIdentifier":"1"}]}"#.into(),
                &["1"],
            ),
            (long_item, &[&*long]),
        ] {
            check(&body, &Some(ItemFailures::of_ids(ids.iter().copied())));
        }
    }

    #[test]
    fn an_item_may_request_a_delay() {
        let long = format!("60.{}", "0".repeat(200));
        for (seconds, expected) in [
            ("0", RetryAfter::Seconds(0)),
            ("43200", RetryAfter::Seconds(43_200)),
            ("60.0", RetryAfter::Seconds(60)),
            ("6e1", RetryAfter::Seconds(60)),
            ("null", RetryAfter::None),
            ("43201", RetryAfter::Invalid),
            ("-1", RetryAfter::Invalid),
            ("0.5", RetryAfter::Invalid),
            ("1e300", RetryAfter::Invalid),
            ("\"60\"", RetryAfter::Invalid),
            ("true", RetryAfter::Invalid),
            ("[60]", RetryAfter::Invalid),
            ("{\"retryAfterSeconds\":60}", RetryAfter::Invalid),
            ("60,\"retryAfterSeconds\":null", RetryAfter::None),
            ("\"60\",\"retryAfterSeconds\":60 ", RetryAfter::Seconds(60)),
            ("7,\"a\":[60]", RetryAfter::Seconds(7)),
        ] {
            let items = BTreeMap::from([("1".into(), expected), ("2".into(), RetryAfter::None)]);
            let expected = Some(ItemFailures::Items(items));
            for item in [
                format!("{{\"itemIdentifier\":\"1\",\"retryAfterSeconds\":{seconds}}}"),
                format!("{{\"retryAfterSeconds\":{seconds},\"itemIdentifier\":\"1\"}}"),
            ] {
                let body = list(&format!("[{item},{{\"itemIdentifier\":\"2\"}}]"));
                check(&body, &expected);
            }
        }
        let body = list(&format!(
            "[{{\"itemIdentifier\":\"1\",\"retryAfterSeconds\":{long}}}]"
        ));
        let invalid = BTreeMap::from([("1".into(), RetryAfter::Invalid)]);
        assert_eq!(
            read(&[body.as_bytes()], 1),
            Some(ItemFailures::Items(invalid)),
            "a number of any length is read, and none is kept that is longer than an identifier"
        );
    }

    #[test]
    fn anything_else_is_malformed() {
        let too_long = "1".repeat(130);
        for items in [
            r#"[{"itemIdentifier":123}]"#,
            r#"[{"itemIdentifier":""}]"#,
            r#"[{"itemIdentifier":null}]"#,
            r#"[{"itemIdentifier":["1"]}]"#,
            r#"[{"itemIdentifier":{"itemIdentifier":"1"}}]"#,
            r#"[{"itemIdentifier":"1","itemIdentifier":null}]"#,
            r#"[{"itemIdentifier":"1"},{"itemIdentifier":"2"},{"itemIdentifier":"3"},{"itemIdentifier":"4"}]"#,
            r#"[{"foo":"1"}]"#,
            "[{}]",
            "[[]]",
            r#"[["itemIdentifier","1"]]"#,
            r#"["1"]"#,
            "[null]",
            "{}",
            "\"\"",
            "true",
            &format!("[{{\"itemIdentifier\":\"{too_long}\"}}]"),
        ] {
            check(&list(items), &MALFORMED);
        }
        for body in [
            "[1]",
            "[{\"batchItemFailures\":null}]",
            "\"ok\"",
            "0",
            "-1.5e+3",
            "false",
            " ",
            "{",
            "ok",
            "nul",
            "{}{}",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":[1 2]}",
            "{\"a\":[}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\n\"}",
        ] {
            check(body, &MALFORMED);
        }
        for invalid in [&b"\xff"[..], b"\xe2\x82", b"\xed\xa0\x80"] {
            let body = [b"{\"a\":\"", invalid, b"\"}"].concat();
            check_splits(&body, &MALFORMED);
        }
    }

    #[test]
    fn the_state_is_copied_wherever_the_response_is_split() {
        for (body, expected) in [
            ("", None),
            ("null", None),
            ("{}", None),
            ("[{\"state\":1}]", None),
            ("{\"a\":{\"state\":1}}", None),
            ("{\"state\":null}", None),
            ("{\"state\":{}", None),
            ("{\"state\":{}}x", None),
            ("{\"state\":1,\"state\":null}", None),
            ("{\"state\" : {} }", Some(json_state("{}"))),
            (
                "{\"state\":null,\"state\":[ 1 , [2] ]}",
                Some(json_state("[ 1 , [2] ]")),
            ),
            ("{\"state\":-1.5e+3 ,\"a\":1}", Some(json_state("-1.5e+3"))),
            ("{\"state\":0}", Some(json_state("0"))),
            (
                "{\"a\":\"state\",\"state\":true\n}",
                Some(json_state("true")),
            ),
            (
                "{\"st\\u0061te\":\"\\\"},é\"}",
                Some(json_state("\"\\\"},é\"")),
            ),
            (
                "{\"state\":{\"state\":{\"1\":[{}]},\"b\": \"\\u0031\"},\"c\":{\"d\":2}}",
                Some(json_state("{\"state\":{\"1\":[{}]},\"b\": \"\\u0031\"}")),
            ),
        ] {
            for split in 0..=body.len() {
                let (first, rest) = body.as_bytes().split_at(split);
                assert_eq!(state(&[first, rest]), expected, "{body} at {split}");
            }
            let bytes: Vec<_> = body.as_bytes().chunks(1).collect();
            assert_eq!(state(&bytes), expected, "{body}");
        }
    }

    #[test]
    fn failed_items_and_the_state_are_read_together_or_alone() {
        let body = b"{\"state\":{\"n\":1},\"batchItemFailures\":[{\"itemIdentifier\":\"1\"}]}";
        let both = answer(&[body], 1);
        assert_eq!(both.state, Some(json_state("{\"n\":1}")));
        let failures = ItemFailures::of_ids(["1"]);
        assert_eq!(both.failures, Some(failures.clone()));
        let only = |reads| {
            let mut walker = ResponseWalker::new(reads);
            walker.read(body);
            walker.finish()
        };
        let state = only(Reads {
            max_items: None,
            state: true,
        });
        assert_eq!((state.state, state.failures), (both.state, None));
        let items = only(Reads {
            max_items: Some(1),
            state: false,
        });
        assert_eq!((items.state, items.failures), (None, Some(failures)));
    }

    #[test]
    fn a_state_above_its_limit_is_not_kept() {
        let of_len = |len: usize| format!("{{\"state\":\"{}\"}}", "x".repeat(len - 2));
        let largest = state(&[of_len(MAX_STATE).as_bytes()]);
        assert!(
            matches!(largest, Some(ReturnedState::Json(state)) if state.json().len() == MAX_STATE)
        );
        let body = of_len(MAX_STATE + 1);
        assert_eq!(state(&[body.as_bytes()]), Some(ReturnedState::TooLarge));
        let mut walker = ResponseWalker::new(Reads::all(1));
        walker.read(b"{\"state\":[");
        for _ in 0..300 {
            walker.read(&[b"\"".as_slice(), &[b'x'; 8 * 1024], b"\","].concat());
            assert!(matches!(&walker.state, State::Begun { json, .. }
                    if json.as_ref().is_none_or(|json| json.len() <= MAX_STATE)));
        }
    }

    #[test]
    fn nesting_is_limited() {
        let nested = |depth: usize| {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!("{{\"a\":{open}{close}}}")
        };
        assert_eq!(read(&[nested(1_000).as_bytes()], 1), None);
        assert_eq!(read(&[nested(1_100).as_bytes()], 1), MALFORMED);
    }

    #[test]
    fn what_is_kept_does_not_grow_with_the_response() {
        let mut walker = ResponseWalker::new(Reads::all(2));
        walker.read(b"{\"batchItemFailures\":[");
        for n in 0..100_000 {
            walker.read(format!("{{\"itemIdentifier\":\"{n}\",\"x\":\"{n:0>500}\"}},").as_bytes());
            assert!(walker.identifier.capacity() <= 2 * MAX_IDENTIFIER);
            assert!(!matches!(&walker.failures, Failures::Items(items) if 2 < items.len()));
        }
        assert!(walker.steps.capacity() <= 2 * MAX_IDENTIFIER);
    }

    /// JSON with the members that matter in and out of their places, and broken now and then.
    fn bodies() -> impl Strategy<Value = Vec<u8>> {
        let scalar = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("\"\"".to_owned()),
            "-?(0|[1-9][0-9]{0,5})([.][0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
            "[a-zéß😀]{0,4}".prop_map(|text| format!("\"{text}\"")),
            Just("\"\\u0031\\u00e9\\n\"".to_owned()),
        ];
        let name = prop_oneof![
            3 => Just("batchItemFailures"),
            3 => Just("itemIdentifier"),
            2 => Just("retryAfterSeconds"),
            1 => Just("state"),
            1 => Just("a"),
        ];
        let value = scalar.prop_recursive(5, 40, 4, move |inner| {
            let members = proptest::collection::vec((name.clone(), inner.clone()), 0..4);
            let object = members.prop_map(|members| {
                let members = members
                    .iter()
                    .map(|(name, value)| format!("\"{name}\": {value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            });
            let array = proptest::collection::vec(inner, 0..4);
            prop_oneof![object, array.prop_map(|it| format!("[{}]", it.join(" ,")))]
        });
        let item = prop_oneof![
            3 => "[1-5]{1,2}".prop_map(|id| format!("{{\"itemIdentifier\":\"{id}\"}}")),
            2 => ("[1-5]{1,2}", value.clone()).prop_map(|(id, delay)| {
                format!("{{\"retryAfterSeconds\":{delay},\"itemIdentifier\":\"{id}\"}}")
            }),
            1 => value.clone(),
        ];
        let list =
            (proptest::collection::vec(item, 0..4), value.clone()).prop_map(|(items, state)| {
                let items = items.join(",");
                format!("{{\"state\":{state} ,\"batchItemFailures\":[{items}]}}")
            });
        let body = prop_oneof![value, list];
        (
            body,
            proptest::option::weighted(
                0.2,
                (
                    any::<prop::sample::Index>(),
                    prop::sample::select(&b" ,:[]{}\"\\0-.eu\n\x01\xff"[..]),
                ),
            ),
        )
            .prop_map(|(body, broken)| {
                let mut body = body.into_bytes();
                if let Some((index, byte)) = broken {
                    let index = index.index(body.len());
                    body[index] = byte;
                }
                body
            })
    }

    proptest! {
        #[test]
        fn any_pieces_mean_what_the_whole_document_means(
            body in bodies(),
            splits in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut splits: Vec<_> = splits.iter().map(|it| it.index(body.len() + 1)).collect();
            splits.sort_unstable();
            let ends = splits.iter().copied().chain([body.len()]);
            let starts = [0].into_iter().chain(splits.iter().copied());
            let pieces: Vec<_> = starts.zip(ends).map(|(start, end)| &body[start..end]).collect();
            let answer = answer(&pieces, 3);
            prop_assert_eq!(answer.failures, of_document(&body, 3));
            let state = answer.state.map(|state| match state {
                ReturnedState::Json(state) => serde_json::from_slice(state.json()).unwrap(),
                ReturnedState::TooLarge => Value::Null,
            });
            prop_assert_eq!(state, state_of_document(&body));
        }
    }
}
