//! The one way to wait here: for a condition, with a deadline, saying what for.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

/// How long until a condition that did not hold is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What a look at a condition found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look<T> {
    /// It holds; this is what was waited for.
    There(T),
    /// It does not hold yet; this is what was seen instead.
    NotYet(String),
}

/// Why waiting ended without what was waited for.
#[derive(Debug, thiserror::Error)]
pub enum WaitError<E> {
    /// The time is over.
    #[error("waited {:.1} s for {what}; last seen: {seen}", .after.as_secs_f64())]
    TimedOut {
        /// What was waited for.
        what: String,
        /// The time it had.
        after: Duration,
        /// What was seen last.
        seen: String,
    },
    /// Looking failed, so more waiting cannot help.
    #[error("{0}")]
    Failed(E),
}

/// Looks at a condition until it holds, at most for `limit`; a look under way when the time is over
/// is dropped. `what` says what is waited for.
///
/// # Errors
/// [`WaitError::TimedOut`] with what was seen last, or the first look that failed.
pub async fn until<T, E>(
    what: impl Into<String>,
    limit: Duration,
    look: impl AsyncFnMut() -> Result<Look<T>, E>,
) -> Result<T, WaitError<E>> {
    until_each(what, limit, LOOK_AGAIN, look).await
}

/// As [`until`], with so long from one look to the next: for looks that cost something.
///
/// # Errors
/// As [`until`].
pub async fn until_each<T, E>(
    what: impl Into<String>,
    limit: Duration,
    every: Duration,
    mut look: impl AsyncFnMut() -> Result<Look<T>, E>,
) -> Result<T, WaitError<E>> {
    let deadline = Instant::now() + limit;
    let mut seen = "nothing: no look was finished in time".to_owned();
    loop {
        match timeout_at(deadline, look()).await {
            Ok(Ok(Look::There(found))) => return Ok(found),
            Ok(Ok(Look::NotYet(instead))) => seen = instead,
            Ok(Err(error)) => return Err(WaitError::Failed(error)),
            Err(_) => return Err(WaitError::TimedOut { what: what.into(), after: limit, seen }),
        }
        let next = Instant::now() + every;
        if next > deadline {
            return Err(WaitError::TimedOut { what: what.into(), after: limit, seen });
        }
        sleep_until(next).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    type Never = std::convert::Infallible;

    /// Enough for three looks, and soon over.
    const LIMIT: Duration = Duration::from_millis(400);

    #[tokio::test]
    async fn it_looks_until_the_condition_holds() {
        let mut looks = 0;
        let found = until("three looks", Duration::from_secs(60), async || {
            looks += 1;
            Ok::<_, Never>(if looks == 3 { Look::There(looks) } else { Look::NotYet(looks.to_string()) })
        });
        assert_eq!(found.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn it_ends_at_the_deadline_with_what_was_seen_last() {
        let never = async || Ok::<Look<()>, Never>(Look::NotYet("2 of 3".into()));
        let error = until("three peers", LIMIT, never).await.unwrap_err();
        assert_eq!(error.to_string(), "waited 0.4 s for three peers; last seen: 2 of 3");
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_dropped_at_the_deadline() {
        let hangs = async || std::future::pending::<Result<Look<()>, Never>>().await;
        let error = until("an answer", LIMIT, hangs).await.unwrap_err();
        assert!(error.to_string().contains("no look was finished"), "{error}");
    }

    #[tokio::test]
    async fn a_look_that_fails_ends_it() {
        let fails = async || Err::<Look<()>, _>("the node is gone");
        let error = until("an answer", LIMIT, fails).await.unwrap_err();
        assert_eq!(error.to_string(), "the node is gone");
    }
}
