//! `weft peers`, `weft providers` and `weft net doctor`.

use clap::Subcommand;
use weft_protocol::{Address, Id};

use super::Context;
use super::exit::{CliError, Exit};
use super::screen::{Colour, table};
use super::talk::ask;
use crate::control::api::{CheckState, Doctor, PeerInfo, ProviderInfo, Request};

#[derive(Debug, Subcommand)]
pub(crate) enum NetCommand {
    /// Show how the network sees this node: ports, peers, reach, relays, topics, clock
    Doctor,
}

pub(super) async fn peers(context: &Context) -> Result<Exit, CliError> {
    let screen = context.screen;
    let peers: Vec<PeerInfo> = ask(context, "asking the node", &Request::Peers).await?;
    screen.answer(&peers, || {
        let rows = peers.iter().map(|peer| {
            [
                peer.peer_id.clone(),
                peer.address.as_ref().map_or_else(|| "-".to_owned(), Address::to_string),
                if peer.outbound { "out" } else { "in" }.to_owned(),
                if peer.relayed { "relay" } else { "direct" }.to_owned(),
                peer.round_trip_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
                format!("{:.0}", peer.score),
                peer.topics.to_string(),
                screen.foreign(&peer.addresses.join(" ")),
            ]
        });
        table(["PEER", "ADDRESS", "DIALLED", "BY", "PING", "SCORE", "TOPICS", "AT"], rows)
    })?;
    Ok(Exit::Ok)
}

pub(super) async fn providers(process: Id, context: &Context) -> Result<Exit, CliError> {
    let screen = context.screen;
    let providers: Vec<ProviderInfo> =
        ask(context, "looking for who serves it", &Request::Providers { process }).await?;
    screen.answer(&providers, || {
        let rows = providers.iter().map(|provider| {
            [
                provider.peer_id.clone(),
                provider.address.as_ref().map_or_else(|| "-".to_owned(), Address::to_string),
                provider.found.join(","),
                provider.head.map_or_else(|| "-".to_owned(), |head| head.to_string()),
                provider.problem.as_deref().map_or_else(String::new, |why| screen.foreign(why)),
            ]
        });
        table(["PEER", "ADDRESS", "FOUND BY", "HEAD", "PROBLEM"], rows)
    })?;
    Ok(Exit::Ok)
}

/// Ends with "no" when something does not work.
pub(super) async fn doctor(context: &Context) -> Result<Exit, CliError> {
    let screen = context.screen;
    let doctor: Doctor = ask(context, "asking the node", &Request::Doctor).await?;
    screen.answer(&doctor, || {
        let rows = doctor.checks.iter().map(|check| {
            let (word, colour) = match check.state {
                CheckState::Good => ("good", Colour::Green),
                CheckState::Fair => ("fair", Colour::Yellow),
                CheckState::Bad => ("bad", Colour::Red),
            };
            [check.name.clone(), screen.paint(colour, word), screen.foreign(&check.text)]
        });
        table(["CHECK", "STATE", "FOUND"], rows)
    })?;
    let is_bad = doctor.checks.iter().any(|check| check.state == CheckState::Bad);
    Ok(if is_bad { Exit::No } else { Exit::Ok })
}
