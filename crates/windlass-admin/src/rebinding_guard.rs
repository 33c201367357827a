//! Rejects requests of web pages, on every listener.
//!
//! A page in a browser can send requests to a daemon that it cannot reach otherwise, on 127.0.0.1 or
//! within a private network: under a host name of its own that resolves to the daemon (DNS
//! rebinding), or across origins. `Host` shows the first; `Origin` and `Sec-Fetch-Site`, which
//! clients of this API do not send, show the second.
//!
//! The address of the listener says nothing: in a container it is never loopback, though the port is
//! often published there.

use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderMap, HeaderValue, header};

use crate::errors::{ApiError, Code};

/// A name under which clients may address the daemon, with a port or with any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost {
    /// In lower case.
    name: String,
    port: Option<u16>,
}

/// Which requests pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct RebindingGuard {
    allowed_hosts: Vec<AllowedHost>,
    scheme: Scheme,
}

/// Of the URLs under which the server is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scheme {
    #[default]
    Http,
    Https,
}

impl Scheme {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Http => "http://",
            Self::Https => "https://",
        }
    }

    /// The port of a `Host` that names none.
    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl AllowedHost {
    /// Parses a host name with or without a port: `windlass.internal:9870`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, port) = split_port(text)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if name.is_empty() || 253 < name.len() || !name.bytes().all(is_plain) {
            return None;
        }
        Some(Self {
            name: name.to_ascii_lowercase(),
            port,
        })
    }

    fn admits(&self, name: &str, port: u16) -> bool {
        let is_port = |allowed| allowed == port;
        self.name.eq_ignore_ascii_case(name) && self.port.is_none_or(is_port)
    }
}

impl RebindingGuard {
    pub(crate) const fn new(allowed_hosts: Vec<AllowedHost>, scheme: Scheme) -> Self {
        Self {
            allowed_hosts,
            scheme,
        }
    }

    /// `any_host`: for paths that probes call under names that nobody configures.
    pub(crate) fn check(&self, headers: &HeaderMap, any_host: bool) -> Result<(), ApiError> {
        let host = single(headers, header::HOST).and_then(|host| host.to_str().ok());
        let origins = headers.get_all(header::ORIGIN);
        let is_own = |origin| host.is_some_and(|host| self.is_origin_of(origin, host));
        if !origins.iter().all(is_own) || is_cross_site(headers) {
            let text = "a request with the Origin of another site comes from a web page, and no web \
                        page may call this API";
            return Err(ApiError::new(Code::AccessDenied, text));
        }
        if any_host || host.is_some_and(|host| self.admits(host)) {
            return Ok(());
        }
        let text = "the Host of a request must be an IP address, localhost, or a name that the \
                    configuration lists under allowed_hosts";
        Err(ApiError::new(Code::AccessDenied, text))
    }

    /// A page can make a name of its own resolve to the daemon, but not an address or a name that
    /// always means this machine.
    fn admits(&self, host: &str) -> bool {
        let Some((name, port)) = split_port(host) else {
            return false;
        };
        let lower = name.to_ascii_lowercase();
        let is_loopback = lower == "localhost" || lower.ends_with(".localhost");
        let port = port.unwrap_or(self.scheme.port());
        let mut allowed = self.allowed_hosts.iter();
        is_address(name) || is_loopback || allowed.any(|it| it.admits(name, port))
    }

    /// Whether an origin is that of the server itself, under the host it is asked under.
    fn is_origin_of(&self, origin: &HeaderValue, host: &str) -> bool {
        let origin = origin.to_str().ok();
        let authority = origin.and_then(|origin| origin.strip_prefix(self.scheme.prefix()));
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    }
}

