//! Flags for the keys of the configuration.

use std::collections::BTreeMap;

use clap::Args;

/// Flags that override the configuration of one run. They are read by the same code as the file,
/// so that both know the same values and say the same of a wrong one.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ConfigFlags {
    /// The network's name
    #[arg(long, value_name = "NAME")]
    pub(crate) network: Option<String>,
    /// The version of the rules
    #[arg(long, value_name = "NUMBER")]
    pub(crate) rules: Option<String>,
    /// The kind of machine: local, home or server
    #[arg(long, value_name = "PROFILE")]
    pub(crate) profile: Option<String>,
    /// An address to listen on, such as /ip4/0.0.0.0/tcp/4904; may repeat
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) listen: Vec<String>,
    /// A peer to find the network by, ending in /p2p/PEER-ID; may repeat
    #[arg(long, alias = "peer", value_name = "MULTIADDR")]
    pub(crate) bootstrap: Vec<String>,
    /// Whether peers can dial this node: auto, yes or no
    #[arg(long, value_name = "WHETHER")]
    pub(crate) reachable: Option<String>,
    /// Whether to find peers on the local network
    #[arg(long, value_name = "BOOL")]
    pub(crate) mdns: Option<String>,
    /// Whether to ask the router to let peers in
    #[arg(long, value_name = "BOOL")]
    pub(crate) upnp: Option<String>,
    /// Whether to relay for nodes that cannot be dialled
    #[arg(long, value_name = "BOOL")]
    pub(crate) relay: Option<String>,
    /// How many process topics to be on at most
    #[arg(long, value_name = "NUMBER")]
    pub(crate) topics: Option<String>,
    /// What to do, of scheduler,compute,messenger,anchor
    #[arg(long, value_name = "LIST")]
    pub(crate) roles: Option<String>,
    /// Whose new processes to take: own, anyone, or addresses
    #[arg(long, value_name = "WHOSE")]
    pub(crate) schedule_for: Option<String>,
    /// Whose to compute of those that come unasked: own, anyone, or addresses
    #[arg(long, value_name = "WHOSE")]
    pub(crate) compute_for: Option<String>,
    /// Whose subscriptions to take: own, anyone, or addresses
    #[arg(long, value_name = "WHOSE")]
    pub(crate) carry_for: Option<String>,
    /// How many processes that came unasked to work for at most
    #[arg(long, value_name = "NUMBER")]
    pub(crate) spawn_budget: Option<String>,
    /// Gas that those may use in an hour, all together; or all
    #[arg(long, value_name = "GAS")]
    pub(crate) others_gas: Option<String>,
    /// The largest memory limit of one of those that is computed, such as 4gb
    #[arg(long, value_name = "BYTES")]
    pub(crate) others_memory: Option<String>,
    /// The time between two blocks of the embedded weave
    #[arg(long, value_name = "MS")]
    pub(crate) weave_block_ms: Option<String>,
    /// Where the embedded weave is read over HTTP: a port on 127.0.0.1 such as 1984
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) weave_listen: Option<String>,
    /// Whether others may post batches to that weave
    #[arg(long, value_name = "BOOL")]
    pub(crate) weave_accepts: Option<String>,
    /// Where batches go: local, arweave or bundler
    #[arg(long, value_name = "WHERE")]
    pub(crate) anchor: Option<String>,
    /// A gateway of the weave that they go to; may repeat
    #[arg(long, value_name = "URL")]
    pub(crate) anchor_gateways: Vec<String>,
    /// How many gateways must say the same, or majority
    #[arg(long, value_name = "NUMBER")]
    pub(crate) anchor_quorum: Option<String>,
    /// The name of that weave, as its gateways say it
    #[arg(long, value_name = "NAME")]
    pub(crate) anchor_weave: Option<String>,
    /// The file of the Arweave wallet that pays
    #[arg(long, value_name = "FILE")]
    pub(crate) anchor_wallet: Option<String>,
    /// The address of the upload service
    #[arg(long, value_name = "URL")]
    pub(crate) anchor_bundler: Option<String>,
    /// Winston that may be signed for in a day
    #[arg(long, value_name = "WINSTON")]
    pub(crate) anchor_day_limit: Option<String>,
    /// Percent that are paid on top of what gateways ask
    #[arg(long, value_name = "PERCENT")]
    pub(crate) anchor_margin_percent: Option<String>,
    /// Blocks after which what they hold is final
    #[arg(long, value_name = "NUMBER")]
    pub(crate) anchor_confirmations: Option<String>,
    /// The time between two questions after what is posted
    #[arg(long, value_name = "MS")]
    pub(crate) anchor_check_ms: Option<String>,
    /// Chunks on their way to one gateway at once
    #[arg(long, value_name = "NUMBER")]
    pub(crate) anchor_chunks_at_once: Option<String>,
    /// A gateway of the weave to read, such as https://arweave.net; may repeat
    #[arg(long, value_name = "URL")]
    pub(crate) gateways: Vec<String>,
    /// Blocks that must confirm a transaction of the base layer before it is assigned
    #[arg(long, value_name = "NUMBER")]
    pub(crate) settlement_depth: Option<String>,
    /// Write a batch when so many slots wait
    #[arg(long, value_name = "NUMBER")]
    pub(crate) anchor_batch_slots: Option<String>,
    /// Which checkpoints go into batches: off or boundaries
    #[arg(long, value_name = "WHICH")]
    pub(crate) anchor_checkpoints: Option<String>,
    /// Write a batch when its oldest slot has waited so long
    #[arg(long, value_name = "MS")]
    pub(crate) anchor_batch_age_ms: Option<String>,
    /// The time given to the messenger ranked before this one
    #[arg(long, value_name = "MS")]
    pub(crate) messenger_window_ms: Option<String>,
    /// What to ask for each push that is carried, in the smallest unit of what it is paid in
    #[arg(long, visible_alias = "price", value_name = "AMOUNT")]
    pub(crate) price_per_push: Option<String>,
    /// What to ask beside that for each KiB of its data
    #[arg(long, value_name = "AMOUNT")]
    pub(crate) price_per_kib: Option<String>,
    /// The smallest sum to claim for one window of one process
    #[arg(long, value_name = "AMOUNT")]
    pub(crate) claim_least: Option<String>,
    /// How many false claims of others to challenge in a day, each with a deposit
    #[arg(long, value_name = "NUMBER")]
    pub(crate) audit_challenges: Option<String>,
    /// Threads that evaluate messages
    #[arg(long, value_name = "NUMBER")]
    pub(crate) compute_threads: Option<String>,
    /// When to evaluate a newly hosted process: eager or lazy
    #[arg(long, value_name = "WHEN")]
    pub(crate) evaluate: Option<String>,
    /// How a process comes up whose log is far ahead: replay, checkpoint or auto
    #[arg(long, value_name = "HOW")]
    pub(crate) join: Option<String>,
    /// Guest memory kept in live instances, such as 4gb
    #[arg(long, value_name = "BYTES")]
    pub(crate) memory_budget: Option<String>,
    /// Disk that the data folder may take, such as 100gb, or none for all but the last of it
    #[arg(long, value_name = "BYTES")]
    pub(crate) disk_budget: Option<String>,
    /// Bytes to send to peers in a second, such as 1mb, or none for no limit
    #[arg(long, value_name = "BYTES")]
    pub(crate) bandwidth_out: Option<String>,
    /// Bytes to take from peers in a second, such as 4mb, or none for no limit
    #[arg(long, value_name = "BYTES")]
    pub(crate) bandwidth_in: Option<String>,
    /// How many dry runs to evaluate at once
    #[arg(long, value_name = "NUMBER")]
    pub(crate) dry_runs: Option<String>,
    /// Gas that one dry run may use
    #[arg(long, value_name = "GAS")]
    pub(crate) dry_run_gas: Option<String>,
    /// The time that one dry run may take
    #[arg(long, value_name = "MS")]
    pub(crate) dry_run_ms: Option<String>,
    /// How many replays (`weft state`, `weft verify`) to run at once
    #[arg(long, value_name = "NUMBER")]
    pub(crate) replays: Option<String>,
    /// Gas that going back to an old state may take
    #[arg(long, value_name = "GAS")]
    pub(crate) replay_gas: Option<String>,
    /// The time that going back to an old state may take
    #[arg(long, value_name = "MS")]
    pub(crate) replay_ms: Option<String>,
    /// Write a process down as a checkpoint after so many slots at the latest
    #[arg(long, value_name = "NUMBER")]
    pub(crate) checkpoint_slots: Option<String>,
    /// Checkpoints to keep of a process
    #[arg(long, value_name = "NUMBER")]
    pub(crate) checkpoints_kept: Option<String>,
    /// Where Prometheus finds metrics, such as 127.0.0.1:9464
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics: Option<String>,
    /// Where HTTP clients (aoconnect, aos) find this node: a port on 127.0.0.1 such as 4004
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway: Option<String>,
    /// Which pages may use it: off, any, or an origin such as http://localhost:3000; may repeat
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) gateway_cors: Vec<String>,
    /// A name by which it may be addressed, beside localhost; may repeat
    #[arg(long, value_name = "HOST")]
    pub(crate) gateway_hosts: Vec<String>,
    /// The address under which a proxy shows it to others, such as https://node.example
    #[arg(long, value_name = "URL")]
    pub(crate) gateway_url: Option<String>,
    /// Newest slots that keep their results, or all
    #[arg(long, value_name = "NUMBER")]
    pub(crate) results_kept: Option<String>,
    /// How far this node's clock is ahead of the machine's: for tests
    #[arg(long, value_name = "MS", allow_hyphen_values = true, hide = true)]
    pub(crate) clock_offset_ms: Option<String>,
    /// Which log lines to write, such as warn,weft_node=debug
    #[arg(long, value_name = "DIRECTIVES")]
    pub(crate) log: Option<String>,
    /// How to write them: text or json
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
}

