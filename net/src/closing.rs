//! Connections that end in time. To close one is to hand over first what still waits to be sent; where the other
//! end is out of reach and the system's buffer is full, that takes until TCP gives up, a quarter of an hour. The peer
//! would count as connected so long, and nobody would dial it.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent};
use tokio::time::{Sleep, sleep};

/// How long a peer may take to be sent the rest when a connection with it is closed: one that is there takes it
/// within a round trip or some.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// A connection that is dropped where it cannot be closed in time.
pub(crate) struct Closing {
    connection: StreamMuxerBox,
    /// Set when it is first asked to close.
    limit: Option<Pin<Box<Sleep>>>,
}

impl Closing {
    pub(crate) const fn of(connection: StreamMuxerBox) -> Self {
        Self { connection, limit: None }
    }
}

impl StreamMuxer for Closing {
    type Substream = <StreamMuxerBox as StreamMuxer>::Substream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        Pin::new(&mut self.connection).poll_inbound(cx)
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        Pin::new(&mut self.connection).poll_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(closed) = Pin::new(&mut self.connection).poll_close(cx) {
            return Poll::Ready(closed);
        }
        let limit = self.limit.get_or_insert_with(|| Box::pin(sleep(CLOSE_WAIT)));
        limit.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Pin::new(&mut self.connection).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;
    use libp2p::core::muxing::StreamMuxerExt as _;
    use tokio::time::Instant;

    use super::*;

    /// A connection of which nobody takes the rest.
    struct Stuck;

    impl StreamMuxer for Stuck {
        type Substream = Cursor<Vec<u8>>;
        type Error = io::Error;

        fn poll_inbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
            Poll::Pending
        }

        fn poll_outbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_cannot_be_closed_is_dropped_in_time() {
        let began = Instant::now();
        let closed = Closing::of(StreamMuxerBox::new(Stuck)).close().await;
        assert_eq!(closed.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        assert_eq!(began.elapsed(), CLOSE_WAIT);
    }
}
