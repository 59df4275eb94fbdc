//! Subscriptions: only payers and owners cancel, and nothing counts when it is shown again.

use weft_protocol::subscription::{Agreement, NotTaken, SUBSCRIPTION_MS_MAX, Said, Statement, decide};
use weft_protocol::{Address, Network, Tag};

use crate::fixture::*;

const NOW: u64 = 1_700_000_000_000;
const DAY: u64 = 24 * 60 * 60 * 1_000;

fn statement(number: u64, said: Said) -> Statement {
    Statement { process: target().id(), messenger: address(CARRIER), number, said }
}

/// What the statement of a key comes to, where this stands with the payer `CARRIER + 1`.
fn verdict(
    by: u8,
    number: u64,
    said: Said,
    held: Option<Agreement>,
) -> Result<(Address, Agreement), NotTaken> {
    let item = statement(number, said).draft(NETWORK).sign(&key(by)).unwrap();
    let (read, signer) = Statement::read(&item, NETWORK)?;
    assert_eq!((read, signer), (statement(number, said), address(by)));
    decide(&target(), (&read, signer), |payer| held.filter(|_| *payer == address(STRANGER)), NOW)
}

const fn held(number: u64, is_cancelled: bool) -> Option<Agreement> {
    Some(Agreement { number, until: NOW + DAY, is_cancelled })
}

#[test]
fn a_payer_subscribes_prolongs_and_cancels_and_nothing_counts_twice() {
    let (payer, until) = (address(STRANGER), Said::Until(NOW + DAY));
    let stands = |number, is_cancelled| Ok((payer, held(number, is_cancelled).unwrap()));
    assert_eq!(verdict(STRANGER, 5, until, None), stands(5, false));
    assert_eq!(verdict(STRANGER, 6, until, held(5, false)), stands(6, false));
    // Again is the same; the number of another one is not, and neither is an older one.
    assert_eq!(verdict(STRANGER, 5, until, held(5, false)), stands(5, false));
    assert_eq!(verdict(STRANGER, 5, Said::Until(NOW + 2 * DAY), held(5, false)), Err(NotTaken::Old(5)));
    assert_eq!(verdict(STRANGER, 4, until, held(5, false)), Err(NotTaken::Old(5)));
    // Else the longer one would be shown again once the shorter one is over and forgotten.
    let shorter = Said::Until(NOW + DAY - 1);
    assert_eq!(verdict(STRANGER, 6, shorter, held(5, false)), Err(NotTaken::Shorter(NOW + DAY)));
    assert_eq!(verdict(STRANGER, 6, shorter, held(5, true)), Err(NotTaken::Shorter(NOW + DAY)));
    // Cancelled is what had its number; shown again it does not come back.
    let cancelled = Said::Cancelled(payer);
    assert_eq!(verdict(STRANGER, 5, cancelled, held(5, false)), stands(5, true));
    assert_eq!(verdict(STRANGER, 5, until, held(5, true)), Err(NotTaken::Old(5)));
    assert_eq!(verdict(STRANGER, 4, cancelled, held(5, false)), Err(NotTaken::Old(5)));
    assert_eq!(verdict(STRANGER, 6, until, held(5, true)), stands(6, false));
    assert_eq!(verdict(STRANGER, 6, cancelled, None), Err(NotTaken::Nothing));
    // The owner of the process may, and nobody else.
    assert_eq!(verdict(OWNER, 5, cancelled, held(5, false)), stands(5, true));
    assert_eq!(verdict(SCHEDULER, 5, cancelled, held(5, false)), Err(NotTaken::Stranger));
    for until in [NOW, NOW + SUBSCRIPTION_MS_MAX + 1] {
        assert_eq!(verdict(STRANGER, 5, Said::Until(until), None), Err(NotTaken::Until));
    }
    let lasting = held(5, false).unwrap();
    assert!(lasting.holds(NOW) && !lasting.holds(NOW + DAY) && !held(5, true).unwrap().holds(NOW));
}

#[test]
fn what_is_no_statement_is_refused_by_name() {
    let draft = || statement(5, Said::Until(NOW + DAY)).draft(NETWORK);
    let read = |change: &dyn Fn(&mut Vec<Tag>)| {
        let mut draft = draft();
        change(&mut draft.tags);
        Statement::read(&draft.sign(&key(STRANGER)).unwrap(), NETWORK).err()
    };
    assert_eq!(read(&|_| ()), None);
    for (name, wrong) in [("Type", "Message"), ("Messenger", "me"), ("Number", "+5"), ("Until", "-1")] {
        let change = |tags: &mut Vec<Tag>| {
            let tag = tags.iter_mut().find(|tag| tag.name == name).unwrap();
            tag.value = wrong.into();
        };
        assert_eq!(read(&change), Some(NotTaken::Malformed(name)), "{name} {wrong}");
        assert_eq!(read(&|tags| tags.retain(|tag| tag.name != name)), Some(NotTaken::Malformed(name)));
    }
    assert_eq!(read(&|tags| tags.push(Tag::new("Data-Protocol", "ao"))), Some(NotTaken::Message));
    let other = draft().sign(&key(STRANGER)).unwrap();
    assert_eq!(Statement::read(&other, Network(8)).err(), Some(NotTaken::Network));
}

#[test]
fn an_agreement_is_read_as_it_was_stored() {
    for agreement in [held(5, true), held(u64::MAX, false)].map(Option::unwrap) {
        let bytes = agreement.to_bytes();
        assert_eq!(Agreement::from_bytes(&bytes), Some(agreement));
        assert_eq!(Agreement::from_bytes(&bytes[..16]), None);
        assert_eq!(Agreement::from_bytes(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(Agreement::from_bytes(&[&bytes[..16], &[2]].concat()), None);
    }
}
