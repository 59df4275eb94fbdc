//! Who speaks for a process, tried against the real module: both impersonations that work on the
//! reference, and proofs that are not what they should be.

use bytes::Bytes;
use prost::Message as _;
use weft_node::control::api::{FailureCode, ItemInfo, Request, Trust};
use weft_node::control::client::ClientError;
use weft_protocol::crypto::Signer;
use weft_protocol::origin::PROOF_TYPE;
use weft_protocol::outcome::EntryKind;
use weft_protocol::wire::refusal::Code;
use weft_protocol::{DataItem, Draft, Tag, Verified, wire};
use weft_testnet::aos::{self, FOREIGN_AUTHORITY};
use weft_testnet::{Actor, Open, Town, Trouble, User, encoded};

use crate::courier::{Courier, Parcel, Push};
use crate::guest::{Guest, with_aos};
use crate::rig::{Rig, assert_holds};

/// Two schedulers and a messenger.
const ROLES: [&str; 3] = ["scheduler,compute", "scheduler,compute", "compute,messenger"];
const CARRIER: usize = 2;
const WINDOW_MS: u64 = 2_000;
/// Every way to write the name that modules read as From-Process: aos title-cases names, and readers
/// forgive spaces and underscores.
const SPELLINGS: [&str; 12] = [
    "From-Process",
    "from-process",
    "FROM-PROCESS",
    "fRoM-pRoCeSs",
    "From_Process",
    "from_process",
    "FROM_PROCESS",
    "From-Process ",
    " From-Process",
    " from_process ",
    "\tFrom-Process",
    "From_process\n",
];
/// What the attacker has others evaluate, if he can.
const PWN: &str = "Pwned = 'pwned' return Pwned";

#[tokio::test]
async fn nobody_speaks_for_an_aos_process() -> Result<(), Trouble> {
    with_aos("impersonation::nobody_speaks_for_an_aos_process", impersonate).await
}

#[tokio::test]
async fn nobody_speaks_for_a_lua_process() -> Result<(), Trouble> {
    impersonate(Guest::Lua).await
}

#[tokio::test]
async fn nobody_speaks_for_a_counter() -> Result<(), Trouble> {
    impersonate(Guest::Counter).await
}

async fn impersonate(guest: Guest) -> Result<(), Trouble> {
    let mut rig = Rig::start(guest, &ROLES, WINDOW_MS).await;
    let attacker = User::open(&rig.fleet.plan().dir().join("attacker")).unwrap();
    let victim = rig.spawn("victim", 0, &[0, CARRIER], &[]).await?;
    // The target trusts the victim and somebody far away, as the reference's exploit needs.
    let tags = [FOREIGN_AUTHORITY.to_owned(), victim.id.to_string()].map(|id| Tag::new("Authority", id));
    let target = rig.spawn("target", 1, &[1], &tags).await?;
    let mut open = Open::new("prepare");
    rig.guest.prepare(&rig.town(), &target, &mut open).await?;
    assert_holds(open);
    claims_of_an_authority(&rig, &attacker, &victim, &target).await?;
    forged_proofs(&rig, &attacker, &victim, &target).await?;
    if rig.guest.speaks_lua() {
        let child = child_of(&rig, &victim).await?;
        claims_of_the_parent(&rig, &attacker, &victim, &child).await?;
        rig.fleet.kill(1).await;
        rig.fleet.start_again(1).unwrap();
        rig.fleet.all_up().await.unwrap();
        let mut open = Open::new("after a restart");
        let detail = rig.town().detail(&child, 1, false).await?;
        open.equal("the owner of the child", victim.id.to_string().as_str(), &detail.owner);
        let said = by_parent(&rig, &victim, &child, "return Blessed", &mut open).await?;
        open.equal("what the parent reads there", "blessed", said.as_str());
        assert_holds(open);
    }
    rig.end(&[1]).await;
    Ok(())
}

