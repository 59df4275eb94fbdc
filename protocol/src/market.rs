//! The messenger market: who carries a push first, and what that is worth (RULES.md 6.3, 6.16).
//!
//! In soft mode every node ranks the messengers that it happens to know, and nobody is paid. A
//! process in hard mode ([`PushTerms`]) has its scheduler put the offers that hold in each window
//! of 256 slots into its log ([`OfferSet`]). With the hash chain after it, which nobody knew
//! before, they give every push one order of messengers ([`Window::rank`]); the two assignments
//! that frame a push say whether its carrier waited for its turn ([`due`]). So what is owed
//! follows from two logs, and a [`Claim`] for it is checked by showing the bytes of those logs to
//! somebody who holds neither ([`judge`]).
//!
//! What schedulers say is taken as said. That of the source: the offers that it knew, the bonds that
//! it read, and a timestamp of which it may try several; it spends its own process's escrow. That
//! of the target: who carried a push, and when; where its clock is ahead of the source's, a rank earns
//! before its turn by as much. One that signs more than one receipt of a push chooses who is paid, and nothing
//! more: a ledger pays a push once, and one that was carried honestly is at most not paid ([`refute`]).

mod answer;
mod claim;
mod judge;
mod pay;
mod quality;
mod rank;
mod set;
mod terms;
mod window;

pub use answer::{Answer, Carried, Earlier, Opening, OpeningError};
pub use claim::{Claim, ClaimError, ClaimTree, LEAF_PATH_MAX, LEAVES_MAX, Leaf, LeafPath, Paid};
pub use judge::{Court, Fraud, Judged, Part, judge, refute};
pub use pay::{RANKS_PAID, TURN_MS, Unpaid, due, price, turn};
pub use quality::{Quality, Standing};
pub use rank::{BOND_UNIT, UNITS_MAX, draws, rank_score};
pub use set::{
    Entry, EntryError, NEWCOMERS_MIN, OFFER_SET_TYPE, OfferSet, SET_OFFERS_MAX, SetError, draft, is_offer_set,
};
pub use terms::{EXTENSION, Market, PushTerms};
pub use window::{WINDOW_SLOTS, Window, set_slot, window_of, window_set_at};
