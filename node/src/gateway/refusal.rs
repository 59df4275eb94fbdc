//! What the HTTP library refuses by itself, told in JSON like every other error: a request line that is none,
//! a head that is too long.
//!
//! The library answers those with a status and nothing else, while no request of ours is under way: then its
//! answer is known on its way out, as no head of ours has so few fields, and another goes in its place. What is
//! written while one is under way, or before all of that was flushed, is never looked at: it may be anybody's
//! data. Then what the client still sends is thrown away for a moment, since who hangs up on unread bytes takes the
//! answer back.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes that are thrown away.
const THROWN_AWAY_BYTES_MAX: usize = 1024 * 1024;
/// And for how long.
const THROW_AWAY_WAIT: Duration = Duration::from_secs(2);

/// How many requests of ours are under way on a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    /// One more, until this is dropped.
    pub(super) fn begin(&self) -> Request {
        self.0.fetch_add(1, Ordering::SeqCst);
        Request(self.clone())
    }

    fn is_none(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct Request(UnderWay);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A connection on which the library's own refusals are told in JSON.
pub(super) struct ToldInJson<S> {
    stream: S,
    under_way: UnderWay,
    /// Whether something was written that is not flushed, or belongs to an answer that goes on.
    is_ours: bool,
    /// A refusal under way: what is left of it, and how long the one is whose place it takes.
    telling: Option<(Bytes, usize)>,
    lingering: Option<Lingering>,
}

/// A client whose last words nobody reads.
struct Lingering {
    is_shut: bool,
    left: usize,
    until: Pin<Box<Sleep>>,
}

impl<S> ToldInJson<S> {
    pub(super) const fn new(stream: S, under_way: UnderWay) -> Self {
        Self { stream, under_way, is_ours: false, telling: None, lingering: None }
    }
}

/// What is told in the place of a refusal of the library's; none if this is something else.
fn instead_of(written: &[u8]) -> Option<Bytes> {
    let text = str::from_utf8(written).ok()?;
    let (line, fields) = text.strip_suffix("\r\n\r\n")?.split_once("\r\n")?;
    let is_bare = |field: &str| {
        let name = field.split(':').next().unwrap_or_default();
        ["connection", "content-length", "date"].iter().any(|known| name.eq_ignore_ascii_case(known))
    };
    if !fields.split("\r\n").all(is_bare) {
        return None;
    }
    let why = match line.strip_prefix("HTTP/1.1 ")?.split(' ').next()? {
        "400" => "this is not an HTTP/1.1 request",
        "414" => "the address is too long",
        "431" => "the head of the request has more than 64 KiB or 100 fields",
        _ => return None,
    };
    let body = json!({ "error": why }).to_string();
    let told = format!(
        "{line}\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    Some(Bytes::from(told))
}

impl<S: AsyncRead + AsyncWrite + Unpin> ToldInJson<S> {
    /// Writes another answer in the place of `written`, and is done with that when it is through.
    fn poll_tell(
        &mut self,
        context: &mut Context<'_>,
        told: Bytes,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        let (left, _) = self.telling.get_or_insert((told, length));
        while left.has_remaining() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(context, left))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            left.advance(count);
        }
        self.telling = None;
        let until = Box::pin(tokio::time::sleep_until(Instant::now() + THROW_AWAY_WAIT));
        self.lingering = Some(Lingering { is_shut: false, left: THROWN_AWAY_BYTES_MAX, until });
        Poll::Ready(Ok(length))
    }

    /// What takes the place of these bytes, if they are a refusal of the library's.
    fn refusal(&self, written: &[u8]) -> Option<(Bytes, usize)> {
        // While one is told the library comes again with the same bytes.
        if self.telling.is_some() {
            return self.telling.clone();
        }
        let is_library = !self.is_ours && self.under_way.is_none();
        instead_of(written).filter(|_| is_library).map(|told| (told, written.len()))
    }

    /// Notes what went out as it was.
    fn wrote(&mut self, count: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.is_ours |= matches!(count, Poll::Ready(Ok(count)) if count > 0);
        count
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ToldInJson<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ToldInJson<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        written: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.refusal(written) {
            Some((told, length)) => self.poll_tell(context, told, length),
            None => {
                let count = Pin::new(&mut self.stream).poll_write(context, written);
                self.wrote(count)
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| &**slice);
        match self.refusal(first) {
            Some((told, length)) => self.poll_tell(context, told, length),
            None => {
                let count = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
                self.wrote(count)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        // The library flushes when nothing is left to write.
        self.is_ours &= !self.under_way.is_none();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, lingering, .. } = &mut *self;
        let Some(last) = lingering else { return Pin::new(stream).poll_shutdown(context) };
        if !last.is_shut {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
            last.is_shut = true;
        }
        let mut piece = [0; 4096];
        while last.left > 0 && last.until.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut piece);
            // Who is gone has nothing more to say.
            let Ok(()) = ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer)) else { break };
            if buffer.filled().is_empty() {
                break;
            }
            last.left = last.left.saturating_sub(buffer.filled().len());
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const BARE: &[u8] =
        b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

    #[tokio::test]
    async fn a_bare_refusal_is_told_in_json() {
        // Also where it goes out a few bytes at a time.
        let (far, near) = tokio::io::duplex(7);
        let mut stream = ToldInJson::new(near, UnderWay::default());
        let writing = async {
            stream.write_all(BARE).await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let reading = async {
            let (mut far, mut told) = (far, String::new());
            far.read_to_string(&mut told).await.unwrap();
            // What it still says takes nothing back.
            let _ = far.write_all(&[b'x'; 10_000]).await;
            told
        };
        let ((), told) = tokio::join!(writing, reading);
        let (head, body) = told.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        assert!(body.starts_with("{\"error\":\"the head"), "{body}");
    }

    #[tokio::test]
    async fn data_that_looks_like_a_refusal_is_left_alone() {
        let (mut far, near) = tokio::io::duplex(100_000);
        let under_way = UnderWay::default();
        let mut stream = ToldInJson::new(near, under_way.clone());
        let request = under_way.begin();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        stream.flush().await.unwrap();
        stream.write_all(BARE).await.unwrap();
        // The last piece of an answer goes out when nobody holds it any more.
        drop(request);
        stream.write_all(BARE).await.unwrap();
        stream.flush().await.unwrap();
        let ours = [b"HTTP/1.1 200 OK\r\n\r\n", BARE, BARE].concat();
        let mut told = vec![0; ours.len()];
        far.read_exact(&mut told).await.unwrap();
        assert_eq!(told, ours);
        // And what follows is the library's again.
        let writing = async {
            stream.write_all(BARE).await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let mut told = String::new();
        let reading = far.read_to_string(&mut told);
        let ((), read) = tokio::join!(writing, reading);
        read.unwrap();
        assert!(told.contains("{\"error\":"), "{told}");
    }

    #[tokio::test]
    async fn everything_else_goes_out_as_it_is() {
        let own = b"HTTP/1.1 400 Bad Request\r\nx-content-type-options: nosniff\r\ncontent-length: 0\r\n\r\n";
        let fine = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        for written in [&own[..], &fine[..], b"HTTP/1.1 431 x", b"", b"\xff\xff\r\n\r\n"] {
            let (mut far, near) = tokio::io::duplex(1024);
            let mut stream = ToldInJson::new(near, UnderWay::default());
            stream.write_all(written).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut told = Vec::new();
            far.read_to_end(&mut told).await.unwrap();
            assert_eq!(told, written);
        }
    }
}
