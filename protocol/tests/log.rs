//! The rules of the log: golden vectors, checks of the reference, and properties.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "log/assignment.rs"]
mod assignment;
#[path = "log/base_layer.rs"]
mod base_layer;
#[path = "log/cron.rs"]
mod cron;
#[path = "log/fixture.rs"]
mod fixture;
#[path = "log/fold.rs"]
mod fold;
#[path = "log/golden.rs"]
mod golden;
#[path = "log/js.rs"]
mod js;
#[path = "log/mark.rs"]
mod mark;
#[path = "log/message.rs"]
mod message;
#[path = "log/outcome.rs"]
mod outcome;
#[path = "log/process.rs"]
mod process;
#[path = "log/seen.rs"]
mod seen;
#[path = "log/state.rs"]
mod state;
#[path = "log/time.rs"]
mod time;
