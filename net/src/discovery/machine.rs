//! The rules of discovery: when to dial, and when to write what this node provides.

pub(crate) mod bootstrap;
pub(crate) mod provide;
