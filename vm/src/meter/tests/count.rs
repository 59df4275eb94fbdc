//! The reference's count beside the guard's gas.

use super::*;

/// What calling `f` counts, whether it returned, and the guard's gas.
fn counted(body: &str, argument: i32) -> (i64, bool, i64) {
    let wat = format!("(module (memory 1) {body})");
    let mut run = Run::new(&guarded(&wat, &Policy { count: true, ..POLICY }));
    let (result, gas) = run.call(argument, PLENTY);
    let used = run.instance.get_global(&mut run.store, USED_EXPORT).unwrap();
    (used.get(&mut run.store).unwrap_i64(), result.is_ok(), gas)
}

fn returned(body: &str, argument: i32) -> i64 {
    let (count, ended, _) = counted(body, argument);
    assert!(ended, "{body} ended early");
    count
}

const F: &str = "(func (export \"f\") (param i32) (result i32)";

#[test]
fn listed_opcodes_cost_the_same_and_others_nothing() {
    let (count, _, gas) = counted(&format!("{F} (i32.add (local.get 0) (i32.const 2)))"), 40);
    assert_eq!((count, gas), (120 + 1 + 45 + 91, 120 + 1 + 45 + 91));
    let conversions = format!("{F} (i32.wrap_i64 (i64.extend_i32_u (i32.extend8_s (local.get 0)))))");
    let (count, _, gas) = counted(&conversions, 40);
    assert_eq!(count, 120 + 91);
    assert_eq!(gas, count + 3 * 45);
    let floats = "(i32.trunc_f64_s (f64.sqrt (f64.div (f64.convert_i32_s (local.get 0)) (f64.const 2))))";
    assert_eq!(returned(&format!("{F} {floats})"), 8), 120 + 1 + 91);
}

#[test]
fn a_segment_counts_when_it_is_entered() {
    let head = 120 + 1 + 91;
    let body = format!("{F} (if (result i32) (local.get 0) (then (i32.const 1)) (else (i32.const 2))))");
    // The `then` arm ends with `else`; the other is a constant before an `end` that costs nothing.
    assert_eq!(returned(&body, 1), head + 1 + 90 + 91);
    assert_eq!(returned(&body, 0), head + 1 + 91);
    // Segments that cost nothing are not there.
    assert_eq!(returned(&format!("{F} (block (block)) (i32.const 0))"), 0), 1 + 1 + 91 + 1 + 91);
}

/// The guard charges the rest together with what comes before; the reference never gets there.
#[test]
fn what_a_call_does_not_come_back_to_is_counted_by_the_segment_alone() {
    let body = format!(
        "(func $leaves (unreachable))
         {F} (block (call $leaves) (local.set 0 (i32.const 5))) (local.set 0 (i32.const 6)) (i32.const 0))"
    );
    let (count, ended, gas) = counted(&body, 0);
    assert!(!ended);
    let caller = 1 + 90 + 1 + 120 + 91;
    let callee = 1 + 91;
    assert_eq!(count, caller + callee);
    assert!(gas > count, "{gas}");
}

#[test]
fn loops_and_tables_count_by_the_turn() {
    let body = format!(
        "{F} (local i32)
           (loop $again
             (block $two (block $one (br_table $one $two (i32.and (local.get 0) (i32.const 1)))) (local.set 1 (i32.const 1)))
             (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
           (local.get 1))"
    );
    let turns = |count: i32| returned(&body, count) - returned(&body, count - 1);
    // Odd turns go past the assignment; `loop` ends its own segment, with nothing before the table.
    let table = 1 + 1 + 120 + 1 + 45 + 120 + 91;
    let back = 120 + 1 + 45 + 120 + 90 + 91;
    assert_eq!(turns(3), table + back);
    assert_eq!(turns(4), table + back + 1 + 120 + 91);
}
