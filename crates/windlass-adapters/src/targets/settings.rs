//! What may be configured of a function by URL.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Uri;

use crate::trust::CaBundle;

/// Headers that belong to one connection, or say how the body is carried: HTTP itself writes them.
///
/// <https://www.rfc-editor.org/rfc/rfc9110.html#section-7.6.1>
const OF_THE_CONNECTION: [&str; 13] = [
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Said of what is no URL.
const NO_URL: &str = "not a URL; it begins with http:// or https:// and names a host, such as \
                      http://127.0.0.1:9000/resize";

/// How a function is invoked by URL.
#[derive(Clone, Debug)]
pub struct HttpTargetSettings {
    /// Absolute, `http` or `https`.
    pub url: String,
    /// Sent with every request.
    pub headers: BTreeMap<String, String>,
    /// Signs the body, if there is one.
    pub signing_secret: Option<String>,
    /// The longest that one invocation may take.
    pub timeout: Duration,
    /// Most invocations at a time; others wait.
    pub maximum_concurrency: Option<usize>,
    /// Authorities that are trusted besides the machine's.
    pub ca_bundle: Option<CaBundle>,
}

/// Why a header cannot be configured, with the remedy; `None`: it can.
///
/// A header that contradicts the request does harm: with a shorter `content-length` the function
/// gets a part of the event, takes it for the whole, and the records count as processed.
#[must_use]
pub fn refused_header(name: &str, value: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    if OF_THE_CONNECTION.contains(&name.as_str()) {
        return Some("HTTP itself sets this header, from the URL and the event; remove it");
    }
    if name == "traceparent" || name.starts_with("x-windlass-") {
        return Some(
            "every request has this header of windlass; remove it, or choose another name",
        );
    }
    if name == "accept-encoding" {
        return Some("answers are read as they come, and cannot be unpacked; remove it");
    }
    (name == "content-type" && !is_json(value))
        .then_some("the body is JSON; remove it, or write a type of JSON such as application/json")
}

/// Why a URL is none of a function, with the remedy; `None`: it is one.
#[must_use]
pub fn refused_url(text: &str) -> Option<&'static str> {
    let Ok(uri) = text.parse::<Uri>() else {
        return Some(NO_URL);
    };
    let authority = uri.authority();
    if !matches!(uri.scheme_str(), Some("http" | "https"))
        || authority.is_none_or(|it| it.host().is_empty())
    {
        return Some(NO_URL);
    }
    authority
        .is_some_and(|it| it.as_str().contains('@'))
        .then_some(
            "a URL with a user name is not understood; write it under 'headers', as \
             'authorization: Basic …'",
        )
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence == "application/json"
        || essence.ends_with("+json")
        || essence.starts_with("application/x-amz-json-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_contradict_the_request_are_refused() {
        for (name, value) in [
            ("Content-Length", "3"),
            ("content-encoding", "gzip"),
            ("host", "elsewhere"),
            ("Transfer-Encoding", "chunked"),
            ("connection", "close"),
            ("upgrade", "h2c"),
            ("content-type", "text/plain"),
            ("accept-encoding", "gzip"),
            ("X-Windlass-Attempt", "1"),
            ("x-windlass-signature", "sha256="),
            ("traceparent", "00"),
        ] {
            assert!(refused_header(name, value).is_some(), "{name}");
        }
        for (name, value) in [
            ("authorization", "Basic eA=="),
            ("content-type", "application/json; charset=utf-8"),
            ("content-type", "application/cloudevents+json"),
            ("x-team", "images"),
            ("user-agent", "mine"),
        ] {
            assert_eq!(refused_header(name, value), None, "{name}");
        }
    }

    #[test]
    fn urls_that_cannot_be_called_are_refused() {
        for url in [
            "",
            "nowhere",
            "/path",
            "ftp://host/",
            "http://",
            "http://user:pw@host/",
            "https://user@host",
        ] {
            assert!(refused_url(url).is_some(), "{url}");
        }
        for url in ["http://host", "https://host:1/p?q=a@b", "http://[::1]:9/"] {
            assert_eq!(refused_url(url), None, "{url}");
        }
    }
}
