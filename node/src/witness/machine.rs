//! The witness's rules: evidence is kept and told once, durable before said, and no liar can fill
//! the disk with it.
//!
//! Evidence that comes in here is verified and concerns the process it is kept for.

use std::collections::{BTreeMap, BTreeSet};

use weft_protocol::evidence::Evidence;
use weft_protocol::{Address, Effects, Hash, Id, Machine, Now, Verified};

/// Evidence kept of one key in one process. One pair convicts; a liar can sign any number.
pub const KEPT_PER_KEY_MAX: usize = 4;

/// Messengers of one process of which evidence is kept: they need no office, and anybody can make keys.
pub const MESSENGERS_MAX: usize = 64;

/// Names whoever waits for a verdict on what it brought.
pub type Ticket = u64;

/// What the witness hears.
#[derive(Debug)]
pub enum Input {
    /// Evidence that was kept in an earlier life.
    Recover {
        /// Of which process.
        process: Id,
        /// Whom it convicts.
        culprit: Address,
        /// Its name.
        name: Hash,
        /// Whether it is of a messenger's offers.
        is_messenger: bool,
    },
    /// Evidence that this node made, or that a peer brought.
    Found {
        /// Of which process.
        process: Id,
        /// What.
        evidence: Box<Verified<Evidence>>,
        /// Who waits for a verdict; nobody if it was made here.
        ticket: Option<Ticket>,
    },
    /// It is on disk.
    Persisted {
        /// Its name.
        name: Hash,
    },
    /// It is not.
    PersistFailed {
        /// Its name.
        name: Hash,
    },
}

/// What the witness asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Put it on disk; answer with `Persisted` or `PersistFailed`.
    Persist {
        /// Of which process.
        process: Id,
        /// Its name.
        name: Hash,
        /// What.
        evidence: Box<Verified<Evidence>>,
    },
    /// It is durable and new here: tell people.
    Tell {
        /// Of which process.
        process: Id,
        /// What.
        evidence: Box<Verified<Evidence>>,
    },
    /// It is durable and was made here: pass it on.
    Publish {
        /// Of which process.
        process: Id,
        /// What.
        evidence: Box<Verified<Evidence>>,
    },
    /// Whether what was brought is worth passing on.
    Verdict {
        /// To whom.
        ticket: Ticket,
        /// Whether it is new and kept.
        worth: bool,
    },
}

/// Keeps evidence of any number of processes.
#[derive(Debug, Default)]
pub struct Witness {
    kept: BTreeMap<(Id, Address), BTreeSet<Hash>>,
    /// Of each process the messengers among them.
    messengers: BTreeMap<Id, BTreeSet<Address>>,
    writing: BTreeMap<Hash, Writing>,
}

/// Evidence on its way to disk.
#[derive(Debug)]
struct Writing {
    process: Id,
    evidence: Box<Verified<Evidence>>,
    brought_by: Vec<Ticket>,
    made_here: bool,
}

impl Witness {
    fn found(
        &mut self,
        process: Id,
        evidence: Box<Verified<Evidence>>,
        ticket: Option<Ticket>,
        effects: &mut Effects<Effect>,
    ) {
        let name = evidence.name();
        if let Some(writing) = self.writing.get_mut(&name) {
            writing.made_here |= ticket.is_none();
            writing.brought_by.extend(ticket);
            return;
        }
        let has_place = !is_messenger(&evidence) || self.takes_messenger(process, evidence.culprit());
        let place = (process, evidence.culprit());
        let is_kept = has_place && {
            let kept = self.kept.entry(place).or_default();
            kept.len() < KEPT_PER_KEY_MAX && kept.insert(name)
        };
        if !is_kept {
            effects.extend(ticket.map(|ticket| Effect::Verdict { ticket, worth: false }));
            return;
        }
        let (made_here, brought_by) = (ticket.is_none(), ticket.into_iter().collect());
        effects.push(Effect::Persist { process, name, evidence: evidence.clone() });
        self.writing.insert(name, Writing { process, evidence, brought_by, made_here });
    }

    fn takes_messenger(&mut self, process: Id, culprit: Address) -> bool {
        let known = self.messengers.entry(process).or_default();
        let has_place = known.len() < MESSENGERS_MAX || known.contains(&culprit);
        if has_place {
            known.insert(culprit);
        }
        has_place
    }
}

/// Whether evidence is of a messenger's offers.
pub const fn is_messenger(evidence: &Evidence) -> bool {
    matches!(evidence, Evidence::Offers { .. })
}

