//! A program being written: the names that it has so far, and expressions made of them.

use super::syntax::{Block, Expr, Op, Statement, binary, call, var};
use crate::rng::Rng;

/// A program being written.
pub struct Draft {
    rng: Rng,
    pub statements: Block,
    /// Names of numbers, lists of numbers and texts that have a value by now.
    pub numbers: Vec<String>,
    pub lists: Vec<String>,
    pub texts: Vec<String>,
    /// Functions of numbers, and how many they take.
    pub functions: Vec<(String, usize)>,
    used: Vec<&'static str>,
}

pub const NUMBERS: [&str; 12] = [
    "a", "b", "c", "x", "y", "z", "n", "m", "k", "size", "price", "step",
];
pub const LISTS: [&str; 6] = ["items", "numbers", "values", "ages", "row", "marks"];
pub const TEXTS: [&str; 4] = ["word", "name", "text", "line"];
const WORDS: [&str; 20] = [
    "apple", "banana", "river", "stone", "candle", "otter", "window", "garden", "pepper", "silver",
    "kitten", "lemon", "planet", "rabbit", "summer", "tunnel", "violin", "winter", "yellow",
    "tree",
];

impl Draft {
    pub fn new(rng: Rng) -> Self {
        Self {
            rng,
            statements: Vec::new(),
            numbers: Vec::new(),
            lists: Vec::new(),
            texts: Vec::new(),
            functions: Vec::new(),
            used: Vec::new(),
        }
    }

    /// Forgets everything but where it is among its random numbers.
    pub fn clear(&mut self) {
        *self = Self::new(self.rng.clone());
    }

    /// An index in proportion to its weight.
    pub fn pick(&mut self, weights: &[f64]) -> usize {
        self.rng.pick(weights)
    }

    pub fn push(&mut self, statement: Statement) {
        self.statements.push(statement);
    }

    pub fn assign(&mut self, name: &str, value: Expr) {
        self.push(Statement::Assign(name.into(), value));
    }

    pub fn print(&mut self, value: Expr) {
        self.push(Statement::Print(vec![value]));
    }

    pub fn below(&mut self, n: i64) -> i64 {
        self.rng.below(n as u64) as i64
    }

    pub fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.below(of.len() as u64) as usize]
    }

    /// A name that the program has not used; one that it has when none is left.
    pub fn new_name(&mut self, of: &[&'static str]) -> String {
        let unused: Vec<&'static str> = of
            .iter()
            .copied()
            .filter(|n| !self.used.contains(n))
            .collect();
        let name = self.one_of(if unused.is_empty() { of } else { &unused });
        self.used.push(name);
        name.into()
    }

    /// A number that has a value, made if there is none.
    pub fn number(&mut self) -> String {
        if self.numbers.is_empty() || self.below(4) == 0 {
            let name = self.new_name(&NUMBERS);
            let value = Expr::Int(self.below(50));
            self.assign(&name, value);
            self.numbers.push(name);
        }
        self.recent(|draft| &draft.numbers)
    }

    pub fn list(&mut self) -> String {
        if self.lists.is_empty() || self.below(4) == 0 {
            let name = self.new_name(&LISTS);
            let items = (0..3 + self.below(4)).map(|_| Expr::Int(self.below(30)));
            let items = items.collect();
            self.assign(&name, Expr::List(items));
            self.lists.push(name);
        }
        self.recent(|draft| &draft.lists)
    }

    pub fn text(&mut self) -> String {
        if self.texts.is_empty() || self.below(3) == 0 {
            let name = self.new_name(&TEXTS);
            let word = Expr::Text(self.one_of(&WORDS));
            self.assign(&name, word);
            self.texts.push(name);
        }
        self.recent(|draft| &draft.texts)
    }

    /// One of some names.
    fn recent(&mut self, of: fn(&Self) -> &Vec<String>) -> String {
        let idx = self.rng.below(of(self).len() as u64) as usize;
        of(self)[idx].clone()
    }

    /// A small number or a name of one.
    pub fn operand(&mut self) -> Expr {
        match self.numbers.is_empty() || self.below(3) == 0 {
            true => Expr::Int(1 + self.below(12)),
            false => var(&self.recent(|draft| &draft.numbers)),
        }
    }

    /// An expression with at most so many operators on each path; a function where there is one.
    pub fn expression(&mut self, depth: u32) -> Expr {
        if depth == 0 {
            return self.operand();
        }
        match self.below(7) {
            0 if !self.functions.is_empty() => {
                let idx = self.rng.below(self.functions.len() as u64) as usize;
                let (name, n) = self.functions[idx].clone();
                let arguments: Vec<Expr> = (0..n).map(|_| self.operand()).collect();
                call(&name, arguments)
            }
            1 => {
                let op = self.one_of(&[Op::FloorDivide, Op::Remainder]);
                let left = self.expression(depth - 1);
                binary(left, op, Expr::Int(2 + self.below(8)))
            }
            2 => {
                let name = self.one_of(&["min", "max"]);
                call(name, [self.expression(depth - 1), self.operand()])
            }
            _ => {
                let op = self.one_of(&[Op::Add, Op::Add, Op::Subtract, Op::Multiply]);
                binary(self.expression(depth - 1), op, self.expression(depth - 1))
            }
        }
    }

    /// Something simple made of one name.
    pub fn term(&mut self, name: &str) -> Expr {
        match self.below(4) {
            0 => var(name),
            1 => binary(var(name), Op::Multiply, var(name)),
            2 => binary(var(name), Op::Multiply, Expr::Int(2 + self.below(4))),
            _ => binary(var(name), Op::Add, self.operand()),
        }
    }

    pub fn condition(&mut self, name: &str) -> Expr {
        let one = self.comparison(name);
        match self.below(6) {
            0 => {
                let op = self.one_of(&[Op::And, Op::Or]);
                binary(one, op, self.comparison(name))
            }
            _ => one,
        }
    }

    fn comparison(&mut self, name: &str) -> Expr {
        match self.below(3) {
            0 => {
                let divisor = 2 + self.below(3);
                let rest = binary(var(name), Op::Remainder, Expr::Int(divisor));
                let op = self.one_of(&[Op::Equal, Op::Equal, Op::Unequal]);
                binary(rest, op, Expr::Int(self.below(divisor)))
            }
            _ => {
                let op = self.one_of(&[Op::Less, Op::Greater, Op::AtMost, Op::AtLeast]);
                binary(var(name), op, Expr::Int(1 + self.below(20)))
            }
        }
    }

    /// What a branch does: changes the number or says something.
    pub fn consequence(&mut self, name: &str) -> Block {
        match self.below(3) {
            0 => {
                let word = Expr::Text(self.one_of(&["small", "large", "even", "odd", "yes", "no"]));
                vec![Statement::Print(vec![word])]
            }
            1 => vec![Statement::Assign(name.into(), self.term(name))],
            _ => {
                let op = self.one_of(&[Op::Add, Op::Subtract]);
                vec![Statement::Update(name.into(), op, self.operand())]
            }
        }
    }
}
