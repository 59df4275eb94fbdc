//! A live process: one message after the other, each kept or rolled back.
//!
//! Rolling back must give the memory from before the message, byte for byte. A message changes
//! more than half of a guest's live pages, so watching its writes would cost as much as the
//! message. Instead the instance keeps a snapshot and the messages that were kept since. A
//! message is evaluated in place; if it fails, the snapshot is restored into a new instance and
//! the kept messages are evaluated again, which gives the same memory because a message's result
//! depends on nothing else. Success pays one copy of the message's text. The more often a guest
//! fails, the more often a snapshot is taken ([`Pace`]).
//!
//! The cheapest way to watch writes is an asynchronous userfaultfd with a second copy, which few systems offer. It would cost
//! every aos message some two fifths more, and so pay only for guests of which more than one message in a hundred fails
//! (`benches/rollback.rs`; its figures are in BENCHMARKS.md).
//!
//! Invariant: snapshot + kept messages = the memory before the pending message.

use std::sync::Arc;

use crate::error::HostFault;
use crate::image::MemoryImage;
use crate::interrupt::Interrupt;
use crate::limits::{ARGUMENT_BYTES_MAX, KEPT_BYTES_MAX, KEPT_MESSAGES_MAX, REPLAYED_GAS_MAX, SNAPSHOT_GAS};
use crate::live::{Allowance, Live};
use crate::module::Module;
use crate::outcome::{Evaluation, Limits, Outcome};
use crate::pace::Pace;
use crate::thread::on_guest_thread;
use crate::weave::{NoWeave, Weave};

/// What wasmtime and this crate keep of an instance beside the guest's memory, about: what the bench of memory finds
/// that a small guest takes and nothing else counts.
const INSTANCE_BYTES: u64 = 40 << 10;

/// A process in memory. It may be sent from thread to thread between calls; each call runs on a
/// guest thread (see [`crate::spawn_guest_thread`]).
#[derive(Debug)]
pub struct Instance {
    module: Module,
    limits: Limits,
    live: Live,
    snapshot: MemoryImage,
    kept: Vec<Kept>,
    kept_bytes: usize,
    kept_gas: u64,
    /// Gas replayed since the snapshot was taken.
    replayed_gas: u64,
    pace: Pace,
    pending: Option<Pending>,
    weave: Arc<dyn Weave>,
    own_gas: u64,
    gas_spent: u64,
}

/// A message that became part of the state.
#[derive(Debug)]
struct Kept {
    message: Vec<u8>,
    environment: Arc<[u8]>,
    gas: u64,
    weave: Arc<dyn Weave>,
}

/// A message that is neither kept nor rolled back.
#[derive(Debug)]
enum Pending {
    Returned(Kept),
    Failed,
}

impl Instance {
    pub(crate) fn new(module: Module, limits: Limits, live: Live, snapshot: MemoryImage) -> Self {
        Self {
            module,
            limits,
            live,
            snapshot,
            kept: Vec::new(),
            kept_bytes: 0,
            kept_gas: 0,
            replayed_gas: 0,
            pace: Pace::default(),
            pending: None,
            weave: Arc::new(NoWeave),
            own_gas: limits.gas,
            gas_spent: 0,
        }
    }

    /// What messages may read from now on. Nothing until this is called.
    pub fn offer(&mut self, weave: Arc<dyn Weave>) {
        self.weave = weave;
    }

    /// What a module may count up to that was metered when it was published and counts its own
    /// gas: the `Compute-Limit` as it was declared. Until this is called, the limit of the guard.
    /// Called before the first message or not at all: messages are replayed with it.
    pub fn limit_own_gas(&mut self, gas: u64) {
        self.own_gas = gas;
    }

    /// Lets messages be ended from another thread, on an engine that allows it. Forgotten by a
    /// roll-back.
    pub fn heed(&mut self, interrupt: &Interrupt) {
        self.live.heed(interrupt.clone());
    }

    const fn allowance(&self) -> Allowance {
        Allowance { gas: self.limits.gas, own_gas: self.own_gas }
    }

    /// The module it is an instance of.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// What one message may use.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The gas of the newest message: also of one that a host fault ended, which has no outcome.
    pub const fn gas_spent(&self) -> u64 {
        self.gas_spent
    }

    /// Gives the guest a message and its environment, word for word.
    ///
    /// Afterwards exactly one of [`Instance::keep`] and [`Instance::roll_back`] must be called; a
    /// message that trapped, or a host fault, leaves only the second.
    pub fn evaluate(&mut self, message_json: &[u8], env_json: &[u8]) -> Result<Evaluation, HostFault> {
        self.gas_spent = 0;
        if self.pending.is_some() {
            return Err(HostFault::Misuse("a message is evaluated before the last was kept or rolled back"));
        }
        for argument in [message_json, env_json] {
            if argument.len() > ARGUMENT_BYTES_MAX {
                return Err(HostFault::ArgumentTooLarge { bytes: argument.len(), max: ARGUMENT_BYTES_MAX });
            }
        }
        self.pending = Some(Pending::Failed);
        let allowance = self.allowance();
        let (live, weave) = (&mut self.live, &self.weave);
        // Where no thread could be started, nothing ran: what is left of gas is of the message before.
        let ended = on_guest_thread(|| live.evaluate(message_json, env_json, allowance, weave))?;
        self.gas_spent = self.live.gas_spent(allowance.gas);
        let evaluation = ended?;
        if matches!(evaluation.outcome, Outcome::Returned(_)) {
            self.pending = Some(Pending::Returned(Kept {
                message: message_json.to_vec(),
                environment: self.shared(env_json),
                gas: evaluation.gas,
                weave: Arc::clone(&self.weave),
            }));
        }
        Ok(evaluation)
    }

