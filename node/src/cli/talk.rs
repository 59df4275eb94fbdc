//! Asking a running node.

use std::future::Future;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::Context;
use super::exit::{CliError, Exit};
use crate::control::api::Request;
use crate::control::client::ANSWER_WAIT;

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

/// As [`ask`], with another limit.
pub(super) async fn ask_within<T: DeserializeOwned>(
    context: &Context,
    what: &str,
    request: &Request,
    wait: Duration,
) -> Result<T, CliError> {
    let mut client = context.client().await?;
    Ok(context.screen.waiting(what, client.call(request, wait)).await?)
}
