//! Programs as trees, and their text: a part of Python, spelt as Python's users spell it.

use std::fmt::{self, Display, Formatter, Write};

#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    Int(i64),
    /// Plain ASCII without quotes and backslashes.
    Text(&'static str),
    Var(String),
    List(Vec<Expr>),
    Binary(Box<Expr>, Op, Box<Expr>),
    /// A built-in function or one of the program's.
    Call(String, Vec<Expr>),
    Index(Box<Expr>, Box<Expr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Or,
    And,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Equal,
    Unequal,
    Add,
    Subtract,
    Multiply,
    FloorDivide,
    Remainder,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    Assign(String, Expr),
    /// `x += e`, for numbers and texts.
    Update(String, Op, Expr),
    SetItem(String, Expr, Expr),
    Append(String, Expr),
    Print(Vec<Expr>),
    /// Conditions with their blocks, and what happens if none holds.
    If(Vec<(Expr, Block)>, Block),
    For(String, Expr, Block),
    While(Expr, Block),
    Def(String, Vec<String>, Block),
    Return(Expr),
}

pub type Block = Vec<Statement>;

pub fn var(name: &str) -> Expr {
    Expr::Var(name.into())
}

pub fn binary(left: Expr, op: Op, right: Expr) -> Expr {
    Expr::Binary(left.into(), op, right.into())
}

pub fn call(name: &str, arguments: impl Into<Vec<Expr>>) -> Expr {
    Expr::Call(name.into(), arguments.into())
}

/// The text of a program, a newline after each line.
pub fn source(program: &[Statement]) -> String {
    let mut text = String::new();
    write_block(&mut text, program, 0);
    text
}

impl Op {
    fn sign(self) -> &'static str {
        match self {
            Op::Or => "or",
            Op::And => "and",
            Op::Less => "<",
            Op::AtMost => "<=",
            Op::Greater => ">",
            Op::AtLeast => ">=",
            Op::Equal => "==",
            Op::Unequal => "!=",
            Op::Add => "+",
            Op::Subtract => "-",
            Op::Multiply => "*",
            Op::FloorDivide => "//",
            Op::Remainder => "%",
        }
    }

    /// Higher binds tighter.
    fn binding(self) -> u8 {
        match self {
            Op::Or => 1,
            Op::And => 2,
            Op::Add | Op::Subtract => 4,
            Op::Multiply | Op::FloorDivide | Op::Remainder => 5,
            _ => 3,
        }
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Expr::Int(n) => write!(f, "{n}"),
            Expr::Text(text) => write!(f, "\"{text}\""),
            Expr::Var(name) => f.write_str(name),
            Expr::List(items) => write!(f, "[{}]", Listed(items)),
            Expr::Call(name, arguments) => write!(f, "{name}({})", Listed(arguments)),
            Expr::Index(list, index) => write!(f, "{list}[{index}]"),
            Expr::Binary(left, op, right) => {
                // Operators of one rank go from the left, but comparisons would be chained.
                let chained = op.binding() == 3;
                operand(f, left, op.binding() + u8::from(chained))?;
                write!(f, " {} ", op.sign())?;
                operand(f, right, op.binding() + 1)
            }
        }
    }
}

fn operand(f: &mut Formatter, expr: &Expr, least: u8) -> fmt::Result {
    match expr {
        Expr::Binary(_, op, _) if op.binding() < least => write!(f, "({expr})"),
        _ => write!(f, "{expr}"),
    }
}

struct Listed<'a>(&'a [Expr]);

impl Display for Listed<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        for (i, item) in self.0.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{item}")?;
        }
        Ok(())
    }
}

fn write_block(text: &mut String, block: &[Statement], depth: usize) {
    for statement in block {
        write_statement(text, statement, depth);
    }
}

fn write_statement(text: &mut String, statement: &Statement, depth: usize) {
    let mut line = |words: fmt::Arguments, block: &[Statement]| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:width$}{words}", "", width = 4 * depth);
        write_block(text, block, depth + 1);
    };
    match statement {
        Statement::Assign(name, value) => line(format_args!("{name} = {value}"), &[]),
        Statement::Update(name, op, value) => {
            line(format_args!("{name} {}= {value}", op.sign()), &[]);
        }
        Statement::SetItem(name, index, value) => {
            line(format_args!("{name}[{index}] = {value}"), &[]);
        }
        Statement::Append(name, value) => line(format_args!("{name}.append({value})"), &[]),
        Statement::Print(values) => line(format_args!("print({})", Listed(values)), &[]),
        Statement::Return(value) => line(format_args!("return {value}"), &[]),
        Statement::For(name, over, block) => {
            line(format_args!("for {name} in {over}:"), block);
        }
        Statement::While(condition, block) => line(format_args!("while {condition}:"), block),
        Statement::Def(name, parameters, block) => {
            line(
                format_args!("def {name}({}):", parameters.join(", ")),
                block,
            );
        }
        Statement::If(branches, otherwise) => {
            for (i, (condition, block)) in branches.iter().enumerate() {
                let word = if i == 0 { "if" } else { "elif" };
                line(format_args!("{word} {condition}:"), block);
            }
            if !otherwise.is_empty() {
                line(format_args!("else:"), otherwise);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(n: i64) -> Expr {
        Expr::Int(n)
    }

    #[test]
    fn parentheses_stand_where_the_tree_needs_them_and_nowhere_else() {
        let sum = || binary(var("a"), Op::Add, int(1));
        let product = || binary(var("b"), Op::Multiply, int(2));
        let less = || binary(var("a"), Op::Less, var("b"));
        for (expr, want) in [
            (binary(sum(), Op::Multiply, product()), "(a + 1) * (b * 2)"),
            (binary(product(), Op::Multiply, sum()), "b * 2 * (a + 1)"),
            (binary(sum(), Op::Subtract, sum()), "a + 1 - (a + 1)"),
            (binary(product(), Op::Remainder, int(-3)), "b * 2 % -3"),
            (binary(less(), Op::Equal, less()), "(a < b) == (a < b)"),
            (
                binary(less(), Op::Or, binary(less(), Op::And, less())),
                "a < b or a < b and a < b",
            ),
            (
                binary(binary(less(), Op::Or, less()), Op::And, less()),
                "(a < b or a < b) and a < b",
            ),
            (Expr::Index(var("xs").into(), sum().into()), "xs[a + 1]"),
            (call("max", [sum(), Expr::Text("x")]), "max(a + 1, \"x\")"),
        ] {
            assert_eq!(expr.to_string(), want);
        }
    }

    #[test]
    fn blocks_are_indented() {
        let inner = Statement::If(
            vec![
                (var("a"), vec![Statement::Return(int(1))]),
                (var("b"), vec![Statement::Append("xs".into(), int(2))]),
            ],
            vec![Statement::Update("a".into(), Op::Subtract, int(3))],
        );
        let program = [Statement::Def(
            "f".into(),
            vec!["a".into(), "b".into()],
            vec![Statement::While(var("a"), vec![inner])],
        )];
        let want = "def f(a, b):\n    while a:\n        if a:\n            return 1\n        elif b:\n            xs.append(2)\n        else:\n            a -= 3\n";
        assert_eq!(source(&program), want);
    }
}
