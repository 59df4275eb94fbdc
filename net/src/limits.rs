//! Limits of the network layer, each with its reason.
//!
//! Those marked *protocol* must be equal on every node of a network: a peer with smaller ones
//! silently drops what a peer with larger ones sends. The sizes of messages are in
//! `weft_protocol::wire`.

use std::time::Duration;

use weft_protocol::lobby::{ADVERT_ADDRESSES_MAX, SHARDS};

/// Protocol: topics at which a peer floods. The default of the library, 100, makes a
/// peer with one topic more vanish without a word.
pub const TOPICS_PER_PEER_MAX: usize = 4096;
/// Process topics that this node joins; more belong on direct streams. Half of what peers take,
/// so that a node that moves from one set of topics to another is never refused.
pub const TOPICS_JOINED_MAX: usize = 2048;
/// Bytes of a topic name that we remember for a peer. Ours have 31.
pub(crate) const TOPIC_BYTES_MAX: usize = 64;
/// Protocol: bytes of subscriptions and control messages in one frame. All topics travel in the
/// first frame of a connection, at about 40 bytes each.
pub(crate) const CONTROL_BYTES_MAX: usize = 512 * 1024;
/// Protocol: bytes of one gossip frame: an announcement, or all subscriptions and control messages.
pub(crate) const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Announcements larger than this are worth telling other peers not to send again. A smaller one says so itself: it
/// takes its way no longer than the word about it, which of a kilobyte saves no copies (`benches/mesh.rs`).
pub(crate) const IDONTWANT_BYTES_MIN: usize = 16 * 1024;

/// How often the mesh is looked after.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long a peer that left a mesh, was sent out of it or not let into it stays out. Who comes last has dialled all its
/// peers and was dialled by none: each of them whose mesh is full may refuse it, and cuts it off before others as it has the
/// least score. When all have done so, which takes two or three heartbeats, it is in nobody's mesh and hears by heartbeats
/// alone until it may ask again: a heartbeat or two after this, not after the library's minute. Meshes that lack nobody ask
/// for nobody; who lacks somebody asks every few seconds. Peers are told it in whole seconds.
pub(crate) const PRUNE_BACKOFF: Duration = Duration::from_secs(2);
/// Heartbeats for which a message waits for its verdict and can be asked for.
pub(crate) const HISTORY_HEARTBEATS: usize = 12;
/// Heartbeats for which a message is offered to peers outside the mesh.
pub(crate) const HISTORY_GOSSIP_HEARTBEATS: usize = 3;
/// How long a message's id is remembered; the same bytes are not gossiped again before.
pub(crate) const DUPLICATE_CACHE: Duration = Duration::from_secs(600);
/// A ticket without a verdict is ignored after this; it must be less than the history, or the
/// late verdict would come to nothing unseen.
pub(crate) const TICKET_MS_MAX: u64 = 10_000;
/// Announcements that may wait for a verdict: those in the event queue and as many again in the
/// hands of verifiers.
pub(crate) const TICKETS_MAX: usize = 2048;

/// Announcements that may wait for a peer to take them: what a busy node hands on in a quarter of a second. As large as
/// they may be, those of one peer that takes none have 16 MiB, and those of 80 such peers 1.3 GiB. Whoever misses some
/// asks for them.
pub(crate) const SEND_QUEUE_MAX: usize = 256;
/// Seconds of its allowance of announcements that a peer may say at once: what it kept while it was held up.
pub(crate) const ANNOUNCEMENTS_BURST_S: u64 = 4;
/// What is beyond a peer's allowance is forgiven so many times as slowly as it earns the allowance: what is not heard
/// of it is not heard of others either, as its bytes count as known, so that may not go on for ever.
pub(crate) const ANNOUNCEMENTS_BEYOND_SHARE: u64 = 10;
/// Peers whose allowances are kept when they go, until they are full again: that takes less than a minute.
pub(crate) const FLOODS_GONE_MAX: usize = 1_024;
/// Topics that a peer may join and leave in a second: an honest one does twenty.
pub(crate) const TOPIC_CHANGES_PER_S: u64 = 40;
/// Topics that a peer may join and leave at once: all that a node may be on, on each of the connections that it may
/// have. Who comes back before its old connections broke says them again.
pub(crate) const TOPIC_CHANGES_BURST: u64 = 4 * (TOPICS_JOINED_MAX as u64 + SHARDS as u64);

