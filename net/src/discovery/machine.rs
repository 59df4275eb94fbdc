//! The rules of discovery: whom to dial and when, what this node provides, and who can reach it.

pub(crate) mod book;
pub(crate) mod bootstrap;
pub(crate) mod provide;
pub(crate) mod reach;
