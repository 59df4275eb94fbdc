//! Forgetting a log: all rows of a process that this node no longer works for are dropped, and so are the items that no
//! other log names.
//!
//! This takes many commits, newest slots first, so that a crash leaves the beginning of a log. A setting says that it has
//! begun; whoever finds the setting goes on. Roles that have not heard of it yet may still write to the log meanwhile: the
//! writer ignores that until somebody takes the process up again.
//!
//! Invariant, whatever is asked: no commit drops a row of a log that this node works for, a setting about it, an entry that is
//! still to be sent, or an item that a slot of another log names, whether that slot is on disk or on its way there.

mod late;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use weft_protocol::{Id, Position};

use crate::error::{Conflict, StoreError};
use crate::key;
use crate::reader::{Held, HeldSeen, Lookup};
use crate::rows::{OutboxKey, Raw};
use crate::store::{Store, block_on};
use crate::tables::Table;
use crate::write::Write;
pub(crate) use late::{Forgetting, Noted};

/// What starts the name of the setting that says that forgetting a process was begun; its id follows.
pub const FORGETTING_SETTING: &str = "forgetting/";

/// Slots whose items are looked for in all other logs at once: some 40 MB of names, and one walk through all slots on disk for
/// each so many.
const SLOTS_AT_ONCE: usize = 131_072;
/// Rows that are looked up at once.
const PAGE_ROWS: usize = 4_096;
/// Slots, or other entries, of one commit: some milliseconds. Fewer where there is little room.
const UNITS_MAX: usize = 256;
/// Checkpoints that are looked up at once.
const CHECKPOINTS_AT_ONCE: usize = 64;
/// After the last of all.
const LAST: Position = Position { epoch: u64::MAX, slot: u64::MAX, tick: u32::MAX };
/// Tables with rows of one log that go row by row. What an index names goes after it. Evidence stays: it is about keys.
const TABLES: [Table; 8] = [
    Table::Outbox,
    Table::AttestationsUnanchored,
    Table::Attestations,
    Table::Carried,
    Table::ItemOutcomes,
    Table::Outcomes,
    Table::Anchored,
    Table::SeenCounts,
];

/// What forgetting a log came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forgot {
    /// Slots that went.
    pub slots: u64,
    /// Items that went with them: no other log names them.
    pub items: u64,
    /// About the bytes of the rows that went, whose pages are free for other rows. Checkpoints and the index of items are not
    /// counted, and an index row of the seen list is taken to be as large as the row that it is of.
    pub bytes: u64,
}

/// Rows of one log that go together: the whole of a slot, say.
#[derive(Debug, Clone, Default)]
struct Unit {
    rows: Vec<(Table, Vec<u8>)>,
    items: Vec<Id>,
}

/// A part of a log that goes in one commit. Made here alone.
#[derive(Debug, Clone)]
pub struct LogPart {
    pub(crate) process: Id,
    pub(crate) rows: Vec<(Table, Vec<u8>)>,
    pub(crate) items: Vec<Id>,
    /// Whether nothing of the log is written from here on.
    begins: bool,
}

impl LogPart {
    fn of(process: Id, units: &[Unit]) -> Self {
        let rows = units.iter().flat_map(|unit| unit.rows.iter().cloned()).collect();
        let items = units.iter().flat_map(|unit| unit.items.iter().copied()).collect();
        Self { process, rows, items, begins: false }
    }

    /// Nothing of a log yet: it only begins.
    const fn beginning(process: Id) -> Self {
        Self { process, rows: Vec::new(), items: Vec::new(), begins: true }
    }

    /// Nothing of a log: what is written with it is refused where this node works for the log.
    fn check(process: Id) -> Write {
        Write::DropLog(Self::of(process, &[]))
    }
}

/// Hears how many slots of how many are gone, both 0 while it waits for its turn, and says whether to go on.
type Tell<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

/// The forgetting of one log.
struct Work<'a> {
    store: &'a Store,
    process: Id,
    /// Slots when it began, or began again.
    total: u64,
    forgot: Forgot,
    tell: Tell<'a>,
}

