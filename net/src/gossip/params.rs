//! The parameters of the mesh and of peer scores.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use libp2p::gossipsub::{
    Config, ConfigBuilder, ConfigBuilderError, Message, MessageId, PeerScoreParams, PeerScoreThresholds,
    TopicHash, TopicScoreParams, ValidationMode, score_parameter_decay_with_base,
};
use sha2::{Digest, Sha256};

use weft_protocol::lobby::Shard;

use crate::limits::{
    CONTROL_BYTES_MAX, DUPLICATE_CACHE, FRAME_BYTES_MAX, HEARTBEAT, HISTORY_GOSSIP_HEARTBEATS,
    HISTORY_HEARTBEATS, IDONTWANT_BYTES_MIN, PRUNE_BACKOFF, SEND_QUEUE_MAX,
};
use crate::network::NetworkNames;

/// Below this score a peer gets no gossip from us.
const GOSSIP_THRESHOLD: f64 = -200.0;
/// Below this score a peer gets nothing that we publish.
const PUBLISH_THRESHOLD: f64 = -400.0;
/// Below this score we hear nothing that a peer says.
pub(crate) const GRAYLIST_THRESHOLD: f64 = -800.0;

const DECAY_INTERVAL: Duration = Duration::from_secs(2);
const DECAY_TO_ZERO: f64 = 0.01;

fn decay(over: Duration) -> f64 {
    score_parameter_decay_with_base(over, DECAY_INTERVAL, DECAY_TO_ZERO)
}

/// The id of an announcement comes from its bytes, so that equal announcements are one, whoever
/// publishes them.
fn message_id(message: &Message) -> MessageId {
    let hash = Sha256::new()
        .chain_update("ao1")
        .chain_update(message.topic.as_str())
        .chain_update(&message.data)
        .finalize();
    MessageId::new(&hash[..20])
}

/// The mesh: sized for topics that one to a dozen peers share.
pub(crate) fn mesh(names: &NetworkNames) -> Result<Config, ConfigBuilderError> {
    let mut mesh = ConfigBuilder::default();
    for shard in Shard::all() {
        // Far more nodes are on a shard than on the topic of a process.
        let topic = || TopicHash::from_raw(names.lobby_topic(shard));
        mesh.mesh_n_for_topic(6, topic())
            .mesh_n_low_for_topic(4, topic())
            .mesh_n_high_for_topic(12, topic())
            .mesh_outbound_min_for_topic(2, topic());
    }
    mesh.validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(message_id)
        .mesh_n(4)
        .mesh_n_low(2)
        // Who joins grafts four peers, and is grafted by those who join later: more than four are copies.
        .mesh_n_high(5)
        // Which one goes must not be decided by scores alone: it would be whoever came last, everywhere, and that
        // one would hear everything a heartbeat late for a minute.
        .retain_scores(2)
        .mesh_outbound_min(1)
        .prune_backoff(PRUNE_BACKOFF)
        .unsubscribe_backoff(PRUNE_BACKOFF)
        .heartbeat_interval(HEARTBEAT)
        // Six seconds without one after a start, as the library has it, are six without a word for a node that all
        // meshes were too full for.
        .heartbeat_initial_delay(Duration::ZERO)
        .history_length(HISTORY_HEARTBEATS)
        .history_gossip(HISTORY_GOSSIP_HEARTBEATS)
        .duplicate_cache_time(DUPLICATE_CACHE)
        // Where up to four peers are on a topic it goes to all of them as well.
        .flood_publish(false)
        .max_transmit_size(FRAME_BYTES_MAX)
        .max_control_message_size(CONTROL_BYTES_MAX)
        .idontwant_message_size_threshold(IDONTWANT_BYTES_MIN)
        .connection_handler_queue_len(SEND_QUEUE_MAX)
        .build()
}