fn single(headers: &HeaderMap, name: header::HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn is_cross_site(headers: &HeaderMap) -> bool {
    let values = headers.get_all("sec-fetch-site");
    values.iter().any(|site| site == "cross-site")
}

fn is_address(name: &str) -> bool {
    let bracketed = name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    bracketed.map_or_else(
        || name.parse::<IpAddr>().is_ok(),
        |address| address.parse::<Ipv6Addr>().is_ok(),
    )
}

/// Splits `name`, `name:port` or `[address]:port`; `None` if the port is not a number.
fn split_port(host: &str) -> Option<(&str, Option<u16>)> {
    let end_of_address = host.strip_prefix('[').map(|_| host.find(']'));
    let end = match end_of_address {
        Some(bracket) => bracket? + 1,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(end);
    match port.strip_prefix(':') {
        Some(port) => Some((name, Some(port.parse().ok()?))),
        None => port.is_empty().then_some((name, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> RebindingGuard {
        let allowed = ["Windlass.internal", "proxy:8080", "plain:80"];
        let allowed = allowed.map(|it| AllowedHost::parse(it).unwrap());
        RebindingGuard::new(allowed.to_vec(), Scheme::Http)
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[track_caller]
    fn check_host(host: &'static str, passes: bool) {
        let headers = headers(&[("host", host)]);
        assert_eq!(guard().check(&headers, false).is_ok(), passes, "{host}");
        guard().check(&headers, true).unwrap();
    }

    #[test]
    fn a_host_is_an_address_a_loopback_name_or_allowed() {
        for host in [
            "localhost",
            "LocalHost:9870",
            "app.localhost:9870",
            "127.0.0.1:9870",
            "10.0.0.1:9870",
            "192.168.1.5",
            "[::1]:9870",
            "[2001:db8::1]",
            "windlass.INTERNAL",
            "windlass.internal:1",
            "proxy:8080",
            "plain",
            "plain:80",
        ] {
            check_host(host, true);
        }
        for host in [
            "evil.example:9870",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1.evil.example",
            "evil.windlass.internal",
            "proxy",
            "proxy:80",
            "127.0.0.1:port",
            "[127.0.0.1]",
            "[::1",
            "[::1]evil.example",
            "",
        ] {
            check_host(host, false);
        }
        guard().check(&HeaderMap::new(), false).unwrap_err();
        let twice = headers(&[("host", "localhost"), ("host", "evil.example")]);
        guard().check(&twice, false).unwrap_err();
    }

    #[test]
    fn an_origin_is_the_servers_own_whatever_the_path() {
        for (host, origin, passes) in [
            ("localhost:9870", "http://localhost:9870", true),
            ("10.0.0.1:9870", "http://10.0.0.1:9870", true),
            ("localhost:9870", "http://localhost", false),
            ("localhost:9870", "https://localhost:9870", false),
            ("localhost:9870", "http://127.0.0.1:9870", false),
            ("localhost:9870", "http://evil.example", false),
            ("localhost:9870", "null", false),
        ] {
            for any_host in [false, true] {
                let headers = headers(&[("host", host), ("origin", origin)]);
                let checked = guard().check(&headers, any_host);
                assert_eq!(checked.is_ok(), passes, "{host} {origin}");
            }
        }
        // The name of the page, under which it reached the daemon.
        let rebound = headers(&[("host", "evil.example"), ("origin", "http://evil.example")]);
        guard().check(&rebound, false).unwrap_err();
    }

    #[test]
    fn over_tls_the_scheme_and_the_port_are_its_own() {
        let allowed = ["a:443", "b:80"].map(|it| AllowedHost::parse(it).unwrap());
        let guard = RebindingGuard::new(allowed.to_vec(), Scheme::Https);
        for (host, origin, passes) in [
            ("a", "https://a", true),
            ("a", "http://a", false),
            ("b", "https://b", false),
            ("b:80", "https://b:80", true),
        ] {
            let headers = headers(&[("host", host), ("origin", origin)]);
            let checked = guard.check(&headers, false);
            assert_eq!(checked.is_ok(), passes, "{host} {origin}");
        }
    }

    #[test]
    fn requests_across_sites_are_rejected() {
        for (site, passes) in [("cross-site", false), ("same-origin", true), ("none", true)] {
            let headers = headers(&[("host", "localhost"), ("sec-fetch-site", site)]);
            assert_eq!(guard().check(&headers, true).is_ok(), passes, "{site}");
        }
    }

    #[test]
    fn allowed_hosts_are_names() {
        for text in [
            "", ":1", "a b", "http://a", "a:b", "a:70000", "a/b", "é", "[::1]",
        ] {
            assert_eq!(AllowedHost::parse(text), None, "{text}");
        }
    }
}