impl Store {
    /// Forgets a log that this node does nothing for. `settings` are about it and are dropped in the last commit. An item goes
    /// only if `goes(id, bytes)` allows it and no slot of another log names it. If a crash or `tell` stops this, it is finished
    /// by calling it again. Blocks on the disk, and while another log is being forgotten; reads the slots of all logs once for
    /// every 131,072 slots of this one.
    ///
    /// # Errors
    /// [`Conflict::Served`] or [`Conflict::Unsent`], [`StoreError::Stopped`] where `tell` says so, or what the disk says. What was
    /// dropped before the error is gone.
    pub fn forget_log(
        &self,
        process: Id,
        settings: &[String],
        goes: &dyn Fn(&Id, &Bytes) -> bool,
        tell: Tell<'_>,
    ) -> Result<Forgot, StoreError> {
        let _turn = self.forgetting().take_turn(tell)?;
        self.all_sent(&process)?;
        let forgot = self.begin_and_forget(process, settings, goes, tell);
        self.forgetting().doom(std::iter::empty());
        if matches!(forgot, Err(StoreError::Conflict(_))) {
            self.forgetting().keep(&process);
        }
        forgot
    }

    fn begin_and_forget(
        &self,
        process: Id,
        settings: &[String],
        goes: &dyn Fn(&Id, &Bytes) -> bool,
        tell: Tell<'_>,
    ) -> Result<Forgot, StoreError> {
        self.forgetting().begin();
        let name = format!("{FORGETTING_SETTING}{process}");
        let mark = Write::Setting { name: name.clone(), value: Bytes::new() };
        // The writer judges whether anything is done for it where it begins to pass over what is written
        // of it: between the two nobody takes it up. When this is durable, so is all planned before.
        self.write_blocking(vec![Write::DropLog(LogPart::beginning(process)), mark])?;
        self.all_sent(&process)?;
        let total = match self.read()?.head(&process) {
            // It is only said how far it is of so many.
            Err(StoreError::Damaged { .. }) => 0,
            head => head?.map_or(0, |(slot, _)| slot + 1),
        };
        let forgot = Work { store: self, process, total, forgot: Forgot::default(), tell }.all(goes)?;
        let names = settings.iter().cloned().chain([name]);
        let drops = names.map(|name| Write::DropSetting { name });
        self.write_blocking([LogPart::check(process)].into_iter().chain(drops).collect())?;
        Ok(forgot)
    }

    /// Refuses a log of which an entry is still to be sent.
    fn all_sent(&self, process: &Id) -> Result<(), StoreError> {
        let pending = self.read()?.outbox_pending(process, 1)?;
        let unsent = |key: &OutboxKey| {
            let (position, index) = (key.position, key.index);
            Conflict::Unsent { process: *process, position, index }
        };
        pending.first().map_or(Ok(()), |(key, _)| Err(unsent(key).into()))
    }
}

