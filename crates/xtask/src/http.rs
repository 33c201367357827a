//! A minimal HTTP client for servers on loopback, and free ports for them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Of connecting, and of each read and write.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Sends one request to 127.0.0.1 on a new connection. Each header is a whole line.
pub(crate) fn send(
    port: u16,
    method: &str,
    path: &str,
    headers: &[String],
    body: &str,
) -> Result<Response> {
    let request = || format!("{method} http://127.0.0.1:{port}{path}");
    exchange(port, &format_request(port, method, path, headers, body))
        .and_then(|response| parse(&response))
        .with_context(request)
}

/// A port of loopback that nothing listens on right now.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("looking for a free port")?;
    let address = listener.local_addr().context("looking for a free port")?;
    Ok(address.port())
}

fn format_request(port: u16, method: &str, path: &str, headers: &[String], body: &str) -> String {
    let mut lines = vec![
        format!("{method} {path} HTTP/1.1"),
        format!("host: 127.0.0.1:{port}"),
        format!("content-length: {}", body.len()),
        "connection: close".to_owned(),
    ];
    lines.extend_from_slice(headers);
    format!("{}\r\n\r\n{body}", lines.join("\r\n"))
}

fn exchange(port: u16, request: &str) -> Result<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).context("connecting")?;
    stream
        .set_read_timeout(Some(TIMEOUT))
        .and_then(|()| stream.set_write_timeout(Some(TIMEOUT)))
        .context("setting the timeouts")?;
    stream
        .write_all(request.as_bytes())
        .context("sending the request")?;
    let mut response = Vec::new();
    stream
        .read_to_end(&mut response)
        .context("reading the response")?;
    String::from_utf8(response).context("reading the response")
}

fn parse(response: &str) -> Result<Response> {
    let (head, body) = response
        .split_once("\r\n\r\n")
        .context("the response has no end of headers")?;
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .context("the response has no status")?;
    let is_chunked = head.lines().any(|line| {
        let line = line.to_ascii_lowercase();
        line.starts_with("transfer-encoding:") && line.contains("chunked")
    });
    if is_chunked {
        bail!("the response is chunked, which this client does not support");
    }
    Ok(Response {
        status,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_parsed() {
        let response = parse("HTTP/1.1 404 Not Found\r\nserver: x\r\n\r\n{}").unwrap();
        assert_eq!((response.status, response.body.as_str()), (404, "{}"));
    }

    #[test]
    fn a_malformed_response_is_an_error() {
        for text in [
            "SSH-2.0-Open\r\n\r\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_request_has_headers_and_a_body() {
        let text = format_request(80, "POST", "/x", &["a: b".to_owned()], "{}");
        assert!(text.starts_with("POST /x HTTP/1.1\r\nhost: 127.0.0.1:80\r\n"));
        assert!(text.contains("\r\ncontent-length: 2\r\n"));
        assert!(text.ends_with("\r\na: b\r\n\r\n{}"));
    }
}
