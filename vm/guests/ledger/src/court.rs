//! What the bytes of two logs show: claims, answers and evidence by the rules of every node.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use weft_protocol::Id;
use weft_protocol::header::Header;
use weft_protocol::market::{self, Answer, Earlier, Opening, Paid};
use weft_protocol::push::ORIGIN_PROOF;

use super::ledger::{ClaimKey, Claimed, Court, Opened, Refuted, Terms, Unshown};

/// Judges by logs, as [`market::judge`] does.
#[derive(Debug)]
pub struct Logs(Option<market::Court>);

impl Logs {
    /// The judge of a ledger; without a network it judges nothing.
    pub fn of(terms: &Terms) -> Self {
        Self(terms.network.map(|network| market::Court { network, ledger: terms.process }))
    }

    fn court(&self) -> Result<&market::Court, Unshown> {
        self.0.as_ref().ok_or_else(|| Unshown("the ledger has no `Network` tag".into()))
    }
}

impl Court for Logs {
    fn opened(&self, key: &ClaimKey, data: &str) -> Result<Opened, Unshown> {
        let opening = Opening::decode(key.messenger, key.source, key.window, &decode(data)?);
        let Opening { tree, shown } = opening.map_err(unshown)?;
        let judged = market::judge(self.court()?, tree.claim(), 0, &shown).map_err(unshown)?;
        let pushes: Option<Vec<u64>> = tree.leaves().iter().map(|leaf| leaf.paid.key()).collect();
        let market::Claim { count, root, sum, .. } = *tree.claim();
        Ok(Opened {
            claimed: Claimed { count, root, sum: sum.into() },
            pushes: pushes.ok_or_else(no_push)?,
            began: judged.opened,
        })
    }

    fn answered(&self, key: &ClaimKey, claimed: &Claimed, leaf: u32, data: &str) -> Result<(), Unshown> {
        let answer = Answer::decode(&decode(data)?).map_err(unshown)?;
        market::judge(self.court()?, &claim(key, claimed)?, leaf, &answer).map(|_| ()).map_err(unshown)
    }

    fn refuted(&self, key: &ClaimKey, claimed: &Claimed, leaf: u32, data: &str) -> Result<Refuted, Unshown> {
        let earlier = Earlier::decode(&decode(data)?).map_err(unshown)?;
        let paid = market::refute(self.court()?, &claim(key, claimed)?, leaf, &earlier).map_err(unshown)?;
        let Paid { amount, .. } = paid;
        Ok(Refuted { push: paid.key().ok_or_else(no_push)?, amount: amount.into() })
    }

    fn signer(&self, process: Id, data: &str) -> Result<String, Unshown> {
        let header = Header::parse(&decode(data)?).map_err(unshown)?.verify().map_err(unshown)?;
        if header.id() != process {
            return Err(Unshown(format!("the data is the header of {}", header.id())));
        }
        // Whoever carried a spawn signed it; the owner is the process that asked for it.
        if header.tag(ORIGIN_PROOF).is_some() {
            return Err(Unshown("the source was spawned by a process, which owns it".into()));
        }
        Ok(header.owner_text())
    }
}

/// The claim that a ledger keeps in short.
fn claim(key: &ClaimKey, claimed: &Claimed) -> Result<market::Claim, Unshown> {
    let ClaimKey { source, window, messenger } = *key;
    // It was read from a claim of such a sum.
    let sum = u64::try_from(claimed.sum).map_err(unshown)?;
    Ok(market::Claim { messenger, source, window, count: claimed.count, root: claimed.root, sum })
}

/// Bytes that a message carries: its data is shown as text.
fn decode(data: &str) -> Result<Bytes, Unshown> {
    let bytes = URL_SAFE_NO_PAD.decode(data);
    bytes.map(Bytes::from).map_err(|_| Unshown("the data is not base64url without padding".into()))
}

/// No claim is read that has such a leaf.
fn no_push() -> Unshown {
    Unshown("there is no such push".into())
}

fn unshown(error: impl ToString) -> Unshown {
    Unshown(error.to_string())
}
