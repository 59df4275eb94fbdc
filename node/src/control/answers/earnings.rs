//! What this node earned as a messenger: from its own disk, and from the ledgers, as they are computed here or as their
//! attestors say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures::StreamExt as _;
use weft_protocol::Id;
use weft_storage::{ClaimKey, ClaimRow, ClaimState, Reader, StoreError};

use super::super::api::{ClaimInfo, EarningsInfo, Failure, LedgerEarnings};
use super::Answers;
use super::turns::blocking;
use crate::earn::{KEPT_EACH, KEPT_MAX, Look, Owing, Standing, owing};
use crate::market::ledger::{amounts, ask_here};
use crate::shared::SharedRef;

/// Claims of one ledger in one answer: those that are open first, of each the last ones.
const CLAIMS_SHOWN_MAX: usize = 100;
/// Claims that are read at once.
const CLAIMS_PAGE: usize = 4_096;
/// Ledgers that are asked at once what this node has there.
const LEDGERS_AT_ONCE: usize = 8;
/// What a ledger is asked for, and what that is about.
const QUESTIONS: [(&str, &str); 2] = [("Balance", "Recipient"), ("Bond-Of", "Messenger")];

/// Amounts of one ledger.
#[derive(Debug, Default)]
struct Sums {
    running: u128,
    claimable: u128,
    claimed: u128,
    challenged: u128,
    paid: u128,
    lost: u128,
    /// Claims that wait for the ledger, then those that are over.
    claims: VecDeque<ClaimInfo>,
    over: VecDeque<ClaimInfo>,
    notes: BTreeSet<String>,
}

impl Sums {
    fn owing(&mut self, owing: &Owing) {
        let of = if owing.is_over { &mut self.claimable } else { &mut self.running };
        *of += owing.sum;
    }

    fn claim(&mut self, key: ClaimKey, row: ClaimRow) {
        let sum = u128::from(row.sum);
        let open = row.challenges.iter().filter(|challenge| !challenge.answered).count();
        let (mut due, mut why) = (None, None);
        let state = match row.state {
            ClaimState::Made => {
                self.claimed += sum;
                "made"
            }
            ClaimState::Open { due: slot, due_ms } => {
                self.claimed += sum;
                self.challenged += if open > 0 { sum } else { 0 };
                due = Some((slot, due_ms));
                "open"
            }
            // Its pushes are claimable again.
            ClaimState::Refused { why: text } => {
                self.notes.insert(format!("the ledger refused a claim: {text}"));
                why = Some(text);
                "refused"
            }
            ClaimState::Paid => {
                self.paid += sum;
                "paid"
            }
            ClaimState::Lost => {
                self.lost += sum;
                "lost"
            }
        };
        let ClaimKey { source, window, number } = key;
        let (due, due_ms) = due.unzip();
        let (sum, state) = (row.sum.to_string(), state.to_owned());
        let info = ClaimInfo { source, window, number, sum, state, due, due_ms, challenges: open, why };
        // What can still be lost is shown before what is over.
        let is_over = |info: &ClaimInfo| !matches!(info.state.as_str(), "made" | "open");
        let of = if is_over(&info) { &mut self.over } else { &mut self.claims };
        of.push_back(info);
        if of.len() > CLAIMS_SHOWN_MAX {
            of.pop_front();
        }
    }
}

fn sums(reader: &Reader, is_followed: impl Fn(&Id) -> bool) -> Result<BTreeMap<Id, Sums>, StoreError> {
    let mut by_ledger: BTreeMap<Id, Sums> = BTreeMap::new();
    let look = Look { now_ms: 0, but: &BTreeSet::new(), is_followed: &is_followed };
    for owing in owing(reader, &look)? {
        by_ledger.entry(owing.ledger).or_default().owing(&owing);
    }
    let mut after = None;
    loop {
        let page = reader.claims_after(after.as_ref(), CLAIMS_PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(by_ledger) };
        after = Some(*last);
        for (key, row) in page {
            by_ledger.entry(row.ledger).or_default().claim(key, row);
        }
    }
}

impl Answers {
    pub(super) async fn earnings(&self, ledger: Option<Id>) -> Result<EarningsInfo, Failure> {
        let answers = self.clone();
        let shared = SharedRef::clone(&self.shared);
        let is_followed = move |source: &Id| shared.directory.roles(source).is_some();
        let mut sums = blocking(move || Ok(sums(&answers.read()?, is_followed)?)).await?;
        if let Some(ledger) = ledger {
            let of = sums.remove(&ledger).unwrap_or_default();
            sums = BTreeMap::from([(ledger, of)]);
        }
        let each = sums.into_iter().map(|(of, sums)| self.earnings_at(of, sums, ledger.is_some()));
        let each: Vec<_> = each.collect();
        let ledgers = futures::stream::iter(each).buffered(LEDGERS_AT_ONCE).collect().await;
        Ok(EarningsInfo { messenger: self.shared.address, ledgers })
    }

