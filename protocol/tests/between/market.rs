//! The messenger market: sets, ranks, claims, and every way to claim what is not owed.

mod claims;
mod fixture;
mod forged;
mod judged;
mod ranks;
mod sets;
