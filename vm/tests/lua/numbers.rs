//! Big integers in C, beside Rust's own of 128 bits and fixed cases of wider ones.

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::process::Process;

/// What each operation of 128 bits gives, one line each; division only where it is defined.
fn expected(x: i128, y: i128, by: u32) -> Vec<String> {
    let (ux, uy) = (x as u128, y as u128);
    let mut all = vec![
        x.wrapping_add(y).to_string(),
        x.wrapping_sub(y).to_string(),
        x.wrapping_mul(y).to_string(),
        (x & y).to_string(),
        (x | y).to_string(),
        (x ^ y).to_string(),
        (!x).to_string(),
        x.wrapping_neg().to_string(),
        (x << by).to_string(),
        ((ux >> by) as i128).to_string(),
        (ux.rotate_left(by) as i128).to_string(),
        (ux.rotate_right(by) as i128).to_string(),
        (x < y).to_string(),
        (x <= y).to_string(),
        (ux < uy).to_string(),
        x.max(y).to_string(),
        x.wrapping_abs().to_string(),
        format!("{ux:x}"),
        format!("{ux:b}"),
        ux.to_string(),
        x.wrapping_pow(by % 16).to_string(),
    ];
    if y != 0 {
        let rest = x.wrapping_rem(y);
        let down = rest != 0 && (rest < 0) != (y < 0);
        let quotient = x.wrapping_div(y);
        all.extend([
            (if down { quotient.wrapping_sub(1) } else { quotient }).to_string(),
            (if down { rest + y } else { rest }).to_string(),
            quotient.to_string(),
            rest.to_string(),
            ((ux / uy) as i128).to_string(),
            ((ux % uy) as i128).to_string(),
        ]);
    }
    all
}

fn found(process: &mut Process, x: i128, y: i128, by: u32) -> Vec<String> {
    let division =
        if y == 0 { "" } else { ", x // y, x % y, b.tdiv(x, y), b.tmod(x, y), b.udiv(x, y), b.umod(x, y)" };
    let program = format!(
        "local b = require('.bint')(128) local x, y = b('{x}'), b('{y}')
         local all = {{ x + y, x - y, x * y, x & y, x | y, x ~ y, ~x, -x, x << {by}, x >> {by}, b.brol(x, {by}),
           b.bror(x, {by}), x < y, x <= y, b.ult(x, y), b.max(x, y), b.abs(x), b.tobase(x, 16), b.tobase(x, 2),
           b.tobase(x, 10, true), b.ipow(x, {}) {division} }}
         for i, v in ipairs(all) do all[i] = tostring(v) end
         return table.concat(all, '\\n')",
        by % 16
    );
    process.eval(&program).lines().map(str::to_owned).collect()
}

#[test]
fn arithmetic_is_that_of_two_complement() {
    let mut process = Process::spawn();
    let edges = [0, 1, -1, 2, i128::MAX, i128::MIN, i128::MIN + 1, 1 << 64, -(1 << 64), (1 << 96) - 1, 10];
    for x in edges {
        for y in edges {
            assert_eq!(found(&mut process, x, y, 33), expected(x, y, 33), "{x} and {y}");
        }
    }
    let cases = if crate::full::is_full() { 5_000 } else { 150 };
    let process = RefCell::new(process);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let number = (any::<i128>(), 0u32..128).prop_map(|(number, less)| number >> less);
    runner
        .run(&(number.clone(), number, 0u32..128), |(x, y, by)| {
            prop_assert_eq!(found(&mut process.borrow_mut(), x, y, by), expected(x, y, by));
            Ok(())
        })
        .unwrap();
}

#[test]
fn numbers_go_in_and_out_as_with_lua_bint() {
    let mut process = Process::spawn();
    for (program, expected) in [
        ("b.fromstring('-0xff')", "-255"),
        ("b.fromstring('0b101')", "5"),
        ("b.fromstring('1e3') == nil and b.fromstring('') == nil and b.fromstring('1.5') == nil", "true"),
        ("b.frombase('zz', 36)", "1295"),
        ("b.tole(b(258), true):byte(1, -1)", "2"),
        ("b.fromle(b.tole(b('-5')))", "-5"),
        ("b.frombe('\\1\\0')", "256"),
        ("#b.tobe(b(1))", "32"),
        ("b.tonumber(b.ipow(2, 70))", "1.1805916207174e+21"),
        ("math.type(b.tonumber(b(5)))", "integer"),
        ("b.tointeger(b('18446744073709551617'))", "1"),
        ("b.type(b(1)) .. b.type(1) .. b.type(1.5) .. tostring(b.type('x'))", "bintintegerfloatnil"),
        ("b.iszero(0) and b.isone(b(1)) and b.isminusone(-1) and b.isneg(b(-3)) and b.ispos(3)", "true"),
        ("b.iseven(b(4)) and b.isodd(b(-3)) and b.isbint(b(1)) and not b.isbint(1)", "true"),
        ("b(1) + 1.5", "2.5"),
        ("b(7) / 2", "3.5"),
        ("b(2) ^ 10", "1024.0"),
        ("b('5') == b(5) and b(5) ~= 5 and b.eq(b(5), 5) and b.eq(5, 5.0)", "true"),
        ("b(5) < 6.5 and 4 < b(5) and b(5) <= '5'", "true"),
        ("b.upowmod(b('123456789'), b('987654321'), b('1000000007'))", "652541198"),
        ("b.bwrap(b(-1), 12)", "4095"),
        ("b.trunc(-3.7)", "-3"),
        ("b.floor(-3.2)", "-4"),
        ("b.maxinteger() + 1 == b.mininteger()", "true"),
        ("b.fromuinteger(-1)", "18446744073709551615"),
        ("select(2, b.udivmod(b(17), 5))", "2"),
        ("b.bits", "256"),
        ("require('.bint')(256) == b and require('.bint')(512) ~= b", "true"),
    ] {
        let said = process.eval(&format!("local b = require('.bint')(256) return tostring(({program}))"));
        assert_eq!(said, expected, "{program}");
    }
    for (program, error) in [
        ("b(1) // 0", "division by zero"),
        ("b(1) % b(0)", "division by zero"),
        ("b.udivmod(1, 0)", "division by zero"),
        ("b(1.5)", "no bint can be made"),
        ("b({})", "no bint can be made"),
        ("b(1) + {}", "is no number"),
        ("b(1) & 1.5", "no whole number"),
        ("require('.bint')(100)", "multiple of 32"),
        ("require('.bint')(1 << 40)", "multiple of 32"),
    ] {
        let said = process.eval(&format!("local b = require('.bint')(256) return {program}"));
        assert!(said.contains(error), "{program}: {said}");
    }
}

/// The widest numbers: what they multiply to is divided again.
#[test]
fn wide_numbers_keep_their_digits() {
    let mut process = Process::spawn();
    let program = "local b = require('.bint')(16384)
      local x, y = b.ipow(b(10), 2000) + 7, b.ipow(b(3), 1500) - 1
      local q, r = b.udivmod(x * y + 5, y)
      return q == x and r == b(5) and #tostring(x) == 2001 and b(tostring(x * y)) == x * y
        and b.frombase(b.tobase(y, 7), 7) == y and b.frombe(b.tobe(x)) == x";
    assert_eq!(process.eval(program), "true");
}
