//! Rejects requests of web pages to a daemon on loopback.
//!
//! A page in a browser can send requests to 127.0.0.1: under a host name of its own that resolves
//! to it (DNS rebinding), or across origins. `Host` shows the first, `Origin` the second; clients of
//! this API send neither.

use std::net::IpAddr;

use http::{HeaderMap, header};

use crate::errors::{ApiError, Code};

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
    fn check_host(host: &'static str, passes: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        assert_eq!(check(&headers).is_ok(), passes, "{host}");
    }

    #[test]
    fn a_host_is_a_loopback_name_or_address() {
        check_host("localhost", true);
        check_host("LocalHost:9870", true);
        check_host("127.0.0.1:9870", true);
        check_host("127.3.2.1", true);
        check_host("[::1]:9870", true);
        check_host("evil.example:9870", false);
        check_host("localhost.evil.example", false);
        check_host("127.0.0.1.evil.example", false);
        check_host("10.0.0.1:9870", false);
        check_host("", false);
        check(&HeaderMap::new()).unwrap_err();
    }

    #[test]
    fn requests_with_an_origin_are_rejected() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        headers.insert(header::ORIGIN, HeaderValue::from_static("http://localhost"));
        check(&headers).unwrap_err();
    }
}