    /// Makes the evaluated message part of the state.
    pub fn keep(&mut self) -> Result<(), HostFault> {
        match self.pending.take() {
            Some(Pending::Returned(_)) if !self.rolls_back() => return Ok(()),
            Some(Pending::Returned(kept)) => {
                self.kept_bytes += kept.message.len();
                self.kept_gas = self.kept_gas.saturating_add(kept.gas);
                self.pace.kept(kept.gas);
                self.kept.push(kept);
            }
            Some(Pending::Failed) => {
                self.pending = Some(Pending::Failed);
                return Err(HostFault::Misuse("a message that trapped can only be rolled back"));
            }
            None => return Err(HostFault::Misuse("there is no message to keep")),
        }
        if self.kept.len() >= KEPT_MESSAGES_MAX
            || self.kept_bytes > KEPT_BYTES_MAX
            || self.kept_gas > self.pace.kept_gas_max()
        {
            self.take_snapshot();
        }
        Ok(())
    }

    /// Brings back the memory from before the evaluated message, byte for byte.
    ///
    /// On a host fault the message stays pending, and this may be tried again.
    pub fn roll_back(&mut self) -> Result<(), HostFault> {
        if self.pending.is_none() {
            return Err(HostFault::Misuse("there is no message to roll back"));
        }
        if !self.rolls_back() {
            return Err(HostFault::Misuse("the engine was set up without rolling back"));
        }
        self.live = on_guest_thread(|| self.rebuilt())??;
        self.pending = None;
        self.pace.failed();
        self.replayed_gas = self.replayed_gas.saturating_add(self.kept_gas);
        if self.replayed_gas > REPLAYED_GAS_MAX {
            self.take_snapshot();
        }
        Ok(())
    }

    /// The memory now: its size and the leaves that are not zero. Costs about as much as ten
    /// messages, so it is asked for at boundaries and checkpoints only.
    pub fn memory_image(&mut self) -> Result<MemoryImage, HostFault> {
        if self.pending.is_some() {
            return Err(HostFault::Misuse("the memory is in doubt until the message is kept or rolled back"));
        }
        if self.kept.is_empty() && self.rolls_back() {
            return Ok(self.snapshot.clone());
        }
        // What is as quickly evaluated again as copied needs no second copy of the memory: of most processes
        // nothing more is ever kept. Who asks twice copies, and hashes, twice.
        if self.rolls_back() && self.kept_gas < SNAPSHOT_GAS {
            return Ok(self.live.image(self.module.template(), Some(&self.snapshot)));
        }
        self.take_snapshot();
        Ok(self.snapshot.clone())
    }

    /// Bytes of the machine's memory that this instance takes up: what the guest has written, the
    /// snapshot, the kept messages and what every instance has. What all instances of its module begin with
    /// counts in [`Module::resident_bytes`].
    pub fn resident_bytes(&self) -> u64 {
        let snapshot = self.module.bytes_beside_initial(&self.snapshot);
        INSTANCE_BYTES + self.live.resident_bytes() + (snapshot + self.kept_bytes) as u64
    }

    /// Evaluates from now on as if so much depth were in use already: how the suite finds the
    /// deepest use of a module. Forgotten by a roll-back.
    #[doc(hidden)]
    pub fn reserve_depth(&mut self, bytes: u64, frames: u64) {
        self.live.reserve_depth(bytes, frames);
    }

    /// The snapshot with the kept messages evaluated again.
    fn rebuilt(&self) -> Result<Live, HostFault> {
        let mut live = self.module.live(&self.snapshot, self.limits)?;
        for (index, kept) in self.kept.iter().enumerate() {
            let again = live.evaluate(&kept.message, &kept.environment, self.allowance(), &kept.weave)?;
            let detail = match again.outcome {
                Outcome::Trapped(trap) => trap.text().to_owned(),
                Outcome::Returned(_) if again.gas != kept.gas => {
                    format!("gas {} and then {}", kept.gas, again.gas)
                }
                Outcome::Returned(_) => continue,
            };
            return Err(HostFault::ReplayDiverged { index, detail });
        }
        Ok(live)
    }

    fn rolls_back(&self) -> bool {
        self.module.template().engine().rolls_back()
    }

    fn take_snapshot(&mut self) {
        self.snapshot = self.live.image(self.module.template(), Some(&self.snapshot));
        self.kept.clear();
        self.kept_bytes = 0;
        self.kept_gas = 0;
        self.replayed_gas = 0;
    }

    /// The environment is the same for nearly all messages of a process: one copy serves them.
    fn shared(&self, environment: &[u8]) -> Arc<[u8]> {
        match self.kept.last() {
            Some(last) if *last.environment == *environment => Arc::clone(&last.environment),
            _ => Arc::from(environment),
        }
    }
}
