//! What a program's names can stand for, and what can be done with it, as in Python.

use super::syntax::Op;

/// Why a program has no output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It takes too many steps, or functions call each other too deep.
    Endless,
    /// A number or a text became too large.
    Large,
    /// An operation does not fit its operands.
    Kind,
    Name,
    Index,
    DivisionByZero,
    /// Two names would share a list that is changed.
    Shared,
}

pub type Ran<T> = Result<T, Fault>;

/// Largest number, in absolute value.
const LARGEST: i64 = 99_999;
/// Longest text and list.
const LONGEST: usize = 40;

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Int(i64),
    Bool(bool),
    Text(String),
    /// Of numbers and texts.
    List(Vec<Value>),
}

pub fn built_in(name: &str, arguments: Vec<Value>) -> Ran<Value> {
    match (name, &arguments[..]) {
        ("len", [Value::List(items)]) => Ok(Value::Int(items.len() as i64)),
        ("len", [Value::Text(text)]) => Ok(Value::Int(text.len() as i64)),
        ("str", [value @ Value::Int(_)]) => Ok(Value::Text(shown(value))),
        ("abs", [Value::Int(n)]) => Ok(Value::Int(n.abs())),
        ("sum", [Value::List(items)]) => {
            let zero = Ok(Value::Int(0));
            items
                .iter()
                .fold(zero, |sum, n| operate(sum?, Op::Add, n.clone()))
        }
        ("min" | "max", [Value::List(items)]) => extreme(name, items),
        ("min" | "max", [_, _, ..]) => extreme(name, &arguments),
        ("sorted", [Value::List(items)]) => {
            let mut numbers = items.iter().map(number).collect::<Ran<Vec<_>>>()?;
            numbers.sort_unstable();
            Ok(Value::List(numbers.into_iter().map(Value::Int).collect()))
        }
        _ => Err(Fault::Kind),
    }
}

pub fn range(start: i64, end: i64, step: i64) -> Ran<Vec<Value>> {
    if step == 0 {
        return Err(Fault::Kind);
    }
    let mut items = Vec::new();
    let mut at = start;
    while (step > 0 && at < end) || (step < 0 && at > end) {
        items.push(Value::Int(at));
        within(items.len())?;
        at += step;
    }
    Ok(items)
}

fn extreme(name: &str, items: &[Value]) -> Ran<Value> {
    let numbers = items.iter().map(number).collect::<Ran<Vec<_>>>()?;
    let found = match name {
        "min" => numbers.into_iter().min(),
        _ => numbers.into_iter().max(),
    };
    found.map(Value::Int).ok_or(Fault::Kind)
}

pub fn number(value: &Value) -> Ran<i64> {
    match value {
        Value::Int(n) => Ok(*n),
        _ => Err(Fault::Kind),
    }
}

pub fn operate(left: Value, op: Op, right: Value) -> Ran<Value> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => numbers(a, op, b),
        (Value::Text(a), Value::Text(b)) if op == Op::Add => {
            within(a.len() + b.len())?;
            Ok(Value::Text(a + &b))
        }
        (Value::Text(a), Value::Text(b)) => compare(&a, op, &b),
        (Value::Text(a), Value::Int(n)) if op == Op::Multiply => {
            let n = n.max(0) as usize;
            within(a.len().saturating_mul(n))?;
            Ok(Value::Text(a.repeat(n)))
        }
        (Value::List(a), Value::List(b)) if op == Op::Add => {
            within(a.len() + b.len())?;
            Ok(Value::List(a.into_iter().chain(b).collect()))
        }
        _ => Err(Fault::Kind),
    }
}

fn numbers(a: i64, op: Op, b: i64) -> Ran<Value> {
    if matches!(op, Op::FloorDivide | Op::Remainder) && b == 0 {
        return Err(Fault::DivisionByZero);
    }
    // Neither overflows: what goes in is at most LARGEST. Quotients are rounded down.
    let floor = |a: i64, b: i64| a / b - i64::from(a % b != 0 && (a < 0) != (b < 0));
    let result = match op {
        Op::Add => a + b,
        Op::Subtract => a - b,
        Op::Multiply => a * b,
        Op::FloorDivide => floor(a, b),
        Op::Remainder => a - b * floor(a, b),
        _ => return compare(&a, op, &b),
    };
    match result.abs() > LARGEST {
        true => Err(Fault::Large),
        false => Ok(Value::Int(result)),
    }
}

fn compare<T: Ord>(a: &T, op: Op, b: &T) -> Ran<Value> {
    Ok(Value::Bool(match op {
        Op::Less => a < b,
        Op::AtMost => a <= b,
        Op::Greater => a > b,
        Op::AtLeast => a >= b,
        Op::Equal => a == b,
        Op::Unequal => a != b,
        _ => return Err(Fault::Kind),
    }))
}

pub fn within(len: usize) -> Ran<()> {
    match len > LONGEST {
        true => Err(Fault::Large),
        false => Ok(()),
    }
}

/// What a list may hold.
pub fn plain(value: Value) -> Ran<Value> {
    match value {
        Value::Int(_) | Value::Text(_) => Ok(value),
        _ => Err(Fault::Kind),
    }
}

/// The place that an index means, from the end where it is negative.
pub fn place(index: &Value, len: usize) -> Ran<usize> {
    let index = number(index)?;
    let at = if index < 0 { index + len as i64 } else { index };
    match (0..len as i64).contains(&at) {
        true => Ok(at as usize),
        false => Err(Fault::Index),
    }
}

pub fn shown(value: &Value) -> String {
    match value {
        Value::Int(n) => n.to_string(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Text(text) => text.clone(),
        Value::List(items) => {
            let item = |item: &Value| match item {
                Value::Text(text) => format!("'{text}'"),
                other => shown(other),
            };
            let items: Vec<String> = items.iter().map(item).collect();
            format!("[{}]", items.join(", "))
        }
    }
}
