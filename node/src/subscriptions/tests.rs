//! Places for what payers agree on.
#![allow(clippy::unwrap_used)]

use weft_protocol::crypto::Signer;

use super::room::{FORGOTTEN_AT_ONCE, HELD_MAX, held_max};
use super::*;
use crate::config::Whose;
use crate::shared::testing::{NETWORK, in_memory, process_item};

const NOW: u64 = 1_000;

#[test]
fn places_are_bounded_by_standing_and_the_owner_has_one() {
    let holds = Agreement { number: 1, until: NOW + 1, is_cancelled: false };
    let cancelled = Agreement { is_cancelled: true, ..holds };
    let held = |count: usize, ended: usize| [vec![holds; count], vec![cancelled; ended]].concat();
    let full = Err("of this process");
    assert_eq!(has_place(Standing::Stranger, &held(STRANGERS_MAX - 1, 0), NOW), Ok(()));
    assert_eq!(has_place(Standing::Stranger, &held(STRANGERS_MAX, 0), NOW), full);
    assert_eq!(has_place(Standing::Listed, &held(PAYERS_MAX - 1, 0), NOW), Ok(()));
    assert_eq!(has_place(Standing::Listed, &held(PAYERS_MAX, 0), NOW), full);
    // What was cancelled is remembered, and takes no place.
    assert_eq!(has_place(Standing::Stranger, &held(1, PAYERS_MAX), NOW), Ok(()));
    assert_eq!(has_place(Standing::Listed, &held(0, REMEMBERED_MAX), NOW), full);
    assert_eq!(has_place(Standing::Owner, &held(PAYERS_MAX, REMEMBERED_MAX), NOW), Ok(()));
}

fn id(number: usize) -> Id {
    let mut id = [7; 32];
    id[..8].copy_from_slice(&number.to_be_bytes());
    Id(id)
}

fn node(carry_for: Whose) -> SharedRef {
    let mut shared = in_memory(Signer::from_seed(&[3; 32]));
    let config = &mut Arc::get_mut(&mut shared).unwrap().config;
    config.carry_for = carry_for;
    config.roles = Role::ALL.into();
    shared
}

/// Writes so many agreements, of a process each.
async fn hold(shared: &Shared, count: usize, agreement: Agreement) {
    let value = Bytes::copy_from_slice(&agreement.to_bytes());
    let notes = (0..count)
        .map(|number| Write::Setting { name: setting(&id(number), &Address([1; 32])), value: value.clone() });
    shared.store.write(notes.collect()).await.unwrap();
}

#[tokio::test]
async fn who_makes_processes_of_his_own_has_no_more_places_for_it() {
    let shared = node(Whose::Anyone);
    let owner = Signer::from_seed(&[4; 32]);
    let item = process_item(&owner, owner.address());
    let process = Arc::new(Process::accept(item, None, &shared.terms).unwrap());
    shared.directory.remember(Arc::clone(&process));
    assert_eq!(admit(&shared, &process, owner.address()).unwrap(), Standing::Owner);
    let until = shared.clock.now().0 + 1_000_000;
    let said = Said::Until(until);
    let say = async |number: u64| {
        let statement = Statement { process: process.id(), messenger: shared.address, number, said };
        let item = statement.draft(NETWORK).sign(&owner).unwrap();
        take(&shared, item.raw().clone()).await.unwrap_err()
    };
    hold(&shared, HELD_MAX, Agreement { number: 1, until, is_cancelled: false }).await;
    let refused = say(1).await;
    assert!(matches!(refused, SubscribeError::Full("in all")), "{refused}");
    // What was cancelled gives way, and is not brought back by whoever kept what was said before.
    hold(&shared, HELD_MAX, Agreement { number: 5, until, is_cancelled: true }).await;
    let left = || shared.store.read().unwrap().setting_names(SETTING).unwrap().len();
    let refused = say(5).await;
    assert!(matches!(refused, SubscribeError::Full("in all")), "a moment ago there was nothing to forget");
    shared.subscriptions.rest.end();
    // Who is refused anyway has nothing forgotten.
    let stranger = Signer::from_seed(&[5; 32]);
    let late =
        Statement { process: process.id(), messenger: shared.address, number: 6, said: Said::Until(1) };
    let late = late.draft(NETWORK).sign(&stranger).unwrap();
    let refused = take(&shared, late.raw().clone()).await.unwrap_err();
    assert!(matches!(refused, SubscribeError::NotTaken(_)), "{refused}");
    assert_eq!(left(), HELD_MAX);
    let refused = say(5).await;
    assert!(matches!(refused, SubscribeError::Forgotten(5)), "{refused}");
    assert_eq!(left(), HELD_MAX - FORGOTTEN_AT_ONCE);
    assert!(!is_full(&shared, &process.id(), owner.address()).unwrap());
    // Nobody is shut out by numbers that no time has.
    hold(&shared, HELD_MAX, Agreement { number: u64::MAX, until, is_cancelled: true }).await;
    let before = shared.clock.now().0;
    make_room(&shared).await.unwrap();
    let forgotten = forgotten_to(&shared.store.read().unwrap()).unwrap();
    assert!((before..=shared.clock.now().0).contains(&forgotten), "{forgotten}");
}

#[tokio::test]
async fn whom_the_operator_named_has_a_place_beside_all_others() {
    let (named, stranger) = (Address([1; 32]), Address([2; 32]));
    let shared = node(Whose::Listed([named].into()));
    assert_eq!(held_max(&shared, stranger), HELD_MAX);
    assert_eq!([named, shared.address].map(|payer| held_max(&shared, payer)), [2 * HELD_MAX; 2]);
    let open = node(Whose::Anyone);
    assert_eq!([named, open.address].map(|payer| held_max(&open, payer)), [HELD_MAX, 2 * HELD_MAX]);
}

#[tokio::test]
async fn what_is_looked_at_is_what_is_over_by_its_date_or_served_for_nobody() {
    let shared = node(Whose::Own);
    let holds = Agreement { number: 1, until: NOW + 1, is_cancelled: false };
    hold(&shared, 1, holds).await;
    let cancelled = Agreement { is_cancelled: true, ..holds };
    let write = |number, agreement: Agreement| Write::Setting {
        name: setting(&id(number), &Address([1; 32])),
        value: Bytes::copy_from_slice(&agreement.to_bytes()),
    };
    let served = |number| Write::Setting {
        name: format!("{SERVED}{}", id(number)),
        value: Bytes::from_static(&[0, 0]),
    };
    let over = Agreement { until: NOW, ..holds };
    let writes =
        vec![write(1, cancelled), write(2, over), write(3, cancelled), served(0), served(3), served(4)];
    shared.store.write(writes).await.unwrap();
    let found = with_what_is_over(&shared.store.read().unwrap(), NOW).unwrap();
    assert_eq!(found, [id(2), id(3), id(4)].into());
}
