//! Outcomes of HTTP responses.

use std::time::{Duration, SystemTime};

use aws_smithy_types::date_time::{DateTime, Format};
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use windlass_core::outcome::{Fault, Outcome, Response};

use super::response_walker::Answer;

/// Body that a Runtime Interface Emulator sends with status 200 when a function times out.
const EMULATOR_TIMEOUT: &[u8] = b"Task timed out";

/// Body of a Lambda runtime, and of its emulator, for a function that failed.
#[derive(Deserialize)]
struct ErrorBody {
    /// Any JSON: runtimes take it from what the function threw.
    #[serde(rename = "errorType")]
    kind: serde_json::Value,
    #[serde(rename = "errorMessage")]
    _message: serde::de::IgnoredAny,
}

/// The outcome that status and headers determine; `None` if the body decides.
pub(super) fn outcome_of_head(head: &Parts, emulator: bool) -> Option<Outcome> {
    let (status, headers) = (head.status, &head.headers);
    if emulator && status == StatusCode::BAD_GATEWAY {
        return None;
    }
    match status {
        StatusCode::TOO_MANY_REQUESTS => Some(not_invoked(Fault::Throttled {
            retry_after: retry_after(headers),
        })),
        // Not 504, by which a gateway says that it has waited for the function: it may have run.
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => {
            Some(not_invoked(match retry_after(headers) {
                None => Fault::Transient,
                retry_after => Fault::Throttled { retry_after },
            }))
        }
        status if !status.is_success() => {
            Some(function_error(head, &format!("HTTP {}", status.as_u16())))
        }
        _ => {
            let kind = headers.get("x-amz-function-error")?;
            let kind = error_kind(kind.to_str().unwrap_or_default());
            Some(function_error(head, kind))
        }
    }
}

/// The outcome of a response whose head does not determine it.
pub(super) fn outcome_of_body(
    head: &Parts,
    body: &[u8],
    emulator: bool,
    answer: Answer,
) -> Outcome {
    if emulator {
        let status = head.status;
        if let Ok(error) = serde_json::from_slice::<ErrorBody>(body) {
            return function_error(head, error_kind(error.kind.as_str().unwrap_or_default()));
        }
        if status.is_success() && body.starts_with(EMULATOR_TIMEOUT) {
            return function_error(head, "timeout");
        }
        if status == StatusCode::BAD_GATEWAY {
            return not_invoked(Fault::Transient);
        }
    }
    answer.outcome(|| response_of(head))
}

/// What the head says of a response.
fn response_of(head: &Parts) -> Response {
    let text = |name| plain_text(head.headers.get(name)?.to_str().ok()?);
    Response {
        status: head.status.as_u16(),
        request_id: text("x-amzn-requestid"),
        executed_version: text("x-amz-executed-version"),
        function_error: None,
    }
}

/// A text of a response, unless it could be anything else than a name, a number or an id.
pub(super) fn plain_text(text: &str) -> Option<Box<str>> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.$:".contains(&byte);
    let is_plain = (1..=128).contains(&text.len()) && text.bytes().all(plain);
    is_plain.then(|| text.into())
}

pub(super) const fn not_invoked(cause: Fault) -> Outcome {
    Outcome::NotInvoked { cause }
}

pub(super) fn function_error(head: &Parts, error: &str) -> Outcome {
    Outcome::FunctionError {
        error: error.to_owned(),
        response: Box::new(response_of(head).failed()),
    }
}

/// The request was sent and no response arrived: the function may have run.
pub(super) fn no_response(error: &str) -> Outcome {
    Outcome::function_error(0, error)
}

/// The kind of an error in a form that can be logged: a plain word. Anything else could contain
/// data of a record.
pub(super) fn error_kind(kind: &str) -> &str {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_';
    let shown = !kind.is_empty() && kind.len() <= 64 && kind.bytes().all(plain);
    if shown { kind } else { "Unhandled" }
}

/// The pause that `Retry-After` requests: seconds, or a date of HTTP. Anything else is ignored.
///
/// <https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(http::header::RETRY_AFTER)?;
    parse_retry_after(value.to_str().ok()?)
}

