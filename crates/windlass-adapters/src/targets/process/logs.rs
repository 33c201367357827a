//! What a process prints: one line of the log for each of its lines.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::unix::pipe::Receiver;

/// A longer line is split.
const MAX_LINE: usize = 64 * 1024;

/// Bytes of one read; also what a pipe holds.
const READ_SIZE: usize = 64 * 1024;

/// Standard output and error of one process.
#[derive(Debug)]
pub(super) struct Logs {
    function: Arc<str>,
    streams: [LogStream; 2],
    /// The request whose event the process has.
    request: Mutex<Option<Arc<str>>>,
}

#[derive(Debug)]
struct LogStream {
    pipe: Receiver,
    reader: Mutex<Reader>,
}

#[derive(Debug)]
struct Reader {
    buffer: Box<[u8]>,
    line: Line,
}

/// The beginning of a line whose end has not arrived.
#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    /// The request during which it began.
    request: Option<Arc<str>>,
}

impl Logs {
    /// # Errors
    /// The pipes cannot be watched.
    pub(super) fn new(function: Arc<str>, stdout: OwnedFd, stderr: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            function,
            streams: [LogStream::new(stdout)?, LogStream::new(stderr)?],
            request: Mutex::default(),
        })
    }

    /// Reads until both streams are closed. Nothing ever waits for the log, so nothing ever blocks
    /// the process.
    pub(super) async fn run(&self) {
        let [stdout, stderr] = &self.streams;
        tokio::join!(self.follow(stdout), self.follow(stderr));
    }

    /// Sets the request that lines belong to from now on.
    pub(super) fn set_request(&self, request: Option<Arc<str>>) {
        self.flush();
        *lock(&self.request) = request;
    }

    /// Reads what has been written so far, so that it belongs to the current request.
    pub(super) fn flush(&self) {
        for stream in &self.streams {
            // A process that never stops printing must not hold up its answer.
            // The runtime may not have noticed yet that there is something to read.
            let read = |pipe: &Receiver, buffer: &mut [u8]| Ok(rustix::io::read(pipe, buffer)?);
            drop(self.read(stream, read));
        }
    }

    async fn follow(&self, stream: &LogStream) {
        while stream.pipe.readable().await.is_ok() {
            match self.read(stream, |pipe, buffer| pipe.try_read(buffer)) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
            // Others have their turn, however much it prints.
            tokio::task::yield_now().await;
        }
        self.log(&mut lock(&stream.reader).line);
    }

    /// Reads and logs once.
    fn read(
        &self,
        stream: &LogStream,
        read: impl FnOnce(&Receiver, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut reader = lock(&stream.reader);
        let Reader { buffer, line } = &mut *reader;
        let len = read(&stream.pipe, buffer)?;
        let request = lock(&self.request).clone();
        for piece in buffer[..len].split_inclusive(|byte| *byte == b'\n') {
            self.push(line, piece, request.as_ref());
        }
        Ok(len)
    }

    fn push(&self, line: &mut Line, mut piece: &[u8], request: Option<&Arc<str>>) {
        loop {
            if line.bytes.is_empty() {
                line.request = request.cloned();
            }
            let (part, rest) = piece.split_at(piece.len().min(MAX_LINE - line.bytes.len()));
            line.bytes.extend_from_slice(part);
            if line.bytes.ends_with(b"\n") || line.bytes.len() == MAX_LINE {
                self.log(line);
            }
            if rest.is_empty() {
                return;
            }
            piece = rest;
        }
    }

    fn log(&self, line: &mut Line) {
        if line.bytes.is_empty() {
            return;
        }
        let text = printable(&line.bytes);
        tracing::info!(
            target: "function",
            function = &*self.function,
            request_id = line.request.as_deref(),
            "{text}"
        );
        line.bytes.clear();
    }
}

impl LogStream {
    fn new(pipe: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            pipe: Receiver::from_owned_fd(pipe)?,
            reader: Mutex::new(Reader {
                buffer: vec![0; READ_SIZE].into(),
                line: Line::default(),
            }),
        })
    }
}

/// A line without its end, as valid text without NUL, which breaks readers of the log.
fn printable(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8_lossy(line).replace('\0', "\u{fffd}")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_text_without_nul() {
        assert_eq!(printable(b"a\0b\xff\r\n"), "a\u{fffd}b\u{fffd}");
        assert_eq!(printable(b""), "");
    }
}
