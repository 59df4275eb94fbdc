//! Claims: what a messenger asks for its pushes of one window, and the tree behind it.
//!
//! A claim is a count, a root and a sum. Leaves stand by rising position and index, and each holds
//! the sum of those before it, so that showing a leaf with the one before it shows too that no push
//! is claimed twice and that nothing was added: of a claim that is false in any way, some leaf
//! cannot be answered for. A leaf names its receipt, so that what its scheduler signs later, in another
//! log, says nothing of it.

use super::window::{WINDOW_SLOTS, window_of};
use crate::id::{Address, Hash, Id};
use crate::limits::{OUTBOX_ENTRIES_MAX, TICKS_MAX};
use crate::merkle;
use crate::position::Position;
use crate::wire::{self, WireError};

/// Leaves of one claim. What a messenger carried beyond it in one window takes another claim.
pub const LEAVES_MAX: usize = 1 << 14;
/// Siblings of one leaf.
pub const LEAF_PATH_MAX: usize = 14;

/// Bits of an index, a tick and a slot in [`Paid::key`].
const INDEX_BITS: u32 = 10;
const TICK_BITS: u32 = 12;
const SLOT_BITS: u32 = 8;
const EPOCH_BITS: u32 = 64 - SLOT_BITS - TICK_BITS - INDEX_BITS;
const _: () = assert!(OUTBOX_ENTRIES_MAX <= 1 << INDEX_BITS && TICKS_MAX < 1 << TICK_BITS);
const _: () = assert!(WINDOW_SLOTS == 1 << SLOT_BITS);

/// A push that is to be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paid {
    /// The source's position that sent it.
    pub position: Position,
    /// Its index in the outbox there.
    pub index: u32,
    /// The process in whose log it stands; of a spawn, the child.
    pub target: Id,
    /// The slot there; 0 of a spawn.
    pub target_slot: u64,
    /// The id of the assignment of that slot: the receipt.
    pub accepted: Id,
    /// What it pays, in the ledger's smallest unit.
    pub amount: u64,
}

impl Paid {
    /// Bytes of one push in [`ClaimTree::encode`].
    pub const BYTES: usize = 20 + 4 + 32 + 8 + 32 + 8;

    /// Which push of its source's window it is, in one number: two of one window have the same if they are one push,
    /// whoever carried it and wherever to. They rise as position and index do. None if no process sends such a push.
    pub fn key(&self) -> Option<u64> {
        let Position { epoch, slot, tick } = self.position;
        let is_sent =
            epoch < 1 << EPOCH_BITS && tick < 1 << TICK_BITS && (self.index as usize) < OUTBOX_ENTRIES_MAX;
        let slot = (epoch << SLOT_BITS) | (slot % WINDOW_SLOTS);
        let step = (slot << TICK_BITS) | u64::from(tick);
        is_sent.then(|| (step << INDEX_BITS) | u64::from(self.index))
    }

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let Self { position, index, target, target_slot, accepted, amount } = self;
        let mut out = [0; Self::BYTES];
        out[..20].copy_from_slice(&position.to_bytes());
        out[20..24].copy_from_slice(&index.to_be_bytes());
        out[24..56].copy_from_slice(&target.0);
        out[56..64].copy_from_slice(&target_slot.to_be_bytes());
        out[64..96].copy_from_slice(&accepted.0);
        out[96..].copy_from_slice(&amount.to_be_bytes());
        out
    }

    fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        Self {
            position: Position::from_bytes(&part(bytes, 0)),
            index: u32::from_be_bytes(part(bytes, 20)),
            target: Id(part(bytes, 24)),
            target_slot: u64::from_be_bytes(part(bytes, 56)),
            accepted: Id(part(bytes, 64)),
            amount: u64::from_be_bytes(part(bytes, 96)),
        }
    }
}

