//! One thing by its id from gateways of a weave: a transaction of the base layer, or a data item in one of its
//! bundles, whole and verified. A gateway that gives something else is found out by that, and the next is asked.

use std::fmt::Write as _;

use bytes::Bytes;
use weft_protocol::Id;
use weft_protocol::bundle::Bundle;
use weft_protocol::held::Held;
use weft_protocol::l1::{L1Error, L1Tx};
use weft_protocol::{DataItem, Verified};

use super::ask::{self, Listed, Question};
use super::gateway::{Gateway, GatewayError};

/// Bundles of one block that are looked through where a gateway does not say which one an item is in.
const BUNDLES_MAX: usize = 4;

/// What gateways were good for.
#[derive(Debug)]
pub(crate) struct Sought {
    /// What one of them gave.
    pub(crate) found: Option<Verified<Held>>,
    /// What each that was asked before, or in vain, said or did.
    pub(crate) said: Vec<String>,
    /// How many of them gave something false.
    pub(crate) false_ones: u64,
}

/// Why one gateway gave nothing that counts.
enum Vain {
    /// It has not got it, does not answer, or leaves out what is needed.
    Without(String),
    /// What it gave is not what the id names.
    False(String),
}

impl From<GatewayError> for Vain {
    fn from(error: GatewayError) -> Self {
        Self::Without(error.to_string())
    }
}

/// Looks for what an id names at these gateways, in their order. What says of itself that it has more than
/// `data_max` bytes of data is left there.
pub(crate) async fn seek(gateways: &[String], id: Id, data_max: usize) -> Sought {
    let mut sought = Sought { found: None, said: Vec::new(), false_ones: 0 };
    for address in gateways {
        let asked = match Gateway::new(address) {
            Ok(mut gateway) => one(&mut gateway, id, data_max).await,
            Err(error) => Err(error.into()),
        };
        match asked {
            Ok(found) => {
                sought.found = Some(found);
                break;
            }
            Err(Vain::Without(why)) => sought.said.push(format!("{address}: {why}")),
            Err(Vain::False(why)) => {
                tracing::warn!(gateway = %address, %id, %why, "a gateway gave something false");
                sought.false_ones += 1;
                sought.said.push(format!("{address}: {why}"));
            }
        }
    }
    sought
}

async fn one(gateway: &mut Gateway, id: Id, data_max: usize) -> Result<Verified<Held>, Vain> {
    match gateway.transaction(id).await {
        Ok(json) => match transaction(gateway, id, json, data_max).await {
            // What a weave has under an id as a transaction that nobody signed may yet be an item's.
            Err(Vain::Without(why)) => match item(gateway, id, data_max).await {
                Err(Vain::Without(_)) => Err(Vain::Without(why)),
                answer => answer,
            },
            answer => answer,
        },
        // A node may answer otherwise than by `unknown` where it knows transactions alone.
        Err(GatewayError::Unknown(_) | GatewayError::Status { .. }) => item(gateway, id, data_max).await,
        Err(error) => Err(error.into()),
    }
}

/// The transaction of which a gateway gave this JSON.
async fn transaction(
    gateway: &mut Gateway,
    id: Id,
    json: Bytes,
    data_max: usize,
) -> Result<Verified<Held>, Vain> {
    let tx = away(move || L1Tx::parse_json(&json)?.verify()).await?;
    let tx = match tx {
        Ok(tx) if tx.id() == id => tx,
        Ok(other) => return Err(Vain::False(format!("it gives transaction {} for {id}", other.id()))),
        Err(L1Error::Format(format)) => {
            let why = format!("transaction {id} is of format {format}; only format 2 commits to its data");
            return Err(Vain::Without(why));
        }
        Err(error) => return Err(Vain::False(format!("transaction {id}: {error}"))),
    };
    if tx.data_size() > data_max as u64 {
        return Err(too_large(id, tx.data_size(), data_max));
    }
    let whole = if tx.is_whole() {
        Ok(tx)
    } else {
        let data = gateway.data(id).await;
        let data = data.map_err(|error| Vain::Without(format!("the data of transaction {id}: {error}")))?;
        away(move || tx.with_data(data)).await?
    };
    let whole = whole.and_then(Verified::<Held>::of_transaction);
    whole.map_err(|_| Vain::False(format!("the data that it gives is not that of transaction {id}")))
}

/// The data item: from the bundle that it is said to be in, or from the fields that are listed of it.
async fn item(gateway: &mut Gateway, id: Id, data_max: usize) -> Result<Verified<Held>, Vain> {
    let listed = ask::read(gateway.query(&Question::Item(id).to_json()).await?);
    let listed = listed.and_then(|all| all.into_iter().find(|one| one.id == id));
    let Some(listed) = listed else { return Err(Vain::Without("it does not have it".to_owned())) };
    if listed.data_bytes > data_max as u64 {
        return Err(too_large(id, listed.data_bytes, data_max));
    }
    if let Some(bundle) = listed.bundle {
        return in_bundle(gateway, bundle, id)
            .await?
            .ok_or_else(|| Vain::False(format!("{id} is not in bundle {bundle}, where it is said to be")));
    }
    if let Some(found) = alone(gateway, &listed).await? {
        return Ok(found);
    }
    // Its fields may not be all that was signed: then the bundle is needed, and may be any of its block.
    let Some(height) = listed.height else { return Err(left_out(id)) };
    let bundles = ask::read(gateway.query(&Question::Bundles { height }.to_json()).await?);
    for bundle in bundles.into_iter().flatten().take(BUNDLES_MAX) {
        if let Some(found) = in_bundle(gateway, bundle.id, id).await? {
            return Ok(found);
        }
    }
    Err(left_out(id))
}

