//! What several gateways say together. One alone may lie, fork, lag or forget; what `quorum` of them say counts.

use std::collections::BTreeMap;

/// What a gateway says of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Nothing, in time.
    Silent,
    /// That there is none.
    Unknown,
    /// That it waits for a block.
    Pending,
    /// That a block holds it.
    Mined {
        /// The height of the block.
        height: u64,
        /// The name of the block.
        block: String,
        /// Blocks from that one to the newest, both included.
        confirmations: u64,
    },
}

/// What they come to together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A block holds it, deep enough to stay.
    Final {
        /// The height of the block.
        height: u64,
        /// The name of the block.
        block: String,
    },
    /// A block holds it, which may still be replaced.
    Mined {
        /// The height of the block.
        height: u64,
        /// Blocks on it, itself included.
        confirmations: u64,
    },
    /// No block holds it.
    Open,
    /// Too few say the same.
    Unclear,
}

/// What `told` comes to where `quorum` of them must say the same, and a block stays under `confirmations`.
pub fn verdict(told: &[Told], quorum: usize, confirmations: u64) -> Verdict {
    let mut blocks: BTreeMap<(u64, &str), Vec<u64>> = BTreeMap::new();
    let mut open = 0;
    for one in told {
        match one {
            Told::Silent => {}
            Told::Unknown | Told::Pending => open += 1,
            Told::Mined { height, block, confirmations } => {
                blocks.entry((*height, block)).or_default().push(*confirmations);
            }
        }
    }
    for ((height, block), depths) in blocks {
        // The depth that so many of them reach: one alone could say any.
        let Some(depth) = reached(depths.into_iter(), quorum) else { continue };
        return if depth >= confirmations {
            Verdict::Final { height, block: block.to_owned() }
        } else {
            Verdict::Mined { height, confirmations: depth }
        };
    }
    if open >= quorum { Verdict::Open } else { Verdict::Unclear }
}

/// The largest number that `quorum` of those told reach: fewer liars than that cannot raise it above all that is
/// true, nor lower it below all of it.
pub fn reached(told: impl Iterator<Item = u64>, quorum: usize) -> Option<u64> {
    let mut told: Vec<u64> = told.collect();
    told.sort_unstable_by(|a, b| b.cmp(a));
    told.get(quorum.checked_sub(1)?).copied()
}

/// What `quorum` of them say; the one that most say, where that are several.
pub fn agreed<T: Ord>(told: impl Iterator<Item = T>, quorum: usize) -> Option<T> {
    let mut votes: BTreeMap<T, usize> = BTreeMap::new();
    for one in told {
        *votes.entry(one).or_default() += 1;
    }
    let most = votes.into_iter().max_by_key(|(_, votes)| *votes);
    most.filter(|(_, votes)| *votes >= quorum).map(|(one, _)| one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mined(height: u64, block: &str, confirmations: u64) -> Told {
        Told::Mined { height, block: block.into(), confirmations }
    }

    #[test]
    fn one_alone_makes_nothing_final_and_hides_nothing() {
        let liar = mined(5, "false", 1_000);
        let honest = mined(7, "true", 20);
        let place = |height, block: &str| Verdict::Final { height, block: block.into() };
        assert_eq!(verdict(&[liar.clone(), honest.clone(), honest.clone()], 2, 20), place(7, "true"));
        assert_eq!(verdict(&[liar.clone(), honest.clone(), Told::Silent], 2, 20), Verdict::Unclear);
        assert_eq!(verdict(&[Told::Unknown, honest.clone(), honest.clone()], 2, 20), place(7, "true"));
        assert_eq!(verdict(&[liar, Told::Unknown, Told::Pending], 2, 20), Verdict::Open);
        // A depth that one says counts as that of the next.
        let deeper = mined(7, "true", 99);
        assert_eq!(
            verdict(&[deeper, mined(7, "true", 3)], 2, 20),
            Verdict::Mined { height: 7, confirmations: 3 }
        );
        assert_eq!(verdict(&[mined(7, "a", 50), mined(7, "b", 50)], 2, 20), Verdict::Unclear);
        assert_eq!(verdict(&[honest], 1, 20), place(7, "true"));
        assert_eq!(verdict(&[], 1, 20), Verdict::Unclear);
    }

    #[test]
    fn a_number_lies_between_those_of_honest_gateways() {
        let reached = |told: &[u64]| reached(told.iter().copied(), 2);
        assert_eq!(reached(&[100, 101, 1_000_000]), Some(101));
        assert_eq!(reached(&[0, 101, 100]), Some(100));
        assert_eq!(reached(&[100]), None);
        assert_eq!(super::reached([1].into_iter(), 0), None);
        assert_eq!(agreed(["a", "b", "a"].into_iter(), 2), Some("a"));
        assert_eq!(agreed(["a", "b"].into_iter(), 2), None);
    }
}
