//! What a gateway will be asked next, asked while what it gave before is verified and written. Only the waiting is saved:
//! an answer that came early is judged as any other, and one that nobody asks for is dropped.

use tokio::task::JoinSet;
use weft_protocol::{Address, Id};

use super::ask::{self, Listed, Question};
use super::gateway::Gateway;
use super::given::GivenBundle;
use crate::supervisor::joined;

/// The answers that one gateway is asked for early: a list, and the first bundle of it that has the slot.
#[derive(Default)]
pub(super) struct Ahead {
    /// At most one; ended with the value.
    work: JoinSet<Came>,
    question: Option<Question>,
    came: Option<Came>,
}

#[derive(Default)]
struct Came {
    listed: Option<Vec<Listed>>,
    bundle: Option<(Id, GivenBundle)>,
    /// Who was asked, with what that took.
    asked: (u64, u64),
}

impl Ahead {
    /// Asks for the assignments from a slot on. What was asked for before is let go.
    pub(super) fn begin(&mut self, gateway: &Gateway, process: Id, scheduler: Address, slot: u64) {
        let question = Question::of_slots(process, scheduler, slot);
        if self.question.as_ref() == Some(&question) {
            return;
        }
        *self = Self::default();
        let (mut gateway, asked) = (gateway.again(), question.clone());
        self.question = Some(question);
        self.work.spawn(async move {
            let listed = gateway.query(&asked.to_json()).await.ok().and_then(ask::read);
            let of_slot = listed.iter().flatten().filter(|one| one.slot() == Some(slot));
            let mut bundle = None;
            if let Some(id) = of_slot.filter_map(|one| one.bundle).next() {
                bundle = GivenBundle::ask(&mut gateway, id).await.ok().map(|given| (id, given));
            }
            Came { listed, bundle, asked: (gateway.requests, gateway.bytes) }
        });
    }

    /// The answer to a question, if that was asked, and none if nobody answered; with the questions and the bytes that
    /// it took.
    pub(super) async fn listed(&mut self, question: &Question) -> Option<(Option<Vec<Listed>>, (u64, u64))> {
        if self.question.as_ref() != Some(question) {
            return None;
        }
        // Asked again it is a new question: what did not come now may come then.
        self.question = None;
        let mut came = joined(self.work.join_next().await?)?;
        let (listed, asked) = (came.listed.take(), came.asked);
        self.came = Some(came);
        Some((listed, asked))
    }

    /// A bundle that came with a list.
    pub(super) fn bundle(&mut self, id: Id) -> Option<GivenBundle> {
        let (came, given) = self.came.take()?.bundle?;
        (came == id).then_some(given)
    }
}
