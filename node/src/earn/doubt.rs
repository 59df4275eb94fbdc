//! Claims of others: computed again from the logs, and challenged where those show that nothing is owed.

mod list;
mod seen;

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use weft_protocol::market::Leaf;
use weft_protocol::process::Process;
use weft_protocol::{Id, Position};
use weft_storage::Write;

use super::letters::{Ask, Letter};
use super::notices::{self, Opened};
use crate::control::Answers;
use crate::control::api::FailureCode;
use crate::error::NodeError;
use crate::market::ledger::ask_here;
use crate::market::sent::{Found, Push, look_for, stands_at};
use crate::shared::SharedRef;
use crate::submit::{SubmitError, Submitter};
use crate::supervisor::joined;
use list::{Doubt, Doubts};
use seen::{Seen, from_target, read_claim};

/// How often the ledgers' logs are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Ledgers whose claims are looked at, those with the lowest ids.
const LEDGERS_MAX: usize = 64;
/// Stretches of a ledger's log that are read in one look.
const STRETCHES_MAX: usize = 16;
/// Claims of one ledger that are judged in one look.
const JUDGED_MAX: usize = 64;
/// How many of them at a time.
const JUDGED_AT_ONCE: usize = 8;
/// How long one may take: targets that nobody serves are waited for.
const JUDGED_WAIT: Duration = Duration::from_secs(60);
/// Leaves of one claim of which the target's log is looked at, in an order that nobody else knows. One false leaf loses a
/// claim: who lies in a tenth of the leaves is found.
const LEAVES_MAX: usize = 512;
/// How many of them at a time.
const LEAVES_STEP: usize = 64;
/// Looks after which the end of a source's log here is believed to be its end: a minute.
const BEYOND_LOOKS: u32 = 12;
/// What starts the name of the setting that says from where a ledger's log is read after a start; its id follows.
const READ_SETTING: &str = "doubt/";
/// The setting that says how many claims were challenged on which day.
const DAY_SETTING: &str = "doubted";
/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// What comes of looking at a claim.
enum Verdict {
    /// This leaf is not owed, for this reason.
    False(u32, String),
    /// As far as is known here it is right.
    Right,
    /// It is over, or nothing of it is known here.
    Over,
    /// The leaf that is challenged is not answered for yet.
    Waits,
    /// The source is not evaluated far enough here, or something takes too long.
    TooSoon,
    /// The source's log here ends before this leaf.
    Beyond(u32),
}

/// The loop.
pub struct DoubtTask {
    shared: SharedRef,
    submitter: Submitter,
    answers: Answers,
    /// How far the log of each ledger is read.
    read: BTreeMap<Id, Position>,
    /// What is not decided yet.
    doubts: Doubts,
}

impl DoubtTask {
    /// The loop of a node that challenges false claims.
    pub fn new(shared: SharedRef, submitter: Submitter, answers: Answers) -> Self {
        Self { shared, submitter, answers, read: BTreeMap::new(), doubts: Doubts::default() }
    }

