//! The judge's loop: contradictions in, replays beside the live processes, judgements to disk and to people.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_protocol::attestation::{Attestation, Statement};
use weft_protocol::evidence::Judgement;
use weft_protocol::state::is_boundary;
use weft_protocol::{Address, Effects, Hash, Id, Machine as _, Position, Verified, wire};
use weft_storage::{EvidenceRow, StoreError, Write};

use super::machine::{Effect, Found, Input, Judge, Place, Said};
use crate::compute::machine::Allowance;
use crate::error::NodeError;
use crate::news::News;
use crate::replays::{Again, Ceiling, ReplayError, Replays, evaluate_again};
use crate::shared::{Shared, SharedRef};
use crate::supervisor::joined;

/// How often time passes for the judge.
const TICK: Duration = Duration::from_secs(1);

/// The judge's loop.
pub struct JudgeTask {
    shared: SharedRef,
    replays: Replays,
    machine: Judge,
    effects: Effects<Effect>,
    /// The one replay that is under way.
    running: JoinSet<Input>,
}

impl JudgeTask {
    /// Reads who was judged before and makes the loop.
    ///
    /// # Errors
    /// A damaged store.
    pub fn new(shared: SharedRef, replays: Replays) -> Result<Self, NodeError> {
        let machine = Judge::new(shared.config.others_gas.map(Allowance::new));
        let (effects, running) = (Effects::new(), JoinSet::new());
        let mut task = Self { shared, replays, machine, effects, running };
        for ((process, _), row) in task.shared.store.read()?.evidence_of_all(usize::MAX)? {
            if Judgement::decode(&row.bytes, task.shared.network).is_ok() {
                task.handle(Input::Recover { process, attestor: row.culprit });
            }
        }
        Ok(task)
    }

    /// Runs until the node stops.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut news = self.shared.news.listen();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.perform().await;
            tokio::select! {
                () = stop.cancelled() => return,
                heard = news.recv() => match heard {
                    Ok(News::Attested { process, position, .. }) => self.look(process, position),
                    // Of others it may have come before.
                    Ok(News::Computed { process, position, sends }) if sends || is_boundary(position) => {
                        self.look(process, position);
                    }
                    // What was missed is looked at when somebody else attests the same position.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                Some(replayed) = self.running.join_next(), if !self.running.is_empty() => {
                    joined(replayed).into_iter().for_each(|input| self.handle(input));
                }
                _ = tick.tick() => self.handle(Input::Tick),
            }
        }
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(input, self.shared.clock.now(), &mut self.effects);
    }

    fn look(&mut self, process: Id, position: Position) {
        if !self.shared.directory.roles(&process).is_some_and(|roles| roles.computes) {
            return;
        }
        let place = (process, position);
        let said = said_of(&self.shared, place);
        if said.len() > 1 {
            self.handle(Input::Said { place, said });
        }
    }

    async fn perform(&mut self) {
        while !self.effects.is_empty() {
            let effects: Vec<Effect> = self.effects.drain().collect();
            for effect in effects {
                match effect {
                    Effect::Replay(place) => {
                        let (shared, replays) = (SharedRef::clone(&self.shared), self.replays.clone());
                        self.running.spawn(async move { replay(shared, replays, place).await });
                    }
                    Effect::Judge { place, attestor, truth } => self.judge(place, attestor, truth).await,
                }
            }
        }
    }

    /// Keeps both statements and what is true, and says who was wrong.
    async fn judge(&mut self, place: Place, attestor: Address, truth: Option<Statement>) {
        let process = place.0;
        let written = match judgement(&self.shared, place, attestor, truth) {
            Ok(Some(judgement)) => {
                let row = EvidenceRow { culprit: attestor, bytes: judgement.encode().into() };
                let write = Write::Evidence { process, name: judgement.name(), row };
                self.shared.store.write(vec![write]).await.map(|()| Some(judgement))
            }
            other => other,
        };
        match written {
            Ok(Some(judgement)) => {
                let text = judgement.to_string();
                tracing::error!(%process, "{text}");
                self.shared.news.tell(News::Alarm { process, text });
            }
            // What it said was pruned meanwhile.
            Ok(None) => self.handle(Input::NotKept { process, attestor }),
            Err(error) => {
                tracing::error!(%process, %error, "a judgement was not stored");
                self.handle(Input::NotKept { process, attestor });
            }
        }
    }
}

