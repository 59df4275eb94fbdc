//! The messenger market: sets, ranks, claims, and every way to claim what is not owed.

#[path = "market/claims.rs"]
mod claims;
#[path = "market/fixture.rs"]
mod fixture;
#[path = "market/forged.rs"]
mod forged;
#[path = "market/judged.rs"]
mod judged;
#[path = "market/ranks.rs"]
mod ranks;
#[path = "market/refuted.rs"]
mod refuted;
#[path = "market/sets.rs"]
mod sets;
