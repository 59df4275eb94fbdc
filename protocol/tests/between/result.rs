//! Proven results: what shows a reader who computed nothing what an item came to, and everything that does not.

use bytes::Bytes;
use weft_protocol::assignment::{Assignment, AssignmentDraft};
use weft_protocol::attestation::{NoQuorum, Statement};
use weft_protocol::outcome::proof::{self, NoProof, OUTCOMES_AFTER_MAX, Proven};
use weft_protocol::outcome::{Code, Outcome, Running};
use weft_protocol::{DataItem, Hash, Id, Network, Position, Verified, wire};

use crate::fixture::*;

const ITEM: Id = Id([99; 32]);
const OTHER: Id = Id([98; 32]);

/// A position that a process answered at, and those behind it.
struct Case {
    sender: Sender,
    assignment: Verified<DataItem>,
    /// Outcomes behind it; the last is the one that attestors signed.
    behind: Vec<Outcome>,
}

fn assignment(sender: &Sender, signer: u8, item: Id, slot: u64) -> Verified<DataItem> {
    let draft = AssignmentDraft {
        network: NETWORK,
        process: sender.process.id(),
        epoch: 0,
        slot,
        hash_chain: Hash([3; 32]),
        time: time_of(slot),
        message: Some(item),
        excludes: Vec::new(),
    };
    draft.draft().sign(&key(signer)).unwrap()
}

impl Case {
    fn new(outcome: Outcome, behind: usize) -> Self {
        let sender = Sender { outcome, ..Sender::new(true) };
        let slot = sender.outcome.position.slot;
        let assignment = assignment(&sender, SCHEDULER, ITEM, slot);
        let sender = Sender { assignment: Assignment::from_item(&assignment).unwrap().id, ..sender };
        let behind = (1..=behind as u64).map(|more| Outcome::empty(Position::slot(slot + more))).collect();
        Self { sender, assignment, behind }
    }

    fn running(&self) -> Running {
        self.sender.before.then(&self.sender.outcome.hash())
    }

    /// What attestors sign of the last position.
    fn statement(&self) -> Statement {
        let said = self.sender.statement();
        let running = self.behind.iter().fold(self.running(), |running, next| running.then(&next.hash()));
        match self.behind.last() {
            None => said,
            Some(last) => {
                Statement { position: last.position, running: running.0, assignment: OTHER, ..said }
            }
        }
    }

    fn signed(&self, statement: &Statement, seeds: &[u8]) -> Vec<wire::Attestation> {
        seeds.iter().map(|&seed| statement.sign(&key(seed)).unwrap().to_wire()).collect()
    }

    fn answer(&self) -> wire::OutcomeResponse {
        let outcome = &self.sender.outcome;
        let root = outcome.outbox.entries().iter().find_map(|entry| entry.root);
        let after: Vec<u8> = self.behind.iter().flat_map(|outcome| outcome.hash().0).collect();
        wire::OutcomeResponse {
            position: Some(outcome.position.into()),
            code: outcome.code.number().into(),
            running: wire::bytes(self.running().0),
            result: outcome.result_json(Some(123)).into(),
            proof: Some(wire::ResultProof {
                assignment: self.assignment.raw().clone(),
                root: root.map(wire::bytes).unwrap_or_default(),
                before: wire::bytes(self.sender.before.0),
                skipped: outcome.skipped,
                after: after.into(),
                attestations: self.signed(&self.statement(), &COMPUTE[..2]),
            }),
        }
    }

    fn verify(&self, answer: &wire::OutcomeResponse) -> Result<Proven, NoProof> {
        proof::verify(&self.sender.process, ITEM, answer)
    }

    /// The verdict on an answer of which something was changed.
    fn spoilt(
        &self,
        spoil: impl FnOnce(&mut wire::OutcomeResponse, &mut wire::ResultProof),
    ) -> Option<NoProof> {
        let mut answer = self.answer();
        let mut proof = answer.proof.take().unwrap();
        spoil(&mut answer, &mut proof);
        answer.proof = Some(proof);
        self.verify(&answer).err()
    }
}

fn position() -> Position {
    Position::slot(9)
}

