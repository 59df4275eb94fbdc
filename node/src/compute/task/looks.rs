//! What others ask of the state of a process.

use std::collections::BTreeMap;

use weft_protocol::Id;

use super::ComputeTask;
use crate::compute::handle::{Ask, Question, Reply};
use crate::compute::pool::{Errand, Looked};

/// Who waits for the state of a process.
#[derive(Debug, Default)]
pub(super) struct Looks(BTreeMap<Id, Vec<Reply>>);

impl Looks {
    pub(super) fn ask(&mut self, process: Id, reply: Reply) {
        self.forget_closed(&process);
        self.0.entry(process).or_default().push(reply);
    }

    /// Forgets those who hung up: the module of the process may be in line for long.
    fn forget_closed(&mut self, process: &Id) {
        let Some(replies) = self.0.get_mut(process) else { return };
        replies.retain(|reply| !reply.is_closed());
        if replies.is_empty() {
            self.0.remove(process);
        }
    }

    /// Answers all who ask for a process with none.
    pub(super) fn refuse(&mut self, process: &Id) {
        self.0.remove(process);
    }

    /// Whether somebody still waits for the state of a process.
    pub(super) fn is_asked(&mut self, process: &Id) -> bool {
        self.forget_closed(process);
        self.0.contains_key(process)
    }

    /// Whether the hash of a process, and its state, are asked for.
    pub(super) fn wanted(&mut self, process: &Id) -> (bool, bool) {
        self.forget_closed(process);
        let replies = self.0.get(process).map(Vec::as_slice).unwrap_or_default();
        let any = |wants: fn(&Reply) -> bool| replies.iter().any(wants);
        (
            any(|reply| matches!(reply, Reply::Summary(_) | Reply::State(_))),
            any(|reply| matches!(reply, Reply::Frozen(_) | Reply::State(_))),
        )
    }

    /// Answers those who asked before the job began; the others wait for the next.
    pub(super) fn answer(&mut self, process: Id, Looked { summary, frozen }: Looked) {
        for reply in self.0.remove(&process).unwrap_or_default() {
            // Whoever asked may have hung up.
            match (reply, &summary, &frozen) {
                (Reply::Summary(reply), Some(summary), _) => drop(reply.send(*summary)),
                (Reply::Frozen(reply), _, Some(frozen)) => drop(reply.send(frozen.clone())),
                (Reply::State(reply), Some(summary), Some(frozen)) => {
                    drop(reply.send(summary.zip(frozen.clone())));
                }
                (reply, ..) => self.0.entry(process).or_default().push(reply),
            }
        }
    }
}

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
        self.looks.ask(process, reply);
        if !self.is_out(&process) {
            self.send_job(process, Errand::Look);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::{self, error::TryRecvError};

    use super::*;

    const PROCESS: Id = Id([1; 32]);

    /// A job that found a process before slot 0.
    fn found(summary: bool, frozen: bool) -> Looked {
        Looked { summary: summary.then_some(None), frozen: frozen.then_some(None) }
    }

    #[test]
    fn each_has_what_was_asked_for_and_later_ones_wait_for_the_next_job() {
        let mut looks = Looks::default();
        let ((hash, mut hashed), (state, mut stated)) = (oneshot::channel(), oneshot::channel());
        looks.ask(PROCESS, Reply::Summary(hash));
        assert_eq!(looks.wanted(&PROCESS), (true, false));
        // It is asked when the job is under way.
        looks.ask(PROCESS, Reply::State(state));
        looks.answer(PROCESS, found(true, false));
        assert_eq!(hashed.try_recv(), Ok(None));
        assert!(matches!(stated.try_recv(), Err(TryRecvError::Empty)));
        assert_eq!(looks.wanted(&PROCESS), (true, true));
        let (frozen, mut froze) = oneshot::channel();
        looks.ask(PROCESS, Reply::Frozen(frozen));
        looks.answer(PROCESS, found(true, true));
        assert!(matches!(stated.try_recv(), Ok(None)) && matches!(froze.try_recv(), Ok(None)));
        assert!(!looks.is_asked(&PROCESS) && looks.0.is_empty());
    }

    #[test]
    fn who_hung_up_is_forgotten() {
        let mut looks = Looks::default();
        let other = Id([2; 32]);
        for _ in 0..1_000 {
            let (state, _) = oneshot::channel();
            looks.ask(PROCESS, Reply::State(state));
            assert!(looks.0[&PROCESS].len() == 1, "those before it are gone");
        }
        assert_eq!(looks.wanted(&PROCESS), (false, false), "nothing is hashed for nobody");
        let ((first, _), (second, mut waits), (third, _)) =
            (oneshot::channel(), oneshot::channel(), oneshot::channel());
        looks.ask(PROCESS, Reply::Frozen(first));
        looks.ask(PROCESS, Reply::Summary(second));
        looks.ask(other, Reply::State(third));
        assert_eq!(looks.wanted(&PROCESS), (true, false));
        assert!(looks.is_asked(&PROCESS) && !looks.is_asked(&other));
        assert_eq!(looks.0.len(), 1);
        looks.refuse(&PROCESS);
        assert!(waits.try_recv().is_err() && looks.0.is_empty());
    }
}
