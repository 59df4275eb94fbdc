//! The ledger: a token's balances, escrows of sources, bonds of messengers, and claims that wait
//! for challenges. It is a pure state machine: a message and its slot in, messages to send out.
//!
//! It moves money and never makes any. After every message
//!
//! > balances + escrows + bonds + sums of open claims + deposits of open challenges + withdrawn = deposited,
//!
//! which `Audit` counts out. What is deposited is checked against 128 bits, and everything else is
//! a part of that: sums of parts are not checked again, and one that overflowed would trap, which
//! undoes the message.
//!
//! A request is checked whole before anything changes, so one that is refused leaves no trace but
//! its answer. What becomes due (a claim's pay, an absent answer, a bond that leaves, an escrow's
//! release, a window's end) happens before the next message, whatever that is.

mod audit;
mod claims;
mod due;
pub mod limits;
mod money;
mod refusal;
mod stakes;
mod token;
mod windows;

use std::collections::BTreeMap;

use weft_protocol::tag::{self, Tag};
use weft_protocol::{Address, Id, Network};

pub use claims::{Claim, ClaimKey, Claimed, Opened, Refuted};
pub use due::Moment;
use due::{Due, Dues};
use limits::{
    CHALLENGE_SECONDS, CHALLENGE_SECONDS_MAX, CHALLENGE_SLOTS, CHALLENGE_SLOTS_MAX, CHALLENGE_SLOTS_MIN,
    DUE_MAX,
};
pub use money::Account;
use money::Balances;
pub use refusal::Refusal;
use stakes::{Bond, Escrow};

/// Bytes of a tag that a refusal repeats: of an id, an address or a number.
const NAMED_BYTES_MAX: usize = 43;

/// What the ledger's Process item says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The ledger's process.
    pub process: Id,
    /// Its owner, who mints where no token funds it.
    pub owner: String,
    /// The token that funds it (`Token`).
    pub token: Option<Id>,
    /// The network whose claims it judges (`Network`: its id, 8 hexadecimal digits); none if it judges none.
    pub network: Option<Network>,
    /// Slots to challenge a claim, and to answer (`Challenge-Slots`).
    pub challenge_slots: u64,
    /// Milliseconds that pass meanwhile too (`Challenge-Seconds`).
    pub challenge_ms: u64,
    /// `Name`, `Ticker`, `Denomination` and `Logo`, as `Info` shows them.
    pub shown: Vec<Tag>,
}

impl Terms {
    /// Reads the Process item, as its module is shown it.
    ///
    /// # Errors
    /// The tag that says nothing: such a ledger answers nobody.
    pub fn read(process: Id, owner: &str, tags: &[Tag]) -> Result<Self, Refusal> {
        let token = tag::first(tags, "Token").map(str::parse).transpose();
        let network = match tag::first(tags, "Network") {
            None => None,
            Some(text) => {
                Some(network(text).ok_or(Refusal::Terms("Network", "the 8 digits of a network's id"))?)
            }
        };
        let challenge_slots = match tag::first(tags, "Challenge-Slots") {
            None => CHALLENGE_SLOTS,
            Some(text) => number(text)
                .filter(|slots| (CHALLENGE_SLOTS_MIN..=CHALLENGE_SLOTS_MAX).contains(slots))
                .ok_or(Refusal::challenge_slots())?,
        };
        let challenge_seconds = match tag::first(tags, "Challenge-Seconds") {
            None => CHALLENGE_SECONDS,
            Some(text) => number(text)
                .filter(|seconds| (1..=CHALLENGE_SECONDS_MAX).contains(seconds))
                .ok_or(Refusal::challenge_seconds())?,
        };
        let shown = [("Name", "Ledger"), ("Ticker", "LEDGER"), ("Denomination", "12"), ("Logo", "")];
        let shown = shown.map(|(name, value)| Tag::new(name, tag::first(tags, name).unwrap_or(value)));
        Ok(Self {
            process,
            owner: owner.to_owned(),
            token: token.map_err(|_| Refusal::Terms("Token", "the id of a process"))?,
            network,
            challenge_slots,
            challenge_ms: 1_000 * challenge_seconds,
            shown: shown.into_iter().filter(|tag| !tag.value.is_empty()).collect(),
        })
    }
}

