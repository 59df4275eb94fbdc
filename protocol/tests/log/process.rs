use weft_protocol::Id;
use weft_protocol::cron::CronError;
use weft_protocol::market::PushTerms;
use weft_protocol::module::{Limits, Module, parse_compute_limit, parse_memory_limit};
use weft_protocol::process::{Attestors, Process, Refusal};

use crate::fixture::*;

#[test]
fn a_plain_process_is_read() {
    let process = process(&[
        ("Authority", "a, b,"),
        ("Authority", "c"),
        ("On-Boot", "Data"),
        ("Extension", "WeaveDrive"),
    ]);
    assert_eq!(process.owner(), key(1).address().to_string());
    assert_eq!(process.scheduler(), key(2).address());
    assert_eq!(process.module(), module().id());
    assert_eq!(process.authorities(), ["a", "b", "c"]);
    assert_eq!(process.attestors(), Attestors { members: vec![key(2).address()], quorum: 1 });
    assert_eq!(process.rules(), 1);
    assert_eq!(process.boots_from(), None);
    assert!(process.crons().is_empty());
}

#[test]
fn the_parent_of_a_proven_child_owns_it() {
    let child = Process::accept(process_item(&[("From-Process", "x")], b" "), Some(Id([9; 32])), &terms());
    assert_eq!(child.unwrap().owner(), Id([9; 32]).to_string());
    // Without the proof the tag is nothing.
    assert_eq!(process(&[("From-Process", "x")]).owner(), key(1).address().to_string());
}

#[test]
fn what_this_build_lacks_is_refused_by_name() {
    for (tag, refusal) in [
        (("Extension", "Other"), Refusal::Extension("Other".into())),
        (("Availability-Type", "Individual"), Refusal::Availability("Individual".into())),
        (("Availability-Type", "Library"), Refusal::Availability("Library".into())),
        (("Availability-Type", "assignments"), Refusal::Availability("assignments".into())),
        (("On-Boot", "xyz"), Refusal::OnBoot("xyz".into())),
        (("Scheduler-Set", "A,B"), Refusal::SchedulerSet("Scheduler-Set: A,B".into())),
        (("Rules", "2"), Refusal::Rules("2".into())),
        (("Rules", "0"), Refusal::Rules("0".into())),
        (("Compute-Limit", "9000000000001"), Refusal::ComputeLimit("9000000000001".into())),
        (("Compute-Limit", "1e9"), Refusal::ComputeLimit("1e9".into())),
        (("Memory-Limit", "17-gb"), Refusal::MemoryLimit("17-gb".into())),
        (("Weave", "a b"), Refusal::Weave("a b".into())),
        (("Cron-Interval", "soon"), Refusal::Cron(CronError::Interval("soon".into()))),
        (("Compute", "nobody"), Refusal::NotAnId("Compute", "nobody".into())),
    ] {
        assert_eq!(try_process(&[tag]).unwrap_err(), refusal);
    }
    let two = [("Extension", "WeaveDrive"), ("Extension", "Other")];
    assert_eq!(try_process(&two).unwrap_err(), Refusal::Extension("Other".into()));
    assert!(try_process(&[("Rules", "1")]).is_ok());
    assert!(try_process(&[("Availability-Type", "Assignments")]).is_ok());
    let boot = Id([7; 32]);
    assert_eq!(try_process(&[("On-Boot", &boot.to_string())]).unwrap().boots_from(), Some(boot));
    let wrong = item(1, None, tags(&[("Data-Protocol", "ao"), ("Type", "Message")]), b"");
    assert_eq!(Process::accept(wrong, None, &terms()), Err(Refusal::NotAProcess));
    let bare = item(1, None, tags(&[("Data-Protocol", "ao"), ("Type", "Process")]), b"");
    assert_eq!(Process::accept(bare, None, &terms()), Err(Refusal::Missing("Scheduler")));
}