fn too_large(id: Id, bytes: u64, max: usize) -> Vain {
    Vain::Without(format!("{id} has {bytes} bytes of data; at most {max} are read"))
}

fn left_out(id: Id) -> Vain {
    Vain::Without(format!("what it lists of {id} is not all that was signed, and it names no bundle"))
}

async fn in_bundle(gateway: &mut Gateway, bundle: Id, id: Id) -> Result<Option<Verified<Held>>, Vain> {
    let bytes = gateway.bundle(bundle).await?;
    let found = away(move || {
        let bundle = Bundle::parse(bytes).map_err(|error| error.to_string())?;
        let Some((_, range)) = bundle.entries().find(|(entry, _)| *entry == id) else { return Ok(None) };
        // A copy, so that the rest of the bundle is let go.
        let raw = Bytes::copy_from_slice(bundle.raw().get(range).unwrap_or_default());
        let item = DataItem::verify_bytes(raw).map_err(|error| error.to_string())?;
        if item.id() == id { Ok(Some(item)) } else { Err(format!("the item is {}", item.id())) }
    });
    let found = found.await?.map_err(|why: String| Vain::False(format!("{id} in bundle {bundle}: {why}")))?;
    Ok(found.map(Verified::<Held>::from))
}

/// The item of the fields that are listed of it, and its data; none where these are not all that was signed.
async fn alone(gateway: &mut Gateway, listed: &Listed) -> Result<Option<Verified<Held>>, Vain> {
    let data = match listed.data_bytes {
        0 => Bytes::new(),
        _ => gateway.data(listed.id).await?,
    };
    let listed = listed.clone();
    Ok(away(move || listed.with_data(data)).await?.map(Verified::<Held>::from))
}

/// Verifies away from the tasks: there may be tens of megabytes to hash.
async fn away<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Vain> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Vain::Without("this node stops".to_owned()))
}

/// How deep a transaction lies by the words of gateways.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// At least as deep as was asked, by the word of more than half of those that answer.
    Yes,
    /// Not yet; what each of them says.
    NotYet(String),
    /// None of them knows it, or none answers; why not.
    Nowhere(String),
}

/// Asks these gateways how deep a transaction lies.
pub(crate) async fn settled(gateways: &[String], id: Id, depth: u64) -> Settled {
    let asked = gateways.iter().map(|address| async move {
        match Gateway::new(address) {
            Ok(mut gateway) => (address.as_str(), gateway.place(id).await.map(|place| place.confirmations)),
            Err(error) => (address.as_str(), Err(error)),
        }
    });
    decide(&futures::future::join_all(asked).await, depth)
}

/// One gateway may say anything, so more than half of those that answer decide; one that has not got the
/// transaction answers too.
fn decide(answers: &[(&str, Result<u64, GatewayError>)], depth: u64) -> Settled {
    let (mut voices, mut deep, mut known, mut said) = (0, 0, false, String::new());
    for (address, answer) in answers {
        let comma = if said.is_empty() { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = match answer {
            Ok(blocks) => write!(said, "{comma}{address} says {blocks}"),
            Err(error) => write!(said, "{comma}{address}: {error}"),
        };
        voices += usize::from(answer.is_ok() || answer.as_ref().is_err_and(GatewayError::is_unknown));
        known |= answer.is_ok();
        deep += usize::from(answer.as_ref().is_ok_and(|blocks| *blocks >= depth));
    }
    match (known, 2 * deep > voices) {
        (_, true) => Settled::Yes,
        (true, false) => Settled::NotYet(said),
        (false, false) => Settled::Nowhere(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_half_of_those_that_answer_say_how_deep_a_transaction_lies() {
        let (unknown, gone) = (|| Err(GatewayError::Unknown("x")), || Err(GatewayError::Slow("x")));
        let said = |answers: Vec<Result<u64, GatewayError>>| {
            let named: Vec<_> = answers.into_iter().map(|answer| ("g", answer)).collect();
            match decide(&named, 20) {
                Settled::Yes => "yes",
                Settled::NotYet(_) => "not yet",
                Settled::Nowhere(_) => "nowhere",
            }
        };
        assert_eq!(said(vec![Ok(20)]), "yes");
        assert_eq!(said(vec![Ok(19)]), "not yet");
        assert_eq!(said(vec![Ok(1_000_000), Ok(3), unknown()]), "not yet", "one that lies is outvoted");
        assert_eq!(said(vec![Ok(0), Ok(20), Ok(21)]), "yes", "in either direction");
        assert_eq!(said(vec![Ok(20), unknown()]), "not yet");
        assert_eq!(said(vec![Ok(20), gone()]), "yes", "who does not answer has no voice");
        assert_eq!(said(vec![unknown(), gone()]), "nowhere");
        assert_eq!(said(vec![gone()]), "nowhere");
        assert_eq!(said(vec![]), "nowhere");
        let told = decide(&[("a", Ok(3)), ("b", unknown())], 20);
        assert_eq!(told, Settled::NotYet("a says 3, b: it does not have x".to_owned()));
    }
}
