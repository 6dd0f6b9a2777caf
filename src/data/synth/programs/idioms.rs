//! What programs are put together from: a few statements each, as people write them again and again.

use super::{
    draft::{Draft, LISTS, NUMBERS, TEXTS},
    syntax::{Block, Expr, Op, Statement, binary, call, var},
};

const TOTALS: [&str; 6] = ["total", "count", "result", "score", "left", "found"];
const FUNCTIONS: [&str; 6] = ["f", "g", "change", "move", "pay", "next_one"];
const LOOPS: [&str; 6] = ["i", "j", "item", "p", "q", "t"];

type Idiom = fn(&mut Draft);

const IDIOMS: [(f64, Idiom); 15] = [
    (3.0, Draft::arithmetic),
    (2.0, Draft::decision),
    (2.0, Draft::range_sum),
    (2.0, Draft::while_down),
    (2.0, Draft::list_loop),
    (2.0, Draft::list_filter),
    (1.0, Draft::list_facts),
    (1.0, Draft::list_change),
    (1.0, Draft::largest),
    (1.0, Draft::text_facts),
    (1.5, Draft::text_loop),
    (1.0, Draft::text_grows),
    (2.5, Draft::function),
    (1.0, Draft::recursion),
    (1.0, Draft::nested),
];

impl Draft {
    /// One to three idioms, one after the other.
    pub fn program(&mut self) -> Block {
        self.clear();
        let weights = IDIOMS.map(|(weight, _)| weight);
        for _ in 0..1 + self.pick(&[5.0, 4.0, 2.0]) {
            let (_, idiom) = IDIOMS[self.pick(&weights)];
            idiom(self);
        }
        std::mem::take(&mut self.statements)
    }

    /// Numbers made of each other, shown at the end.
    fn arithmetic(&mut self) {
        for _ in 0..1 + self.below(3) {
            let value = self.expression(1);
            let name = self.new_name(&NUMBERS);
            self.assign(&name, value);
            self.numbers.push(name);
        }
        if self.below(2) == 0 {
            let (name, value) = (self.number(), self.operand());
            let op = self.one_of(&[Op::Add, Op::Subtract, Op::Multiply]);
            self.push(Statement::Update(name, op, value));
        }
        let last = self.numbers[self.numbers.len() - 1].clone();
        let op = self.one_of(&[Op::Add, Op::Subtract, Op::Multiply]);
        let shown = binary(var(&last), op, self.expression(1));
        self.print(shown);
    }

    /// `if` with its `else`, now and then with an `elif`.
    fn decision(&mut self) {
        let name = self.number();
        let first = self.condition(&name);
        let mut branches = vec![(first, self.consequence(&name))];
        if self.below(3) == 0 {
            let second = self.condition(&name);
            branches.push((second, self.consequence(&name)));
        }
        let otherwise = match self.below(4) {
            0 => Vec::new(),
            _ => self.consequence(&name),
        };
        self.push(Statement::If(branches, otherwise));
        self.print(var(&name));
    }

    /// A sum over a range, of all or of some.
    fn range_sum(&mut self) {
        let total = self.new_name(&TOTALS);
        let i = self.new_name(&LOOPS);
        let start = self.below(5);
        let end = start + 2 + self.below(6);
        let bounds = match self.below(3) {
            0 => vec![Expr::Int(end)],
            1 => vec![Expr::Int(start), Expr::Int(end)],
            _ => vec![
                Expr::Int(start),
                Expr::Int(end * 2),
                Expr::Int(2 + self.below(3)),
            ],
        };
        let first = self.below(4);
        self.assign(&total, Expr::Int(first));
        let term = self.term(&i);
        let add = Statement::Update(total.clone(), Op::Add, term);
        let body = match self.below(3) {
            0 => vec![Statement::If(
                vec![(self.condition(&i), vec![add])],
                Vec::new(),
            )],
            _ => vec![add],
        };
        self.push(Statement::For(i, call("range", bounds), body));
        self.print(var(&total));
        self.numbers.push(total);
    }

    /// A number that gets smaller until a loop ends.
    fn while_down(&mut self) {
        let n = self.new_name(&NUMBERS);
        let count = self.new_name(&TOTALS);
        let (first, least) = (8 + self.below(50), self.below(6));
        let by_half = self.below(2) == 0;
        let down = match by_half {
            true => binary(var(&n), Op::FloorDivide, Expr::Int(2)),
            false => binary(
                var(&n),
                Op::Subtract,
                Expr::Int(3 + first / 6 + self.below(5)),
            ),
        };
        self.assign(&n, Expr::Int(first));
        self.assign(&count, Expr::Int(0));
        let term = match self.below(2) {
            0 => Expr::Int(1),
            _ => var(&n),
        };
        let mut body = vec![
            Statement::Assign(n.clone(), down),
            Statement::Update(count.clone(), Op::Add, term),
        ];
        if self.below(4) == 0 {
            body.push(Statement::Print(vec![var(&n)]));
        }
        let goes_on = binary(var(&n), Op::Greater, Expr::Int(least));
        self.push(Statement::While(goes_on, body));
        let shown = [n.clone(), count.clone()];
        self.push(Statement::Print(
            shown.iter().map(|name| var(name)).collect(),
        ));
        self.numbers.extend(shown);
    }

