//! Asking a ledger: questions that change nothing, as dry runs, and what they come to.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;
use weft_protocol::process::Process;
use weft_protocol::{Address, Id, Tag};

use crate::control::Answers;
use crate::control::api::{Failure, FailureCode};
use crate::dry_run::DryRunBody;
use crate::hosting;
use crate::reads::Read;
use crate::remote;
use crate::shared::Shared;

/// Pages of bonds that are read of one ledger: as many as the ledger of this build can hold.
const PAGES_MAX: usize = 17;
/// How long asking a ledger's attestors for amounts may take, and of that each of them.
const AMOUNTS_WAIT: Duration = Duration::from_secs(8);
const AMOUNTS_EACH: Duration = Duration::from_secs(5);
/// How long one peer may take for all pages.
const PEER_WAIT: Duration = Duration::from_secs(15);

/// What a ledger answers to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    tags: Vec<Tag>,
    /// Its data.
    pub data: String,
}

impl Answered {
    /// The answer in what a dry run came to: the last message, which is to whoever asked.
    pub fn of(tried: &Value) -> Option<Self> {
        let said = tried.get("result")?.get("Messages")?.as_array()?.last()?;
        let tags = said.get("Tags")?.as_array()?.iter();
        let text = |tag: &Value, field: &str| Some(tag.get(field)?.as_str()?.to_owned());
        let tags = tags.filter_map(|tag| Some(Tag::new(&text(tag, "name")?, text(tag, "value")?)));
        let data = said.get("Data").and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Self { tags: tags.collect(), data })
    }

    /// Its tags by name; the last one of a name counts.
    pub fn into_tags(self) -> impl Iterator<Item = (String, String)> {
        self.tags.into_iter().map(|tag| (tag.name, tag.value))
    }

    /// The value of a tag.
    pub fn tag(&self, name: &str) -> Option<&str> {
        weft_protocol::tag::first(&self.tags, name)
    }
}

/// The question of `asker` with this action.
pub fn question(ledger: Id, asker: Address, action: &str, tags: &[(&str, String)]) -> Read {
    let tags = tags.iter().map(|(name, value)| Tag::new(*name, value.clone()));
    let message = DryRunBody {
        owner: asker.to_string(),
        target: Some(ledger.to_string()),
        tags: std::iter::once(Tag::new("Action", action)).chain(tags).collect(),
        ..DryRunBody::default()
    };
    Read::DryRun { message: Box::new(message), to: None }
}

/// Asks a ledger that is computed here.
///
/// # Errors
/// That it is not computed here, or what it answers instead.
pub async fn ask_here(
    answers: &Answers,
    (ledger, asker): (Id, Address),
    action: &str,
    tags: &[(&str, String)],
) -> Result<Answered, Failure> {
    let tried = answers.read_here(ledger, question(ledger, asker, action, tags)).await?;
    let silent =
        || Failure::new(FailureCode::Refused, format!("{ledger} does not answer {action}: is it a ledger?"));
    let answered = Answered::of(&tried).ok_or_else(silent)?;
    match answered.tag("Error") {
        Some(error) => Err(Failure::new(FailureCode::Refused, format!("the ledger {ledger}: {error}"))),
        None => Ok(answered),
    }
}

