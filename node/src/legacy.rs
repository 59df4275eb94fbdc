//! What clients of the reference's units ask for, answered from the store (RULES.md 6.19), and what those units
//! post, read.
//!
//! Shapes and texts are the reference's; whoever serves them over HTTP adds nothing but status and
//! headers.

pub mod checkpoint;
pub mod messages;
