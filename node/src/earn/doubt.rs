//! Claims of others: computed again from the logs, and challenged where those show that nothing is owed.

mod child;
mod judge;
mod list;
mod seen;
#[cfg(test)]
mod story;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_protocol::{Id, Position};
use weft_storage::Write;

use super::letters::{Ask, Letter};
use super::notices::{self, Opened};
use crate::control::Answers;
use crate::control::api::FailureCode;
use crate::error::NodeError;
use crate::market::ledger::ask_here;
use crate::shared::SharedRef;
use crate::submit::Submitter;
use crate::supervisor::joined;
use judge::Verdict;
use list::{Doubt, Doubts};

/// How often the ledgers' logs are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Ledgers whose claims are looked at, those with the lowest ids.
const LEDGERS_MAX: usize = 64;
/// Stretches of a ledger's log that are read in one look.
const STRETCHES_MAX: usize = 16;
/// Looks after which the end of a source's log here is believed to be its end: a minute.
const BEYOND_LOOKS: u32 = 12;
/// What starts the name of the setting that says from where a ledger's log is read after a start; its id follows.
const READ_SETTING: &str = "doubt/";
/// The setting that says how many claims were challenged on which day.
const DAY_SETTING: &str = "doubted";
/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// What goes on beside the loop.
enum Done {
    /// A claim was judged.
    Judged(Doubt, Result<Verdict, NodeError>),
    /// A challenge was sent.
    Sent(Doubt),
}

/// What judges a claim.
#[derive(Clone)]
struct Judge {
    shared: SharedRef,
    answers: Answers,
}

/// The loop.
pub struct DoubtTask {
    judge: Judge,
    shared: SharedRef,
    submitter: Submitter,
    /// How far the log of each ledger is read.
    read: BTreeMap<Id, Position>,
    /// The ledgers whose logs were read to their ends once: what this node did before a start stands there.
    caught_up: BTreeSet<Id>,
    /// What is not decided yet.
    doubts: Doubts,
    /// The list has places for them.
    jobs: JoinSet<Done>,
}

impl DoubtTask {
    /// The loop of a node that challenges false claims.
    pub fn new(shared: SharedRef, submitter: Submitter, answers: Answers) -> Self {
        let judge = Judge { shared: SharedRef::clone(&shared), answers };
        let (read, caught_up, doubts, jobs) = Default::default();
        Self { judge, shared, submitter, read, caught_up, doubts, jobs }
    }

