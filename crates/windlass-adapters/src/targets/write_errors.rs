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
