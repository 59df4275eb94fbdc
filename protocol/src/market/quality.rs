//! How well a messenger carried what was its to carry first, from public logs.

/// A part of weight, 1 to 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quality(u8);

impl Quality {
    /// That of a messenger of which nothing is known.
    pub const NEW: Self = Self(2);
    /// The best there is.
    pub const BEST: Self = Self(4);

    /// A quality by its number, 1 to 4.
    pub const fn new(number: u32) -> Option<Self> {
        match number {
            1..=4 => Some(Self(number as u8)),
            _ => None,
        }
    }

    /// The number.
    pub const fn number(self) -> u32 {
        self.0 as u32
    }
}

/// All of what was carried.
const ONE: u64 = 1 << 32;
/// Each push that was a messenger's to carry moves its standing by this part: what is 200 pushes
/// old counts half.
const STEP: u64 = 289;
/// Pushes of one count that are taken: eight half-lives, after which nothing is left of before.
const COUNTED_MAX: u32 = 1_600;
/// Standings from which quality is 2, 3 and 4: parts of 100.
const BOUNDS: [u64; 3] = [50, 80, 95];
/// The standing of a messenger of which nothing is known, in parts of 100.
const START: u64 = 65;

/// The share of its own pushes that a messenger carried, the newer ones counting more.
///
/// It is folded over windows: each gives how many pushes were the messenger's at rank 0, and how
/// many of them stand in their targets' logs as its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Standing(u64);

impl Standing {
    /// That of a messenger of which nothing is known.
    pub const NEW: Self = Self(ONE * START / 100);

    /// The standing after `assigned` more pushes, of which it carried `carried`.
    #[must_use]
    pub fn after(self, assigned: u32, carried: u32) -> Self {
        if assigned == 0 {
            return self;
        }
        let share = ONE * u64::from(carried.min(assigned)) / u64::from(assigned);
        let step = |standing: u64| standing - standing / STEP + share / STEP;
        Self((0..assigned.min(COUNTED_MAX)).fold(self.0, |standing, _| step(standing)))
    }

    /// The quality that it gives.
    pub fn quality(self) -> Quality {
        let passed = BOUNDS.iter().filter(|&&bound| self.0 >= ONE * bound / 100).count();
        Quality(1 + passed as u8)
    }
}

impl Default for Standing {
    fn default() -> Self {
        Self::NEW
    }
}
