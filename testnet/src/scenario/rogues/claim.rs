//! A messenger that carries in its turn, and asks the ledger for more than that: for the same again, and for what others carried.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use prost::Message as _;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use weft_protocol::assignment::Assignment;
use weft_protocol::crypto::Signer;
use weft_protocol::header::Header;
use weft_protocol::market::{
    Answer as Shown, Carried, ClaimTree, Opening, Paid, Window, price, set_slot, window_of,
};
use weft_protocol::record::VerifiedRecord;
use weft_protocol::wire::request::Body as Ask;
use weft_protocol::wire::response::Body as Answer;
use weft_protocol::{DataItem, Draft, Id, Network, Position, Tag, Verified, wire};

use super::goods::{Goods, Push, sends, with_each};
use super::{Place, pay};

/// Pushes of one window that it must have carried itself, and that others must have, before it claims.
const MINE_MIN: usize = 3;
const OTHERS_MIN: usize = 6;
/// When it asks who carried what was not its own: after the turns of most.
const OTHERS_AFTER: Duration = Duration::from_secs(6);
/// How long the ledger may take for one answer.
const TELL_WAIT: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long it waits for somebody to challenge what it made up, before it has the ledger's time pass.
const CHALLENGE_WAIT: Duration = Duration::from_secs(60);
/// Messages to the ledger, at most, to have its time pass: more slots than any period there has.
const PASSES_MAX: usize = 120;

/// A push that this messenger carried in its turn, with what shows that.
#[derive(Clone)]
struct Mine {
    paid: Paid,
    carried: Carried,
    sent: Bytes,
}

/// What it knows of one window of a process.
#[derive(Default)]
struct Page {
    mine: Vec<Mine>,
    others: Vec<Paid>,
}

/// What it knows of all windows, until it claims.
#[derive(Default)]
struct Book {
    pages: BTreeMap<(Id, u64), Page>,
    /// It claims once.
    is_closed: bool,
}

impl Book {
    /// Takes a window of which enough is known. What is claimed falsely must not be the first: of that all is shown.
    fn take(&mut self) -> Option<((Id, u64), Page)> {
        let is_enough = |page: &Page| {
            let first = page.mine.iter().map(|mine| place_of(&mine.paid)).min();
            let behind = page.others.iter().filter(|paid| Some(place_of(paid)) > first);
            page.mine.len() >= MINE_MIN && behind.count() >= OTHERS_MIN
        };
        if self.is_closed {
            return None;
        }
        let of = *self.pages.iter().find(|(_, page)| is_enough(page))?.0;
        self.is_closed = true;
        Some((of, self.pages.remove(&of)?))
    }
}

const fn place_of(paid: &Paid) -> (Position, u32) {
    (paid.position, paid.index)
}

/// Carries what is its own to carry first; then claims, and claims again.
pub(super) async fn twice(place: Place, signer: Signer) {
    let (place, events) = place.split();
    let book: Arc<Mutex<Book>> = Arc::default();
    let deed = |process: Id, record: VerifiedRecord| {
        let (place, signer, book) = (Arc::clone(&place), signer.clone(), Arc::clone(&book));
        async move {
            if sends(record.item()) {
                carry(&place, &signer, (process, &record), &book).await;
                let page = book.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some((of, page)) = page {
                    // What does not come about is missed by what the scenario expects.
                    let _ = Claimant::new(&place, &signer, of).claim(page).await;
                }
            }
        }
    };
    with_each((Arc::clone(&place), events), Some(&signer), deed).await;
}

/// Carries what a slot sends, where that is its turn, and notes who else did; nothing more when it claims.
async fn carry(
    place: &Place,
    signer: &Signer,
    (process, record): (Id, &VerifiedRecord),
    book: &Mutex<Book>,
) -> Option<()> {
    let number = window_of(record.assignment().slot);
    let window = window(place, &process, number).await?;
    let is_closed = || book.lock().unwrap_or_else(PoisonError::into_inner).is_closed;
    for goods in place.collect(&process, record).await {
        let push = goods.source.push_id(place.network);
        let ranked = window.rank(&push, goods.bytes, &signer.address());
        let Some((rank, entry)) = ranked else { continue };
        let amount = price(entry.offer().terms(), goods.bytes);
        if rank > 0 {
            sleep(OTHERS_AFTER).await;
        }
        if is_closed() {
            return None;
        }
        let Some((push, slot)) = place.bring(&goods, signer).await else { continue };
        let Some(paid) = paid(&goods, &slot, amount) else { continue };
        let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
        let page = book.pages.entry((process, number)).or_default();
        if rank > 0 && slot.duplicate {
            page.others.push(paid);
        } else if rank == 0 && !slot.duplicate {
            let carried = shown(place, &goods, &push, &slot)?;
            page.mine.push(Mine { paid, carried, sent: record.assignment_item().raw().clone() });
        }
    }
    Some(())
}