#[test]
fn a_market_is_soft_or_hard_and_complete() {
    let ledger = Id([9; 32]);
    let name = ledger.to_string();
    let hard = [("Push-Market", "hard"), ("Extension", "Push-Market"), ("Push-Ledger", name.as_str())];
    let with =
        |more: &[(&str, &str)]| try_process(&[&hard[..], more].concat()).map(|process| process.market());
    let terms = |price_max, kib_max| {
        let terms = PushTerms { ledger, price_max, kib_max };
        with(&[("Push-Price-Max", &price_max.to_string()), ("Push-Price-Kib-Max", &kib_max.to_string())])
            .map(|market| market.map(|market| (market.network, market.terms)) == Some((NETWORK, terms)))
    };
    assert_eq!(terms(0, u64::MAX), Ok(true));
    assert_eq!(terms(u64::MAX, 7), Ok(true));
    let free = PushTerms { ledger, price_max: 0, kib_max: 0 };
    assert_eq!(with(&[]).unwrap().unwrap().terms, free);
    let weave_drive = with(&[("Extension", "WeaveDrive")]);
    assert!(weave_drive.is_ok());
    assert_eq!(with(&[("Extension", "Other")]), Err(Refusal::Extension("Other".into())));

    for (tags, refusal) in [
        (&[("Push-Market", "Hard"), hard[1]][..], Refusal::PushMarket("Hard".into())),
        (&hard[..2], Refusal::Missing("Push-Ledger")),
        (&[hard[0], hard[1], ("Push-Ledger", "x")], Refusal::NotAnId("Push-Ledger", "x".into())),
        // What older builds say of hard mode, too.
        (&[("Extension", "Push-Market")], Refusal::Extension("Push-Market".into())),
        (&[("Push-Market", "soft"), hard[1]], Refusal::Extension("Push-Market".into())),
    ] {
        assert_eq!(try_process(tags), Err(refusal));
    }
    for name in ["Push-Price-Max", "Push-Price-Kib-Max"] {
        for price in ["-1", "1e3", "18446744073709551616"] {
            assert_eq!(with(&[(name, price)]), Err(Refusal::PushPrice(name, price.into())));
        }
    }
    // Without the extension no tag of the market says anything: older builds, which look at none, take such a
    // process, and who refused it would hold another log than they.
    for soft in [
        &[][..],
        &[("Push-Market", "soft"), ("Push-Price-Max", "x")],
        &[("Push-Ledger", "x")],
        &[hard[0]],
        &[hard[0], hard[2]],
        &[hard[0], ("Push-Ledger", "x"), ("Push-Price-Max", "-1")],
        &[("Push-Market", "another mode"), ("Extension", "WeaveDrive")],
    ] {
        assert_eq!(process(soft).market(), None, "{soft:?}");
    }
}

#[test]
fn a_compute_set_is_a_majority_of_distinct_keys() {
    let name = |seed: u8| key(seed).address().to_string();
    let set = |keys: &str, quorum: &str| try_process(&[("Compute", keys), ("Compute-Quorum", quorum)]);
    let three = [name(3), name(4), name(5)].join(", ");
    let accepted = set(&three, "2").unwrap();
    let members = vec![key(3).address(), key(4).address(), key(5).address()];
    assert_eq!(accepted.attestors(), Attestors { members, quorum: 2 });
    for quorum in ["0", "1", "4", "two", "18446744073709551616"] {
        assert!(matches!(set(&three, quorum), Err(Refusal::ComputeSet(_))), "{quorum}");
    }
    assert!(matches!(set(&[name(3), name(3)].join(","), "2"), Err(Refusal::ComputeSet(_))));
    // A set without a quorum, and a quorum of nobody.
    assert_eq!(try_process(&[("Compute", &three)]), Err(Refusal::Missing("Compute-Quorum")));
    assert!(matches!(try_process(&[("Compute-Quorum", "1")]), Err(Refusal::ComputeSet(_))));
    let crowd = |size: u8| (10..10 + size).map(name).collect::<Vec<_>>().join(",");
    assert!(set(&crowd(16), "9").is_ok());
    assert!(matches!(set(&crowd(17), "9"), Err(Refusal::ComputeSet(_))));
}

