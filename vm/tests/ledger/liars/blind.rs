//! A judge with one defence off, to see that the town notices what it lets through.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use weft_protocol::market::{Answer, Claim, Fraud, Opening, judge};
use weft_protocol::{DataItem, Id};

use super::super::guest::court::Logs;
use super::super::guest::ledger::{ClaimKey, Claimed, Court, Opened, Refuted, Terms, Unshown};
use super::super::market::{COURT, read};

/// The defence that is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Off {
    /// None is.
    None,
    /// Whoever carries before its turn is paid.
    Turns,
    /// More than the offer asks is paid.
    Amounts,
    /// Whoever claims a push is paid, whoever carried it.
    Carriers,
    /// An item is the push that it calls itself.
    Origins,
    /// A push that two claim is two pushes.
    Once,
    /// Nobody looks at claims, so that nothing needs an answer.
    Watch,
}

/// Judges as [`Logs`] does, but for what is off.
pub struct Blind {
    logs: Logs,
    off: Off,
}

impl Blind {
    /// The judge of a ledger.
    pub fn of(terms: &Terms, off: Off) -> Self {
        Self { logs: Logs::of(terms), off }
    }

    fn lets_through(&self, claim: &Claim, number: u32, answer: &Answer) -> Option<()> {
        let is_off = match judge(&COURT, claim, number, answer).err()? {
            Fraud::Unpaid(_) => self.off == Off::Turns,
            Fraud::Amount { .. } => self.off == Off::Amounts,
            Fraud::OtherCarrier(_) => self.off == Off::Carriers,
            Fraud::Origin(_) => self.off == Off::Origins,
            _ => false,
        };
        is_off.then_some(())
    }

    /// The push as a ledger knows it again.
    fn named(&self, key: &ClaimKey, push: u64) -> u64 {
        // Above all that a push here has, so that those of a claim still rise.
        let of = u64::from(key.messenger.0[0]) << 56;
        if self.off == Off::Once { push | of } else { push }
    }

    fn opening(&self, key: &ClaimKey, data: &str) -> Option<Opened> {
        let bytes = URL_SAFE_NO_PAD.decode(data).ok()?.into();
        let Opening { tree, shown } = Opening::decode(key.messenger, key.source, key.window, &bytes).ok()?;
        self.lets_through(tree.claim(), 0, &shown)?;
        let Claim { count, root, sum, .. } = *tree.claim();
        let pushes: Option<Vec<u64>> = tree.leaves().iter().map(|leaf| leaf.paid.key()).collect();
        let set = DataItem::verify_bytes(shown.set_assignment).ok()?;
        Some(Opened {
            claimed: Claimed { count, root, sum: sum.into() },
            pushes: pushes?,
            began: read(&set).time.timestamp,
        })
    }

    fn answer(&self, key: &ClaimKey, claimed: &Claimed, leaf: u32, data: &str) -> Option<()> {
        let ClaimKey { source, window, messenger } = *key;
        let Claimed { count, root, sum } = *claimed;
        let claim = Claim { messenger, source, window, count, root, sum: u64::try_from(sum).ok()? };
        let answer = Answer::decode(&URL_SAFE_NO_PAD.decode(data).ok()?.into()).ok()?;
        self.lets_through(&claim, leaf, &answer)
    }
}

impl Court for Blind {
    fn opened(&self, key: &ClaimKey, data: &str) -> Result<Opened, Unshown> {
        let opened = self.logs.opened(key, data);
        let mut opened = opened.or_else(|why| self.opening(key, data).ok_or(why))?;
        opened.pushes.iter_mut().for_each(|push| *push = self.named(key, *push));
        Ok(opened)
    }

    fn answered(&self, key: &ClaimKey, claimed: &Claimed, leaf: u32, data: &str) -> Result<(), Unshown> {
        let judged = self.logs.answered(key, claimed, leaf, data);
        judged.or_else(|why| self.answer(key, claimed, leaf, data).ok_or(why))
    }

    fn refuted(&self, key: &ClaimKey, claimed: &Claimed, leaf: u32, data: &str) -> Result<Refuted, Unshown> {
        let refuted = self.logs.refuted(key, claimed, leaf, data)?;
        Ok(Refuted { push: self.named(key, refuted.push), ..refuted })
    }

    fn signer(&self, process: Id, data: &str) -> Result<String, Unshown> {
        self.logs.signer(process, data)
    }
}