/// The attestations of a position on disk that are of the slot here, if they are not all the same. One of another slot speaks of another log, and is
/// no contradiction: of that its scheduler is convicted.
fn attested(shared: &Shared, (process, position): Place) -> Result<Vec<Verified<Attestation>>, StoreError> {
    let reader = shared.store.read()?;
    let Some(slot) = reader.slot(&process, position.slot)? else { return Ok(Vec::new()) };
    let read = |bytes| {
        let message = wire::Attestation::decode(bytes).ok()?;
        Attestation::from_wire(&message, shared.network).ok()?.verify().ok()
    };
    let rows = reader.attestations(&process, position)?;
    // Nearly always all agree, and then no signature need be checked again.
    if rows.windows(2).all(|pair| pair[0].1.statement == pair[1].1.statement) {
        return Ok(Vec::new());
    }
    let is_of_it = |said: &Verified<Attestation>| said.statement().assignment == slot.assignment_id;
    Ok(rows.into_iter().filter_map(|(_, row)| read(row.bytes)).filter(is_of_it).collect())
}

/// Whether this node came to a position or past it. The ticks after a slot are known when the next one is here.
fn is_computed(shared: &Shared, (process, position): Place) -> Result<bool, StoreError> {
    let computed = shared.store.read()?.last_computed(&process)?;
    Ok(computed.is_some_and(|at| at.slot > position.slot || at == position))
}

/// Who attested what of a position.
fn said_of(shared: &Shared, place: Place) -> Said {
    match attested(shared, place) {
        Ok(all) => all.iter().map(|said| (said.attestor(), said.statement().hash())).collect(),
        Err(error) => {
            tracing::error!(process = %place.0, %error, "attestations cannot be read");
            Said::new()
        }
    }
}

/// What the attestor said, beside what another one did: one that was right if there is one.
fn judgement(
    shared: &Shared,
    place: Place,
    attestor: Address,
    truth: Option<Statement>,
) -> Result<Option<Judgement>, StoreError> {
    let all: Vec<Attestation> =
        attested(shared, place)?.iter().map(|said| Attestation::clone(said)).collect();
    let claim = all.iter().find(|said| said.attestor() == attestor).cloned();
    let is_other =
        |said: &&Attestation| claim.as_ref().is_some_and(|claim| claim.statement() != said.statement());
    let is_right = |said: &&Attestation| Some(said.statement()) == truth.as_ref();
    let other = all.iter().find(is_right).or_else(|| all.iter().find(is_other)).cloned();
    Ok(claim.map(|claim| Judgement { claim, other, truth }))
}

async fn replay(shared: SharedRef, replays: Replays, place: Place) -> Input {
    let (found, gas) = match try_replay(&shared, &replays, place).await {
        Ok((found, gas)) => (found, gas),
        Err(ReplayError::Busy) => (Found::Later, 0),
        Err(error) => {
            let (process, position) = place;
            tracing::warn!(%process, %position, %error, "attestors contradict each other, and no replay says who is wrong");
            // What it cost is not known, so it counts as all that it might.
            (Found::Never, shared.config.replay_gas)
        }
    };
    Input::Replayed { place, found, said: said_of(&shared, place), gas }
}

async fn try_replay(
    shared: &SharedRef,
    replays: &Replays,
    (process, position): Place,
) -> Result<(Found, u64), ReplayError> {
    let Some(known) = shared.known(process).await else { return Ok((Found::Never, 0)) };
    let slot = shared.store.read()?.slot(&process, position.slot)?;
    let Some(slot) = slot.filter(|_| is_computed(shared, (process, position)).unwrap_or(false)) else {
        return Ok((Found::Later, 0));
    };
    let turn = replays.turn().await?;
    let (ceiling, of) = (Ceiling::of(shared), (SharedRef::clone(shared), Arc::clone(&known.process)));
    let (done, answer) = tokio::sync::oneshot::channel();
    let work = move || {
        drop(done.send(evaluate_again(&of.0, &of.1, position, ceiling)));
        drop(turn);
    };
    let thread = weft_vm::spawn_guest_thread("weft-judge", work);
    thread.map_err(|error| ReplayError::Thread(error.to_string()))?;
    let answer = answer.await.map_err(|_| ReplayError::Thread("its thread ended".to_owned()))?;
    let Again { step, gas } = answer?;
    let Some((running, state_root)) = step else { return Ok((Found::NoPosition, gas)) };
    tell_own(shared, (process, position), running)?;
    let place = (position, slot.assignment_id);
    let truth = Statement::of(&known.process, shared.network, place, (running, state_root));
    Ok((Found::Truth(truth), gas))
}

/// Says so where a replay differs from what this node itself came to.
fn tell_own(shared: &Shared, (process, position): Place, running: Hash) -> Result<(), ReplayError> {
    let own = shared.store.read()?.outcome(&process, position)?.map(|row| row.running);
    if let Some(own) = own.filter(|own| *own != running) {
        let text = format!(
            "this node came to outcome {own} at position {position}, and to {running} when it evaluated it again: \
             its memory or disk may be damaged"
        );
        tracing::error!(%process, "{text}");
        shared.news.tell(News::Alarm { process, text });
    }
    Ok(())
}