/// The first impersonation: a wallet says that its message is from an authority of the target, or
/// from its owner.
async fn claims_of_an_authority(
    rig: &Rig,
    attacker: &User,
    victim: &Actor,
    target: &Actor,
) -> Result<(), Trouble> {
    let (town, mut open) = (rig.town(), Open::new("claims of an authority"));
    let claimed = [FOREIGN_AUTHORITY.to_owned(), victim.id.to_string(), rig.user.address().to_string()];
    let attacks: Vec<(&str, &String)> =
        SPELLINGS.iter().flat_map(|spelling| claimed.iter().map(|claim| (*spelling, claim))).collect();
    let me = attacker.address().to_string();
    let mut expected = Vec::new();
    for (number, (spelling, claim)) in attacks.iter().enumerate() {
        let message =
            attacker.message(target.id, rig.guest.action(), claims(spelling, claim), number.to_string())?;
        let submitted = town.submit(&message).await?;
        // The handler may run: anyone may send. It must see who did.
        expected.push(format!("{me} {me} false none {number}"));
        let slot = town.slots(target, target.scheduler, submitted.slot).await?.remove(0);
        let shown = (slot.from.as_deref(), slot.trust, slot.pushed, slot.carrier);
        let alone = (Some(me.as_str()), Some(Trust::Signature), false, None);
        open.same(format!("how {spelling:?} = {claim} is shown"), &alone, &shown);
    }
    let runs = rig.guest.runs(&town, target, &mut open).await?;
    open.equal("runs of the handler", &(attacks.len() as u64), &runs);
    if rig.guest.speaks_lua() {
        let seen = rig.guest.seen(&town, target, &mut open).await?;
        for ((attack, expected), seen) in attacks.iter().zip(&expected).zip(&seen) {
            open.equal(format!("what the handler saw of {attack:?}"), expected, seen);
        }
        evals(&town, attacker, target, &claimed, &mut open).await?;
        let pwned = aos::eval(&town, target, "return tostring(Pwned)", &mut open).await?;
        open.equal("what the attacker left behind", "nil", pwned.as_str());
    }
    assert_holds(open);
    Ok(())
}

/// The tags of a message that claims to be from somebody else, in every way that it can.
fn claims(spelling: &str, claim: &str) -> Vec<Tag> {
    let module = spelling.replace("rocess", "odule").replace("ROCESS", "ODULE").replace("RoCeSs", "OdUlE");
    vec![
        Tag::new(spelling, claim),
        Tag::new(module.replace('p', "m").replace('P', "M"), claim),
        Tag::new("Forwarded-By", claim),
    ]
}

/// Has the attacker try to make a process evaluate Lua in every spelling and every name.
async fn evals(
    town: &Town<'_>,
    attacker: &User,
    of: &Actor,
    claimed: &[String],
    open: &mut Open,
) -> Result<(), Trouble> {
    for claim in claimed {
        for spelling in SPELLINGS {
            let message = attacker.message(of.id, "Eval", claims(spelling, claim), PWN)?;
            let submitted = town.submit(&message).await?;
            let said = aos::printed(&town.result(of, of.scheduler, submitted.slot).await?);
            let what = format!("what an Eval with {spelling:?} = {claim} does to {}", of.name);
            open.that(what, "nothing", &said, !said.contains("pwned"));
        }
    }
    Ok(())
}

/// A child that the victim spawns, which names its parent as its authority.
async fn child_of(rig: &Rig, victim: &Actor) -> Result<Actor, Trouble> {
    let (town, mut open) = (rig.town(), Open::new("spawn"));
    let scheduler = rig.fleet.node(1).ready().address;
    let code = format!(
        "Spawn('{}', {{Data = '', Tags = {{Authority = ao.id, Scheduler = '{scheduler}', Name = 'child'}}}})",
        rig.module
    );
    let spawned = town.send(victim, "Eval", Vec::new(), &code).await?;
    let (told, _) = town.pushed(victim, victim, "Spawned", spawned.slot, &mut open).await?;
    town.result(victim, victim.witness(), told.slot).await?;
    let request = Request::Item { id: told.item };
    let news: ItemInfo = rig.fleet.node(0).ask("for the news of the child", &request).await?;
    let named = news.tags.iter().find(|tag| tag.name == "Process").unwrap();
    let child = Actor {
        name: "child".into(),
        id: named.value.parse().unwrap(),
        scheduler: 1,
        computing: vec![1],
        attestors: vec![scheduler],
        ..victim.clone()
    };
    town.result(&child, 1, 0).await?;
    let detail = town.detail(&child, 1, false).await?;
    open.equal("the owner of the child", victim.id.to_string().as_str(), &detail.owner);
    let parent = victim.id.to_string();
    let named = detail.tags.iter().any(|tag| tag.name == "Authority" && tag.value == parent);
    open.same("that its authority is its parent", &true, &named);
    assert_holds(open);
    Ok(child)
}

