//! What others ask of the state of a process.

use weft_protocol::Id;

use super::ComputeTask;
use crate::compute::handle::{Ask, Question, Reply};
use crate::compute::pool::{Errand, Looked};

impl ComputeTask {
    pub(super) fn answer(&mut self, question: Question) {
        match question {
            Question::State(ask) => self.look(ask),
            // Whoever asked may have hung up.
            Question::Resident(reply) => drop(reply.send(self.residency.all().collect())),
        }
    }

    fn look(&mut self, Ask { process, reply }: Ask) {
        if !self.computes(&process) {
            // Dropping the reply answers with none.
            return;
        }
        self.forget_closed(&process);
        self.looks.entry(process).or_default().push(reply);
        if !self.is_out(&process) {
            self.send_job(process, Errand::Look);
        }
    }

    /// Forgets those who hung up: the module of the process may be in line for long.
    pub(super) fn forget_closed(&mut self, process: &Id) {
        let Some(replies) = self.looks.get_mut(process) else { return };
        replies.retain(|reply| !reply.is_closed());
        if replies.is_empty() {
            self.looks.remove(process);
        }
    }

    /// Whether somebody still waits for the state of a process.
    pub(super) fn is_asked(&mut self, process: &Id) -> bool {
        self.forget_closed(process);
        self.looks.contains_key(process)
    }

    /// Answers those who asked before the job began; the others wait for the next.
    pub(super) fn answer_looks(&mut self, process: Id, Looked { summary, frozen }: Looked) {
        for reply in self.looks.remove(&process).unwrap_or_default() {
            // Whoever asked may have hung up.
            match (reply, &summary, &frozen) {
                (Reply::Summary(reply), Some(summary), _) => drop(reply.send(*summary)),
                (Reply::Frozen(reply), _, Some(frozen)) => drop(reply.send(frozen.clone())),
                (Reply::State(reply), Some(summary), Some(frozen)) => {
                    drop(reply.send(summary.zip(frozen.clone())));
                }
                (reply, ..) => self.looks.entry(process).or_default().push(reply),
            }
        }
    }
}
