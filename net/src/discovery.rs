//! Finding peers: bootstrap, what this node provides, and the provider records of others.

pub(crate) mod machine;
pub(crate) mod store;

#[cfg(test)]
mod simulation;