/// The score of one process topic. Without these, invalid announcements cost nothing; with the
/// library's own, every peer of a quiet topic is punished for its silence.
pub(crate) fn topic_score() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 0.05,
        time_in_mesh_weight: 0.01,
        time_in_mesh_quantum: Duration::from_secs(10),
        time_in_mesh_cap: 360.0,
        first_message_deliveries_weight: 0.5,
        first_message_deliveries_decay: decay(Duration::from_secs(600)),
        first_message_deliveries_cap: 20.0,
        // Silence is normal: no penalty for few deliveries.
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        // One invalid announcement costs 100, two 400, three 900 (graylisted).
        invalid_message_deliveries_weight: -2000.0,
        invalid_message_deliveries_decay: decay(Duration::from_secs(1800)),
        ..TopicScoreParams::default()
    }
}

/// The score of a lobby shard: there is little to gain there, and as much to lose by what is invalid.
pub(crate) fn lobby_score() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 0.5,
        time_in_mesh_weight: 0.001,
        first_message_deliveries_weight: 0.05,
        invalid_message_deliveries_weight: -200.0,
        ..topic_score()
    }
}

/// The score of a peer over all topics.
pub(crate) fn peer_score() -> PeerScoreParams {
    PeerScoreParams {
        topic_score_cap: 50.0,
        app_specific_weight: 1.0,
        ip_colocation_factor_weight: -25.0,
        ip_colocation_factor_threshold: 8.0,
        // Local networks run dozens of nodes on one machine.
        ip_colocation_factor_whitelist: [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
            .into(),
        behaviour_penalty_weight: -10.0,
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: decay(Duration::from_secs(600)),
        // Being slow is no fault: it costs a place in the mesh. A point for each of the thousands of
        // announcements that an honest peer misses in a bad moment would graylist it.
        slow_peer_weight: -0.01,
        slow_peer_threshold: 10.0,
        decay_interval: DECAY_INTERVAL,
        decay_to_zero: DECAY_TO_ZERO,
        retain_score: Duration::from_secs(3600),
        ..PeerScoreParams::default()
    }
}

/// What the score decides.
pub(crate) fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: GOSSIP_THRESHOLD,
        publish_threshold: PUBLISH_THRESHOLD,
        graylist_threshold: GRAYLIST_THRESHOLD,
        accept_px_threshold: 50.0,
        // A topic alone gives less than one point: any threshold above that would take ever more peers
        // into every mesh, and each is one more copy.
        opportunistic_graft_threshold: 0.0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::id::Network;

    use super::*;

    #[test]
    fn the_parameters_are_valid() {
        let names = NetworkNames::new(Network(1));
        let mesh = mesh(&names).unwrap();
        let (last, process) = (Shard::all().last().unwrap(), TopicHash::from_raw("ao1/other"));
        let last = TopicHash::from_raw(names.lobby_topic(last));
        assert_eq!((mesh.mesh_n_for_topic(&last), mesh.mesh_n_for_topic(&process)), (6, 4));
        assert!(mesh.validate_messages());
        assert_eq!(mesh.max_transmit_size(), FRAME_BYTES_MAX);
        // A part of a second is lost on the way to the peer, which would ask too early and be punished for it.
        assert_eq!((mesh.prune_backoff(), mesh.unsubscribe_backoff()), (PRUNE_BACKOFF, PRUNE_BACKOFF));
        assert!(PRUNE_BACKOFF >= HEARTBEAT && PRUNE_BACKOFF.subsec_nanos() == 0 && mesh.backoff_slack() > 0);
        topic_score().validate().unwrap();
        lobby_score().validate().unwrap();
        peer_score().validate().unwrap();
        thresholds().validate().unwrap();
    }

    #[test]
    fn a_quiet_topic_punishes_nobody() {
        let topic = topic_score();
        assert!(topic.mesh_message_deliveries_weight == 0.0);
        assert!(topic.mesh_failure_penalty_weight == 0.0);
    }

    #[test]
    fn message_ids_come_from_topic_and_content_alone() {
        let message = |topic: &str, data: &[u8], sequence_number| Message {
            source: None,
            data: data.to_vec(),
            sequence_number,
            topic: TopicHash::from_raw(topic),
        };
        let id = message_id(&message("t", b"data", None));
        assert_eq!(id, message_id(&message("t", b"data", Some(9))));
        assert_ne!(id, message_id(&message("u", b"data", None)));
        assert_ne!(id, message_id(&message("t", b"date", None)));
        assert_eq!(id.0[..], Sha256::digest("ao1tdata")[..20]);
    }
}
