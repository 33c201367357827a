//! The document of windlass's own API, compared with the server.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use windlass_tests::openapi::{Document, METHODS};
use windlass_tests::signature::keys;

use super::{Exchange, server};

/// That the document has every route is a test of its own.
#[test]
fn the_server_has_the_operations_of_its_document_and_no_others() {
    let exchange = Exchange::new();
    for path in document().paths().keys() {
        for method in METHODS {
            let (_, answer) = exchange.call(method, &with_values(path));
            let text = answer["message"].as_str().unwrap_or_default();
            let is_there = !text.starts_with("windlass has no operation at ");
            let is_described = document().has(path, method);
            assert_eq!(is_there, is_described, "{method} {path}: {answer}");
        }
    }
}

/// A path of the document with something in place of each of its parameters.
fn with_values(path: &str) -> String {
    let parts = path.split('/');
    let parts = parts.map(|part| if part.starts_with('{') { "x" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// Of any path, with any method, whether it is one of ours or not. Only the probes answer.
#[test]
fn a_stranger_is_told_nothing_on_every_route() {
    let mut exchange = Exchange::new();
    exchange.server = server(exchange.parts(), keys());
    let address = exchange.server.address();
    let of_aws = ["/2015-03-31/event-source-mappings/x", "/2017-03-31/tags/x"];
    let others = ["/", "/metrics", "/no/such/path", "/livez/", "/readyz/x"];
    let ours = document().paths().keys().map(|path| with_values(path));
    let paths = ours.chain(of_aws.into_iter().chain(others).map(str::to_owned));
    // Each refusal that says why goes to another address: an address gets ten in a second.
    let strangers = (1..=254).flat_map(|a| (1..=254).map(move |b| [127, 0, a, b]));
    let mut strangers = strangers.map(IpAddr::from);
    for path in paths {
        for method in METHODS {
            let stranger = strangers.next().expect("there are enough");
            let answer = exchange
                .runtime
                .block_on(raw(stranger, address, method, &path));
            let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
            assert!(
                head.starts_with("HTTP/1.1 403 Forbidden"),
                "{method} {path}: {answer}"
            );
            let told = [
                "x-amzn-errortype",
                "content-type",
                "content-length",
                "x-amzn-requestid",
                "date",
                "connection",
            ];
            for line in head.lines().skip(1) {
                let (name, _) = line.split_once(':').unwrap_or_default();
                assert!(told.contains(&name), "{method} {path}: {answer}");
            }
            assert_eq!(
                body, r#"{"message":"Missing Authentication Token"}"#,
                "{method} {path}"
            );
        }
    }
}

/// The whole answer to a request from an address of this machine.
async fn raw(from: IpAddr, to: SocketAddr, method: &str, path: &str) -> String {
    let socket = TcpSocket::new_v4().expect("a socket is free");
    socket
        .bind(SocketAddr::new(from, 0))
        .expect("it is of this machine");
    let mut stream = socket.connect(to).await.expect("the server listens");
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("the server reads");
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer).await;
    read.expect("the server answers and closes");
    answer
}

/// The document of windlass's own API, as a server returns it.
pub(super) fn document() -> &'static Document {
    static DOCUMENT: OnceLock<Document> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let exchange = Exchange::new();
        let (status, document) = exchange.call("GET", "/windlass/v1/openapi.json");
        assert_eq!(status, 200);
        Document::new(document)
    })
}
