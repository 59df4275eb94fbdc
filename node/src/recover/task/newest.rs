//! How far a log goes: by the word of gateways, and by what its scheduler signed.

use super::super::ask::{Listed, Question};
use super::super::machine::{Input, Want};
use super::super::sink::Sink;
use super::super::{Missing, RecoverError};
use super::Run;
use crate::portable::PortableError;

/// The least that a slot takes, in bytes: an assignment and an item, each with its signature, its key and its tags.
const SLOT_BYTES_MIN: u64 = 512;

impl<S: Sink> Run<'_, S> {
    /// Asks all gateways beside each other for the newest assignment they know; answers the slots of the longest
    /// log, by their word.
    pub(super) async fn ask_newest(&mut self) -> Result<u64, RecoverError> {
        let Some(scheduler) = self.reading()?.scheduler() else { return Ok(0) };
        let question = Question::Newest { process: self.process, scheduler };
        let asked = self.gateways.iter_mut().map(|asked| asked.query(&question));
        let answers = futures::future::join_all(asked).await;
        let mut slots = 0;
        for (gateway, answer) in answers.into_iter().enumerate() {
            let Some(listed) = answer else {
                self.handle(Input::Failed { gateway });
                continue;
            };
            let newest = listed.into_iter().next();
            let slot = newest.as_ref().and_then(Listed::slot);
            slots = slots.max(slot.map_or(0, |slot| slot.saturating_add(1)));
            if let Some(asked) = self.gateways.get_mut(gateway) {
                (asked.newest, asked.answered) = (newest, true);
            }
        }
        Ok(slots)
    }

    /// Nothing of a log is taken that is longer than it may be: a part of it helps nobody.
    ///
    /// # Errors
    /// It is.
    pub(super) async fn check_length(&mut self) -> Result<(), RecoverError> {
        let Some(allowance) = self.allowance.clone() else { return Ok(()) };
        let next = self.reading()?.next_slot();
        let beyond = next.saturating_add(allowance.left() / SLOT_BYTES_MIN);
        match self.signed_from(beyond).await? {
            None => Ok(()),
            Some(_) => Err(PortableError::Longer { most: allowance.granted() }.into()),
        }
    }

    /// The slots that the scheduler signed and nobody gave.
    pub(super) async fn missing(&mut self) -> Result<Option<Missing>, RecoverError> {
        let next = self.reading()?.next_slot();
        let last = self.signed_from(next).await?;
        Ok(last.map(|to| Missing { from: next, to }))
    }

    /// The newest assignment that a gateway shows, if it is of this slot or a later one.
    async fn signed_from(&mut self, next: u64) -> Result<Option<u64>, RecoverError> {
        let mut last = None;
        for gateway in 0..self.gateways.len() {
            let newest = self.gateways.get(gateway).and_then(|asked| asked.newest.as_ref());
            let newest = newest.and_then(|newest| Some((newest.slot()?, newest.id)));
            let Some((slot, id)) = newest.filter(|(slot, _)| *slot >= next) else { continue };
            // It is shown by its bytes, or it is a word.
            let shown = !self.search.has_given_up(gateway) && self.bring(Want::Item(id)).await?;
            if shown && self.reading()?.is_signed(slot, id) {
                last = last.max(Some(slot));
            } else {
                self.fault(gateway, format!("it lists slot {slot} and does not show it"));
            }
        }
        Ok(last)
    }
}
