//! How much of the disk the logs of strangers may take that are read from a weave: `others_logs`, all together and
//! for good, as no log here is ever dropped.
//!
//! A share is written down before anything of a log comes, and what is left of it is given back afterwards: a node
//! that is killed in between has counted too much, never too little.

use std::sync::Arc;

use bytes::Bytes;
use weft_storage::{StoreError, Write};

use super::task::NotRead;
use crate::hosting::Declined;
use crate::portable::Allowance;
use crate::shared::SharedRef;

/// The setting that says how many bytes came.
const SETTING: &str = "others-logs";
/// One log takes at most one part in so many of all.
const PART: u64 = 16;

/// What one log may take.
#[derive(Debug)]
pub(super) struct Share(Arc<Allowance>);

impl Share {
    /// Its bytes.
    pub(super) fn allowance(&self) -> Arc<Allowance> {
        Arc::clone(&self.0)
    }
}

/// Takes a share for one log.
///
/// # Errors
/// All of it is used, or the disk.
pub(super) async fn take(shared: &SharedRef) -> Result<Share, NotRead> {
    let _turn = shared.wishes.turn.lock().await;
    let all = shared.config.others_logs_bytes;
    let used = used(shared)?;
    let most = all.saturating_sub(used).min(all / PART);
    if most == 0 {
        return Err(Declined::Logs(all).into());
    }
    write(shared, used + most).await?;
    Ok(Share(Arc::new(Allowance::new(most))))
}

/// Gives back what did not come.
///
/// # Errors
/// The disk.
pub(super) async fn give_back(shared: &SharedRef, share: &Share) -> Result<(), StoreError> {
    let _turn = shared.wishes.turn.lock().await;
    write(shared, used(shared)?.saturating_sub(share.0.left())).await
}

fn used(shared: &SharedRef) -> Result<u64, StoreError> {
    let setting = shared.store.read()?.setting(SETTING)?;
    let number = setting.and_then(|bytes| Some(u64::from_be_bytes(bytes.as_ref().try_into().ok()?)));
    Ok(number.unwrap_or_default())
}

async fn write(shared: &SharedRef, used: u64) -> Result<(), StoreError> {
    let value = Bytes::copy_from_slice(&used.to_be_bytes());
    shared.store.write(vec![Write::Setting { name: SETTING.to_owned(), value }]).await
}