/// Something must poll the swarm this often: the heartbeat of gossipsub 0.50 registers no waker
/// and stalls on a quiet swarm.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// Commands that may wait for the network task.
pub(crate) const COMMANDS_MAX: usize = 256;
/// Commands that are done before peers are listened to again.
pub(crate) const COMMANDS_AT_ONCE: usize = 32;
/// Notices (peers, subscriptions) that may wait for room in the event queue.
pub(crate) const NOTICES_MAX: usize = 16 * 1024;

/// Bodies up to this size need no share of the body budget.
pub(crate) const BODY_SMALL_BYTES: usize = 64 * 1024;
/// KiB of larger bodies that are read at a time, of requests and of responses each: of what has come of them, piece by
/// piece of [`BODY_SMALL_BYTES`].
pub(crate) const BODY_BUDGET_KIB: usize = 256 * 1024;
/// Of those, of requests that come on one connection: the largest request and a half. That is taken as it is announced, so
/// that a peer that announces much and sends nothing holds up itself alone.
pub(crate) const REQUEST_SHARE_KIB: usize = 16 * 1024;
/// Of those, of responses that come on one connection: four stretches of a log at a time.
pub(crate) const RESPONSE_SHARE_KIB: usize = 32 * 1024;
/// Bodies that are read to their end though the whole budget is taken, each of another connection: as much memory beside it as
/// so many of the largest have.
pub(crate) const BODY_LANES: usize = 4;
/// How long the next piece of such a body may take: others wait for its place.
pub(crate) const BODY_LANE_WAIT: Duration = Duration::from_secs(2);
/// KiB of larger answers to one peer that may be on their way: what an honest one asks for at once. One that
/// asks and does not read is told to wait.
pub(crate) const ANSWER_SHARE_KIB: usize = 48 * 1024;
/// Of those, how many a peer may have though less than half of the budget is free: the largest answer. Some twenty
/// peers can have taken all of that: then the slowest of them makes room.
pub(crate) const ANSWER_SHARE_SURE_KIB: usize = 12 * 1024;
/// Larger answers that are written at a time on one connection. The others wait: those of a slow peer are through in
/// time one after the other, and would all be late together.
pub(crate) const ANSWERS_WRITTEN_MAX: usize = 2;
/// Bytes of an answer that are written at a time; how far it is on its way is known so far.
pub(crate) const ANSWER_PIECE_BYTES: usize = 64 * 1024;
/// The least that a limited line has, in bytes a second: the shortest piece of an item goes over it in four seconds.
pub const BANDWIDTH_MIN: u64 = 64 * 1024;
/// How long what is on its way over a limited line may take, in seconds: those who wait for it give up after thirty,
/// and would ask again.
pub(crate) const ANSWERS_SECONDS_MAX: u64 = 12;
/// How long one answer should take there: whoever gives it gives no more at once.
pub const ANSWER_SECONDS_MAX: u64 = 4;
/// Parts of the patience with slow peers in which it is counted what each takes of its answers.
pub(crate) const READER_WINDOWS: u64 = 6;
/// How long a peer has no larger answers whose answers made room for those of others.
pub(crate) const READER_REST_MS: u64 = 30_000;
/// Peers that have no larger answers for a while.
pub(crate) const READERS_RESTING_MAX: usize = 1_024;
/// Requests and responses in flight on one connection.
pub(crate) const STREAMS_PER_CONNECTION_MAX: usize = 32;
/// Requests from peers that may wait for the node's answer.
pub(crate) const REQUESTS_INBOUND_MAX: usize = 1024;
/// Requests of our own that may wait for an answer.
pub(crate) const REQUESTS_OUTBOUND_MAX: usize = 1024;
/// Requests of our own that may be under way, with those for whose answer nobody waits any more: until their time is
/// over they are kept as they are.
pub(crate) const REQUESTS_HELD_MAX: usize = 4 * REQUESTS_OUTBOUND_MAX;
/// Bytes of those: as much as the requests of others may take.
pub(crate) const REQUESTS_HELD_BYTES_MAX: usize = BODY_BUDGET_KIB * 1024;
/// What a peer is told when we are too busy for its request.
pub const BUSY_RETRY_MS: u64 = 500;

