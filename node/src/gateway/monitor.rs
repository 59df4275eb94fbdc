//! What today's clients ask with `/monitor`: that time passes in a process, so that its crons run. What was done
//! for them is on disk, and is undone when they want it no more, whatever the operator asked for besides. Whoever reaches
//! the gateway may ask, so a process that is followed for that alone has one of the places of those that came unasked.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use weft_protocol::{Address, Id};
use weft_storage::{Reader, Roles, StoreError, Write};

use super::body::BODY_BYTES_MAX;
use super::desk::Desk;
use super::messenger::{parse, verify};
use super::problem::{Problem, with_type};
use crate::control::not_hosted;
use crate::hosting::{self, Place};
use crate::shared::Shared;

/// Processes in which clients of this node let time pass.
const MONITORED_MAX: usize = 1_000;
/// When somebody who finds no place among them is told to come back, in milliseconds.
const MONITORED_RETRY_MS: u64 = 60_000;
/// What starts the name of the setting that says that a process is monitored; its id follows. The value says
/// whether the process was followed before.
const SETTING: &str = "gateway-monitored/";
const WAS_FOLLOWED: &[u8] = b"followed";
/// What starts the names of the settings that say who monitors a process; its id and their address follow.
const CLIENTS: &str = "gateway-monitors/";
/// Keys that monitor one process.
const CLIENTS_MAX: usize = 64;

/// What is done for them.
const WANTED: Roles = Roles {
    schedules: false,
    computes: false,
    messenges: false,
    watches: true,
    pinned: false,
    on_demand: false,
    keeps_time: true,
    for_others: true,
};

impl Desk {
    /// Lets time pass in a process for whoever signs that he wants it, so that its crons run, or no more.
    pub(super) async fn monitor(&self, process: Id, on: bool, body: Body) -> Result<Response, Problem> {
        let body = self.bodies.read(body, BODY_BYTES_MAX).await?;
        parse(&body.bytes)?;
        let item = verify(body.bytes).await?;
        if item.target() != Some(process) {
            return Err(Problem::invalid(format!("the item is not written to process {process}")));
        }
        if item.tag("Data-Protocol").is_some() {
            // A message to the process is somebody's, and is no wish of his to monitor it.
            return Err(Problem::invalid(
                "the item is a message; one that asks to monitor has no `Data-Protocol`",
            ));
        }
        let (desk, by) = (self.clone(), item.owner());
        // Whoever hangs up meanwhile leaves nothing half done.
        let changing = tokio::spawn(async move {
            let _turn = desk.monitoring.lock().await;
            if on { desk.keep_time(process, by).await } else { desk.leave_time(process, by).await }
        });
        changing.await.map_err(Problem::fault)??;
        let told = if on { "Monitoring process" } else { "Process deleted" };
        Ok(with_type(StatusCode::OK, "text/plain; charset=utf-8", Body::from(told)))
    }

    async fn keep_time(&self, process: Id, by: Address) -> Result<(), Problem> {
        // In a process without crons nothing falls due.
        if self.find(process).await?.crons().is_empty() {
            return Ok(());
        }
        let has = self.shared.directory.roles(&process);
        if has.is_some_and(|has| has.keeps_time) {
            let reader = self.shared.store.read().map_err(Problem::fault)?;
            let is_for_clients = reader.setting(&setting(&process)).map_err(Problem::fault)?.is_some();
            // What the operator has done needs nobody's wish.
            return if is_for_clients { self.note_client(process, by).await } else { Ok(()) };
        }
        let _place = admit(&self.shared, process)?;
        // Noted first: who is killed in between undoes what was never done, and nothing is left behind.
        let followed: &[u8] = if has.is_some_and(|has| has.watches) { WAS_FOLLOWED } else { b"" };
        let note = Write::Setting { name: setting(&process), value: Bytes::from_static(followed) };
        self.shared.store.write(vec![note]).await.map_err(Problem::fault)?;
        self.note_client(process, by).await?;
        let hosted = hosting::host(&self.shared, process, WANTED).await;
        if let Err(error) = hosted {
            outlast(&self.shared, &process, Wish::Own).await.map_err(Problem::fault)?;
            return Err(not_hosted(&error).into());
        }
        Ok(())
    }

