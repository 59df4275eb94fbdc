//! `setjmp` and `longjmp` of emscripten: `invoke_<signature>` calls a function and catches jumps.

use wasmtime::{Func, Ref, Val, ValType};

use super::args::{Args, give};
use super::{Guest, GuestHandles, Stop, enter, set_global};
use crate::limits::REENTRY_BYTES;

/// Answers `invoke_<signature>(index, arguments...)`, the `slot`th of the module.
///
/// The call goes through the export `dynCall_<signature>` where there is one, as in the
/// reference: it is guarded like any other code. Only a jump is caught; a trap or the end of the
/// gas goes on to the caller.
pub(crate) fn call(
    guest: &mut Guest<'_>,
    slot: usize,
    args: Args<'_>,
    results: &mut [Val],
    given: &[ValType],
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
/// index as 32 bits. A function of another type is the guest's fault, as it is in `call_indirect`.
fn fitted(
    guest: &Guest<'_>,
    function: Func,
    arguments: &[Val],
    given: &[ValType],
) -> Result<Vec<Val>, wasmtime::Error> {
    let ty = function.ty(&guest.0);
    let fitted: Vec<Val> = ty
        .params()
        .zip(arguments)
        .map(|(ty, value)| match value {
            Val::I64(value) if ty.is_i32() => Val::I32(*value as i32),
            Val::I32(value) if ty.is_i64() => Val::I64(i64::from(*value as u32)),
            value => *value,
        })
        .collect();
    let takes = fitted.iter().zip(ty.params()).all(|(value, ty)| of_type(value, &ty));
    let gives = ty.results().len() == given.len() && ty.results().zip(given).all(|(a, b)| a.matches(b));
    if !takes || !gives || ty.params().len() != arguments.len() {
        return Err(Stop::Abort("invoke of a function of another type").into());
    }
    Ok(fitted)
}

/// Whether a number is of this type.
fn of_type(value: &Val, ty: &ValType) -> bool {
    match value {
        Val::I32(_) => ty.is_i32(),
        Val::I64(_) => ty.is_i64(),
        Val::F32(_) => ty.is_f32(),
        Val::F64(_) => ty.is_f64(),
        _ => false,
    }
}

fn exported(guest: &Guest<'_>, pick: impl FnOnce(&GuestHandles) -> Option<Func>) -> Result<Func, Stop> {
    pick(guest.handles()?).ok_or(Stop::Abort("setjmp without the exports it needs"))
}

fn save_stack(guest: &mut Guest<'_>) -> Result<Val, wasmtime::Error> {
    let save = exported(guest, |handles| handles.stack_save)?;
    let mut stack = [Val::I32(0)];
    save.call(&mut guest.0, &[], &mut stack)?;
    let [stack] = stack;
    Ok(stack)
}

fn restore_stack(guest: &mut Guest<'_>, stack: Val) -> Result<(), wasmtime::Error> {
    let restore = exported(guest, |handles| handles.stack_restore)?;
    let is_64 = restore.ty(&guest.0).params().all(|ty| ty.is_i64());
    let stack = match stack {
        Val::I32(stack) if is_64 => Val::I64(i64::from(stack as u32)),
        Val::I64(stack) if !is_64 => Val::I32(stack as i32),
        stack => stack,
    };
    restore.call(&mut guest.0, &[stack], &mut [])
}

/// Tells the guest that the call ended by a jump: `setThrew(1, 0)`.
fn set_threw(guest: &mut Guest<'_>) -> Result<(), wasmtime::Error> {
    let set_threw = exported(guest, |handles| handles.set_threw)?;
    let numbers = [1, 0];
    let arguments: Vec<Val> = set_threw
        .ty(&guest.0)
        .params()
        .zip(numbers)
        .map(|(ty, number)| if ty.is_i64() { Val::I64(number) } else { Val::I32(number as i32) })
        .collect();
    set_threw.call(&mut guest.0, &arguments, &mut [])
}
