//! Peers that lie to a real node: they are not believed, what they say goes no further, and the
//! honest work goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod followed;
mod items;
mod requests;
mod support;
mod topic;
