//! Children of what payers have carried: they are carried for too, within limits, and left with it.

use bytes::Bytes;
use weft_protocol::Id;
use weft_storage::{Reader, StoreError, Write};

use super::SERVED;
use crate::carrying;
use crate::shared::Shared;

/// What starts the name of the setting that says that a process is carried for as the child of one that is served, or as a
/// child of such; its id follows. The value is the id of the one that is served.
const CHILD: &str = "subscribed-child/";
/// What comes of one process takes this share of the places for what came unasked at most.
const CHILDREN_SHARE: usize = 4;

/// Whether one more child is carried for of a process that is: without limit for the operator, as a share of the places
/// for what payers have carried. That is noted, so that it is left with what is served, be that parent or forebear.
///
/// # Errors
/// The disk.
pub async fn take_child(shared: &Shared, parent: Id, child: Id) -> Result<bool, StoreError> {
    let root = {
        let reader = shared.store.read()?;
        let noted = reader.setting(&format!("{CHILD}{parent}"))?;
        noted.and_then(|root| root.as_ref().try_into().ok().map(Id)).unwrap_or(parent)
    };
    let _turn = shared.subscriptions.turn(&root).await;
    if shared.store.read()?.setting(&format!("{SERVED}{root}"))?.is_none() {
        return Ok(true);
    }
    let most = (shared.config.spawn_budget as usize / CHILDREN_SHARE).max(1);
    let taken = of(&shared.store.read()?, &root)?;
    if !taken.contains(&child) {
        if taken.len() >= most {
            return Ok(false);
        }
        let (name, value) = (format!("{CHILD}{child}"), Bytes::copy_from_slice(&root.0));
        shared.store.write(vec![Write::Setting { name, value }]).await?;
    }
    Ok(true)
}

/// What is carried for as a child of this process, or as one of theirs.
fn of(reader: &Reader, root: &Id) -> Result<Vec<Id>, StoreError> {
    let mut found = Vec::new();
    for name in reader.setting_names(CHILD)? {
        if let Some(child) = name.strip_prefix(CHILD).and_then(|id| id.parse().ok())
            && reader.setting(&name)?.is_some_and(|noted| *noted == root.0)
        {
            found.push(child);
        }
    }
    Ok(found)
}

/// Leaves what was carried for as a child of a process, but for what is served for its own payers; or leaves them to the
/// operator, who carries for their parent himself.
pub(super) async fn leave(shared: &Shared, root: Id, are_his: bool) -> Result<(), StoreError> {
    let left = of(&shared.store.read()?, &root)?;
    for child in left {
        let is_served = shared.store.read()?.setting(&format!("{SERVED}{child}"))?.is_some();
        if let Some(known) = shared.directory.get(&child)
            && known.roles.for_others
            && !is_served
            && !are_his
        {
            carrying::end(shared, known).await?;
        }
        shared.store.write(vec![Write::DropSetting { name: format!("{CHILD}{child}") }]).await?;
    }
    Ok(())
}