#[test]
fn limits_are_numbers_with_units() {
    assert_eq!(parse_compute_limit("9000000000000"), Ok(9_000_000_000_000));
    for (text, bytes) in [
        ("500-mb", 500 << 20),
        ("1gb", 1 << 30),
        ("16-GB", 16 << 30),
        ("64-Kb", 64 << 10),
        ("7b", 7),
        ("0-gb", 0),
    ] {
        assert_eq!(parse_memory_limit(text), Ok(bytes), "{text}");
    }
    for text in [
        "",
        "-",
        "gb",
        "1",
        "1--gb",
        "1 gb",
        "1.5-gb",
        "1-tb",
        "-1-gb",
        "17179869185b",
        "18446744073709551616b",
    ] {
        assert!(parse_memory_limit(text).is_err(), "{text}");
    }
}

#[test]
fn the_process_s_limit_comes_before_the_module_s() {
    let limits = |extra: &[(&str, &str)]| module().limits(&process(extra)).unwrap();
    assert_eq!(
        limits(&[]),
        Limits { gas: 9_000_000_000_000, memory_bytes: 500 << 20, declared_gas: 9_000_000_000_000 }
    );
    // The reference ignores small limits on this format, and aos needs more to boot.
    assert_eq!(
        limits(&[("Memory-Limit", "1-gb"), ("Compute-Limit", "5")]),
        Limits { gas: 100_000_000_000, memory_bytes: 1 << 30, declared_gas: 5 }
    );
    let plain = tags(&[
        ("Module-Format", "wasm32-weft-plain"),
        ("Input-Encoding", "JSON-1"),
        ("Output-Encoding", "JSON-1"),
    ]);
    let plain = Module::accept(item(1, None, plain, b"")).unwrap();
    assert_eq!(
        plain.limits(&process(&[("Compute-Limit", "5")])).unwrap(),
        Limits { gas: 5, memory_bytes: 1 << 30, declared_gas: 5 }
    );
}

#[test]
fn a_module_names_its_format_and_encodings() {
    let refused = |pairs: &[(&str, &str)]| Module::accept(item(1, None, tags(pairs), b"")).unwrap_err();
    assert_eq!(refused(&[]), Refusal::Missing("Module-Format"));
    assert_eq!(refused(&[("Module-Format", "x")]), Refusal::Missing("Input-Encoding"));
    let encodings = [("Module-Format", "x"), ("Input-Encoding", "a"), ("Output-Encoding", "b")];
    let with = |pair| [&encodings[..], &[pair]].concat();
    assert_eq!(refused(&with(("Extension", "Other"))), Refusal::Extension("Other".into()));
    let accepted = |pair| Module::accept(item(1, None, tags(&with(pair)), b"")).unwrap();
    accepted(("Extension", "WeaveDrive"));
    // The process's own mode comes before the module's.
    let module = accepted(("Availability-Type", "Library"));
    let own = [("Availability-Type", "Assignments")];
    assert_eq!(module.limits(&process(&[])), Err(Refusal::Availability("Library".into())));
    assert!(module.limits(&process(&own)).is_ok());
}

#[test]
fn a_module_s_bad_limit_counts_only_where_the_process_has_none() {
    let bad = tags(&[
        ("Module-Format", "wasm64-unknown-emscripten-draft_2024_10_16-metering"),
        ("Input-Encoding", "JSON-1"),
        ("Output-Encoding", "JSON-1"),
        ("Memory-Limit", "lots"),
    ]);
    let bad = Module::accept(item(1, None, bad, b"")).unwrap();
    assert!(bad.reports_gas() && module().reports_gas());
    let own =
        tags(&[("Module-Format", "wasm32-weft-plain"), ("Input-Encoding", "a"), ("Output-Encoding", "b")]);
    assert!(!Module::accept(item(1, None, own, b"")).unwrap().reports_gas());
    assert_eq!(bad.limits(&process(&[])), Err(Refusal::MemoryLimit("lots".into())));
    // A metered format obeys any limit.
    assert_eq!(
        bad.limits(&process(&[("Memory-Limit", "1-gb"), ("Compute-Limit", "5")])).unwrap(),
        Limits { gas: 5, memory_bytes: 1 << 30, declared_gas: 5 }
    );
}