fn part<const N: usize>(bytes: &[u8; Paid::BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// A leaf of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// The push.
    pub paid: Paid,
    /// The sum of the amounts of the leaves before it.
    pub before: u64,
}

impl Leaf {
    /// What leaves rise by.
    const fn place(&self) -> (Position, u32) {
        (self.paid.position, self.paid.index)
    }

    /// The sum of the amounts up to this leaf; none if it is too large to be any claim's.
    pub const fn sum(&self) -> Option<u64> {
        self.before.checked_add(self.paid.amount)
    }

    /// Whether this leaf may stand right after `previous`, or first if there is none.
    fn follows(&self, previous: Option<&Self>) -> bool {
        match previous {
            None => self.before == 0,
            Some(last) => last.place() < self.place() && last.sum() == Some(self.before),
        }
    }

    fn hash(&self) -> Hash {
        merkle::leaf(&[b"weft/claim/2", &self.paid.to_bytes(), &self.before.to_be_bytes()])
    }

    fn from_wire(message: Option<&wire::ClaimLeaf>) -> Result<Self, WireError> {
        let message = message.ok_or(WireError::Field("leaf"))?;
        let paid = Paid {
            position: wire::position(message.position.as_ref())?,
            index: message.index,
            target: wire::id("target", &message.target)?,
            target_slot: message.target_slot,
            accepted: wire::id("accepted", &message.accepted)?,
            amount: message.amount,
        };
        Ok(Self { paid, before: message.before })
    }

    fn to_wire(self) -> wire::ClaimLeaf {
        let Self { paid, before } = self;
        let Paid { position, index, target, target_slot, accepted, amount } = paid;
        wire::ClaimLeaf {
            position: Some(position.into()),
            index,
            target: wire::bytes(target),
            target_slot,
            accepted: wire::bytes(accepted),
            amount,
            before,
        }
    }
}

/// A leaf with its siblings up to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafPath {
    /// The leaf.
    pub leaf: Leaf,
    /// The siblings.
    pub siblings: Vec<Hash>,
}

impl LeafPath {
    /// Reads the wire form.
    ///
    /// # Errors
    /// A field that is missing or of a wrong length.
    pub fn from_wire(message: &wire::ClaimPath) -> Result<Self, WireError> {
        let siblings: Result<Vec<Hash>, _> =
            message.siblings.iter().map(|sibling| wire::hash("siblings", sibling)).collect();
        Ok(Self { leaf: Leaf::from_wire(message.leaf.as_ref())?, siblings: siblings? })
    }

    /// The wire form.
    pub fn to_wire(&self) -> wire::ClaimPath {
        let siblings = self.siblings.iter().map(wire::bytes).collect();
        wire::ClaimPath { leaf: Some(self.leaf.to_wire()), siblings }
    }
}

/// What a messenger asks for what it carried for one source in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Who asks.
    pub messenger: Address,
    /// The source process.
    pub source: Id,
    /// Its window, from 1 on.
    pub window: u64,
    /// How many leaves there are: 1 to [`LEAVES_MAX`].
    pub count: u32,
    /// The root of their tree.
    pub root: Hash,
    /// The sum of their amounts, in the ledger's smallest unit.
    pub sum: u64,
}

impl Claim {
    /// Whether the path shows that its leaf is number `number` of the claim.
    pub fn holds(&self, number: u32, path: &LeafPath) -> bool {
        let (number, count) = (number as usize, self.count as usize);
        let root = merkle::root_of_path(path.leaf.hash(), number, count, &path.siblings);
        count <= LEAVES_MAX && root == Some(self.root)
    }

    /// Whether a shown leaf is what one of this number may be, after the leaf before it. Where this
    /// holds of all leaves no push stands in the claim twice, and its sum is theirs.
    pub(super) fn is_told(&self, number: u32, leaf: &Leaf, previous: Option<&Leaf>) -> bool {
        leaf.follows(previous) && (number + 1 != self.count || leaf.sum() == Some(self.sum))
    }
}

/// Why pushes make no claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// None, or more than a claim takes.
    #[error("{0} pushes; a claim holds 1 to {LEAVES_MAX}")]
    Count(usize),
    /// One push twice.
    #[error("the push of {0}, entry {1}, is claimed twice")]
    Twice(Position, u32),
    /// Pushes of another window.
    #[error("the push of {0} is not of the window")]
    Window(Position),
    /// A push that no process sends.
    #[error("there is no push of {0}, entry {1}")]
    Place(Position, u32),
    /// Bytes that [`ClaimTree::encode`] does not write.
    #[error("not pushes of {} bytes each, by rising position and index", Paid::BYTES)]
    Bytes,
    /// More than an amount can be.
    #[error("the sum of the amounts is too large")]
    Sum,
}

