//! Ledgers that are not computed here: asking them in their turns, and taking up what they said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use weft_protocol::Id;
use weft_storage::Write;

use super::{EarnTask, READ_SETTING, is_computed};
use crate::earn::elsewhere::{self, Mark, NotTold, Question, Shown, Standing, Told};
use crate::earn::ledgers::{Came, Due};
use crate::earn::pace::challenge_ms;
use crate::error::NodeError;
use crate::shared::SharedRef;

/// Ledgers of which it is remembered how far they were heard though nothing is claimed there any more.
const MARKS_MAX: usize = 1_024;

impl EarnTask {
    /// Looks which ledgers there are, and which of them are evaluated here. One that is to be from now on is asked on until
    /// it is evaluated as far as it was heard: challenges do not wait for that. So is one of which this node lacks something
    /// that claims wait for, until what others show of it reaches what is evaluated here, or it is given up.
    pub(super) fn sort(&mut self) -> Result<(), NodeError> {
        let claimed = self.machine.ledgers();
        self.ledgers.keep_missed(&claimed);
        let ledgers = self.owing.iter().flatten().copied().chain(claimed);
        let reader = self.shared.store.read()?;
        let (mut here, mut elsewhere) = (BTreeSet::new(), BTreeSet::new());
        for ledger in ledgers {
            let read = self.read.get(&ledger).copied();
            let is_here = is_computed(&self.shared, &ledger)
                && (self.ledgers.is_given_up(&ledger)
                    || elsewhere::goes_on_here(&reader, &ledger, read, self.waits(&ledger))?);
            let of = if is_here { &mut here } else { &mut elsewhere };
            of.insert(ledger);
        }
        (self.here, self.elsewhere) = (here, elsewhere);
        Ok(())
    }

    /// Whether nothing that a ledger says may be left out: claims wait for it, and what is not here may be shown by others.
    pub(super) fn waits(&self, ledger: &Id) -> bool {
        self.machine.has_claim_at(ledger) && !self.ledgers.is_given_up(ledger)
    }

    /// Whether what a ledger says was heard from others.
    pub(super) fn is_heard(&self, ledger: &Id) -> bool {
        self.read.get(ledger).is_some_and(|read| read.running.is_some())
    }

    /// Whether a claim may be made at a ledger: what it says of it is known then. Of those that are not computed here only at
    /// those that the operator names: any process can say that it is a ledger, and hold claims for ever.
    pub(super) fn may_claim(&self, ledger: &Id) -> bool {
        let is_named = self.shared.config.pay.claim_at.contains(ledger);
        self.here.contains(ledger) || is_named && self.is_heard(ledger) && self.is_up_to_date(ledger)
    }

    /// Whether what a ledger said last is known: it was shown in this run, up to the newest message of this node there.
    fn is_up_to_date(&self, ledger: &Id) -> bool {
        let heard = self.read.get(ledger).and_then(Mark::last).map(|heard| heard.slot);
        self.ledgers.is_shown(ledger) && self.slots.get(ledger).copied() <= heard
    }

    /// The ledgers at which this node lets no slots pass: its own messages bring the end of challenges nearer that it
    /// has not heard of.
    pub(super) fn deaf(&self) -> BTreeSet<Id> {
        self.elsewhere.iter().copied().filter(|ledger| !self.is_up_to_date(ledger)).collect()
    }

    /// A message to a ledger is not under way any more.
    pub(super) fn has_slot(&mut self, ledger: Id, slot: Option<u64>) {
        self.ledgers.sent(&ledger, slot.is_some(), self.shared.clock.now());
        if let Some(slot) = slot.filter(|_| self.elsewhere.contains(&ledger)) {
            let newest = self.slots.entry(ledger).or_default();
            *newest = slot.max(*newest);
        }
    }

    /// Asks the ledgers whose turn it is.
    pub(super) async fn ask(&mut self) -> Result<(), NodeError> {
        let now = self.shared.clock.now();
        let of_elsewhere = |ledger: &Id| self.elsewhere.contains(ledger);
        let claimed: BTreeSet<Id> = self.machine.ledgers().into_iter().filter(of_elsewhere).collect();
        let named = self.shared.config.pay.claim_at.iter().copied().filter(of_elsewhere);
        let owing = self.owing.as_ref();
        let owing = named.filter(|ledger| owing.is_some_and(|owing| owing.contains(ledger))).collect();
        self.ledgers.keep(&claimed, &owing, now);
        for ledger in &claimed {
            // Asking the ledger looks it up.
            let directory = &self.shared.directory;
            let hosted = || directory.at_hand(ledger).map(|known| known.process);
            if let Some(process) = directory.remembered(ledger).or_else(hosted) {
                self.ledgers.gives(ledger, challenge_ms(&process));
            }
        }
        for Due { ledger, is_wide } in self.ledgers.due(now) {
            let (read, is_claimed) = (self.read.get(&ledger).copied(), claimed.contains(&ledger));
            let question = Question { ledger, read, is_claimed, is_wide };
            let (shared, written) = (SharedRef::clone(&self.shared), Arc::clone(&self.written));
            self.asks.spawn(async move { (ledger, elsewhere::ask(&shared, &written, question).await) });
        }
        self.say_how_it_stands();
        self.forget_marks().await
    }

