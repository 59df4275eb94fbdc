//! The rules by which batches are posted to a weave that costs money, and by which they are there to stay.
//!
//! Batches that wait are gathered into a *posting*: one bundle, one transaction. It is priced by what a quorum of
//! gateways asks, signed within the day's limit, and durable as signed before anybody hears of it. From then on that
//! one transaction is posted and asked for, whatever happens here.
//!
//! **What is paid twice.** A second transaction for the same bytes is signed only once a quorum of gateways, asked at one
//! time, says that no block holds the first, at a height at which every block that could have held it is deeper than a block
//! is ever replaced. So bytes are paid for twice only if a quorum says what is false, or the weave replaces
//! deeper blocks than `confirmations`; or where a wallet pays for what a bundler took and had not brought to a block
//! when its operator turned away from it.
//!
//! **What is final.** A quorum names the same block at least `confirmations` deep, and the bytes themselves came back from
//! a gateway: a transaction may be mined whose data nobody has.

mod effect;
mod posting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use weft_protocol::{Effects, Hash, Id, Machine, Now};
use weft_storage::limits::{BATCH_BYTES_MAX, BATCH_ITEMS_MAX, POSTING_PARTS_MAX};

use super::quorum::Told;
use super::spending::Spent;
pub use effect::{Effect, Terms, Trouble};
use posting::{Posting, Stage};

/// Postings that are on their way at once: more batches wait.
pub const POSTINGS_MAX: usize = 64;
/// Blocks for which a transaction is good after the block that it names.
pub const ANCHOR_BLOCKS: u64 = 50;
/// How far below the newest block that block is, so that gateways which are not equally far know it.
pub const ANCHOR_DEPTH: u64 = 2;

/// Who is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pays {
    /// The weave, by a wallet.
    Wallet {
        /// Added to what gateways ask.
        margin_percent: u64,
        /// What may be signed for in a day, in winston.
        day_limit: u64,
    },
    /// A bundler, in its own way: the same item is the same item however often it gets it.
    Bundler,
}

/// How batches are posted.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// How many gateways are asked.
    pub gateways: usize,
    /// How many of them must say the same.
    pub quorum: usize,
    /// Blocks under which a block stays, itself included.
    pub confirmations: u64,
    /// Between two questions after one posting, in milliseconds.
    pub ask_ms: u64,
    /// How long a batch waits for others, in milliseconds.
    pub gather_ms: u64,
    /// Who is paid.
    pub pays: Pays,
}

impl Policy {
    /// Whom a posting is handed to, by number: every gateway, or the one bundler.
    fn takers(&self) -> Vec<usize> {
        match self.pays {
            Pays::Wallet { .. } => (0..self.gateways).collect(),
            Pays::Bundler => vec![0],
        }
    }
}

/// What a gateway says of prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// For the bytes that were asked about, in winston.
    pub price: u64,
    /// What the wallet has.
    pub balance: u64,
    /// The height of its newest block.
    pub height: u64,
}

/// What became of posting to one gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Took {
    /// It has the transaction and its data.
    All,
    /// Not now, or not all of it.
    NotNow,
    /// It says that it will not.
    Refused,
}

/// A posting on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its batches.
    pub parts: Vec<Hash>,
    /// Bytes of its bundle.
    pub bytes: u64,
    /// What was signed, and the last height at which a block may hold it.
    pub signed: Option<(Id, Option<u64>)>,
}

