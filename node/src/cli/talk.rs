//! Asking a running node.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use serde::de::DeserializeOwned;

use super::Context;
use super::exit::{CliError, Exit};
use crate::control::api::Request;
use crate::control::client::{ANSWER_WAIT, Client, ClientError};

/// How often a node that is busy is asked again before that is the answer.
const RETRIES_MAX: usize = 6;
/// The pause before the first time, which doubles up to the next; the node may ask for more.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause that is made, whatever the node asks for.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Runs a command that needs a node.
pub(super) fn online(command: impl Future<Output = Result<Exit, CliError>>) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::fault(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(command)
}

/// Asks the node and awaits the answer.
pub(super) async fn ask<T: DeserializeOwned>(
    context: &Context,
    what: &str,
    request: &Request,
) -> Result<T, CliError> {
    ask_within(context, what, request, ANSWER_WAIT).await
}

/// As [`ask`], with another limit. A node that is busy and says for how long is asked again: it
/// has done nothing yet, and an item that it has all the same gets its one slot.
pub(super) async fn ask_within<T: DeserializeOwned>(
    context: &Context,
    what: &str,
    request: &Request,
    wait: Duration,
) -> Result<T, CliError> {
    let data_dir = context.data_dir()?;
    let once = || async { Client::connect(&data_dir).await?.call(request, wait).await };
    let say = |error: &ClientError, pause: Duration| {
        let seconds = pause.as_secs_f64();
        context.screen.remark(&format!("{error}; asking again in {seconds:.1} s"));
    };
    Ok(context.screen.waiting(what, insist(once, say)).await?)
}

/// Asks once beside what a person does, who is told nothing: there is an answer in time, or none. A connection of
/// its own: one that is silent is closed.
pub(super) async fn ask_aside<T: DeserializeOwned>(
    data_dir: &Path,
    request: &Request,
    wait: Duration,
) -> Option<T> {
    Client::connect(data_dir).await.ok()?.call(request, wait).await.ok()
}

/// Asks until the node is not busy any more, within limits.
async fn insist<T, F: Future<Output = Result<T, ClientError>>>(
    once: impl FnMut() -> F,
    say: impl FnMut(&ClientError, Duration),
) -> Result<T, ClientError> {
    let pauses = ExponentialBuilder::default()
        .with_min_delay(PAUSE_MIN)
        .with_max_delay(PAUSE_MAX)
        .with_max_times(RETRIES_MAX)
        .with_jitter();
    once.retry(pauses)
        .when(|error| retry_after(error).is_some())
        .adjust(|error, pause| Some(pause?.max(retry_after(error)?).min(PAUSE_MAX)))
        .notify(say)
        .await
}

/// When a node that is busy wants to be asked again.
fn retry_after(error: &ClientError) -> Option<Duration> {
    match error {
        ClientError::Failed(failure) => failure.retry_ms.map(Duration::from_millis),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::control::api::{Failure, FailureCode};

    /// Asks a node that answers so many times with this failure: how often it was asked, the pauses,
    /// and whether it answered in the end.
    async fn asked(failure: Failure, times: usize) -> (usize, Vec<Duration>, bool) {
        let (mut count, mut pauses) = (0, Vec::new());
        let once = || {
            count += 1;
            let answer = if count > times { Ok(()) } else { Err(ClientError::Failed(failure.clone())) };
            std::future::ready(answer)
        };
        let answer = insist(once, |_, pause| pauses.push(pause)).await;
        (count, pauses, answer.is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_node_is_asked_again_when_it_said_and_not_for_ever() {
        let busy = |ms| Failure::new(FailureCode::Busy, "later").retry_in(ms);
        let (count, pauses, answered) = asked(busy(1), 2).await;
        assert_eq!((count, pauses.len(), answered), (3, 2, true));
        let (count, pauses, answered) = asked(busy(3_000), usize::MAX).await;
        assert_eq!((count, answered), (RETRIES_MAX + 1, false));
        assert!(pauses.iter().all(|pause| (3_000..=5_000).contains(&pause.as_millis())), "{pauses:?}");
        // Nobody is kept waiting as long as a node may say.
        assert!(asked(busy(u64::MAX), 1).await.1[0] <= PAUSE_MAX);
    }

    #[tokio::test]
    async fn other_failures_are_the_answer() {
        for code in [FailureCode::Refused, FailureCode::Busy, FailureCode::Fault] {
            assert_eq!(asked(Failure::new(code, "no"), 1).await, (1, Vec::new(), false));
        }
    }
}
