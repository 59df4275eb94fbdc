//! Messengers that carry for pay: what they carried is claimed, audited by who was not there, paid and taken out, also where
//! the messenger computes nothing at all; and a claim that is made up loses its bond.

use std::io::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use weft_node::config::FILE_NAME;
use weft_node::control::api::{
    AuditInfo, DryRunInfo, EarningsInfo, FailureCode, LedgerEarnings, MarketRequest, OfferInfo, ProcessInfo,
    Request, Submitted,
};
use weft_node::control::client::ClientError;
use weft_node::dry_run::DryRunBody;
use weft_node::{builtin, earn, keyring};
use weft_protocol::market::{BOND_UNIT, ClaimTree, Opening, Paid, PushTerms, WINDOW_SLOTS, set_slot};
use weft_protocol::{Address, Draft, Network, Position, Tag};
use weft_storage::{OutboxKey, Store, StoreConfig};
use weft_testnet::{Actor, AskError, Cast, Look, Open, PATIENCE, Trouble, aos, until};

use crate::guest::Guest;
use crate::rig::{Rig, assert_holds};

/// The example that `testnet/examples` shows.
const TOKEN: &str = include_str!("../../../testnet/examples/token.lua");
/// Two schedulers, two messengers, and one that is not there until it audits.
const ROLES: [&str; 5] =
    ["scheduler,compute", "scheduler,compute", "compute,messenger", "compute,messenger", "compute"];
/// The same, and the honest one is a messenger alone.
const ALONE: [&str; 5] =
    ["scheduler,compute", "scheduler,compute", "messenger", "compute,messenger", "compute"];
const HONEST: usize = 2;
const OTHER: usize = 3;
const AUDITOR: usize = 4;
/// What a push costs: a hundredth of the least bond, as the settings say.
const PRICE: u64 = BOND_UNIT / 1_000;
/// The messenger that is not honest makes its claims by hand.
const SETTINGS: [(usize, &str); 3] = [
    (HONEST, "price_per_push = 1000000000\n"),
    (OTHER, "price_per_push = 1000000000\nclaim_least = 1000000000000000000\n"),
    (AUDITOR, "audit_challenges = 3\n"),
];
/// Messages that the source sends in the window.
const PUSHES: u64 = 32;
/// Children that it spawns after them, where it spawns: more than one messenger carries alone with any likelihood.
const SPAWNS: u64 = 16;
/// How long an audit may take on a busy machine.
const AUDIT_WAIT: Duration = Duration::from_secs(120);

/// Money, a ledger for it, a process that pays, and one that it sends to.
struct Stage {
    rig: Rig,
    token: Actor,
    ledger: Actor,
    source: Actor,
    target: Actor,
}

fn tags(pairs: &[(&str, String)]) -> Vec<Tag> {
    pairs.iter().map(|(name, value)| Tag::new(*name, value.clone())).collect()
}

