//! Bodies of requests: of limited size, within a budget that all of them share, in limited time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weft_protocol::limits::ITEM_BYTES_MAX;

use super::problem::Problem;
use crate::metrics::{Level, Metrics};

/// KiB of bodies that are read or answered at once; more waits.
const BUDGET_KIB: usize = 128 * 1024;
/// How long a body may take to come, the wait for its turn included: 10 MiB over a slow line.
const WAIT: Duration = Duration::from_secs(60);
/// Bytes of a body that is too long which are read and thrown away: a client that is still sending hears
/// the answer only then.
const THROWN_AWAY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How long that may take.
const THROW_AWAY_WAIT: Duration = Duration::from_secs(10);

/// The largest item, or a dry run's message.
pub(super) const BODY_BYTES_MAX: usize = ITEM_BYTES_MAX;
/// A GraphQL query with its variables: a thousand ids and as much again.
pub(super) const QUERY_BYTES_MAX: usize = 128 * 1024;

/// The memory that bodies share.
#[derive(Debug, Clone)]
pub(super) struct Bodies(Arc<Semaphore>);

/// A body, with its share of that memory.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

impl Bodies {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let budget = Arc::new(Semaphore::new(BUDGET_KIB));
        metrics.watch(Level::permits("gateway", "body_kib", &budget, BUDGET_KIB));
        Self(budget)
    }

    /// Reads a whole body.
    ///
    /// # Errors
    /// It is too long, too slow or broken off.
    pub(super) async fn read(&self, body: Body, max: usize) -> Result<Read, Problem> {
        let told = body.size_hint().exact().or(body.size_hint().upper());
        if told.is_some_and(|told| told > max as u64) {
            return Err(throw_away(body, max).await);
        }
        let kib = usize::try_from(told.unwrap_or(max as u64)).unwrap_or(max).div_ceil(1024);
        let read = async {
            let share = Arc::clone(&self.0).acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX)).await;
            let share = share.map_err(Problem::fault)?;
            let mut stream = body.into_data_stream();
            let mut bytes = BytesMut::new();
            while let Some(piece) = stream.next().await {
                let piece =
                    piece.map_err(|error| Problem::invalid(format!("the body broke off: {error}")))?;
                if bytes.len() + piece.len() > max {
                    return Ok(Err(Body::from_stream(stream)));
                }
                bytes.extend_from_slice(&piece);
            }
            Ok::<_, Problem>(Ok(Read { bytes: bytes.freeze(), _share: share }))
        };
        let late = || {
            let text = format!("the body did not come in {} s", WAIT.as_secs());
            Problem::new(StatusCode::REQUEST_TIMEOUT, text)
        };
        match tokio::time::timeout(WAIT, read).await.map_err(|_| late())?? {
            Ok(read) => Ok(read),
            Err(rest) => Err(throw_away(rest, max).await),
        }
    }
}

/// Reads what nobody wants, so that the sender comes to listen.
async fn throw_away(body: Body, max: usize) -> Problem {
    let mut stream = body.into_data_stream();
    let reading = async {
        let mut thrown = 0;
        while let Some(Ok(piece)) = stream.next().await {
            thrown += piece.len() as u64;
            if thrown > THROWN_AWAY_BYTES_MAX {
                break;
            }
        }
    };
    // Who sends on for longer is hung up on.
    let _ = tokio::time::timeout(THROW_AWAY_WAIT, reading).await;
    let text = format!("the body has more than {max} bytes, the limit");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::convert::Infallible;

    use super::*;

    fn chunked(pieces: Vec<Vec<u8>>) -> Body {
        Body::from_stream(futures::stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)))
    }

    #[tokio::test]
    async fn a_body_is_whole_or_refused() {
        let bodies = Bodies::new(&Metrics::new());
        let read = bodies.read(Body::from("four"), 4).await.unwrap();
        assert_eq!(read.bytes, "four");
        assert_eq!(bodies.0.available_permits(), BUDGET_KIB - 1);
        drop(read);
        let read = bodies.read(chunked(vec![b"fo".to_vec(), b"ur".to_vec()]), 4).await.unwrap();
        assert_eq!(read.bytes, "four");
        drop(read);
        for body in [Body::from("fives"), chunked(vec![b"fi".to_vec(), b"ves".to_vec()])] {
            assert_eq!(bodies.read(body, 4).await.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        }
        let broken = futures::stream::iter([Ok("a"), Err(std::io::Error::other("gone"))]);
        let broken = bodies.read(Body::from_stream(broken), 4).await.unwrap_err();
        assert_eq!(broken.status, StatusCode::BAD_REQUEST);
        assert_eq!(bodies.0.available_permits(), BUDGET_KIB);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_never_comes_is_given_up() {
        let bodies = Bodies::new(&Metrics::new());
        let silent = Body::from_stream(futures::stream::pending::<Result<Bytes, Infallible>>());
        let late = bodies.read(silent, 4).await.unwrap_err();
        assert_eq!(late.status, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(bodies.0.available_permits(), BUDGET_KIB);
    }
}
