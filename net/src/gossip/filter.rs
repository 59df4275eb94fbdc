//! Which subscriptions of a peer we remember.

use std::sync::Arc;

use libp2p::gossipsub::{MaxCountSubscriptionFilter, TopicHash, TopicSubscriptionFilter};

use crate::limits::{TOPIC_BYTES_MAX, TOPICS_PER_PEER_MAX};
use crate::metrics::Counters;

/// Remembers topics of our network with short names, up to twice as many per peer as make a flood
/// ([`crate::gossip::flood`], which is told of none that is refused here). Beyond that a peer is not heard on this.
pub(crate) type TopicFilter = MaxCountSubscriptionFilter<OwnTopics>;

/// The filter for topics that begin so.
pub(crate) fn topic_filter(prefix: String, counters: Arc<Counters>) -> TopicFilter {
    MaxCountSubscriptionFilter {
        filter: OwnTopics { prefix, counters },
        max_subscribed_topics: 2 * TOPICS_PER_PEER_MAX,
        max_subscriptions_per_request: 2 * TOPICS_PER_PEER_MAX,
    }
}

/// Takes short names of our network.
pub(crate) struct OwnTopics {
    prefix: String,
    counters: Arc<Counters>,
}

impl TopicSubscriptionFilter for OwnTopics {
    fn can_subscribe(&mut self, topic: &TopicHash) -> bool {
        let is_ours = topic.as_str().len() <= TOPIC_BYTES_MAX && topic.as_str().starts_with(&self.prefix);
        if !is_ours {
            Counters::add(&self.counters.subscriptions_refused);
        }
        is_ours
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_of_our_network_are_taken() {
        let counters = Arc::new(Counters::default());
        let mut filter = topic_filter("ao1/AAAA/".into(), Arc::clone(&counters));
        assert!(filter.can_subscribe(&TopicHash::from_raw("ao1/AAAA/x")));
        assert!(!filter.can_subscribe(&TopicHash::from_raw("ao1/BBBB/x")));
        let long = format!("ao1/AAAA/{}", "x".repeat(TOPIC_BYTES_MAX));
        assert!(!filter.can_subscribe(&TopicHash::from_raw(long)));
        assert_eq!(Counters::get(&counters.subscriptions_refused), 2);
    }
}