/// Dials by address that may be under way.
pub(crate) const DIALS_MAX: usize = 64;
/// Providers that end a lookup early.
pub const PROVIDERS_WANTED: usize = 3;
/// Lookups of providers that may be under way.
pub(crate) const LOOKUPS_MAX: usize = 64;
/// How much longer a lookup of a process goes on that has found somebody: a peer in its way that is gone
/// would hold it up for seconds.
pub(crate) const LOOKUP_GRACE_MS: u64 = 500;
/// How much longer a lookup of an address goes on than it may, for the dial to the newest location.
pub(crate) const LOCATION_WAIT_MS: u64 = 5_000;
/// Keys that this node provides. Each costs a lookup every `PROVIDE_REFRESH_MS`.
pub const PROVIDED_MAX: usize = 1024;
/// Of those, what is kept for what a node is found by: its address and its lobby shards.
pub(crate) const PROVIDED_RESERVED: usize = SHARDS as usize + 1;
/// Addresses at which a peer is dialled that somebody names: those of an advert.
pub(crate) const INTRODUCED_ADDRESSES_MAX: usize = ADVERT_ADDRESSES_MAX;
/// How often provider records are written again: a node that restarts forgets those of others.
pub(crate) const PROVIDE_REFRESH_MS: u64 = 10 * 60 * 1000;
/// After a new peer enters the routing table, records are written again this much later ...
pub(crate) const PROVIDE_SETTLE_MS: u64 = 500;
/// ... but one record not more often than this.
pub(crate) const PROVIDE_GAP_MS: u64 = 5_000;
/// Provider records written per tick.
pub(crate) const PROVIDE_PER_TICK: usize = 4;
/// How long we keep a provider record of another peer.
pub(crate) const PROVIDER_TTL: Duration = Duration::from_secs(48 * 60 * 60);
/// The same of who is on a lobby shard: such a record is written every ten minutes.
pub(crate) const LOBBY_RECORD_TTL: Duration = Duration::from_secs(30 * 60);
/// Dials under way to peers that somebody named: half of all dials that may be.
pub(crate) const INTRODUCED_MAX: usize = 8;
/// Provider records of others that we keep. Where there are more, whoever has the most gives one up.
pub(crate) const PROVIDER_RECORDS_MAX: usize = 65_536;
/// Of those, how many are written down for the next start.
pub(crate) const PROVIDER_RECORDS_WRITTEN_MAX: usize = 4_096;
/// Provider records kept per provider: what an honest node provides.
pub(crate) const PROVIDER_RECORDS_PER_PEER_MAX: usize = PROVIDED_MAX;
/// Providers kept per key; the first stay, so a flood of later ones changes nothing. On a lobby shard the
/// stalest makes room for one more.
pub(crate) const PROVIDERS_PER_KEY_MAX: usize = 20;
/// Seconds that a location record lasts. It is written again every `PROVIDE_REFRESH_MS`.
pub(crate) const LOCATION_TTL_S: u64 = 24 * 60 * 60;
/// Seconds by which the clock of its signer may be ahead.
pub(crate) const CLOCK_SKEW_S: u64 = 10 * 60;
/// Bytes of a location record: so many addresses of the longest kind, a key and a signature.
pub(crate) const LOCATION_BYTES_MAX: usize = 3 * 1024;
/// Location records of others that we keep, those nearest to this node.
pub(crate) const LOCATIONS_MAX: usize = 8_192;
/// Different location records of which one lookup verifies what they say: an honest network has one or two
/// versions, and the rest cost a signature each. Three times as many as there are peers near a key, so that
/// a few of those that send rubbish crowd nobody out.
pub(crate) const LOCATIONS_PER_LOOKUP_MAX: usize = 64;
/// Of those, how many are dialled as they come, beside the newest at the end: the holder of the key can
/// have signed any number.
pub(crate) const LOCATION_DIALS_MAX: usize = 3;
/// Location records that are being verified: those of four lookups full of rubbish. One that finds no place
/// comes again.
pub(crate) const CHECKS_MAX: usize = 256;
/// Of those, how many were given to keep: lookups have the rest for themselves.
pub(crate) const PUT_CHECKS_MAX: usize = CHECKS_MAX / 2;
/// Addresses that we keep of one peer.
pub(crate) const ADDRESSES_PER_PEER_MAX: usize = 8;
/// Bytes of one address.
pub(crate) const ADDRESS_BYTES_MAX: usize = 256;

