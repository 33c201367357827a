//! Connections of HTTP functions: refused, closed, hanging, reused.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use windlass_core::outcome::{Fault, Outcome};
use windlass_engine::ports::{Invocation, Target};

use super::server::{Act, Server, response};
use super::{MINUTE, error, invocation, not_invoked, target, throttled};
use crate::targets::{HttpFunction, HttpTarget};

/// Closes the connection before a response begins.
fn close() -> Act {
    Act::RespondAndClose(Vec::new())
}

fn fine() -> Act {
    Act::Respond(response(200, &[], b"{}"))
}

#[tokio::test]
async fn a_function_that_accepts_no_connection_is_not_invoked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let target = target(&format!("http://{address}/"));
    let outcome = target.invoke(invocation(1)).await;
    assert_eq!(outcome, not_invoked(Fault::Transient));
}

#[tokio::test]
async fn a_new_connection_that_closes_without_a_response_is_a_function_error() {
    let mut server = Server::start([close()]).await;
    let target = target(&server.url("/"));
    let outcome = target.invoke(invocation(1)).await;
    assert_eq!(outcome, error(0, "connection closed"));
    assert_eq!(server.connections(1).await, [0], "it is sent once");
    assert_eq!(target.invoke(invocation(2)).await, Outcome::Success);
    assert_eq!(server.connections(1).await, [1]);
}

#[tokio::test]
async fn a_reused_connection_that_closes_without_a_response_is_replaced_once() {
    let mut server = Server::start([fine(), close(), fine()]).await;
    let target_ = target(&server.url("/"));
    assert_eq!(target_.invoke(invocation(1)).await, Outcome::Success);
    assert_eq!(target_.invoke(invocation(1)).await, Outcome::Success);
    assert_eq!(
        server.connections(3).await,
        [0, 0, 1],
        "it is sent once more"
    );
    let mut server = Server::start([fine(), close(), close(), fine()]).await;
    let target_ = target(&server.url("/"));
    assert_eq!(target_.invoke(invocation(1)).await, Outcome::Success);
    let outcome = target_.invoke(invocation(1)).await;
    assert_eq!(outcome, error(0, "connection closed"));
    assert_eq!(
        server.connections(3).await,
        [0, 0, 1],
        "and not a third time"
    );
}

