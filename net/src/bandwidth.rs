//! Limits on what is sent and taken in a second, over all connections: those of an operator whose line others use
//! too. What streams carry is counted, before it is encrypted and framed, which adds some hundredths.

use std::io;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent, SubstreamBox};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::closing::Closing;

/// Bytes that get their place at once: streams take turns by that much.
const TURN_BYTES: usize = 16 * 1024;
/// What was not used may be made up for so long after.
const BURST: Duration = Duration::from_millis(250);

/// A line of bytes: what asks for a place gets the next one, and places follow each other at its rate.
#[derive(Debug)]
struct Line {
    bytes_per_second: NonZeroU64,
    /// When everything that has a place is through.
    free: Mutex<Instant>,
}

impl Line {
    fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, free: Mutex::new(Instant::now()) }
    }

    /// When so many bytes may go.
    fn place(&self, bytes: usize, now: Instant) -> Instant {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second.get());
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let begins = (*free).max(earliest);
        *free = begins + takes;
        begins
    }
}

/// What a node may send and take in a second.
#[derive(Debug)]
pub(crate) struct Bandwidth {
    out: Option<Line>,
    into: Option<Line>,
}

impl Bandwidth {
    /// None if there is no limit.
    pub(crate) fn of(out: Option<NonZeroU64>, into: Option<NonZeroU64>) -> Option<Arc<Self>> {
        let limits = Self { out: out.map(Line::new), into: into.map(Line::new) };
        (out.is_some() || into.is_some()).then(|| Arc::new(limits))
    }
}

/// A connection whose streams keep to the limits.
pub(crate) struct Metered {
    connection: Closing,
    bandwidth: Arc<Bandwidth>,
}

impl Metered {
    pub(crate) const fn of(connection: Closing, bandwidth: Arc<Bandwidth>) -> Self {
        Self { connection, bandwidth }
    }

    fn stream(&self, stream: SubstreamBox) -> MeteredStream {
        let bandwidth = Arc::clone(&self.bandwidth);
        MeteredStream { stream, bandwidth, granted: 0, sending: None, taking: None }
    }
}

impl StreamMuxer for Metered {
    type Substream = MeteredStream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<MeteredStream>> {
        let opened = ready!(Pin::new(&mut self.connection).poll_inbound(cx));
        Poll::Ready(opened.map(|stream| self.stream(stream)))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<MeteredStream>> {
        let opened = ready!(Pin::new(&mut self.connection).poll_outbound(cx));
        Poll::Ready(opened.map(|stream| self.stream(stream)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Pin::new(&mut self.connection).poll(cx)
    }
}

/// A stream that waits for its place among those of all connections.
pub(crate) struct MeteredStream {
    stream: SubstreamBox,
    bandwidth: Arc<Bandwidth>,
    /// Bytes that may be sent when the wait is over.
    granted: usize,
    sending: Option<Pin<Box<Sleep>>>,
    taking: Option<Pin<Box<Sleep>>>,
}

/// Waits until then, if that is not now.
fn wait_until(at: Instant) -> Option<Pin<Box<Sleep>>> {
    (at > Instant::now()).then(|| Box::pin(sleep_until(at)))
}

fn poll_wait(wait: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> Poll<()> {
    if let Some(sleep) = wait {
        ready!(sleep.as_mut().poll(cx));
        *wait = None;
    }
    Poll::Ready(())
}

impl AsyncWrite for MeteredStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Some(line) = &this.bandwidth.out else { return Pin::new(&mut this.stream).poll_write(cx, buf) };
        if this.granted == 0 && !buf.is_empty() {
            this.granted = buf.len().min(TURN_BYTES);
            this.sending = wait_until(line.place(this.granted, Instant::now()));
        }
        ready!(poll_wait(&mut this.sending, cx));
        let most = buf.len().min(this.granted);
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, &buf[..most]))?;
        this.granted -= written.min(this.granted);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

impl AsyncRead for MeteredStream {
    /// What came is paid for after it was read, for nobody knows before how much it is. Meanwhile nothing more is
    /// read, and its sender has to wait.
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Some(line) = &this.bandwidth.into else { return Pin::new(&mut this.stream).poll_read(cx, buf) };
        ready!(poll_wait(&mut this.taking, cx));
        let most = buf.len().min(TURN_BYTES);
        let read = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf[..most]))?;
        if read > 0 {
            this.taking = wait_until(line.place(read, Instant::now()));
        }
        Poll::Ready(Ok(read))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::future::join_all;
    use futures::io::Cursor;
    use futures::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const RATE: NonZeroU64 = NonZeroU64::new(1_000_000).unwrap();

    fn stream(bandwidth: &Arc<Bandwidth>, holds: usize) -> MeteredStream {
        MeteredStream {
            stream: SubstreamBox::new(Cursor::new(vec![7; holds])),
            bandwidth: Arc::clone(bandwidth),
            granted: 0,
            sending: None,
            taking: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn streams_share_the_line_by_turns() {
        let bandwidth = Bandwidth::of(Some(RATE), None).unwrap();
        let began = Instant::now();
        let ends = join_all((0..4).map(|_| async {
            let mut stream = stream(&bandwidth, 0);
            stream.write_all(&[1; 500_000]).await.unwrap();
            began.elapsed()
        }));
        let ends = ends.await;
        // Two megabytes at one a second, but for what the line allows at its beginning.
        let (first, last) = (ends.iter().min().unwrap(), ends.iter().max().unwrap());
        assert!((Duration::from_millis(1_700)..Duration::from_secs(2)).contains(last), "{ends:?}");
        assert!(*last - *first < Duration::from_millis(100), "one waited for the others: {ends:?}");
        // A small one does not wait until a large one is through.
        let mut large = stream(&bandwidth, 0);
        let mut small = stream(&bandwidth, 0);
        let began = Instant::now();
        let (_, waited) = tokio::join!(large.write_all(&[1; 500_000]), async {
            small.write_all(&[1; 100]).await.unwrap();
            began.elapsed()
        });
        assert!(waited < Duration::from_millis(50), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_is_taken_at_the_rate_and_all_of_it() {
        let bandwidth = Bandwidth::of(None, Some(RATE)).unwrap();
        let began = Instant::now();
        let mut read = Vec::new();
        stream(&bandwidth, 3_000_000).read_to_end(&mut read).await.unwrap();
        assert_eq!(read, vec![7; 3_000_000]);
        let took = began.elapsed();
        assert!((Duration::from_millis(2_700)..Duration::from_secs(3)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_line_saves_nothing_beyond_its_burst() {
        let line = Line::new(RATE);
        let later = Instant::now() + Duration::from_secs(3_600);
        assert!(line.place(250_000, later) <= later);
        assert!(line.place(1, later) <= later);
        assert!(line.place(1, later) > later, "an hour was saved");
    }

    #[test]
    fn no_limit_is_no_line() {
        assert!(Bandwidth::of(None, None).is_none());
        assert!(Bandwidth::of(None, Some(RATE)).is_some());
    }
}
