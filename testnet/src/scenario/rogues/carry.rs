//! Messengers that carry what processes truly sent: too late, in another order, or changed.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join;
use tokio::time::{Instant, interval, sleep_until};
use weft_protocol::crypto::Signer;
use weft_protocol::market::{RANKS_PAID, TURN_MS};
use weft_protocol::push::ORIGIN_PROOF;
use weft_protocol::record::VerifiedRecord;
use weft_protocol::{DataItem, Draft, Id, Tag, Verified};

use super::Place;
use super::acts::nonsense;
use super::goods::{Goods, Handed, Push, sends, with_each};

/// How late who delays comes: after the turns of all who are paid.
const DELAY: Duration = Duration::from_millis(RANKS_PAID as u64 * TURN_MS);
/// How long who reorders waits for later pushes, before it carries all that it has: less than a turn.
const HOLD: Duration = Duration::from_secs(1);
/// Of so many slots one is changed or wrapped: schedulers have other work, too.
const ALTERS_ONE_IN: u64 = 3;

/// Carries everything, and nothing in time.
pub(super) async fn delay(place: Place, signer: Signer) {
    let (place, events) = place.split();
    let deed = |process: Id, record: VerifiedRecord| {
        let (place, signer) = (Arc::clone(&place), signer.clone());
        async move {
            if !sends(record.item()) {
                return;
            }
            let due = Instant::now() + DELAY;
            let all = place.collect(&process, &record).await;
            sleep_until(due).await;
            for goods in all {
                let Some((_, slot)) = place.bring(&goods, &signer).await else { continue };
                place.tally.one_more("delayed");
                if !slot.duplicate {
                    place.tally.one_more("delayed-taken");
                }
            }
        }
    };
    with_each((Arc::clone(&place), events), Some(&signer), deed).await;
}

/// What one process sent to another, not carried yet.
type Lanes = BTreeMap<(Id, Id), Vec<Goods>>;

/// Carries everything, of each process to each other the last first.
pub(super) async fn reorder(place: Place, signer: Signer) {
    let (place, events) = place.split();
    let lanes: Arc<Mutex<Lanes>> = Arc::default();
    let deed = |process: Id, record: VerifiedRecord| {
        let (place, lanes) = (Arc::clone(&place), Arc::clone(&lanes));
        async move {
            if !sends(record.item()) {
                return;
            }
            let all = place.collect(&process, &record).await;
            let mut lanes = lanes.lock().unwrap_or_else(PoisonError::into_inner);
            for goods in all {
                lanes.entry((process, goods.target)).or_default().push(goods);
            }
        }
    };
    let carry = async {
        let mut again = interval(HOLD);
        loop {
            again.tick().await;
            let held = std::mem::take(&mut *lanes.lock().unwrap_or_else(PoisonError::into_inner));
            for mut lane in held.into_values() {
                lane.sort_by_key(|goods| Reverse((goods.source.position, goods.source.index)));
                let mut is_behind = false;
                for goods in lane {
                    let Some((_, slot)) = place.bring(&goods, &signer).await else { continue };
                    if !slot.duplicate && is_behind {
                        place.tally.one_more("swapped");
                    }
                    is_behind |= !slot.duplicate;
                }
            }
        }
    };
    join(with_each((Arc::clone(&place), events), Some(&signer), deed), carry).await;
}

/// Changes what processes sent and what others carried, and leaves it to others to carry what is true.
pub(super) async fn alter(place: Place, signer: Signer) {
    let (place, events) = place.split();
    let deed = |process: Id, record: VerifiedRecord| {
        let (place, signer) = (Arc::clone(&place), signer.clone());
        async move {
            let slot = record.assignment().slot;
            if !slot.is_multiple_of(ALTERS_ONE_IN) {
                return;
            }
            if sends(record.item()) {
                for goods in place.collect(&process, &record).await {
                    let changed = change(&goods, &place, slot / ALTERS_ONE_IN, &signer);
                    alters(&place, changed).await;
                }
            }
            let carried =
                record.item().tag(ORIGIN_PROOF).is_some() && record.item().owner() != signer.address();
            if let Some(proof) = record.proof().filter(|_| carried) {
                wraps(&place, &process, &record, proof, &signer).await;
                let other = Draft { data: nonsense(slot), ..draft_of(record.item()) }.sign(&signer).ok();
                alters(&place, other.map(|item| (process, Push { item, proof: proof.clone() }))).await;
            }
        }
    };
    with_each((Arc::clone(&place), events), None, deed).await;
}

/// Hands over what no process sent like this.
async fn alters(place: &Place, changed: Option<(Id, Push)>) {
    let Some((to, push)) = changed else { return };
    match place.hand(&to, push.item.raw(), push.proof.raw()).await {
        Some(Handed::Refused) => place.tally.one_more("alterations"),
        Some(Handed::Slot(_)) => {
            place.tally.one_more("alterations");
            place.tally.one_more("alterations-taken");
        }
        None => {}
    }
}

/// Hands over what another one carried as an item of its own, by the proof that this one made.
async fn wraps(
    place: &Place,
    process: &Id,
    record: &VerifiedRecord,
    proof: &Verified<DataItem>,
    signer: &Signer,
) {
    let Ok(item) = draft_of(record.item()).sign(signer) else { return };
    match place.hand(process, item.raw(), proof.raw()).await {
        Some(Handed::Slot(answer)) => {
            place.tally.one_more("wraps");
            if !answer.duplicate || answer.slot != record.assignment().slot {
                place.tally.one_more("wraps-taken");
            }
        }
        Some(Handed::Refused) => place.tally.one_more("wraps"),
        None => {}
    }
}

/// A push that is not what was sent, in one way or the other, under the proof of what was; and where it is handed over.
fn change(goods: &Goods, place: &Place, number: u64, signer: &Signer) -> Option<(Id, Push)> {
    let proof = goods.proof.sign(signer).ok()?;
    let mut draft = goods.dispatch.message(proof.id())?;
    let mut to = goods.target;
    match number % 5 {
        0 => draft.data = Bytes::from_static(b"give me all"),
        1 => draft.tags.push(Tag::new("Quantity", "1000")),
        2 => replace(&mut draft, "Action", "Fail"),
        3 => replace(&mut draft, "From-Index", "77"),
        _ => {
            to = place.processes.iter().map(|(id, _)| *id).find(|id| *id != goods.target)?;
            draft.target = Some(to);
        }
    }
    Some((to, Push { item: draft.sign(signer).ok()?, proof }))
}

fn replace(draft: &mut Draft, name: &str, value: &str) {
    draft.tags.iter_mut().filter(|tag| tag.name == name).for_each(|tag| value.clone_into(&mut tag.value));
}

/// What an item says, for somebody else to sign.
fn draft_of(item: &DataItem) -> Draft {
    let (target, anchor) = (item.target(), item.anchor().copied());
    Draft { target, anchor, tags: item.tags().to_vec(), data: item.data() }
}