/// The second impersonation: a wallet says that its Eval is from the parent of the target.
async fn claims_of_the_parent(
    rig: &Rig,
    attacker: &User,
    victim: &Actor,
    child: &Actor,
) -> Result<(), Trouble> {
    let (town, mut open) = (rig.town(), Open::new("claims of the parent"));
    evals(&town, attacker, child, &[victim.id.to_string()], &mut open).await?;
    // The parent itself can, with its proof.
    let code = "Blessed = 'blessed' return tostring(Pwned) .. ' ' .. Blessed";
    let said = by_parent(rig, victim, child, code, &mut open).await?;
    open.equal("what the parent evaluates", "nil blessed", said.as_str());
    assert_holds(open);
    Ok(())
}

/// Has the parent make its child evaluate Lua, through a messenger.
async fn by_parent(
    rig: &Rig,
    parent: &Actor,
    child: &Actor,
    code: &str,
    open: &mut Open,
) -> Result<String, Trouble> {
    let town = rig.town();
    let before = town.slots(child, child.scheduler, 0).await?.len() as u64;
    let send = format!("Send({{Target = '{}', Action = 'Eval', Data = [[{code}]]}})", child.id);
    town.send(parent, "Eval", Vec::new(), &send).await?;
    let (slot, _) = town.pushed(parent, child, "Eval", before, open).await?;
    let result = town.result(child, child.scheduler, slot.slot).await?;
    open.equal("the code of the parent's Eval", &0, &result.code);
    Ok(aos::printed(&result))
}

/// What an attacker hands to the target's scheduler, and a part of the reason why it is refused.
struct Forgery {
    what: &'static str,
    item: Bytes,
    proof: Bytes,
    reason: &'static str,
}

impl Forgery {
    fn new(what: &'static str, push: &Push, reason: &'static str) -> Self {
        Self { what, item: push.item.raw().clone(), proof: push.proof.raw().clone(), reason }
    }
}

/// Proofs that are not those of the item are refused, each for what is wrong with it.
async fn forged_proofs(rig: &Rig, attacker: &User, victim: &Actor, target: &Actor) -> Result<(), Trouble> {
    let (town, mut open) = (rig.town(), Open::new("forged proofs"));
    let other = rig.spawn("other", 1, &[1], &[]).await?;
    let courier = Courier::connect(93, &rig.fleet, &[0, 1, CARRIER]).await;
    let before = town.slots(target, target.scheduler, 0).await?.len() as u64;
    let sent = rig.guest.ask(&town, victim, target, "one", &mut open).await?;
    let one = courier.collect(victim, sent).await;
    let sent = rig.guest.ask(&town, victim, &other, "two", &mut open).await?;
    let two = courier.collect(victim, sent).await;
    town.pushed(victim, target, rig.guest.action(), before, &mut open).await?;
    let runs = rig.guest.runs(&town, target, &mut open).await?;
    let forged = forgeries(&one, &two);
    for forgery in &forged {
        let refusal = courier.submit(1, &forgery.item, &forgery.proof).await;
        let refusal = refusal.expect_err(forgery.what);
        open.same(format!("the code of {}", forgery.what), &Code::Invalid, &refusal.code());
        let named = refusal.text.contains(forgery.reason);
        open.that(format!("the reason of {}", forgery.what), forgery.reason, &refusal.text, named);
    }
    // A client of the node's own cannot hand over a proof, and is told that one is missing.
    let bare = DataItem::verify_bytes(forged[0].item.clone()).unwrap();
    let request = Request::Submit { item: encoded(&bare) };
    let asked = rig.fleet.node(1).ask::<serde_json::Value>("to submit", &request);
    match asked.await.map_err(|error| error.source) {
        Err(ClientError::Failed(failure)) => {
            open.same("the code of an item without its proof", &FailureCode::Invalid, &failure.code);
            let named = failure.text.contains("does not hold the origin proof");
            open.that("its reason", "names the proof", &failure.text, named);
        }
        other => panic!("an item without its proof: {other:?}"),
    }
    rig.guest.ran(&town, target, runs, &mut open).await?;
    // The node is alive, and the attacker may speak for himself.
    let own = town.submit(&attacker.message(target.id, rig.guest.action(), Vec::new(), "own")?).await?;
    town.result(target, target.scheduler, own.slot).await?;
    rig.guest.ran(&town, target, runs + 1, &mut open).await?;
    assert_holds(open);
    Ok(())
}