/// What the driver hears. A posting has a number of this life.
#[derive(Debug)]
pub enum Input {
    /// A batch lies on disk and is in no posting.
    Waits {
        /// Which.
        batch: Hash,
        /// Bytes of its bundle.
        bytes: u64,
        /// Items in it.
        items: u64,
    },
    /// A posting of an earlier life lies on disk. It gets the next number.
    Held(Held),
    /// The bundle of a posting is on disk.
    Built {
        /// Which.
        number: u64,
        /// Bytes of the bundle.
        bytes: u64,
    },
    /// What each gateway asks for it.
    Quoted {
        /// Which.
        number: u64,
        /// By gateway.
        quotes: Vec<Option<Quote>>,
    },
    /// What each gateway calls the block.
    Blocks {
        /// For which posting.
        number: u64,
        /// By gateway.
        blocks: Vec<Option<String>>,
    },
    /// It is on disk as signed.
    Signed {
        /// Which.
        number: u64,
        /// The transaction.
        tx: Id,
    },
    /// It was posted.
    Posted {
        /// Which.
        number: u64,
        /// What became of it.
        took: Vec<Took>,
    },
    /// What each gateway says of it, and its height.
    Told {
        /// Which.
        number: u64,
        /// By gateway.
        told: Vec<Told>,
        /// By gateway.
        heights: Vec<Option<u64>>,
    },
    /// Whether its bytes came back.
    Read {
        /// Of which.
        number: u64,
        /// They did.
        holds: bool,
    },
    /// It is on disk as final.
    Settled {
        /// Which.
        number: u64,
    },
    /// What was asked for could not be done here.
    Failed {
        /// For which posting.
        number: u64,
    },
    /// Somebody wants whatever waits to be posted now.
    Flush,
    /// Time passed.
    Tick,
}

/// A batch that waits for others.
#[derive(Debug)]
struct Waiting {
    batch: Hash,
    bytes: u64,
    items: u64,
    since: Now,
}

/// Drives the postings of a node.
#[derive(Debug)]
pub struct Poster {
    policy: Policy,
    spent: Spent,
    waiting: VecDeque<Waiting>,
    /// Batches that wait or are in a posting of this life.
    known: BTreeSet<Hash>,
    postings: BTreeMap<u64, Posting>,
    next: u64,
    /// The posting that is being priced and signed: one after the other, so that each knows what all before it cost.
    signing: Option<u64>,
    flush: bool,
}

/// A posting, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its number in this life.
    pub number: u64,
    /// Its transaction, once there is one.
    pub tx: Option<Id>,
    /// Why it does not go on, if something is wrong.
    pub trouble: Option<Trouble>,
    /// Height and confirmations, as a quorum says.
    pub mined: Option<(u64, u64)>,
}

impl Poster {
    /// A driver that knows what was spent.
    pub const fn new(policy: Policy, spent: Spent) -> Self {
        Self {
            policy,
            spent,
            waiting: VecDeque::new(),
            known: BTreeSet::new(),
            postings: BTreeMap::new(),
            next: 0,
            signing: None,
            flush: false,
        }
    }

    /// What was signed for, and in which day.
    pub const fn spent(&self) -> Spent {
        self.spent
    }

    /// Batches that wait to be gathered.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a batch waits or is on its way.
    pub fn knows(&self, batch: &Hash) -> bool {
        self.known.contains(batch)
    }

    /// Every posting on its way.
    pub fn views(&self) -> impl Iterator<Item = View> {
        self.postings.iter().map(|(number, posting)| View {
            number: *number,
            tx: posting.tx(),
            trouble: posting.trouble,
            mined: posting.mined,
        })
    }

    fn put(&mut self, posting: Posting) -> u64 {
        let number = self.next;
        self.next += 1;
        self.known.extend(posting.parts.iter().copied());
        self.postings.insert(number, posting);
        number
    }

    /// Makes postings of batches that waited long enough, or are enough for one.
    fn gather(&mut self, now: Now) {
        while self.postings.len() < POSTINGS_MAX {
            let Some(oldest) = self.waiting.front() else {
                self.flush = false;
                return;
            };
            let all: u64 = self.waiting.iter().map(|one| one.bytes).sum();
            let is_ripe = oldest.since.plus_ms(self.policy.gather_ms) <= now;
            if !self.flush && !is_ripe && all < BATCH_BYTES_MAX as u64 {
                return;
            }
            let (mut parts, mut bytes, mut items) = (Vec::new(), 0, 0);
            while let Some(one) = self.waiting.front() {
                (bytes, items) = (bytes + one.bytes, items + one.items);
                let fits = bytes <= BATCH_BYTES_MAX as u64 && items <= BATCH_ITEMS_MAX as u64;
                // One alone fits, or it were no batch.
                if parts.len() >= POSTING_PARTS_MAX || (!fits && !parts.is_empty()) {
                    break;
                }
                parts.push(one.batch);
                self.waiting.pop_front();
            }
            self.put(Posting::new(parts, 0, Stage::Parts));
        }
    }

