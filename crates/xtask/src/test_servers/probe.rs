//! Asks a server one question over HTTP, to see whether it is ready.
//!
//! An open port is not enough: some of them listen seconds before they can answer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::catalogue::Server;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Whether the server on this port of loopback answers its question with 200.
pub(super) fn is_ready(port: u16, server: &Server) -> bool {
    status_of(port, server).is_some_and(|status| status == 200)
}

fn status_of(port: u16, server: &Server) -> Option<u16> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    stream.set_write_timeout(Some(TIMEOUT)).ok()?;
    stream.write_all(request(port, server).as_bytes()).ok()?;
    let mut start = [0; 12];
    stream.read_exact(&mut start).ok()?;
    status_in(&start)
}

/// The signature is not a real one: none of the servers checks it, some want to see one.
fn request(port: u16, server: &Server) -> String {
    let (target, content_type) = (server.ready_target, server.ready_content_type);
    [
        "POST / HTTP/1.1",
        &format!("host: 127.0.0.1:{port}"),
        &format!("x-amz-target: {target}"),
        &format!("content-type: {content_type}"),
        "x-amz-date: 20260101T000000Z",
        "authorization: AWS4-HMAC-SHA256 \
         Credential=test/20260101/us-east-1/kinesis/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature=none",
        "content-length: 2",
        "connection: close",
        "",
        "{}",
    ]
    .join("\r\n")
}

fn status_in(start: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(start).ok()?;
    text.strip_prefix("HTTP/1.1 ")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::status_in;

    #[test]
    fn a_status_is_read_from_the_first_line() {
        assert_eq!(status_in(b"HTTP/1.1 200"), Some(200));
        assert_eq!(status_in(b"HTTP/1.1 500"), Some(500));
        assert_eq!(status_in(b"SSH-2.0-Open"), None);
    }
}
