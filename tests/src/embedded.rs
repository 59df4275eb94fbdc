//! What benches share that run whole nodes inside their own program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use bytes::Bytes;
use weft_node::submit::{SubmitError, Submitter};

/// Runs a bench with all cores of the machine.
pub fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(work);
}

/// Hands an item in, as often as its scheduler asks for it.
pub async fn submit(submitter: &Submitter, raw: &Bytes) {
    loop {
        match submitter.submit(raw.clone(), Bytes::new()).await {
            Ok(_) => return,
            // tidy-allow(sleep): as long as the scheduler says
            Err(SubmitError::Busy(ms)) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Err(error) => panic!("{error}"),
        }
    }
}