/// The offers of a window; none of window 0.
async fn window(place: &Place, process: &Id, number: u64) -> Option<Window> {
    let (_, peer) = place.actor(process)?;
    let at = set_slot(number)?;
    let set = place.range(peer, *process, at, at).await.into_iter().next()?;
    Window::of_record(&place.process(process)?, &place.record(process, &set)?)?.ok()
}

/// A push by the slot that its target's scheduler gave it.
fn paid(goods: &Goods, slot: &wire::SubmitResponse, amount: u64) -> Option<Paid> {
    let signed = DataItem::verify_bytes(slot.assignment.clone()).ok()?;
    let accepted = Assignment::from_item(&signed).ok()?.id;
    let (position, index) = (goods.source.position, goods.source.index);
    Some(Paid { position, index, target: goods.target, target_slot: slot.slot, accepted, amount })
}

fn shown(place: &Place, goods: &Goods, push: &Push, slot: &wire::SubmitResponse) -> Option<Carried> {
    let (target, _) = place.actor(&goods.target)?;
    Some(Carried {
        proof: push.proof.raw().clone(),
        item: Verified::<Header>::of(&push.item).to_bytes(),
        target: Verified::<Header>::of(&target.item).to_bytes(),
        certificates: Vec::new(),
        assignment: slot.assignment.clone(),
    })
}

/// Who asks the ledger for pay for one window of a process.
struct Claimant<'a> {
    place: &'a Place,
    signer: &'a Signer,
    source: Id,
    window: u64,
    /// Messages so far: equal ones would be one.
    said: u64,
}

/// What the ledger said.
struct Said {
    slot: u64,
    text: String,
}

impl Said {
    /// What it put out, as text.
    fn output(&self) -> Option<String> {
        let result: Value = serde_json::from_str(&self.text).ok()?;
        Some(result.get("Output")?.as_str()?.to_owned())
    }
}

impl<'a> Claimant<'a> {
    const fn new(place: &'a Place, signer: &'a Signer, (source, window): (Id, u64)) -> Self {
        Self { place, signer, source, window, said: 0 }
    }

    /// Claims what it carried, all but the first; the same again, while that is open and when it is paid, and twice in one
    /// claim; and with the first what others carried.
    async fn claim(&mut self, mut page: Page) -> Option<()> {
        page.mine.sort_by_key(|mine| place_of(&mine.paid));
        let (first, rest) = page.mine.split_first()?;
        self.tell("Bond", vec![Tag::new("Quantity", pay::PURSE.to_string())], String::new()).await?;

        let right = self.opening(rest.first()?, rest.iter().map(|mine| mine.paid).collect()).await?;
        let mut doubled = wire::ClaimOpening::decode(&right.encode()[..]).ok()?;
        doubled.pushes = doubled.pushes.repeat(2).into();
        self.refused(doubled.encode_to_vec(), "is claimed twice").await?;
        let data = right.encode();
        let sum = right.tree.claim().sum;
        if !self.open(&data).await?.text.contains("Claim-Response") {
            return None;
        }
        self.refused(data.clone(), "a claim of this window is open").await?;
        self.comes("Balance", &(pay::PURSE + sum).to_string()).await?;
        self.place.tally.one_more("claims-paid");
        self.refused(data, "claimed by another or paid").await?;

        let others = page.others.into_iter().filter(|paid| place_of(paid) > place_of(&first.paid));
        let wrong = self.opening(first, std::iter::once(first.paid).chain(others).collect()).await?;
        let opened = self.open(&wrong.encode()).await?;
        if !opened.text.contains("Claim-Response") {
            return None;
        }
        if self.is_challenged(opened.slot).await {
            self.place.tally.one_more("claims-challenged");
        }
        self.comes("Bond-Of", "0").await?;
        self.place.tally.one_more("bonds-lost");
        Some(())
    }

    /// A claim of these pushes, of which the first is shown.
    async fn opening(&self, first: &Mine, pushes: Vec<Paid>) -> Option<Opening> {
        let tree = ClaimTree::new(self.signer.address(), self.source, self.window, pushes).ok()?;
        let (_, peer) = self.place.actor(&self.source)?;
        let (from, to) = (set_slot(self.window)?, first.paid.position.slot);
        let log = self.place.range(peer, self.source, from, to).await;
        let set = log.first()?;
        let (set, set_assignment) = (set.item.clone(), set.assignment.clone());
        let between = log.get(1..usize::try_from(to - from).ok()?)?.iter();
        let ids = between.map(|slot| Some(DataItem::verify_bytes(slot.assignment.clone()).ok()?.id()));
        let shown = Shown {
            leaf: tree.path(0)?,
            previous: None,
            push: first.carried.clone(),
            sent: first.sent.clone(),
            revealed: Bytes::new(),
            set,
            set_assignment,
            between: ids.collect::<Option<Vec<Id>>>()?,
        };
        Some(Opening { tree, shown })
    }

    async fn open(&mut self, data: &[u8]) -> Option<Said> {
        let of = pay::tags([("Source", self.source.to_string()), ("Window", self.window.to_string())]);
        self.tell("Claim", of, URL_SAFE_NO_PAD.encode(data)).await
    }