    /// Notes that this key wants time to pass there.
    async fn note_client(&self, process: Id, by: Address) -> Result<(), Problem> {
        let name = format!("{}{by}", clients(&process));
        let reader = self.shared.store.read().map_err(Problem::fault)?;
        let known = reader.setting_names(&clients(&process)).map_err(Problem::fault)?;
        if known.len() >= CLIENTS_MAX && !known.contains(&name) {
            let text = format!("{CLIENTS_MAX} clients monitor process {process} here, the limit");
            return Err(Problem::busy(text, MONITORED_RETRY_MS));
        }
        let note = Write::Setting { name, value: Bytes::new() };
        self.shared.store.write(vec![note]).await.map(drop).map_err(Problem::fault)
    }

    /// Undoes what was done for clients, and nothing that the operator asked for, once the last one wants it no more. Only who
    /// wanted it may, for himself, or the owner of the process, for all.
    async fn leave_time(&self, process: Id, by: Address) -> Result<(), Problem> {
        let reader = self.shared.store.read().map_err(Problem::fault)?;
        let known = reader.setting_names(&clients(&process)).map_err(Problem::fault)?;
        if reader.setting(&setting(&process)).map_err(Problem::fault)?.is_none() {
            return Ok(());
        }
        let own = format!("{}{by}", clients(&process));
        let is_owner = self.find(process).await?.item().owner() == by;
        if !is_owner && !known.contains(&own) {
            let text = "only a key that monitors the process, and the owner of the process, may end that";
            return Err(Problem::new(StatusCode::FORBIDDEN, text));
        }
        let gone: Vec<String> = if is_owner {
            known.clone()
        } else {
            known.iter().filter(|name| **name == own).cloned().collect()
        };
        let is_last = gone.len() == known.len();
        if is_last {
            self.leave_all(process).await?;
        }
        let forget = gone.into_iter().map(|name| Write::DropSetting { name }).collect();
        self.shared.store.write(forget).await.map(drop).map_err(Problem::fault)
    }

    async fn leave_all(&self, process: Id) -> Result<(), Problem> {
        let note = self.shared.store.read().and_then(|reader| reader.setting(&setting(&process)));
        let Some(note) = note.map_err(Problem::fault)? else { return Ok(()) };
        if let Some(known) = self.shared.directory.get(&process) {
            let was_followed = *note == *WAS_FOLLOWED;
            let roles = |has: Roles| Ok::<_, StoreError>(left(has, was_followed));
            hosting::change(&self.shared, known, roles).await.map_err(Problem::fault)?;
        }
        let forget = Write::DropSetting { name: setting(&process) };
        self.shared.store.write(vec![forget]).await.map(drop).map_err(Problem::fault)
    }
}

/// What an operator wants of a process, which clients may have wanted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To follow it.
    Follow,
    /// That time passes in it or does not, or that nothing is done for it.
    Own,
}

/// Has what an operator wants outlast what clients want no more.
///
/// # Errors
/// The disk.
pub(crate) async fn outlast(shared: &Shared, process: &Id, wish: Wish) -> Result<(), StoreError> {
    let (name, reader) = (setting(process), shared.store.read()?);
    if reader.setting(&name)?.is_none() {
        return Ok(());
    }
    let writes = match wish {
        Wish::Follow => vec![Write::Setting { name, value: Bytes::from_static(WAS_FOLLOWED) }],
        // Who monitors it is asked no more, so nobody is known by it.
        Wish::Own => {
            clients_of(&reader, process)?.into_iter().map(|name| Write::DropSetting { name }).collect()
        }
    };
    drop(reader);
    shared.store.write(writes).await.map(drop)
}

