//! A season: fifty messengers between the log of one source, that of its target and a ledger, window after window.
//!
//! What a season is held to is counted here from what was played, and read from nothing that it judges.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use weft_node::market::audit::{Pushed, Sent, audit};
use weft_node::market::weights::Weights;
use weft_protocol::market::{ClaimTree, Entry, Opening, Paid, RANKS_PAID, TURN_MS, WINDOW_SLOTS, draws};
use weft_protocol::offer::OfferTerms;
use weft_protocol::{Hash, Now};

use super::bank::{Bank, value};
use super::logs::{BYTES, Logs, Place, Receipt, Told};
use super::messengers::{Expected, MESSENGERS, ONE, Shares, WATCHER, Way, name, of};
use crate::fixture::{NETWORK, STRANGER, key};

/// Windows of a season.
pub const WINDOWS: u64 = 5;
/// The first window after which bonds change, and from which on the idle one carries nothing.
pub const TURNING: u64 = 1;
/// What each asks for a push.
const PRICE: u64 = ONE / 1_000;
const ESCROW: u64 = 1_000 * ONE;
/// What each messenger has when the season begins, its bond included.
const PURSE: u64 = 200 * ONE;

/// What a season came to.
#[derive(Debug, Default)]
pub struct Came {
    pub pushes: usize,
    pub paid: usize,
    pub lost: BTreeSet<Way>,
    pub refused: usize,
    pub taken: usize,
    pub answered: usize,
    pub snatched: u32,
    /// Weights of the idle one, window by window.
    pub idle: Vec<Option<u32>>,
}

pub struct Season {
    logs: Logs,
    bank: Bank,
    weights: Weights,
    off: Off,
    /// When the first set was made.
    first_ms: Option<u64>,
    expected: BTreeMap<u8, Expected>,
    rng: StdRng,
    /// What the escrow should hold.
    escrow: u128,
    /// What was paid for each push, and to whom.
    paid: BTreeMap<Place, u8>,
    pub came: Came,
}

/// What holds sets and money to account, and is off to see that a season notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Off {
    None,
    /// Bonds are read once and never again.
    Bonds,
    /// Nobody looks at who carried what.
    Quality,
    /// Nobody challenges a claim.
    Watch,
}

/// A push on its way to the target: when it comes, at which rank of whom, and who was to carry it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    at: u64,
    place: Place,
    carrier: Option<(usize, u8)>,
    first: u8,
}

/// By push: to whom its price is due, and the receipt.
type Due = BTreeMap<Place, (u8, Receipt)>;

/// What happened in one window.
struct Played {
    told: Told,
    due: Due,
    /// What nobody is paid for: early ones, and those of squatters.
    unpaid: Vec<Receipt>,
    shares: Shares,
}

impl Season {
    pub fn new(seed: u64, off: Off) -> Self {
        let (logs, mut bank) = (Logs::new(PRICE), Bank::new());
        let source = logs.process.id().to_string();
        bank.fund("0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf", None, ONE.into());
        bank.fund("0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf", Some(&source), ESCROW.into());
        bank.fund(&name(WATCHER).to_string(), None, (100 * ONE).into());
        let mut expected = BTreeMap::new();
        for by in MESSENGERS {
            bank.fund(&name(by).to_string(), None, PURSE.into());
            expected.insert(by, Expected { bond: 0, standing: 0.65, earned: 0, due: 0 });
        }
        let mut season = Self {
            logs,
            bank,
            weights: Weights::default(),
            off,
            first_ms: None,
            expected,
            rng: StdRng::seed_from_u64(seed),
            escrow: ESCROW.into(),
            paid: BTreeMap::new(),
            came: Came::default(),
        };
        MESSENGERS.for_each(|by| season.bond(by, Way::of(by).units(by) * ONE));
        season
    }

    /// Puts so much into a bond.
    fn bond(&mut self, by: u8, amount: u64) {
        if amount > 0 {
            let said =
                self.bank.send(&name(by).to_string(), "Bond", &[("Quantity", &amount.to_string())], "");
            assert_eq!(value(&said, "Action"), "Bond-Response", "{}", said.data);
            self.expected.get_mut(&by).unwrap().bond += amount;
        }
    }

