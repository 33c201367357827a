//! Connections as callers make them: encrypted or not, complete or not.

use axum::routing::{get, post};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::SendRequest;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::tls::tests::lasting;

const REQUEST: &[u8] = b"GET /ok HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// A guard against tests that hang.
const HANG: Duration = Duration::from_secs(3_600);

struct Served {
    address: std::net::SocketAddr,
    certificate: Option<CertificateDer<'static>>,
    /// Of the response at `/rows`.
    rows: mpsc::Sender<Bytes>,
    stop: watch::Sender<bool>,
    server: JoinSet<()>,
}

async fn serving(max_connections: usize) -> Served {
    serving_by(max_connections, false).await
}

async fn serving_by(max_connections: usize, is_encrypted: bool) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let host = async |headers: HeaderMap| headers[header::HOST].to_str().unwrap().to_owned();
    let (rows, body) = mpsc::channel(1);
    let body = Arc::new(Mutex::new(Some(body)));
    let rows_route = async move || Body::new(Rows(body.lock().unwrap().take().unwrap()));
    let router = Router::new()
        .route("/rows", get(rows_route))
        .route("/ok", get(async || "ok"))
        .route("/host", get(host))
        .route("/endless", get(async || Body::new(Endless)))
        .route("/hang", post(async || std::future::pending::<()>().await));
    let limits = ConnectionLimits {
        max_connections,
        ..ConnectionLimits::default()
    };
    let (tls, certificate) = is_encrypted.then(lasting).unzip();
    let serving = Serving {
        router,
        tls: tls.map(|tls| Arc::new(ServerTls::new(tls))),
        limits,
    };
    let (stop, stopped) = watch::channel(false);
    let mut server = JoinSet::new();
    server.spawn(serve(listener, serving, stopped));
    Served {
        address,
        certificate,
        rows,
        stop,
        server,
    }
}

impl Served {
    async fn connect(&self, sends: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(sends).await.unwrap();
        stream
    }

    /// An encrypted connection, whose client offers a protocol.
    async fn connect_tls(&self, protocol: Option<&[u8]>) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone().unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocol.map(<[u8]>::to_vec).into_iter().collect();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, stream).await.unwrap()
    }

    /// A client of HTTP/2, and the end of its connection.
    async fn connect_http2(&self) -> (SendRequest<Empty<Bytes>>, JoinSet<()>) {
        let stream = TokioIo::new(self.connect_tls(Some(HTTP_2)).await);
        let connected = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
        let (sender, connection) = connected.await.unwrap();
        let mut ended = JoinSet::new();
        ended.spawn(async move { drop(connection.await) });
        (sender, ended)
    }

    async fn stopped(mut self) {
        self.stop.send_replace(true);
        let end = tokio::time::timeout(HANG, self.server.join_next()).await;
        end.unwrap().unwrap().unwrap();
    }
}

async fn read_response(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = String::new();
    while !text.ends_with("ok") {
        let mut part = [0; 1024];
        let read = tokio::time::timeout(HANG, stream.read(&mut part)).await;
        let n = read.unwrap().unwrap();
        assert_ne!(n, 0, "closed after: {text}");
        text.push_str(std::str::from_utf8(&part[..n]).unwrap());
    }
    text
}

/// What arrives until the server closes the connection.
async fn read_to_close(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    let read = tokio::time::timeout(HANG, stream.read_to_end(&mut all)).await;
    // A reset closes it, too.
    drop(read.expect("the connection is closed"));
    all
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_never_completed_are_closed() {
    let served = serving(8).await;
    for sends in ["", "GET /ok HTT", "GET /ok HTTP/1.1\r\nhost: local"] {
        let mut stream = served.connect(sends.as_bytes()).await;
        read_to_close(&mut stream).await;
    }
    served.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_stays_idle_after_a_response_is_closed() {
    let served = serving(8).await;
    let mut stream = served.connect(REQUEST).await;
    read_response(&mut stream).await;
    read_to_close(&mut stream).await;
    served.stopped().await;
}

#[tokio::test]
async fn a_further_caller_replaces_the_connection_that_is_idle_longest() {
    let served = serving(4).await;
    // One request in progress, which nobody can replace.
    let busy = b"POST /hang HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";
    let _busy = served.connect(busy).await;
    let mut used = served.connect(REQUEST).await;
    read_response(&mut used).await;
    let mut strangers = Vec::new();
    for _ in 0..64 {
        strangers.push(served.connect(b"GET /ok HTT").await);
    }
    for _ in 0..8 {
        let mut stream = served.connect(REQUEST).await;
        read_response(&mut stream).await;
        strangers.push(stream);
    }
    assert_eq!(read_to_close(&mut used).await, b"");
    served.stop.send_replace(true);
}

#[tokio::test]
async fn a_stop_lets_requests_finish_and_closes_the_rest() {
    let served = serving(4).await;
    let mut idle = served.connect(REQUEST).await;
    read_response(&mut idle).await;
    served.stopped().await;
    assert_eq!(read_to_close(&mut idle).await, b"");
}

fn request(method: &str, path: &str) -> Request<Empty<Bytes>> {
    let uri = format!("https://localhost{path}");
    Request::builder()
        .method(method)
        .uri(uri)
        .body(Empty::new())
        .unwrap()
}

async fn text(sender: &mut SendRequest<Empty<Bytes>>, path: &str) -> String {
    sender.ready().await.unwrap();
    let response = sender.send_request(request("GET", path)).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// A body whose parts are sent by the test.
struct Rows(mpsc::Receiver<Bytes>);

impl HttpBody for Rows {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let row = self.0.poll_recv(context);
        row.map(|row| row.map(|row| Ok(Frame::data(row))))
    }
}

/// A body that never ends, and never lets its reader wait.
struct Endless;

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(
            &[b'.'; 16 * 1024],
        )))))
    }
}

