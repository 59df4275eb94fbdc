//! `weft pending`, and messages that are sent by the topic of their process.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;
use weft_protocol::{DataItem, Id};

use super::Context;
use super::args::Wait;
use super::exit::{CliError, Exit};
use super::screen::{Colour, table};
use super::talk::ask;
use crate::control::api::{LetterInfo, LetterState, PendingInfo, PendingRequest, Request, Submitted};

/// The word of the error that says that a message waits.
pub(super) const CODE: &str = "pending";

/// How often it is looked whether a message has its slot.
const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn list(process: Option<Id>, context: &Context) -> Result<Exit, CliError> {
    let screen = context.screen;
    let request = Request::Pending(PendingRequest::List { process });
    let info: PendingInfo = ask(context, "asking the node", &request).await?;
    screen.answer(&info, || {
        let letters = info.letters.iter().map(|letter| {
            let state = match letter.state {
                LetterState::Assigned => screen.paint(Colour::Green, letter.state.name()),
                LetterState::GivenUp => screen.paint(Colour::Red, letter.state.name()),
                _ => letter.state.name().to_owned(),
            };
            let slot = letter.slot.map_or_else(|| "-".to_owned(), |slot| slot.to_string());
            let bits = letter.postage_bits.to_string();
            [
                letter.item.to_string(),
                letter.process.to_string(),
                state,
                bits,
                slot,
                screen.foreign(&letter.why),
            ]
        });
        let held = info.held.iter().map(|held| {
            [
                held.item.to_string(),
                held.process.to_string(),
                held.signer.to_string(),
                held.postage_bits.to_string(),
                format!("{} s", held.age_ms / 1000),
            ]
        });
        let letters = table(["SENT FROM HERE", "PROCESS", "STATE", "POSTAGE", "SLOT", "WHY"], letters);
        let held = table(["HELD", "PROCESS", "SIGNER", "POSTAGE", "FOR"], held);
        format!("{letters}\n\n{held}")
    })?;
    Ok(Exit::Ok)
}

/// Sends a message by the topic of its process. It has no slot yet: that is an error with the word for it.
pub(super) async fn send(item: &DataItem, context: &Context) -> Result<Submitted, CliError> {
    let request = Request::Pending(PendingRequest::Send { item: STANDARD.encode(item.raw()) });
    let letter: LetterInfo = ask(context, "asking the node", &request).await?;
    let text = format!(
        "pending: message {} was published on the topic of process {} with {} bits of postage, and with more every \
         30 s while it has no slot; `weft pending` shows what becomes of it",
        letter.item, letter.process, letter.postage_bits
    );
    Err(CliError { code: CODE, ..CliError::new(Exit::TimedOut, text) })
}

/// Waits until a message has its slot.
pub(super) async fn slot_of(
    item: &DataItem,
    process: Id,
    wait: &Wait,
    context: &Context,
) -> Result<Submitted, CliError> {
    let until = Instant::now() + Duration::from_secs(wait.timeout);
    let request = Request::Pending(PendingRequest::List { process: Some(process) });
    let mut look = tokio::time::interval(LOOK);
    while Instant::now() < until {
        look.tick().await;
        let info: PendingInfo = ask(context, "waiting for a slot", &request).await?;
        let letter = info.letters.into_iter().find(|letter| letter.item == item.id());
        match letter.map(|letter| (letter.state, letter.why)) {
            Some((LetterState::Assigned, _)) => {
                // Handed in again it is answered with the slot that it has.
                let request = Request::Submit { item: STANDARD.encode(item.raw()) };
                return ask(context, "waiting for the scheduler", &request).await;
            }
            Some((LetterState::GivenUp, why)) => return Err(CliError::no(format!("it has no slot: {why}"))),
            _ => {}
        }
    }
    let text = format!("message {} has no slot yet; `weft pending` shows what becomes of it", item.id());
    Err(CliError { code: CODE, ..CliError::new(Exit::TimedOut, text) })
}
