//! What is written of a log while it is forgotten, and after.

use std::sync::mpsc;
use std::time::Duration;

use super::*;

#[test]
fn what_comes_late_is_passed_over_until_it_is_taken_up_again() {
    let disk = MemoryDisk::new();
    let store = filled(disk.clone());
    forget(&store).unwrap();
    let after = |store: &Store| {
        let reader = store.read().unwrap();
        (
            reader.head(&id(GOES)).unwrap(),
            reader.last_computed(&id(GOES)).unwrap(),
            reader.process(&id(GOES)).unwrap(),
        )
    };
    // With it go the items, pages and settings that come for it alone; what else the request brings is written.
    let others = [slot(STAYS, SLOTS + 2), vec![setting("about/others")]].concat();
    let about = vec![setting(&settings()[1])];
    let with_it = [slot(GOES, SLOTS), checkpoint(GOES, 8), about, others].concat();
    store.write_blocking(with_it).unwrap();
    // How far it is pruned is noted alone where there was nothing to prune.
    store.write_blocking(vec![setting(&settings()[0])]).unwrap();
    store.write_blocking(vec![process(GOES, Roles::default())]).unwrap();
    assert_eq!(after(&store), (None, None, None));
    let reader = store.read().unwrap();
    assert_eq!(reader.head(&id(STAYS)).unwrap().unwrap().0, SLOTS + 2);
    assert!(reader.has_item(&item(STAYS, SLOTS + 2)).unwrap());
    assert!(!reader.has_item(&item(GOES, SLOTS)).unwrap());
    let is_said = |name: &str| reader.setting(name).unwrap().is_some();
    assert!(is_said("about/others") && !settings().iter().any(|name| is_said(name)));
    drop(reader);
    assert!(is_sound(&store));
    // Whoever is about to take it up may say something of it first.
    store.write_blocking(vec![setting(&settings()[1])]).unwrap();
    assert!(store.read().unwrap().setting(&settings()[1]).unwrap().is_some());
    // Slot 0 may stand before the row in the request.
    store.write_blocking([slot(GOES, 0), vec![process(GOES, WATCHES)]].concat()).unwrap();
    store.write_blocking(slot(GOES, 1)).unwrap();
    assert_eq!(after(&store).0.unwrap().0, 1);
    assert!(is_sound(&store));
}

/// It is taken up by a request that is planned and not yet durable: whoever forgets it cannot read that.
#[test]
fn what_is_written_of_a_log_that_was_just_taken_up_is_never_late() {
    let disk = MemoryDisk::new();
    let store = filled(disk.clone());
    let held = disk.hold_syncs();
    std::thread::scope(|scope| {
        let taking_up = scope.spawn(|| store.write_blocking(vec![process(GOES, WATCHES)]));
        while !disk.has_sync_waiting() {
            std::thread::yield_now();
        }
        let forgetting = scope.spawn(|| forget(&store));
        // It has read what is on disk, and waits behind the other.
        while store.stats().queued == 0 && !forgetting.is_finished() {
            std::thread::yield_now();
        }
        drop(held);
        taking_up.join().unwrap().unwrap();
        let refused = forgetting.join().unwrap().unwrap_err();
        let StoreError::Conflict(conflict) = refused else { panic!("{refused:?}") };
        assert_eq!(*conflict, Conflict::Served { process: id(GOES) });
    });
    let reader = store.read().unwrap();
    assert!(reader.setting_names(FORGETTING_SETTING).unwrap().is_empty());
    assert!(reader.whole_checkpoint(&id(GOES)).unwrap().is_some());
    store.write_blocking(slot(GOES, SLOTS)).unwrap();
    let reader = store.read().unwrap();
    assert_eq!(reader.head(&id(GOES)).unwrap().unwrap().0, SLOTS);
    assert!(is_sound(&store));
}

/// Another log may take minutes: who waits for it can be told to stop.
#[test]
fn whoever_waits_for_the_turn_of_another_log_can_stop() {
    let store = filled(MemoryDisk::new());
    let (told, heard) = mpsc::channel();
    let mut told = Some(told);
    let mut stopped = None;
    std::thread::scope(|scope| {
        let forgot = store.forget_log(id(GOES), &settings(), &goes, &mut |_, _| {
            if let Some(told) = told.take() {
                let store = store.clone();
                scope.spawn(move || {
                    let stop = &mut |_: u64, _: u64| ControlFlow::Break(());
                    told.send(store.forget_log(id(99), &[], &goes, stop)).unwrap();
                });
                stopped = heard.recv_timeout(Duration::from_secs(30)).ok();
            }
            ControlFlow::Continue(())
        });
        assert_eq!(forgot.unwrap().slots, SLOTS);
    });
    assert!(matches!(stopped, Some(Err(StoreError::Stopped))), "{stopped:?}");
}

/// Whoever takes a log up and finds no room for it has not taken it up.
#[test]
fn what_is_refused_for_want_of_room_takes_nothing_up() {
    let store = filled(MemoryDisk::new());
    forget(&store).unwrap();
    // Planned it takes more than it seems to at first: some of these limits refuse it only then.
    let entry = |index| {
        let key = OutboxKey { process: id(GOES), position: Position::slot(0), index };
        Write::Outbox { key, row: outbox_row(5) }
    };
    let taking_up = || {
        let entries = (1..=200).map(entry);
        slot(GOES, 0).into_iter().chain(entries).chain([process(GOES, WATCHES)]).collect::<Vec<_>>()
    };
    let (mut limit, mut refused) = (store.room().bytes, 0);
    loop {
        limit += 128 * 1024;
        store.set_room(limit, u64::MAX);
        let written = store.write_blocking(taking_up());
        store.set_room(u64::MAX, u64::MAX);
        match written {
            Ok(()) => break,
            Err(error) => assert!(matches!(error, StoreError::Full { .. }), "{error:?}"),
        }
        refused += 1;
        store.write_blocking(slot(GOES, 1)).unwrap();
        assert_eq!(store.read().unwrap().head(&id(GOES)).unwrap(), None, "a limit of {limit} bytes");
    }
    assert!(refused > 10, "{refused}");
    store.write_blocking(slot(GOES, 1)).unwrap();
    assert_eq!(store.read().unwrap().head(&id(GOES)).unwrap().unwrap().0, 1);
    assert!(is_sound(&store));
}