/// The names of the settings that say that clients monitor a process, and which keys do.
///
/// # Errors
/// The disk.
pub(crate) fn clients_of(reader: &Reader, process: &Id) -> Result<Vec<String>, StoreError> {
    let mut names = reader.setting_names(&clients(process))?;
    names.push(setting(process));
    Ok(names)
}

/// What the names of the settings start with that say which keys monitor a process.
fn clients(process: &Id) -> String {
    format!("{CLIENTS}{process}/")
}

fn setting(process: &Id) -> String {
    format!("{SETTING}{process}")
}

/// Takes a place for one more process that clients monitor; the operator's own crons take none.
fn admit(shared: &Shared, process: Id) -> Result<Place, Problem> {
    let reader = shared.store.read().map_err(Problem::fault)?;
    if reader.setting_names(SETTING).map_err(Problem::fault)?.len() >= MONITORED_MAX {
        let text = format!("{MONITORED_MAX} processes are monitored here, the limit");
        return Err(Problem::busy(text, MONITORED_RETRY_MS));
    }
    let place = shared.unasked.reserve(&shared.directory, process, None, shared.config.spawn_budget);
    place.map_err(|declined| {
        shared.metrics.declined.add(declined.name());
        Problem::busy(declined.to_string(), MONITORED_RETRY_MS)
    })
}

/// What is done for a process without what was done for clients.
fn left(has: Roles, was_followed: bool) -> Roles {
    let left = Roles { keeps_time: false, ..has };
    let alone = Roles { watches: true, for_others: has.for_others, ..Roles::default() };
    if left == alone && !was_followed { Roles::default() } else { left }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use weft_protocol::crypto::Signer;
    use weft_storage::ProcessRow;

    use super::*;
    use crate::shared::testing::in_memory;

    #[tokio::test]
    async fn what_clients_monitor_has_places_of_its_own_and_of_what_came_unasked() {
        let mut shared = in_memory(Signer::from_seed(&[3; 32]));
        Arc::get_mut(&mut shared).unwrap().config.spawn_budget = 2;
        let id = |number: usize| {
            let mut id = [7; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            Id(id)
        };
        let put = |number, roles| shared.directory.put_row(id(number), ProcessRow { module: id(0), roles });
        // As many crons of the operator's as may be monitored keep out nobody.
        let own = Roles { for_others: false, ..WANTED };
        (0..MONITORED_MAX).for_each(|number| put(number, own));
        let first = admit(&shared, id(5_000)).unwrap();
        put(5_000, WANTED);
        put(5_001, WANTED);
        drop(first);
        let refused = admit(&shared, id(5_002)).unwrap_err();
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.text.contains("spawn_budget") && refused.retry().is_some(), "{}", refused.text);
        // What is followed already needs none.
        drop(admit(&shared, id(1)).unwrap());
        let notes = (0..MONITORED_MAX)
            .map(|number| Write::Setting { name: setting(&id(number)), value: Bytes::new() });
        shared.store.write(notes.collect()).await.unwrap();
        assert!(admit(&shared, id(1)).unwrap_err().text.contains("the limit"));
    }

    #[test]
    fn what_the_operator_asked_for_stays() {
        let watches = Roles { watches: true, ..Roles::default() };
        let monitored = Roles { keeps_time: true, ..watches };
        assert_eq!(left(WANTED, false), Roles::default());
        assert_eq!(left(monitored, false), Roles::default());
        // Who monitors what is the operator's own makes it nobody else's.
        assert!(!hosting::merge(watches, WANTED).for_others);
        assert!(hosting::merge(Roles { for_others: true, ..watches }, WANTED).for_others);
        assert_eq!(left(monitored, true), watches);
        let computed = Roles { computes: true, ..monitored };
        assert_eq!(left(computed, false), Roles { keeps_time: false, ..computed });
    }
}