    /// What this node has at a ledger, by the names of the tags that say so; what is not known is not among it.
    async fn amounts_at(
        &self,
        ledger: Id,
        is_here: bool,
        notes: &mut BTreeSet<String>,
    ) -> BTreeMap<String, String> {
        let me = self.shared.address.to_string();
        if !is_here {
            let questions = QUESTIONS.map(|(action, about)| (action, (about, me.clone())));
            let said = amounts(&self.shared, ledger, &questions).await;
            let said = said.into_iter().flatten().map(|(name, amount)| (name, amount.to_string()));
            return said.collect();
        }
        let mut said = BTreeMap::new();
        for (action, about) in QUESTIONS {
            let asked = ask_here(self, (ledger, self.shared.address), action, &[(about, me.clone())]).await;
            match asked {
                Ok(answered) => said.extend(answered.into_tags()),
                // Any process can be named as a ledger: one that is none is not in the way of the others.
                Err(failure) => {
                    notes.insert(failure.to_string());
                }
            }
        }
        said
    }

    async fn earnings_at(&self, ledger: Id, sums: Sums, is_named: bool) -> LedgerEarnings {
        let shared = &self.shared;
        let computed_here = shared.directory.roles(&ledger).is_some_and(|roles| roles.computes);
        let Sums { running, claimable, claimed, challenged, paid, lost, mut claims, mut over, mut notes } =
            sums;
        over.drain(..(over.len() + claims.len()).saturating_sub(CLAIMS_SHOWN_MAX).min(over.len()));
        claims.append(&mut over);
        let standing = shared.ledgers.of(&ledger);
        let mut said = BTreeMap::new();
        if computed_here || standing.is_some() || is_named {
            said = self.amounts_at(ledger, computed_here, &mut notes).await;
        }
        let heard_to = standing.as_ref().and_then(|standing| standing.heard_to);
        if !computed_here {
            let is_named = shared.config.pay.claim_at.contains(&ledger);
            notes.extend(waits(ledger, standing, is_named, claimable + running > 0));
        }
        let amount = |name: &str| said.get(name).cloned();
        let bond = amount("Bond");
        if bond.as_deref() == Some("0") {
            notes.insert(format!("a claim needs a bond: `weft market bond {ledger} AMOUNT`"));
        }
        LedgerEarnings {
            ledger,
            computed_here,
            heard_to: heard_to.filter(|_| !computed_here),
            running: running.to_string(),
            claimable: claimable.to_string(),
            claimed: claimed.to_string(),
            challenged: challenged.to_string(),
            paid: paid.to_string(),
            lost: lost.to_string(),
            balance: amount("Balance"),
            bond,
            locked: amount("Locked"),
            leaving: amount("Leaving"),
            claims: claims.into(),
            notes: notes.into_iter().collect(),
        }
    }
}

/// Why claims at a ledger wait that is not computed here, if they do.
fn waits(ledger: Id, standing: Option<Standing>, is_named: bool, is_owed: bool) -> Option<String> {
    match standing {
        Some(Standing { heard_to: Some(_), why: None }) if is_named || !is_owed => None,
        Some(Standing { heard_to: Some(slot), why: Some(why) }) => {
            Some(format!("what the ledger {ledger} said after slot {slot} is not known: {why}"))
        }
        Some(Standing { heard_to: None, why }) if is_named => {
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            Some(format!("nothing is claimed at the ledger {ledger} before it is heard{why}"))
        }
        _ if is_owed && !is_named => Some(format!(
            "nothing is claimed at the ledger {ledger}: compute it with `weft host {ledger} --compute`, or name it in `claim_at` \
             to believe what a quorum of its attestors signs; until then the newest {KEPT_EACH} pushes of each source are kept, \
             {KEPT_MAX} in all"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_why_claims_wait() {
        let ledger = Id([2; 32]);
        let standing = |heard_to, why: Option<&str>| Some(Standing { heard_to, why: why.map(str::to_owned) });
        let said = |standing, is_named| waits(ledger, standing, is_named, true).unwrap_or_default();
        assert_eq!(said(standing(Some(7), None), true), "");
        assert_eq!(waits(ledger, None, false, false), None, "nothing is owed");
        for unnamed in [None, standing(None, None), standing(Some(7), None)] {
            assert!(said(unnamed, false).contains("`claim_at`"));
        }
        assert!(said(standing(Some(7), Some("late")), true).contains("after slot 7 is not known: late"));
        let silent = said(standing(None, Some("nobody is there")), true);
        assert!(silent.ends_with("before it is heard: nobody is there"), "{silent}");
    }
}
