//! The node's one clock. Machines get the time as an argument; only tasks ask here.

use std::time::{SystemTime, UNIX_EPOCH};

use weft_protocol::Now;

/// The current time. A clock set before 1970 reads as 1970.
pub fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