/// The leaves of a claim, as its messenger keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimTree {
    claim: Claim,
    leaves: Vec<Leaf>,
    hashes: Vec<Hash>,
}

impl ClaimTree {
    /// The claim of these pushes, in any order.
    ///
    /// # Errors
    /// What a ledger would not take, or could not be answered for.
    pub fn new(
        messenger: Address,
        source: Id,
        window: u64,
        mut pushes: Vec<Paid>,
    ) -> Result<Self, ClaimError> {
        if pushes.is_empty() || pushes.len() > LEAVES_MAX {
            return Err(ClaimError::Count(pushes.len()));
        }
        pushes.sort_by_key(|paid| (paid.position, paid.index));
        let mut sum = 0_u64;
        let mut leaves: Vec<Leaf> = Vec::with_capacity(pushes.len());
        for paid in pushes {
            let leaf = Leaf { paid, before: sum };
            if window_of(paid.position.slot) != window {
                return Err(ClaimError::Window(paid.position));
            }
            if paid.key().is_none() {
                return Err(ClaimError::Place(paid.position, paid.index));
            }
            if leaves.last().is_some_and(|last| last.place() == leaf.place()) {
                return Err(ClaimError::Twice(paid.position, paid.index));
            }
            sum = leaf.sum().ok_or(ClaimError::Sum)?;
            leaves.push(leaf);
        }
        let hashes: Vec<Hash> = leaves.iter().map(Leaf::hash).collect();
        let root = merkle::root(hashes.clone());
        let claim = Claim { messenger, source, window, count: leaves.len() as u32, root, sum };
        Ok(Self { claim, leaves, hashes })
    }

    /// The pushes, for who makes the tree himself: each [`Paid::BYTES`] bytes of position, index u32, target,
    /// slot u64, receipt and amount u64, by rising position and index.
    pub fn encode(&self) -> Vec<u8> {
        self.leaves.iter().flat_map(|leaf| leaf.paid.to_bytes()).collect()
    }

    /// The claim of pushes that [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// As [`new`](Self::new), and any other bytes.
    pub fn decode(messenger: Address, source: Id, window: u64, bytes: &[u8]) -> Result<Self, ClaimError> {
        let (pushes, []) = bytes.as_chunks::<{ Paid::BYTES }>() else { return Err(ClaimError::Bytes) };
        // Counted before anything is allocated for them.
        if pushes.len() > LEAVES_MAX {
            return Err(ClaimError::Count(pushes.len()));
        }
        let tree = Self::new(messenger, source, window, pushes.iter().map(Paid::from_bytes).collect())?;
        if tree.encode() == bytes { Ok(tree) } else { Err(ClaimError::Bytes) }
    }

    /// What goes to the ledger.
    pub const fn claim(&self) -> &Claim {
        &self.claim
    }

