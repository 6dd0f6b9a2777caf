//! What laws of mixtures are fitted to: mixtures of domains, and the losses that runs on them had.

use super::table::Table;
use crate::{
    error::{Error, Result, nearest},
    rng::Rng,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Runs with their mixtures and losses, in the same order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Runs {
    pub domains: Vec<String>,
    /// Weights by run and domain, 0 or more, that add up to 1.
    pub mixtures: Vec<Vec<f64>>,
    pub targets: Vec<String>,
    /// By run and target, in any unit of which less is better.
    pub losses: Vec<Vec<f64>>,
}

/// Runs from two tables, and how many rows of either had no partner in the other.
#[derive(Debug, Clone)]
pub struct Joined {
    pub runs: Runs,
    pub unmatched: usize,
    /// The tables' own names of domains and targets.
    pub columns: (Vec<String>, Vec<String>),
}

/// The column that two tables are joined on.
const INDEX: &str = "index";

impl Runs {
    /// Checks shapes and numbers, and makes every mixture add up to 1.
    pub fn new(
        domains: Vec<String>,
        mut mixtures: Vec<Vec<f64>>,
        targets: Vec<String>,
        losses: Vec<Vec<f64>>,
    ) -> Result<Self> {
        for (idx, mixture) in mixtures.iter_mut().enumerate() {
            normalise(&format!("run {idx}"), mixture)?;
        }
        let runs = Self {
            domains,
            mixtures,
            targets,
            losses,
        };
        let shapes = runs.mixtures.len() == runs.losses.len()
            && runs.mixtures.iter().all(|m| m.len() == runs.domains.len())
            && runs.losses.iter().all(|l| l.len() == runs.targets.len());
        let finite = runs.losses.iter().flatten().all(|l| l.is_finite());
        match shapes && finite {
            true => Ok(runs),
            false => Err(Error::input(
                "runs",
                "mixtures and losses do not fit each other, or a loss is not a finite number",
                "give every run a weight for each domain and a finite loss for each target",
            )),
        }
    }

    pub fn len(&self) -> usize {
        self.mixtures.len()
    }

    pub fn is_empty(&self) -> bool {
        self.mixtures.is_empty()
    }

    /// The losses of one target.
    pub fn target(&self, idx: usize) -> Vec<f64> {
        self.losses.iter().map(|losses| losses[idx]).collect()
    }

    /// These runs, in this order; one may come several times.
    pub fn pick(&self, order: &[usize]) -> Self {
        Self {
            domains: self.domains.clone(),
            mixtures: order.iter().map(|i| self.mixtures[*i].clone()).collect(),
            targets: self.targets.clone(),
            losses: order.iter().map(|i| self.losses[*i].clone()).collect(),
        }
    }

    /// The first `n` runs.
    pub fn first(&self, n: usize) -> Self {
        self.pick(&(0..n.min(self.len())).collect::<Vec<_>>())
    }

    /// `n` runs that the seed chooses, in their own order.
    pub fn subset(&self, n: usize, seed: u64) -> Self {
        let mut order: Vec<usize> = (0..self.len()).collect();
        Rng::named(seed, "laws.subset").shuffle(&mut order);
        order.truncate(n);
        order.sort_unstable();
        self.pick(&order)
    }

    /// The mean of the runs' mixtures: the middle of what was explored.
    pub fn mean_mixture(&self) -> Vec<f64> {
        let mean = |j: usize| self.mixtures.iter().map(|m| m[j]).sum::<f64>() / self.len() as f64;
        (0..self.domains.len()).map(mean).collect()
    }

    /// The target that is meant by a name: its full or short name, whatever the case and signs.
    pub fn find_target(&self, name: &str) -> Result<usize> {
        find("--target", "target", &self.targets, name)
    }

    /// The same of a domain.
    pub fn find_domain(&self, place: &str, name: &str) -> Result<usize> {
        find(place, "domain", &self.domains, name)
    }
}

impl Joined {
    /// Joins a table of mixtures and one of losses on their column `index`; all other columns are
    /// domains and targets. What all names of a table share at their ends is left out of them.
    pub fn of(mixtures: &Table, losses: &Table) -> Result<Self> {
        let columns = (values(mixtures)?, values(losses)?);
        let names = (short(&columns.0), short(&columns.1));
        Self::join(mixtures, losses, columns, names)
    }

    /// The same of further runs, with the columns that `first` has.
    pub fn more(first: &Joined, mixtures: &Table, losses: &Table) -> Result<Self> {
        let names = (first.runs.domains.clone(), first.runs.targets.clone());
        let joined = Self::join(mixtures, losses, first.columns.clone(), names)?;
        let extra = values(mixtures)?;
        if let Some(extra) = extra.iter().find(|name| !first.columns.0.contains(name)) {
            return Err(Error::input(
                &mixtures.place,
                format!("the domain \"{extra}\" is not in the runs that the law is fitted to"),
                "give runs over the same domains",
            ));
        }
        Ok(joined)
    }

    fn join(
        mixtures: &Table,
        losses: &Table,
        columns: (Vec<String>, Vec<String>),
        names: (Vec<String>, Vec<String>),
    ) -> Result<Self> {
        let keys = index(losses)?;
        let own = index(mixtures)?;
        let find = |table: &Table, names: &[String]| {
            let found = names.iter().map(|name| table.column(name));
            found.collect::<Result<Vec<_>>>()
        };
        let (domains, targets) = (find(mixtures, &columns.0)?, find(losses, &columns.1)?);
        let mut runs = Runs {
            domains: names.0,
            mixtures: Vec::new(),
            targets: names.1,
            losses: Vec::new(),
        };
        // In the order of the mixtures' table.
        let mut rows: Vec<(usize, &str)> = own.iter().map(|(key, row)| (*row, *key)).collect();
        rows.sort_unstable();
        for (row, key) in rows {
            let Some(loss_row) = keys.get(key) else {
                continue;
            };
            let numbers = domains.iter().map(|column| mixtures.number(row, *column));
            let mut mixture = numbers.collect::<Result<Vec<_>>>()?;
            normalise(&mixtures.place_of(row), &mut mixture)?;
            let numbers = targets
                .iter()
                .map(|column| losses.number(*loss_row, *column));
            runs.losses.push(numbers.collect::<Result<Vec<_>>>()?);
            runs.mixtures.push(mixture);
        }
        if runs.is_empty() {
            return Err(Error::input(
                format!("{} and {}", mixtures.place, losses.place),
                format!("no {INDEX} of the one is in the other"),
                "give the mixtures and the losses of the same runs",
            ));
        }
        let unmatched = own.len() + keys.len() - 2 * runs.len();
        Ok(Self {
            runs,
            unmatched,
            columns,
        })
    }
}

/// Rows by what stands in their index column.
fn index(table: &Table) -> Result<BTreeMap<&str, usize>> {
    let column = table.column(INDEX)?;
    let mut rows = BTreeMap::new();
    for row in 0..table.n_rows() {
        let key = table.cell(row, column);
        if rows.insert(key, row).is_some() {
            return Err(Error::input(
                table.place_of(row),
                format!("{INDEX} {key} comes twice"),
                "give each run an index of its own",
            ));
        }
    }
    Ok(rows)
}

/// Every column but the index.
fn values(table: &Table) -> Result<Vec<String>> {
    table.column(INDEX)?;
    let all = table.columns.iter().filter(|name| *name != INDEX);
    let names: Vec<String> = all.cloned().collect();
    match names.is_empty() {
        false => Ok(names),
        true => Err(Error::input(
            &table.place,
            format!("{INDEX} is the only column"),
            "put a column for each domain, or for each target, beside it",
        )),
    }
}

/// Makes weights add up to 1.
pub fn normalise(place: &str, weights: &mut [f64]) -> Result<()> {
    let sum: f64 = weights.iter().sum();
    let bad = weights.iter().find(|w| !w.is_finite() || **w < 0.0);
    if bad.is_some() || !(sum > 0.0 && sum.is_finite()) {
        return Err(Error::input(
            place,
            match bad {
                Some(weight) => format!("a weight is {weight}"),
                None => format!("the weights add up to {sum}"),
            },
            "weights must be 0 or more, and one of them more than 0",
        ));
    }
    weights.iter_mut().for_each(|w| *w /= sum);
    Ok(())
}

/// Names without what all of them begin or end with, cut at a sign: `train_the_pile_arxiv` among
/// its like becomes `arxiv`.
fn short(names: &[String]) -> Vec<String> {
    let [first, .., last] = names else {
        return names.to_vec();
    };
    let sign = |c: char| !c.is_alphanumeric();
    let alike = |a: &str, b: &str| {
        let pairs = a.char_indices().zip(b.chars());
        pairs
            .take_while(|((_, x), y)| x == y)
            .last()
            .map_or(0, |((at, c), _)| at + c.len_utf8())
    };
    let mut shared = alike(first, last);
    names
        .iter()
        .for_each(|name| shared = shared.min(alike(first, name)));
    let head = first[..shared].rfind(sign).map_or(0, |at| at + 1);
    let turned: Vec<String> = names.iter().map(|n| n.chars().rev().collect()).collect();
    let mut shared = turned[0].len();
    turned
        .iter()
        .for_each(|name| shared = shared.min(alike(&turned[0], name)));
    let tail = turned[0][..shared].rfind(sign).map_or(0, |at| at + 1);
    let cut = |name: &String| {
        name.get(head..name.len().saturating_sub(tail))
            .map(String::from)
    };
    let cut: Vec<String> = names.iter().filter_map(cut).collect();
    let distinct = cut.iter().collect::<BTreeSet<_>>().len() == names.len();
    match distinct && cut.iter().all(|name| !name.is_empty()) {
        true => cut,
        false => names.to_vec(),
    }
}

/// Lower case, with every sign the same.
fn plain(name: &str) -> String {
    let alike = |c: char| if c.is_alphanumeric() { c } else { '_' };
    name.to_lowercase().chars().map(alike).collect()
}

fn find(place: &str, kind: &str, names: &[String], name: &str) -> Result<usize> {
    let wanted = plain(name);
    let same = |n: &String| plain(n) == wanted;
    let longer = |n: &String| wanted.contains(&plain(n)) && wanted.len() > plain(n).len();
    let exact = names.iter().position(same);
    // A full column name holds the short one; only one may fit.
    let holding: Vec<usize> = (0..names.len()).filter(|i| longer(&names[*i])).collect();
    let longest = holding.into_iter().max_by_key(|i| names[*i].len());
    exact.or(longest).ok_or_else(|| {
        let near = nearest(name, names.iter().map(String::as_str));
        let near = near.map_or(String::new(), |n| format!("did you mean \"{n}\"? "));
        Error::input(
            place,
            format!("there is no {kind} \"{name}\""),
            format!("{near}there are {}", names.join(", ")),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        Table::parse("t.csv", text).unwrap()
    }

    #[test]
    fn tables_are_joined_on_index_and_names_are_cut() {
        let mixtures = table("index,train_the_a_b,train_the_c\n2,1,3\n1,0.5,0.5\n7,1,0\n");
        let losses = table("index,m/the_a_b_val_loss,m/the_d_val_loss\n1,3,4\n2,5,6\n9,1,1\n");
        let joined = Joined::of(&mixtures, &losses).unwrap();
        let runs = &joined.runs;
        assert_eq!(runs.domains, ["a_b", "c"]);
        assert_eq!(runs.targets, ["a_b", "d"]);
        assert_eq!(runs.mixtures, [[0.25, 0.75], [0.5, 0.5]]);
        assert_eq!(runs.losses, [[5.0, 6.0], [3.0, 4.0]]);
        assert_eq!(joined.unmatched, 2);
        assert_eq!(runs.find_target("A-B").unwrap(), 0);
        assert_eq!(runs.find_target("m/the_d_val_loss").unwrap(), 1);
        assert!(
            runs.find_target("zzz")
                .unwrap_err()
                .remedy
                .contains("a_b, d")
        );
        let other = table("index,train_the_a_b,train_the_x\n2,1,3\n");
        assert!(Joined::more(&joined, &other, &losses).is_err());
    }

    #[test]
    fn bad_numbers_are_refused_with_their_line() {
        let losses = table("index,l\n1,3\n2,4\n");
        for (text, words) in [
            ("index,a,b\n1,-0.1,1.1\n", "t.csv:2: a weight is -0.1"),
            ("index,a,b\n1,0,0\n", "add up to 0"),
            ("index,a,b\n1,1,0\n1,0,1\n", "comes twice"),
            ("index,a,b\n1,x,0\n", "t.csv:2: a is \"x\""),
            ("index\n1\n", "only column"),
            ("id,a\n1,1\n", "no column \"index\""),
            ("index,a\n8,1\n", "no index of the one"),
        ] {
            let error = Joined::of(&table(text), &losses).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let nan = vec![vec![f64::NAN]];
        assert!(Runs::new(vec!["a".into()], vec![vec![1.0]], vec!["t".into()], nan).is_err());
    }

    #[test]
    fn subsets_are_the_seeds_and_keep_their_order() {
        let n = 20;
        let losses = (0..n).map(|i| vec![i as f64]).collect();
        let runs = Runs::new(
            vec!["a".into()],
            vec![vec![1.0]; n],
            vec!["t".into()],
            losses,
        );
        let runs = runs.unwrap();
        let some = runs.subset(7, 3).target(0);
        assert_eq!(some.len(), 7);
        assert!(some.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(some, runs.subset(7, 3).target(0));
        assert_ne!(some, runs.subset(7, 4).target(0));
        assert_eq!(runs.first(3).target(0), [0.0, 1.0, 2.0]);
    }
}