    /// A list's numbers, some of them counted or added up.
    fn list_loop(&mut self) {
        let list = self.list();
        let total = self.new_name(&TOTALS);
        let item = self.new_name(&LOOPS);
        self.assign(&total, Expr::Int(0));
        let term = match self.below(3) {
            0 => Expr::Int(1),
            1 => var(&item),
            _ => self.term(&item),
        };
        let add = vec![Statement::Update(total.clone(), Op::Add, term)];
        let otherwise = match self.below(3) {
            0 => vec![Statement::Update(total.clone(), Op::Subtract, Expr::Int(1))],
            _ => Vec::new(),
        };
        let branch = Statement::If(vec![(self.condition(&item), add)], otherwise);
        self.push(Statement::For(item, var(&list), vec![branch]));
        self.print(var(&total));
        self.numbers.push(total);
    }

    /// A list made of another, or of a range.
    fn list_filter(&mut self) {
        let over = match self.below(2) {
            0 => var(&self.list()),
            _ => call(
                "range",
                [Expr::Int(self.below(3)), Expr::Int(4 + self.below(6))],
            ),
        };
        let made = self.new_name(&LISTS);
        let item = self.new_name(&LOOPS);
        self.assign(&made, Expr::List(Vec::new()));
        let value = self.term(&item);
        let append = vec![Statement::Append(made.clone(), value)];
        let body = match self.below(2) {
            0 => vec![Statement::If(
                vec![(self.condition(&item), append)],
                Vec::new(),
            )],
            _ => append,
        };
        self.push(Statement::For(item, over, body));
        self.print(var(&made));
    }

    /// What a list is as a whole.
    fn list_facts(&mut self) {
        let list = self.list();
        let of = |name: &str| call(name, [var(&list)]);
        let index = |i| Expr::Index(var(&list).into(), Expr::Int(i).into());
        let facts = match self.below(4) {
            0 => vec![of("min"), of("max")],
            1 => vec![binary(of("sum"), Op::FloorDivide, of("len"))],
            2 => vec![of("sorted")],
            _ => vec![index(0), index(-1), of("len")],
        };
        self.push(Statement::Print(facts));
    }

    /// Items set anew and added.
    fn list_change(&mut self) {
        let list = self.list();
        for _ in 0..1 + self.below(2) {
            let value = self.expression(1);
            let change = match self.below(3) {
                0 => Statement::Append(list.clone(), value),
                1 => Statement::SetItem(list.clone(), Expr::Int(self.below(3)), value),
                _ => {
                    let item = Expr::Index(var(&list).into(), Expr::Int(self.below(3)).into());
                    let value = binary(item, Op::Add, self.operand());
                    Statement::SetItem(list.clone(), Expr::Int(self.below(3)), value)
                }
            };
            self.push(change);
        }
        self.print(var(&list));
    }

    /// The largest or smallest item, by hand.
    fn largest(&mut self) {
        let list = self.list();
        let (best, item) = (self.new_name(&TOTALS), self.new_name(&LOOPS));
        let op = self.one_of(&[Op::Greater, Op::Less]);
        self.assign(&best, Expr::Index(var(&list).into(), Expr::Int(0).into()));
        let better = binary(var(&item), op, var(&best));
        let take = vec![Statement::Assign(best.clone(), var(&item))];
        let body = vec![Statement::If(vec![(better, take)], Vec::new())];
        self.push(Statement::For(item, var(&list), body));
        self.print(var(&best));
        self.numbers.push(best);
    }

    /// Lengths, letters and repetitions of a text.
    fn text_facts(&mut self) {
        let word = self.text();
        let letter = |i| Expr::Index(var(&word).into(), Expr::Int(i).into());
        let shown = match self.below(5) {
            0 => call("len", [var(&word)]),
            1 => binary(letter(self.below(4)), Op::Add, letter(-1)),
            2 => binary(var(&word), Op::Multiply, Expr::Int(2 + self.below(2))),
            3 => {
                let op = self.one_of(&[Op::Equal, Op::Unequal, Op::Less]);
                binary(letter(0), op, letter(-1 - self.below(3)))
            }
            _ => {
                let number = call("str", [self.operand()]);
                binary(var(&word), Op::Add, number)
            }
        };
        self.print(shown);
    }