#[tokio::test]
async fn a_response_that_is_not_http_is_not_requested_again() {
    let many: Vec<_> = (0..200).map(|index| format!("x-{index}: 1")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    for broken in [
        b"hello\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n{}".to_vec(),
        response(200, &many, b"{}"),
    ] {
        let mut server = Server::start([fine(), Act::RespondAndClose(broken)]).await;
        let target = target(&server.url("/"));
        assert_eq!(target.invoke(invocation(1)).await, Outcome::Success);
        let outcome = target.invoke(invocation(1)).await;
        assert_eq!(outcome, error(0, "response is not valid HTTP"));
        assert_eq!(server.connections(2).await, [0, 0], "it is sent once");
    }
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_not_reused() {
    for headers in [&[][..], &["connection: close"]] {
        let ended = Act::RespondAndClose(response(200, headers, b"{}"));
        let mut server = Server::start([ended.clone(), ended, fine()]).await;
        let target = target(&server.url("/"));
        for _ in 0..3 {
            assert_eq!(target.invoke(invocation(1)).await, Outcome::Success);
        }
        assert_eq!(server.connections(3).await, [0, 1, 2]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_reused() {
    let mut server = Server::start([]).await;
    let target = Arc::new(target(&server.url("/")));
    for _ in 0..50 {
        assert_eq!(target.invoke(invocation(1)).await, Outcome::Success);
    }
    let connections = server.connections(50).await;
    assert!(*connections.iter().max().unwrap() <= 4, "{connections:?}");
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let target = Arc::clone(&target);
        callers.spawn(async move {
            for _ in 0..50 {
                assert_eq!(target.invoke(invocation(1)).await, Outcome::Success);
            }
        });
    }
    callers.join_all().await;
    let connections = server.connections(200).await;
    assert!(*connections.iter().max().unwrap() <= 16, "{connections:?}");
}

/// <https://docs.kernel.org/networking/proc_net_tcp.html>
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_connection_has_tcp_keep_alive() {
    let server = Server::start([]).await;
    let target = target(&server.url("/"));
    assert_eq!(target.invoke(invocation(1)).await, Outcome::Success);
    let (_, port) = server.address().split_once(':').unwrap();
    let peer = format!("0100007F:{:04X}", port.parse::<u16>().unwrap());
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let sockets = sockets.lines().map(|it| it.split_whitespace().collect());
    let ours: Vec<Vec<_>> = sockets.filter(|it: &Vec<_>| it[2] == peer).collect();
    let [socket] = ours.try_into().unwrap();
    assert!(
        socket[5].starts_with("02:"),
        "the keep-alive timer: {socket:?}"
    );
}

/// Invokes a function every 20 s, so that its connection is never idle for long.
#[tokio::test]
async fn a_connection_is_used_for_five_minutes() {
    let mut server = Server::start([]).await;
    let target = target(&server.url("/"));
    let mut connections = Vec::new();
    for _ in 0..17 {
        assert_eq!(target.invoke(invocation(1)).await, Outcome::Success);
        connections.push(server.received().await.connection);
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(20)).await;
        tokio::time::resume();
    }
    let expected = [[0; 15].as_slice(), &[1, 1]].concat();
    assert_eq!(connections, expected);
}

#[tokio::test]
async fn an_old_connection_is_closed_after_its_response() {
    let permits = Arc::new(Semaphore::new(0));
    let slow = Act::RespondWhen(Arc::clone(&permits), response(200, &[], b"{}"));
    let mut server = Server::start([slow]).await;
    let function = HttpFunction::new(&server.url("/"));
    let target = Arc::new(HttpTarget::new(&function, 15 * MINUTE, None, None).unwrap());
    let mut call = JoinSet::new();
    let called = Arc::clone(&target);
    call.spawn(async move { called.invoke(invocation(1)).await });
    server.received().await;
    tokio::time::pause();
    tokio::time::advance(6 * MINUTE).await;
    tokio::time::resume();
    permits.add_permits(1);
    assert_eq!(call.join_next().await.unwrap().unwrap(), Outcome::Success);
    assert_eq!(target.invoke(invocation(1)).await, Outcome::Success);
    assert_eq!(server.connections(1).await, [1]);
}

#[tokio::test]
async fn a_function_that_times_out_may_have_run() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n".to_vec();
    let started = [head.as_slice(), b"abc"].concat();
    let busy = b"HTTP/1.1 503 Busy\r\ncontent-length: 10\r\n\r\n".to_vec();
    let hanging = [
        (Vec::new(), error(0, "timeout")),
        (b"HTTP/1.1 200 O".to_vec(), error(0, "timeout")),
        (head, error(200, "timeout")),
        (started, error(200, "timeout")),
        (busy, not_invoked(Fault::Transient)),
    ];
    for (sent, expected) in hanging {
        let mut server = Server::start([Act::Hang(sent)]).await;
        let target = Arc::new(target(&server.url("/")));
        let mut call = JoinSet::new();
        let called = Arc::clone(&target);
        call.spawn(async move { called.invoke(invocation(1)).await });
        server.received().await;
        // From here on, the clock advances whenever all tasks are idle.
        tokio::time::pause();
        let outcome = call.join_next().await.unwrap().unwrap();
        tokio::time::resume();
        assert_eq!(outcome, expected);
        assert_eq!(target.invoke(invocation(2)).await, Outcome::Success);
        assert_eq!(
            server.received().await.connection,
            1,
            "the first connection is not reused"
        );
    }
}

#[tokio::test]
async fn an_incomplete_response_is_a_function_error() {
    let broken = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".as_slice(),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense",
    ];
    for sent in broken {
        let server = Server::start([Act::RespondAndClose(sent.to_vec())]).await;
        let outcome = target(&server.url("/")).invoke(invocation(1)).await;
        assert_eq!(outcome, error(200, "response broken off"));
    }
    let not_http = "response is not valid HTTP";
    for (sent, expected) in [
        (b"HTTP/1.1 200 O".as_slice(), "connection closed"),
        (b"nonsense\r\n\r\n", not_http),
        (b"HTTP/1.1 999999 X\r\n\r\n", not_http),
    ] {
        let server = Server::start([Act::RespondAndClose(sent.to_vec())]).await;
        let outcome = target(&server.url("/")).invoke(invocation(1)).await;
        assert_eq!(outcome, error(0, expected));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_counts_that_arrives_before_the_request_was_sent_to_its_end() {
    let event = Bytes::from(vec![b'x'; 900_000]);
    for (status, expected) in [
        (429, throttled(None)),
        (503, not_invoked(Fault::Transient)),
        (413, error(413, "HTTP 413")),
    ] {
        let early = response(status, &["connection: close"], b"busy");
        let mut server = Server::start(vec![Act::RespondToHead(early); 20]).await;
        let target = target(&server.url("/"));
        for _ in 0..20 {
            let invocation = Invocation {
                event: event.clone().into(),
                ..invocation(1)
            };
            assert_eq!(target.invoke(invocation).await, expected);
        }
        let connections = server.connections(20).await;
        assert_eq!(connections, (0..20).collect::<Vec<_>>(), "none is reused");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_reset_during_the_request_without_a_response_is_a_function_error() {
    let mut server = Server::start(vec![Act::RespondToHead(Vec::new()); 5]).await;
    let target = target(&server.url("/"));
    for _ in 0..5 {
        let invocation = Invocation {
            event: Bytes::from(vec![b'x'; 900_000]).into(),
            ..invocation(1)
        };
        let outcome = target.invoke(invocation).await;
        assert_eq!(outcome, error(0, "connection closed"));
    }
    server.connections(5).await;
}
