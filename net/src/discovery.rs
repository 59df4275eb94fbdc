//! Finding peers: bootstrap, what this node provides, and the provider records of others.

pub(crate) mod bootstrap;
pub(crate) mod provide;
pub(crate) mod store;
