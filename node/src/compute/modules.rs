//! Modules in memory: one copy of each, however many processes run it.
//!
//! Reading a module, checking its signature and its compiled code, and initialising it takes ten times
//! as long as bringing back a process, and its code takes as much memory as one. So a module stays
//! as long as a process in memory runs it, and a little longer: the newest stay for those that come
//! back. What they take counts in the memory budget.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use weft_protocol::message::env_json;
use weft_protocol::module::{self, Module};
use weft_protocol::process::{Process, Refusal};
use weft_protocol::{DataItem, Id};
use weft_storage::Store;
use weft_vm::{Engine, EngineConfig, Format, Interrupt, Limits, ModuleError, VmError};

use super::drive::Drive;
use super::hosted::HostError;
use super::residency::{Elsewhere, Held};
use crate::log::Spare;

/// Bytes of modules that stay though no process in memory runs them: some twenty of the size of
/// aos.
const RECENT_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Names of modules that may be known before those that nobody runs are forgotten.
const KNOWN_SLACK: usize = 64;

/// What a process needs of its host: the modules, the disk that its messages read items from, and what is to spare for
/// reading its log ahead.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// The modules.
    pub modules: &'a Modules,
    /// The disk.
    pub store: &'a Store,
    /// What is to spare; without it a slot is verified when it is its turn.
    pub spare: Option<&'a Spare>,
    /// What becomes of a module that is not compiled yet.
    pub uncompiled: Uncompiled,
}

/// What becomes of a module that is not compiled yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uncompiled {
    /// It is compiled by whoever wants it, however long that takes.
    Compile,
    /// It is [`HostError::NotCompiled`]: others wait for this thread.
    Refuse,
}

/// A module that was checked and compiled.
pub struct Checked {
    item: Module,
    pub(super) compiled: weft_vm::Module,
    held: Held,
    /// The same in code that can be interrupted, once somebody wanted it.
    interruptible: Mutex<Option<(weft_vm::Module, Held)>>,
}

/// The module of a process, with what the process says of it.
pub struct Loaded {
    pub(super) module: Arc<Checked>,
    pub(super) limits: Limits,
    /// `Compute-Limit` as the tags have it, for a module that counts its own gas.
    pub(super) declared_gas: u64,
    pub(super) env: String,
    pub(super) reports_gas: bool,
    pub(super) drive: Drive,
}

/// The place of one module.
#[derive(Default)]
struct Place {
    /// It, as long as somebody has it. Locked for no longer than it takes to open what was compiled.
    module: Mutex<Weak<Checked>>,
    /// Who compiles it; whoever would do that too waits.
    compiling: Mutex<()>,
}

impl Place {
    fn module(&self) -> MutexGuard<'_, Weak<Checked>> {
        self.module.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The modules in memory, and who compiles them.
#[derive(Debug)]
pub struct Modules {
    engine: Engine,
    /// Compiles what can be interrupted: dry runs that take long.
    interruptible: Engine,
    elsewhere: Elsewhere,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    places: BTreeMap<Id, Arc<Place>>,
    /// Those that were used last, newest first.
    recent: VecDeque<Arc<Checked>>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("places", &self.places.len()).finish_non_exhaustive()
    }
}

impl Modules {
    /// None yet, and a compiler.
    ///
    /// # Errors
    /// A compiler that does not work here.
    pub fn new(config: EngineConfig, elsewhere: Elsewhere) -> Result<Self, VmError> {
        let interruptible = Engine::new(EngineConfig { interruptible: true, ..config.clone() })?;
        Ok(Self { engine: Engine::new(config)?, interruptible, elsewhere, known: Mutex::default() })
    }

    /// Ends what is compiled in processes of their own, and compiles no more there.
    pub fn end_compiling(&self) {
        self.engine.end_compiling();
        self.interruptible.end_compiling();
    }

    /// What ends the messages of modules in code that can be interrupted.
    pub fn interrupt(&self) -> Interrupt {
        self.interruptible.interrupt()
    }

    /// A module in code that can be interrupted. Compiled when it is first wanted, which nothing
    /// interrupts.
    pub(super) fn interruptible(&self, module: &Checked) -> Result<weft_vm::Module, HostError> {
        let mut held = module.interruptible.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((compiled, _)) = &*held {
            return Ok(compiled.clone());
        }
        let compiled = compile(&self.interruptible, &module.item)?;
        *held = Some((compiled.clone(), self.elsewhere.hold(compiled.resident_bytes())));
        Ok(compiled)
    }