/// First pause before a bootstrap peer is dialled again; it doubles up to the next.
pub(crate) const REDIAL_MS_MIN: u64 = 1_000;
/// Longest pause before a bootstrap peer is dialled again.
pub(crate) const REDIAL_MS_MAX: u64 = 60_000;
/// A connection that lived this long clears the count of failures.
pub(crate) const STABLE_MS: u64 = 10_000;
/// Connections of this node's own choice: fewer, and peers from the book are dialled. Enough that
/// a few liars among them cannot keep everything from a node.
pub(crate) const PEERS_WANTED: usize = 8;
/// Peers in the book.
pub(crate) const BOOK_PEERS_MAX: usize = 2_000;
/// Peers that are dialled first after a start.
pub(crate) const ANCHORS_MAX: usize = 8;
/// Peers from the book that are dialled per tick.
pub(crate) const BOOK_DIALS_PER_TICK: usize = 4;
/// How often a node with enough peers dials one that it has not met for long.
pub(crate) const FEELER_MS: u64 = 60_000;
/// How often a node dials one of those that went while it ran, however many connections it has.
pub(crate) const LOST_FEELER_MS: u64 = 5_000;
/// How long it does so after one went.
pub(crate) const LOST_MS: u64 = 10 * 60 * 1000;
/// Peers that it does so for.
pub(crate) const LOST_MAX: usize = 64;
/// Peers that went within so long of each other may have been parted from this node by the same thing: pings find
/// that out within a minute, or later when the machine is busy.
pub(crate) const PARTED_MS: u64 = 120_000;
/// A dial from the book that reports nothing for this long has failed.
pub(crate) const BOOK_DIAL_MS_MAX: u64 = 30_000;
/// First pause after a failed dial from the book; it doubles up to the next.
pub(crate) const BOOK_REST_MS_MIN: u64 = 5_000;
/// Longest pause after a failed dial from the book.
pub(crate) const BOOK_REST_MS_MAX: u64 = 60 * 60 * 1000;
/// Peers of other networks that are remembered, so that mDNS does not have them dialled again.
pub(crate) const FOREIGN_PEERS_MAX: usize = 1_024;
/// A node with no peer for this long tries everything anew.
pub(crate) const ALONE_MS: u64 = 60_000;
/// A peer that was not met for so many seconds is not written down any more: 60 days.
pub(crate) const BOOK_AGE_S_MAX: u64 = 60 * 24 * 60 * 60;

/// Points at which a peer is shut out: what graylists it in gossip as well.
pub(crate) const POINTS_MAX: u32 = 800;
/// How long a point stays in the ledger: ten a minute fade.
pub(crate) const FADE_MS: u64 = 6_000;
/// How long a peer is shut out.
pub(crate) const BAN_MS: u64 = 10 * 60 * 1000;
/// Peers that the ledger knows.
pub(crate) const FAULTS_MAX: usize = 1_024;
/// Peers that are shut out.
pub(crate) const BANNED_MAX: usize = 1_024;

/// A node that nobody has reached for this long asks relays for a place. AutoNAT tries an address
/// every five seconds, and peers must be found first.
pub(crate) const PROBE_PATIENCE_MS: u64 = 30_000;
/// Relays that hold a place for a node at home: one may go at any time.
pub(crate) const RELAYS_USED: usize = 2;
/// Relays that are remembered.
pub(crate) const RELAYS_KNOWN_MAX: usize = 64;
/// First pause before a relay that refused is asked again; it doubles up to the next.
pub(crate) const RELAY_REST_MS_MIN: u64 = 10_000;
/// Longest pause before a relay that refused is asked again.
pub(crate) const RELAY_REST_MS_MAX: u64 = 10 * 60 * 1000;
/// Places that this node gives to others as a relay.
pub(crate) const RELAY_PLACES_MAX: usize = 128;
/// Connections that run through this node as a relay.
pub(crate) const RELAY_CIRCUITS_MAX: usize = 64;
/// Bytes that one of them may carry: gossip for a while, not a log. The library's own, 128 KiB, is
/// only enough to arrange a direct connection.
pub(crate) const RELAY_CIRCUIT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How long one of them may last.
pub(crate) const RELAY_CIRCUIT_TIME_MAX: Duration = Duration::from_secs(30 * 60);

/// How often the routing table is filled anew.
pub(crate) const BOOTSTRAP_INTERVAL: Duration = Duration::from_secs(300);