    fn unbond(&mut self, by: u8, amount: u64) {
        let quantity = amount.to_string();
        let said = self.bank.send(&name(by).to_string(), "Unbond", &[("Quantity", &quantity)], "");
        assert_eq!(value(&said, "Action"), "Unbond-Response", "{}", said.data);
        self.expected.get_mut(&by).unwrap().bond -= amount;
    }

    /// Plays a window in which so many messages are sent in a slot: carried, claimed, challenged and paid.
    pub fn window(&mut self, entries: usize) -> Shares {
        let played = self.carry(entries);
        if self.off != Off::Quality {
            self.judge_carriers(&played);
        }
        self.bank.reach((played.told.number + 1) * WINDOW_SLOTS);
        for _ in 0..2 {
            self.claims(&played);
        }
        if played.told.number == TURNING {
            for by in MESSENGERS {
                match Way::of(by) {
                    Way::Deposits => self.bond(by, 24 * ONE),
                    Way::Withdraws => self.unbond(by, 24 * ONE),
                    _ => {}
                }
            }
        }
        // What leaves has gone, and nothing is open any more.
        self.bank.pass(3);
        let bonds: u128 = self.expected.values().map(|one| u128::from(one.bond)).sum();
        assert_eq!(self.bank.held(), [bonds, self.escrow, 0], "what is bonded, in escrow, and open");
        self.came.pushes += played.shares.pushes() as usize;
        played.shares
    }

    /// The offers of all, as the source's scheduler weighs them when the set's slot comes up.
    fn offers(&mut self) -> Vec<Entry> {
        let (process, at) = (self.logs.process.id(), self.logs.set_time());
        // Those of the first window, where they are never read again.
        let read = Now(if self.off == Off::Bonds { self.first_ms.unwrap_or(at) } else { at });
        if self.off != Off::Bonds || self.first_ms.is_none() {
            self.weights.bonds(process, self.bank.bonds().into(), Now(at));
        }
        self.first_ms.get_or_insert(at);
        let terms = OfferTerms {
            network: NETWORK,
            sequence: at,
            shards: Vec::new(),
            classes: 0,
            price_per_push: PRICE,
            price_per_kib: 0,
            max_kib: 64,
            capacity_per_s: 50,
            latency_p50_ms: 20,
            stake: Hash::ZERO,
            valid_from: at,
            valid_to: at + 60_000,
        };
        let entry = |by: u8| {
            let name = name(by);
            let bond = self.weights.bond(&process, &name, read).unwrap();
            let offer = terms.clone().sign(&key(by)).unwrap();
            Entry::new(offer, bond, self.weights.quality(&process, &name))
        };
        MESSENGERS.map(entry).collect()
    }

    /// Sends and carries what a window sends.
    fn carry(&mut self, entries: usize) -> Played {
        let known = self.offers();
        let told = self.logs.window(known, entries);
        for entry in told.window.set().entries() {
            let by = of(entry.messenger());
            let expected = &self.expected[&by];
            assert_eq!(entry.bond(), expected.bond, "bond of {by} {:?}", Way::of(by));
            let quality = entry.quality().number();
            assert_eq!(quality, expected.quality(), "quality of {by} {:?}: {expected:?}", Way::of(by));
            let weight = draws(entry.bond(), entry.quality());
            assert_eq!(weight, expected.weight(), "{by}");
            assert!(weight.is_none_or(|weight| (1..=32 * 4).contains(&weight)), "{by}: {weight:?}");
        }
        let weights = MESSENGERS.map(|by| (by, self.expected[&by].weight())).collect();
        self.came.idle.push(self.expected[&Way::Idles.only()].weight());

        let mut shares = Shares { firsts: MESSENGERS.map(|by| (by, 0)).collect(), weights };
        let mut arrivals = Vec::new();
        for place in told.places() {
            let ranked = told.window.order(&told.push_id(place), BYTES);
            let ranked: Vec<u8> = ranked.iter().map(|entry| of(entry.messenger())).collect();
            *shares.firsts.get_mut(&ranked[0]).unwrap() += 1;
            let (after, rank) = self.arrival(told.number, &ranked);
            let (at, carrier) = (told.sent_at(place) + after, rank.map(|rank| (rank, ranked[rank])));
            arrivals.push(Arrival { at, place, carrier, first: ranked[0] });
        }
        arrivals.sort_unstable();
        let (due, unpaid) = self.take(&told, arrivals);
        Played { told, due, unpaid, shares }
    }

