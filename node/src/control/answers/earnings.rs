//! What this node earned as a messenger: from its own disk, and from the ledgers that are computed here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use weft_protocol::Id;
use weft_storage::{ClaimKey, ClaimRow, ClaimState, Reader, StoreError};

use super::super::api::{ClaimInfo, EarningsInfo, Failure, LedgerEarnings};
use super::Answers;
use super::turns::blocking;
use crate::earn::{KEPT_EACH, KEPT_MAX, Look, Owing, owing};
use crate::market::ledger::ask_here;
use crate::shared::SharedRef;

/// Claims of one ledger in one answer: those that are open first, of each the last ones.
const CLAIMS_SHOWN_MAX: usize = 100;
/// Claims that are read at once.
const CLAIMS_PAGE: usize = 4_096;

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
        let mut ledgers = Vec::new();
        for (ledger, sums) in sums {
            ledgers.push(self.earnings_at(ledger, sums).await?);
        }
        Ok(EarningsInfo { messenger: self.shared.address, ledgers })
    }

    async fn earnings_at(&self, ledger: Id, sums: Sums) -> Result<LedgerEarnings, Failure> {
        let shared = &self.shared;
        let computed_here = shared.directory.roles(&ledger).is_some_and(|roles| roles.computes);
        let Sums { running, claimable, claimed, challenged, paid, lost, mut claims, mut over, mut notes } =
            sums;
        over.drain(..(over.len() + claims.len()).saturating_sub(CLAIMS_SHOWN_MAX).min(over.len()));
        claims.append(&mut over);
        let (mut balance, mut bonded) = (None, None);
        if computed_here {
            let asking = (ledger, shared.address);
            let me = shared.address.to_string();
            // Any process can be named as a ledger: one that is none is not in the way of the others.
            let mut said = Vec::new();
            for (action, tag) in [("Balance", "Recipient"), ("Bond-Of", "Messenger")] {
                let asked = ask_here(self, asking, action, &[(tag, me.clone())]).await;
                said.push(asked.map_err(|failure| notes.insert(failure.to_string())).ok());
            }
            (bonded, balance) = (said.pop().flatten(), said.pop().flatten());
        } else {
            notes.insert(format!(
                "nothing is claimed at a ledger that is not computed here: compute it with `weft host {ledger} --compute`; until \
                 then the newest {KEPT_EACH} pushes of each source are kept, {KEPT_MAX} in all"
            ));
        }
        let tag = |name: &str| bonded.as_ref().and_then(|bonded| bonded.tag(name)).map(str::to_owned);
        let bond = tag("Bond");
        if bond.as_deref() == Some("0") {
            notes.insert(format!("a claim needs a bond: `weft market bond {ledger} AMOUNT`"));
        }
        Ok(LedgerEarnings {
            ledger,
            computed_here,
            running: running.to_string(),
            claimable: claimable.to_string(),
            claimed: claimed.to_string(),
            challenged: challenged.to_string(),
            paid: paid.to_string(),
            lost: lost.to_string(),
            balance: balance.and_then(|balance| balance.tag("Balance").map(str::to_owned)),
            bond,
            locked: tag("Locked"),
            leaving: tag("Leaving"),
            claims: claims.into(),
            notes: notes.into_iter().collect(),
        })
    }
}
