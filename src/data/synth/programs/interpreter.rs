//! Runs programs as Python does, within limits.
//!
//! Lists are copied here and shared in Python. Where that could be seen, in a second name for a list
//! or a change to one that somebody else goes through, the program is refused instead.

use super::{
    syntax::{Block, Expr, Op, Statement},
    values::{Fault, Ran, Value, built_in, number, operate, place, plain, range, shown, within},
};
use std::collections::BTreeMap;

/// Statements and operations that a program may take.
const STEPS: u32 = 1500;
/// Calls within calls.
const DEEPEST: u32 = 20;

/// What a program prints.
pub fn run(program: &[Statement]) -> Ran<String> {
    let mut machine = Machine {
        output: String::new(),
        functions: BTreeMap::new(),
        steps: 0,
        depth: 0,
    };
    match machine.block(program, &mut Frame::default())? {
        None => Ok(machine.output),
        Some(_) => Err(Fault::Kind),
    }
}

/// One call's names.
#[derive(Default)]
struct Frame {
    values: BTreeMap<String, Value>,
    /// Lists that must not change: parameters, and what a loop goes through.
    fixed: Vec<String>,
}

struct Machine<'a> {
    output: String,
    functions: BTreeMap<&'a str, (&'a [String], &'a Block)>,
    steps: u32,
    depth: u32,
}

impl<'a> Machine<'a> {
    fn step(&mut self) -> Ran<()> {
        self.steps += 1;
        match self.steps > STEPS {
            true => Err(Fault::Endless),
            false => Ok(()),
        }
    }

