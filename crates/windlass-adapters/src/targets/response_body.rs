//! Bodies of responses: limited, and discarded as they arrive where nobody reads them.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use thiserror::Error;
use windlass_engine::ports::BoxError;

use super::MAX_RESPONSE_BYTES;
use super::response_walker::{Answer, Reads, ResponseWalker};

#[derive(Debug, Error)]
#[error("the response is larger than 6 MiB")]
pub(super) struct TooLarge;

/// A body that ends with the error [`TooLarge`] above [`MAX_RESPONSE_BYTES`]. Functions may answer
/// with megabytes, for as long as they run and in every invocation at once: what is not needed is
/// not kept.
#[derive(Debug)]
pub(super) struct ResponseBody<B> {
    inner: B,
    len: usize,
    is_needed: bool,
    walker: Option<SharedWalker>,
}

/// What reads a body while another owns the body.
#[derive(Clone, Debug)]
pub(super) struct SharedWalker(Arc<Mutex<ResponseWalker>>);

impl SharedWalker {
    pub(super) fn new(reads: Reads) -> Self {
        Self(Arc::new(Mutex::new(ResponseWalker::new(reads))))
    }

    /// What the response says, after the end of the body.
    pub(super) fn finish(&self) -> Answer {
        let mut walker = self.lock();
        // A second end would be that of an empty response.
        let empty = ResponseWalker::new(walker.reads());
        std::mem::replace(&mut *walker, empty).finish()
    }

    fn read(&self, piece: &[u8]) {
        self.lock().read(piece);
    }

    fn lock(&self) -> MutexGuard<'_, ResponseWalker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> ResponseBody<B> {
    /// Reads the body to its end without keeping it if it is not needed. The walker sees all of it.
    pub(super) const fn new(inner: B, is_needed: bool, walker: Option<SharedWalker>) -> Self {
        Self {
            inner,
            len: 0,
            is_needed,
            walker,
        }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(frame)) => frame,
            };
            self.len = self
                .len
                .saturating_add(frame.data_ref().map_or(0, Bytes::len));
            if MAX_RESPONSE_BYTES < self.len {
                return Poll::Ready(Some(Err(TooLarge.into())));
            }
            if let (Some(walker), Some(data)) = (&self.walker, frame.data_ref()) {
                walker.read(data);
            }
            if self.is_needed {
                return Poll::Ready(Some(Ok(frame)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use futures::FutureExt as _;
    use http_body_util::BodyExt as _;

    use super::*;

    /// One piece of a body, which counts as long as anybody keeps it.
    struct Piece(#[expect(dead_code, reason = "its count is what matters")] Arc<()>);

    /// Eight pieces of half a MiB.
    struct Pieces {
        sent: usize,
        alive: Arc<()>,
        most_alive: usize,
    }

    impl AsRef<[u8]> for Piece {
        fn as_ref(&self) -> &[u8] {
            &[b'x'; 512 * 1024]
        }
    }

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.most_alive = self.most_alive.max(Arc::strong_count(&self.alive) - 1);
            if self.sent == 8 {
                return Poll::Ready(None);
            }
            self.sent += 1;
            let piece = Bytes::from_owner(Piece(Arc::clone(&self.alive)));
            Poll::Ready(Some(Ok(Frame::data(piece))))
        }
    }

    #[test]
    fn a_body_that_nobody_needs_is_dropped_piece_by_piece() {
        for (is_needed, expected_len, expected_alive) in [(false, 0, 0), (true, 8 * 524_288, 8)] {
            let pieces = Pieces {
                sent: 0,
                alive: Arc::default(),
                most_alive: 0,
            };
            let mut body =
                ResponseBody::new(pieces, is_needed, Some(SharedWalker::new(Reads::all(1))));
            let whole = (&mut body).collect().now_or_never().unwrap().unwrap();
            assert_eq!(body.inner.most_alive, expected_alive);
            assert_eq!(whole.to_bytes().len(), expected_len);
        }
    }
}
