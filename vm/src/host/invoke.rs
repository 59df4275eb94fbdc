//! `setjmp` and `longjmp` of emscripten: `invoke_<signature>` calls a function and catches jumps.

use wasmtime::{Func, Ref, Val, ValType};

use super::args::{Args, give};
use super::{Guest, GuestHandles, Stop, call_word, enter, set_global};
use crate::limits::REENTRY_BYTES;

/// Answers `invoke_<signature>(index, arguments...)`, the `slot`th of the module.
///
/// In today's formats the call goes through the export `dynCall_<signature>` where there is one, as
/// in the reference: it is guarded and counted like any other code. Only a jump is caught; a trap or the end of the
/// gas goes on to the caller.
pub(crate) fn call(
    guest: &mut Guest<'_>,
    slot: usize,
    args: Args<'_>,
    given: &[ValType],
    results: &mut [Val],
) -> Result<(), wasmtime::Error> {
    guest.charge(0)?;
    let depth = enter(guest, REENTRY_BYTES)?;
    let stack = save_stack(guest)?;
    let ended = target(guest, slot, args).and_then(|(function, skip)| {
        let arguments = fitted(guest, function, args.0.get(skip..).unwrap_or_default(), given)?;
        function.call(&mut guest.0, &arguments, results)
    });
    if let Err(error) = &ended
        && !matches!(error.downcast_ref::<Stop>(), Some(Stop::LongJump))
    {
        return ended;
    }
    if let Some((counter, before)) = depth {
        set_global(&mut guest.0, counter, before)?;
    }
    if ended.is_err() {
        restore_stack(guest, stack)?;
        set_threw(guest)?;
        // What a caught call gives is not looked at; zeros are the same on every machine.
        give(results, given, 0);
    }
    Ok(())
}

/// What to call, and how many of the arguments it does not take.
fn target(guest: &mut Guest<'_>, slot: usize, args: Args<'_>) -> Result<(Func, usize), wasmtime::Error> {
    let handles = guest.handles()?;
    if let Some(export) = handles.dyn_calls.get(slot).copied().flatten() {
        return Ok((export, 0));
    }
    let table = handles.table.ok_or(Stop::Abort("invoke without a function table"))?;
    match table.get(&mut guest.0, args.word(0)?) {
        Some(Ref::Func(Some(function))) => Ok((function, 1)),
        _ => Err(Stop::Abort("invoke of a function that is not in the table").into()),
    }
}

/// The arguments in the widths that the function declares: a 64-bit module's `dynCall_*` take the
/// index as 32 bits. A function that takes or gives something else ends the guest.
fn fitted(guest: &Guest<'_>, function: Func, arguments: &[Val], given: &[ValType]) -> Result<Vec<Val>, Stop> {
    let ty = function.ty(&guest.0);
    let fits = ty.params().len() == arguments.len()
        && ty.results().len() == given.len()
        && ty.results().zip(given).all(|(ty, given)| ValType::eq(&ty, given));
    let values: Option<Vec<Val>> = ty
        .params()
        .zip(arguments)
        .map(|(ty, value)| match (ty, value) {
            (ValType::I32, Val::I64(value)) => Some(Val::I32(*value as i32)),
            (ValType::I64, Val::I32(value)) => Some(Val::I64(i64::from(*value as u32))),
            (ValType::I32, Val::I32(_))
            | (ValType::I64, Val::I64(_))
            | (ValType::F32, Val::F32(_))
            | (ValType::F64, Val::F64(_))
            | (ValType::V128, Val::V128(_)) => Some(*value),
            _ => None,
        })
        .collect();
    values.filter(|_| fits).ok_or(Stop::Abort("invoke of a function of another type"))
}

fn exported(guest: &Guest<'_>, pick: impl FnOnce(&GuestHandles) -> Option<Func>) -> Result<Func, Stop> {
    pick(guest.handles()?).ok_or(Stop::Abort("setjmp without the exports it needs"))
}

fn save_stack(guest: &mut Guest<'_>) -> Result<u64, wasmtime::Error> {
    let save = exported(guest, |handles| handles.stack_save)?;
    call_word(&mut guest.0, save, &[])
}

fn restore_stack(guest: &mut Guest<'_>, stack: u64) -> Result<(), wasmtime::Error> {
    let restore = exported(guest, |handles| handles.stack_restore)?;
    call_word(&mut guest.0, restore, &[stack]).map(drop)
}

/// Tells the guest that the call ended by a jump: `setThrew(1, 0)`.
fn set_threw(guest: &mut Guest<'_>) -> Result<(), wasmtime::Error> {
    let set_threw = exported(guest, |handles| handles.set_threw)?;
    call_word(&mut guest.0, set_threw, &[1, 0]).map(drop)
}
