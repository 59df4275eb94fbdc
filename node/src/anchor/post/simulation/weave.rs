//! What the node asks for, done by a weave and gateways that are as they are; and what must hold in the end.

use super::*;

/// What the node asks for.
impl World {
    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Build { number, parts } => {
                if self.is_full() {
                    return self.answer(Input::Failed { number });
                }
                if self.rows.contains_key(&number) {
                    self.seen.mended += 1;
                    return self.answer(Input::Built { number, bytes: 10_000 });
                }
                if parts.iter().any(|part| !self.disk.posted.insert(*part)) {
                    self.violation(format!("a batch of {parts:?} is in two postings"));
                }
                let key = self.sequence;
                self.disk.postings.insert(key, Row { parts, ..Row::default() });
                self.rows.insert(number, key);
                self.answer(Input::Built { number, bytes: 10_000 });
            }
            // The anchor makes it anew, as the same bytes here.
            Effect::LetGo { number, parts } => {
                let row = self.rows.remove(&number).and_then(|key| self.disk.postings.remove(&key));
                if let Some((tx, _)) = row.and_then(|row| row.signed)
                    && (self.can_be_mined(&tx) || self.mined(&tx).is_some())
                {
                    self.violation(format!(
                        "a posting was forgotten whose transaction {tx} may be in a block"
                    ));
                }
                for batch in parts {
                    self.disk.posted.remove(&batch);
                    self.answer(Input::Waits { batch, bytes: 5_000, items: 10 });
                }
            }
            Effect::Quote { number, .. } => {
                let quotes = (0..self.moods.len()).map(|at| self.quote(at)).collect();
                self.answer(Input::Quoted { number, quotes });
            }
            Effect::Block { number, height } => {
                let blocks = (0..self.moods.len()).map(|at| self.block_at(at, height)).collect();
                self.answer(Input::Blocks { number, blocks });
            }
            Effect::Sign { number, terms } => self.sign(number, terms),
            Effect::Post { number, to } => {
                let Some((tx, _)) = self.disk.postings[&self.rows[&number]].signed else {
                    return self.violation(format!("posting {number} is posted and not signed on disk"));
                };
                let took = to.into_iter().map(|at| self.post(at, tx)).collect();
                self.answer(Input::Posted { number, took });
            }
            Effect::Ask { number, tx } => {
                let told = (0..self.moods.len()).map(|at| self.tell(at, &tx)).collect();
                let heights =
                    (0..self.moods.len()).map(|at| self.quote(at).map(|quote| quote.height)).collect();
                self.answer(Input::Told { number, told, heights });
            }
            Effect::Read { number, tx } => {
                let is_up = self.moods.contains(&Mood::Honest);
                let holds = (is_up && self.txs[&tx].seeded) || self.mutation == Mutation::ReadNothing;
                self.seen.unseeded += u64::from(is_up && !holds);
                self.answer(Input::Read { number, holds });
            }
            Effect::Settle { number, .. } => self.settle(number),
        }
    }

    fn sign(&mut self, number: u64, terms: Terms) {
        if self.is_full() {
            return self.answer(Input::Failed { number });
        }
        let mut name = [0; 32];
        name[..8].copy_from_slice(&(self.txs.len() as u64).to_be_bytes());
        let (tx, posting) = (Id(name), self.rows[&number]);
        let Terms { reward, anchor, expires, spent } = terms;
        self.txs.insert(tx, Tx { posting, reward, anchor: anchor.unwrap(), seeded: false });
        self.disk.postings.get_mut(&posting).unwrap().signed = Some((tx, expires));
        if self.mutation != Mutation::ForgetSpent {
            self.disk.spent = spent;
        }
        *self.signed.entry(spent.day).or_default() += reward;
        self.answer(Input::Signed { number, tx });
    }

    fn settle(&mut self, number: u64) {
        if self.is_full() {
            return self.answer(Input::Failed { number });
        }
        let key = self.rows[&number];
        let tx = self.disk.postings[&key].signed.unwrap().0;
        let depth = self.mined(&tx).map(|at| self.height() + 1 - at);
        if depth.is_none_or(|depth| depth < CONFIRMATIONS) || !self.txs[&tx].seeded {
            self.violation(format!("posting {key} is stored as final and is {depth:?} deep"));
        }
        self.disk.postings.get_mut(&key).unwrap().is_final = true;
        self.answer(Input::Settled { number });
    }

    /// Whether a gateway gives no answer.
    fn is_silent(&mut self, at: usize) -> bool {
        match self.moods[at] {
            Mood::Down => true,
            Mood::Slow => self.dice.percent(50),
            _ => false,
        }
    }

    fn quote(&mut self, at: usize) -> Option<Quote> {
        if self.is_silent(at) {
            return None;
        }
        let height = self.height();
        Some(match self.moods[at] {
            Mood::Liar => Quote {
                price: [0, u64::MAX][self.dice.roll(2) as usize],
                balance: [0, u64::MAX][self.dice.roll(2) as usize],
                height: [0, height + 100_000][self.dice.roll(2) as usize],
            },
            Mood::Forked(from) => Quote { price: FORK_PRICE, balance: 10_000_000, height: from + 5 },
            _ => Quote { price: PRICE, balance: 10_000_000, height },
        })
    }

    fn block_at(&mut self, at: usize, height: u64) -> Option<String> {
        if self.is_silent(at) {
            return None;
        }
        let name = self.chain.get(height as usize).map(|block| block.name.clone());
        match self.moods[at] {
            Mood::Liar => Some("a false block".into()),
            Mood::Forked(from) if height > from => Some(format!("fork {height}")),
            _ => name,
        }
    }

    fn tell(&mut self, at: usize, tx: &Id) -> Told {
        if self.is_silent(at) {
            return Told::Silent;
        }
        let lie = Told::Mined { height: 1, block: "a false block".into(), confirmations: 1_000 };
        let mined = self.mined(tx);
        let waits = if self.pool.contains(tx) { Told::Pending } else { Told::Unknown };
        match (self.moods[at], mined) {
            (Mood::Liar, _) => [Told::Unknown, Told::Pending, lie][self.dice.roll(3) as usize].clone(),
            (Mood::Forgetful, Some(_)) => Told::Unknown,
            (Mood::Forked(from), Some(height)) if height > from => Told::Unknown,
            (Mood::Forked(from), Some(height)) => {
                let block = self.chain[height as usize].name.clone();
                Told::Mined { height, block, confirmations: from + 6 - height }
            }
            (_, Some(height)) => {
                let block = self.chain[height as usize].name.clone();
                Told::Mined { height, block, confirmations: self.height() + 1 - height }
            }
            (_, None) => waits,
        }
    }

    fn post(&mut self, at: usize, tx: Id) -> Took {
        if self.is_silent(at) {
            return Took::NotNow;
        }
        match self.moods[at] {
            Mood::Liar | Mood::Forked(_) => return [Took::All, Took::Refused][self.dice.roll(2) as usize],
            _ => {}
        }
        if self.mined(&tx).is_none() {
            if !self.can_be_mined(&tx) || self.txs[&tx].reward < PRICE {
                return Took::Refused;
            }
            self.pool.insert(tx);
        }
        // The header is there; chunks may be lost.
        if !self.calm && self.dice.percent(30) {
            return Took::NotNow;
        }
        self.txs.get_mut(&tx).unwrap().seeded = true;
        Took::All
    }

    /// What must hold in the end.
    pub(super) fn judge(&mut self) {
        let mut paid: BTreeMap<u64, Vec<Id>> = BTreeMap::new();
        for tx in self.chain.iter().flat_map(|block| &block.txs) {
            paid.entry(self.txs[tx].posting).or_default().push(*tx);
        }
        for (posting, txs) in paid.iter().filter(|(_, txs)| txs.len() > 1) {
            let text = format!("posting {posting} was paid for {} times", txs.len());
            self.violations.push(text);
        }
        let Pays::Wallet { day_limit, .. } = self.policy.pays else { return };
        for (day, winston) in &self.signed {
            if *winston > day_limit {
                self.violations.push(format!("day {day} cost {winston} of {day_limit}"));
            }
        }
        let held: BTreeSet<Hash> = self
            .disk
            .postings
            .values()
            .filter(|row| row.is_final && row.signed.is_some_and(|(tx, _)| self.mined(&tx).is_some()))
            .flat_map(|row| row.parts.iter().copied())
            .collect();
        if held != self.disk.batches {
            let text = format!("{} of {} batches are on the weave", held.len(), self.disk.batches.len());
            self.violations.push(text);
        }
        let fees: u64 = self.txs.values().map(|tx| tx.reward).max().unwrap_or_default();
        if fees > FORK_PRICE + FORK_PRICE / 10 {
            self.violations.push(format!("a fee of {fees} was signed; nobody honest asks for so much"));
        }
    }
}
