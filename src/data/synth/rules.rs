//! A grammar file's meaning, as the parser leaves it for the writer: names are indices.

use crate::error::{Error, Result};

/// A parsed grammar.
#[derive(Debug)]
pub(super) struct Rules {
    /// The grammar file, for messages.
    pub file: String,
    pub rules: Vec<Rule>,
    /// Names of the variables and fields that parts point to.
    pub variables: Vec<String>,
    pub fields: Vec<String>,
    /// The rule that a document comes from.
    pub start: usize,
}

/// What becomes of the variables and alternatives of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Plain,
    /// No alternative comes twice in a document while others are left.
    Once,
    /// Variables bound inside end with it.
    Scene,
}

#[derive(Debug)]
pub(super) struct Rule {
    pub name: String,
    pub line: usize,
    pub sort: Sort,
    pub alternatives: Vec<Alternative>,
    pub fields: Vec<Field>,
}

#[derive(Debug, Default)]
pub(super) struct Alternative {
    pub weight: f64,
    /// All must hold for the alternative to be chosen.
    pub guards: Vec<Guard>,
    pub text: Vec<Part>,
    pub fields: Vec<Field>,
}

/// A text that goes with an alternative, written anew at each use.
#[derive(Debug)]
pub(super) struct Field {
    pub name: usize,
    pub text: Vec<Part>,
}

/// One piece of a text.
#[derive(Debug)]
pub(super) enum Part {
    Text(String),
    Choice(Vec<(f64, Vec<Part>)>),
    Rule(usize),
    Show(usize),
    Field {
        variable: usize,
        field: usize,
    },
    /// A variable's text, in the plural unless the number is one.
    Plural {
        variable: usize,
        number: Expression,
    },
    Number(Expression),
    Words(Expression),
    Bind {
        variable: usize,
        rule: usize,
        unlike: Vec<usize>,
    },
    Draw {
        variable: usize,
        low: Expression,
        high: Expression,
    },
    Compute {
        variable: usize,
        value: Expression,
    },
}

#[derive(Debug)]
pub(super) struct Guard {
    pub left: Expression,
    pub relation: &'static str,
    pub right: Expression,
}

#[derive(Debug)]
pub(super) enum Expression {
    Number(i64),
    Variable(usize),
    Operation(char, Box<[Expression; 2]>),
}

impl Expression {
    /// The value, where `variable` gives the number of each variable. Errors on overflow and on a
    /// division by zero.
    pub fn value(&self, variable: &impl Fn(usize) -> Result<i64>) -> Result<i64> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Variable(index) => variable(*index),
            Self::Operation(operator, sides) => {
                let (a, b) = (sides[0].value(variable)?, sides[1].value(variable)?);
                match operator {
                    '+' => a.checked_add(b),
                    '-' => a.checked_sub(b),
                    '*' => a.checked_mul(b),
                    '/' => a.checked_div(b),
                    _ => a.checked_rem(b),
                }
                .ok_or_else(|| {
                    Error::input(
                        "an expression",
                        format!("{a} {operator} {b} has no value"),
                        "bound the variables so that it has one",
                    )
                })
            }
        }
    }
}

impl Guard {
    /// Whether the relation holds. Errors as its expressions do.
    pub fn holds(&self, variable: &impl Fn(usize) -> Result<i64>) -> Result<bool> {
        let (left, right) = (self.left.value(variable)?, self.right.value(variable)?);
        Ok(match self.relation {
            "<=" => left <= right,
            ">=" => left >= right,
            "!=" => left != right,
            "<" => left < right,
            ">" => left > right,
            _ => left == right,
        })
    }
}
