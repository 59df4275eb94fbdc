//! A messenger that carries because somebody asked for it, by signed statements that reach it through other nodes: it lets time pass,
//! and stops when the payer or the owner says so, and nobody else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use weft_node::config::{Role, Whose};
use weft_node::control::api::{CarryEnded, CarryRequest, OutboxInfo, Request, SubscriptionInfo};
use weft_protocol::crypto::Signer;
use weft_protocol::subscription::{Said, Statement};
use weft_protocol::{Address, Id};

use crate::support::{Node, key, network, now, until};

/// A process that nobody serves.
const NOBODY: Id = Id([9; 32]);
const HOUR_MS: u64 = 60 * 60 * 1_000;

fn request(process: Id, messenger: &Node, number: u64, said: Said, by: &Signer) -> Request {
    let messenger = messenger.signer.address();
    let item = Statement { process, messenger, number, said }.draft(network()).sign(by).unwrap();
    Request::Carry(CarryRequest::Subscribe { item: STANDARD.encode(item.raw()) })
}

async fn held(node: &Node) -> Vec<SubscriptionInfo> {
    node.ask(Request::Carry(CarryRequest::Subscriptions)).await.unwrap()
}

async fn messenger(seed: u8, home: &Node, whose: Whose) -> Node {
    Node::set_up(seed, &[home], |config| {
        config.roles = [Role::Messenger].into();
        config.carry_for = whose;
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_carries_and_lets_time_pass_until_payer_or_owner_end_it() {
    let home = Node::set_up(210, &[], |config| config.roles = [Role::Scheduler, Role::Compute].into()).await;
    let to = NOBODY.to_string();
    let crons = [("Cron-Interval", "1-second"), ("Cron-Tag-Action", "Relay"), ("Cron-Tag-To", to.as_str())];
    let process = home.counter_with(&crons).await;
    let carrier = messenger(211, &home, Whose::Anyone).await;
    let closed = messenger(212, &home, Whose::Own).await;
    let payer = Node::knowing(213, &[&home, &carrier, &closed]).await;
    let subscribe = |messenger: &Node, number| {
        request(process, messenger, number, Said::Until(now() + HOUR_MS), &payer.signer)
    };
    until("the messenger to refuse", || async {
        let refused = payer.ask::<Value>(subscribe(&closed, 5)).await.unwrap_err().to_string();
        refused.contains("carry_for").then_some(())
    })
    .await;
    let taken: SubscriptionInfo =
        until("the messenger", || async { payer.ask(subscribe(&carrier, 5)).await.ok() }).await;
    assert_eq!((taken.payer, taken.holds), (payer.signer.address(), true));
    assert!(taken.pay.contains("no ledger"), "{}", taken.pay);
    // Nobody sends anything: its ticks run because the messenger asks for the time, and what they send is carried.
    until("what a tick sent", || async {
        let ask = Request::Carry(CarryRequest::Outbox { process, limit: 9 });
        let outbox: OutboxInfo = carrier.ask(ask).await.unwrap();
        outbox.entries.iter().any(|entry| entry.push.tick > 0).then_some(())
    })
    .await;

    let cancelled = |by: Address| Said::Cancelled(by);
    let stranger = request(process, &carrier, 9, cancelled(payer.signer.address()), &key(77));
    let refused = payer.ask::<Value>(stranger).await.unwrap_err().to_string();
    assert!(refused.contains("only its payer"), "{refused}");
    assert!(held(&carrier).await[0].holds);
    // Another payer's goes on when the first is cancelled.
    let second = request(process, &carrier, 1, Said::Until(now() + HOUR_MS), &key(78));
    carrier.ask::<SubscriptionInfo>(second).await.unwrap();
    let end = request(process, &carrier, 6, cancelled(payer.signer.address()), &payer.signer);
    assert!(!payer.ask::<SubscriptionInfo>(end).await.unwrap().holds);
    let duties = carrier.detail(process).await.info.duties;
    assert_eq!(duties, ["carry", "watch", "cron"]);
    // What was said before says nothing now.
    let again = carrier.ask::<Value>(subscribe(&carrier, 5)).await.unwrap_err().to_string();
    assert!(again.contains("newer"), "{again}");
    // The owner ends the other one, and the process is left as it was.
    let end = request(process, &carrier, 1, cancelled(key(78).address()), &home.signer);
    assert!(!carrier.ask::<SubscriptionInfo>(end).await.unwrap().holds);
    let gone = carrier.ask::<Value>(Request::Process { process, state_root: false }).await.unwrap_err();
    assert!(gone.to_string().contains("not hosted"), "{gone}");
    assert!(held(&carrier).await.iter().all(|info| !info.holds));
    for node in [payer, closed, carrier, home] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_carrying_is_told_whom_he_owes_it() {
    let home = Node::set_up(214, &[], |config| config.roles = [Role::Scheduler, Role::Compute].into()).await;
    let to = NOBODY.to_string();
    let crons = [("Cron-Interval", "1-second"), ("Cron-Tag-Action", "Relay"), ("Cron-Tag-To", to.as_str())];
    let process = home.counter_with(&crons).await;
    let carrier = messenger(215, &home, Whose::Anyone).await;
    let subscribe = request(process, &carrier, 5, Said::Until(now() + HOUR_MS), &key(79));
    until("the subscription", || async {
        carrier.ask::<SubscriptionInfo>(subscribe.clone()).await.ok().filter(|info| info.holds)
    })
    .await;
    until("what a tick sent", || async {
        let ask = Request::Carry(CarryRequest::Outbox { process, limit: 9 });
        let outbox: OutboxInfo = carrier.ask(ask).await.unwrap();
        (!outbox.entries.is_empty()).then_some(())
    })
    .await;
    let ended: CarryEnded = carrier.ask(Request::Carry(CarryRequest::End { process })).await.unwrap();
    let owed: Vec<Address> = ended.owed.iter().map(|held| held.payer).collect();
    assert_eq!((ended.info.process, owed), (process, vec![key(79).address()]));
    assert!(ended.undelivered > 0, "{ended:?}");
    assert_eq!((ended.unclaimed, ended.unclaimed_sum.as_str(), ended.claims), (0, "0", 0));
    for node in [carrier, home] {
        node.stop().await;
    }
}
