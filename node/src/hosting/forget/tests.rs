#![allow(clippy::unwrap_used)]

use weft_protocol::crypto::Signer;
use weft_protocol::data_item::Draft;
use weft_protocol::{Hash, Tag};
use weft_storage::{ClaimRow, EarnedRow, OutboxRow};

use super::*;
use crate::shared::testing::{assigned, in_memory, process_item, slot_row};

const PROCESS: Id = Id([7; 32]);

fn node() -> SharedRef {
    in_memory(Signer::from_seed(&[3; 32]))
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
    let is_leaving = || is_leaving(&shared, &PROCESS).unwrap();
    let leave = begin(&shared, PROCESS).await.unwrap();
    assert!(is_leaving());
    let refused = begin(&shared, PROCESS).await.unwrap_err();
    assert!(matches!(refused, ForgetError::Begun(_)), "{refused:?}");
    drop(leave);
    assert!(!is_leaving());
    let row = weft_storage::ProcessRow {
        module: Id([1; 32]),
        roles: weft_storage::Roles { watches: true, ..Default::default() },
    };
    shared.directory.put_row(PROCESS, row);
    let refused = begin(&shared, PROCESS).await.unwrap_err();
    assert!(matches!(refused, ForgetError::Store(StoreError::Conflict(_))), "{refused:?}");
}

#[tokio::test]
async fn what_was_broken_off_is_finished_but_not_what_somebody_forgets_now() {
    let shared = node();
    let is_begun = || is_begun(&shared, &PROCESS).unwrap();
    shared.store.write(vec![Write::Setting { name: mark(&PROCESS), value: Bytes::new() }]).await.unwrap();
    let leave = begin(&shared, PROCESS).await.unwrap();
    finish(&shared, &|| ControlFlow::Continue(()));
    assert!(is_begun() && is_leaving(&shared, &PROCESS).unwrap());
    drop(leave);
    finish(&shared, &|| ControlFlow::Continue(()));
    assert!(!is_begun() && !is_leaving(&shared, &PROCESS).unwrap());
}

/// Slot 0 of a process of another node, as it is on disk.
fn log_of_another(shared: &Shared) -> (Id, Vec<Write>) {
    let scheduler = Signer::from_seed(&[8; 32]);
    let item = process_item(&scheduler, scheduler.address());
    let process = Process::accept(item.clone(), None, &shared.terms).unwrap().id();
    let row = slot_row(&assigned(process, 0, item.id()), item.id(), &scheduler);
    (process, log::slot_writes(process, 0, row, &[&item]))
}

fn sent(process: Id, index: u32) -> Write {
    let key = OutboxKey { process, position: Position::slot(0), index };
    let row = OutboxRow {
        kind: 0,
        entry: "entry".into(),
        root: None,
        state: OutboxState::Pending,
        attempts: 0,
        next_try_ms: 0,
    };
    Write::Outbox { key, row }
}

/// What a process sends while its forgetting waits for it is lost only where its operator is told.
#[tokio::test]
async fn what_is_sent_after_the_first_look_is_lost_only_with_leave() {
    let shared = node();
    let (process, mut writes) = log_of_another(&shared);
    let told = [carrying::names(&process).to_vec(), vec![prune::setting(&process)]].concat();
    writes.extend(told.iter().map(|name| Write::Setting { name: name.clone(), value: Bytes::new() }));
    shared.store.write(writes).await.unwrap();
    let is_told = |name: &String| shared.store.read().unwrap().setting(name).unwrap().is_some();
    let go_on = || ControlFlow::Continue(());
    let leave = begin(&shared, process).await.unwrap();
    assert!(check_again(&leave, false).await.unwrap().lost.is_empty());
    // It comes after the last look: it is sent, or nothing goes.
    let none = check_again(&leave, true).await.unwrap();
    shared.store.write(vec![sent(process, 0)]).await.unwrap();
    let refused = forget(&leave, &none, &mut |_, _| go_on()).unwrap_err();
    assert!(matches!(refused, StoreError::Conflict(_)), "{refused:?}");
    assert_eq!(shared.store.read().unwrap().outbox_pending(&process, 9).unwrap().len(), 1);
    assert!(told.iter().all(is_told), "the log is whole, with what is noted of it");
    let refused = check_again(&leave, false).await.unwrap_err();
    assert!(matches!(refused, ForgetError::Lost { .. }), "{refused:?}");
    let accepted = check_again(&leave, true).await.unwrap();
    assert!(accepted.lost.len() == 1 && accepted.lost[0].contains("wait to be delivered"), "{accepted:?}");
    assert_eq!(forget(&leave, &accepted, &mut |_, _| go_on()).unwrap().slots, 1);
    assert!(!is_begun(&shared, &process).unwrap());
    assert!(shared.store.read().unwrap().head(&process).unwrap().is_none() && !told.iter().any(is_told));
}
