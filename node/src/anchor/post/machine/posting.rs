//! One posting: what each answer makes of it.

use weft_protocol::{Effects, Hash, Id, Now};

use super::super::quorum::{Told, Verdict, agreed, reached, verdict};
use super::super::spending::with_margin;
use super::{ANCHOR_BLOCKS, ANCHOR_DEPTH, Effect, Held, Pays, Policy, Poster, Quote, Terms, Took, Trouble};

/// Times that a rest is doubled.
const DOUBLINGS_MAX: u32 = 4;
/// Times that something fails here: then the bundle of a posting may be gone, or one of its batches damaged.
const BUILDS_MAX: u32 = 3;

/// How far a posting is. What is in it lies on disk too, but for `Parts`.
#[derive(Debug)]
pub(super) enum Stage {
    /// Batches alone.
    Parts,
    /// A bundle.
    Built,
    /// Signed.
    Signed {
        /// The transaction.
        tx: Id,
        /// The last height at which a block may hold it.
        expires: Option<u64>,
    },
}

#[derive(Debug)]
pub(super) struct Posting {
    pub(super) parts: Vec<Hash>,
    pub(super) bytes: u64,
    pub(super) stage: Stage,
    /// An effect of its is not answered.
    pub(super) busy: bool,
    pub(super) rests_until: Now,
    /// Rests without a step forward.
    tries: u32,
    pub(super) trouble: Option<Trouble>,
    /// Height and confirmations of its block, as a quorum says.
    pub(super) mined: Option<(u64, u64)>,
    /// To which gateways it is to be posted.
    pub(super) post_to: Option<Vec<usize>>,
    /// Its bundle, which was on disk, is to be made of its batches once more: the same bytes.
    pub(super) again: bool,
    /// What is being signed.
    terms: Option<Terms>,
    /// The block that it is final in, while its bytes are read back.
    place: Option<(u64, String)>,
}

impl Posting {
    pub(super) const fn new(parts: Vec<Hash>, bytes: u64, stage: Stage) -> Self {
        Self {
            parts,
            bytes,
            stage,
            busy: false,
            rests_until: Now(0),
            tries: 0,
            trouble: None,
            mined: None,
            post_to: None,
            again: false,
            terms: None,
            place: None,
        }
    }

    /// One of an earlier life. Nobody knows who heard of it, so all do, again.
    pub(super) fn held(Held { parts, bytes, signed }: Held, policy: &Policy) -> Self {
        let stage = signed.map_or(Stage::Built, |(tx, expires)| Stage::Signed { tx, expires });
        let post_to = signed.filter(|(_, expires)| !is_bundlers(*expires, policy)).map(|_| policy.takers());
        Self { post_to, ..Self::new(parts, bytes, stage) }
    }

    pub(super) const fn tx(&self) -> Option<Id> {
        match self.stage {
            Stage::Signed { tx, .. } => Some(tx),
            Stage::Parts | Stage::Built => None,
        }
    }

    pub(super) fn built(&mut self, bytes: u64) {
        (self.bytes, self.tries, self.trouble) = (bytes, 0, None);
        if !std::mem::take(&mut self.again) {
            self.stage = Stage::Built;
        }
    }

    /// Waits, longer each time that nothing came of it.
    pub(super) fn rest(&mut self, trouble: Option<Trouble>, ask_ms: u64, now: Now) {
        self.trouble = trouble;
        self.rests_until = now.plus_ms(ask_ms << self.tries.min(DOUBLINGS_MAX));
        self.tries = self.tries.saturating_add(1);
    }

    /// Goes on as usual.
    fn go_on(&mut self, ask_ms: u64, now: Now) {
        (self.tries, self.trouble) = (0, None);
        self.rests_until = now.plus_ms(ask_ms);
    }
}