impl Work<'_> {
    fn all(mut self, goes: &dyn Fn(&Id, &Bytes) -> bool) -> Result<Forgot, StoreError> {
        self.checkpoints()?;
        for table in TABLES {
            self.table(table)?;
        }
        self.seen()?;
        while self.slots(goes)? {}
        for left in [Table::Seen, Table::ItemSlots, Table::Processes] {
            self.table(left)?;
        }
        Ok(self.forgot)
    }

    fn go_on(&mut self) -> Result<(), StoreError> {
        match (self.tell)(self.forgot.slots, self.total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(StoreError::Stopped),
        }
    }

    fn checkpoints(&mut self) -> Result<(), StoreError> {
        loop {
            let some = self.store.read()?.checkpoints_before(&self.process, LAST, CHECKPOINTS_AT_ONCE)?;
            if some.is_empty() {
                return Ok(());
            }
            for position in some {
                let check = LogPart::check(self.process);
                block_on(self.store.drop_checkpoint_after(Some(&check), self.process, position))?;
                self.go_on()?;
            }
        }
    }

    /// Drops the rows of a table, the last first.
    fn table(&mut self, table: Table) -> Result<(), StoreError> {
        loop {
            let rows = self.store.read()?.held_down(table, &self.process, PAGE_ROWS)?;
            if rows.is_empty() {
                return Ok(());
            }
            self.forgot.bytes += rows.iter().map(|(_, bytes)| *bytes).sum::<u64>();
            let unit = |(key, _)| Unit { rows: vec![(table, key)], items: Vec::new() };
            self.drop_units(&rows.into_iter().map(unit).collect::<Vec<_>>())?;
        }
    }

    /// Drops the seen list, each key with its place in the list.
    fn seen(&mut self) -> Result<(), StoreError> {
        loop {
            let seen = self.store.read()?.seen_down(&self.process, PAGE_ROWS)?;
            if seen.is_empty() {
                return Ok(());
            }
            self.forgot.bytes += seen.iter().map(|seen| 2 * seen.bytes).sum::<u64>();
            let unit = |seen: HeldSeen| {
                // What only an index still has goes at the end.
                let index = seen.key.map(|key| (Table::Seen, key::pair(&self.process, &key.0)));
                let rows = [(Table::SeenList, seen.place)].into_iter().chain(index);
                Unit { rows: rows.collect(), items: Vec::new() }
            };
            let units: Vec<Unit> = seen.into_iter().map(unit).collect();
            self.drop_units(&units)?;
        }
    }

    /// Drops the newest slots that are left, with their items; says whether there were any.
    fn slots(&mut self, goes: &dyn Fn(&Id, &Bytes) -> bool) -> Result<bool, StoreError> {
        self.go_on()?;
        let reader = self.store.read()?;
        let held = reader.slots_down(&self.process, SLOTS_AT_ONCE)?;
        if held.is_empty() {
            return Ok(false);
        }
        let mut going = self.items(&reader.lookup(Table::Items)?, &held, goes)?;
        drop(reader);
        let store = self.store;
        store.forgetting().doom(going.keys().copied());
        // Who names one from now on is heard by the writer, and who did before is on disk after this.
        store.write_blocking(Vec::new())?;
        let reader = store.read()?;
        let (process, forgot, total, tell) = (self.process, self.forgot, self.total, &mut *self.tell);
        let named = match reader.named_elsewhere(&process, &going, &mut || tell(forgot.slots, total)) {
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::warn!(%process, %error, "the items of a log stay: what cannot be read may name any of them");
                going.keys().copied().collect()
            }
            named => named?,
        };
        store.forgetting().spare(&named);
        going.retain(|item, _| !named.contains(item));
        self.go_on()?;
        let mut units = Vec::with_capacity(held.len());
        let first_slots = reader.lookup(Table::ItemSlots)?;
        for slot in &held {
            let mut unit = Unit { rows: vec![(Table::Slots, slot.key.clone())], items: Vec::new() };
            self.forgot.bytes += slot.bytes;
            if let Some(item) = slot.item {
                let index = key::pair(&self.process, &item.0);
                if first_slots.undamaged(&index)? == Some(slot.number) {
                    unit.rows.push((Table::ItemSlots, index));
                }
            }
            for item in [slot.item, slot.proof].into_iter().flatten() {
                // Once, though two slots may have it.
                if let Some(bytes) = going.remove(&item) {
                    self.forgot.bytes += bytes;
                    self.forgot.items += 1;
                    unit.items.push(item);
                }
            }
            units.push(unit);
        }
        drop((first_slots, reader));
        for some in units.chunks(PAGE_ROWS) {
            self.drop_units(some)?;
            self.forgot.slots += some.len() as u64;
        }
        Ok(true)
    }

    /// The items of these slots that may go, each with its bytes, and their proofs.
    fn items(
        &mut self,
        items: &Lookup,
        held: &[Held],
        goes: &dyn Fn(&Id, &Bytes) -> bool,
    ) -> Result<BTreeMap<Id, u64>, StoreError> {
        let mut going = BTreeMap::new();
        let read = |id: &Id| Ok::<_, StoreError>(items.undamaged::<Raw>(&id.0)?.map(|raw| raw.0));
        for (number, Held { item, proof, .. }) in (1_usize..).zip(held) {
            // They are read whole: a page of them is as much as gigabytes.
            if number.is_multiple_of(UNITS_MAX) {
                self.go_on()?;
            }
            let Some(item) = item else { continue };
            let Some(raw) = read(item)?.filter(|raw| goes(item, raw)) else { continue };
            going.insert(*item, raw.len() as u64);
            if let Some(proof) = proof
                && let Some(raw) = read(proof)?
            {
                going.insert(*proof, raw.len() as u64);
            }
        }
        Ok(going)
    }

    /// Drops these in as few commits as there is room for.
    fn drop_units(&mut self, units: &[Unit]) -> Result<(), StoreError> {
        let (mut left, mut most) = (units, UNITS_MAX);
        while !left.is_empty() {
            let (now, later) = left.split_at(most.min(left.len()));
            match self.store.write_blocking(vec![Write::DropLog(LogPart::of(self.process, now))]) {
                Ok(()) => left = later,
                Err(StoreError::Full { .. }) if most > 1 => most = (most / 4).max(1),
                Err(error) => return Err(error),
            }
            self.go_on()?;
        }
        Ok(())
    }
}
