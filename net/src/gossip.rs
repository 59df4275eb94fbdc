//! Gossip: the parameters of the mesh, which topics we remember, and one verdict per message.

pub(crate) mod filter;
pub(crate) mod machine;
pub(crate) mod params;