    /// The compiler.
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where what they take is counted.
    pub const fn elsewhere(&self) -> &Elsewhere {
        &self.elsewhere
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The limits of a process, if its module is in memory.
    pub fn limits_of(&self, process: &Process) -> Option<Result<module::Limits, Refusal>> {
        let place = Arc::clone(self.known().places.get(&process.module())?);
        // While somebody opens it, it is not there yet.
        let module = place.module.try_lock().ok()?.upgrade()?;
        Some(module.item.limits(process))
    }

    /// The module of this id, from memory, the cache or a compiler. Refusals are alike on every node.
    fn get(&self, store: &Store, id: Id, uncompiled: Uncompiled) -> Result<Arc<Checked>, HostError> {
        let place = self.known().place(id);
        let known = place.module().upgrade();
        let _compiling = match (known, uncompiled) {
            (Some(module), _) => return Ok(self.used(module)),
            (None, Uncompiled::Refuse) => None,
            // Somebody may have done it when it is this thread's turn.
            (None, Uncompiled::Compile) => {
                Some(place.compiling.lock().unwrap_or_else(PoisonError::into_inner))
            }
        };
        let mut held = place.module();
        if let Some(module) = held.upgrade() {
            return Ok(self.used(module));
        }
        let (item, bytes) = item(store, id)?;
        let compiled = match (compiled(&self.engine, &item)?, uncompiled) {
            (Some(compiled), _) => compiled,
            (None, Uncompiled::Refuse) => return Err(HostError::NotCompiled(id)),
            (None, Uncompiled::Compile) => {
                drop(held);
                let compiled = compile(&self.engine, &item)?;
                held = place.module();
                // Who had it from the cache a moment ago.
                if let Some(module) = held.upgrade() {
                    return Ok(self.used(module));
                }
                compiled
            }
        };
        let resident = self.elsewhere.hold(bytes + compiled.resident_bytes());
        let module = Arc::new(Checked { item, compiled, held: resident, interruptible: Mutex::default() });
        *held = Arc::downgrade(&module);
        drop(held);
        Ok(self.used(module))
    }

    fn used(&self, module: Arc<Checked>) -> Arc<Checked> {
        self.known().used(&module, RECENT_BYTES_MAX);
        module
    }

    /// Compiles a module, unless that was done: then it is there for processes that do not wait for it.
    ///
    /// # Errors
    /// As [`load_module`].
    pub fn compile(&self, store: &Store, id: Id) -> Result<(), HostError> {
        self.get(store, id, Uncompiled::Compile).map(drop)
    }

    /// Whether a module is compiled: in memory, or in the cache.
    ///
    /// # Errors
    /// As [`load_module`].
    pub fn is_compiled(&self, store: &Store, id: Id) -> Result<bool, HostError> {
        match self.get(store, id, Uncompiled::Refuse) {
            Ok(_) => Ok(true),
            Err(HostError::NotCompiled(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A module's item, verified, and how many bytes it has. The disk is read and let go of, for a compiler may take
/// minutes.
fn item(store: &Store, id: Id) -> Result<(Module, u64), HostError> {
    let raw = store.read()?.item(&id)?.ok_or(HostError::NoModule(id))?;
    let refused = |why: String| HostError::Module(id, why);
    let bytes = raw.len() as u64;
    let item = DataItem::verify_bytes(raw).map_err(|error| refused(error.to_string()))?;
    let item = Module::accept(item).map_err(|refusal: Refusal| refused(refusal.to_string()))?;
    Ok((item, bytes))
}

fn compile(engine: &Engine, item: &Module) -> Result<weft_vm::Module, HostError> {
    engine.compile(&item.wasm(), format(item)?).map_err(|error| refused(item, error))
}

/// The module, if it was compiled before.
fn compiled(engine: &Engine, item: &Module) -> Result<Option<weft_vm::Module>, HostError> {
    engine.compiled(&item.wasm(), format(item)?).map_err(|error| refused(item, error))
}

fn format(item: &Module) -> Result<Format, HostError> {
    Format::parse(item.format()).map_err(|error| HostError::Module(item.id(), error.to_string()))
}

fn refused(item: &Module, error: ModuleError) -> HostError {
    match error {
        ModuleError::Host(fault) => fault.into(),
        error => HostError::Module(item.id(), error.to_string()),
    }
}

impl Known {
    /// The place of a module. Forgets those that nobody runs.
    fn place(&mut self, id: Id) -> Arc<Place> {
        if self.places.len() > self.recent.len() + KNOWN_SLACK {
            self.places.retain(|_, place| is_in_use(place));
        }
        Arc::clone(self.places.entry(id).or_default())
    }

    /// Puts a module in front of those that stay, which may take so many bytes. It stays itself in any case: one that was
    /// just compiled is there for those that want it.
    fn used(&mut self, module: &Arc<Checked>, room: u64) {
        self.recent.retain(|recent| !Arc::ptr_eq(recent, module));
        self.recent.push_front(Arc::clone(module));
        let mut bytes = 0;
        let fits = |module: &&Arc<Checked>| {
            bytes += module.held.bytes();
            bytes <= room
        };
        let fitting = self.recent.iter().take_while(fits).count();
        self.recent.truncate(fitting.max(1));
    }
}

/// Whether somebody has the module, or waits for it.
fn is_in_use(place: &Arc<Place>) -> bool {
    Arc::strong_count(place) > 1 || place.module.try_lock().is_ok_and(|held| held.strong_count() > 0)
}

/// The module of a process: from memory, or read, checked and compiled. Refusals are alike on every
/// node.
///
/// # Errors
/// [`HostError::NoModule`], [`HostError::Module`] and [`HostError::NotCompiled`], or a failure of this host.
pub fn load_module(host: Host<'_>, process: &Process) -> Result<Loaded, HostError> {
    let module = host.modules.get(host.store, process.module(), host.uncompiled)?;
    let refused = |refusal: Refusal| HostError::Module(process.module(), refusal.to_string());
    let limits = module.item.limits(process).map_err(refused)?;
    Ok(Loaded {
        limits: Limits { gas: limits.gas, memory_bytes: limits.memory_bytes },
        declared_gas: limits.declared_gas,
        env: env_json(process, &module.item),
        reports_gas: module.item.reports_gas(),
        drive: Drive::new(host.store, process),
        module,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use weft_protocol::crypto::Signer;
    use weft_protocol::{Draft, Network, Tag};
    use weft_storage::{MemoryDisk, StoreConfig, Write};

    use super::*;

    /// A store with so many modules, all of them the counter.
    fn store(count: usize) -> (Store, Vec<Id>) {
        let signer = Signer::from_seed(&[1; 32]);
        let config = StoreConfig::new(Network(7), signer.address());
        let store = Store::open_with_backend(MemoryDisk::new(), &config).unwrap();
        let put = |number: usize| {
            let number = number.to_string();
            let tags = [
                ("Type", "Module"),
                ("Module-Format", "wasm32-weft-plain"),
                ("Input-Encoding", "JSON-1"),
                ("Output-Encoding", "JSON-1"),
                ("Number", &*number),
            ];
            let tags = tags.map(|(name, value)| Tag::new(name, value)).into();
            let data = weft_vm::guests::COUNTER.into();
            let item = Draft { tags, data, ..Draft::default() }.sign(&signer).unwrap();
            store.write_blocking(vec![Write::Item { id: item.id(), raw: item.raw().clone() }]).unwrap();
            item.id()
        };
        let ids = (0..count).map(put).collect();
        (store, ids)
    }

    #[test]
    fn all_share_a_module_and_it_counts_as_long_as_it_is_held() {
        let (store, ids) = store(2);
        let elsewhere = Elsewhere::default();
        let modules = Modules::new(EngineConfig::default(), elsewhere.clone()).unwrap();
        let get = |number: usize| modules.get(&store, ids[number], Uncompiled::Compile).unwrap();
        let (one, again, other) = (get(0), get(0), get(1));
        assert!(Arc::ptr_eq(&one, &again) && !Arc::ptr_eq(&one, &other));
        let bytes = elsewhere.bytes();
        assert!(bytes > one.held.bytes() && one.held.bytes() > 0);
        modules.interruptible(&one).unwrap();
        let more = elsewhere.bytes();
        assert!(more > bytes);
        modules.interruptible(&again).unwrap();
        assert_eq!(elsewhere.bytes(), more);
        drop((one, again));
        assert_eq!(elsewhere.bytes(), more, "the newest stay");
        modules.known().used(&other, other.held.bytes());
        assert_eq!(elsewhere.bytes(), other.held.bytes());
        let bytes = other.held.bytes();
        drop(other);
        assert_eq!(elsewhere.bytes(), bytes);
        let one = get(0);
        modules.known().used(&one, 0);
        assert_eq!(elsewhere.bytes(), one.held.bytes(), "the newest stays, and no other");
    }

    #[test]
    fn who_does_not_wait_for_a_compiler_has_what_was_compiled() {
        let (store, ids) = store(1);
        let modules = Modules::new(EngineConfig::default(), Elsewhere::default()).unwrap();
        let get = || modules.get(&store, ids[0], Uncompiled::Refuse);
        assert!(matches!(get(), Err(HostError::NotCompiled(_))));
        let place = modules.known().place(ids[0]);
        let compiling = place.compiling.lock().unwrap();
        assert!(matches!(get(), Err(HostError::NotCompiled(_))), "it does not wait for who compiles");
        drop(compiling);
        assert!(!modules.is_compiled(&store, ids[0]).unwrap());
        modules.compile(&store, ids[0]).unwrap();
        assert!(modules.is_compiled(&store, ids[0]).unwrap());
        get().unwrap();
    }

    #[test]
    fn modules_that_are_not_here_leave_no_trace() {
        let (store, ids) = store(1);
        let modules = Modules::new(EngineConfig::default(), Elsewhere::default()).unwrap();
        let held = modules.get(&store, ids[0], Uncompiled::Compile).unwrap();
        for number in 0..=u8::MAX {
            let missing = modules.get(&store, Id([number; 32]), Uncompiled::Compile);
            assert!(matches!(missing, Err(HostError::NoModule(_))));
        }
        let known = modules.known().places.len();
        assert!(known <= KNOWN_SLACK + 3, "{known}");
        assert!(Arc::ptr_eq(&held, &modules.get(&store, ids[0], Uncompiled::Compile).unwrap()));
    }
}
