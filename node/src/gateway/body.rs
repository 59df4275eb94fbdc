//! Bodies of requests: of limited size, in limited time, the long ones within a budget that all of them share.
//! And the budget of long answers.
//!
//! A short body takes nothing from anybody. A long one has its share only once a first part of it is there, and
//! keeps it as long as the rest comes at a pace: who announces megabytes and sends none holds up nobody.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use weft_protocol::limits::ITEM_BYTES_MAX;

use super::problem::Problem;
use crate::metrics::{Level, Metrics};

/// KiB of long bodies that are read at once; more waits.
const BUDGET_KIB: usize = 128 * 1024;
/// Bytes of a body that needs no share of it: connections are few.
const SHORT_BYTES_MAX: usize = 64 * 1024;
/// How long a body may take to come, the wait for its turn included: 10 MiB over a slow line.
const WAIT: Duration = Duration::from_secs(60);
/// How long the next piece of one may take.
const PIECE_WAIT: Duration = Duration::from_secs(10);
/// How long one with a share has before its pace is looked at.
const PACE_FROM: Duration = Duration::from_secs(5);
/// Bytes a second that come of it at least, on average.
const PACE_BYTES_MIN: u64 = 128 * 1024;
/// How long one may wait for its share.
const SHARE_WAIT: Duration = Duration::from_secs(20);
/// When a client that got none is told to come back, in milliseconds.
const SHARE_RETRY_MS: u64 = 2_000;
/// Bytes of a body that is too long which are read and thrown away: a client that is still sending hears
/// the answer only then.
const THROWN_AWAY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How long that may take.
const THROW_AWAY_WAIT: Duration = Duration::from_secs(10);
/// KiB of long answers that are on their way at once; more waits.
const ANSWERS_KIB: usize = 256 * 1024;
/// KiB of those that are not very long, which have a budget of their own, and of one of them.
const MIDDLE_ANSWERS_KIB: usize = 64 * 1024;
const MIDDLE_ANSWER_KIB: usize = 1024;
/// How long one may wait for its share.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// The largest item, or a dry run's message.
pub(super) const BODY_BYTES_MAX: usize = ITEM_BYTES_MAX;
/// A GraphQL query with its variables: a thousand ids and as much again.
pub(super) const QUERY_BYTES_MAX: usize = 128 * 1024;

/// The memory that bodies share.
#[derive(Debug, Clone)]
pub(super) struct Bodies {
    requests: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    middle_answers: Arc<Semaphore>,
}

/// A body, with its share of that memory if it is long.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// The share of an answer, held until it is taken.
pub(super) type AnswerShare = Option<Arc<OwnedSemaphorePermit>>;

/// What is there of a body.
#[derive(Debug)]
struct Coming {
    bytes: BytesMut,
    share: Option<OwnedSemaphorePermit>,
    /// Since when it has its share, and how much was there then.
    shared: Option<(Instant, usize)>,
}

impl Bodies {
    pub(super) fn new(metrics: &Metrics, role: &'static str) -> Self {
        let (requests, answers) =
            (Arc::new(Semaphore::new(BUDGET_KIB)), Arc::new(Semaphore::new(ANSWERS_KIB)));
        metrics.watch(Level::permits(role, "body_kib", &requests, BUDGET_KIB));
        metrics.watch(Level::permits(role, "answer_kib", &answers, ANSWERS_KIB));
        let middle_answers = Arc::new(Semaphore::new(MIDDLE_ANSWERS_KIB));
        Self { requests, answers, middle_answers }
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
        let length = usize::try_from(told.unwrap_or(max as u64)).unwrap_or(max);
        let read = tokio::time::timeout(WAIT, self.take(body, length, max)).await;
        match read.map_err(|_| late())?? {
            Ok(read) => Ok(read),
            Err(rest) => Err(throw_away(rest, max).await),
        }
    }

    /// Reads it to its end, or gives the rest back where that is too far.
    async fn take(&self, body: Body, length: usize, max: usize) -> Result<Result<Read, Body>, Problem> {
        let mut coming = Coming { bytes: BytesMut::new(), share: None, shared: None };
        let mut stream = body.into_data_stream();
        loop {
            let piece = tokio::time::timeout(PIECE_WAIT, stream.next()).await.map_err(|_| late())?;
            let Some(piece) = piece else {
                return Ok(Ok(Read { bytes: coming.bytes.freeze(), _share: coming.share }));
            };
            let piece = piece.map_err(|error| Problem::invalid(format!("the body broke off: {error}")))?;
            if coming.bytes.len() + piece.len() > max {
                return Ok(Err(Body::from_stream(stream)));
            }
            coming.bytes.extend_from_slice(&piece);
            match coming.shared {
                None if coming.bytes.len() > SHORT_BYTES_MAX => {
                    let share = tokio::time::timeout(SHARE_WAIT, share_of(&self.requests, length)).await;
                    let full = |_| Problem::busy("too many long bodies come at once", SHARE_RETRY_MS);
                    coming.share = Some(share.map_err(full)??);
                    coming.shared = Some((Instant::now(), coming.bytes.len()));
                    // All that its share is for, so that it is not copied as it grows.
                    coming.bytes.reserve(length.saturating_sub(coming.bytes.len()));
                }
                Some((since, before)) if is_too_slow(since.elapsed(), coming.bytes.len() - before) => {
                    return Err(late());
                }
                None | Some(_) => {}
            }
        }
    }