    /// Runs until the node stops. What it was looking at it looks at again after a start.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.look_for_ever() => {}
        }
    }

    async fn look_for_ever(&mut self) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            for ledger in self.ledgers().await {
                if let Err(error) = self.look(ledger).await {
                    tracing::error!(%ledger, %error, "the claims at a ledger cannot be looked at");
                }
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

    /// Reads on in a ledger's log, and looks at the claims whose time has come.
    async fn look(&mut self, ledger: Id) -> Result<(), NodeError> {
        self.hear(ledger).await?;
        let now = self.shared.clock.now().0;
        let due = self.doubts.due(&ledger, now, JUDGED_MAX);
        let mut looked = Vec::new();
        for some in due.chunks(JUDGED_AT_ONCE) {
            looked.extend(join_all(some.iter().map(|doubt| self.look_within(doubt))).await);
        }
        for (doubt, verdict) in due.into_iter().zip(looked) {
            let now = self.shared.clock.now().0;
            match verdict? {
                Verdict::Over | Verdict::Right => self.doubts.decided(&doubt),
                Verdict::TooSoon | Verdict::Waits => self.doubts.later(&doubt, now),
                Verdict::Beyond(leaf) if doubt.beyond + 1 >= BEYOND_LOOKS => {
                    self.challenge(&doubt, leaf, "the source has no such slot").await?;
                }
                Verdict::Beyond(_) => self.doubts.beyond(&doubt, now),
                Verdict::False(leaf, why) => self.challenge(&doubt, leaf, &why).await?,
            }
        }
        self.note(ledger).await
    }

    /// Reads on in a ledger's log.
    async fn hear(&mut self, ledger: Id) -> Result<(), NodeError> {
        for _ in 0..STRETCHES_MAX {
            if self.doubts.is_full() {
                tracing::warn!(%ledger, "no more claims are looked at until one of those that are is over");
                return Ok(());
            }
            let from = match self.read.get(&ledger) {
                Some(from) => *from,
                None => self.noted(&ledger)?,
            };
            let shared = SharedRef::clone(&self.shared);
            let read = tokio::task::spawn_blocking(move || {
                notices::read(&shared.store.read()?, &ledger, shared.address, from)
            });
            let Some(heard) = joined(read.await) else { return Ok(()) };
            let heard = heard?;
            let Some(next) = heard.next else { return Ok(()) };
            let now = self.shared.clock.now().0;
            for (at, told) in heard.of_others {
                if let Some((Opened { messenger, source, window, .. }, why)) =
                    self.doubts.hear(ledger, at, told, now)
                {
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

    async fn look_within(&self, doubt: &Doubt) -> Result<Verdict, NodeError> {
        let looked = tokio::time::timeout(JUDGED_WAIT, self.look_at(doubt)).await;
        looked.unwrap_or(Ok(Verdict::TooSoon))
    }

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
            let is_challenged = is_challenged(&claim, *leaf);
            return Ok(if is_challenged { Verdict::Waits } else { Verdict::False(*leaf, why.clone()) });
        }
        let known = self.shared.known(source).await.filter(|known| known.roles.computes);
        let Some(known) = known else { return Ok(Verdict::Over) };
        let verdict = self.verdict(&known.process, doubt.opened).await?;
        if matches!(verdict, Verdict::Right) {
            tracing::debug!(%messenger, %source, window, "a claim is right as far as is known here");
        }
        Ok(verdict)
    }

    /// Challenges a leaf of a claim; again where the ledger has said nothing of it.
    async fn challenge(&mut self, doubt: &Doubt, leaf: u32, why: &str) -> Result<(), NodeError> {
        let (ledger, Opened { messenger, source, window, item }) = (doubt.ledger, doubt.opened);
        if doubt.refuted.is_none() {
            tracing::warn!(%ledger, %messenger, %source, window, leaf, why, %item, "a claim is false");
            self.doubts.refuted(doubt, leaf, why);
        }
        if !doubt.is_counted && !self.may_challenge().await? {
            tracing::warn!(%ledger, "no more claims are challenged today (`audit_challenges`)");
            self.doubts.later(doubt, self.shared.clock.now().0);
            return Ok(());
        }
        let ask = Ask::Challenge { messenger, source, window, leaf, item };
        let letter = Letter { ledger, ask, tries: doubt.tries, data: Vec::new() };
        self.doubts.sent(doubt, self.shared.clock.now().0);
        let sent = match letter.sign(&self.shared.signer) {
            Ok(item) => self.submitter.submit(item.raw().clone(), Bytes::new()).await.map(drop),
            Err(error) => Err(SubmitError::Invalid(error.to_string())),
        };
        if let Err(error) = sent {
            tracing::error!(%ledger, %error, "a false claim was not challenged");
        }
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

    /// What the logs say of a claim.
    async fn verdict(&self, source: &Arc<Process>, opened: Opened) -> Result<Verdict, NodeError> {
        let (shared, of) = (SharedRef::clone(&self.shared), Arc::clone(source));
        let read = tokio::task::spawn_blocking(move || read_claim(&shared, &of, opened));
        let Some(read) = joined(read.await) else { return Ok(Verdict::TooSoon) };
        let Some((window, mut leaves)) = read? else { return Ok(Verdict::Right) };
        for (number, _, seen) in &leaves {
            match seen {
                Seen::NotSent(why) => return Ok(Verdict::False(*number, (*why).to_owned())),
                Seen::ToCome => return Ok(Verdict::TooSoon),
                Seen::Beyond => return Ok(Verdict::Beyond(*number)),
                Seen::Sent(_) | Seen::Unknown => {}
            }
        }
        let order = RandomState::new();
        leaves.sort_by_cached_key(|(number, ..)| order.hash_one(number));
        let network = self.shared.network;
        let sent = leaves.into_iter().filter_map(|(number, leaf, seen)| match seen {
            Seen::Sent(push) => Some((number, leaf, push)),
            Seen::NotSent(_) | Seen::ToCome | Seen::Beyond | Seen::Unknown => None,
        });
        let sent: Vec<(u32, Leaf, Push)> = sent.collect();
        // What needs no other log is looked at for all.
        let unknown: Found = Err(String::new());
        for (number, leaf, push) in &sent {
            if let Some(why) = from_target(&window, &opened.messenger, leaf, push, (&unknown, None), network)
            {
                return Ok(Verdict::False(*number, why));
            }
        }
        for some in sent[..sent.len().min(LEAVES_MAX)].chunks(LEAVES_STEP) {
            let pushes: Vec<Push> = some.iter().map(|(.., push)| *push).collect();
            let found = look_for(&self.shared, &pushes).await;
            for ((number, leaf, push), found) in some.iter().zip(found) {
                let other = match &found {
                    Ok(None) => stands_at(&self.shared, push.target, leaf.paid.target_slot).await,
                    _ => None,
                };
                let shown = (&found, other);
                if let Some(why) = from_target(&window, &opened.messenger, leaf, push, shown, network) {
                    return Ok(Verdict::False(*number, why));
                }
            }
        }
        Ok(Verdict::Right)
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