/// Reads all bonds by asking for one page after the other.
async fn pages<F: Future<Output = Option<Answered>>>(
    ask: impl Fn(Vec<(&'static str, String)>) -> F,
) -> Option<BTreeMap<Address, u64>> {
    let (mut bonds, mut from) = (BTreeMap::new(), Vec::new());
    for _ in 0..PAGES_MAX {
        let page = ask(from).await?;
        let read: BTreeMap<String, String> = serde_json::from_str(&page.data).ok()?;
        for (messenger, bond) in read {
            let bond: u128 = bond.parse().ok()?;
            // More than so much weighs no more.
            bonds.insert(messenger.parse().ok()?, u64::try_from(bond).unwrap_or(u64::MAX));
        }
        match page.tag("From-Messenger") {
            Some(next) => from = vec![("From-Messenger", next.to_owned())],
            None => break,
        }
    }
    Some(bonds)
}

/// The bonds that a ledger shows: as it is computed here, else as a quorum of its attestors says. A dry run of a peer
/// has no proof, so of each messenger the bond counts that so many of them say it has at least.
pub async fn bonds(shared: &Shared, answers: &Answers, ledger: Id) -> Option<BTreeMap<Address, u64>> {
    if shared.directory.roles(&ledger).is_some_and(|roles| roles.computes) {
        let ask = |from: Vec<(&'static str, String)>| async move {
            ask_here(answers, (ledger, shared.address), "Bonds", &from).await.ok()
        };
        return pages(ask).await;
    }
    let process = hosting::find_process(shared, ledger).await.ok()?;
    let attestors = process.attestors();
    let asked = attestors.members.iter().map(|member| bonds_at(shared, &process, *member));
    let told: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
    said_by(&told, attestors.quorum)
}

/// The bonds as one attestor says.
async fn bonds_at(shared: &Shared, ledger: &Process, member: Address) -> Option<BTreeMap<Address, u64>> {
    let asking = async {
        let peer = remote::with_address(shared, member).await.ok()?;
        let ask = |from: Vec<(&'static str, String)>| async move {
            let question = question(ledger.id(), shared.address, "Bonds", &from);
            Answered::of(&remote::read(shared, peer, ledger.id(), &question).await.ok()?)
        };
        pages(ask).await
    };
    tokio::time::timeout(PEER_WAIT, asking).await.ok().flatten()
}

/// The amounts in a ledger's answers to some questions, by the names of their tags, as a quorum of its attestors says: as
/// [`bonds`], each as much as so many say it is at least. None where fewer have answered in time.
pub async fn amounts(
    shared: &Shared,
    ledger: Id,
    questions: &[(&str, (&str, String))],
) -> Option<BTreeMap<String, u128>> {
    let asking = async {
        let process = hosting::find_process(shared, ledger).await.ok()?;
        let attestors = process.attestors();
        let asked = attestors.members.iter().map(|member| amounts_at(shared, ledger, *member, questions));
        let told: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        said_by(&told, attestors.quorum)
    };
    tokio::time::timeout(AMOUNTS_WAIT, asking).await.ok().flatten()
}

/// The amounts as one attestor says.
async fn amounts_at(
    shared: &Shared,
    ledger: Id,
    member: Address,
    questions: &[(&str, (&str, String))],
) -> Option<BTreeMap<String, u128>> {
    let asking = async {
        let peer = remote::with_address(shared, member).await.ok()?;
        let mut amounts = BTreeMap::new();
        for (action, about) in questions {
            let question = question(ledger, shared.address, action, std::slice::from_ref(about));
            let answered = Answered::of(&remote::read(shared, peer, ledger, &question).await.ok()?)?;
            let numbers =
                answered.tags.into_iter().filter_map(|tag| Some((tag.name, tag.value.parse().ok()?)));
            amounts.extend(numbers);
        }
        Some(amounts)
    };
    tokio::time::timeout(AMOUNTS_EACH, asking).await.ok().flatten()
}

/// Of each name what so many say that it has at least; none where fewer have answered.
fn said_by<Name: Ord + Clone, Amount: Ord + Copy>(
    told: &[BTreeMap<Name, Amount>],
    quorum: usize,
) -> Option<BTreeMap<Name, Amount>> {
    let last = quorum.checked_sub(1)?;
    if told.len() < quorum {
        return None;
    }
    let mut by_name: BTreeMap<Name, Vec<Amount>> = BTreeMap::new();
    for (name, amount) in told.iter().flatten() {
        by_name.entry(name.clone()).or_default().push(*amount);
    }
    let agreed = by_name.into_iter().filter_map(|(name, mut amounts)| {
        amounts.sort_unstable_by(|a, b| b.cmp(a));
        amounts.get(last).map(|amount| (name, *amount))
    });
    Some(agreed.collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_the_last_message() {
        let tried = json!({ "result": { "Messages": [
            { "Target": "x", "Data": "no", "Tags": [] },
            { "Target": "y", "Data": "{}", "Tags": [{ "name": "Action", "value": "Bonds-Response" }] },
        ] } });
        let answered = Answered::of(&tried).unwrap();
        assert_eq!((answered.tag("Action"), answered.data.as_str()), (Some("Bonds-Response"), "{}"));
        assert_eq!(Answered::of(&json!({ "result": { "Messages": [] } })), None);
        assert_eq!(Answered::of(&json!({ "result": { "Error": "x" } })), None);
    }

    #[test]
    fn a_bond_counts_as_far_as_a_quorum_says() {
        let (a, b) = (Address([1; 32]), Address([2; 32]));
        let told = [
            BTreeMap::from([(a, 9), (b, u64::MAX)]),
            BTreeMap::from([(a, 7)]),
            BTreeMap::from([(a, 5), (b, 3)]),
        ];
        assert_eq!(said_by(&told, 2), Some(BTreeMap::from([(a, 7), (b, 3)])));
        assert_eq!(said_by(&told, 3), Some(BTreeMap::from([(a, 5)])), "one does not know the other");
        assert_eq!(said_by(&told, 4), None);
        assert_eq!(said_by(&told[..1], 1), Some(told[0].clone()));
    }

    #[tokio::test]
    async fn pages_follow_each_other_and_none_is_made_up() {
        let page = |data: String, next: Option<Address>| Answered {
            tags: next.map(|next| Tag::new("From-Messenger", next.to_string())).into_iter().collect(),
            data,
        };
        let (a, b) = (Address([1; 32]), Address([2; 32]));
        let first = |from: Vec<(&'static str, String)>| async move {
            Some(match from.first() {
                None => page(json!({ a.to_string(): "5" }).to_string(), Some(b)),
                Some((_, next)) => page(json!({ next.clone(): u128::MAX.to_string() }).to_string(), None),
            })
        };
        assert_eq!(pages(first).await, Some(BTreeMap::from([(a, 5), (b, u64::MAX)])));
        let endless = |_| async move { Some(page("{}".into(), Some(a))) };
        assert_eq!(pages(endless).await, Some(BTreeMap::new()), "a ledger that goes on for ever ends");
        let broken = |_| async move { Some(page(json!({ "x": "5" }).to_string(), None)) };
        assert_eq!(pages(broken).await, None);
    }
}
