//! Finding peers: bootstrap, what this node provides, and the provider and location records of others.

pub(crate) mod location;
pub(crate) mod machine;
pub(crate) mod store;
