//! The processes this node knows, read once: their Process items and what it does for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use weft_protocol::process::Process;
use weft_protocol::{Address, Id};
use weft_storage::Roles;

/// A process as this node knows it.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its accepted Process item.
    pub process: Arc<Process>,
    /// What this node does for it.
    pub roles: Roles,
    /// What stopped it here, if something did.
    pub fault: Option<String>,
    /// What it waits for here: something failed or is missing, and is tried again.
    pub waits: Option<String>,
}

/// Processes of others that are remembered so that a message to them need not look them up again.
const REMEMBERED_MAX: usize = 4_096;

/// Addresses that are remembered as wallets.
const WALLETS_MAX: usize = 65_536;

/// All known processes. Written when a process is hosted or stops, read by everyone.
#[derive(Debug, Default)]
pub struct Directory {
    known: RwLock<BTreeMap<Id, Known>>,
    remembered: RwLock<BTreeMap<Id, Arc<Process>>>,
    wallets: RwLock<BTreeSet<Address>>,
}

impl Directory {
    /// The process, if this node knows it.
    pub fn get(&self, process: &Id) -> Option<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(process).cloned()
    }

    /// Every known process.
    pub fn all(&self) -> Vec<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The number of known processes.
    pub fn len(&self) -> usize {
        self.known.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether no process is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a process, or replaces what this node does for it.
    pub fn put(&self, process: Arc<Process>, roles: Roles) {
        let known = Known { process, roles, fault: None, waits: None };
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(known.process.id(), known);
    }

    /// A process of others that was looked up before.
    pub fn remembered(&self, process: &Id) -> Option<Arc<Process>> {
        self.remembered.read().unwrap_or_else(PoisonError::into_inner).get(process).cloned()
    }

    /// Remembers a process of others. A Process item never changes, so this is never stale; when
    /// it is full all is forgotten and looked up again.
    pub fn remember(&self, process: Arc<Process>) {
        let mut remembered = self.remembered.write().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(process.id(), process);
    }

    /// Notes that a key has this address, so that nobody looks for a process of that name. When
    /// there are too many all are forgotten, and seen again. It is in memory alone: what a message
    /// says of its signer stands in the log, and is noted anew when its outbox is taken up.
    pub fn saw_signer(&self, address: Address) {
        if self.is_wallet(&Id(address.0)) {
            return;
        }
        let mut wallets = self.wallets.write().unwrap_or_else(PoisonError::into_inner);
        if wallets.len() >= WALLETS_MAX {
            wallets.clear();
        }
        wallets.insert(address);
    }

    /// Whether this is the address of a key that was seen: it is no process then.
    pub fn is_wallet(&self, target: &Id) -> bool {
        self.wallets.read().unwrap_or_else(PoisonError::into_inner).contains(&Address(target.0))
    }

    /// Notes what a process waits for here, or that it waits no more.
    pub fn set_waits(&self, process: &Id, waits: Option<String>) {
        if let Some(known) = self.known.write().unwrap_or_else(PoisonError::into_inner).get_mut(process) {
            known.waits = waits;
        }
    }

    /// Notes what stopped a process here.
    pub fn set_fault(&self, process: &Id, fault: String) {
        if let Some(known) = self.known.write().unwrap_or_else(PoisonError::into_inner).get_mut(process) {
            known.fault = Some(fault);
        }
    }
}
