//! What tests of what asks gateways share.

pub(crate) mod stub;
