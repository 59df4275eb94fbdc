//! Attestors that contradict each other: a node that computes finds out who was wrong, and keeps what both said.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use weft_node::control::api::{DiskRequest, EvidenceInfo};
use weft_node::recover::RecoverReport;
use weft_protocol::attestation::{Attestation, Statement};
use weft_protocol::crypto::Signer;
use weft_protocol::evidence::{Evidence, Judgement};
use weft_protocol::wire::announcement::Body;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{Hash, Id, Position, wire};

use crate::recovered::told;
use crate::support::{Node, Stranger, announcement, key, network, until};

/// Judgements of one key that are kept.
const JUDGED_MAX: usize = weft_node::witness::judge::machine::JUDGED_PER_KEY_MAX;

/// What the node attests of a slot, once it does.
async fn truth(node: &Stranger, process: Id, slot: u64) -> Attestation {
    until("the node's attestation", || async {
        let process = Bytes::copy_from_slice(process.as_ref());
        let position = Some(wire::Position { epoch: 0, slot, tick: 0 });
        let ask = Ask::Attestations(wire::AttestationsRequest { process, position });
        let Answer::Attestations(answer) = node.ask(ask).await else { panic!("no attestations") };
        let own = answer.attestations.first()?;
        Some(Attestation::clone(&*Attestation::from_wire(own, network()).unwrap().verify().unwrap()))
    })
    .await
}

/// Attests another outcome than there is.
async fn lie(liar: &Stranger, by: &Signer, truth: &Attestation) -> Statement {
    let said = *truth.statement();
    let said = Statement { running: Hash(said.running.0.map(|byte| !byte)), ..said };
    let body = Body::Attestation(said.sign(by).unwrap().to_wire());
    liar.publish(said.process, announcement(said.process, body)).await;
    said
}

async fn evidence(node: &Node, process: Id) -> Vec<EvidenceInfo> {
    node.detail(process).await.evidence
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_attestors_a_replay_says_who_was_wrong_and_both_statements_are_kept() {
    let node = Node::start(150).await;
    let (own, liar) = (node.signer.address().to_string(), key(151).address());
    let both = format!("{own},{liar}");
    let process = node.counter_with(&[("Compute", &both), ("Compute-Quorum", "2")]).await;
    let stranger = Stranger::on(&node, process, 151).await;
    let first = truth(&stranger, process, 0).await;
    assert_ne!(first.statement().state_root, Hash::ZERO, "slot 0 is a boundary");
    // A key that the process does not name has nothing to say, and costs no replay.
    lie(&stranger, &key(152), &first).await;
    let said = lie(&stranger, &key(151), &first).await;
    let judged = until("a judgement", || async { evidence(&node, process).await.into_iter().next() }).await;
    assert_eq!(judged.culprit, liar);
    assert!(judged.text.contains(&format!("attestor {liar} was wrong about position")), "{}", judged.text);
    assert!(judged.text.ends_with(&format!("as {own} attested")), "{}", judged.text);
    let kept = Judgement::decode(&Bytes::from(STANDARD.decode(&judged.bytes).unwrap()), network()).unwrap();
    assert_eq!((kept.claim.statement(), kept.other.as_ref()), (&said, Some(&first)));
    assert_eq!(kept.truth, Some(*first.statement()));
    // It may go on as it likes: after a few of them it is not argued with.
    for number in 1..=u8::try_from(JUDGED_MAX).unwrap() + 1 {
        let slot = node.increments(process, number).await;
        let newest = truth(&stranger, process, slot).await;
        assert_eq!(newest.statement().position, Position::slot(slot));
        lie(&stranger, &key(151), &newest).await;
        let wanted = usize::from(number + 1).min(JUDGED_MAX);
        until("a further judgement", || async {
            (evidence(&node, process).await.len() >= wanted).then_some(())
        })
        .await;
    }
    let all = evidence(&node, process).await;
    assert_eq!(all.len(), JUDGED_MAX);
    assert!(all.iter().all(|judged| judged.culprit == liar));
    node.stop().await;
}

/// What convicts a key outlives everybody who saw it: it is anchored, and comes back with the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_is_anchored_and_comes_back_with_the_log() {
    let node = Node::set_up(153, &[], |config| {
        config.weave_listen = Some("127.0.0.1:0".parse().unwrap());
        config.anchor_batch_age_ms = 100;
    });
    let node = node.await;
    let (own, liar) = (node.signer.address().to_string(), key(154).address());
    let both = format!("{own},{liar}");
    let process = node.counter_with(&[("Compute", &both), ("Compute-Quorum", "2")]).await;
    let stranger = Stranger::on(&node, process, 154).await;
    let first = truth(&stranger, process, 0).await;
    // One key says two things about one assignment.
    for byte in [1, 2] {
        let said = Statement { running: Hash([byte; 32]), ..*first.statement() };
        let body = Body::Attestation(said.sign(&key(154)).unwrap().to_wire());
        stranger.publish(process, announcement(process, body)).await;
    }
    let convicting = async |node: &Node| {
        let all = evidence(node, process).await;
        all.into_iter().find(|one| {
            let bytes = Bytes::from(STANDARD.decode(&one.bytes).unwrap());
            one.culprit == liar && Evidence::decode(&bytes, network()).is_ok_and(|read| read.verify().is_ok())
        })
    };
    let kept = until("evidence", || convicting(&node)).await;
    until("slot 0 to be anchored", || async { node.detail(process).await.info.anchored.map(drop) }).await;
    let new = Node::start(155).await;
    let from = vec![node.ready.weave_api.clone().unwrap()];
    let back = until("evidence to come back", || async {
        let request = DiskRequest::Recover { process, from: from.clone() };
        let (report, _): (RecoverReport, u64) = told(&new, request).await;
        let back = convicting(&new).await?;
        assert!(report.unproven.iter().any(|text| text.contains(&liar.to_string())), "{report:?}");
        Some(back)
    })
    .await;
    assert_eq!((back.bytes, back.culprit), (kept.bytes, kept.culprit));
    for node in [new, node] {
        node.stop().await;
    }
}