/// A message, as the node shows it: `from` is proven, tags and data are the sender's words.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Its id.
    pub id: &'a str,
    /// Whom it is from.
    pub from: &'a str,
    /// Its tags.
    pub tags: &'a [Tag],
    /// Its data.
    pub data: &'a str,
    /// Its slot; none in a dry run, which is read at the last one.
    pub slot: Option<u64>,
    /// The timestamp of its assignment, in milliseconds.
    pub time: u64,
}

/// What only bytes and signatures show.
pub trait Court {
    /// Reads what opens a claim, and judges its first leaf.
    ///
    /// # Errors
    /// What is wrong with the leaves, alone or together, or why the first is not owed.
    fn opened(&self, key: &ClaimKey, data: &str) -> Result<Opened, Unshown>;

    /// Judges the answer to the challenge of a leaf.
    ///
    /// # Errors
    /// Why it does not show that the leaf is owed.
    fn answered(&self, key: &ClaimKey, claim: &Claimed, leaf: u32, data: &str) -> Result<(), Unshown>;

    /// Judges what is shown against a leaf.
    ///
    /// # Errors
    /// Why it does not show that the leaf is not owed.
    fn refuted(&self, key: &ClaimKey, claim: &Claimed, leaf: u32, data: &str) -> Result<Refuted, Unshown>;

    /// Who signed a Process item, by its header; only if that is its owner.
    ///
    /// # Errors
    /// Why it is not.
    fn signer(&self, process: Id, data: &str) -> Result<String, Unshown>;
}

/// Why something is not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unshown(pub String);

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// To whom.
    pub target: String,
    /// Its tags, `Action` first.
    pub tags: Vec<Tag>,
    /// Its data.
    pub data: String,
}

impl Send {
    fn new(target: impl ToString, action: &str) -> Self {
        Self { target: target.to_string(), tags: vec![Tag::new("Action", action)], data: String::new() }
    }

    fn tag(mut self, name: &str, value: impl ToString) -> Self {
        self.tags.push(Tag::new(name, value.to_string()));
        self
    }

    /// Says when something becomes due: in slots and in time.
    fn due(self, due: Moment) -> Self {
        self.tag("Due", due.slot).tag("Due-Time", due.time)
    }

    fn with(mut self, tags: &[Tag]) -> Self {
        self.tags.extend_from_slice(tags);
        self
    }

    fn data(self, data: String) -> Self {
        Self { data, ..self }
    }
}

/// All that lasts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    now: Moment,
    deposited: u128,
    withdrawn: u128,
    balances: Balances,
    escrows: BTreeMap<Id, Escrow>,
    bonds: BTreeMap<Address, Bond>,
    claims: BTreeMap<ClaimKey, Claim>,
    /// How many challenges are open, of all claims.
    challenges: usize,
    dues: Dues,
}

/// A request: who asks, in which words, on what terms.
struct Call<'a> {
    terms: &'a Terms,
    court: &'a dyn Court,
    message: &'a Message<'a>,
    action: &'a str,
}

impl<'a> Call<'a> {
    /// The account of the sender.
    fn from(&self) -> Result<Account, Refusal> {
        Account::read("From", self.message.from)
    }

    fn find(&self, name: &str) -> Option<&'a str> {
        tag::first(self.message.tags, name)
    }

    fn text(&self, name: &'static str) -> Result<&'a str, Refusal> {
        self.find(name).ok_or(Refusal::Missing(name))
    }

    fn account(&self, name: &'static str) -> Result<Account, Refusal> {
        Account::read(name, self.text(name)?)
    }

    fn process(&self, name: &'static str) -> Result<Id, Refusal> {
        self.text(name)?.parse().map_err(|_| Refusal::NotAProcess(name))
    }

    fn number(&self, name: &'static str) -> Result<u64, Refusal> {
        number(self.text(name)?).ok_or(Refusal::NotANumber(name))
    }

    fn quantity(&self) -> Result<u128, Refusal> {
        money::quantity(self.text("Quantity")?)
    }

    /// Data that says something: a message of a process that has none is given a space.
    fn data(&self) -> &'a str {
        self.message.data.trim_ascii()
    }

    /// The answer to the sender, under the request's own name, with the reference that he gave.
    fn answer(&self, kind: &str) -> Send {
        let answer = Send::new(self.message.from, &format!("{}-{kind}", self.action));
        match self.find("Reference") {
            Some(reference) => answer.tag("X-Reference", reference),
            None => answer,
        }
    }
}

