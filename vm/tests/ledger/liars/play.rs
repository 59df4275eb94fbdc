//! What the messengers of a town claim, who looks at it, and what it comes to.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use weft_protocol::market::{ClaimTree, Opening, Paid, judge};
use weft_protocol::{Id, Position, Tag};

use super::super::fixture::address;
use super::super::full::is_full;
use super::super::guest::ledger::{Ledger, Message, Send, Terms};
use super::super::market::{COURT, LEDGER, MESSENGERS, WINDOW};
use super::super::world::{ONE, value};
use super::blind::{Blind, Off};
use super::{Town, Way};

/// Seeds in the ordinary run, and when `WEFT_FULL=1`.
const SEEDS: (u64, u64) = (24, 400);
/// Seeds in one of which a judge with a defence off must be found out.
const SEEDS_BLIND: u64 = 40;
/// Slots and seconds of a period: more than the messages of one round.
const PERIOD: u64 = 1_000;
const TOKEN: Id = Id([200; 32]);
const WATCHER: u8 = 90;
const BOND: u128 = 20 * ONE;
const ESCROW: u128 = 1_000 * ONE;

/// The ledger, which is looked at after every message.
struct Bank {
    ledger: Ledger,
    terms: Terms,
    off: Off,
    slot: u64,
    said: Vec<Send>,
}

impl Bank {
    fn new(off: Off) -> Self {
        let period = PERIOD.to_string();
        let tags = [
            Tag::new("Token", TOKEN.to_string()),
            Tag::new("Network", "00000007"),
            Tag::new("Challenge-Slots", &*period),
            Tag::new("Challenge-Seconds", &*period),
        ];
        let terms = Terms::read(LEDGER, "owner", &tags).unwrap();
        Self { ledger: Ledger::new(), terms, off, slot: 0, said: Vec::new() }
    }

    fn send(&mut self, from: &str, action: &str, tags: &[(&str, &str)], data: &str) -> Send {
        self.slot += 1;
        let mut all = vec![Tag::new("Action", action)];
        all.extend(tags.iter().map(|(name, value)| Tag::new(*name, *value)));
        // The story's logs begin then, and here too a slot takes a second.
        let time = 1_700_000_000_000 + 1_000 * self.slot;
        let message = Message { id: "m", from, tags: &all, data, slot: Some(self.slot), time };
        let sends = self.ledger.handle(&self.terms, &Blind::of(&self.terms, self.off), &message);
        let sums = self.ledger.sums();
        assert!(sums.conserve(), "{action} {tags:?}: {sums:?}");
        self.said.extend(sends.iter().cloned());
        sends.last().cloned().unwrap()
    }

    fn fund(&mut self, to: &str, amount: u128) {
        let amount = amount.to_string();
        self.send(&TOKEN.to_string(), "Credit-Notice", &[("Sender", to), ("Quantity", &amount)], "");
    }

    fn pass(&mut self) {
        self.slot += PERIOD;
        self.send("somebody", "Settle", &[], "");
    }
}