/// Outcomes of every kind.
fn outcomes() -> Vec<Outcome> {
    let of = |text: &str| Outcome::of_result(position(), text.as_bytes(), Some(ROOT));
    let mut all = vec![
        of(&result()),
        of(r#"{"ok":true,"response":{"Output":12.5}}"#),
        of(
            r#"{"ok":true,"response":{"Output":{"data":"\ud800 x","prompt":"> "},"Messages":[{"Target":7}]}}"#,
        ),
        of(r#"{"ok":true,"response":{"Output":"a","Error":"b","Messages":[{"Target":7}]}}"#),
        of(r#"{"ok":false,"response":{"thrown":[1e21,null]}}"#),
        of(r#"{"ok":true,"response":{"Output":"not enough memory for buffer allocation"}}"#),
        of("no result"),
        Outcome::empty(position()),
        Outcome::duplicate(position(), 4),
    ];
    let codes = [Code::Trap, Code::OutOfGas, Code::OutOfMemory, Code::Depth, Code::Malformed, Code::Refused];
    all.extend(codes.map(|code| Outcome::failed(position(), code)));
    all
}

#[test]
fn results_of_every_kind_are_proven_at_their_position_and_from_behind() {
    for outcome in outcomes() {
        for behind in [0, 1, 1_500] {
            let (code, case) = (outcome.code, Case::new(outcome.clone(), behind));
            let proven = case.verify(&case.answer());
            let attestors = COMPUTE[..2].iter().map(|&seed| address(seed)).collect();
            let running = case.running().0;
            assert_eq!(proven, Ok(Proven { position: position(), code, running, attestors }), "{outcome:?}");
        }
    }
}

#[test]
fn no_result_is_proven_as_another() {
    let shown: Vec<_> = outcomes().into_iter().map(|outcome| Case::new(outcome, 1)).collect();
    for (at, case) in shown.iter().enumerate() {
        let others = shown.iter().enumerate().filter(|(_, lie)| lie.sender.outcome != case.sender.outcome);
        for (other, lie) in others {
            let found = case.spoilt(|answer, _| {
                let (code, result) = (lie.sender.outcome.code, lie.sender.outcome.result_json(None));
                (answer.code, answer.result) = (code.number().into(), result.into());
            });
            assert!(found.is_some(), "{at} is shown as {other}");
        }
    }
}

#[test]
fn gas_alone_may_be_said_otherwise() {
    let case = Case::new(outcomes().remove(0), 0);
    for gas in [None, Some(0), Some(9_000_000_000_000)] {
        let result = case.sender.outcome.result_json(gas);
        assert_eq!(case.spoilt(|answer, _| answer.result = result.into()), None);
    }
    let spaced = case.sender.outcome.result_json(None).replacen(':', ": ", 1);
    assert_eq!(case.spoilt(|answer, _| answer.result = spaced.into()), Some(NoProof::Result));
}

#[test]
fn whatever_is_changed_proves_nothing() {
    for behind in [0, 3] {
        let case = Case::new(outcomes().remove(0), behind);
        assert_eq!(case.spoilt(|_, _| ()), None);
        let mut bare = case.answer();
        bare.proof = None;
        assert_eq!(case.verify(&bare), Err(NoProof::Absent));

        let another = |signer, item, slot| assignment(&case.sender, signer, item, slot).raw().clone();
        for wrong in [
            another(SCHEDULER, OTHER, 9),
            another(SCHEDULER, ITEM, 8),
            another(STRANGER, ITEM, 9),
            Bytes::new(),
            case.sender.process.item().raw().clone(),
        ] {
            let found = case.spoilt(|_, proof| proof.assignment = wrong);
            assert_eq!(found, Some(NoProof::Assignment));
        }
        let elsewhere = Some(Position { tick: 1, ..position() }.into());
        assert_eq!(case.spoilt(|answer, _| answer.position = elsewhere), Some(NoProof::Assignment));

        let running = Some(NoProof::Running);
        assert_eq!(case.spoilt(|answer, _| answer.running = wire::bytes(Hash([1; 32]))), running);
        assert_eq!(case.spoilt(|_, proof| proof.before = wire::bytes(Hash([1; 32]))), running);
        assert_eq!(case.spoilt(|_, proof| proof.root = wire::bytes(OTHER)), running);
        assert_eq!(case.spoilt(|_, proof| proof.root = Bytes::new()), running);
        assert_eq!(case.spoilt(|_, proof| proof.skipped = 1), running);
        assert_eq!(
            case.spoilt(|_, proof| proof.after = [&proof.after[..], &[0; 32]].concat().into()),
            running
        );
    }
    let case = Case::new(outcomes().remove(0), 0);
    let long = vec![0; 32 * (OUTCOMES_AFTER_MAX + 1)];
    for after in [vec![0; 31], long] {
        assert!(matches!(case.spoilt(|_, proof| proof.after = after.into()), Some(NoProof::Wire(_))));
    }
}

#[test]
fn only_a_quorum_of_its_attestors_proves() {
    for behind in [0, 2] {
        let case = Case::new(outcomes().remove(0), behind);
        let said = case.statement();
        let with = |attestations| case.spoilt(|_, proof| proof.attestations = attestations);
        let few = |signed| Some(NoProof::Quorum(NoQuorum::Few { signed, quorum: 2 }));
        assert_eq!(with(case.signed(&said, &COMPUTE)), None, "all three are more than enough");
        assert_eq!(with(case.signed(&said, &COMPUTE[..1])), few(1));
        assert_eq!(with(case.signed(&said, &[COMPUTE[0], COMPUTE[0]])), few(1));
        assert_eq!(with(case.signed(&said, &[COMPUTE[0], STRANGER, SCHEDULER])), few(1));
        assert_eq!(with(Vec::new()), few(0));

        let mut forged = case.signed(&said, &COMPUTE[..2]);
        forged[1].signature = forged[0].signature.clone();
        assert!(matches!(with(forged), Some(NoProof::Quorum(NoQuorum::Signature(_)))));
        let other = Statement { running: Hash([5; 32]), ..said };
        let mixed = [case.signed(&said, &COMPUTE[..1]), case.signed(&other, &COMPUTE[1..2])].concat();
        assert_eq!(with(mixed), Some(NoProof::Quorum(NoQuorum::Statement)));
        // A quorum that signed for something else.
        assert_eq!(with(case.signed(&other, &COMPUTE)), Some(NoProof::Running));
        for elsewhere in [
            Statement { process: OTHER, ..said },
            Statement { rules: 9, ..said },
            Statement { position: Position { epoch: 1, ..said.position }, ..said },
        ] {
            let found = with(case.signed(&elsewhere, &COMPUTE));
            assert_eq!(found, Some(NoProof::Quorum(NoQuorum::Statement)));
        }
        let foreign = Statement { network: Network(8), ..said };
        assert!(with(case.signed(&foreign, &COMPUTE)).is_some());
        // What was signed stands before the result, or at it with another assignment.
        let early = Statement { position: Position::slot(8), ..said };
        assert_eq!(with(case.signed(&early, &COMPUTE)), Some(NoProof::Running));
        let swapped = Statement { position: position(), assignment: Id([1; 32]), ..said };
        assert_eq!(with(case.signed(&swapped, &COMPUTE)), Some(NoProof::Running));
    }
}
