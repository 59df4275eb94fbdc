//! Carrying for processes that this node does not compute: when that begins and ends.
//!
//! It follows their logs and collects what they send (`messenger/collect.rs`). What is noted here outlasts a restart:
//! whether the process was followed before, so that it is left as it was.

use bytes::Bytes;
use weft_protocol::Id;
use weft_storage::{Roles, StoreError, Write};

use crate::directory::Known;
use crate::hosting::{self, HostingError};
use crate::messenger::collect;
use crate::shared::Shared;

/// What starts the name of the setting that says that a process is carried for and not computed; its id follows. The
/// value says whether it was followed before.
const SETTING: &str = "carry/";
const WAS_FOLLOWED: &[u8] = b"followed";

/// How a process is carried for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Everything that it ever sent, in place of what it sends from now on. What others carried is answered with the
    /// slot that it has.
    pub all: bool,
    /// It came unasked, and has one of the places for such.
    pub for_others: bool,
}

/// Carries for a process from now on; what this node does for it besides stays.
///
/// # Errors
/// When nobody serves it, or the disk does not take it.
pub async fn begin(shared: &Shared, process: Id, terms: Terms) -> Result<Roles, HostingError> {
    let has = shared.directory.roles(&process);
    if has.is_none_or(|has| !has.messenges) {
        // Noted first: who is killed in between undoes what was never done.
        let followed = if has.is_some_and(|has| has.watches) { WAS_FOLLOWED } else { b"" };
        let value = Bytes::from_static(followed);
        shared.store.write(vec![Write::Setting { name: setting(&process), value }]).await?;
    }
    if terms.all {
        collect::begin(shared, process).await?;
    }
    let hosted = hosting::host(shared, process, wanted(terms)).await;
    if hosted.is_err() && shared.directory.roles(&process).is_none() {
        forget(shared, process).await?;
    }
    hosted
}

/// Carries for a process no longer, and leaves it as it was before. What waits to be pushed stays on disk.
///
/// # Errors
/// The disk.
pub async fn end(shared: &Shared, known: Known) -> Result<(), StoreError> {
    let process = known.process.id();
    let note = shared.store.read()?.setting(&setting(&process))?;
    // Where nothing is noted it is carried for because it is computed, and was followed for that.
    let was_followed = note.is_none_or(|note| *note == *WAS_FOLLOWED);
    hosting::change(shared, known, |has| Ok::<_, StoreError>(left(has, was_followed))).await?;
    forget(shared, process).await
}

/// Forgets that a process was carried for, and how far.
///
/// # Errors
/// The disk.
pub async fn forget(shared: &Shared, process: Id) -> Result<(), StoreError> {
    shared.store.write(vec![Write::DropSetting { name: setting(&process) }]).await?;
    collect::end(shared, process).await
}

/// The names of the settings that say how a process is carried for.
pub fn names(process: &Id) -> [String; 2] {
    [setting(process), collect::setting(process)]
}

fn setting(process: &Id) -> String {
    format!("{SETTING}{process}")
}

/// What carrying for a process takes. One that came unasked before stays in its budgets, and what is the operator's own is in none.
fn wanted(terms: Terms) -> Roles {
    Roles { messenges: true, watches: true, for_others: terms.for_others, ..Roles::default() }
}

/// What is done for a process without carrying for it.
fn left(has: Roles, was_followed: bool) -> Roles {
    let left = Roles { messenges: false, ..has };
    let alone = Roles { watches: true, for_others: has.for_others, ..Roles::default() };
    if left == alone && !was_followed { Roles::default() } else { left }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_subscribes_takes_no_process_out_of_the_budgets_and_none_into_them() {
        let unasked = Terms { all: false, for_others: true };
        let scheduled = Roles { schedules: true, computes: true, for_others: true, ..Roles::default() };
        assert!(hosting::merge(scheduled, wanted(unasked)).for_others);
        let own = Roles { for_others: false, ..scheduled };
        assert!(!hosting::merge(own, wanted(unasked)).for_others);
        // What the operator has carried is his.
        assert!(!hosting::merge(scheduled, wanted(Terms { all: true, for_others: false })).for_others);
    }

    #[test]
    fn what_is_done_besides_stays() {
        let carried = Roles { messenges: true, watches: true, ..Roles::default() };
        assert_eq!(left(carried, false), Roles::default());
        assert_eq!(left(Roles { for_others: true, ..carried }, false), Roles::default());
        assert_eq!(left(carried, true), Roles { messenges: false, ..carried });
        for besides in [
            Roles { computes: true, ..carried },
            Roles { schedules: true, ..carried },
            Roles { pinned: true, ..carried },
            Roles { keeps_time: true, ..carried },
        ] {
            assert_eq!(left(besides, false), Roles { messenges: false, ..besides });
        }
    }
}
