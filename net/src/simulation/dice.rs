//! What every simulation draws from, and how many seeds it is played with.

/// A generator of numbers that are the same for the same seed (SplitMix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 on, below this one.
    pub(super) const fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0) % below
    }

    /// Whether something happens that does so often in a hundred times.
    pub(super) const fn percent(&mut self, chance: u64) -> bool {
        self.roll(100) < chance
    }

    /// One of several.
    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        if of.is_empty() { None } else { Some(of[self.roll(of.len() as u64) as usize]) }
    }
}

/// A number that looks like chance and is the same for the same number.
pub(super) const fn mixed(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How many seeds are played: so many with `WEFT_FULL=1`, few otherwise.
pub(super) fn seeds(few: u64, full: u64) -> u64 {
    if std::env::var("WEFT_FULL").is_ok_and(|value| value == "1") { full } else { few }
}
