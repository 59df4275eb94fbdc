//! The judge's task: attestations that contradict each other in, replays, and who was wrong.

use std::sync::Arc;

use weft_node::witness::judge::machine::{Effect, Found, Input, Place, Said};
use weft_protocol::attestation::Statement;
use weft_protocol::{Id, Position};

use crate::sim::guest::Live;
use crate::sim::node::{Ctx, Node};
use crate::sim::town::NETWORK;

impl Node {
    /// Has the attestations of a position weighed against each other.
    pub(in crate::sim) fn weigh(&mut self, process: Id, position: Position) {
        let said = self.said_of((process, position));
        if said.len() > 1 {
            self.roles.judge.hear(Input::Said { place: (process, position), said });
        }
    }

    /// Who attested what of a position, of the slot that is here.
    fn said_of(&self, (process, position): Place) -> Said {
        let Some(record) = self.disk.rows.slot(&process, position.slot) else { return Said::new() };
        let of = record.assignment().id;
        let said = self.disk.rows.attestations.get(&(process, position)).into_iter().flatten();
        let said = said.filter(|(_, said)| said.statement().assignment == of);
        said.map(|(attestor, said)| (*attestor, said.statement().hash())).collect()
    }

    /// Whether attestors contradict each other here about a position that was evaluated here.
    pub(in crate::sim) fn hears_contradictions(&self) -> bool {
        let places = self.disk.rows.attestations.keys();
        let mut evaluated =
            places.filter(|(process, position)| self.disk.rows.outcome(process, *position).is_some());
        evaluated.any(|place| self.said_of(*place).windows(2).any(|pair| pair[0].1 != pair[1].1))
    }

    /// Performs one effect of the judge; false when there is nothing to do.
    pub(in crate::sim) fn judge(&mut self, ctx: &mut Ctx<'_, '_>) -> bool {
        let Some(effect) = self.roles.judge.next(ctx.now(self.at)) else { return false };
        match effect {
            Effect::Replay(place) => {
                let found = self.replay(ctx, place);
                let said = self.said_of(place);
                self.roles.judge.hear(Input::Replayed { place, found, said, gas: 0 });
            }
            Effect::Judge { place, attestor, truth } => {
                let said = self.disk.rows.attestations.get(&place).and_then(|said| said.get(&attestor));
                if said.is_none_or(|said| Some(said.statement()) == truth.as_ref()) {
                    ctx.checker.violation(format!("node {} judges what nobody said", self.at));
                }
                self.roles.judged.insert(attestor);
            }
        }
        true
    }

    fn replay(&self, ctx: &Ctx<'_, '_>, (process, position): Place) -> Found {
        let rows = &self.disk.rows;
        let (Some(known), Some(record)) = (ctx.town.process(&process), rows.slot(&process, position.slot))
        else {
            return Found::Never;
        };
        let is_computed = rows
            .last_outcome(&process)
            .map(|closed| closed.outcome.position)
            .is_some_and(|last| last.slot > position.slot || last == position);
        if !is_computed {
            return Found::Later;
        }
        let Some(running) = Live::again(Arc::clone(&known), ctx.town, rows, position) else {
            return Found::NoPosition;
        };
        let place = (position, record.assignment().id);
        Found::Truth(Statement::of(&known, NETWORK, place, (running.0, None)))
    }
}