    /// A text's letters, counted or turned round.
    fn text_loop(&mut self) {
        let word = self.text();
        let letter = self.one_of(&["c", "letter"]);
        let (counts, made) = (self.below(2) == 0, self.new_name(&TOTALS));
        self.assign(&made, if counts { Expr::Int(0) } else { Expr::Text("") });
        let wanted = Expr::Text(self.one_of(&["a", "e", "i", "n", "r", "t"]));
        let op = self.one_of(&[Op::Equal, Op::Unequal, Op::Less]);
        let holds = binary(var(letter), op, wanted);
        let step = match (counts, self.below(2)) {
            (true, _) => Statement::Update(made.clone(), Op::Add, Expr::Int(1)),
            (false, 0) => Statement::Update(made.clone(), Op::Add, var(letter)),
            (false, _) => Statement::Assign(made.clone(), binary(var(letter), Op::Add, var(&made))),
        };
        let body = match counts || self.below(3) > 0 {
            true => vec![Statement::If(vec![(holds, vec![step])], Vec::new())],
            false => vec![step],
        };
        self.push(Statement::For(letter.into(), var(&word), body));
        self.print(var(&made));
        if counts {
            self.numbers.push(made);
        }
    }

    /// A pattern that gets longer.
    fn text_grows(&mut self) {
        let line = self.new_name(&TEXTS);
        let i = self.new_name(&LOOPS);
        let mark = Expr::Text(self.one_of(&["*", "#", "ab", "-", "xo"]));
        self.assign(&line, Expr::Text(""));
        let more = match self.below(3) {
            0 => call("str", [var(&i)]),
            1 => binary(mark, Op::Multiply, var(&i)),
            _ => mark,
        };
        let mut body = vec![Statement::Update(line.clone(), Op::Add, more)];
        let each = self.below(2) == 0;
        if each {
            body.push(Statement::Print(vec![var(&line)]));
        }
        let end = Expr::Int(3 + self.below(3));
        self.push(Statement::For(i, call("range", [Expr::Int(1), end]), body));
        if !each {
            self.print(var(&line));
        }
        self.texts.push(line);
    }

    /// A function of one or two numbers, called once or twice.
    fn function(&mut self) {
        let name = self.new_name(&FUNCTIONS);
        let parameters: Vec<String> = match self.below(2) {
            0 => vec!["n".into()],
            _ => vec!["a".into(), "b".into()],
        };
        // Only its own names are seen inside.
        let outside = std::mem::replace(&mut self.numbers, parameters.clone());
        let mut body = Vec::new();
        if self.below(2) == 0 {
            let condition = self.condition(&parameters[0]);
            let early = Statement::Return(self.expression(1));
            body.push(Statement::If(vec![(condition, vec![early])], Vec::new()));
        }
        body.push(Statement::Return(self.expression(2)));
        self.numbers = outside;
        let n = parameters.len();
        self.push(Statement::Def(name.clone(), parameters, body));
        self.functions.push((name.clone(), n));
        for _ in 0..1 + self.below(2) {
            let arguments: Vec<Expr> = (0..n).map(|_| self.operand()).collect();
            self.print(call(&name, arguments));
        }
    }

    /// A function that calls itself.
    fn recursion(&mut self) {
        let name = self.new_name(&FUNCTIONS);
        let again = |less| call(&name, [binary(var("n"), Op::Subtract, Expr::Int(less))]);
        let (last, less) = (self.below(3), 1 + self.below(3));
        let value = match self.below(3) {
            0 => binary(var("n"), Op::Multiply, again(1)),
            1 => binary(again(less), Op::Add, var("n")),
            _ => binary(again(less), Op::Add, again(less + 1)),
        };
        let ends = binary(var("n"), Op::AtMost, Expr::Int(last));
        let end = vec![Statement::Return(Expr::Int(1 + self.below(4)))];
        let body = vec![
            Statement::If(vec![(ends, end)], Vec::new()),
            Statement::Return(value),
        ];
        self.push(Statement::Def(name.clone(), vec!["n".into()], body));
        let argument = Expr::Int(last + 2 + self.below(4));
        self.print(call(&name, [argument]));
        self.functions.push((name, 1));
    }

    /// A loop in a loop.
    fn nested(&mut self) {
        let total = self.new_name(&TOTALS);
        let (i, j) = (self.new_name(&LOOPS), self.new_name(&LOOPS));
        self.assign(&total, Expr::Int(0));
        let term = match self.below(3) {
            0 => Expr::Int(1),
            1 => binary(var(&i), Op::Multiply, var(&j)),
            _ => binary(var(&i), Op::Add, var(&j)),
        };
        let add = vec![Statement::Update(total.clone(), Op::Add, term)];
        let inner = match self.below(2) {
            0 => call("range", [var(&i)]),
            _ => call("range", [Expr::Int(2 + self.below(3))]),
        };
        let body = match self.below(3) {
            0 => {
                let op = self.one_of(&[Op::Less, Op::Unequal, Op::Greater]);
                vec![Statement::If(
                    vec![(binary(var(&i), op, var(&j)), add)],
                    Vec::new(),
                )]
            }
            _ => add,
        };
        let outer = call("range", [Expr::Int(1), Expr::Int(3 + self.below(4))]);
        let inner = Statement::For(j, inner, body);
        self.push(Statement::For(i, outer, vec![inner]));
        self.print(var(&total));
        self.numbers.push(total);
    }
}
