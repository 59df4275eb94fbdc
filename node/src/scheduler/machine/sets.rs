//! Offer sets: in hard mode the last slot before each window holds the offers of that window, which the scheduler puts
//! there itself, before whatever was submitted for that slot.
//!
//! A set is made of what is known when its slot comes up. It is signed and stored as any slot is: one that reached the
//! disk stays, one that did not was seen by nobody and may be made of other offers the next time.

use weft_protocol::market::{Entry, Market, OfferSet, PushTerms, draft, window_set_at};
use weft_protocol::time::{self, Weave};
use weft_protocol::{DataItem, Effects, Id, Network, Now, Verified};

use super::{Answer, Effect, Head, Scheduler, Submission, Ticket};

/// What a log knows of its market.
#[derive(Debug)]
pub(super) struct Windows {
    market: Market,
    /// The offers that were known when the last slot of a window came up.
    offers: Vec<Entry>,
}

impl Windows {
    pub(super) fn of(market: Option<Market>, offers: Vec<Entry>) -> Option<Self> {
        market.map(|market| Self { market, offers })
    }

    /// Those of a log that its Process item opens.
    pub(super) fn opening(network: Network, item: &Verified<DataItem>) -> Option<Self> {
        // A Process item with a market that cannot be obeyed was refused before.
        let terms = PushTerms::of_tags(item.tags()).ok().flatten()?;
        Some(Self { market: Market { network, process: item.id(), terms }, offers: Vec::new() })
    }

    pub(super) fn hear(&mut self, offers: Vec<Entry>) {
        self.offers = offers;
    }

    /// The window of which the slot after this one holds the offers.
    pub(super) const fn due_after(head: Head) -> Option<u64> {
        window_set_at(head.slot + 1)
    }
}

impl Scheduler {
    /// Whether the next slot of a log holds a set: then [`Input::Offers`](super::Input::Offers) is to be heard before
    /// anything that may be given a slot.
    pub fn wants_offers(&self, process: &Id) -> bool {
        self.logs
            .get(process)
            .is_some_and(|log| log.windows.is_some() && log.head().and_then(Windows::due_after).is_some())
    }

    /// Gives the next slot to the set of the window after it, if it is the last one before a window; who waits is answered
    /// with it. Says whether it did.
    pub(super) fn assign_set(
        &mut self,
        process: Id,
        waiting: Vec<(Ticket, bool)>,
        now: Now,
        effects: &mut Effects<Effect>,
    ) -> Result<bool, Answer> {
        let Some(log) = self.logs.get_mut(&process) else { return Ok(false) };
        let Some(head) = log.head() else { return Ok(false) };
        let Some((windows, window)) = log.windows.as_mut().zip(Windows::due_after(head)) else {
            return Ok(false);
        };
        let time = time::next(&Weave::Clock, now, None, Some(head.time));
        let known = std::mem::take(&mut windows.offers);
        let set = OfferSet::build(&windows.market, window, time.timestamp, known);
        let item = draft(self.network, process, window, &set).sign(&self.signer);
        let item = item.map_err(|error| {
            Answer::Fault(format!("signing the offers of window {window} of {process}: {error}"))
        })?;
        // It names its window, so nobody had it before.
        let set = Submission::plain(process, item);
        let keys = set.keys.all().collect();
        self.give(set, keys, waiting, now, effects).map(|()| true)
    }
}