/// Everything that can be wrong between the push `one` and its proof; `two` is another push of the
/// same process, to another target.
fn forgeries(one: &Parcel, two: &Parcel) -> Vec<Forgery> {
    let thief = Signer::from_seed(&[94; 32]);
    let (honest, other) = (one.message(&thief), two.message(&thief));
    let missing = "does not hold the origin proof";
    let beside = |what, proof: Bytes, reason| Forgery { proof, ..Forgery::new(what, &honest, reason) };
    let (proof, dispatch) = one.prove(one.index_of(EntryKind::Message));
    let draft = |proof: &Verified<DataItem>| dispatch.message(proof.id()).unwrap();
    let retargeted = {
        let proof = two.prove(two.index_of(EntryKind::Message)).0.sign(&thief).unwrap();
        Push { item: draft(&proof).sign(&thief).unwrap(), proof }
    };
    let changed = {
        let draft = Draft { data: Bytes::from_static(b"give me all"), ..draft(&honest.proof) };
        Push { item: draft.sign(&thief).unwrap(), proof: honest.proof.clone() }
    };
    // The tags by which every reader knows the push: of another place, with the proof of this one.
    let moved = |name: &str| {
        let mut draft = draft(&honest.proof);
        draft.tags.iter_mut().filter(|tag| tag.name == name).for_each(|tag| tag.value = "77".to_owned());
        Push { item: draft.sign(&thief).unwrap(), proof: honest.proof.clone() }
    };
    let encoded = proof.encode();
    let half = {
        let proof = proof_item(encoded[..encoded.len() / 2].to_vec(), &thief);
        Push { item: draft(&proof).sign(&thief).unwrap(), proof }
    };
    let mut forged = vec![
        beside("no proof", Bytes::new(), missing),
        beside("the proof of another push beside it", other.proof.raw().clone(), missing),
        beside("half a proof item", honest.proof.raw().slice(..honest.proof.raw().len() / 2), "proof: "),
        Forgery::new("half of a proof", &half, "the origin proof fails: proof: "),
        Forgery::new("the proof of a push to another process", &retargeted, "is not what the source sent"),
        Forgery::new("a proof of other data", &changed, "the origin proof fails: "),
        Forgery::new("the proof of another slot", &moved("From-Slot"), "is not what the source sent"),
        Forgery::new("the proof of another index", &moved("From-Index"), "is not what the source sent"),
    ];
    forged.extend(EDITS.map(|(what, edit, reason)| {
        let mut message = wire::OriginProof::decode(&encoded[..]).unwrap();
        edit(&mut message);
        let proof = proof_item(message.encode_to_vec(), &thief);
        Forgery::new(what, &Push { item: draft(&proof).sign(&thief).unwrap(), proof }, reason)
    }));
    forged
}

/// What is changed in a proof.
type Edit = fn(&mut wire::OriginProof);

/// Proofs that are well-formed and show something else than they should.
const EDITS: [(&str, Edit, &str); 4] = [
    ("a proof that nobody attested", |proof| proof.signatures.clear(), "not those of a quorum"),
    (
        "a proof with a stranger's signature",
        |proof| {
            let stranger = Signer::from_seed(&[95; 32]);
            proof.signatures[0].owner = stranger.owner_key().into();
            proof.signatures[0].signature = stranger.sign(b"anything").unwrap().into();
        },
        "not those of a quorum",
    ),
    (
        "a proof of another outcome",
        |proof| proof.before = vec![7; 32].into(),
        "the signature of an attestor: ",
    ),
    (
        "a proof of another process",
        |proof| {
            let mut header = proof.header.to_vec();
            let last = header.len() - 1;
            header[last] ^= 1;
            proof.header = header.into();
        },
        "header: ",
    ),
];

fn proof_item(data: Vec<u8>, signer: &Signer) -> Verified<DataItem> {
    let tags = vec![Tag::new("Data-Protocol", "ao"), Tag::new("Type", PROOF_TYPE)];
    Draft { target: None, anchor: None, tags, data: data.into() }.sign(signer).unwrap()
}
