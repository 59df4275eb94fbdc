//! Numbers that are the same for the same seed: what the simulations of this crate roll.

/// A generator of them (SplitMix64).
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// One of the numbers below this one, which is not 0.
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    /// A place among so many.
    pub(crate) fn pick(&mut self, places: usize) -> usize {
        self.roll(places as u64) as usize
    }

    /// Whether what happens so often of a hundred times happens.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.roll(100) < chance
    }
}