    /// Runs statements to their end or to a `return`, and gives what that returns.
    fn block(&mut self, block: &'a [Statement], frame: &mut Frame) -> Ran<Option<Value>> {
        for statement in block {
            self.step()?;
            if let Some(value) = self.statement(statement, frame)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    fn statement(&mut self, statement: &'a Statement, frame: &mut Frame) -> Ran<Option<Value>> {
        match statement {
            Statement::Assign(name, value) => {
                let value = self.fresh(value, frame)?;
                if frame.fixed.contains(name) {
                    return Err(Fault::Shared);
                }
                frame.values.insert(name.clone(), value);
            }
            Statement::Update(name, op, value) => {
                let before = frame.values.get(name).cloned().ok_or(Fault::Name)?;
                let value = self.value(value, frame)?;
                let after = match before {
                    Value::List(_) => Err(Fault::Shared),
                    before => operate(before, *op, value),
                };
                frame.values.insert(name.clone(), after?);
            }
            Statement::SetItem(name, index, value) => {
                let value = self.value(value, frame)?;
                let index = self.value(index, frame)?;
                let items = frame.changeable(name)?;
                let at = place(&index, items.len())?;
                items[at] = plain(value)?;
            }
            Statement::Append(name, value) => {
                let value = self.value(value, frame)?;
                let items = frame.changeable(name)?;
                items.push(plain(value)?);
                within(items.len())?;
            }
            Statement::Print(values) => {
                for (i, value) in values.iter().enumerate() {
                    let value = self.value(value, frame)?;
                    self.output.push_str(if i > 0 { " " } else { "" });
                    self.output.push_str(&shown(&value));
                }
                self.output.push('\n');
            }
            Statement::If(branches, otherwise) => {
                for (condition, block) in branches {
                    if self.holds(condition, frame)? {
                        return self.block(block, frame);
                    }
                }
                return self.block(otherwise, frame);
            }
            Statement::For(name, over, block) => return self.each(name, over, block, frame),
            Statement::While(condition, block) => {
                while self.holds(condition, frame)? {
                    self.step()?;
                    if let Some(value) = self.block(block, frame)? {
                        return Ok(Some(value));
                    }
                }
            }
            Statement::Def(name, parameters, block) => {
                self.functions.insert(name, (parameters, block));
            }
            Statement::Return(value) => return self.fresh(value, frame).map(Some),
        }
        Ok(None)
    }

    fn each(
        &mut self,
        name: &str,
        over: &'a Expr,
        block: &'a Block,
        frame: &mut Frame,
    ) -> Ran<Option<Value>> {
        let items = self.items(over, frame)?;
        let n_fixed = frame.fixed.len();
        if let Expr::Var(over) = over {
            frame.fixed.push(over.clone());
        }
        for item in items {
            self.step()?;
            if frame.fixed.iter().any(|fixed| fixed == name) {
                return Err(Fault::Shared);
            }
            frame.values.insert(name.into(), item);
            if let Some(value) = self.block(block, frame)? {
                return Ok(Some(value));
            }
        }
        frame.fixed.truncate(n_fixed);
        Ok(None)
    }

    /// What a loop goes through. A range is nothing else: Python would not show it as a list.
    fn items(&mut self, over: &'a Expr, frame: &mut Frame) -> Ran<Vec<Value>> {
        if let Expr::Call(name, bounds) = over
            && name == "range"
        {
            let bounds = bounds.iter().map(|b| number(&self.value(b, frame)?));
            return match bounds.collect::<Ran<Vec<i64>>>()?[..] {
                [end] => range(0, end, 1),
                [start, end] => range(start, end, 1),
                [start, end, step] => range(start, end, step),
                _ => Err(Fault::Kind),
            };
        }
        match self.value(over, frame)? {
            Value::List(items) => Ok(items),
            Value::Text(text) => Ok(text.chars().map(|c| Value::Text(c.into())).collect()),
            _ => Err(Fault::Kind),
        }
    }

    /// A value that nobody else has by another name.
    fn fresh(&mut self, expr: &'a Expr, frame: &mut Frame) -> Ran<Value> {
        match (self.value(expr, frame)?, expr) {
            (Value::List(_), Expr::Var(_)) => Err(Fault::Shared),
            (value, _) => Ok(value),
        }
    }

    fn holds(&mut self, condition: &'a Expr, frame: &mut Frame) -> Ran<bool> {
        match self.value(condition, frame)? {
            Value::Bool(holds) => Ok(holds),
            _ => Err(Fault::Kind),
        }
    }

    fn value(&mut self, expr: &'a Expr, frame: &mut Frame) -> Ran<Value> {
        self.step()?;
        match expr {
            Expr::Int(n) => Ok(Value::Int(*n)),
            Expr::Text(text) => Ok(Value::Text((*text).into())),
            Expr::Var(name) => frame.values.get(name).cloned().ok_or(Fault::Name),
            Expr::List(items) => {
                let items = items.iter().map(|item| plain(self.value(item, frame)?));
                Ok(Value::List(items.collect::<Ran<_>>()?))
            }
            Expr::Binary(left, op @ (Op::And | Op::Or), right) => {
                let left = self.holds(left, frame)?;
                match left == (*op == Op::Or) {
                    true => Ok(Value::Bool(left)),
                    false => self.holds(right, frame).map(Value::Bool),
                }
            }
            Expr::Binary(left, op, right) => {
                let left = self.value(left, frame)?;
                operate(left, *op, self.value(right, frame)?)
            }
            Expr::Index(of, index) => {
                let of = self.value(of, frame)?;
                let index = self.value(index, frame)?;
                match of {
                    Value::List(items) => Ok(items[place(&index, items.len())?].clone()),
                    Value::Text(text) => {
                        let at = place(&index, text.len())?;
                        Ok(Value::Text(text[at..=at].into()))
                    }
                    _ => Err(Fault::Kind),
                }
            }
            Expr::Call(name, arguments) => {
                let arguments = arguments.iter().map(|argument| self.value(argument, frame));
                let arguments = arguments.collect::<Ran<Vec<_>>>()?;
                self.call(name, arguments)
            }
        }
    }

    fn call(&mut self, name: &str, arguments: Vec<Value>) -> Ran<Value> {
        let Some((parameters, block)) = self.functions.get(name).copied() else {
            return built_in(name, arguments);
        };
        if parameters.len() != arguments.len() {
            return Err(Fault::Kind);
        }
        if self.depth == DEEPEST {
            return Err(Fault::Endless);
        }
        let lists = parameters.iter().zip(&arguments);
        let lists = lists.filter(|(_, value)| matches!(value, Value::List(_)));
        let mut frame = Frame {
            fixed: lists.map(|(name, _)| name.clone()).collect(),
            values: parameters.iter().cloned().zip(arguments).collect(),
        };
        self.depth += 1;
        let returned = self.block(block, &mut frame)?;
        self.depth -= 1;
        returned.ok_or(Fault::Kind)
    }
}

impl Frame {
    fn changeable(&mut self, name: &str) -> Ran<&mut Vec<Value>> {
        if self.fixed.iter().any(|fixed| fixed == name) {
            return Err(Fault::Shared);
        }
        match self.values.get_mut(name) {
            Some(Value::List(items)) => Ok(items),
            Some(_) => Err(Fault::Kind),
            None => Err(Fault::Name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::syntax::{binary, call, var};
    use super::*;

    fn int(n: i64) -> Expr {
        Expr::Int(n)
    }

    fn printed(expr: Expr) -> Ran<String> {
        run(&[Statement::Print(vec![expr])])
    }

    #[test]
    fn quotients_and_remainders_round_down_as_pythons_do() {
        // python3 -c 'print([(a // b, a % b) for a in (7, -7) for b in (2, -2)])'
        let want = ["3 1\n", "-4 -1\n", "-4 1\n", "3 -1\n"];
        let pairs = [(7, 2), (7, -2), (-7, 2), (-7, -2)];
        for ((a, b), want) in pairs.into_iter().zip(want) {
            let of = |op| binary(int(a), op, int(b));
            let parts = vec![of(Op::FloorDivide), of(Op::Remainder)];
            assert_eq!(run(&[Statement::Print(parts)]).unwrap(), want);
        }
    }

    #[test]
    fn values_are_shown_as_python_shows_them() {
        let list = Expr::List(vec![int(-1), Expr::Text("a")]);
        assert_eq!(printed(list).unwrap(), "[-1, 'a']\n");
        assert_eq!(printed(binary(int(1), Op::Less, int(2))).unwrap(), "True\n");
        let last = Expr::Index(Expr::Text("abc").into(), int(-1).into());
        assert_eq!(printed(last).unwrap(), "c\n");
        let range = call("range", [int(5), int(1), int(-2)]);
        assert_eq!(printed(range.clone()).unwrap_err(), Fault::Kind);
        let show = vec![Statement::Print(vec![var("i")])];
        let program = [Statement::For("i".into(), range, show)];
        assert_eq!(run(&program).unwrap(), "5\n3\n");
    }

    #[test]
    fn what_python_would_refuse_or_not_end_is_a_fault() {
        use Statement::{Append, Assign, Def, For, Return, While};
        let truth = || binary(int(1), Op::Equal, int(1));
        let name = |name: &str| name.to_string();
        let list = || Assign(name("xs"), Expr::List(vec![int(1)]));
        let cases: Vec<(Vec<Statement>, Fault)> = vec![
            (vec![While(truth(), vec![])], Fault::Endless),
            (
                vec![
                    Def(name("f"), vec![], vec![Return(call("f", []))]),
                    Assign(name("x"), call("f", [])),
                ],
                Fault::Endless,
            ),
            (vec![Statement::Print(vec![var("x")])], Fault::Name),
            (vec![list(), Assign(name("ys"), var("xs"))], Fault::Shared),
            (
                vec![
                    list(),
                    For(name("x"), var("xs"), vec![Append(name("xs"), var("x"))]),
                ],
                Fault::Shared,
            ),
            (
                vec![
                    list(),
                    Def(
                        name("f"),
                        vec![name("ys")],
                        vec![Append(name("ys"), int(1)), Return(int(1))],
                    ),
                    Assign(name("x"), call("f", [var("xs")])),
                ],
                Fault::Shared,
            ),
        ];
        for (program, fault) in cases {
            assert_eq!(run(&program).unwrap_err(), fault, "{program:?}");
        }
        let fault = |expr| printed(expr).unwrap_err();
        assert_eq!(
            fault(binary(int(1), Op::Remainder, int(0))),
            Fault::DivisionByZero
        );
        assert_eq!(fault(binary(int(99_999), Op::Add, int(1))), Fault::Large);
        assert_eq!(
            fault(binary(Expr::Text("ab"), Op::Multiply, int(21))),
            Fault::Large
        );
        assert_eq!(fault(binary(int(1), Op::Add, Expr::Text("a"))), Fault::Kind);
        assert_eq!(
            fault(Expr::Index(Expr::Text("abc").into(), int(3).into())),
            Fault::Index
        );
        assert_eq!(fault(call("sorted", [int(1)])), Fault::Kind);
    }

    #[test]
    fn a_function_sees_its_own_names_only() {
        let double = binary(var("a"), Op::Multiply, var("b"));
        let program = [
            Statement::Assign("b".into(), int(2)),
            Statement::Def(
                "f".into(),
                vec!["a".into()],
                vec![Statement::Return(double)],
            ),
            Statement::Print(vec![call("f", [int(3)])]),
        ];
        // Python would find `b`; no program that is written does so.
        assert_eq!(run(&program).unwrap_err(), Fault::Name);
    }
}