/// The value of `Retry-After`; see [`retry_after`].
pub(super) fn parse_retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than fits is long enough: the core limits the pause.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let time = DateTime::from_str(value, Format::HttpDate).ok()?;
    let time = SystemTime::try_from(time).ok()?;
    Some(
        time.duration_since(SystemTime::now())
            .unwrap_or(Duration::ZERO),
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(status: u16, headers: &[(&'static str, &'static str)], expected: Option<Outcome>) {
        let status = StatusCode::from_u16(status).unwrap();
        let pairs = headers.iter();
        let mut head = head(status);
        for (name, value) in pairs {
            let value = HeaderValue::from_static(value);
            head.headers.insert(*name, value);
        }
        assert_eq!(outcome_of_head(&head, false), expected);
    }

    fn head(status: StatusCode) -> Parts {
        let mut head = http::Response::new(()).into_parts().0;
        head.status = status;
        head
    }

    fn error(status: u16, kind: &str) -> Outcome {
        Outcome::function_error(status, kind)
    }

    #[test]
    fn a_status_determines_the_outcome() {
        check(200, &[], None);
        check(204, &[], None);
        check(
            200,
            &[("x-amz-function-error", "Unhandled")],
            Some(error(200, "Unhandled")),
        );
        check(400, &[], Some(error(400, "HTTP 400")));
        check(302, &[], Some(error(302, "HTTP 302")));
        check(500, &[], Some(error(500, "HTTP 500")));
        check(504, &[("retry-after", "7")], Some(error(504, "HTTP 504")));
        for status in [502, 503] {
            check(status, &[], Some(not_invoked(Fault::Transient)));
        }
        let throttled = |seconds: Option<u64>| {
            let retry_after = seconds.map(Duration::from_secs);
            Some(not_invoked(Fault::Throttled { retry_after }))
        };
        check(429, &[], throttled(None));
        check(429, &[("retry-after", "7")], throttled(Some(7)));
        check(503, &[("retry-after", "7")], throttled(Some(7)));
        check(
            503,
            &[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")],
            throttled(Some(0)),
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        for (value, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999999999999999", Some(u64::MAX)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(0)),
            ("", None),
            ("soon", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("2015-10-21T07:28:00Z", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(parse_retry_after(value), expected, "{value:?}");
        }
        let far = parse_retry_after("Fri, 31 Dec 9999 23:59:59 GMT").unwrap();
        assert!(Duration::from_secs(7_000 * 365 * 86_400) < far, "{far:?}");
    }

    #[test]
    fn an_emulator_reports_errors_in_the_body() {
        let failed = br#"{"errorMessage":"secret","errorType":"ValueError","stackTrace":[]}"#;
        let exited = br#"{"errorType":"Runtime.ExitError","errorMessage":"x"}"#;
        let (ok, bad) = (&head(StatusCode::OK), &head(StatusCode::BAD_GATEWAY));
        let outcome_of_body =
            |head, body: &[u8], emulator| outcome_of_body(head, body, emulator, Answer::default());
        assert_eq!(outcome_of_body(ok, failed, true), error(200, "ValueError"));
        assert_eq!(
            outcome_of_body(bad, exited, true),
            error(502, "Runtime.ExitError")
        );
        assert_eq!(
            outcome_of_body(bad, b"", true),
            not_invoked(Fault::Transient)
        );
        let late = b"Task timed out after 3.00 seconds";
        assert_eq!(outcome_of_body(ok, late, true), error(200, "timeout"));
        assert_eq!(
            outcome_of_body(ok, b"{\"ok\":true}", true),
            Outcome::Success
        );
        assert_eq!(outcome_of_body(ok, failed, false), Outcome::Success);
        let unnamed = br#"{"errorType":null,"errorMessage":null}"#;
        assert_eq!(outcome_of_body(ok, unnamed, true), error(200, "Unhandled"));
        assert_eq!(outcome_of_head(bad, true), None);
    }

    #[test]
    fn what_the_head_says_is_kept_as_far_as_it_is_plain_text() {
        let mut head = head(StatusCode::OK);
        for (name, value) in [
            ("x-amzn-requestid", "c9b8fa9f-5a7f-4b1e-af9c-0c604cde93a5"),
            ("x-amz-executed-version", "$LATEST"),
            ("x-amz-function-error", "Unhandled"),
        ] {
            head.headers.insert(name, HeaderValue::from_static(value));
        }
        let response = Response {
            status: 200,
            request_id: Some("c9b8fa9f-5a7f-4b1e-af9c-0c604cde93a5".into()),
            executed_version: Some("$LATEST".into()),
            function_error: Some("Unhandled".into()),
        };
        let expected = Outcome::FunctionError {
            error: "Unhandled".to_owned(),
            response: Box::new(response),
        };
        assert_eq!(outcome_of_head(&head, false), Some(expected));
        assert_eq!(plain_text("card 4111"), None);
        assert_eq!(plain_text(""), None);
    }

    #[test]
    fn an_error_kind_that_is_not_a_word_is_replaced() {
        assert_eq!(error_kind("Runtime.ExitError"), "Runtime.ExitError");
        assert_eq!(error_kind("card 4111"), "Unhandled");
        assert_eq!(error_kind(""), "Unhandled");
    }
}
