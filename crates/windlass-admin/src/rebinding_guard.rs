//! Keeps web pages away from a daemon on loopback.
//!
//! A page that somebody has open can send requests to 127.0.0.1, by a name of its own that resolves
//! to it (DNS rebinding) or across origins. The first shows in `Host`, the second in `Origin`; no
//! client of this API sends either.

use std::net::IpAddr;

use http::{HeaderMap, header};

use crate::errors::{ApiError, Code};

/// Refuses what a web page may have sent.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key(header::ORIGIN) {
        let text = "a request with an Origin comes from a web page, and none may call this API";
        return Err(ApiError::new(Code::AccessDenied, text));
    }
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    if host.is_some_and(is_loopback) {
        return Ok(());
    }
    let text = "the Host of a request to a daemon on loopback must be localhost or a loopback \
                address; use http://127.0.0.1 and the port";
    Err(ApiError::new(Code::AccessDenied, text))
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(address, _)| address),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    let address = name.parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn answers(host: &'static str, passes: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        assert_eq!(check(&headers).is_ok(), passes, "{host}");
    }

    #[test]
    fn a_host_is_a_loopback_name_or_address() {
        answers("localhost", true);
        answers("LocalHost:9870", true);
        answers("127.0.0.1:9870", true);
        answers("127.3.2.1", true);
        answers("[::1]:9870", true);
        answers("evil.example:9870", false);
        answers("localhost.evil.example", false);
        answers("127.0.0.1.evil.example", false);
        answers("10.0.0.1:9870", false);
        answers("", false);
        check(&HeaderMap::new()).unwrap_err();
    }

    #[test]
    fn no_origin_may_call() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        headers.insert(header::ORIGIN, HeaderValue::from_static("http://localhost"));
        check(&headers).unwrap_err();
    }
}
