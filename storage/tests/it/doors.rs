//! Files that are no store, or no whole one: said by name with what to do, and left as they are.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use weft_storage::anchor::{LocalWeave, LocalWeaveConfig};
use weft_storage::{Reader, Store, StoreError, Write};

use crate::rows::{address, config, id};

/// A store with something in it, closed.
fn filled(path: &Path) {
    let store = Store::open(path, &config()).unwrap();
    for number in 0..50_u8 {
        let raw = vec![number; 3_000].into();
        store.write_blocking(vec![Write::Item { id: id(number), raw }]).unwrap();
    }
}

fn open_error(path: &Path) -> StoreError {
    Store::open(path, &config()).expect_err("it opened")
}

#[test]
fn what_is_no_store_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let mut foreign = vec![0; 100_000];
    foreign[..16].copy_from_slice(b"SQLite format 3\0");
    let cases: &[(&str, &[u8], &str)] = &[
        ("empty", b"", "it is empty"),
        ("a byte", b"r", "is not a Weft store"),
        ("text", b"hello", "is not a Weft store"),
        ("zeros", &[0; 9_000], "is not a Weft store"),
        ("another database", &foreign, "is not a Weft store"),
    ];
    for (name, content, part) in cases {
        std::fs::write(&path, content).unwrap();
        let error = open_error(&path);
        let text = error.to_string();
        assert!(matches!(error, StoreError::NotAStore { .. }), "{name}: {error:?}");
        assert!(text.contains(part) && text.contains(path.to_str().unwrap()), "{name}: {text}");
        assert!(text.contains("move it away or choose another data folder"), "{name}: {text}");
        assert_eq!(std::fs::read(&path).unwrap(), *content, "{name} was written over");
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(open_error(&path).to_string().contains("is not a Weft store: it is a folder"));
    let weave = LocalWeaveConfig { network: config().network, node: address(1), now_ms: 1 };
    let error = LocalWeave::open(&path, &weave).expect_err("it opened").to_string();
    assert!(error.contains("is not a Weft store: it is a folder"), "{error}");
}

#[test]
fn a_truncated_store_is_told_and_never_passes_for_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    filled(&path);
    let whole = std::fs::read(&path).unwrap();
    for length in [1, 63, 64, 320, 511, 512, 4_095, 4_096, 8_192, whole.len() / 2, whole.len() - 4_096] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let opened = catch_unwind(|| Store::open(&path, &config()));
        match opened {
            Ok(Err(error)) => {
                let text = error.to_string();
                assert!(text.contains(path.to_str().unwrap()), "{length} bytes: {text}");
            }
            Ok(Ok(store)) => {
                assert!(store.read().unwrap().item(&id(7)).unwrap().is_some(), "{length} bytes lost items");
            }
            Err(_) => panic!("{length} bytes: a panic"),
        }
    }
}

/// Reads all of a damaged store; says whether anything was noticed.
fn read_all(store: &Store) -> Result<(), StoreError> {
    let reader: Reader = store.read()?;
    for number in 0..50 {
        if let Some(raw) = reader.item(&id(number))? {
            assert_eq!(raw, vec![number; 3_000], "damage was given out for an item");
        }
    }
    Ok(())
}

#[test]
fn a_damaged_store_ends_in_an_error_wherever_the_damage_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    filled(&path);
    let whole = std::fs::read(&path).unwrap();
    let mut panics = Vec::new();
    // Every page of the file, and the header byte by byte.
    let places = (0..320).chain((320..whole.len()).step_by(1_021));
    for at in places {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        std::fs::write(&path, damaged).unwrap();
        let Ok(opened) = catch_unwind(|| Store::open(&path, &config())) else {
            panics.push(at);
            continue;
        };
        let Ok(store) = opened else { continue };
        if catch_unwind(AssertUnwindSafe(|| read_all(&store))).is_err() {
            panics.push(at);
        }
        // Closing writes down which pages are free, upon which redb asserts what it once read;
        // nobody is told anything after that.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(store)));
    }
    assert!(panics.is_empty(), "panics after damage at {panics:?} of {}", whole.len());
}
