//! What lies on the weave's base layer: transactions that get slots, boot code and data that attestations open,
//! read by nodes through different gateways, some of which lie; the same before and after a restart, and after the
//! log came back from a weave.

use serde_json::Value;
use weft_node::control::api::{Request, Submitted, VerifyReport};
use weft_protocol::crypto::Signer;
use weft_protocol::l1::{L1Draft, L1Tag, L1Tx};
use weft_protocol::{Draft, Id, Tag, Verified};
use weft_testnet::aos::eval;
use weft_testnet::{Actor, AskError, Look, Open, PATIENCE, Town, Trouble, until};

use crate::drive::{agree, read, waits_for};
use crate::gateway::{Gateway, Lie};
use crate::guest::{Guest, with_aos};
use crate::rig::{Rig, assert_holds};

const ASKED: &str = "to verify against the weave";
const ROLES: [&str; 3] =
    ["scheduler,compute,messenger,anchor", "scheduler,compute,messenger", "scheduler,compute,messenger"];
/// The default of nodes.
const WINDOW_MS: u64 = 2_000;
const WALLET: &str = include_str!("../../vectors/wallet.json");

/// What a process writes down of each Deposit.
const DEPOSITS: &str = "Deposits = {} ao.addAssignable('any', function() return true end) \
    Handlers.add('deposit', 'Deposit', function(m) \
      table.insert(Deposits, table.concat({m.Id, m.From, m.Owner, m.Target, tostring(m.Data)}, ' ')) end) \
    return 'ready'";

fn mined(action: &str, data: Vec<u8>) -> Verified<L1Tx> {
    let tags = vec![L1Tag::new("Action", action.to_owned()), L1Tag::new("From-Process", "a lie")];
    let draft = L1Draft { tags, data: data.into(), reward: 1, ..L1Draft::default() };
    draft.sign(&Signer::from_jwk(WALLET).unwrap()).unwrap()
}

async fn assign(town: &Town<'_>, to: &Actor, item: Id, base_layer: bool) -> Result<Submitted, Trouble> {
    let request = Request::Assign { process: to.id, item, base_layer, exclude: Vec::new() };
    town.insist(0, "to ask for a slot", &request).await
}

/// Why there is no slot.
async fn refused(town: &Town<'_>, to: &Actor, item: Id, base_layer: bool) -> String {
    let request = Request::Assign { process: to.id, item, base_layer, exclude: Vec::new() };
    let refused = town.ask::<Value>(0, "to ask for a slot", &request, PATIENCE).await;
    refused.map_or_else(|error| error.to_string(), |slot| format!("none: {slot}"))
}

#[tokio::test]
async fn aos_reads_what_lies_on_the_weave_alike_through_different_gateways() -> Result<(), Trouble> {
    with_aos("base_layer::aos_reads_what_lies_on_the_weave_alike_through_different_gateways", reads).await
}

#[tokio::test]
async fn lua_reads_what_lies_on_the_weave_alike_through_different_gateways() -> Result<(), Trouble> {
    reads(Guest::Lua).await
}

/// A longer text than one chunk of a transaction.
fn long_text() -> String {
    (0..40_000).map(|number| format!("line {number}\n")).collect()
}