impl Poster {
    /// Chooses the fee, and the block that the transaction names.
    pub(super) fn quoted(
        &mut self,
        number: u64,
        quotes: &[Option<Quote>],
        now: Now,
        effects: &mut Effects<Effect>,
    ) {
        let quorum = self.policy.quorum;
        let of = |what: fn(&Quote) -> u64| reached(quotes.iter().flatten().map(what), quorum);
        let price = of(|quote| quote.price);
        let told = price.zip(of(|quote| quote.balance)).zip(of(|quote| quote.height));
        let Some(((price, balance), height)) = told else {
            return self.give_up(number, Trouble::Gateways, now);
        };
        let Pays::Wallet { margin_percent, day_limit } = self.policy.pays else {
            return self.give_up(number, Trouble::Fault, now);
        };
        let reward = with_margin(price, margin_percent);
        let today = self.spent.as_of(now);
        let spent = today.and(reward, now);
        if spent.winston > day_limit {
            let limit = Trouble::Limit { spent: today.winston, needs: reward, limit: day_limit };
            self.give_up(number, limit, now);
            // A new day begins when it does, and not after a long rest.
            if let Some(posting) = self.postings.get_mut(&number) {
                posting.rests_until = posting.rests_until.min(now.plus_ms(today.rest_of_day_ms(now)));
            }
            return;
        }
        if reward > balance {
            return self.give_up(number, Trouble::Balance { has: balance, needs: reward }, now);
        }
        let height = height.saturating_sub(ANCHOR_DEPTH);
        let expires = Some(height.saturating_add(ANCHOR_BLOCKS));
        let Some(posting) = self.postings.get_mut(&number) else { return };
        posting.terms = Some(Terms { reward, anchor: None, expires, spent });
        effects.push(Effect::Block { number, height });
    }

    /// Has it signed, if enough gateways name the same block.
    pub(super) fn blocks(
        &mut self,
        number: u64,
        blocks: Vec<Option<String>>,
        now: Now,
        effects: &mut Effects<Effect>,
    ) {
        let anchor = agreed(blocks.into_iter().flatten(), self.policy.quorum);
        let Some(posting) = self.postings.get_mut(&number) else { return };
        match (anchor, posting.terms.take()) {
            (Some(anchor), Some(terms)) => {
                let terms = Terms { anchor: Some(anchor), ..terms };
                posting.terms = Some(terms.clone());
                effects.push(Effect::Sign { number, terms });
            }
            _ => self.give_up(number, Trouble::Forked, now),
        }
    }

    /// It is on disk as signed: now it may be posted.
    pub(super) fn signed(&mut self, number: u64, tx: Id) {
        self.signing = self.signing.filter(|signing| *signing != number);
        let takers = self.policy.takers();
        let Some(posting) = self.answered(number) else { return };
        let terms = posting.terms.take();
        posting.stage = Stage::Signed { tx, expires: terms.as_ref().and_then(|terms| terms.expires) };
        (posting.tries, posting.trouble) = (0, None);
        posting.post_to = Some(takers);
        if let Some(terms) = terms {
            self.spent = terms.spent;
        }
    }

    pub(super) fn posted(&mut self, number: u64, took: &[Took], now: Now) {
        let ask_ms = self.policy.ask_ms;
        let Some(posting) = self.answered(number) else { return };
        if took.contains(&Took::All) {
            posting.go_on(ask_ms, now);
        } else {
            posting.rest(Some(Trouble::Refused), ask_ms, now);
        }
    }

