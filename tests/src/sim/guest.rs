//! The guests, and the processes that live on them.

use std::sync::Arc;

use weft_node::compute::hosted::code_of;
use weft_protocol::fold::{Closed, Did, Fold, Work};
use weft_protocol::message::env_json;
use weft_protocol::outcome::Running;
use weft_protocol::process::Process;
use weft_protocol::record::VerifiedRecord;
use weft_protocol::state::StateSummary;
use weft_protocol::{Id, Position};
use weft_vm::{Engine, EngineConfig, Format, Instance, Limits, Module, Outcome};

use super::disk::Rows;
use super::town::Town;

/// Gas and memory of one message.
const LIMITS: Limits = Limits { gas: 5_000_000_000, memory_bytes: 1 << 24 };

const COUNTER_ACTIONS: [&str; 5] = ["Increment", "Relay", "Relay", "Fail", "Spawn"];
const LUA_ACTIONS: [&str; 8] = ["Increment", "Relay", "Relay", "Fail", "Spawn", "Eval", "Eval", "Eval"];

/// A compiled guest, and what its processes boot from; made once and shared by all runs.
pub struct Guest {
    module: Module,
    /// What its processes boot from, if they are of a guest that does.
    pub program: Option<&'static str>,
    /// What messages ask of them.
    pub actions: &'static [&'static str],
}

impl Guest {
    /// Compiles the counter.
    pub fn new() -> Self {
        Self::of(weft_vm::guests::COUNTER, None)
    }

    /// Compiles the Lua runtime, whose processes do what the counter's do.
    pub fn lua() -> Self {
        Self::of(weft_vm::guests::LUA, Some(include_str!("program.lua")))
    }

    fn of(wasm: &[u8], program: Option<&'static str>) -> Self {
        let engine = Engine::new(EngineConfig::default()).expect("an engine");
        let actions = if program.is_some() { &LUA_ACTIONS[..] } else { &COUNTER_ACTIONS };
        Self { module: engine.compile(wasm, Format::Plain).expect("the guest compiles"), program, actions }
    }
}

impl Default for Guest {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a process cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A slot that has an outcome is not there.
    #[error("slot {1} of {0} has gone")]
    Gone(Id, u64),
    /// A replayed step came to another outcome.
    #[error("a replay of {0} differs at {1}")]
    Differs(Id, Position),
}

/// A live process: its fold and its memory.
pub struct Live {
    process: Arc<Process>,
    env: String,
    fold: Fold,
    instance: Instance,
}

impl Live {
    /// The process replayed from slot 0 to the newest outcome on disk.
    ///
    /// # Errors
    /// Where the disk and the replay differ.
    pub fn load(process: Arc<Process>, town: &Town, rows: &Rows) -> Result<Self, ReplayError> {
        let instance = town.guest.module.instantiate(LIMITS).expect("an instance");
        let env = env_json(&process, &town.module);
        let (id, fold) = (process.id(), Fold::new(&process));
        let mut live = Self { process, env, fold, instance };
        let Some(last) = rows.last_outcome(&id).map(|closed| closed.outcome.position) else {
            return Ok(live);
        };
        while live.fold.next_slot() <= last.slot {
            let slot = live.fold.next_slot();
            let record = rows.slot(&id, slot).ok_or(ReplayError::Gone(id, slot))?;
            for closed in live.run_slot(record) {
                let position = closed.outcome.position;
                let stored = rows.outcome(&id, position);
                if stored.is_some_and(|stored| stored.running != closed.running) {
                    return Err(ReplayError::Differs(id, position));
                }
            }
        }
        Ok(live)
    }

    /// The running outcome of a position, evaluated again from slot 0; nothing if there is no such position.
    pub fn again(process: Arc<Process>, town: &Town, rows: &Rows, position: Position) -> Option<Running> {
        let instance = town.guest.module.instantiate(LIMITS).expect("an instance");
        let env = env_json(&process, &town.module);
        let (id, fold) = (process.id(), Fold::new(&process));
        let mut live = Self { process, env, fold, instance };
        while live.fold.next_slot() <= position.slot + u64::from(position.tick > 0) {
            let record = rows.slot(&id, live.fold.next_slot())?;
            let closed = live.run_slot(record);
            if let Some(closed) = closed.iter().find(|closed| closed.outcome.position == position) {
                return Some(closed.running);
            }
        }
        None
    }

    /// The slot to run next.
    pub fn next_slot(&self) -> u64 {
        self.fold.next_slot()
    }

    /// The state now, if anything was evaluated.
    pub fn summary(&mut self) -> Option<StateSummary> {
        let image = self.instance.memory_image().expect("a memory at rest");
        self.fold.summary(image.byte_len(), image.root())
    }

    /// Evaluates one slot.
    pub fn run_slot(&mut self, record: &VerifiedRecord) -> Vec<Closed> {
        let proven = record.proven().map(|proven| proven.sender);
        self.fold.plan(&self.process, record.assignment(), record.item(), proven).expect("the next slot");
        let mut done = Vec::new();
        while let Some(work) = self.fold.step().map(|step| step.work.clone()) {
            let Work::Call(message) = work else {
                done.push(self.fold.close(Did::Returned(&[])).expect("an open step"));
                continue;
            };
            let evaluation = self.instance.evaluate(message.as_bytes(), self.env.as_bytes());
            let outcome = evaluation.expect("a host that works").outcome;
            let did = match &outcome {
                Outcome::Returned(bytes) => Did::Returned(bytes),
                Outcome::Trapped(trap) => Did::Failed(code_of(*trap)),
            };
            let closed = self.fold.close(did).expect("an open step");
            let settled = match closed.outcome.code.keeps_memory() {
                true => self.instance.keep(),
                false => self.instance.roll_back(),
            };
            settled.expect("an evaluation to settle");
            done.push(closed);
        }
        done
    }
}