    /// Who of the ranked brings a push first, and how long after its slot; none of them, where a stranger does.
    fn arrival(&mut self, window: u64, ranked: &[u8]) -> (u64, Option<usize>) {
        let mut come = vec![(RANKS_PAID as u64 * TURN_MS + 500, None)];
        for (rank, by) in ranked.iter().enumerate().take(RANKS_PAID) {
            let turn = rank as u64 * TURN_MS;
            let late = self.rng.random_range(0..TURN_MS / 2);
            match Way::of(*by) {
                Way::Idles if window > TURNING => {}
                // Before its own turn, and before that of whoever is first would be over.
                Way::Snipes if rank > 0 && self.rng.random_bool(0.5) => come.push((late / 4, Some(rank))),
                _ if self.rng.random_bool(0.02) => {}
                _ => come.push((turn + late, Some(rank))),
            }
        }
        come.into_iter().min().unwrap()
    }

    /// Writes what came into the target's log, in its order; and counts who carried what was his own.
    fn take(&mut self, told: &Told, arrivals: Vec<Arrival>) -> (Due, Vec<Receipt>) {
        let (mut due, mut unpaid) = (Due::new(), Vec::new());
        let mut own: BTreeMap<u8, (u32, u32)> = BTreeMap::new();
        let squatter = Way::Squats.only();
        for (number, Arrival { at, place, carrier, first }) in arrivals.into_iter().enumerate() {
            if number % 100 == 50 {
                unpaid.push(self.logs.take(told, place, squatter, at, false));
            }
            let (rank, by) = carrier.unwrap_or((RANKS_PAID, STRANGER));
            let receipt = self.logs.take(told, place, by, at, true);
            let waited = receipt.timestamp - told.sent_at(place) >= rank as u64 * TURN_MS;
            let count = own.entry(first).or_default();
            // What was snatched from its first counts neither way.
            count.0 += u32::from(waited);
            count.1 += u32::from(rank == 0);
            self.came.snatched += u32::from(!waited);
            if waited && rank < RANKS_PAID {
                self.expected.get_mut(&by).unwrap().due += PRICE;
                due.insert(place, (by, receipt));
            } else {
                unpaid.push(receipt);
            }
        }
        for (by, (first, carried)) in own {
            self.expected.get_mut(&by).unwrap().carried(first, carried);
        }
        (due, unpaid)
    }

    /// Lets a node that has both logs judge who carried how well, as it does for its sets.
    fn judge_carriers(&mut self, played: &Played) {
        let told = &played.told;
        let is_push = |receipt: &&Receipt| Way::of_carrier(receipt.by) != Some(Way::Squats);
        let of_due = played.due.values().map(|(_, receipt)| receipt);
        let mut sent = BTreeMap::new();
        for receipt in of_due.chain(played.unpaid.iter().filter(is_push)) {
            let found = Some(Pushed {
                slot: receipt.slot,
                assignment: receipt.assignment(),
                timestamp: receipt.timestamp,
                carrier: name(receipt.by),
            });
            let (push, at) = (told.push_id(receipt.place), told.sent_at(receipt.place));
            sent.insert(receipt.place, Sent { push, bytes: BYTES, at, found });
        }
        let sent: Vec<Sent> = sent.into_values().collect();
        let process = self.logs.process.id();
        self.weights.carried(process, told.number, &audit(&told.window, &sent));
    }

    /// One round of claims on a window: made as chance orders them, looked at by one who has both logs, and settled.
    fn claims(&mut self, played: &Played) {
        let mut order: Vec<u8> = MESSENGERS.collect();
        for at in (1..order.len()).rev() {
            order.swap(at, self.rng.random_range(0..=at));
        }
        // Who lies is quicker than whose push it is: what another holds is left out of a claim.
        order.sort_by_key(|by| !Way::of(*by).is_liar());
        let mut open = BTreeMap::new();
        for by in order {
            if let Some(claim) = self.claim(played, by) {
                open.insert(by, claim);
            }
        }
        if self.off != Off::Watch {
            self.watch(played, &open);
        }
        self.bank.pass(2);
        self.settle(played, &mut open);
    }

