//! What of a message's gas its result shows, and the limit that a module holds itself to.

use weft_vm::{Evaluation, Instance, Outcome};

use super::modules::Loaded;

impl Loaded {
    /// Tells an instance what its module may count, if it counts its own gas.
    pub(super) fn prepare(&self, instance: &mut Instance) {
        instance.limit_own_gas(self.declared_gas);
    }

    /// `GasUsed` of a message, if its result shows one.
    pub(super) fn gas_shown(&self, evaluation: &Evaluation) -> Option<u64> {
        let answered = matches!(evaluation.outcome, Outcome::Returned(_));
        (self.reports_gas && answered).then_some(evaluation.gas_used)
    }
}
