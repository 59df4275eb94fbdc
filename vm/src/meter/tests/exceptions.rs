//! What a throw costs, and where the depth stands after it was caught.

use super::*;
use crate::meter::cost::{HANDLER_GAS, UNWIND_GAS};

/// Throws from so many frames down, and catches it.
const CAUGHT: &str = "(module (memory 1) (tag $t (param i32))
  (func $down (param i32)
    (if (i32.eqz (local.get 0)) (then (throw $t (i32.const 7))))
    (call $down (i32.sub (local.get 0) (i32.const 1))))
  (func (export \"f\") (param i32) (result i32)
    (block $h (result i32)
      (try_table (catch $t $h) (call $down (local.get 0)))
      (i32.const 0))))";

#[test]
fn each_frame_that_a_throw_leaves_is_paid_for() {
    // Not `used`: a throw leaves code that was charged together with what came before it.
    let mut run = Run::new(&guarded(CAUGHT, &POLICY));
    let mut gas = |down: i32| {
        let (result, gas) = run.call(down, PLENTY);
        assert_eq!((result.unwrap(), run.depth()), (7, DEPTH_START));
        gas
    };
    let frame = gas(2) - gas(1);
    assert!(frame > UNWIND_GAS as i64, "{frame}");
    for down in [2, 3, 10, 500] {
        assert_eq!(gas(down), gas(1) + frame * i64::from(down - 1), "{down} frames");
    }
}

/// Whether anything is thrown or not: what a throw looks at on its way is not known where it is caught.
#[test]
fn each_handler_is_paid_for_where_it_is_entered() {
    let gas = |handlers: usize, argument: i32| {
        let others = "(catch $u $h) ".repeat(handlers);
        let module = format!(
            "(module (memory 1) (tag $t) (tag $u)
               (func $throw (param i32) (if (local.get 0) (then (throw $t))))
               (func (export \"f\") (param i32) (result i32)
                 (block $h (try_table {others} (catch $t $h) (call $throw (local.get 0)))) (i32.const 5)))"
        );
        let (result, gas) = used(&module, argument);
        assert_eq!(result, 5);
        gas
    };
    for argument in [0, 1] {
        assert_eq!(gas(100, argument) - gas(0, argument), 100 * HANDLER_GAS as i64, "{argument}");
    }
}

#[test]
fn a_catch_is_paid_alike_wherever_it_goes_on() {
    let branches = "(module (memory 1) (tag $t)
      (func $throw (param i32) (if (local.get 0) (then (throw $t))))
      (func (export \"f\") (param i32) (result i32)
        (local i32)
        (block $done
          (loop $again
            (local.set 1 (i32.add (local.get 1) (i32.const 1)))
            (br_if $done (i32.eq (local.get 1) (i32.const 4)))
            (try_table (catch_all $again) (call $throw (local.get 0)))
            (try_table (catch_all $done) (call $throw (i32.const 1)))
            (unreachable)))
        (local.get 1)))";
    let (turns, thrown) = used(branches, 1);
    assert_eq!(turns, 4);
    let (turns, once) = used(branches, 0);
    assert_eq!(turns, 1);
    assert!(thrown > 3 * once / 2, "{thrown} and {once}");
}

#[test]
fn an_exception_that_nobody_catches_ends_the_call() {
    let thrown = "(module (memory 1) (tag $t) (tag $u)
      (func $throw (throw $t))
      (func (export \"f\") (param i32) (result i32)
        (block $h (try_table (catch $u $h) (call $throw))) (i32.const 1)))";
    let mut run = Run::new(&guarded(thrown, &POLICY));
    let (result, gas) = run.call(0, PLENTY);
    assert!(result.unwrap_err().is::<wasmtime::ThrownException>());
    assert!(gas > 0);
}