impl Machine for Witness {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, input: Input, _: Now, effects: &mut Effects<Effect>) {
        match input {
            Input::Recover { process, culprit, name, is_messenger } => {
                if is_messenger {
                    self.messengers.entry(process).or_default().insert(culprit);
                }
                self.kept.entry((process, culprit)).or_default().insert(name);
            }
            Input::Found { process, evidence, ticket } => self.found(process, evidence, ticket, effects),
            Input::Persisted { name } => {
                let Some(writing) = self.writing.remove(&name) else { return };
                let Writing { process, evidence, brought_by, made_here } = writing;
                effects.extend(brought_by.into_iter().map(|ticket| Effect::Verdict { ticket, worth: true }));
                if made_here {
                    effects.push(Effect::Publish { process, evidence: evidence.clone() });
                }
                effects.push(Effect::Tell { process, evidence });
            }
            Input::PersistFailed { name } => {
                let Some(writing) = self.writing.remove(&name) else { return };
                if let Some(kept) = self.kept.get_mut(&(writing.process, writing.evidence.culprit())) {
                    kept.remove(&name);
                }
                let verdict = |ticket| Effect::Verdict { ticket, worth: false };
                effects.extend(writing.brought_by.into_iter().map(verdict));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::attestation::Statement;
    use weft_protocol::crypto::Signer;
    use weft_protocol::offer::OfferTerms;
    use weft_protocol::{Network, Position};

    use super::*;

    const PROCESS: Id = Id([1; 32]);

    /// An attestor that signs `first` and `second` as outcomes of one position.
    fn evidence(first: u8, second: u8) -> Box<Verified<Evidence>> {
        let said = |running| {
            let statement = Statement {
                network: Network(7),
                process: PROCESS,
                position: Position::slot(3),
                assignment: Id([2; 32]),
                running: Hash([running; 32]),
                state_root: Hash::ZERO,
                rules: 0,
            };
            statement.sign(&Signer::from_seed(&[9; 32])).unwrap()
        };
        Box::new(Evidence::of_attestations(&said(first), &said(second)).unwrap())
    }

    fn hear(witness: &mut Witness, input: Input) -> Vec<Effect> {
        let mut effects = Effects::new();
        witness.handle(input, Now(0), &mut effects);
        effects.drain().collect()
    }

    fn found(evidence: &Verified<Evidence>, ticket: Option<Ticket>) -> Input {
        Input::Found { process: PROCESS, evidence: Box::new(evidence.clone()), ticket }
    }

    #[test]
    fn it_is_told_and_passed_on_once_and_only_when_durable() {
        let mut witness = Witness::default();
        let evidence = evidence(1, 2);
        let (process, name) = (PROCESS, evidence.name());
        let persist = Effect::Persist { process, name, evidence: evidence.clone() };
        assert_eq!(hear(&mut witness, found(&evidence, None)), [persist]);
        assert_eq!(hear(&mut witness, found(&evidence, Some(4))), [], "it is on its way");
        let after = hear(&mut witness, Input::Persisted { name });
        let verdict = Effect::Verdict { ticket: 4, worth: true };
        let (publish, tell) = (
            Effect::Publish { process, evidence: evidence.clone() },
            Effect::Tell { process, evidence: evidence.clone() },
        );
        assert_eq!(after, [verdict, publish, tell]);
        assert_eq!(hear(&mut witness, found(&evidence, None)), []);
        assert_eq!(
            hear(&mut witness, found(&evidence, Some(5))),
            [Effect::Verdict { ticket: 5, worth: false }]
        );
    }

    #[test]
    fn what_a_peer_brought_is_not_published_again() {
        let mut witness = Witness::default();
        let evidence = evidence(1, 2);
        hear(&mut witness, found(&evidence, Some(1)));
        let after = hear(&mut witness, Input::Persisted { name: evidence.name() });
        let verdict = Effect::Verdict { ticket: 1, worth: true };
        assert_eq!(after, [verdict, Effect::Tell { process: PROCESS, evidence }]);
    }

    #[test]
    fn a_failed_write_may_be_tried_again() {
        let mut witness = Witness::default();
        let evidence = evidence(1, 2);
        hear(&mut witness, found(&evidence, Some(1)));
        let failed = hear(&mut witness, Input::PersistFailed { name: evidence.name() });
        assert_eq!(failed, [Effect::Verdict { ticket: 1, worth: false }]);
        assert_eq!(hear(&mut witness, found(&evidence, None)).len(), 1);
    }

    #[test]
    fn a_liar_cannot_fill_the_disk_also_not_over_several_lives() {
        let mut witness = Witness::default();
        let culprit = evidence(1, 2).culprit();
        let name = Hash([7; 32]);
        hear(&mut witness, Input::Recover { process: PROCESS, culprit, name, is_messenger: false });
        let kept =
            (2..40).filter(|second| !hear(&mut witness, found(&evidence(1, *second), None)).is_empty());
        assert_eq!(kept.count(), KEPT_PER_KEY_MAX - 1);
    }

    /// Two offers of one key with one number.
    fn offers(key: u8) -> Box<Verified<Evidence>> {
        let offer = |price_per_push| {
            let terms = OfferTerms {
                network: Network(7),
                sequence: 1,
                shards: Vec::new(),
                classes: 0,
                price_per_push,
                price_per_kib: 0,
                max_kib: 1,
                capacity_per_s: 1,
                latency_p50_ms: 0,
                stake: Hash::ZERO,
                valid_from: 0,
                valid_to: 1,
            };
            terms.sign(&Signer::from_seed(&[key; 32])).unwrap()
        };
        Box::new(Evidence::of_offers(&offer(1), &offer(2)).unwrap())
    }

    #[test]
    fn made_up_messengers_cannot_fill_the_disk() {
        let mut witness = Witness::default();
        let culprit = offers(200).culprit();
        let name = Hash([7; 32]);
        hear(&mut witness, Input::Recover { process: PROCESS, culprit, name, is_messenger: true });
        let kept = (0..200).filter(|key| !hear(&mut witness, found(&offers(*key), None)).is_empty());
        assert_eq!(kept.count(), MESSENGERS_MAX - 1);
        assert_eq!(hear(&mut witness, found(&offers(200), None)).len(), 1, "one that has a place");
        assert_eq!(witness.kept.len(), MESSENGERS_MAX);
        // They take nothing from who holds an office.
        assert_eq!(hear(&mut witness, found(&evidence(1, 2), None)).len(), 1);
    }
}
