//! Leaves out what asks for a global that never changes.
//!
//! aos is built with asyncify: nearly every function asks around each call whether the guest is being unwound or rewound,
//! and holds the code that does it. Where the host never calls the exports that begin that, the answer is always no, and
//! asking takes a quarter of the time (BENCHMARKS.md). So the pass leaves out the questions and what would follow a yes. Charges are planned on
//! the code as it is and only those that never run are left out with it: gas, depth and traps stay the same.

use std::collections::BTreeSet;

use wasmparser::{
    ConstExpr, Element, ElementItems, Export, ExternalKind, FunctionBody, Global, Operator, Result, Table,
    TableInit, ValType,
};

/// Which globals never change. All are i32 and zero.
#[derive(Debug, Default)]
pub(super) struct Idle(BTreeSet<u32>);

impl Idle {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn has(&self, global: u32) -> bool {
        self.0.contains(&global)
    }
}

/// What is gathered of a module to find them.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Functions exported under names that the host never calls.
    uncalled: BTreeSet<u32>,
    /// Functions that may be called all the same: by another name, from within, or through a table.
    called: BTreeSet<u32>,
    /// Globals that are zero at first, may be set, and are not the host's to set.
    zero: BTreeSet<u32>,
}

impl Survey {
    pub(super) fn export(&mut self, export: &Export<'_>, uncalled: &[&str]) {
        let of = match export.kind {
            ExternalKind::Func if uncalled.contains(&export.name) => &mut self.uncalled,
            ExternalKind::Func => &mut self.called,
            ExternalKind::Global => {
                // Exports come after globals.
                self.zero.remove(&export.index);
                return;
            }
            _ => return,
        };
        of.insert(export.index);
    }

    pub(super) fn global(&mut self, index: u32, global: &Global<'_>) -> Result<()> {
        let mut operators = global.init_expr.get_operators_reader();
        let is_zero = matches!(operators.read()?, Operator::I32Const { value: 0 });
        let is_all = matches!(operators.read()?, Operator::End);
        // The compiler knows those that nothing may set, and there may be many.
        if global.ty.mutable && global.ty.content_type == ValType::I32 && is_zero && is_all {
            self.zero.insert(index);
        }
        self.expression(&global.init_expr)
    }

    pub(super) fn element(&mut self, element: &Element<'_>) -> Result<()> {
        // Exports come before elements.
        if self.uncalled.is_empty() {
            return Ok(());
        }
        match &element.items {
            ElementItems::Functions(functions) => {
                for function in functions.clone() {
                    self.refer(function?);
                }
            }
            ElementItems::Expressions(_, expressions) => {
                for expression in expressions.clone() {
                    self.expression(&expression?)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn table(&mut self, table: &Table<'_>) -> Result<()> {
        match &table.init {
            TableInit::RefNull => Ok(()),
            TableInit::Expr(expression) => self.expression(expression),
        }
    }

    /// Functions that a constant expression refers to.
    fn expression(&mut self, expression: &ConstExpr<'_>) -> Result<()> {
        for operator in expression.get_operators_reader() {
            if let Operator::RefFunc { function_index } = operator? {
                self.refer(function_index);
            }
        }
        Ok(())
    }

    /// A function may be called that the module refers to. Exports that are to come may name it, but for elements: lists of
    /// those may be long, and what else they name is none of our business.
    fn refer(&mut self, function: u32) {
        if self.uncalled.is_empty() || self.uncalled.contains(&function) {
            self.called.insert(function);
        }
    }

    /// The globals that nothing sets but functions that nobody calls. What cannot be read is for the validator to name.
    pub(super) fn idle<'a>(
        mut self,
        functions: impl Iterator<Item = (u32, &'a FunctionBody<'a>)>,
    ) -> Result<Idle> {
        if self.uncalled.is_empty() {
            return Ok(Idle::default());
        }
        let (mut set, mut set_uncalled) = (BTreeSet::new(), BTreeSet::new());
        for (function, body) in functions {
            for operator in body.get_operators_reader()? {
                match operator? {
                    Operator::GlobalSet { global_index } if self.zero.contains(&global_index) => {
                        if self.uncalled.contains(&function) {
                            set_uncalled.insert((function, global_index));
                        } else {
                            set.insert(global_index);
                        }
                    }
                    Operator::Call { function_index }
                    | Operator::RefFunc { function_index }
                    | Operator::ReturnCall { function_index }
                        if self.uncalled.contains(&function_index) =>
                    {
                        self.called.insert(function_index);
                    }
                    _ => {}
                }
            }
        }
        set.extend(set_uncalled.iter().filter(|(by, _)| self.called.contains(by)).map(|(_, global)| global));
        Ok(Idle(&self.zero - &set))
    }
}

/// A value on the stack that was only computed: from locals, constants and idle globals, without effect.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pure {
    /// Where its first instruction is.
    pub(super) at: usize,
    /// How many edits there were before it.
    pub(super) edits: usize,
    /// What it is, if that is known.
    pub(super) known: Option<i32>,
    /// It is 0 or 1.
    boolean: bool,
}

/// The pure values on top of the stack, each computed right after the one below.
#[derive(Debug, Default)]
pub(super) struct Pures(Vec<Pure>);

/// What is to be done about an instruction that computes.
#[derive(Debug)]
pub(super) enum Found {
    /// It is zero.
    Zero,
    /// With what came before it since this value, it does nothing to what lies below.
    Nothing(Pure),
}

impl Pures {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The known value on top, which is taken away.
    pub(super) fn known(&mut self) -> Option<(Pure, i32)> {
        let top = self.0.pop()?;
        Some((top, top.known?))
    }

    /// Reads an instruction at this place, before which there are so many edits.
    pub(super) fn read(&mut self, op: &Operator<'_>, at: usize, edits: usize, idle: &Idle) -> Option<Found> {
        let value = |known: Option<i32>| Pure { at, edits, known, boolean: matches!(known, Some(0 | 1)) };
        match op {
            Operator::GlobalGet { global_index } if idle.has(*global_index) => {
                self.0.push(value(Some(0)));
                return Some(Found::Zero);
            }
            Operator::LocalGet { .. } => self.0.push(value(None)),
            Operator::I32Const { value: known } => self.0.push(value(Some(*known))),
            Operator::I32Eqz => {
                let of = self.0.last_mut()?;
                (of.known, of.boolean) = (of.known.map(|value| i32::from(value == 0)), true);
            }
            Operator::I32Eq => {
                let (Some(right), Some(left)) = (self.0.pop(), self.0.pop()) else { return None };
                let known = left.known.zip(right.known).map(|(left, right)| i32::from(left == right));
                self.0.push(Pure { known, boolean: true, ..left });
            }
            Operator::I32Or => return self.or(),
            _ => self.clear(),
        }
        None
    }

    fn or(&mut self) -> Option<Found> {
        let right = self.0.pop()?;
        let left = self.0.pop();
        if right.known == Some(0) {
            self.0.extend(left);
            return Some(Found::Nothing(right));
        }
        let left = left?;
        let known = match (left.known, right.known) {
            (Some(left), Some(right)) => Some(left | right),
            (Some(1), None) if right.boolean => Some(1),
            (None, Some(1)) if left.boolean => Some(1),
            _ => None,
        };
        self.0.push(Pure { known, boolean: left.boolean && right.boolean, ..left });
        None
    }
}