impl ConfigFlags {
    /// The given flags by configuration key.
    pub(crate) fn by_key(&self) -> BTreeMap<&'static str, String> {
        [
            ("network", self.network.clone()),
            ("rules", self.rules.clone()),
            ("profile", self.profile.clone()),
            ("listen", list(&self.listen)),
            ("bootstrap", list(&self.bootstrap)),
            ("reachable", self.reachable.clone()),
            ("mdns", self.mdns.clone()),
            ("upnp", self.upnp.clone()),
            ("relay", self.relay.clone()),
            ("topics", self.topics.clone()),
            ("roles", self.roles.clone()),
            ("schedule_for", self.schedule_for.clone()),
            ("compute_for", self.compute_for.clone()),
            ("carry_for", self.carry_for.clone()),
            ("spawn_budget", self.spawn_budget.clone()),
            ("others_gas", self.others_gas.clone()),
            ("others_memory", self.others_memory.clone()),
            ("messenger_window_ms", self.messenger_window_ms.clone()),
            ("price_per_push", self.price_per_push.clone()),
            ("price_per_kib", self.price_per_kib.clone()),
            ("claim_least", self.claim_least.clone()),
            ("audit_challenges", self.audit_challenges.clone()),
            ("compute_threads", self.compute_threads.clone()),
            ("evaluate", self.evaluate.clone()),
            ("join", self.join.clone()),
            ("memory_budget", self.memory_budget.clone()),
            ("disk_budget", self.disk_budget.clone()),
            ("bandwidth_out", self.bandwidth_out.clone()),
            ("bandwidth_in", self.bandwidth_in.clone()),
            ("dry_runs", self.dry_runs.clone()),
            ("dry_run_gas", self.dry_run_gas.clone()),
            ("dry_run_ms", self.dry_run_ms.clone()),
            ("replays", self.replays.clone()),
            ("replay_gas", self.replay_gas.clone()),
            ("replay_ms", self.replay_ms.clone()),
            ("checkpoint_slots", self.checkpoint_slots.clone()),
            ("checkpoints_kept", self.checkpoints_kept.clone()),
            ("metrics", self.metrics.clone()),
            ("gateway", self.gateway.clone()),
            ("gateway_cors", list(&self.gateway_cors)),
            ("gateway_hosts", list(&self.gateway_hosts)),
            ("gateway_url", self.gateway_url.clone()),
            ("results_kept", self.results_kept.clone()),
            ("clock_offset_ms", self.clock_offset_ms.clone()),
            ("log", self.log.clone()),
            ("log_format", self.log_format.clone()),
        ]
        .into_iter()
        .chain(self.of_weave())
        .filter_map(|(key, given)| Some((key, given?)))
        .collect()
    }

    /// Those of the weave.
    fn of_weave(&self) -> impl Iterator<Item = (&'static str, Option<String>)> {
        [
            ("weave_block_ms", self.weave_block_ms.clone()),
            ("weave_listen", self.weave_listen.clone()),
            ("weave_accepts", self.weave_accepts.clone()),
            ("anchor", self.anchor.clone()),
            ("anchor_gateways", list(&self.anchor_gateways)),
            ("anchor_quorum", self.anchor_quorum.clone()),
            ("anchor_weave", self.anchor_weave.clone()),
            ("anchor_wallet", self.anchor_wallet.clone()),
            ("anchor_bundler", self.anchor_bundler.clone()),
            ("anchor_day_limit", self.anchor_day_limit.clone()),
            ("anchor_margin_percent", self.anchor_margin_percent.clone()),
            ("anchor_confirmations", self.anchor_confirmations.clone()),
            ("anchor_check_ms", self.anchor_check_ms.clone()),
            ("anchor_chunks_at_once", self.anchor_chunks_at_once.clone()),
            ("gateways", list(&self.gateways)),
            ("settlement_depth", self.settlement_depth.clone()),
            ("anchor_batch_slots", self.anchor_batch_slots.clone()),
            ("anchor_checkpoints", self.anchor_checkpoints.clone()),
            ("anchor_batch_age_ms", self.anchor_batch_age_ms.clone()),
        ]
        .into_iter()
    }
}

/// What was given of a flag that may repeat.
fn list(given: &[String]) -> Option<String> {
    (!given.is_empty()).then(|| given.join(","))
}