impl Stage {
    async fn open(roles: &[&'static str]) -> Result<Self, Trouble> {
        let mut rig = Rig::start_with(Guest::Counter, roles, 50, &SETTINGS).await;
        let computing = |nodes: &[usize]| -> Vec<usize> {
            nodes.iter().copied().filter(|node| roles[*node].contains("compute")).collect()
        };
        let network = rig.fleet.node(0).ready().network.clone();
        let module = |name| builtin::id_of(name).unwrap();
        // Somebody has to carry what the token and the ledger send each other.
        let money = [0, if roles[HONEST].contains("compute") { HONEST } else { OTHER }];
        let cast = |name, module, tags| Cast {
            name,
            module,
            scheduler: 0,
            attestors: &[],
            quorum: 1,
            computing: &money,
            tags,
        };
        let token = rig.cast(cast("token", module(builtin::LUA), &[])).await?;
        let mut open = Open::new("money");
        aos::eval(&rig.town(), &token, TOKEN, &mut open).await?;
        let terms = tags(&[
            ("Token", token.id.to_string()),
            ("Network", Network::of_name(&network).to_string()),
            ("Challenge-Slots", "16".into()),
            ("Challenge-Seconds", "1".into()),
        ]);
        let ledger = rig.cast(cast("ledger", module(builtin::LEDGER), &terms)).await?;
        let terms = PushTerms { ledger: ledger.id, price_max: PRICE, kib_max: 0 }.tags();
        let source = rig.spawn("source", 0, &computing(&[0, HONEST, OTHER]), &terms).await?;
        if !rig.fleet.plan().has_role(HONEST, "compute") {
            // Who computes no ledger names those that he believes.
            let path = rig.fleet.plan().data_dir(HONEST).join(FILE_NAME);
            let mut settings = std::fs::OpenOptions::new().append(true).open(path).unwrap();
            writeln!(settings, "claim_at = [\"{}\"]", ledger.id).unwrap();
            rig.fleet.kill(HONEST).await;
            rig.fleet.start_again(HONEST).unwrap();
            rig.fleet.all_up().await.unwrap();
            rig.town().carry_on(&source, HONEST, &mut open).await?;
        }
        assert_holds(open);
        let target = rig.spawn("target", 1, &[1], &[]).await?;
        Ok(Self { rig, token, ledger, source, target })
    }

    fn address(&self, node: usize) -> Address {
        self.rig.fleet.node(node).ready().address
    }

    /// Asks the ledger as its scheduler has it; nothing while it has no answer.
    async fn ledger(&self, action: &str, of: &[(&str, String)]) -> Result<Option<String>, AskError> {
        let mut tags = tags(of);
        tags.push(Tag::new("Action", action));
        let message = DryRunBody { owner: self.address(0).to_string(), tags, ..DryRunBody::default() };
        let request = Request::DryRun { process: self.ledger.id, message, slot: None };
        let tried: DryRunInfo = match self.rig.fleet.node(0).ask("the ledger", &request).await {
            Err(AskError { source: ClientError::Failed(failure), .. })
                if matches!(
                    failure.code,
                    FailureCode::TimedOut | FailureCode::Busy | FailureCode::Unknown
                ) =>
            {
                return Ok(None);
            }
            tried => tried?,
        };
        Ok(tried.result.get("Output").and_then(Value::as_str).map(str::to_owned))
    }

    /// Waits until the ledger says this of what it holds.
    async fn holds(&self, action: &str, of: &[(&str, String)], wanted: &str) -> Result<(), Trouble> {
        let look = async || {
            let said = self.ledger(action, of).await?.unwrap_or_default();
            Ok::<_, AskError>(if said == wanted { Look::There(()) } else { Look::NotYet(said) })
        };
        Ok(until(format!("{action} of {of:?} to be {wanted}"), PATIENCE, look).await?)
    }

    /// A message of a node to the ledger, as `weft market` on its machine sends it.
    async fn ask(
        &self,
        node: usize,
        action: &str,
        of: &[(&str, String)],
        data: &str,
    ) -> Result<Submitted, Trouble> {
        let key = keyring::load(self.rig.fleet.node(node).data_dir()).unwrap();
        let mut tags =
            tags(&[("Data-Protocol", "ao".into()), ("Type", "Message".into()), ("Action", action.into())]);
        tags.extend(of.iter().map(|(name, value)| Tag::new(*name, value.clone())));
        let draft =
            Draft { target: Some(self.ledger.id), tags, data: data.to_owned().into(), ..Draft::default() };
        self.rig.town().submit(&draft.sign(&key.signer).unwrap()).await
    }

    /// Puts money into the escrow of the source and into the hands of these nodes, all of it from the token.
    async fn fund(&self, nodes: &[usize], each: u64, escrow: u64) -> Result<(), Trouble> {
        let (town, ledger) = (self.rig.town(), self.ledger.id.to_string());
        let quantity = |amount: u64| ("Quantity", amount.to_string());
        town.send(&self.token, "Mint", tags(&[quantity(each * nodes.len() as u64 + escrow)]), "").await?;
        let source = self.source.id.to_string();
        let of = [("Recipient", ledger.clone()), quantity(escrow), ("X-Escrow", source)];
        town.send(&self.token, "Transfer", tags(&of), "").await?;
        let of = [("Recipient", ledger), quantity(each * nodes.len() as u64)];
        town.send(&self.token, "Transfer", tags(&of), "").await?;
        let me = self.rig.user.address().to_string();
        self.holds("Balance", &[("Recipient", me)], &(each * nodes.len() as u64).to_string()).await?;
        for node in nodes {
            let to = self.address(*node).to_string();
            let of = [("Recipient", to.clone()), quantity(each)];
            town.send(&self.ledger, "Transfer", tags(&of), "").await?;
            self.holds("Balance", &[("Recipient", to)], &each.to_string()).await?;
        }
        Ok(())
    }

    async fn bond(&self, node: usize, amount: u64) -> Result<(), Trouble> {
        self.ask(node, "Bond", &[("Quantity", amount.to_string())], "").await?;
        let of = [("Messenger", self.address(node).to_string())];
        self.holds("Bond-Of", &of, &amount.to_string()).await
    }

    /// Has both messengers offer with a bond, and gives these nodes so much of which the bonds are paid.
    async fn hire(&self, nodes: &[usize], each: u64) -> Result<(), Trouble> {
        self.rig.all_offer(&self.source, &[HONEST, OTHER], 0).await?;
        self.fund(nodes, each, BOND_UNIT).await?;
        for node in [HONEST, OTHER] {
            self.bond(node, BOND_UNIT).await?;
        }
        self.weighed(BOND_UNIT).await
    }

    /// Waits until the scheduler of the source knows both offers, each with this bond.
    async fn weighed(&self, bond: u64) -> Result<(), Trouble> {
        let look = async || {
            let request = Request::Market(MarketRequest::Offers);
            let offers: Vec<OfferInfo> = self.rig.fleet.node(0).ask("the offers", &request).await?;
            let of_source = offers.iter().filter(|offer| offer.processes.contains(&self.source.id));
            let bonds: Vec<Option<u64>> = of_source.map(|offer| offer.bond).collect();
            let done = bonds == [Some(bond); 2];
            Ok::<_, AskError>(if done { Look::There(()) } else { Look::NotYet(format!("{bonds:?}")) })
        };
        Ok(until("the scheduler to have read both bonds".to_owned(), 2 * PATIENCE, look).await?)
    }

    /// Goes through window 0, and through window 1 with messages to the target and so many spawns.
    async fn play(&self, spawns: u64) -> Result<(), Trouble> {
        let (town, mut open) = (self.rig.town(), Open::new("play"));
        for _ in 1..set_slot(1).unwrap() {
            town.send(&self.source, "Increment", Vec::new(), "").await?;
        }
        let to = tags(&[("To", self.target.id.to_string())]);
        // Children that begin with nothing of their own.
        let child = tags(&[
            ("Module", self.rig.module.to_string()),
            ("Scheduler", self.address(0).to_string()),
            ("Child-Action", "Increment".into()),
        ]);
        for at in 0..WINDOW_SLOTS {
            let (action, tags) = match at {
                _ if at < PUSHES => ("Relay", to.clone()),
                _ if at < PUSHES + spawns => ("Spawn", child.clone()),
                _ => ("Increment", Vec::new()),
            };
            let sent = town.send(&self.source, action, tags, "").await?;
            // One after the other: what waits longer than a turn is another messenger's. The news of a child begins with
            // the tags of its spawn, so with the child's action.
            if action == "Spawn" {
                town.pushed(&self.source, &self.source, "Increment", sent.slot, &mut open).await?;
            }
        }
        assert_holds(open);
        // The offers of window 2 took a slot of their own.
        let head = town.send(&self.source, "Increment", Vec::new(), "").await?.slot;
        assert!(head >= 2 * WINDOW_SLOTS, "{head}");
        Ok(())
    }

    /// Waits until a node has so much at the ledger, which is used meanwhile, so that its time passes.
    async fn comes_to_have(&self, node: usize, wanted: u64) -> Result<(), Trouble> {
        let who = [("Recipient", self.address(node).to_string())];
        let look = async || {
            self.rig.town().send(&self.ledger, "Settle", Vec::new(), "").await.ok();
            let has = self.ledger("Balance", &who).await?.unwrap_or_default();
            let done = has == wanted.to_string();
            Ok::<_, AskError>(if done { Look::There(()) } else { Look::NotYet(has) })
        };
        Ok(until(format!("node {node} to have {wanted}"), 2 * PATIENCE, look).await?)
    }

    /// Names the claim of a node for window 1.
    fn claim_of(&self, node: usize) -> [(&'static str, String); 3] {
        let (messenger, source) = (self.address(node).to_string(), self.source.id.to_string());
        [("Messenger", messenger), ("Source", source), ("Window", "1".to_owned())]
    }

    /// Waits until the ledger shows the claim of a node for window 1 like this. Meanwhile nobody lets its slots pass.
    async fn claim_shows(&self, node: usize, wanted: &str) -> Result<(), Trouble> {
        let of = self.claim_of(node);
        let look = async || {
            let claim = self.ledger("Claim-Of", &of).await?.unwrap_or_default();
            let done = claim.contains(wanted);
            Ok::<_, AskError>(if done { Look::There(()) } else { Look::NotYet(claim) })
        };
        Ok(until(format!("the claim of node {node} to show {wanted}"), 2 * PATIENCE, look).await?)
    }

    /// One node challenges the first push of another's claim for window 1; returns what the ledger says.
    async fn challenge(&self, by: usize, node: usize, again: bool) -> Result<String, Trouble> {
        let mut of = self.claim_of(node).to_vec();
        of.push(("Leaf", "0".to_owned()));
        of.push(("Again", again.to_string()));
        let slot = self.ask(by, "Challenge", &of, "").await?.slot;
        Ok(self.rig.town().result(&self.ledger, 0, slot).await?.result.to_string())
    }

    /// Waits until a node was paid, and this holds of what it earned, which it returns.
    async fn is_paid(
        &self,
        node: usize,
        holds: impl Fn(&LedgerEarnings) -> bool,
    ) -> Result<LedgerEarnings, Trouble> {
        let request = Request::Market(MarketRequest::Earnings { ledger: Some(self.ledger.id) });
        let look = async || {
            let earned: EarningsInfo = self.rig.fleet.node(node).ask("what it earned", &request).await?;
            let earned = earned.ledgers.into_iter().next().unwrap();
            let done = earned.paid != "0" && holds(&earned);
            Ok::<_, AskError>(if done { Look::There(earned) } else { Look::NotYet(format!("{earned:?}")) })
        };
        Ok(until(format!("node {node} to be paid"), 3 * PATIENCE, look).await?)
    }

    /// Waits until the honest messenger, which had a bond and as much again, was paid for all that it claimed. The deposit is
    /// its own too. Returns what it earned, and how much it was paid.
    async fn all_is_paid(&self) -> Result<(LedgerEarnings, u64), Trouble> {
        let is_all = |earned: &LedgerEarnings| {
            let has = BOND_UNIT + earned.paid.parse::<u64>().unwrap() + BOND_UNIT / 100;
            // Who does not compute the ledger asks others, who may be late.
            let amounts = [&earned.balance, &earned.bond, &earned.locked].map(|amount| amount.as_deref());
            let wanted = [has, BOND_UNIT, 0].map(|amount| amount.to_string());
            earned.claimed == "0"
                && earned.claimable == "0"
                && amounts == wanted.each_ref().map(|amount| Some(amount.as_str()))
        };
        let earned = self.is_paid(HONEST, is_all).await?;
        let paid = earned.paid.parse().unwrap();
        Ok((earned, paid))
    }

    /// What each messenger is due for messages of window 1, as a node computes it from the logs, and how many there are.
    async fn audit(&self, node: usize) -> Result<(Vec<(Address, u64)>, u64), Trouble> {
        let request = Request::Market(MarketRequest::Audit { process: self.source.id, window: Some(1) });
        let audit: AuditInfo = self.rig.fleet.node(node).ask_within("an audit", &request, AUDIT_WAIT).await?;
        let window = &audit.windows[0];
        assert_eq!((window.unknown, window.outside), (0, 0), "{audit:?}");
        let rows = window.messengers.iter().map(|row| (row.messenger, row.due.parse().unwrap()));
        Ok((rows.collect(), window.pushes))
    }

    /// All money of the ledger is somewhere.
    async fn conserves(&self) -> Result<(), Trouble> {
        let look = async || {
            let audit = self.ledger("Audit", &[]).await?;
            Ok::<_, AskError>(audit.map_or_else(|| Look::NotYet("no answer".to_owned()), Look::There))
        };
        let audit = until("the ledger's audit", PATIENCE, look).await?;
        let audit: Value = serde_json::from_str(&audit).unwrap();
        assert_eq!(audit["conserves"], true, "{audit}");
        Ok(())
    }
}

#[tokio::test]
async fn a_messenger_earns_is_audited_and_withdraws() -> Result<(), Trouble> {
    let stage = Stage::open(&ROLES).await?;
    stage.hire(&[HONEST, OTHER], 2 * BOND_UNIT).await?;
    stage.play(0).await?;

    // Nobody asks for it: the messenger claims. It leaves who pays, as it does where that one cancels, and the claim is
    // challenged: it answers all the same. Who challenges what was answered for is told so.
    stage.claim_shows(HONEST, r#""challenges":{}"#).await?;
    let leave = Request::Unhost { process: stage.source.id };
    let _: ProcessInfo = stage.rig.fleet.node(HONEST).ask("to leave the source", &leave).await?;
    let said = stage.challenge(OTHER, HONEST, false).await?;
    assert!(said.contains("Challenge-Response"), "{said}");
    stage.claim_shows(HONEST, r#""answered":1,"#).await?;
    let said = stage.challenge(OTHER, HONEST, true).await?;
    assert!(said.contains("Challenge-Error") && said.contains("answered for already"), "{said}");

    // It waits for the ledger's time, and is paid.
    let (earned, paid) = stage.all_is_paid().await?;

    // A node that was not there comes to the same sum from the logs.
    let mut open = Open::new("audit");
    stage.rig.town().host_on(&stage.source, AUDITOR, false, &mut open).await?;
    stage.rig.town().result(&stage.source, AUDITOR, 2 * WINDOW_SLOTS).await?;
    let (due, pushes) = stage.audit(AUDITOR).await?;
    assert_eq!(pushes, PUSHES);
    let of = |node| due.iter().find(|(of, _)| *of == stage.address(node)).map(|(_, due)| *due);
    assert_eq!(of(HONEST), Some(paid), "{due:?}");
    assert_eq!(due.iter().map(|(_, due)| due).sum::<u64>(), PUSHES * PRICE, "{due:?}");

    // Out of the ledger, into the token.
    let (out, has) = (stage.address(HONEST).to_string(), earned.balance.unwrap());
    stage.ask(HONEST, "Withdraw", &[("Quantity", has.clone())], "").await?;
    let code = format!("return Balances['{out}'] or '0'");
    let look = async || {
        let said = aos::eval(&stage.rig.town(), &stage.token, &code, &mut Open::new("withdraw")).await;
        let said = said.unwrap_or_default();
        Ok::<_, AskError>(if said == has { Look::There(()) } else { Look::NotYet(said) })
    };
    until("the token to have paid it out".to_owned(), PATIENCE, look).await?;
    stage.holds("Balance", &[("Recipient", out)], "0").await?;
    stage.conserves().await?;
    assert_holds(open);
    stage.rig.end(&[]).await;
    Ok(())
}

#[tokio::test]
async fn a_messenger_that_computes_nothing_claims_by_what_attestors_sign() -> Result<(), Trouble> {
    let mut stage = Stage::open(&ALONE).await?;
    stage.hire(&[HONEST, OTHER], 2 * BOND_UNIT).await?;
    stage.play(SPAWNS).await?;

    // It claims, and is challenged while it is off: it hears that from where it had heard the ledger, answers, and until then
    // lets none of the slots pass that are left for that.
    stage.claim_shows(HONEST, r#""challenges":{}"#).await?;
    stage.rig.fleet.kill(HONEST).await;
    let said = stage.challenge(OTHER, HONEST, false).await?;
    assert!(said.contains("Challenge-Response"), "{said}");
    stage.rig.fleet.start_again(HONEST).unwrap();
    stage.rig.fleet.all_up().await.unwrap();
    stage.claim_shows(HONEST, r#""answered":1,"#).await?;

    // Nobody else lets the ledger's time pass. What it has there its attestors say.
    let (earned, paid) = stage.all_is_paid().await?;
    assert_eq!((earned.lost.as_str(), earned.challenged.as_str()), ("0", "0"));
    assert!(!earned.computed_here, "it has no compute role");
    // The logs say the same of it where they are computed. Children are no messages, and are paid too.
    let (due, pushes) = stage.audit(0).await?;
    assert!(pushes >= PUSHES, "{pushes}");
    let of_it = due.iter().find(|(of, _)| *of == stage.address(HONEST)).map_or(0, |(_, due)| *due);
    let of_children = paid - of_it;
    assert!(
        of_children.is_multiple_of(PRICE) && (1..=SPAWNS).contains(&(of_children / PRICE)),
        "{paid}, of which {of_it} for messages: {due:?}"
    );
    stage.conserves().await?;
    stage.rig.end(&[HONEST]).await;
    Ok(())
}

/// The claim of a messenger that is off, of some of its pushes and with these amounts: what its own node would never
/// make.
fn by_hand(stage: &Stage, node: usize, which: impl Fn(usize) -> bool, amount: impl Fn(usize) -> u64) -> Made {
    let fleet = &stage.rig.fleet;
    let (me, network) = (stage.address(node), Network::of_name(&fleet.node(node).ready().network));
    let path = fleet.node(node).data_dir().join("store.redb");
    let store = Store::open(&path, &StoreConfig::new(network, me)).unwrap();
    let reader = store.read().unwrap();
    let position = Position::slot(WINDOW_SLOTS);
    let from = OutboxKey { process: stage.source.id, position, index: 0 };
    let pushes = reader.earned_in(&from, 2 * WINDOW_SLOTS - 1, 4_096).unwrap();
    let chosen = pushes
        .iter()
        .filter(|(_, row)| row.claim.is_none())
        .enumerate()
        .filter(|(at, _)| which(*at))
        .map(|(_, push)| push);
    let paid = chosen.enumerate().map(|(at, (key, row))| Paid {
        position: key.position,
        index: key.index,
        target: row.target,
        target_slot: row.slot,
        accepted: row.accepted,
        amount: amount(at),
    });
    let tree = ClaimTree::new(me, stage.source.id, 1, paid.collect()).unwrap();
    let shown = earn::answer(&reader, stage.source.id, &tree, 0).unwrap();
    let count = tree.leaves().len() as u64;
    Made { data: URL_SAFE_NO_PAD.encode(Opening { tree, shown }.encode()), count }
}

/// A claim as it is sent.
struct Made {
    data: String,
    count: u64,
}

#[tokio::test]
async fn a_claim_that_is_made_up_loses_its_bond_and_a_push_is_claimed_once() -> Result<(), Trouble> {
    let mut stage = Stage::open(&ROLES).await?;
    stage.hire(&[HONEST, OTHER, AUDITOR], BOND_UNIT).await?;
    let mut open = Open::new("audit");
    for of in [&stage.source, &stage.ledger] {
        stage.rig.town().host_on(of, AUDITOR, false, &mut open).await?;
    }
    stage.play(0).await?;
    let earned = stage.is_paid(HONEST, |_| true).await?;
    assert_eq!((earned.lost.as_str(), earned.challenged.as_str()), ("0", "0"), "{earned:?}");

    // The other is off, and has every second of its pushes claimed by hand: that is paid, once.
    stage.rig.fleet.kill(OTHER).await;
    let of = [("Source", stage.source.id.to_string()), ("Window", "1".to_owned())];
    let right = by_hand(&stage, OTHER, |at| at % 2 == 0, |_| PRICE);
    stage.ask(OTHER, "Claim", &of, &right.data).await?;
    stage.comes_to_have(OTHER, right.count * PRICE).await?;
    let again = [&of[..], &[("Again", "1".to_owned())]].concat();
    let again = stage.ask(OTHER, "Claim", &again, &right.data).await?;
    let refused = stage.rig.town().result(&stage.ledger, 0, again.slot).await?.result.to_string();
    assert!(refused.contains("Claim-Error") && refused.contains("Taken"), "{refused}");

    // Of the others it asks for ten times what all but the first pay. Nobody answers for it: half of the bond is the
    // auditor's.
    let wrong = by_hand(&stage, OTHER, |at| at % 2 == 1, |at| if at == 0 { PRICE } else { 10 * PRICE });
    assert!(wrong.count > 1, "it carried {} and {} pushes", right.count, wrong.count);
    stage.ask(OTHER, "Claim", &of, &wrong.data).await?;
    stage.claim_shows(OTHER, r#""challenges":{""#).await?;
    stage.comes_to_have(AUDITOR, BOND_UNIT + BOND_UNIT / 2).await?;
    stage.comes_to_have(OTHER, right.count * PRICE).await?;
    stage.holds("Bond-Of", &[("Messenger", stage.address(OTHER).to_string())], "0").await?;
    stage.conserves().await?;
    assert_holds(open);
    stage.rig.end(&[OTHER]).await;
    Ok(())
}
