//! Bodies of answers on their way to a client: in pieces, so that what a slow one leaves lying is little, and
//! in limited time, so that it cannot keep for ever what its answer holds.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::header::CONTENT_LENGTH;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long any client has to take the first piece of an answer.
const ANSWER_WAIT: Duration = Duration::from_secs(20);
/// And a second more for each of so many bytes that it was given: less is no line, it is somebody who holds on to
/// an answer.
const BYTES_A_SECOND: u64 = 128 * 1024;
/// Bytes of a piece. The next is taken when this one is written.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// When the answer under way on a connection must be taken; none if there is none, or it has no end.
pub(super) type Due = Arc<watch::Sender<Option<Instant>>>;

/// Returns when an answer is not taken in its time.
pub(super) async fn overdue(mut due: watch::Receiver<Option<Instant>>) {
    loop {
        let until = *due.borrow_and_update();
        let is_over = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = is_over => return,
            changed = due.changed() => if changed.is_err() {
                // The connection ends by itself.
                std::future::pending::<()>().await;
            },
        }
    }
}

/// How long a client has to take so many bytes.
fn time_for(bytes: u64) -> Duration {
    ANSWER_WAIT + Duration::from_secs(bytes / BYTES_A_SECOND)
}

/// The body of an answer: until all of it is given its request is under way, for which `W` stands.
pub(super) struct Answer<W> {
    body: Body,
    /// What is left of a piece that was too long.
    rest: Bytes,
    /// When it began, unless it has no end.
    began: Option<Instant>,
    /// Bytes that were given.
    given: u64,
    due: Due,
    _working: W,
}

impl<W> Answer<W> {
    /// The answer to a request that is under way until it is taken.
    pub(super) fn of(response: Response, working: W, due: Due, now: Instant) -> hyper::Response<Self> {
        // One that is streamed may say how long it is; an endless one cannot.
        let told =
            response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let length: Option<u64> = response.body().size_hint().exact().or(told);
        let began = length.map(|_| now);
        due.send_replace(began.map(|began| began + time_for(0)));
        response.map(|body| Self { body, rest: Bytes::new(), began, given: 0, due, _working: working })
    }
}

impl<W> Drop for Answer<W> {
    fn drop(&mut self) {
        self.due.send_replace(None);
    }
}

impl<W: Unpin> hyper::body::Body for Answer<W> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => frame,
                other => return other,
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            }
        }
        let length = self.rest.len().min(PIECE_BYTES_MAX);
        let piece = self.rest.split_to(length);
        self.given += length as u64;
        self.due.send_replace(self.began.map(|began| began + time_for(self.given)));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    #[test]
    fn long_answers_have_longer() {
        assert_eq!(time_for(0), ANSWER_WAIT);
        assert_eq!(time_for(64 * 1024 * 1024), ANSWER_WAIT + Duration::from_secs(512));
    }

    #[tokio::test]
    async fn a_long_piece_comes_in_short_ones() {
        let (due, falls_due) = watch::channel(None);
        let whole: Vec<u8> = (0..200_000_u32).map(|at| at as u8).collect();
        let response = Response::new(Body::from(whole.clone()));
        let mut answer = Answer::of(response, (), Arc::new(due), Instant::now()).into_body();
        assert!(falls_due.borrow().is_some());
        let mut all = Vec::new();
        while !answer.is_end_stream() {
            assert_eq!(answer.size_hint().exact(), Some((whole.len() - all.len()) as u64));
            let frame = std::future::poll_fn(|context| Pin::new(&mut answer).poll_frame(context)).await;
            let piece = frame.unwrap().unwrap().into_data().unwrap();
            assert!(piece.len() <= PIECE_BYTES_MAX);
            all.extend_from_slice(&piece);
        }
        assert_eq!(all, whole);
        drop(answer);
        assert_eq!(*falls_due.borrow(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_taken_falls_due_and_nothing_else_does() {
        let (due, falls_due) = watch::channel(None);
        let began = Instant::now();
        let over = overdue(falls_due);
        tokio::pin!(over);
        let is_over = |wait| tokio::time::timeout(wait, std::future::pending::<()>());
        tokio::select! {
            () = &mut over => panic!("nothing is under way"),
            _ = is_over(Duration::from_secs(3_600)) => {}
        }
        // One is taken in time, the next is not.
        due.send_replace(Some(Instant::now() + ANSWER_WAIT));
        tokio::select! {
            () = &mut over => panic!("it had time"),
            _ = is_over(ANSWER_WAIT / 2) => {}
        }
        due.send_replace(None);
        tokio::select! {
            () = &mut over => panic!("it was taken"),
            _ = is_over(ANSWER_WAIT * 2) => {}
        }
        due.send_replace(Some(Instant::now() + ANSWER_WAIT));
        over.await;
        assert!(began.elapsed() >= Duration::from_secs(3_600) + ANSWER_WAIT * 3);
    }
}
