//! Responses that arrive before the request was sent to its end.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};

/// A stream that remains readable after a write has failed.
///
/// A server may respond before it has read the request (429, 503, 413) and close the connection,
/// which is then reset. The response is in our receive buffer, but HTTP clients give up at the
/// failed write. This discards what cannot be written, so that they read on: to the response, or to
/// the end of the stream, which they report.
pub(super) struct ReadableAfterWriteError<S> {
    inner: S,
    write_failed: Arc<AtomicBool>,
}

impl<S> ReadableAfterWriteError<S> {
    /// `write_failed` is set when a write has failed.
    pub(super) const fn new(inner: S, write_failed: Arc<AtomicBool>) -> Self {
        Self {
            inner,
            write_failed,
        }
    }

    fn has_failed(&self) -> bool {
        self.write_failed.load(Ordering::Relaxed)
    }

    /// The result that hyper sees of a write of `len` bytes.
    fn written(&self, result: io::Result<usize>, len: usize) -> usize {
        match result {
            Ok(written) if 0 < written || len == 0 => written,
            Ok(_) | Err(_) => {
                self.write_failed.store(true, Ordering::Relaxed);
                len
            }
        }
    }
}

impl<S: Read + Unpin> Read for ReadableAfterWriteError<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: Write + Unpin> Write for ReadableAfterWriteError<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.has_failed() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = ready!(Pin::new(&mut self.inner).poll_write(context, bytes));
        Poll::Ready(Ok(self.written(result, bytes.len())))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.has_failed() && ready!(Pin::new(&mut self.inner).poll_flush(context)).is_err() {
            self.write_failed.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = pieces.iter().map(|piece| piece.len()).sum();
        if self.has_failed() {
            return Poll::Ready(Ok(len));
        }
        let result = ready!(Pin::new(&mut self.inner).poll_write_vectored(context, pieces));
        Poll::Ready(Ok(self.written(result, len)))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use http_body_util::Full;
    use hyper::client::conn::http1;
    use tokio::task::JoinSet;

    use super::*;

    /// A connection that is reset while the request is sent, with a response in the receive buffer.
    struct ResetStream {
        response: Vec<u8>,
        is_reset: bool,
    }

    impl Read for ResetStream {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            mut buffer: ReadBufCursor<'_>,
        ) -> Poll<io::Result<()>> {
            if !self.is_reset {
                return Poll::Pending;
            }
            buffer.put_slice(&std::mem::take(&mut self.response));
            Poll::Ready(Ok(()))
        }
    }

    impl Write for ResetStream {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.is_reset = true;
            context.waker().wake_by_ref();
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_response_is_read_after_a_failed_write() {
        let response = b"HTTP/1.1 429 Busy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let stream = ResetStream {
            response: response.to_vec(),
            is_reset: false,
        };
        let write_failed = Arc::new(AtomicBool::new(false));
        let stream = ReadableAfterWriteError::new(stream, Arc::clone(&write_failed));
        let (mut sender, connection) = http1::handshake(stream).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let request = Request::post("/").header("host", "x");
        let request = request.body(Full::new(Bytes::from_static(b"event")));
        let response = sender.send_request(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), 429);
        assert!(write_failed.load(Ordering::Relaxed));
    }
}
