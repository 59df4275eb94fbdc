//! Those who carry in a season: what each does, what is expected of it, and its share.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use weft_protocol::Address;
use weft_protocol::market::{BOND_UNIT, UNITS_MAX};

use crate::fixture::{STRANGER, address};

/// Keys of the messengers.
pub const MESSENGERS: std::ops::Range<u8> = 100..150;
/// Looks at every claim.
pub const WATCHER: u8 = 90;
/// A unit of bond.
pub const ONE: u64 = BOND_UNIT;

/// What a messenger does in a season.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// It carries in its turn, claims what is due to it and answers.
    Honest,
    /// The same, with more bond than counts.
    Whale,
    /// The same, and adds to its bond after the first window.
    Deposits,
    /// The same, and takes most of its bond out after the first window.
    Withdraws,
    /// It carries nothing after the first window.
    Idles,
    /// It has no bond.
    Newcomer,
    /// It claims more than it asks for one push.
    Overcharges,
    /// It claims a push that another carried.
    Copies,
    /// It carries now and then before its turn, and claims that.
    Snipes,
    /// It puts an item of its own into the target's log that calls itself a push, and claims by that.
    Squats,
    /// It claims what is due to it, and answers no challenge.
    Withholds,
}

impl Way {
    /// Those that lose their bond when they are looked at.
    pub const LIARS: [Self; 5] =
        [Self::Overcharges, Self::Copies, Self::Snipes, Self::Squats, Self::Withholds];

    /// That of a messenger: each of the first nine is the only one of its kind, five are newcomers.
    pub fn of(by: u8) -> Self {
        const FIRST: [Way; 9] = [
            Way::Whale,
            Way::Deposits,
            Way::Withdraws,
            Way::Idles,
            Way::Overcharges,
            Way::Copies,
            Way::Snipes,
            Way::Squats,
            Way::Withholds,
        ];
        let number = usize::from(by - MESSENGERS.start);
        match FIRST.get(number) {
            Some(way) => *way,
            None if number < FIRST.len() + 5 => Self::Newcomer,
            None => Self::Honest,
        }
    }

    /// The first of its kind, which most have one of.
    pub fn only(self) -> u8 {
        let mut all = MESSENGERS;
        all.find(|by| Self::of(*by) == self).unwrap()
    }

    pub fn is_liar(self) -> bool {
        Self::LIARS.contains(&self)
    }

    /// Units of bond at the beginning.
    pub fn units(self, by: u8) -> u64 {
        match self {
            Self::Newcomer => 0,
            Self::Whale => 3 * UNITS_MAX,
            Self::Deposits => 2,
            Self::Withdraws => 26,
            Self::Idles => UNITS_MAX,
            _ if self.is_liar() => 12,
            _ => 1 + u64::from(by) % 12,
        }
    }
}

/// What is expected of a messenger.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// Its bond, in the smallest unit.
    pub bond: u64,
    /// The share of its own pushes that it carried, new ones counting more: that of a newcomer is 0.65.
    pub standing: f64,
    /// What it was paid.
    pub earned: u64,
    /// What it is due by the logs.
    pub due: u64,
}

impl Expected {
    /// Of so many pushes that were its own and that nobody snatched it carried so many.
    pub fn carried(&mut self, own: u32, carried: u32) {
        if own > 0 {
            let share = f64::from(carried) / f64::from(own);
            let left = (1.0 - 1.0 / 289.0_f64).powi(own.min(1_600) as i32);
            self.standing = self.standing * left + share * (1.0 - left);
        }
    }

    pub fn quality(&self) -> u32 {
        1 + [0.50, 0.80, 0.95].iter().filter(|bound| self.standing >= **bound).count() as u32
    }

    /// Its weight: units of bond, 32 at most, by quality.
    pub fn weight(&self) -> Option<u32> {
        let units = u32::try_from((self.bond / ONE).min(32)).unwrap();
        (units > 0).then_some(units * self.quality())
    }
}

/// Whose the pushes of a window were to carry first, and by what weights.
pub struct Shares {
    pub firsts: BTreeMap<u8, u32>,
    pub weights: BTreeMap<u8, Option<u32>>,
}

impl Shares {
    pub fn pushes(&self) -> u32 {
        self.firsts.values().sum()
    }

    /// The share that a messenger has by these weights: newcomers divide a twentieth among them.
    pub fn share(weights: &BTreeMap<u8, Option<u32>>, by: u8) -> f64 {
        let total: u32 = weights.values().flatten().sum();
        let newcomers = weights.values().filter(|weight| weight.is_none()).count();
        match weights[&by] {
            Some(weight) => 0.95 * f64::from(weight) / f64::from(total),
            None => 0.05 / newcomers as f64,
        }
    }
}

impl Way {
    /// That of whoever signed an item, if he is a messenger.
    pub fn of_carrier(by: u8) -> Option<Self> {
        MESSENGERS.contains(&by).then(|| Self::of(by))
    }
}

/// The addresses of all: making one takes as long as a signature.
static NAMES: LazyLock<BTreeMap<u8, Address>> =
    LazyLock::new(|| MESSENGERS.chain([WATCHER, STRANGER]).map(|by| (by, address(by))).collect());
static NUMBERS: LazyLock<BTreeMap<Address, u8>> =
    LazyLock::new(|| NAMES.iter().map(|(by, name)| (*name, *by)).collect());

/// Its address.
pub fn name(by: u8) -> Address {
    NAMES[&by]
}

/// The messenger of an address.
pub fn of(name: Address) -> u8 {
    NUMBERS[&name]
}