    /// Goes on by what gateways say of the transaction.
    pub(super) fn told(
        &mut self,
        number: u64,
        told: &[Told],
        heights: &[Option<u64>],
        now: Now,
        effects: &mut Effects<Effect>,
    ) {
        let policy = self.policy;
        let height = reached(heights.iter().flatten().copied(), policy.quorum);
        // Heights of those that know of no block: a quorum must be that far *and* have seen none.
        let open = told.iter().zip(heights).filter(|(told, _)| matches!(told, Told::Unknown | Told::Pending));
        let open = reached(open.filter_map(|(_, height)| *height), policy.quorum);
        let Some(posting) = self.answered(number) else { return };
        let Stage::Signed { tx, expires } = posting.stage else { return };
        posting.mined = None;
        let found = verdict(told, policy.quorum, policy.confirmations);
        match found {
            Verdict::Final { height, block } => {
                posting.mined = Some((height, policy.confirmations));
                posting.place = Some((height, block));
                posting.busy = true;
                effects.push(Effect::Read { number, tx });
            }
            Verdict::Mined { height, confirmations } => {
                posting.mined = Some((height, confirmations));
                posting.go_on(policy.ask_ms, now);
            }
            Verdict::Open if has_lapsed(expires, open, policy.confirmations) => {
                posting.stage = Stage::Built;
                posting.rest(Some(Trouble::Lapsed), 0, now);
            }
            Verdict::Open if is_bundlers(expires, &policy) => {
                posting.stage = Stage::Built;
                posting.rest(Some(Trouble::Undelivered), 0, now);
            }
            Verdict::Open | Verdict::Unclear => {
                let unknown = told.iter().enumerate().filter(|(_, told)| **told == Told::Unknown);
                let unknown: Vec<usize> = unknown.map(|(at, _)| at).collect();
                let knowing = told.iter().filter(|told| matches!(told, Told::Pending | Told::Mined { .. }));
                // Nodes tell each other: once a quorum has it, the others need no second copy from here.
                let spreads = knowing.count() >= policy.quorum;
                let can_be_mined = expires.zip(height).is_none_or(|(expires, height)| height < expires);
                if spreads {
                    posting.go_on(policy.ask_ms, now);
                } else if unknown.is_empty() || !can_be_mined || is_bundlers(expires, &policy) {
                    let silent = told.iter().all(|told| *told == Told::Silent);
                    posting.rest(silent.then_some(Trouble::Gateways), policy.ask_ms, now);
                } else {
                    posting.rest(posting.trouble, policy.ask_ms, now);
                    posting.post_to = Some(match policy.pays {
                        Pays::Wallet { .. } => unknown,
                        Pays::Bundler => policy.takers(),
                    });
                }
            }
        }
    }

    /// Goes on where something failed too often. A bundle that may be gone is made again. Batches that come to no
    /// bundle are parted, until the one is found that is at fault: that one is made anew. So are all of a posting whose
    /// bundle cannot be made again, once no block can hold it.
    pub(super) fn mend(&mut self, number: u64, effects: &mut Effects<Effect>) {
        let posting = self.postings.get_mut(&number).filter(|posting| posting.tries >= BUILDS_MAX);
        let Some(posting) = posting else { return };
        let was_built = !matches!(posting.stage, Stage::Parts);
        if was_built && !posting.again {
            (posting.again, posting.tries) = (true, 0);
            return;
        }
        if matches!(posting.stage, Stage::Signed { .. }) {
            // A block may hold it all the same.
            posting.again = false;
            return;
        }
        let Some(Posting { mut parts, .. }) = self.postings.remove(&number) else { return };
        if parts.len() > 1 && !was_built {
            let rest = parts.split_off(parts.len() / 2);
            self.put(Posting::new(parts, 0, Stage::Parts));
            self.put(Posting::new(rest, 0, Stage::Parts));
            return;
        }
        for part in &parts {
            self.known.remove(part);
        }
        effects.push(Effect::LetGo { number, parts });
    }

    /// Has it stored as final, if its bytes came back.
    pub(super) fn read(&mut self, number: u64, holds: bool, now: Now, effects: &mut Effects<Effect>) {
        let policy = self.policy;
        let Some(posting) = self.answered(number) else { return };
        match posting.place.take() {
            Some((height, block)) if holds => {
                posting.busy = true;
                effects.push(Effect::Settle { number, height, block });
            }
            _ => {
                posting.rest(Some(Trouble::Unseeded), policy.ask_ms, now);
                posting.post_to = Some(policy.takers());
            }
        }
    }
}

/// Whether a bundler was given it, where a wallet pays now. It can only be waited for, and is paid by the wallet
/// once a quorum says that no block holds it.
const fn is_bundlers(expires: Option<u64>, policy: &Policy) -> bool {
    expires.is_none() && matches!(policy.pays, Pays::Wallet { .. })
}

/// Whether every block that could hold it is deeper than a block is ever replaced.
fn has_lapsed(expires: Option<u64>, height: Option<u64>, confirmations: u64) -> bool {
    let passed = |(expires, height): (u64, u64)| height >= expires.saturating_add(confirmations);
    expires.zip(height).is_some_and(passed)
}
