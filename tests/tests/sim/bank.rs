//! The ledger that stands behind a season: the rules of the built-in one, looked at after every message.

use std::collections::BTreeMap;

use weft_protocol::{Address, Id, Tag};

use crate::fixture::{NETWORK, time_of};
use crate::guest::court::Logs;
use crate::guest::ledger::{Ledger, Message, Send, Terms};

/// The ledger's process.
pub const LEDGER: Id = Id([33; 32]);
/// Slots and seconds of a period: more than the messages of one round of claims.
const PERIOD: u64 = 1_000;
const TOKEN: Id = Id([200; 32]);

/// The ledger, funded by a token, with the judge of every node.
pub struct Bank {
    ledger: Ledger,
    terms: Terms,
    slot: u64,
    said: Vec<Send>,
}

/// The value of a tag.
pub fn value<'a>(send: &'a Send, name: &str) -> &'a str {
    weft_protocol::tag::first(&send.tags, name).unwrap_or_default()
}

impl Bank {
    /// A ledger that holds nothing.
    pub fn new() -> Self {
        let period = PERIOD.to_string();
        let tags = [
            Tag::new("Token", TOKEN.to_string()),
            Tag::new("Network", NETWORK.to_string()),
            Tag::new("Challenge-Slots", &*period),
            Tag::new("Challenge-Seconds", &*period),
        ];
        let terms = Terms::read(LEDGER, "owner", &tags).unwrap();
        Self { ledger: Ledger::new(), terms, slot: 0, said: Vec::new() }
    }

    /// A message, and its answer: whatever it asks for, all money is accounted for after it.
    pub fn send(&mut self, from: &str, action: &str, tags: &[(&str, &str)], data: &str) -> Send {
        self.slot += 1;
        let sends = self.handle(from, Some(self.slot), action, tags, data);
        let sums = self.ledger.sums();
        assert!(sums.conserve(), "{action} {tags:?}: {sums:?}");
        self.said.extend(sends.iter().cloned());
        sends.last().cloned().unwrap()
    }

    fn handle(
        &mut self,
        from: &str,
        slot: Option<u64>,
        action: &str,
        tags: &[(&str, &str)],
        data: &str,
    ) -> Vec<Send> {
        let mut all = vec![Tag::new("Action", action)];
        all.extend(tags.iter().map(|(name, value)| Tag::new(*name, *value)));
        let time = time_of(self.slot).timestamp;
        let message = Message { id: "m", from, tags: &all, data, slot, time };
        self.ledger.handle(&self.terms, &Logs::of(&self.terms), &message)
    }

    /// What was sent since this was asked last.
    pub fn said(&mut self) -> Vec<Send> {
        std::mem::take(&mut self.said)
    }

    /// Money from the token: into the hands of somebody, or into the escrow of a source.
    pub fn fund(&mut self, to: &str, escrow: Option<&str>, amount: u128) {
        let amount = amount.to_string();
        let mut tags = vec![("Sender", to), ("Quantity", &*amount)];
        tags.extend(escrow.map(|source| ("X-Escrow", source)));
        self.send(&TOKEN.to_string(), "Credit-Notice", &tags, "");
    }

    /// Lets the ledger's log come to the time of this slot of the source, if it is behind.
    pub fn reach(&mut self, slot: u64) {
        self.slot = self.slot.max(slot);
    }

    /// Lets so many periods pass.
    pub fn pass(&mut self, periods: u64) {
        for _ in 0..periods {
            self.slot += PERIOD;
            self.send("somebody", "Settle", &[], "");
        }
    }

    /// The bonds, as a node that schedules reads them: page by page, and changing nothing.
    pub fn bonds(&mut self) -> BTreeMap<Address, u64> {
        let (mut bonds, mut from) = (BTreeMap::new(), None::<String>);
        loop {
            let tags: Vec<(&str, &str)> = from.iter().map(|from| ("From-Messenger", from.as_str())).collect();
            let page = self.handle("somebody", None, "Bonds", &tags, "").pop().unwrap();
            let read: BTreeMap<String, String> = serde_json::from_str(&page.data).unwrap();
            for (by, bond) in read {
                bonds.insert(by.parse::<Address>().unwrap(), bond.parse::<u64>().unwrap());
            }
            match value(&page, "From-Messenger") {
                "" => return bonds,
                next => from = Some(next.to_owned()),
            }
        }
    }

    /// All that is bonded, leaving or not; all escrows; and what is open.
    pub fn held(&self) -> [u128; 3] {
        let sums = self.ledger.sums();
        [sums.bonds, sums.escrows, sums.claims + sums.deposits]
    }

    /// All that came in, and all that went out.
    pub fn moved(&self) -> [u128; 2] {
        let sums = self.ledger.sums();
        [sums.deposited, sums.withdrawn]
    }
}