fn text(bytes: Vec<u8>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What a town came to.
#[derive(Debug, Default)]
struct Came {
    paid: u64,
    struck: usize,
    lost: usize,
    refused: usize,
    taken: usize,
}

struct Play {
    town: Town,
    bank: Bank,
    source: String,
    /// The trees of the open claims.
    open: BTreeMap<u8, (ClaimTree, BTreeSet<u32>)>,
    /// What was struck of whose claims: he does not claim it again.
    struck: BTreeSet<(u8, Position, u32)>,
    /// Which pushes were paid, and to whom.
    paid: BTreeMap<(Position, u32), (u8, u64)>,
    came: Came,
}

impl Play {
    fn new(seed: u64, off: Off) -> Self {
        let town = Town::new(seed);
        let source = town.sent[0].told.source.process.id();
        let (mut bank, source) = (Bank::new(off), source.to_string());
        bank.fund("0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf", ONE);
        let amount = ESCROW.to_string();
        let tags = [("Sender", &*source), ("Quantity", &*amount), ("X-Escrow", &*source)];
        bank.send(&TOKEN.to_string(), "Credit-Notice", &tags, "");
        bank.fund(&address(WATCHER).to_string(), 100 * ONE);
        for by in MESSENGERS {
            let name = address(by).to_string();
            bank.fund(&name, BOND);
            bank.send(&name, "Bond", &[("Quantity", &BOND.to_string())], "");
        }
        // The window is over.
        bank.slot = 600;
        Self {
            town,
            bank,
            source,
            open: BTreeMap::new(),
            struck: BTreeSet::new(),
            paid: BTreeMap::new(),
            came: Came::default(),
        }
    }

    fn about(&mut self, from: u8, action: &str, by: u8, leaf: u32, data: Vec<u8>) -> Send {
        let (by, leaf, window) = (address(by).to_string(), leaf.to_string(), WINDOW.to_string());
        let tags = [("Messenger", &*by), ("Source", &*self.source), ("Window", &*window), ("Leaf", &*leaf)];
        self.bank.send(&address(from).to_string(), action, &tags, &text(data))
    }

    /// Claims what is not paid yet to this messenger; leaves out what others hold.
    fn claim(&mut self, by: u8) {
        let is_open = |paid: &Paid| {
            let Paid { position, index, .. } = *paid;
            !self.paid.contains_key(&(position, index)) && !self.struck.contains(&(by, position, index))
        };
        let mut wants: Vec<Paid> = self.town.wants(by).into_iter().filter(is_open).collect();
        while !wants.is_empty() {
            let source = self.town.sent[0].told.source.process.id();
            let tree = ClaimTree::new(address(by), source, WINDOW, wants.clone()).unwrap();
            let opening = Opening { shown: self.town.answer(&tree, 0), tree: tree.clone() };
            let (name, window) = (address(by).to_string(), WINDOW.to_string());
            let tags = [("Source", &*self.source), ("Window", &*window)];
            let answer = self.bank.send(&name, "Claim", &tags, &text(opening.encode()));
            if value(&answer, "Action") == "Claim-Response" {
                self.open.insert(by, (tree, BTreeSet::new()));
                return;
            }
            let taken: BTreeSet<usize> = value(&answer, "Taken").split(',').flat_map(str::parse).collect();
            if taken.is_empty() {
                self.came.refused += 1;
                assert!(self.town.ways[&by] != Way::Honest, "{by}: {}", answer.data);
                return;
            }
            self.came.taken += taken.len();
            wants = tree.leaves().iter().map(|leaf| leaf.paid).collect();
            let mut at = 0..;
            wants.retain(|_| !taken.contains(&at.next().unwrap()));
        }
    }

    /// One who has both logs looks at every claim: shows what stands earlier, and challenges what is not owed. Now and
    /// then he asks for nothing.
    fn watch(&mut self) {
        if self.bank.off == Off::Watch {
            return;
        }
        for by in MESSENGERS {
            let Some((tree, _)) = self.open.get(&by).cloned() else { continue };
            for number in 0..tree.claim().count {
                if let Some(earlier) = self.town.earlier(&tree, number) {
                    let said = self.about(WATCHER, "Challenge", by, number, earlier.encode());
                    assert_eq!(value(&said, "Action"), "Challenge-Response", "{}", said.data);
                    self.came.struck += 1;
                    self.open.get_mut(&by).unwrap().1.insert(number);
                    let paid = tree.leaves()[number as usize].paid;
                    self.struck.insert((by, paid.position, paid.index));
                    continue;
                }
                let answer = self.town.answer(&tree, number);
                let is_owed = judge(&COURT, tree.claim(), number, &answer).is_ok();
                let withholds = self.town.ways[&by] == Way::Withholds;
                if !is_owed || withholds || self.town.chance.is(20) {
                    self.about(WATCHER, "Challenge", by, number, Vec::new());
                    if !withholds {
                        self.about(by, "Answer", by, number, answer.encode());
                    }
                }
            }
        }
    }

    /// Lets the claims be settled, and notes whom for what.
    fn settle(&mut self) {
        self.bank.pass();
        for send in std::mem::take(&mut self.bank.said) {
            let by = MESSENGERS.into_iter().find(|&by| value(&send, "Messenger") == address(by).to_string());
            let Some(by) = by else { continue };
            match value(&send, "Action") {
                "Claim-Notice" => {
                    let (tree, struck) = self.open.remove(&by).unwrap();
                    let mut sum = 0;
                    for (number, leaf) in
                        (0..).zip(tree.leaves()).filter(|(number, _)| !struck.contains(number))
                    {
                        let Paid { position, index, amount, .. } = leaf.paid;
                        let first = self.paid.insert((position, index), (by, amount));
                        assert_eq!(first, None, "leaf {number} of {by} was paid before");
                        sum += amount;
                    }
                    assert_eq!(value(&send, "Quantity"), sum.to_string());
                    self.came.paid += sum;
                }
                "Claim-Lost-Notice" => {
                    self.open.remove(&by).unwrap();
                    self.came.lost += 1;
                    assert!(self.town.ways[&by] != Way::Honest, "{by} lost a claim");
                }
                _ => {}
            }
        }
        assert!(self.open.is_empty());
    }
}

fn play(seed: u64, off: Off) -> Came {
    let mut play = Play::new(seed, off);
    // In the order that chance gives: liars may be first.
    for _ in 0..3 {
        let mut order: Vec<u8> = MESSENGERS.to_vec();
        for at in (1..order.len()).rev() {
            order.swap(at, play.town.chance.below(at as u64 + 1) as usize);
        }
        order.into_iter().for_each(|by| play.claim(by));
        play.watch();
        play.settle();
    }
    for by in MESSENGERS {
        let earned: u64 = play.paid.values().filter(|(of, _)| *of == by).map(|(_, amount)| amount).sum();
        let (least, most) = play.town.owed(by);
        match play.town.ways[&by] {
            Way::Honest => assert!((least..=most).contains(&earned), "{by}: {earned} of {least} to {most}"),
            // What it carried in its turn is its own; what it was early for, or another carried, is not.
            way @ (Way::Snipes | Way::Copies) => assert!(earned <= most, "{by} {way:?}: {earned} of {most}"),
            Way::Overcharges | Way::Withholds | Way::Squats | Way::Left => {
                assert_eq!(earned, 0, "{by} {:?}", play.town.ways[&by]);
            }
        }
    }
    play.came
}

#[test]
fn liars_earn_nothing_and_the_honest_what_the_logs_say() {
    let mut all = Came::default();
    for seed in 0..if is_full() { SEEDS.1 } else { SEEDS.0 } {
        let came =
            std::panic::catch_unwind(|| play(seed, Off::None)).unwrap_or_else(|_| panic!("seed {seed}"));
        all.paid += came.paid;
        all.struck += came.struck;
        all.lost += came.lost;
        all.refused += came.refused;
        all.taken += came.taken;
    }
    // A town in which nothing happens shows nothing.
    assert!(all.paid > 0 && all.struck > 5 && all.lost > 5 && all.refused > 5 && all.taken > 5, "{all:?}");
}

/// The town must be able to fail: each defence is off in turn, and what comes in by that is noticed for what it is.
#[test]
fn a_judge_with_a_defence_off_is_found_out() {
    for (off, sign) in [
        (Off::Turns, "Snipes"),
        (Off::Amounts, "Overcharges"),
        (Off::Carriers, "Copies"),
        (Off::Origins, "Squats"),
        (Off::Once, "was paid before"),
        (Off::Watch, "Withholds"),
    ] {
        let said = |seed| {
            let panic = std::panic::catch_unwind(|| play(seed, off)).err()?;
            panic.downcast_ref::<String>().cloned()
        };
        let found = (0..SEEDS_BLIND).any(|seed| said(seed).is_some_and(|said| said.contains(sign)));
        assert!(found, "no seed of {SEEDS_BLIND} noticed {off:?}");
    }
}