    /// The share of an answer of so many bytes; none where it is short.
    ///
    /// # Errors
    /// Too much is on its way.
    pub(super) async fn share_of_answer(&self, bytes: u64) -> Result<AnswerShare, Problem> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if bytes <= SHORT_BYTES_MAX {
            return Ok(None);
        }
        let is_middle = bytes <= MIDDLE_ANSWER_KIB * 1024;
        let budget = if is_middle { &self.middle_answers } else { &self.answers };
        let share = share_of(budget, bytes.min(ANSWERS_KIB * 1024));
        let full = |_| Problem::busy("too much is being answered at once", SHARE_RETRY_MS);
        tokio::time::timeout(ANSWER_WAIT, share).await.map_err(full)?.map(|share| Some(Arc::new(share)))
    }
}

async fn share_of(budget: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
    let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
    Arc::clone(budget).acquire_many_owned(kib).await.map_err(Problem::fault)
}

/// Whether so many bytes are too few for so long.
fn is_too_slow(after: Duration, bytes: usize) -> bool {
    after > PACE_FROM && (bytes as u64) < PACE_BYTES_MIN * after.as_secs()
}

fn late() -> Problem {
    let text = format!(
        "the body did not arrive in time: it may take {} s, each piece {} s, and a long one must come at \
         {PACE_BYTES_MIN} bytes per second or more",
        WAIT.as_secs(),
        PIECE_WAIT.as_secs()
    );
    Problem::new(StatusCode::REQUEST_TIMEOUT, text)
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
        let bodies = Bodies::new(&Metrics::new(), "gateway");
        let read = bodies.read(Body::from("four"), 4).await.unwrap();
        assert_eq!(read.bytes, "four");
        let read = bodies.read(chunked(vec![b"fo".to_vec(), b"ur".to_vec()]), 4).await.unwrap();
        assert_eq!(read.bytes, "four");
        assert_eq!(bodies.requests.available_permits(), BUDGET_KIB, "short ones need no share");
        let long = vec![b'x'; SHORT_BYTES_MAX + 1];
        let read = bodies.read(Body::from(long.clone()), BODY_BYTES_MAX).await.unwrap();
        assert_eq!(read.bytes, long);
        assert_eq!(bodies.requests.available_permits(), BUDGET_KIB - 65);
        drop(read);
        for body in [Body::from("fives"), chunked(vec![b"fi".to_vec(), b"ves".to_vec()])] {
            assert_eq!(bodies.read(body, 4).await.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        }
        let broken = futures::stream::iter([Ok("a"), Err(std::io::Error::other("gone"))]);
        let broken = bodies.read(Body::from_stream(broken), 4).await.unwrap_err();
        assert_eq!(broken.status, StatusCode::BAD_REQUEST);
        assert_eq!(bodies.requests.available_permits(), BUDGET_KIB);
    }

    /// A body that begins with so many bytes and never goes on.
    fn stuck(bytes: usize) -> Body {
        let begin = futures::stream::iter([Ok::<_, Infallible>(Bytes::from(vec![b'x'; bytes]))]);
        Body::from_stream(begin.chain(futures::stream::pending()))
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_never_comes_is_given_up_and_holds_up_nobody() {
        let bodies = Bodies::new(&Metrics::new(), "gateway");
        let silent: Vec<_> = (0..100).map(|_| bodies.read(stuck(1), BODY_BYTES_MAX)).collect();
        let silent = futures::future::join_all(silent);
        let others = async {
            let long = Body::from(vec![b'x'; BODY_BYTES_MAX]);
            let began = Instant::now();
            bodies.read(long, BODY_BYTES_MAX).await.unwrap();
            began.elapsed()
        };
        // The silent ones are looked at first.
        let (silent, took) = tokio::join!(biased; silent, others);
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert!(silent.into_iter().all(|late| late.unwrap_err().status == StatusCode::REQUEST_TIMEOUT));
        assert_eq!(bodies.requests.available_permits(), BUDGET_KIB);
        // One that took its share and says no more gives it back soon.
        let began = Instant::now();
        bodies.read(stuck(SHORT_BYTES_MAX + 1), BODY_BYTES_MAX).await.unwrap_err();
        assert!(began.elapsed() <= PIECE_WAIT + Duration::from_secs(1));
        assert_eq!(bodies.requests.available_permits(), BUDGET_KIB);
    }

    #[test]
    fn a_pace_is_kept_on_average() {
        let at = |seconds, kib: usize| is_too_slow(Duration::from_secs(seconds), kib * 1024);
        assert!(!at(5, 0) && at(6, 0));
        assert!(at(10, 1_279) && !at(10, 1_280));
    }

    #[tokio::test(start_paused = true)]
    async fn long_answers_share_a_budget() {
        let bodies = Bodies::new(&Metrics::new(), "gateway");
        assert!(bodies.share_of_answer(SHORT_BYTES_MAX as u64).await.unwrap().is_none());
        let all = bodies.share_of_answer(u64::MAX).await.unwrap();
        let long = 2 * MIDDLE_ANSWER_KIB as u64 * 1024;
        let none = bodies.share_of_answer(long).await.unwrap_err();
        assert_eq!(none.status, StatusCode::SERVICE_UNAVAILABLE);
        // Those that are not very long do not wait for them.
        assert!(bodies.share_of_answer(SHORT_BYTES_MAX as u64 + 1).await.unwrap().is_some());
        drop(all);
        assert!(bodies.share_of_answer(long).await.unwrap().is_some());
    }
}
