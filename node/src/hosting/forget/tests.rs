#![allow(clippy::unwrap_used)]

use std::path::Path;

use weft_protocol::crypto::Signer;
use weft_protocol::data_item::Draft;
use weft_protocol::{Hash, Tag};
use weft_storage::{ClaimRow, EarnedRow, MemoryDisk, Store, StoreConfig};

use super::*;
use crate::shared::testing::{NETWORK, shared};

const PROCESS: Id = Id([7; 32]);

fn node() -> SharedRef {
    let signer = Signer::from_seed(&[3; 32]);
    let config = StoreConfig::new(NETWORK, signer.address());
    let store = Store::open_with_backend(MemoryDisk::new(), &config).unwrap();
    shared(Path::new("/nowhere"), signer, store)
}

#[test]
fn only_what_was_written_to_it_goes_with_a_log() {
    let signer = Signer::from_seed(&[4; 32]);
    let item = |target: Option<Id>, kind: &str| {
        let tags = vec![Tag::new("Data-Protocol", "ao"), Tag::new("Type", kind)];
        Draft { target, tags, ..Draft::default() }.sign(&signer).unwrap()
    };
    let is_gone = |target, kind| {
        let item = item(target, kind);
        goes(&PROCESS, &item.id(), item.raw())
    };
    assert!(is_gone(Some(PROCESS), "Message"));
    // What was assigned to it and written to others, or to nobody; a module and a process have other uses.
    assert!(!is_gone(Some(Id([8; 32])), "Message") && !is_gone(None, "Message"));
    assert!(!is_gone(Some(PROCESS), "Module") && !is_gone(Some(PROCESS), "Process"));
    // Its own beginning, whatever it is.
    let own = item(None, "Process");
    assert!(goes(&own.id(), &own.id(), own.raw()));
    assert!(!goes(&PROCESS, &Id([1; 32]), &Bytes::from_static(b"no item")));
}

fn earned(of: u8, target: Id, ledger: Id) -> Vec<Write> {
    let key = OutboxKey { process: Id([of; 32]), position: Position::slot(3), index: 0 };
    let row = EarnedRow {
        ledger,
        target,
        slot: 1,
        accepted: Id([1; 32]),
        amount: 5,
        shown: Hash([1; 32]),
        claim: None,
        next_try_ms: 0,
    };
    vec![Write::Earned { key, row }]
}

fn claim(of: u8, ledger: Id, state: ClaimState) -> Vec<Write> {
    let key = ClaimKey { source: Id([of; 32]), window: 1, number: 0 };
    let row = ClaimRow {
        ledger,
        pushes: Bytes::new(),
        sum: 5,
        state,
        tries: 0,
        next_try_ms: 0,
        challenges: Vec::new(),
    };
    vec![Write::Claim { key, row }]
}

#[tokio::test]
async fn what_is_owed_keeps_a_log() {
    let (other, ledger) = (Id([9; 32]), Id([10; 32]));
    let open = ClaimState::Open { due: 1, due_ms: 1 };
    let all = [
        (earned(7, other, ledger), true),
        (earned(9, PROCESS, ledger), true),
        (earned(9, other, PROCESS), true),
        (earned(9, other, ledger), false),
        (claim(7, ledger, ClaimState::Made), true),
        (claim(9, PROCESS, open.clone()), true),
        (claim(9, ledger, open), false),
        (claim(7, PROCESS, ClaimState::Paid), false),
    ];
    for (writes, is_owed) in all {
        let shared = node();
        let text = format!("{writes:?}");
        // Beside more of others than are read at once.
        let many = (0..ROWS_AT_ONCE as u64 + 5).map(|slot| {
            let Some(Write::Earned { key, row }) = earned(6, other, ledger).pop() else { unreachable!() };
            let position = Position::slot(slot);
            Write::Earned { key: OutboxKey { position, ..key }, row }
        });
        shared.store.write(many.collect()).await.unwrap();
        shared.store.write(writes).await.unwrap();
        let owed = owed(&shared, &shared.store.read().unwrap(), &PROCESS).unwrap();
        assert_eq!(owed.is_some(), is_owed, "{text}: {owed:?}");
    }
}

#[tokio::test]
async fn nothing_is_begun_for_what_is_being_forgotten() {
    let shared = node();
    begin(&shared, PROCESS).await.unwrap();
    assert!(is_leaving(&shared.store.read().unwrap(), &PROCESS).unwrap());
    // What a stop broke off is done by the next turn, and then it is free again.
    finish(&shared, &|| ControlFlow::Continue(()));
    assert!(!is_leaving(&shared.store.read().unwrap(), &PROCESS).unwrap());
    let row = weft_storage::ProcessRow {
        module: Id([1; 32]),
        roles: weft_storage::Roles { watches: true, ..Default::default() },
    };
    shared.directory.put_row(PROCESS, row);
    let refused = begin(&shared, PROCESS).await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict(_)), "{refused:?}");
}
