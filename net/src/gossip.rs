//! Gossip: the parameters of the mesh, which topics we remember, one verdict per message, and how
//! much a peer may say.

pub(crate) mod filter;
pub(crate) mod flood;
pub(crate) mod machine;
pub(crate) mod params;