    /// Claims what is to be refused for this reason, and notes whether it is.
    async fn refused(&mut self, data: Vec<u8>, reason: &str) -> Option<()> {
        let said = self.open(&data).await?.text;
        if said.contains("Claim-Response") {
            self.place.tally.one_more("double-claims-taken");
        } else if !said.contains(reason) {
            return None;
        }
        self.place.tally.one_more("double-claims");
        Some(())
    }

    /// Has the ledger's time pass until it says this of what the messenger has there.
    async fn comes(&mut self, action: &str, wanted: &str) -> Option<()> {
        for _ in 0..PASSES_MAX {
            if self.tell(action, Vec::new(), String::new()).await?.output()? == wanted {
                return Some(());
            }
        }
        None
    }

    /// Whether somebody challenges a claim that was made at this slot of the ledger. The messenger lets no slots pass
    /// there meanwhile.
    async fn is_challenged(&self, from: u64) -> bool {
        let Some((ledger, peer)) = self.place.ledger else { return false };
        let deadline = Instant::now() + CHALLENGE_WAIT;
        let mut next = from + 1;
        while Instant::now() < deadline {
            for slot in self.place.range(peer, ledger, next, u64::MAX).await {
                let item = DataItem::verify_bytes(slot.item).ok();
                if item.is_some_and(|item| item.tag("Action") == Some("Challenge")) {
                    return true;
                }
                next += 1;
            }
            sleep(LOOK_AGAIN).await;
        }
        false
    }

    /// Sends the ledger a message, and waits for what it says.
    async fn tell(&mut self, action: &str, tags: Vec<Tag>, data: String) -> Option<Said> {
        let (ledger, peer) = self.place.ledger?;
        self.said += 1;
        let item =
            letter(ledger, self.place.network, (action, self.said), tags, data).sign(self.signer).ok()?;
        let deadline = Instant::now() + TELL_WAIT;
        let mut slot = None;
        while Instant::now() < deadline {
            if slot.is_none() {
                let ask = wire::SubmitRequest { item: item.raw().clone(), proof: Bytes::new() };
                if let Some(Answer::Submit(taken)) = self.place.ask(peer, Ask::Submit(ask)).await {
                    slot = Some(taken.slot);
                }
            }
            let ask = wire::OutcomeRequest { process: wire::bytes(ledger), item: wire::bytes(item.id()) };
            if let Some(slot) = slot
                && let Some(Answer::Outcome(said)) = self.place.ask(peer, Ask::Outcome(ask)).await
            {
                let text = String::from_utf8(said.result.to_vec()).ok()?;
                return Some(Said { slot, text });
            }
            sleep(LOOK_AGAIN).await;
        }
        None
    }
}

/// A message to the ledger; the number makes it one of its own.
fn letter(
    ledger: Id,
    network: Network,
    (action, number): (&str, u64),
    tags: Vec<Tag>,
    data: String,
) -> Draft {
    let mut anchor = [0; 32];
    anchor[..4].copy_from_slice(&network.to_bytes());
    anchor[24..].copy_from_slice(&number.to_be_bytes());
    let mut all =
        pay::tags([("Data-Protocol", "ao".into()), ("Type", "Message".into()), ("Action", action.into())]);
    all.extend(tags);
    Draft { target: Some(ledger), anchor: Some(anchor), tags: all, data: data.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paid(slot: u64) -> Paid {
        let position = Position::slot(slot);
        Paid { position, index: 0, target: Id([1; 32]), target_slot: 1, accepted: Id([2; 32]), amount: 1 }
    }

    fn mine(slot: u64) -> Mine {
        let (proof, item, target, assignment) = Default::default();
        let carried = Carried { proof, item, target, certificates: Vec::new(), assignment };
        Mine { paid: paid(slot), carried, sent: Bytes::new() }
    }

    #[test]
    fn it_claims_once_and_what_it_shows_is_its_own() {
        let of = (Id([9; 32]), 1);
        let mut book = Book::default();
        let page = |mine_at: &[u64], others: &[u64]| Page {
            mine: mine_at.iter().map(|slot| mine(*slot)).collect(),
            others: others.iter().map(|slot| paid(*slot)).collect(),
        };
        for (mine, others) in [
            (&[260, 261][..], &[262, 263, 264, 265, 266, 267][..]),
            (&[260, 261, 262], &[257, 258, 263, 264, 265, 266, 267]),
        ] {
            book.pages.insert(of, page(mine, others));
            assert!(book.take().is_none(), "{mine:?} {others:?}");
        }
        book.pages.insert(of, page(&[260, 261, 262], &[258, 263, 264, 265, 266, 267, 268]));
        assert_eq!(book.take().map(|(of, page)| (of, page.mine.len())), Some((of, 3)));
        book.pages.insert(of, page(&[260, 261, 262], &[263, 264, 265, 266, 267, 268]));
        assert!(book.take().is_none(), "it was");
    }
}
