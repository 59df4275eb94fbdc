//! Random functions whose addresses come from locals that change on some ways and not on others, and that ask for the state
//! of an unwinding if they are to.

const PAGE: u64 = 65_536;
const LOCALS: u32 = 4;
pub(super) const FUNCTIONS: usize = 60;

/// Numbers that are the same each time.
pub(super) struct Random {
    state: u64,
    /// Whether functions ask for the state of an unwinding, as asyncify has them.
    asks: bool,
}

impl Random {
    pub(super) const fn new(state: u64, asks: bool) -> Self {
        Self { state, asks }
    }

    /// A module of so many functions, named by their numbers.
    pub(super) fn module(&mut self) -> String {
        let mut wat = String::from(
            "(module (memory (export \"memory\") i64 1 2) (global $g (mut i64) (i64.const 0))
               (global $state (mut i32) (i32.const 0))
               (func (export \"asyncify_start_unwind\") (param i32) (global.set $state (local.get 0)))
               (func $set (param i64) (global.set $g (local.get 0)))",
        );
        for index in 0..FUNCTIONS {
            let body: String = (0..4).map(|_| self.statement(4)).collect();
            wat += &format!(
                "(func (export \"{index}\") (param i64 i64 i64 i64) (result i64) (local $turns i32) {body} (local.get 1))\n"
            );
        }
        wat + ")"
    }

    pub(super) fn arguments(&mut self) -> Vec<u64> {
        (0..LOCALS).map(|_| self.number()).collect()
    }

    fn below(&mut self, end: u32) -> u32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        ((self.state >> 11) % u64::from(end)) as u32
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

    /// What asyncify writes around code.
    fn asking(&mut self, depth: u32) -> String {
        let (one, other) = (self.statements(depth), self.statements(depth));
        let state = |value: u32| format!("(i32.eq (global.get $state) (i32.const {value}))");
        let (local, number) = (self.local(), self.below(9));
        match self.below(14) {
            0 => format!("(if (i32.eqz (global.get $state)) (then {one}))"),
            1 => format!("(if (i32.eqz (global.get $state)) (then {one}) (else {other}))"),
            2 => format!(
                "(if (i32.or (i32.eqz (global.get $state)) (i32.eqz (local.get $turns))) (then {one}))"
            ),
            3 => format!(
                "(if (i32.or (i32.eqz (global.get $state)) (i32.eq (local.get $turns) (i32.const {number})))
                   (then {one}) (else {other}))"
            ),
            4 => format!("(block {one} (br_if 0 {}) {other})", state(1)),
            5 => format!("(if {} (then {one}))", state(2)),
            6 => format!("(if {} (then {one}) (else {other}))", state(2)),
            7 => format!("(if (i32.or {} {}) (then {one}) (else {other}))", self.question(), state(2)),
            8 => format!("(if (i32.or (local.get $turns) {}) (then {one}))", state(2)),
            9 => {
                let (value, then) = (self.value(depth), self.value(depth));
                format!("(local.set {local} (block (result i64) {value} (br_if 0 {}) drop {then}))", state(1))
            }
            10 => {
                let (value, then) = (self.value(depth), self.value(depth));
                format!(
                    "(local.set {local} (if (result i64) (i32.eqz (global.get $state)) (then {one} {value}) (else {then})))"
                )
            }
            11 => {
                let then = self.value(depth);
                format!(
                    "(local.get {local}) (if (param i64) (result i64) {} (then drop {one} {then})) (local.set {local})",
                    state(2)
                )
            }
            12 => {
                format!("(if {} (then {one} (return (local.get {local})) {other}) (else {other}))", state(3))
            }
            _ => format!(
                "(local.set {local} (i64.extend_i32_u (i32.add (global.get $state) (i32.const {number}))))
                 (block (loop {one} (br_if 0 {}) (br_if 1 {})))",
                state(1),
                state(1)
            ),
        }
    }

    fn statement(&mut self, depth: u32) -> String {
        if self.asks && depth > 0 && self.below(2) == 0 {
            return self.asking(depth - 1);
        }
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