    /// Does what is next for a posting, if anything is.
    fn step(&mut self, number: u64, now: Now, effects: &mut Effects<Effect>) {
        let Some(posting) = self.postings.get_mut(&number) else { return };
        if posting.busy || posting.rests_until > now {
            return;
        }
        let effect = match &posting.stage {
            Stage::Parts => Effect::Build { number, parts: posting.parts.clone() },
            _ if posting.again => Effect::Build { number, parts: posting.parts.clone() },
            Stage::Built if self.signing.is_some() => return,
            Stage::Built => {
                self.signing = Some(number);
                match self.policy.pays {
                    Pays::Wallet { .. } => Effect::Quote { number, bytes: posting.bytes },
                    Pays::Bundler => {
                        let spent = self.spent.as_of(now);
                        Effect::Sign {
                            number,
                            terms: Terms { reward: 0, anchor: None, expires: None, spent },
                        }
                    }
                }
            }
            Stage::Signed { tx, .. } => match posting.post_to.take() {
                Some(to) => Effect::Post { number, to },
                None => Effect::Ask { number, tx: *tx },
            },
        };
        posting.busy = true;
        effects.push(effect);
    }

    /// Ends what a posting was doing. None of one that is not there.
    fn answered(&mut self, number: u64) -> Option<&mut Posting> {
        let posting = self.postings.get_mut(&number)?;
        posting.busy = false;
        Some(posting)
    }

    /// Lets the posting rest that was being signed, and the next one try.
    fn give_up(&mut self, number: u64, trouble: Trouble, now: Now) {
        self.signing = self.signing.filter(|signing| *signing != number);
        let ask_ms = self.policy.ask_ms;
        if let Some(posting) = self.answered(number) {
            posting.rest(Some(trouble), ask_ms, now);
        }
    }
}

impl Machine for Poster {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, input: Input, now: Now, effects: &mut Effects<Effect>) {
        let number = match input {
            Input::Waits { batch, bytes, items } => {
                if self.known.insert(batch) {
                    self.waiting.push_back(Waiting { batch, bytes, items, since: now });
                }
                return;
            }
            Input::Held(held) => self.put(Posting::held(held, &self.policy)),
            Input::Built { number, bytes } => {
                if let Some(posting) = self.answered(number) {
                    posting.built(bytes);
                }
                number
            }
            Input::Quoted { number, quotes } => return self.quoted(number, &quotes, now, effects),
            Input::Blocks { number, blocks } => return self.blocks(number, blocks, now, effects),
            Input::Signed { number, tx } => {
                self.signed(number, tx);
                number
            }
            Input::Posted { number, took } => {
                self.posted(number, &took, now);
                number
            }
            Input::Told { number, told, heights } => {
                self.told(number, &told, &heights, now, effects);
                number
            }
            Input::Read { number, holds } => return self.read(number, holds, now, effects),
            Input::Settled { number } => {
                if let Some(posting) = self.postings.remove(&number) {
                    for part in posting.parts {
                        self.known.remove(&part);
                    }
                }
                return;
            }
            Input::Failed { number } => {
                self.give_up(number, Trouble::Fault, now);
                self.mend(number, effects);
                number
            }
            Input::Flush => {
                self.flush = true;
                return self.tick(now, effects);
            }
            Input::Tick => return self.tick(now, effects),
        };
        self.step(number, now, effects);
    }
}

impl Poster {
    fn tick(&mut self, now: Now, effects: &mut Effects<Effect>) {
        self.gather(now);
        let numbers: Vec<u64> = self.postings.keys().copied().collect();
        for number in numbers {
            self.step(number, now, effects);
        }
    }
}

#[cfg(test)]
mod tests;