    /// Takes up what a ledger said.
    pub(super) async fn told(&mut self, told: Option<(Id, Result<Shown, NotTold>)>) -> Result<(), NodeError> {
        let Some((ledger, told)) = told else { return Ok(()) };
        let taken = match told {
            Ok(Shown::New(told)) => {
                // Where nothing is claimed it is enough to have heard it once, and to hear it now and then.
                let is_enough = told.is_newest && self.is_heard(&ledger);
                let came = if is_enough { Came::Same } else { Came::Took { is_more: told.is_more } };
                let is_taken = self.take_up(ledger, told).await;
                is_taken.map(|is_taken| if is_taken { came } else { Came::Nothing })
            }
            Ok(Shown::Same) => {
                self.silent.remove(&ledger);
                Ok(Came::Same)
            }
            Err(error) => {
                if self.silent.get(&ledger).is_none_or(|before| *before != error.to_string()) {
                    tracing::warn!(%ledger, %error, "what a ledger says that is not computed here is not known");
                }
                self.silent.insert(ledger, error.to_string());
                if matches!(error, NotTold::Missing(..)) && is_computed(&self.shared, &ledger) {
                    self.ledgers.missed(ledger);
                }
                Ok(Came::Nothing)
            }
        };
        let came = taken.as_ref().copied().unwrap_or(Came::Nothing);
        self.ledgers.ended(&ledger, came, self.shared.clock.now());
        self.say_how_it_stands();
        taken.map(|_| ())
    }

    /// Says whether it follows what was read.
    async fn take_up(&mut self, ledger: Id, told: Told) -> Result<bool, NodeError> {
        self.silent.remove(&ledger);
        let Told { read, is_newest, notices, to, .. } = told;
        // It is evaluated here meanwhile, and was read on there; or a claim was made, and what it led to may be passed over.
        let is_late = is_newest && self.machine.has_claim_at(&ledger);
        if is_late || self.read.get(&ledger).copied() != read {
            return Ok(false);
        }
        if !self.is_heard(&ledger) {
            let slot = to.next.slot;
            tracing::info!(%ledger, slot, "a ledger that is not computed here is heard: claims there follow its attestors");
        }
        self.say(ledger, notices);
        self.read_to(ledger, to).await.map(|()| true)
    }

    /// Forgets how far ledgers were heard where nothing is owed or claimed any more, once there are many. Before the first look
    /// nobody knows that.
    async fn forget_marks(&mut self) -> Result<(), NodeError> {
        let heard = self.read.iter().filter(|(_, read)| read.running.is_some()).map(|(ledger, _)| ledger);
        let is_over = |ledger: &&Id| !self.here.contains(ledger) && !self.elsewhere.contains(ledger);
        let over: Vec<Id> = heard.filter(is_over).copied().collect();
        if self.owing.is_none() || over.len() <= MARKS_MAX {
            return Ok(());
        }
        let name = |ledger: &Id| format!("{READ_SETTING}{ledger}");
        let drops = over.iter().map(|ledger| Write::DropSetting { name: name(ledger) });
        self.shared.store.write(drops.collect()).await?;
        for ledger in over {
            self.read.remove(&ledger);
        }
        Ok(())
    }