impl Call<'_> {
    /// The answer to a request that changes nothing. It names what it is about, as the answer to one that does.
    fn refuse(&self, refusal: &Refusal) -> Send {
        let mut answer = self.answer("Error").tag("Message-Id", self.message.id).tag("Error", refusal);
        for name in ["Messenger", "Source", "Window", "Leaf"] {
            if let Some(value) = self.find(name).filter(|value| value.len() <= NAMED_BYTES_MAX) {
                answer = answer.tag(name, value);
            }
        }
        if let Refusal::Taken { leaves, paid } = refusal {
            let list = |leaves: &[u32]| leaves.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            answer = answer.tag("Taken", list(leaves));
            if !paid.is_empty() {
                answer = answer.tag("Paid", list(paid));
            }
        }
        if refusal.is_final() {
            answer = answer.tag("Final", true);
        }
        answer.data(refusal.to_string())
    }
}

impl Ledger {
    /// A ledger that holds nothing.
    pub const fn new() -> Self {
        Self {
            now: Moment { slot: 0, time: 0 },
            deposited: 0,
            withdrawn: 0,
            balances: Balances::new(),
            escrows: BTreeMap::new(),
            bonds: BTreeMap::new(),
            claims: BTreeMap::new(),
            challenges: 0,
            dues: Dues::new(),
        }
    }

    /// Takes a message: what is due first, then what it asks for. The answer to the sender comes
    /// last. Whatever it does not know it leaves unanswered, so that no two processes
    /// answer each other for ever.
    pub fn handle(&mut self, terms: &Terms, court: &dyn Court, message: &Message<'_>) -> Vec<Send> {
        // A dry run has the time that its asker likes.
        if let Some(slot) = message.slot {
            self.now = Moment { slot: self.now.slot.max(slot), time: self.now.time.max(message.time) };
        }
        let mut sends = self.make_due();
        let Some(action) = tag::first(message.tags, "Action") else { return sends };
        let call = Call { terms, court, message, action };
        match self.act(&call) {
            Ok(done) => sends.extend(done),
            Err(refusal) => sends.push(call.refuse(&refusal)),
        }
        sends
    }

    fn act(&mut self, call: &Call<'_>) -> Result<Vec<Send>, Refusal> {
        match call.action {
            "Info" => Ok(self.info(call)),
            "Balance" => self.balance(call),
            "Balances" => self.list_balances(call),
            "Transfer" => self.transfer(call),
            "Mint" => self.mint(call),
            "Credit-Notice" => Ok(self.deposit(call)),
            "Withdraw" => self.withdraw(call),
            "Escrow" => self.escrow(call),
            "Escrow-Of" => self.escrow_of(call),
            "Release" => self.release(call),
            "Bond" => self.bond(call),
            "Unbond" => self.unbond(call),
            "Bond-Of" => self.bond_of(call),
            "Bonds" => self.list_bonds(call),
            "Claim" => self.claim(call),
            "Claim-Of" => self.claim_of(call),
            "Claims" => self.list_claims(call),
            "Challenge" => self.challenge(call),
            "Answer" => self.answer(call),
            // What is due was done before.
            "Settle" => {
                Ok(vec![call.answer("Response").tag("Slot", self.now.slot).tag("Time", self.now.time)])
            }
            "Audit" => Ok(self.audit(call)),
            _ => Ok(Vec::new()),
        }
    }

    /// Does what is due.
    fn make_due(&mut self) -> Vec<Send> {
        let mut sends = Vec::new();
        for _ in 0..DUE_MAX {
            let Some(due) = self.dues.take(self.now) else { break };
            match due {
                Due::Claim(key) => sends.extend(self.pay_claim(&key)),
                Due::Challenge(key, leaf) => sends.extend(self.end_challenge(&key, leaf)),
                Due::Release(source) => self.give_escrow(&source),
                Due::Unbond(messenger) => self.give_bond(&messenger),
                Due::Window(source, window) => self.close_before(&source, window),
            }
        }
        sends
    }
}

/// A network by its id, as `weft network show` prints it.
fn network(text: &str) -> Option<Network> {
    let network = u32::from_str_radix(text, 16).map(Network).ok()?;
    // One spelling, without a sign or letters of another case.
    (network.to_string() == text).then_some(network)
}

/// Decimal digits alone.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.len() <= 20 && text.bytes().all(|digit| digit.is_ascii_digit()))
}