async fn reads(guest: Guest) -> Result<(), Trouble> {
    // The first node asks two liars and one that lost the data before an honest one; the others another one.
    let liars = [Gateway::open(Lie::WrongTransaction).await, Gateway::open(Lie::WrongByte).await];
    let (lost, here, there) =
        (Gateway::open(Lie::NoData).await, Gateway::open(Lie::None).await, Gateway::open(Lie::None).await);
    let all = [&liars[0], &liars[1], &lost, &here, &there];
    let named = |gateways: &[&Gateway]| {
        let named: Vec<String> = gateways.iter().map(|one| format!("\"{}\"", one.address)).collect();
        format!("gateways = [{}]\n", named.join(", "))
    };
    // Any that is free: tests beside this one look for some too.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let first = format!("{}weave_listen = {port}\nanchor_batch_age_ms = 200\n", named(&all[..4]));
    let other = named(&all[4..]);
    let settings = [(0, first.as_str()), (1, other.as_str()), (2, other.as_str())];
    let mut rig = Rig::start_with(guest, &ROLES, WINDOW_MS, &settings).await;
    let mut open = Open::new("base layer");

    let (paid, file) = (mined("Deposit", b"ten tokens".to_vec()), mined("File", long_text().into_bytes()));
    let boot = mined("Boot", b"Booted = 'from the base layer'".to_vec());
    let attestor = Signer::from_seed(&[9; 32]);
    let reader = {
        let town = rig.town();
        let tags = [
            Tag::new("Extension", "Base-Layer"),
            Tag::new("Settlement-Depth", "10"),
            Tag::new("Attestor", attestor.address().to_string()),
            Tag::new("On-Boot", boot.id().to_string()),
        ];
        let reader = rig.spawn("reader", 0, &[0, 1], &tags).await?;
        // Nobody has what it boots from: both nodes wait, and say for what. Then it is on the weave.
        for node in [0, 1] {
            waits_for(&town, &reader, node, boot.id()).await?;
        }
        all.iter().for_each(|gateway| gateway.mine(&boot, 1));
        open.equal("the code of slot 0", &0, &town.result(&reader, 0, 0).await?.code);
        let said = eval(&town, &reader, "return Booted", &mut open).await?;
        open.equal("what it booted with", "from the base layer", said.as_str());
        transactions(&rig, &all, &reader, &paid, &mut open).await?;
        files(&rig, &all, &reader, &file, &attestor, &mut open).await?;
        let gave = all.map(|gateway| gateway.gave(file.id()));
        open.same("which gateways were asked for the file by the first node", &true, &(gave[1] && gave[3]));
        reader
    };

    let path = format!("/data/{}", file.id());
    let length =
        format!("local text = (function() {} end)() return tostring(#text)", read(&rig.guest, &path));
    let expected = long_text().len().to_string();
    rig.fleet.kill(1).await;
    rig.fleet.start_again(1).unwrap();
    rig.fleet.all_up().await.unwrap();
    let town = rig.town();
    let said = eval(&town, &reader, &length, &mut open).await?;
    open.equal("how long the file is after a restart", expected.as_str(), said.as_str());
    let last = town.send(&reader, "Eval", Vec::new(), &length).await?;
    agree(&town, &reader, last.slot, &mut open).await?;

    // A node that knows nothing of it reads the log from the weave of the first one, and the file at its gateway.
    let what = format!("{} slots to be on the weave", last.slot + 1);
    let request = Request::VerifyWeave { process: reader.id, from: vec![format!("http://127.0.0.1:{port}")] };
    // Before the first batch is there the weave has nothing of it, and until the file is found it cannot be replayed.
    let look = async || {
        Ok::<_, AskError>(match town.ask::<VerifyReport>(2, ASKED, &request, 2 * PATIENCE).await {
            Ok(report) if report.slots > last.slot => Look::There(report),
            Ok(report) => Look::NotYet(format!("{} slots", report.slots)),
            Err(error) => Look::NotYet(error.to_string()),
        })
    };
    let rebuilt = until(what, 4 * PATIENCE, look).await?;
    open.same("what differs in a replay from the weave", &None, &rebuilt.difference);
    let state = town.detail(&reader, 0, true).await?.state_root;
    open.same("the state that comes back from the weave", &state, &Some(rebuilt.state_root));
    assert_holds(open);
    rig.end(&[]).await;
    Ok(())
}

