//! A state that stands still while its process goes on: what dry runs are evaluated on.

use std::sync::Arc;

use weft_protocol::message::{DryRun, dry_run_json};
use weft_protocol::outcome::{Code, Outcome};
use weft_protocol::process::Process;
use weft_protocol::time::TimePoint;
use weft_protocol::{Id, Position};
use weft_vm::{Evaluation, Interrupt, Limits, MemoryImage, Module, Outcome as Guest, Trap};

use super::hosted::{HostError, code_of, vm_error};
use super::modules::{Loaded, Modules};
use super::residency::{Elsewhere, Held};

/// The state of a process after a position. Cheap to clone; any number of threads may go on from
/// it, each on a copy.
#[derive(Clone)]
pub struct Frozen {
    pub(super) process: Arc<Process>,
    pub(super) loaded: Arc<Loaded>,
    pub(super) image: MemoryImage,
    pub(super) position: Position,
    pub(super) time: TimePoint,
    /// Counts the memory for as long as anybody holds it.
    pub(super) _held: Option<Arc<Held>>,
}

/// Gas that a dry run may use in code that cannot be interrupted: about a tenth of a second, which
/// nearly all take less than. Others begin again in code that can, as nothing depends on when a dry run ends.
const SHORT_GAS: u64 = 100_000_000_000;

/// What a message came to that no log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DryOutcome {
    /// After which position it was evaluated.
    pub position: Position,
    /// How it ended.
    pub code: Code,
    /// The result as clients see it.
    pub result: String,
    /// Gas used.
    pub gas: u64,
    /// Whether it was ended by the operator's ceiling, which is below the process's own limit.
    pub over_ceiling: bool,
}

impl Frozen {
    /// Of which process.
    pub fn process(&self) -> Id {
        self.process.id()
    }

    /// After which position.
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Counts its memory among what is held beside the live processes. What it shares with its
    /// process counts in both.
    #[must_use]
    pub fn counted(self, elsewhere: &Elsewhere) -> Self {
        let held = elsewhere.hold(self.image.stored_bytes() as u64);
        Self { _held: Some(Arc::new(held)), ..self }
    }

    /// Bytes of its memory.
    pub fn stored_bytes(&self) -> u64 {
        self.image.stored_bytes() as u64
    }

    /// The memory.
    pub const fn memory(&self) -> &MemoryImage {
        &self.image
    }

    /// Evaluates a message on a copy, with at most `gas_max` gas. One that takes long ends soon after
    /// `interrupt` does.
    ///
    /// # Errors
    /// A failure of this host, or that it was interrupted.
    pub fn dry_run(
        &self,
        run: &DryRun,
        gas_max: u64,
        modules: &Modules,
        interrupt: &Interrupt,
    ) -> Result<DryOutcome, HostError> {
        let own = self.loaded.limits;
        let limits = Limits { gas: own.gas.min(gas_max), ..own };
        let message = dry_run_json(&self.process, run, self.time);
        let short = Limits { gas: limits.gas.min(SHORT_GAS), ..limits };
        let mut evaluation = self.evaluate(&self.loaded.module.compiled, short, &message, None)?;
        if evaluation.outcome == Guest::Trapped(Trap::OutOfGas) && short.gas < limits.gas {
            // Equal code but for the interruption, so it comes to the same again, and further.
            let module = modules.interruptible(&self.loaded.module)?;
            evaluation = self.evaluate(&module, limits, &message, Some(interrupt))?;
        }
        let outcome = match &evaluation.outcome {
            Guest::Returned(bytes) => Outcome::of_result(self.position, bytes, None),
            Guest::Trapped(trap) => Outcome::failed(self.position, code_of(*trap)),
        };
        let gas = evaluation.gas;
        Ok(DryOutcome {
            position: self.position,
            code: outcome.code,
            result: outcome.result_json(self.loaded.gas_shown(&evaluation)),
            gas,
            over_ceiling: evaluation.outcome == Guest::Trapped(Trap::OutOfGas) && limits.gas < own.gas,
        })
    }

    fn evaluate(
        &self,
        module: &Module,
        limits: Limits,
        message: &str,
        interrupt: Option<&Interrupt>,
    ) -> Result<Evaluation, HostError> {
        let instance = module.restore(&self.image, limits);
        let mut instance = instance.map_err(|error| vm_error(self.process.module(), error))?;
        if let Some(interrupt) = interrupt {
            instance.heed(interrupt);
        }
        instance.offer(self.loaded.drive.at(self.position.slot));
        self.loaded.prepare(&mut instance);
        Ok(instance.evaluate(message.as_bytes(), self.loaded.env.as_bytes())?)
    }
}
