//! Configuration of functions, with its defaults and its rules.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Uri;
use thiserror::Error;
use windlass_core::arn::Arn;

use super::process::ProcessFunction;
use crate::aws::Role;

/// Path of a Lambda Runtime Interface Emulator, which reports errors in its own way.
///
/// <https://github.com/aws/aws-lambda-runtime-interface-emulator>
const EMULATOR_PATH: &str = "/2015-03-31/functions/function/invocations";

/// Headers that belong to one connection or describe how the body is transferred: HTTP itself sets
/// them.
///
/// <https://www.rfc-editor.org/rfc/rfc9110.html#section-7.6.1>
const CONNECTION_HEADERS: [&str; 13] = [
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

/// Why a URL cannot be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UrlError {
    #[error("it is not a URL with http:// or https:// and a host")]
    Invalid,
    /// It may contain a password, so it should not be shown.
    #[error(
        "user names in URLs are not supported; set the header 'authorization: Basic …' under 'headers'"
    )]
    UserName,
}
/// A function of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionSettings {
    pub kind: FunctionKind,
    /// Limit of one invocation. By default [`Self::DEFAULT_TIMEOUT`], for a Lambda function the
    /// `Timeout` that it has on AWS.
    pub timeout: Option<Duration>,
    /// Limit of concurrent invocations; further ones wait.
    pub maximum_concurrency: Option<usize>,
    /// Shown to the function as `invokeIdentityArn`; a role of the daemon's account by default.
    pub role_arn: Option<String>,
    /// With which a Lambda function is invoked and looked up; otherwise with the daemon's own
    /// credentials.
    pub assume_role: Option<Role>,
}

/// How a function is invoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FunctionKind {
    Http(HttpFunction),
    /// Through AWS Lambda's API.
    Lambda(Arn),
    /// In processes of this machine.
    Process(ProcessFunction),
}

/// A function that is invoked by POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpFunction {
    /// Absolute; see [`validate_url`].
    pub url: String,
    /// Sent with every request; see [`validate_header`].
    pub headers: BTreeMap<String, String>,
    /// Key of the signature over the body.
    pub signing_secret: Option<String>,
}

impl FunctionSettings {
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

    /// The longest timeout of a function on AWS.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
    pub const MAX_TIMEOUT: Duration = Duration::from_secs(15 * 60);

    /// The longest timeout of a Lambda function: that of durable functions on Managed Instances.
    pub const MAX_LAMBDA_TIMEOUT: Duration = Duration::from_secs(90 * 60);

    /// The defaults of a function of this kind.
    pub fn new(kind: FunctionKind) -> Self {
        let maximum_concurrency = match &kind {
            // A Runtime Interface Emulator exits when it receives a second concurrent request.
            FunctionKind::Http(function) => function.is_runtime_interface_emulator().then_some(1),
            FunctionKind::Process(function) => Some(function.maximum_processes),
            FunctionKind::Lambda(_) => None,
        };
        Self {
            kind,
            timeout: None,
            maximum_concurrency,
            role_arn: None,
            assume_role: None,
        }
    }
}

impl HttpFunction {
    /// A function without headers and without a signature.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            headers: BTreeMap::new(),
            signing_secret: None,
        }
    }

    /// Whether the URL is that of a Lambda Runtime Interface Emulator. A prefix of the path, a
    /// trailing slash and a query make no difference.
    pub fn is_runtime_interface_emulator(&self) -> bool {
        let uri = self.url.parse::<Uri>();
        uri.is_ok_and(|uri| uri.path().trim_end_matches('/').ends_with(EMULATOR_PATH))
    }
}

/// Checks a header of the configuration.
///
/// A header that contradicts the request does harm: with a shorter `content-length` the function
/// receives a part of the event, takes it for the whole, and the records count as processed.
///
/// # Errors
/// The reason and the remedy.
pub fn validate_header(name: &str, value: &str) -> Result<(), &'static str> {
    let name = name.to_ascii_lowercase();
    if CONNECTION_HEADERS.contains(&name.as_str()) {
        return Err("HTTP sets this header from the URL and the event; remove it");
    }
    if name == "traceparent" || name.starts_with("x-windlass-") {
        return Err("windlass sets this header in every request; remove it or rename it");
    }
    if name == "accept-encoding" {
        return Err("compressed responses are not supported; remove this header");
    }
    if name == "content-type" && !is_json(value) {
        return Err(
            "the body is JSON; remove this header, or use a JSON type such as application/json",
        );
    }
    Ok(())
}

/// Checks the URL of a function or an endpoint.
///
/// # Errors
/// Why it cannot be called.
pub fn validate_url(text: &str) -> Result<(), UrlError> {
    if text.contains('@') {
        let authority = text.split_once("//").map_or(text, |(_, rest)| rest);
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(UrlError::UserName);
        }
    }
    let uri: Uri = text.parse().map_err(|_| UrlError::Invalid)?;
    let authority = uri.authority().ok_or(UrlError::Invalid)?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    // A port above 65535 parses as none, which would be the default port.
    let has_bad_port = authority.port_u16().is_none() && authority.as_str() != authority.host();
    if !is_http || authority.host().is_empty() || has_bad_port {
        return Err(UrlError::Invalid);
    }
    Ok(())
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
            assert!(validate_header(name, value).is_err(), "{name}");
        }
        for (name, value) in [
            ("authorization", "Basic eA=="),
            ("content-type", "application/json; charset=utf-8"),
            ("content-type", "application/cloudevents+json"),
            ("x-team", "images"),
            ("user-agent", "mine"),
        ] {
            assert_eq!(validate_header(name, value), Ok(()), "{name}");
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
            "http://host:99999/",
            "http://host:/",
        ] {
            assert!(validate_url(url).is_err(), "{url}");
        }
        for url in ["http://host", "https://host:1/p?q=a@b", "http://[::1]:9/"] {
            assert_eq!(validate_url(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn an_emulator_is_recognized_by_the_end_of_its_path() {
        for (rest, expected) in [
            ("", true),
            ("/", true),
            ("?a=b", true),
            ("/other", false),
            ("s", false),
        ] {
            for prefix in ["", "/proxy"] {
                let url = format!("http://host:9000{prefix}{EMULATOR_PATH}{rest}");
                let function = HttpFunction::new(&url);
                assert_eq!(function.is_runtime_interface_emulator(), expected, "{url}");
            }
        }
        let elsewhere = HttpFunction::new(&format!("http://host/?path={EMULATOR_PATH}"));
        assert!(!elsewhere.is_runtime_interface_emulator());
    }

    #[test]
    fn an_emulator_is_invoked_once_at_a_time_by_default() {
        let limit = |url: &str| {
            let kind = FunctionKind::Http(HttpFunction::new(url));
            FunctionSettings::new(kind).maximum_concurrency
        };
        assert_eq!(limit(&format!("http://host{EMULATOR_PATH}")), Some(1));
        assert_eq!(limit("http://host/"), None);
    }
}
