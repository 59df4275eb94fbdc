//! Counters and levels of the network layer.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::{
    BANNED_MAX, BOOK_PEERS_MAX, CHECKS_MAX, DIALS_MAX, LOOKUPS_MAX, NOTICES_MAX, PROVIDED_MAX,
    REQUESTS_INBOUND_MAX, REQUESTS_OUTBOUND_MAX, TICKETS_MAX, TOPICS_JOINED_MAX,
};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The live counters, shared by the network task and the handles.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
            pub(crate) gauges: Gauges,
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> NetMetrics {
                NetMetrics { $($name: Self::get(&self.$name),)* }
            }
        }

        /// What the network layer has counted since it started.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
        pub struct NetMetrics {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl NetMetrics {
            /// Each count with its name.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Announcements that came and were new.
    gossip_received,
    /// Announcements accepted by the verifier.
    gossip_accepted,
    /// Announcements ignored by the verifier.
    gossip_ignored,
    /// Announcements rejected by the verifier.
    gossip_rejected,
    /// Announcements ignored because there was no room for them.
    gossip_full,
    /// Announcements ignored because no verdict came in time.
    gossip_expired,
    /// Announcements rejected because they are larger than any may be.
    gossip_oversized,
    /// Announcements that were not heard as their peer hands on more than it may.
    gossip_flooded,
    /// Verdicts that came too late.
    verdicts_late,
    /// Announcements published to at least one peer.
    published,
    /// Announcements that nobody was subscribed to.
    published_to_nobody,
    /// Facts that this node said on lobby shards to at least one peer.
    lobby_published,
    /// Requests of peers handed to the node.
    requests_received,
    /// Requests of peers answered with Busy because there was no room for them.
    requests_busy,
    /// Requests of peers refused because their bytes are not a canonical request.
    requests_malformed,
    /// Answers that became Busy because as much is on its way to their peer as may be.
    answers_busy,
    /// Times that answers on their way to the slowest peer ended, as there was no room for those to others.
    answers_cut,
    /// Requests sent.
    requests_sent,
    /// Requests of ours that failed without an answer.
    requests_failed,
    /// Subscriptions of peers that were not taken: too long or of another network.
    subscriptions_refused,
    /// Peers of another network that were disconnected.
    foreign_peers,
    /// Provider records that were not taken.
    provider_records_refused,
    /// Location records of others that were kept.
    locations_kept,
    /// Location records of others that were not: false, older, or without room.
    locations_refused,
    /// Location records found in lookups, whose signature held.
    locations_found,
    /// Notices of peers and subscriptions lost because the node did not read its events.
    notices_lost,
    /// Connections refused because as many came from the same place as may, or opened by QUIC at once.
    connections_crowded,
    /// Connections through a relay that became direct ones.
    direct_upgrades,
    /// Connections through a relay that stayed so, after all attempts.
    direct_upgrades_failed,
    /// What peers did that no correct peer does, outside of gossip.
    faults,
    /// Peers disconnected because they were too slow for too long.
    slow_peers,
    /// Times that this node was alone and tried everything anew.
    alone,
    /// Peers disconnected because one of several connections broke, or pings failed, to connect
    /// afresh.
    fresh_starts,
}

macro_rules! levels {
    ($($(#[$doc:meta])* $name:ident: $limit:expr,)*) => {
        /// What is taken now of each limit, written by the network task.
        #[derive(Debug, Default)]
        pub(crate) struct Gauges {
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Gauges {
            /// Each level: its name, what is taken, and the limit.
            pub(crate) fn levels(&self) -> Vec<NetLevel> {
                vec![$(NetLevel {
                    name: stringify!($name),
                    used: Counters::get(&self.$name),
                    limit: $limit as u64,
                },)*]
            }
        }
    };
}

/// How much of one limit of the network layer is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct NetLevel {
    /// What it limits.
    pub name: &'static str,
    /// What is taken, a quarter of a second ago or less.
    pub used: u64,
    /// The limit.
    pub limit: u64,
}

levels! {
    /// Process topics joined.
    topics: TOPICS_JOINED_MAX,
    /// Keys provided.
    provided_keys: PROVIDED_MAX,
    /// Announcements that wait for their verdict.
    tickets: TICKETS_MAX,
    /// Notices that wait for room in the event queue.
    notices: NOTICES_MAX,
    /// Requests of peers that wait for the node's answer.
    requests_inbound: REQUESTS_INBOUND_MAX,
    /// Requests of ours that wait for an answer.
    requests_outbound: REQUESTS_OUTBOUND_MAX,
    /// Lookups of providers under way.
    lookups: LOOKUPS_MAX,
    /// Location records that are being verified.
    checks: CHECKS_MAX,
    /// Dials by address under way.
    dials: DIALS_MAX,
    /// Peers in the book.
    book: BOOK_PEERS_MAX,
    /// Peers that are shut out.
    banned: BANNED_MAX,
}

impl Gauges {
    pub(crate) fn set(gauge: &AtomicU64, value: usize) {
        gauge.store(value as u64, Ordering::Relaxed);
    }
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}