    /// Says how it stands with the ledgers that are asked.
    fn say_how_it_stands(&mut self) {
        let (ledgers, read) = (&self.ledgers, &self.read);
        self.silent.retain(|ledger, _| ledgers.has(ledger));
        self.slots.retain(|ledger, _| ledgers.has(ledger));
        let standing = |ledger: &Id| {
            let heard = read.get(ledger).filter(|read| read.running.is_some());
            let standing = Standing {
                heard_to: heard.map(|read| read.next.slot),
                why: self.silent.get(ledger).cloned(),
            };
            (*ledger, standing)
        };
        let all: BTreeMap<Id, Standing> = ledgers.all().map(standing).collect();
        self.used.store(all.len() as u64, Ordering::Relaxed);
        self.shared.ledgers.set(all);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::path::Path;

    use weft_protocol::crypto::Signer;
    use weft_protocol::market::Paid;
    use weft_protocol::outcome::Running;
    use weft_protocol::{Hash, Position};
    use weft_storage::{
        ClaimKey, ClaimRow, ClaimState, MemoryDisk, OutcomeRow, ProcessRow, Roles, Store, StoreConfig,
    };

    use super::*;
    use crate::earn::machine::{Effect, Said};
    use crate::earn::notices::Notice;
    use crate::shared::testing::{NETWORK, outcome_row, shared};
    use crate::submit::Submitter;

    const LEDGER: Id = Id([2; 32]);
    const KEY: ClaimKey = ClaimKey { source: Id([3; 32]), window: 1, number: 0 };

    fn task(shared: &SharedRef) -> EarnTask {
        EarnTask::new(SharedRef::clone(shared), Submitter::new(SharedRef::clone(shared), None)).unwrap()
    }

    /// What it was told that was asked after `read`.
    fn told(read: Option<Mark>, slot: u64, said: Vec<Said>, is_newest: bool) -> Told {
        let notice = |said| Notice { source: KEY.source, window: KEY.window, said };
        let next = Position { tick: 1, ..Position::slot(slot) };
        let to = Mark { next, running: Some(Running(Hash([u8::try_from(slot).unwrap(); 32]))) };
        Told { read, is_newest, notices: said.into_iter().map(notice).collect(), to, is_more: false }
    }

    fn store_of(own: &Signer) -> Store {
        let config = StoreConfig::new(NETWORK, own.address());
        Store::open_with_backend(MemoryDisk::new(), &config).unwrap()
    }

    /// A claim of two pushes.
    fn claim() -> ClaimRow {
        ClaimRow {
            ledger: LEDGER,
            pushes: vec![0; 2 * Paid::BYTES].into(),
            sum: 5,
            state: ClaimState::Open { due: 9, due_ms: 0 },
            tries: 0,
            next_try_ms: 0,
            challenges: Vec::new(),
        }
    }

    /// A node with that claim, which names no ledger.
    async fn with_a_claim() -> SharedRef {
        let own = Signer::from_seed(&[1; 32]);
        let store = store_of(&own);
        store.write(vec![Write::Claim { key: KEY, row: claim() }]).await.unwrap();
        shared(Path::new("nowhere"), own, store)
    }

    /// As if the ledger were asked, which has no peers here.
    fn asked(task: &mut EarnTask) {
        let now = task.shared.clock.now();
        task.ledgers.keep(&BTreeSet::from([LEDGER]), &BTreeSet::new(), now);
        task.ledgers.due(now.plus_ms(1 << 30));
    }

    async fn hears(task: &mut EarnTask, said: Result<Shown, NotTold>) {
        asked(task);
        task.told(Some((LEDGER, said))).await.unwrap();
    }

    fn read(task: &EarnTask) -> Option<Mark> {
        task.read.get(&LEDGER).copied()
    }

    #[tokio::test]
    async fn no_slots_pass_at_a_ledger_before_it_was_heard_and_a_restart_goes_on_from_there() {
        let shared = with_a_claim().await;
        let mut first = task(&shared);
        first.sort().unwrap();
        let (ledgers, none) = (BTreeSet::from([LEDGER]), BTreeSet::new());
        assert_eq!((&first.elsewhere, &first.here), (&ledgers, &none));
        assert_eq!(first.deaf(), ledgers, "nobody was asked");
        hears(&mut first, Err(NotTold::Nothing)).await;
        assert_eq!(first.deaf(), ledgers, "nobody showed anything");
        let standing = shared.ledgers.of(&LEDGER).unwrap();
        assert!(standing.heard_to.is_none() && standing.why.unwrap().contains("quorum"));
        hears(&mut first, Ok(Shown::New(told(None, 6, Vec::new(), false)))).await;
        assert_eq!(first.deaf(), none);
        let standing = shared.ledgers.of(&LEDGER).unwrap();
        assert_eq!((standing.heard_to, standing.why), (Some(6), None));
        // One slot passes, and no other before what was said up to it is here.
        first.has_slot(LEDGER, Some(7));
        assert_eq!(first.deaf(), ledgers);
        hears(&mut first, Ok(Shown::Same)).await;
        assert_eq!(first.deaf(), ledgers);
        let at = read(&first);
        hears(&mut first, Ok(Shown::New(told(None, 8, vec![Said::Paid], false)))).await;
        assert_eq!((read(&first), first.deaf()), (at, ledgers.clone()), "it does not follow");
        hears(&mut first, Ok(Shown::New(told(at, 8, Vec::new(), true)))).await;
        assert_eq!(read(&first), at, "it passes over what claims wait for");
        let more = Told { is_more: true, ..told(at, 8, vec![Said::Struck(0, 2)], false) };
        hears(&mut first, Ok(Shown::New(more))).await;
        assert_eq!(first.deaf(), ledgers, "a challenge may stand in what follows");
        hears(&mut first, Ok(Shown::Same)).await;
        assert_eq!(first.deaf(), none);
        // A message that may be lost may have a slot all the same.
        first.has_slot(LEDGER, None);
        assert_eq!(first.deaf(), ledgers);
        hears(&mut first, Ok(Shown::Same)).await;
        assert_eq!(first.deaf(), none);
        hears(&mut first, Err(NotTold::Late)).await;
        assert_eq!(first.deaf(), ledgers, "nobody is there any more");

        let mut second = task(&shared);
        second.sort().unwrap();
        assert_eq!((read(&second), second.deaf()), (read(&first), ledgers));
        let paid = told(read(&second), 9, vec![Said::Paid], false);
        hears(&mut second, Ok(Shown::New(paid))).await;
        assert_eq!(second.machine.under_way(), 0);
        let state = shared.store.read().unwrap().claims_after(None, 9).unwrap().remove(0).1;
        assert_eq!((state.state, state.sum), (ClaimState::Paid, 3));
    }

    /// The attack: a process that says that it is a ledger challenges the same claim as often as an answer has room for.
    #[tokio::test]
    async fn a_ledger_that_says_the_same_thing_many_times_costs_one_row() {
        let shared = with_a_claim().await;
        let mut task = task(&shared);
        let challenges = (0..32_768).map(|number| Said::Challenged {
            leaf: number % 5,
            due: u64::from(number),
            due_ms: u64::MAX,
        });
        let notice = |said| Notice { source: KEY.source, window: KEY.window, said };
        task.say(LEDGER, challenges.map(notice).collect());
        let effects: Vec<Effect> = task.effects.drain().collect();
        let saves: Vec<&ClaimRow> = effects
            .iter()
            .filter_map(|effect| if let Effect::Save(_, row) = effect { Some(row) } else { None })
            .collect();
        let [row] = saves[..] else { panic!("{} rows", saves.len()) };
        let leaves: BTreeSet<u32> = row.challenges.iter().map(|challenge| challenge.leaf).collect();
        assert_eq!((row.challenges.len(), leaves), (2, BTreeSet::from([0, 1])));
        assert_eq!(effects.len(), 3, "the answers beside it");
    }

    #[tokio::test]
    async fn claims_are_made_where_the_operator_says_so_and_what_was_said_is_known() {
        let own = Signer::from_seed(&[1; 32]);
        let store = store_of(&own);
        let mut shared = shared(Path::new("nowhere"), own, store);
        let named = |shared: &SharedRef, is_named: bool| {
            let mut task = task(shared);
            task.owing = Some(BTreeSet::from([LEDGER]));
            task.sort().unwrap();
            assert_eq!(shared.config.pay.claim_at.contains(&LEDGER), is_named);
            task
        };
        let mut of_a_stranger = named(&shared, false);
        hears(&mut of_a_stranger, Ok(Shown::New(told(None, 3, Vec::new(), true)))).await;
        assert!(!of_a_stranger.may_claim(&LEDGER), "any process can say that it is a ledger");
        drop(of_a_stranger);
        Arc::get_mut(&mut shared).unwrap().config.pay.claim_at.insert(LEDGER);
        let mut task = named(&shared, true);
        assert!(!task.may_claim(&LEDGER), "on disk it was heard, and nobody showed anything now");
        hears(&mut task, Err(NotTold::Nothing)).await;
        assert!(!task.may_claim(&LEDGER));
        hears(&mut task, Ok(Shown::Same)).await;
        assert!(task.may_claim(&LEDGER));
        hears(&mut task, Err(NotTold::Late)).await;
        assert!(!task.may_claim(&LEDGER));
        task.here.insert(LEDGER);
        assert!(task.may_claim(&LEDGER), "it is computed here");
    }

    /// A row of a position that sent nothing, at which O is this.
    fn row(outcome: Hash, running: Hash) -> OutcomeRow {
        OutcomeRow { outcome, running, ..outcome_row() }
    }

    async fn evaluated(shared: &SharedRef, slot: u64, row: OutcomeRow) {
        let evaluated = Write::Outcome { process: LEDGER, position: Position::slot(slot), row };
        shared.store.write(vec![evaluated]).await.unwrap();
    }

    /// The ledger is computed here from now on.
    fn computed(shared: &SharedRef) {
        let roles = Roles { computes: true, ..Roles::default() };
        shared.directory.put_row(LEDGER, ProcessRow { module: Id([4; 32]), roles });
    }

    /// Who goes on from a checkpoint of others has one outcome far ahead, and nothing of what was said before.
    #[tokio::test]
    async fn a_ledger_is_heard_from_others_until_what_was_heard_is_computed_here() {
        let shared = with_a_claim().await;
        computed(&shared);
        let mut task = task(&shared);
        task.sort().unwrap();
        assert!(task.here.contains(&LEDGER), "nothing was heard of it");
        hears(&mut task, Ok(Shown::New(told(None, 6, Vec::new(), false)))).await;
        let here = async |task: &mut EarnTask, slot, running| {
            evaluated(&task.shared, slot, row(Hash::ZERO, running)).await;
            task.sort().unwrap();
            task.here.contains(&LEDGER)
        };
        assert!(!here(&mut task, 200, Hash([200; 32])).await, "what was said between is not here");
        assert!(!here(&mut task, 6, Hash([9; 32])).await, "another O than a quorum signed");
        let next = told(read(&task), 7, Vec::new(), false);
        hears(&mut task, Ok(Shown::New(next))).await;
        assert!(
            !here(&mut task, 7, Hash([7; 32])).await,
            "it was computed up to there, and not from there on"
        );
        let next = told(read(&task), 200, Vec::new(), false);
        hears(&mut task, Ok(Shown::New(next))).await;
        task.sort().unwrap();
        assert!(task.here.contains(&LEDGER));
    }

    /// One that was computed before, and goes on from a checkpoint of others: it has outcomes on both sides of a hole.
    #[tokio::test]
    async fn where_claims_wait_no_hole_in_what_is_computed_here_is_passed_over() {
        for is_claimed in [true, false] {
            let shared = if is_claimed {
                with_a_claim().await
            } else {
                let own = Signer::from_seed(&[1; 32]);
                let store = store_of(&own);
                shared(Path::new("nowhere"), own, store)
            };
            computed(&shared);
            let mut running = Running::before(LEDGER).0;
            for slot in 0..3 {
                let outcome = Hash([slot; 32]);
                running = Running(running).then(&outcome).0;
                evaluated(&shared, slot.into(), row(outcome, running)).await;
            }
            evaluated(&shared, 3, row(Hash::ZERO, Hash([3; 32]))).await;
            let mut task = task(&shared);
            task.owing = Some(BTreeSet::from([LEDGER]));
            task.sort().unwrap();
            assert!(task.here.contains(&LEDGER), "up to the hole");
            task.hear(LEDGER).await.unwrap();
            let last = if is_claimed { 2 } else { 3 };
            assert_eq!(read(&task).unwrap().last(), Some(Position::slot(last)));
            for _ in 0..2 {
                assert_eq!(task.deaf().contains(&LEDGER), is_claimed);
                assert_eq!(task.may_claim(&LEDGER), !is_claimed);
                task.sort().unwrap();
            }
            // Others show what was said in the hole, from where it was heard here.
            let next = told(read(&task), 3, vec![Said::Lost], false);
            hears(&mut task, Ok(Shown::New(next))).await;
            task.sort().unwrap();
            assert!(task.here.contains(&LEDGER));
            assert_eq!(task.machine.under_way(), 0);
        }
    }

    /// What nobody has any more: what stands behind it is heard all the same.
    #[tokio::test]
    async fn a_hole_that_nobody_shows_is_given_up() {
        let shared = with_a_claim().await;
        computed(&shared);
        let mut task = task(&shared);
        hears(&mut task, Ok(Shown::New(told(None, 6, Vec::new(), false)))).await;
        evaluated(&shared, 9, row(Hash::ZERO, Hash([9; 32]))).await;
        for is_given_up in [false, true] {
            task.sort().unwrap();
            assert_eq!(task.here.contains(&LEDGER), is_given_up);
            if is_given_up {
                task.hear(LEDGER).await.unwrap();
            }
            for _ in 0..8 {
                hears(&mut task, Err(NotTold::Missing(7, 8))).await;
            }
        }
        assert_eq!(read(&task).unwrap().last(), Some(Position::slot(9)));
        assert!(task.may_claim(&LEDGER) && !task.deaf().contains(&LEDGER));
    }
}
