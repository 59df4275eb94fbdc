//! Messages of this node to a ledger. Each is the same bytes however often it is made, so it has one slot, and the ledger
//! hears it once: so it names what it is about, or it would be taken for one about something else that was heard long ago.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use weft_protocol::crypto::Signer;
use weft_protocol::data_item::ItemError;
use weft_protocol::{Address, DataItem, Draft, Id, Tag, Verified};
use weft_storage::ClaimKey;

/// What the ledger is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Take this claim.
    Claim(ClaimKey),
    /// Take the answer for a leaf of a claim of this messenger.
    Answer {
        /// Which claim.
        key: ClaimKey,
        /// Which leaf.
        leaf: u32,
        /// The ledger's slot at which it is due: a leaf may be challenged again.
        due: u64,
    },
    /// Have a leaf of somebody's claim shown.
    Challenge {
        /// Whose claim.
        messenger: Address,
        /// On which source.
        source: Id,
        /// For which window.
        window: u64,
        /// Which leaf.
        leaf: u32,
        /// The message that made the claim: one that was lost may be made again.
        item: Id,
    },
    /// Let a slot pass.
    Settle,
}

/// A message to a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The ledger.
    pub ledger: Id,
    /// What it asks.
    pub ask: Ask,
    /// How many like it were answered before.
    pub tries: u64,
    /// What it shows.
    pub data: Vec<u8>,
}

impl Letter {
    fn tags(&self, me: Address) -> Vec<(&'static str, String)> {
        let claim = |messenger: Option<Address>, source: Id, window: u64| {
            let messenger = messenger.map(|messenger| ("Messenger", messenger.to_string()));
            let of = [("Source", source.to_string()), ("Window", window.to_string())];
            messenger.into_iter().chain(of).collect::<Vec<_>>()
        };
        match &self.ask {
            Ask::Claim(ClaimKey { source, window, .. }) => claim(None, *source, *window),
            Ask::Answer { key: ClaimKey { source, window, .. }, leaf, .. } => {
                let mut tags = claim(Some(me), *source, *window);
                tags.push(("Leaf", leaf.to_string()));
                tags
            }
            Ask::Challenge { messenger, source, window, leaf, .. } => {
                let mut tags = claim(Some(*messenger), *source, *window);
                tags.push(("Leaf", leaf.to_string()));
                tags
            }
            Ask::Settle => Vec::new(),
        }
    }

    const fn action(&self) -> &'static str {
        match self.ask {
            Ask::Claim(_) => "Claim",
            Ask::Answer { .. } => "Answer",
            Ask::Challenge { .. } => "Challenge",
            Ask::Settle => "Settle",
        }
    }

    /// Signs it.
    ///
    /// # Errors
    /// A key that cannot sign.
    pub fn sign(&self, signer: &Signer) -> Result<Verified<DataItem>, ItemError> {
        let said = self.tags(signer.address());
        let mut tags = vec![
            Tag::new("Data-Protocol", "ao"),
            Tag::new("Variant", "ao.TN.1"),
            Tag::new("Type", "Message"),
            Tag::new("Action", self.action()),
        ];
        tags.extend(said.into_iter().map(|(name, value)| Tag::new(name, value)));
        let (number, about) = match self.ask {
            Ask::Claim(key) => (key.number, Vec::new()),
            Ask::Answer { key, due, .. } => (key.number, due.to_be_bytes().to_vec()),
            Ask::Challenge { item, .. } => (0, item.0.to_vec()),
            Ask::Settle => (0, Vec::new()),
        };
        let words: String = tags.iter().map(|tag| format!("{}={}\n", tag.name, tag.value)).collect();
        let anchor = Sha256::new()
            .chain_update("weft/earn/1")
            .chain_update(self.ledger.0)
            .chain_update(number.to_be_bytes())
            .chain_update(self.tries.to_be_bytes())
            .chain_update(about)
            .chain_update(words);
        let data = URL_SAFE_NO_PAD.encode(&self.data).into();
        Draft { target: Some(self.ledger), anchor: Some(anchor.finalize().into()), tags, data }.sign(signer)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_letter_is_the_same_item_until_it_was_answered() {
        let signer = Signer::from_seed(&[1; 32]);
        let key = ClaimKey { source: Id([2; 32]), window: 3, number: 0 };
        let letter = Letter { ledger: Id([4; 32]), ask: Ask::Claim(key), tries: 0, data: b"x".to_vec() };
        let sign = |letter: &Letter| letter.sign(&signer).unwrap();
        assert_eq!(sign(&letter).id(), sign(&letter).id());
        let later = Letter { tries: 1, ..letter.clone() };
        let next = Letter { ask: Ask::Claim(ClaimKey { number: 1, ..key }), ..letter.clone() };
        let asked = |ask| Letter { ask, ..letter.clone() };
        let answer = |leaf, due| asked(Ask::Answer { key, leaf, due });
        let answers = [answer(0, 9), answer(1, 9), answer(1, 10)];
        let of_claim = |item| {
            let (messenger, source, window) = (Address([5; 32]), key.source, key.window);
            asked(Ask::Challenge { messenger, source, window, leaf: 0, item })
        };
        // The same false claim, made again, is challenged again.
        let challenges = [of_claim(Id([6; 32])), of_claim(Id([7; 32]))];
        let letters = [&letter, &later, &next].into_iter().chain(&answers).chain(&challenges);
        let mut ids: Vec<Id> = letters.map(|letter| sign(letter).id()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 8);

        let item = sign(&answers[1]);
        let tag = |name| item.tag(name).unwrap().to_owned();
        assert_eq!((tag("Action"), tag("Leaf"), tag("Window")), ("Answer".into(), "1".into(), "3".into()));
        assert_eq!(tag("Messenger"), signer.address().to_string());
        assert_eq!(item.data(), "eA");
        assert_eq!(item.target(), Some(letter.ledger));
    }
}