    /// What a messenger claims: what is due to it and not paid yet, and what its way adds.
    fn wants(&self, played: &Played, by: u8) -> Vec<Paid> {
        let told = &played.told;
        let is_open = |place: &Place| !self.paid.contains_key(place);
        let own = played.due.iter().filter(|(place, (of, _))| *of == by && is_open(place));
        let mut wants: Vec<Paid> = own.map(|(_, (_, receipt))| told.leaf(receipt, PRICE)).collect();
        // Its first leaf is judged when it claims: what is false comes later, or nothing would be staked.
        let Some(first) = wants.first().map(|paid| (paid.position, paid.index)) else { return wants };
        let later = |receipt: &&Receipt| (receipt.place.position, receipt.place.index) > first;
        let way = Way::of(by);
        let mine = || played.unpaid.iter().filter(later).find(|receipt| receipt.by == by);
        match way {
            Way::Overcharges => wants.last_mut().unwrap().amount += 1,
            Way::Copies => {
                let others = played.due.iter().filter(|(place, (of, _))| *of != by && is_open(place));
                wants.extend(
                    others.map(|(_, (_, receipt))| receipt).find(later).map(|of| told.leaf(of, PRICE)),
                );
            }
            Way::Snipes | Way::Squats => {
                if let Some(false_one) = mine() {
                    let place = (false_one.place.position, false_one.place.index);
                    wants.retain(|paid| (paid.position, paid.index) != place);
                    wants.push(told.leaf(false_one, PRICE));
                }
            }
            _ => {}
        }
        wants
    }

    /// Opens a claim, without what others have claimed.
    fn claim(&mut self, played: &Played, by: u8) -> Option<ClaimTree> {
        let mut wants = self.wants(played, by);
        while !wants.is_empty() {
            let tree = played.told.claim(by, wants.clone());
            let opening = Opening { shown: self.answer(played, &tree, 0), tree: tree.clone() };
            let (source, window) = (self.logs.process.id().to_string(), played.told.number.to_string());
            let tags = [("Source", &*source), ("Window", &*window)];
            let data = URL_SAFE_NO_PAD.encode(opening.encode());
            let said = self.bank.send(&name(by).to_string(), "Claim", &tags, &data);
            if value(&said, "Action") == "Claim-Response" {
                self.escrow -= u128::from(tree.claim().sum);
                return Some(tree);
            }
            let taken: BTreeSet<usize> = value(&said, "Taken").split(',').flat_map(str::parse).collect();
            if taken.is_empty() {
                self.came.refused += 1;
                let is_poor = self.expected[&by].bond == 0;
                assert!(is_poor || Way::of(by).is_liar(), "{by} {:?}: {}", Way::of(by), said.data);
                return None;
            }
            self.came.taken += taken.len();
            wants = tree.leaves().iter().map(|leaf| leaf.paid).collect();
            let mut at = 0..;
            wants.retain(|_| !taken.contains(&at.next().unwrap()));
        }
        None
    }

    fn answer(&self, played: &Played, tree: &ClaimTree, number: u32) -> weft_protocol::market::Answer {
        let accepted = tree.leaves()[number as usize].paid.accepted;
        let all = played.due.values().map(|(_, receipt)| receipt).chain(&played.unpaid);
        let receipt = all.into_iter().find(|receipt| receipt.assignment() == accepted).unwrap();
        played.told.answer(tree, number, receipt)
    }