/// A transaction gets a slot once it is deep enough and whole, and the module sees it as its wallet signed it.
async fn transactions(
    rig: &Rig,
    all: &[&Gateway],
    reader: &Actor,
    paid: &Verified<L1Tx>,
    open: &mut Open,
) -> Result<(), Trouble> {
    let town = rig.town();
    let says = |what: &str, why: &str, words: &[&str], open: &mut Open| {
        open.that(what, words.join(" and "), why, words.iter().all(|word| why.contains(word)));
    };
    let plain = rig.spawn("plain", 0, &[0], &[]).await?;
    let why = refused(&town, &plain, paid.id(), true).await;
    says("a process without the extension", &why, &["Extension: Base-Layer"], open);
    let why = refused(&town, reader, paid.id(), true).await;
    says("what is on no gateway", &why, &["is not on the weave", all[0].address.as_str()], open);
    // One that lies about the depth is outvoted.
    all[0].mine(paid, 1_000_000);
    all[1..].iter().for_each(|gateway| gateway.mine(paid, 9));
    let why = refused(&town, reader, paid.id(), true).await;
    says("what is not settled", &why, &["Not enough confirmations", "10 are needed", "says 9"], open);
    let why = refused(&town, reader, paid.id(), false).await;
    says("a transaction that is taken for an item", &why, &["transaction of the base layer"], open);
    all.iter().for_each(|gateway| gateway.mine(paid, 10));

    let said = eval(&town, reader, DEPOSITS, open).await?;
    open.equal("the handler", "ready", said.as_str());
    let given = assign(&town, reader, paid.id(), true).await?;
    open.same("that it is new", &false, &given.duplicate);
    open.equal("its outcome", &0, &town.result(reader, 0, given.slot).await?.code);
    let again = assign(&town, reader, paid.id(), true).await?;
    open.same("a second asking", &(given.slot, true), &(again.slot, again.duplicate));
    let said = eval(&town, reader, "return table.concat(Deposits, '\\n')", open).await?;
    let wallet = paid.owner();
    let expected = format!("{} {wallet} {wallet}  ten tokens", paid.id());
    open.equal("what the module saw", expected.as_str(), said.as_str());
    let said = eval(&town, reader, &read(&rig.guest, &format!("/data/{}", paid.id())), open).await?;
    open.equal("its data", "ten tokens", said.as_str());
    Ok(())
}

/// A file is open from the slot of an attestation on that an admitted signer made, and of no other.
async fn files(
    rig: &Rig,
    all: &[&Gateway],
    reader: &Actor,
    file: &Verified<L1Tx>,
    attestor: &Signer,
    open: &mut Open,
) -> Result<(), Trouble> {
    let town = rig.town();
    let attest = |signer: &Signer, number: u8| {
        let named = file.id().to_string();
        let tags = [("Data-Protocol", "ao"), ("Type", "Attestation"), ("Message", named.as_str())];
        let tags = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
        Draft { anchor: Some([number; 32]), tags, ..Draft::default() }.sign(signer).unwrap()
    };
    let (strange, admitted) = (attest(&Signer::from_seed(&[10; 32]), 1), attest(attestor, 2));
    all.iter().for_each(|gateway| [&strange, &admitted].iter().for_each(|item| gateway.bundle(item)));
    let path = format!("/data/{}", file.id());
    let looks = read(&rig.guest, &path);
    // A stranger's attestation is a message as any other.
    assign(&town, reader, strange.id(), false).await?;
    let said = eval(&town, reader, &looks, open).await?;
    open.equal("what a stranger attests", "nothing", said.as_str());
    // The scheduler has to hold the file first.
    let why = refused(&town, reader, admitted.id(), false).await;
    open.that("a file that is nowhere", "its id", &why, why.contains(&file.id().to_string()));
    all.iter().for_each(|gateway| gateway.mine(file, 1));
    let given = assign(&town, reader, admitted.id(), false).await?;
    town.result(reader, 0, given.slot).await?;
    let said = eval(
        &town,
        reader,
        &format!("local text = (function() {looks} end)() return text:sub(1, 7) .. #text"),
        open,
    )
    .await?;
    open.equal(
        "what an admitted signer attests",
        format!("line 0\n{}", long_text().len()).as_str(),
        said.as_str(),
    );
    for path in [format!("/tx/{}", file.id()), "/block/1".to_owned(), format!("/data/{}", Id([5; 32]))] {
        let said = eval(&town, reader, &read(&rig.guest, &path), open).await?;
        open.equal(format!("what is at {path}"), "nothing", said.as_str());
    }
    Ok(())
}
