//! Where in a log a step stands: RULES.md 6.1.

use serde::{Deserialize, Serialize};

/// One evaluated step of a process: tick 0 is the assigned item of the slot, tick k the k-th
/// implicit cron message after it. Positions order as they are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The scheduler's term; 0 until the scheduler changes.
    pub epoch: u64,
    /// The `Nonce` tag; never restarts.
    pub slot: u64,
    /// 0 for the assigned item.
    pub tick: u32,
}

impl Position {
    /// The position of the assigned item of `slot` in epoch 0.
    pub const fn slot(slot: u64) -> Self {
        Self { epoch: 0, slot, tick: 0 }
    }

    /// Epoch u64, slot u64, tick u32, big-endian: the form in every hash and key.
    pub fn to_bytes(self) -> [u8; 20] {
        let mut out = [0; 20];
        out[..8].copy_from_slice(&self.epoch.to_be_bytes());
        out[8..16].copy_from_slice(&self.slot.to_be_bytes());
        out[16..].copy_from_slice(&self.tick.to_be_bytes());
        out
    }

    /// The position that [`to_bytes`](Self::to_bytes) wrote.
    pub fn from_bytes(bytes: &[u8; 20]) -> Self {
        let u64_at = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_be_bytes(word)
        };
        let mut tick = [0; 4];
        tick.copy_from_slice(&bytes[16..]);
        Self { epoch: u64_at(0), slot: u64_at(8), tick: u32::from_be_bytes(tick) }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.epoch, self.tick) {
            (0, 0) => write!(f, "{}", self.slot),
            (0, tick) => write!(f, "{}+{tick}", self.slot),
            (epoch, 0) => write!(f, "{epoch}/{}", self.slot),
            (epoch, tick) => write!(f, "{epoch}/{}+{tick}", self.slot),
        }
    }
}
