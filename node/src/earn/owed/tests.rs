//! What is found, and what is given up.
#![allow(clippy::unwrap_used)]

use weft_protocol::crypto::Signer;
use weft_protocol::{Hash, Network};
use weft_storage::{Store, StoreConfig};

use super::*;

const LEDGER: Id = Id([2; 32]);
const HERE: Id = Id([3; 32]);
const HEARD: Id = Id([7; 32]);

fn row(claim: Option<u32>, next_try_ms: u64) -> EarnedRow {
    let (target, accepted, shown) = (Id([4; 32]), Id([5; 32]), Hash([6; 32]));
    EarnedRow { ledger: LEDGER, target, slot: 1, accepted, amount: 10, shown, claim, next_try_ms }
}

fn claim(state: ClaimState) -> ClaimRow {
    let (pushes, challenges) = Default::default();
    ClaimRow { ledger: LEDGER, pushes, sum: 10, state, tries: 1, next_try_ms: 0, challenges }
}

fn key(source: u8, slot: u64, index: u32) -> OutboxKey {
    OutboxKey { process: Id([source; 32]), position: Position::slot(slot), index }
}

#[tokio::test]
async fn windows_are_found_without_what_is_claimed_and_end_when_their_source_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let me = Signer::from_seed(&[1; 32]).address();
    let store = Store::open(&folder.path().join("store.redb"), &StoreConfig::new(Network(7), me)).unwrap();
    let rows = [
        (key(1, 256, 0), row(Some(0), 0)),
        (key(1, 300, 1), row(None, 0)),
        (key(1, 511, 0), row(None, 9)),
        (key(1, 512, 0), row(None, 0)),
        (key(2, 700, 0), row(None, 0)),
        (key(2, 701, 0), row(None, 0)),
    ];
    let writes = rows.map(|(key, row)| Write::Earned { key, row });
    store.write(writes.to_vec()).await.unwrap();
    let reader = store.read().unwrap();
    let found = |but: &BTreeSet<(Id, u64)>, is_followed: bool| {
        let look = Look { now_ms: 5, but, is_followed: &|_| is_followed };
        let found = owing(&reader, &look).unwrap();
        let of = |owing: &Owing| {
            let Owing { key, is_over, pushes, sum, ready, .. } = *owing;
            (key.source.0[0], key.window, is_over, pushes, sum, ready)
        };
        found.iter().map(of).collect::<Vec<_>>()
    };
    let none = BTreeSet::new();
    assert_eq!(
        found(&none, true),
        [(1, 1, false, 2, 20, 10), (1, 2, false, 1, 10, 10), (2, 2, false, 2, 20, 20)]
    );
    // Whoever is paid may leave: what was carried is owed, and claimed.
    assert!(found(&none, false).iter().all(|(_, _, is_over, ..)| *is_over));
    let but = BTreeSet::from([(Id([1; 32]), 1), (Id([2; 32]), 2)]);
    assert_eq!(found(&but, true), [(1, 2, false, 1, 10, 10)]);
    let forgets = forgotten(&reader, &ClaimKey { source: Id([1; 32]), window: 1, number: 0 }).unwrap();
    assert_eq!(forgets.len(), 4, "what is claimed is kept");
}

#[tokio::test]
async fn what_is_not_paid_for_one_source_is_counted_without_those_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let me = Signer::from_seed(&[1; 32]).address();
    let store = Store::open(&folder.path().join("store.redb"), &StoreConfig::new(Network(7), me)).unwrap();
    let (one, none) = (Id([1; 32]), Id([9; 32]));
    let rows = [
        (key(0, 300, 0), row(None, 0)),
        (key(1, 256, 0), row(Some(0), 0)),
        (key(1, 300, 0), row(None, 0)),
        (key(1, u64::from(u32::MAX), 7), row(None, 9)),
        (key(2, 300, 0), row(None, 0)),
    ];
    let mut writes: Vec<Write> = rows.map(|(key, row)| Write::Earned { key, row }).into();
    let states = [
        (1, 1, ClaimState::Paid),
        (1, 2, ClaimState::Open { due: 1, due_ms: 2 }),
        (1, 3, ClaimState::Made),
        (1, 4, ClaimState::Lost),
        (2, 1, ClaimState::Made),
    ];
    for (source, window, state) in states {
        let key = ClaimKey { source: Id([source; 32]), window, number: 0 };
        writes.push(Write::Claim { key, row: claim(state) });
    }
    store.write(writes).await.unwrap();
    let reader = store.read().unwrap();
    assert_eq!(unpaid(&reader, &one).unwrap(), Unpaid { pushes: 2, sum: 20, claims: 2 });
    assert_eq!(unpaid(&reader, &none).unwrap(), Unpaid::default());
}

#[test]
fn what_nobody_claims_is_bounded_by_source_and_in_all() {
    let owed = |source: u8, window: u64, ledger: Id, pushes: u64| {
        let key = ClaimKey { source: Id([source; 32]), window, number: 0 };
        Owing { key, ledger, tries: 0, is_over: true, pushes, sum: 0, ready: 0 }
    };
    let given = |owing: &[Owing]| {
        let keys = given_up(owing, |ledger| match *ledger {
            HERE => Kept::All,
            HEARD => Kept::Much,
            _ => Kept::Little,
        });
        keys.iter().map(|key| (key.source.0[0], key.window)).collect::<Vec<_>>()
    };
    let mut all = vec![owed(1, 1, LEDGER, 10), owed(1, 2, LEDGER, KEPT_EACH), owed(2, 1, HERE, 1 << 40)];
    assert_eq!(given(&all), [(1, 1)], "the oldest");
    all[0].pushes = 0;
    assert_eq!(given(&all), [], "as many as there may be");
    all[1].pushes += 1;
    assert_eq!(given(&all), [(1, 1), (1, 2)]);
    let many: Vec<Owing> = (10..20).map(|source| owed(source, 1, LEDGER, KEPT_MAX / 8)).collect();
    assert_eq!(given(&many).len(), 2, "whoever names many sources");
    // Of those that are heard more is kept, and none of it for the others.
    let mut both = vec![owed(1, 1, HEARD, 1), owed(1, 2, HEARD, HEARD_EACH), owed(2, 1, LEDGER, KEPT_EACH)];
    assert_eq!(given(&both), [(1, 1)]);
    both[0].pushes = 0;
    assert_eq!(given(&both), []);
    let many: Vec<Owing> = (10..20).map(|source| owed(source, 1, HEARD, HEARD_MAX / 8)).collect();
    assert_eq!(given(&many).len(), 2);
}
