//! One verdict per announcement, in time.
//!
//! Gossipsub keeps an announcement until it is told what to do with it, and forgets it after its
//! history. Every announcement gets a ticket; the ticket ends with exactly one report: the
//! verifier's verdict, or Ignore when it could not be delivered, when too many wait, or when the
//! verdict takes too long. A verdict that comes after that is counted and changes nothing.

use std::collections::BTreeMap;

use weft_protocol::{Effects, Machine, Now};

use crate::limits::{TICKET_MS_MAX, TICKETS_MAX};

/// What to do with an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Forward it.
    Accept,
    /// Do not forward it; nobody is to blame.
    Ignore,
    /// Do not forward it; no correct peer could have sent it, so its senders lose score.
    Reject,
}

/// Why a report is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A verifier decided.
    Decided,
    /// There was no room: in the tickets or in the event queue.
    Full,
    /// No verdict came in time.
    Expired,
}

/// What the tickets hear of. `M` says to gossipsub which message is meant.
#[derive(Debug)]
pub(crate) enum Input<M> {
    /// An announcement came.
    Received(M),
    /// The announcement of this ticket found no room in the event queue.
    Undelivered(u64),
    /// A verifier decided.
    Decided(u64, Verdict),
    /// Time passed.
    Tick,
}

/// What the tickets ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect<M> {
    /// Hand the announcement that just came to the node, with this ticket.
    Deliver(u64),
    /// Tell gossipsub. Exactly once for each announcement that came.
    Report(M, Verdict, Cause),
    /// A verdict came too late; count it.
    Late,
}

/// The tickets of announcements that wait for their verdict.
#[derive(Debug)]
pub(crate) struct Tickets<M> {
    /// By number. Numbers grow with time, so the oldest come first.
    open: BTreeMap<u64, (M, Now)>,
    next: u64,
}

impl<M> Tickets<M> {
    pub(crate) const fn new() -> Self {
        Self { open: BTreeMap::new(), next: 0 }
    }

    /// How many wait for a verdict.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    fn close(&mut self, ticket: u64) -> Option<M> {
        self.open.remove(&ticket).map(|(message, _)| message)
    }
}

impl<M> Machine for Tickets<M> {
    type Input = Input<M>;
    type Effect = Effect<M>;

    fn handle(&mut self, input: Input<M>, now: Now, effects: &mut Effects<Effect<M>>) {
        match input {
            Input::Received(message) => {
                if self.open.len() >= TICKETS_MAX {
                    effects.push(Effect::Report(message, Verdict::Ignore, Cause::Full));
                    return;
                }
                let ticket = self.next;
                self.next += 1;
                self.open.insert(ticket, (message, now.plus_ms(TICKET_MS_MAX)));
                effects.push(Effect::Deliver(ticket));
            }
            Input::Undelivered(ticket) => {
                if let Some(message) = self.close(ticket) {
                    effects.push(Effect::Report(message, Verdict::Ignore, Cause::Full));
                }
            }
            Input::Decided(ticket, verdict) => match self.close(ticket) {
                Some(message) => effects.push(Effect::Report(message, verdict, Cause::Decided)),
                None => effects.push(Effect::Late),
            },
            Input::Tick => {
                while let Some(oldest) = self.open.first_entry() {
                    if oldest.get().1 > now {
                        break;
                    }
                    let (message, _) = oldest.remove();
                    effects.push(Effect::Report(message, Verdict::Ignore, Cause::Expired));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::limits::{HEARTBEAT, HISTORY_HEARTBEATS};

    const NOTHING: [Effect<u32>; 0] = [];

    fn run(tickets: &mut Tickets<u32>, input: Input<u32>, now: u64) -> Vec<Effect<u32>> {
        let mut effects = Effects::new();
        tickets.handle(input, Now(now), &mut effects);
        effects.drain().collect()
    }

    #[test]
    fn a_verdict_is_reported_once() {
        let mut tickets = Tickets::new();
        assert_eq!(run(&mut tickets, Input::Received(7), 0), [Effect::Deliver(0)]);
        assert_eq!(
            run(&mut tickets, Input::Decided(0, Verdict::Reject), 1),
            [Effect::Report(7, Verdict::Reject, Cause::Decided)]
        );
        assert_eq!(run(&mut tickets, Input::Decided(0, Verdict::Accept), 2), [Effect::Late]);
        assert_eq!(run(&mut tickets, Input::Tick, TICKET_MS_MAX * 2), NOTHING);
    }

    #[test]
    fn a_ticket_expires_as_ignore_before_gossipsub_forgets_the_message() {
        // A message that comes just before a heartbeat lives one heartbeat less.
        let forgotten_ms = HEARTBEAT.as_millis() as u64 * (HISTORY_HEARTBEATS as u64 - 1);
        assert!(TICKET_MS_MAX + 500 < forgotten_ms);
        let mut tickets = Tickets::new();
        run(&mut tickets, Input::Received(7), 0);
        assert_eq!(run(&mut tickets, Input::Tick, TICKET_MS_MAX - 1), NOTHING);
        assert_eq!(
            run(&mut tickets, Input::Tick, TICKET_MS_MAX),
            [Effect::Report(7, Verdict::Ignore, Cause::Expired)]
        );
        assert_eq!(run(&mut tickets, Input::Decided(0, Verdict::Accept), TICKET_MS_MAX), [Effect::Late]);
    }

    #[test]
    fn too_many_open_tickets_mean_ignore() {
        let mut tickets = Tickets::new();
        for _ in 0..TICKETS_MAX {
            assert!(matches!(run(&mut tickets, Input::Received(1), 0)[..], [Effect::Deliver(_)]));
        }
        assert_eq!(
            run(&mut tickets, Input::Received(2), 0),
            [Effect::Report(2, Verdict::Ignore, Cause::Full)]
        );
        assert_eq!(tickets.open(), TICKETS_MAX);
    }

    #[test]
    fn an_undelivered_announcement_is_ignored() {
        let mut tickets = Tickets::new();
        run(&mut tickets, Input::Received(7), 0);
        assert_eq!(
            run(&mut tickets, Input::Undelivered(0), 0),
            [Effect::Report(7, Verdict::Ignore, Cause::Full)]
        );
        assert_eq!(run(&mut tickets, Input::Undelivered(0), 0), NOTHING);
    }

    proptest! {
        /// Whatever happens in whatever order, each announcement gets exactly one report.
        #[test]
        fn exactly_one_report_per_announcement(steps in prop::collection::vec((0u8..4, 0u64..40, 0u64..4000), 0..400)) {
            let mut tickets = Tickets::new();
            let mut now = 0;
            let mut received = 0u32;
            let mut reports: BTreeMap<u32, usize> = BTreeMap::new();
            let mut step = |input, now| for effect in run(&mut tickets, input, now) {
                if let Effect::Report(message, ..) = effect {
                    *reports.entry(message).or_default() += 1;
                }
            };
            for (kind, ticket, pass) in steps {
                match kind {
                    0 => { step(Input::Received(received), now); received += 1; }
                    1 => step(Input::Undelivered(ticket), now),
                    2 => step(Input::Decided(ticket, Verdict::Accept), now),
                    _ => { now += pass; step(Input::Tick, now); }
                }
            }
            step(Input::Tick, now + TICKET_MS_MAX);
            prop_assert_eq!(tickets.open(), 0);
            prop_assert_eq!(reports.len(), received as usize);
            prop_assert!(reports.values().all(|count| *count == 1));
        }
    }
}
