//! Counters of the network layer.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The live counters, shared by the network task and the handles.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
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
    /// Verdicts that came too late.
    verdicts_late,
    /// Announcements published to at least one peer.
    published,
    /// Announcements that nobody was subscribed to.
    published_to_nobody,
    /// Requests of peers handed to the node.
    requests_received,
    /// Requests of peers answered with Busy because there was no room for them.
    requests_busy,
    /// Requests of peers refused because their bytes are not a canonical request.
    requests_malformed,
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
    /// Notices of peers and subscriptions lost because the node did not read its events.
    notices_lost,
    /// Peers disconnected because one of several connections broke, or pings failed, to connect
    /// afresh.
    fresh_starts,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}
