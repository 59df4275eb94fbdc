//! What the testnet was and what the tour found, for a script.

use serde::Serialize;
use weft_node::control::api::{BatchInfo, SlotInfo};
use weft_protocol::{Address, Hash, Id, Position};

use crate::check::Step;
use crate::fleet::Fleet;

/// Everything that one run found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether everything was as expected.
    pub ok: bool,
    /// The folder of the nodes; gone when the run is over unless `kept`.
    pub dir: String,
    /// Whether the folder stays.
    pub kept: bool,
    /// The nodes.
    pub peers: Vec<PeerReport>,
    /// The modules that the tour's processes run.
    pub modules: Vec<ModuleReport>,
    /// Why no aos module was toured, if none was.
    pub aos_skipped: Option<String>,
    /// The steps in order.
    pub steps: Vec<Step>,
    /// The processes of the tour, as they stood at its end.
    pub processes: Vec<ActorReport>,
    /// Batches on the embedded weave of the first scheduler.
    pub batches: Vec<BatchInfo>,
    /// How long it took.
    pub elapsed_ms: u64,
}

/// One node.
#[derive(Debug, Clone, Serialize)]
pub struct PeerReport {
    /// Its number.
    pub node: usize,
    /// Its address.
    pub address: Address,
    /// Its name among peers.
    pub peer_id: String,
    /// Where it listens.
    pub listen: Vec<String>,
    /// What it does.
    pub roles: Vec<String>,
    /// Where its batches go.
    pub weave: String,
    /// Where its embedded weave is read, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weave_api: Option<String>,
    /// Its process in the operating system.
    pub pid: u32,
    /// Its data folder.
    pub data_dir: String,
    /// Its log.
    pub log: String,
}

/// One module.
#[derive(Debug, Clone, Serialize)]
pub struct ModuleReport {
    /// Where it comes from.
    pub name: String,
    /// Its id.
    pub module: Id,
    /// Its format.
    pub format: String,
    /// Its size.
    pub bytes: usize,
}

/// One process of the tour.
#[derive(Debug, Clone, Serialize)]
pub struct ActorReport {
    /// Its name.
    pub name: String,
    /// Its id.
    pub process: Id,
    /// The node that gives its slots.
    pub scheduler: usize,
    /// Whose word on it counts.
    pub attestors: Vec<Address>,
    /// How many of them must agree.
    pub quorum: usize,
    /// Its slots.
    pub slots: Vec<SlotInfo>,
    /// What each computing node has of it.
    pub computed: Vec<ComputedReport>,
    /// Whether they all have the same.
    pub equal: bool,
}

/// What one node has of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComputedReport {
    /// Which node.
    pub node: usize,
    /// What it does for the process.
    pub duties: Vec<String>,
    /// The newest slot in its log.
    pub head: Option<u64>,
    /// The hash chain at that slot.
    pub hash_chain: Option<Hash>,
    /// The newest evaluated position.
    pub position: Option<Position>,
    /// The running outcome hash there.
    pub running: Option<Hash>,
    /// The state root there.
    pub state_root: Option<Hash>,
    /// What the process sent and nobody has carried yet, as this node knows.
    pub outbox_pending: usize,
}

impl ComputedReport {
    /// Whether two nodes have the same log and the same state, and have them whole.
    pub fn agrees(&self, other: &Self) -> bool {
        let whole = self.head.is_some() && self.running.is_some() && self.state_root.is_some();
        let of = |report: &Self| {
            (report.head, report.hash_chain, report.position, report.running, report.state_root)
        };
        whole && of(self) == of(other)
    }
}

/// The nodes as a report lists them.
pub(crate) fn peers(fleet: &Fleet) -> Vec<PeerReport> {
    let peer = |node: &crate::node::Node| {
        let ready = node.ready().clone();
        PeerReport {
            node: node.index(),
            address: ready.address,
            peer_id: ready.peer_id,
            listen: ready.listen,
            roles: ready.roles,
            weave: ready.weave,
            weave_api: ready.weave_api,
            pid: ready.pid,
            data_dir: node.data_dir().display().to_string(),
            log: node.log().display().to_string(),
        }
    };
    fleet.nodes().iter().map(peer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_agree_only_on_everything() {
        let one = ComputedReport {
            node: 0,
            duties: vec!["schedule".into()],
            head: Some(3),
            hash_chain: Some(Hash([1; 32])),
            position: Some(Position::slot(3)),
            running: Some(Hash([2; 32])),
            state_root: Some(Hash([3; 32])),
            outbox_pending: 0,
        };
        let other = ComputedReport { node: 2, duties: Vec::new(), outbox_pending: 1, ..one.clone() };
        assert!(one.agrees(&other));
        assert!(!one.agrees(&ComputedReport { head: Some(4), ..one.clone() }));
        assert!(!one.agrees(&ComputedReport { hash_chain: None, ..one.clone() }));
        assert!(!one.agrees(&ComputedReport { running: Some(Hash([9; 32])), ..one.clone() }));
        assert!(!one.agrees(&ComputedReport { state_root: Some(Hash([9; 32])), ..one.clone() }));
        let none = ComputedReport { state_root: None, ..one };
        assert!(!none.agrees(&none), "nothing is not agreement");
    }
}