    /// Challenges each leaf that is not owed by the logs, now and then one that is, and all who withhold.
    fn watch(&mut self, played: &Played, open: &BTreeMap<u8, ClaimTree>) {
        for (by, tree) in open {
            let withholds = Way::of(*by) == Way::Withholds;
            for (number, leaf) in (0..).zip(tree.leaves()) {
                let place = Place { position: leaf.paid.position, index: leaf.paid.index };
                let owed = played.due.get(&place).filter(|(of, receipt)| {
                    of == by && receipt.assignment() == leaf.paid.accepted && leaf.paid.amount == PRICE
                });
                let is_challenged =
                    owed.is_none() || (withholds && number == 0) || self.rng.random_bool(0.01);
                if !is_challenged {
                    continue;
                }
                self.about(WATCHER, "Challenge", *by, tree, number, "");
                if withholds {
                    continue;
                }
                let answer = URL_SAFE_NO_PAD.encode(self.answer(played, tree, number).encode());
                let said = self.about(*by, "Answer", *by, tree, number, &answer);
                let is_shown = value(&said, "Action") == "Answer-Response";
                assert_eq!(is_shown, owed.is_some(), "{by} {:?}: {}", Way::of(*by), said.data);
                self.came.answered += usize::from(is_shown);
            }
        }
    }

    fn about(
        &mut self,
        from: u8,
        action: &str,
        by: u8,
        tree: &ClaimTree,
        leaf: u32,
        data: &str,
    ) -> crate::guest::ledger::Send {
        let claim = tree.claim();
        let (messenger, source) = (name(by).to_string(), claim.source.to_string());
        let (window, leaf) = (claim.window.to_string(), leaf.to_string());
        let tags = [("Messenger", &*messenger), ("Source", &*source), ("Window", &*window), ("Leaf", &*leaf)];
        self.bank.send(&name(from).to_string(), action, &tags, data)
    }

    /// Notes what was paid and what was lost: only what is owed is paid, each push once, and only who lies loses.
    fn settle(&mut self, played: &Played, open: &mut BTreeMap<u8, ClaimTree>) {
        for send in self.bank.said() {
            let Ok(by) = value(&send, "Messenger").parse().map(of) else { continue };
            let quantity = || value(&send, "Quantity").parse::<u128>().unwrap();
            let expected = self.expected.get_mut(&by).unwrap();
            match value(&send, "Action") {
                "Claim-Notice" => {
                    let tree = open.remove(&by).unwrap();
                    assert_eq!(quantity(), u128::from(tree.claim().sum));
                    for Paid { position, index, amount, .. } in tree.leaves().iter().map(|leaf| leaf.paid) {
                        let place = Place { position, index };
                        let owed = played.due.get(&place).map(|(of, _)| *of);
                        assert_eq!((owed, amount), (Some(by), PRICE), "{by} {:?} is paid", Way::of(by));
                        assert_eq!(self.paid.insert(place, by), None, "{place:?} was paid before");
                        expected.earned += amount;
                        self.came.paid += 1;
                    }
                }
                "Claim-Lost-Notice" => {
                    let tree = open.remove(&by).unwrap();
                    assert!(Way::of(by).is_liar(), "{by} {:?} lost a claim", Way::of(by));
                    // All of its bond: half is the challenger's, half with the claim the source's.
                    assert_eq!(quantity(), u128::from(expected.bond), "{by}");
                    self.escrow +=
                        u128::from(tree.claim().sum) + u128::from(expected.bond - expected.bond / 2);
                    expected.bond = 0;
                    self.came.lost.insert(Way::of(by));
                }
                _ => {}
            }
        }
        assert!(open.is_empty(), "{:?}", open.keys());
    }

    /// Has everybody take out what he can, and looks at what each earned.
    pub fn end(&mut self) {
        for by in MESSENGERS {
            let Expected { earned, due, .. } = self.expected[&by];
            match Way::of(by) {
                Way::Newcomer | Way::Withholds => assert_eq!(earned, 0, "{by} {:?}", Way::of(by)),
                way if way.is_liar() => assert!(earned <= due, "{by} {way:?}: {earned} of {due}"),
                way => assert_eq!(earned, due, "{by} {way:?}"),
            }
            let name = name(by).to_string();
            let said = self.bank.send(&name, "Balance", &[], "");
            let all = value(&said, "Balance").to_owned();
            if all != "0" {
                let said = self.bank.send(&name, "Withdraw", &[("Quantity", &all)], "");
                assert_eq!(value(&said, "Action"), "Withdraw-Response", "{}", said.data);
            }
        }
        let [deposited, withdrawn] = self.bank.moved();
        assert!(withdrawn > 0 && withdrawn < deposited, "{withdrawn} of {deposited}");
    }
}