    /// The leaves, by number.
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// The leaf of this number with its path; none if there is none.
    pub fn path(&self, number: u32) -> Option<LeafPath> {
        let leaf = *self.leaves.get(number as usize)?;
        Some(LeafPath { leaf, siblings: merkle::path(&self.hashes, number as usize)? })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_largest_claim_has_the_longest_path() {
        assert_eq!(LEAVES_MAX.next_power_of_two().ilog2() as usize, LEAF_PATH_MAX);
    }

    fn leaf(slot: u64, amount: u64, before: u64) -> Leaf {
        let position = Position::slot(slot);
        let paid =
            Paid { position, index: 0, target: Id([5; 32]), target_slot: 7, accepted: Id([6; 32]), amount };
        Leaf { paid, before }
    }

    /// A claim of any leaves, as a liar makes it.
    fn claimed(leaves: Vec<Leaf>, sum: u64) -> ClaimTree {
        let hashes: Vec<Hash> = leaves.iter().map(Leaf::hash).collect();
        let root = merkle::root(hashes.clone());
        let (messenger, source, count) = (Address([1; 32]), Id([2; 32]), leaves.len() as u32);
        ClaimTree { claim: Claim { messenger, source, window: 1, count, root, sum }, leaves, hashes }
    }

    /// Leaves that cannot be answered for, whatever they pay.
    fn caught(tree: &ClaimTree) -> Vec<u32> {
        let shows = |number: &u32| {
            let shown = |number| {
                let path = tree.path(number).unwrap();
                assert!(tree.claim.holds(number, &path));
                path.leaf
            };
            let previous = number.checked_sub(1).map(shown);
            tree.claim.is_told(*number, &shown(*number), previous.as_ref())
        };
        (0..tree.claim.count).filter(|number| !shows(number)).collect()
    }

    #[test]
    fn every_lie_of_a_claim_has_a_leaf_that_cannot_be_answered_for() {
        let honest = || vec![leaf(256, 5, 0), leaf(257, 7, 5), leaf(300, 1, 12)];
        assert!(caught(&claimed(honest(), 13)).is_empty());
        // A sum that no leaves come to.
        assert_eq!(caught(&claimed(honest(), 14)), [2]);
        assert_eq!(caught(&claimed(honest(), 12)), [2]);
        // Leaves that hide an addition.
        assert_eq!(caught(&claimed(vec![leaf(256, 5, 0), leaf(257, 7, 1_005)], 1_012)), [1]);
        assert_eq!(caught(&claimed(vec![leaf(256, 5, 1_000), leaf(257, 7, 1_005)], 1_012)), [0]);
        assert_eq!(caught(&claimed(vec![leaf(256, 2, u64::MAX), leaf(257, 1, 1)], 2)), [0, 1]);
        // One push twice, next to each other and apart.
        assert_eq!(caught(&claimed(vec![leaf(256, 5, 0), leaf(256, 5, 5)], 10)), [1]);
        let apart = vec![leaf(256, 5, 0), leaf(257, 7, 5), leaf(256, 5, 12)];
        assert_eq!(caught(&claimed(apart, 17)), [2]);
    }

    #[test]
    fn each_push_of_a_window_has_a_number_of_its_own() {
        let at = |epoch, slot, tick, index| {
            let position = Position { epoch, slot, tick };
            Paid { position, index, ..leaf(256, 1, 0).paid }.key()
        };
        let mut keys = Vec::new();
        for epoch in [0, 1, (1 << 34) - 1] {
            for slot in [256, 257, 511] {
                for tick in [0, 1, 4_095] {
                    keys.extend([0, 1, 999].map(|index| at(epoch, slot, tick, index).unwrap()));
                }
            }
        }
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
        assert_eq!(at(0, 256, 0, 0), at(0, 512, 0, 0), "windows count for themselves");
        for none in [at(1 << 34, 256, 0, 0), at(0, 256, 4_096, 0), at(0, 256, 0, 1_000)] {
            assert_eq!(none, None);
        }
        // Whoever carried it, and wherever to.
        let one = Paid { target: Id([8; 32]), target_slot: 0, accepted: Id([9; 32]), ..leaf(300, 1, 0).paid };
        assert_eq!(one.key(), leaf(300, 7, 3).paid.key());
    }

    proptest! {
        /// However leaves are chosen: either they rise and come to the sum, or one is caught.
        #[test]
        fn a_claim_that_is_told_in_every_leaf_is_a_sum_of_distinct_pushes(
            leaves in proptest::collection::vec((256..260_u64, 0..3_u64, 0..6_u64), 1..6),
            sum in 0..9_u64,
        ) {
            let leaves: Vec<Leaf> =
                leaves.into_iter().map(|(slot, amount, before)| leaf(slot, amount, before)).collect();
            let rising = leaves.is_sorted_by(|a, b| a.place() < b.place());
            let total: u64 = leaves.iter().map(|leaf| leaf.paid.amount).sum();
            let is_caught = !caught(&claimed(leaves, sum)).is_empty();
            prop_assert!(is_caught || (rising && total == sum));
        }
    }
}
