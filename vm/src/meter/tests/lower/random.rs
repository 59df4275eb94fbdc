//! Random functions whose addresses come from locals that change on some ways and not on others.

use super::*;

const LOCALS: u32 = 4;
const FUNCTIONS: usize = 60;

/// Numbers that are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % u64::from(end)) as u32
    }

    fn local(&mut self) -> u32 {
        self.below(LOCALS)
    }

    /// Mostly inside of memory, so that most programs go on.
    fn number(&mut self) -> u64 {
        const EDGES: [u64; 8] =
            [PAGE - 8, PAGE, (1 << 32) - 8, 1 << 32, (1 << 32) + 8, 1 << 40, 1 << 63, u64::MAX];
        if self.below(60) == 0 { EDGES[self.below(8) as usize] } else { u64::from(self.below(60_000)) }
    }

    fn value(&mut self, depth: u32) -> String {
        let deeper = depth.saturating_sub(1);
        match if depth == 0 { self.below(4) } else { self.below(14) } {
            0 => format!("(i64.const {})", self.number() as i64),
            1..4 => format!("(local.get {})", self.local()),
            4 => format!("(i64.extend_i32_u (i32.wrap_i64 {}))", self.value(deeper)),
            5 => format!("(i64.load8_u offset={} {})", self.below(3) * 8, self.value(deeper)),
            6 => format!(
                "(i64.and (i64.const 0xffff) (i64.load offset={} {}))",
                self.below(3) * 8,
                self.value(deeper)
            ),
            7 => format!("(local.tee {} {})", self.local(), self.value(deeper)),
            8 => format!("(i64.add {} (i64.const {}))", self.value(deeper), self.below(9)),
            9 => format!("(block (result i64) {} {})", self.statements(deeper), self.value(deeper)),
            10 => format!(
                "(if (result i64) {} (then {}) (else {}))",
                self.question(),
                self.value(deeper),
                self.value(deeper)
            ),
            11 => format!(
                "(block (result i64) (drop (br_if 0 {} {})) {} {})",
                self.value(deeper),
                self.question(),
                self.statements(deeper),
                self.value(deeper)
            ),
            12 => "(global.get $g)".into(),
            _ => format!("(select {} {} {})", self.value(deeper), self.value(deeper), self.question()),
        }
    }

    fn question(&mut self) -> String {
        format!("(i32.and (i32.const {}) (i32.wrap_i64 (local.get {})))", 1 << self.below(4), self.local())
    }

    fn statements(&mut self, depth: u32) -> String {
        (0..1 + self.below(3)).map(|_| self.statement(depth)).collect()
    }

    fn statement(&mut self, depth: u32) -> String {
        let deeper = depth.saturating_sub(1);
        match if depth == 0 { self.below(4) } else { self.below(13) } {
            0 => format!("(local.set {} {})", self.local(), self.value(deeper)),
            1 => format!(
                "(i64.store offset={} (local.get {}) {})",
                self.below(3) * 8,
                self.local(),
                self.value(deeper)
            ),
            2 => format!("(i64.store16 {} {})", self.value(deeper), self.value(deeper)),
            3 => format!("(drop (i64.load (local.get {})))", self.local()),
            4 | 5 => format!(
                "(if {} (then {}) (else {}))",
                self.question(),
                self.statements(deeper),
                self.statements(deeper)
            ),
            6 => format!("(if {} (then {}))", self.question(), self.statements(deeper)),
            7 => format!(
                "(block {} (br_if 0 {}) {})",
                self.statements(deeper),
                self.question(),
                self.statements(deeper)
            ),
            8 => format!(
                "(if {} (then {} (return (local.get 0)) {}))",
                self.question(),
                self.statement(0),
                self.statement(0)
            ),
            9 => format!("(global.set $g {})", self.value(deeper)),
            10 => format!("(drop (i64.load (global.get $g))) (call $set {})", self.value(deeper)),
            // The counter of all loops together ends them.
            _ => format!(
                "(loop {} (br_if 0 (i32.and {} (i32.lt_u (local.tee $turns (i32.add (local.get $turns) (i32.const 1))) (i32.const 20)))) {})",
                self.statements(deeper),
                self.question(),
                self.statements(deeper)
            ),
        }
    }
}

#[test]
fn random_functions_do_the_same() {
    let mut random = Random(0x5eed_0000_1234_5678);
    let (mut returned, mut trapped) = (0, 0);
    for _ in 0..6 {
        let mut wat = String::from(
            "(module (memory (export \"memory\") i64 1 2) (global $g (mut i64) (i64.const 0))
               (func $set (param i64) (global.set $g (local.get 0)))",
        );
        for index in 0..FUNCTIONS {
            let body: String = (0..4).map(|_| random.statement(4)).collect();
            wat += &format!(
                "(func (export \"{index}\") (param i64 i64 i64 i64) (result i64) (local $turns i32) {body} (local.get 1))\n"
            );
        }
        let mut both = Both::new(&(wat + ")")).unwrap();
        both.fill();
        for index in 0..FUNCTIONS {
            for _ in 0..12 {
                let arguments: Vec<u64> = (0..LOCALS).map(|_| random.number()).collect();
                match both.call(&index.to_string(), &arguments) {
                    Ok(_) => returned += 1,
                    Err(_) => trapped += 1,
                }
            }
        }
    }
    assert!(returned > 1_000 && trapped > 200, "{returned} returned, {trapped} trapped");
}
