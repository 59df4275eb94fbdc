//! What a messenger asks and claims.

use super::super::numbers::{set_ms, set_u64};
use super::super::pay::set_claim_at;
use super::super::setting::{Setting, Takes, number, texts};

/// The highest price: a hundred tokens of 12 decimals for one push. More is a typing error.
const PRICE_MAX: u64 = 100_000_000_000_000;
/// The largest sum: as much as the file can say.
const SUM_MAX: u64 = i64::MAX as u64;
/// Challenges of one day. More is a typing error.
const AUDIT_CHALLENGES_MAX: u64 = 100_000;

/// `Carrying for pay`.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "messenger_window_ms",
        takes: Takes::One("MS"),
        help: "milliseconds to leave a push to the messenger ranked before this one",
        set: |config, given| set_ms(&mut config.messenger_window_ms, given, 50),
        show: |config| number(config.messenger_window_ms),
    },
    Setting {
        key: "price_per_push",
        takes: Takes::One("AMOUNT"),
        help: "what the messenger asks for each push, in the smallest unit of the ledger that settles it; in soft mode \
               senders pay nothing all the same",
        set: |config, given| set_u64(&mut config.price_per_push, given, 0, PRICE_MAX),
        show: |config| number(config.price_per_push),
    },
    Setting {
        key: "price_per_kib",
        takes: Takes::One("AMOUNT"),
        help: "what it asks in addition for each started KiB of a push's data",
        set: |config, given| set_u64(&mut config.price_per_kib, given, 0, PRICE_MAX),
        show: |config| number(config.price_per_kib),
    },
    Setting {
        key: "claim_least",
        takes: Takes::One("AMOUNT"),
        help: "the smallest sum that the messenger claims for one window of one process, in the ledger's smallest unit",
        set: |config, given| set_u64(&mut config.pay.claim_least, given, 1, SUM_MAX),
        show: |config| number(config.pay.claim_least),
    },
    Setting {
        key: "claim_at",
        takes: Takes::Many("LEDGER"),
        help: "ledgers at which the messenger claims although this node does not compute them: it believes what a quorum \
               of their attestors signs",
        set: set_claim_at,
        show: |config| texts(&config.pay.claim_at),
    },
    Setting {
        key: "audit_challenges",
        takes: Takes::One("NUMBER"),
        help: "how many false claims of others to challenge per day, each with a deposit from this node's balance at \
               the ledger (half a bond to win); 0 for none",
        set: |config, given| set_u64(&mut config.pay.audit_challenges, given, 0, AUDIT_CHALLENGES_MAX),
        show: |config| number(config.pay.audit_challenges),
    },
];