    /// Runs until the node stops. What it was looking at it looks at again after a start.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(done) = self.jobs.join_next(), if !self.jobs.is_empty() => {
                    let Some(done) = joined(done) else { continue };
                    if let Err(error) = self.done(done).await {
                        tracing::error!(%error, "a claim cannot be looked at");
                    }
                }
                _ = tick.tick() => self.look().await,
            }
        }
    }

    async fn look(&mut self) {
        let ledgers = self.ledgers().await;
        self.doubts.keep(&ledgers, self.shared.clock.now().0);
        self.read.retain(|ledger, _| ledgers.contains(ledger));
        self.caught_up.retain(|ledger| ledgers.contains(ledger));
        for ledger in ledgers {
            if let Err(error) = self.look_on(ledger).await {
                tracing::error!(%ledger, %error, "the claims at a ledger cannot be looked at");
            }
        }
    }

    /// The ledgers that are computed here and pay for processes that are.
    async fn ledgers(&self) -> Vec<Id> {
        let shared = SharedRef::clone(&self.shared);
        let found = tokio::task::spawn_blocking(move || {
            let directory = &shared.directory;
            let markets = directory.ids(|roles| roles.computes).into_iter().filter_map(|process| {
                let known = directory.get(&process)?;
                known.process.market().map(|market| market.terms.ledger)
            });
            let is_computed = |ledger: &Id| directory.roles(ledger).is_some_and(|roles| roles.computes);
            let ledgers: BTreeSet<Id> = markets.filter(is_computed).collect();
            ledgers.into_iter().take(LEDGERS_MAX).collect()
        });
        joined(found.await).unwrap_or_default()
    }

    /// Reads on in a ledger's log, and begins to judge the claims whose time has come.
    async fn look_on(&mut self, ledger: Id) -> Result<(), NodeError> {
        self.hear(ledger).await?;
        self.note(ledger).await?;
        if !self.caught_up.contains(&ledger) {
            return Ok(());
        }
        for doubt in self.doubts.take(&ledger, self.shared.clock.now().0) {
            let judge = self.judge.clone();
            self.jobs.spawn(async move {
                let verdict = judge.look_at(&doubt).await;
                Done::Judged(doubt, verdict)
            });
        }
        Ok(())
    }

    /// Takes up what came of looking at a claim.
    async fn done(&mut self, done: Done) -> Result<(), NodeError> {
        let now = self.shared.clock.now().0;
        let (doubt, verdict) = match done {
            Done::Judged(doubt, verdict) => (doubt, verdict),
            Done::Sent(doubt) => {
                self.doubts.end(&doubt);
                return Ok(());
            }
        };
        self.doubts.end(&doubt);
        match verdict {
            Ok(Verdict::Over | Verdict::Right) => self.doubts.decided(&doubt),
            Ok(Verdict::TooSoon | Verdict::Waits) => self.doubts.later(&doubt, now),
            Ok(Verdict::Answered(leaf)) => self.doubts.answered(&doubt, leaf, now),
            Ok(Verdict::Further(looked, unread)) => {
                self.doubts.looked(&doubt, looked, unread, false);
                self.doubts.later(&doubt, now);
            }
            Ok(Verdict::Unread(looked, unread)) => {
                self.doubts.looked(&doubt, looked, unread, true);
                self.doubts.later(&doubt, now);
            }
            Ok(Verdict::Beyond(leaf)) if doubt.beyond + 1 >= BEYOND_LOOKS => {
                self.challenge(doubt, leaf, "the source has no such slot").await?;
            }
            Ok(Verdict::Beyond(_)) => self.doubts.beyond(&doubt, now),
            Ok(Verdict::False(leaf, why)) => self.challenge(doubt, leaf, &why).await?,
            Err(error) => {
                self.doubts.later(&doubt, now);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Reads on in a ledger's log.
    async fn hear(&mut self, ledger: Id) -> Result<(), NodeError> {
        for _ in 0..STRETCHES_MAX {
            if !self.doubts.has_room(&ledger) {
                tracing::warn!(%ledger, "no more claims are looked at until one of those that are is over");
                self.caught_up.insert(ledger);
                return Ok(());
            }
            let from = match self.read.get(&ledger) {
                Some(from) => *from,
                None => self.noted(&ledger)?,
            };
            let shared = SharedRef::clone(&self.shared);
            let read = tokio::task::spawn_blocking(move || {
                notices::read(&shared.store.read()?, &ledger, shared.address, (from, None))
            });
            let Some(heard) = joined(read.await) else { return Ok(()) };
            let heard = heard?;
            let Some(next) = heard.next else {
                self.caught_up.insert(ledger);
                return Ok(());
            };
            let now = self.shared.clock.now().0;
            for (at, told) in heard.of_others {
                let order = RandomState::new().hash_one(now);
                let refused = self.doubts.hear((ledger, at), told, now, order);
                if let Some((Opened { messenger, source, window, .. }, why)) = refused {
                    tracing::error!(%ledger, %messenger, %source, window, why, "a challenge was refused");
                }
            }
            self.read.insert(ledger, next);
        }
        Ok(())
    }

    /// From where a ledger's log is read after a start.
    fn noted(&self, ledger: &Id) -> Result<Position, NodeError> {
        let at = self.shared.store.read()?.setting(&format!("{READ_SETTING}{ledger}"))?;
        let at = at.and_then(|at| at.as_ref().try_into().ok());
        Ok(at.map_or(Position { epoch: 0, slot: 0, tick: 0 }, |at| Position::from_bytes(&at)))
    }

    /// Notes from where it is: from the first claim on that is not decided.
    async fn note(&self, ledger: Id) -> Result<(), NodeError> {
        let Some(read) = self.read.get(&ledger) else { return Ok(()) };
        let from = self.doubts.from(&ledger, *read);
        if self.noted(&ledger)? != from {
            let (name, value) = (format!("{READ_SETTING}{ledger}"), from.to_bytes().to_vec().into());
            self.shared.store.write(vec![Write::Setting { name, value }]).await?;
        }
        Ok(())
    }

    /// Challenges a leaf of a claim; again where the ledger has said nothing of it.
    async fn challenge(&mut self, doubt: Doubt, leaf: u32, why: &str) -> Result<(), NodeError> {
        let (ledger, Opened { messenger, source, window, item, .. }) = (doubt.ledger, doubt.opened);
        // It may be over meanwhile, and another one of its name be open.
        if !self.doubts.holds(&doubt) {
            return Ok(());
        }
        if doubt.refuted.is_none() {
            tracing::warn!(%ledger, %messenger, %source, window, leaf, why, %item, "a claim is false");
            self.doubts.refuted(&doubt, leaf, why);
        }
        if !doubt.is_counted && !self.may_challenge().await? {
            tracing::warn!(%ledger, "no more claims are challenged today (`audit_challenges`)");
            self.doubts.later(&doubt, self.shared.clock.now().0);
            return Ok(());
        }
        let ask = Ask::Challenge { messenger, source, window, leaf, item };
        let letter = Letter { ledger, ask, tries: doubt.tries, data: Vec::new() };
        let now = self.shared.clock.now().0;
        let letter = match letter.sign(&self.shared.signer) {
            Ok(letter) => letter,
            Err(error) => {
                tracing::error!(%error, "this node's key cannot sign a challenge");
                self.doubts.later(&doubt, now);
                return Ok(());
            }
        };
        self.doubts.sent(&doubt, letter.id(), now);
        let submitter = self.submitter.clone();
        self.doubts.begin(&doubt);
        self.jobs.spawn(async move {
            if let Err(error) = submitter.submit(letter.raw().clone(), Bytes::new()).await {
                tracing::error!(%ledger, %error, "a false claim was not challenged");
            }
            Done::Sent(doubt)
        });
        Ok(())
    }

    /// Counts one more challenge of today, if there may be one.
    async fn may_challenge(&self) -> Result<bool, NodeError> {
        let shared = &self.shared;
        let day = shared.clock.now().0 / DAY_MS;
        let counted: Option<[u8; 16]> =
            shared.store.read()?.setting(DAY_SETTING)?.and_then(|value| value.as_ref().try_into().ok());
        let counted = counted.map_or(0, u128::from_be_bytes);
        let today = if (counted >> 64) as u64 == day { counted as u64 } else { 0 };
        if today >= shared.config.pay.audit_challenges {
            return Ok(false);
        }
        let value = (u128::from(day) << 64) | u128::from(today + 1);
        let value = Bytes::copy_from_slice(&value.to_be_bytes());
        shared.store.write(vec![Write::Setting { name: DAY_SETTING.to_owned(), value }]).await?;
        Ok(true)
    }
}

impl Judge {
    /// Looks at one claim.
    async fn look_at(&self, doubt: &Doubt) -> Result<Verdict, NodeError> {
        let Opened { messenger, source, window, .. } = doubt.opened;
        let tags = [
            ("Messenger", messenger.to_string()),
            ("Source", source.to_string()),
            ("Window", window.to_string()),
        ];
        // One that is over cannot be challenged any more.
        let claim =
            match ask_here(&self.answers, (doubt.ledger, self.shared.address), "Claim-Of", &tags).await {
                Ok(claim) => claim.data,
                Err(failure) if failure.code == FailureCode::Refused => return Ok(Verdict::Over),
                Err(_) => return Ok(Verdict::TooSoon),
            };
        if let Some((leaf, why)) = &doubt.refuted {
            return Ok(match is_challenged(&claim, *leaf) {
                true => Verdict::Waits,
                false if doubt.is_heard => Verdict::Answered(*leaf),
                false => Verdict::False(*leaf, why.clone()),
            });
        }
        let known = self.shared.known(source).await.filter(|known| known.roles.computes);
        let Some(known) = known else { return Ok(Verdict::Over) };
        let verdict = judge::verdict(&self.shared, &known.process, doubt).await?;
        if matches!(verdict, Verdict::Right) {
            tracing::debug!(%messenger, %source, window, "a claim is right as far as is known here");
        }
        Ok(verdict)
    }
}

/// Whether a claim, as its ledger shows it, has a challenge of this leaf. One of another leaf says nothing: whoever lies may
/// have what is right challenged.
fn is_challenged(claim: &str, leaf: u32) -> bool {
    let claim: Option<Value> = serde_json::from_str(claim).ok();
    claim.is_some_and(|claim| claim["challenges"].get(leaf.to_string()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_counts_for_its_leaf_alone() {
        let claim = r#"{"leaves":9,"challenges":{"4":{"by":"x","due":7}}}"#;
        assert!(is_challenged(claim, 4));
        assert!(
            !is_challenged(claim, 3) && !is_challenged(r#"{"challenges":{}}"#, 4) && !is_challenged("", 4)
        );
    }
}