#[tokio::test]
async fn encrypted_requests_are_served_by_both_protocols() {
    let served = serving_by(8, true).await;
    for protocol in [None, Some(b"http/1.1".as_slice())] {
        let mut stream = served.connect_tls(protocol).await;
        stream.write_all(REQUEST).await.unwrap();
        let response = read_response(&mut stream).await;
        assert!(response.starts_with("HTTP/1.1 200 OK"), "{response}");
    }
    let (mut sender, _ended) = served.connect_http2().await;
    assert_eq!(text(&mut sender, "/ok").await, "ok");
    assert_eq!(text(&mut sender, "/host").await, "localhost");
    served.stopped().await;
}

#[tokio::test]
async fn a_request_that_is_not_encrypted_is_told_so() {
    let served = serving_by(8, true).await;
    let request = b"GET /ok HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut stream = served.connect(request).await;
    let response = String::from_utf8(read_to_close(&mut stream).await).unwrap();
    assert!(
        response.starts_with("HTTP/1.1 400 Bad Request"),
        "{response}"
    );
    assert!(response.contains("https://"), "{response}");
    let mut stream = served
        .connect(b"\x00\x01\x02\x03\x04 no protocol at all")
        .await;
    read_to_close(&mut stream).await;
    served.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_end_is_closed_and_keeps_nobody_waiting() {
    let served = serving_by(8, true).await;
    // The second is the start of a handshake: a record of 512 bytes that breaks off after the first.
    for sends in [b"".as_slice(), b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = served.connect(sends).await;
        assert_eq!(read_to_close(&mut stream).await, b"");
    }
    served.stopped().await;
}

#[tokio::test]
async fn a_further_caller_replaces_a_handshake() {
    let served = serving_by(4, true).await;
    let mut strangers = Vec::new();
    for _ in 0..16 {
        strangers.push(served.connect(b"\x16").await);
    }
    let mut stream = served.connect_tls(None).await;
    stream.write_all(REQUEST).await.unwrap();
    read_response(&mut stream).await;
    served.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_over_http2_is_closed_when_it_is_not_used() {
    let served = serving_by(8, true).await;
    let (mut sender, mut ended) = served.connect_http2().await;
    assert_eq!(text(&mut sender, "/ok").await, "ok");
    let end = tokio::time::timeout(HANG, ended.join_next()).await;
    end.unwrap().unwrap().unwrap();
    served.stopped().await;
}

#[tokio::test]
async fn a_connection_over_http2_is_idle_once_no_request_is_in_progress() {
    let served = serving_by(2, true).await;
    let (mut busy, _busy_ended) = served.connect_http2().await;
    let mut tasks = JoinSet::new();
    let hanging = busy.send_request(request("POST", "/hang"));
    tasks.spawn(async move { drop(hanging.await) });
    // Another request of the same connection does not make it idle.
    assert_eq!(text(&mut busy, "/ok").await, "ok");
    let (mut idle, mut idle_ended) = served.connect_http2().await;
    assert_eq!(text(&mut idle, "/ok").await, "ok");
    let (mut further, _further_ended) = served.connect_http2().await;
    assert_eq!(text(&mut further, "/ok").await, "ok");
    let end = tokio::time::timeout(HANG, idle_ended.join_next()).await;
    end.unwrap().unwrap().unwrap();
    assert_eq!(text(&mut busy, "/ok").await, "ok");
}

#[tokio::test]
async fn a_connection_is_not_idle_while_the_rest_of_a_response_is_waited_for() {
    let served = serving(2).await;
    let request = b"GET /rows HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut stream = served.connect(request).await;
    served.rows.send(Bytes::from_static(b"ok")).await.unwrap();
    let mut part = [0; 1024];
    stream.read_exact(&mut part[..16]).await.unwrap();
    for _ in 0..4 {
        let mut other = served.connect(REQUEST).await;
        read_response(&mut other).await;
    }
    served.rows.send(Bytes::from_static(b"last")).await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"last\r\n") {
        let read = stream.read(&mut part).await.unwrap();
        assert_ne!(read, 0, "it is still open");
        text.extend_from_slice(&part[..read]);
    }
}

#[tokio::test]
async fn a_caller_that_does_not_read_its_response_is_replaced() {
    let served = serving(1).await;
    let request = b"GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut stalled = served.connect(request).await;
    let mut part = [0; 1024];
    stalled.read_exact(&mut part).await.unwrap();
    let mut other = served.connect(REQUEST).await;
    read_response(&mut other).await;
}
