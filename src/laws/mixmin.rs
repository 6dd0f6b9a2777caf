//! MixMin (Thudi et al. 2025, arXiv 2502.10510): one model for each corpus, and the weights with
//! which the mixture of their predictions has the least log loss on target text. A mixture of
//! corpora trained on is then close to the mixture of predictions, the better the larger the model;
//! no proxy is trained on a mixture at all.
//!
//! The paper descends by exponentiated gradients with a step size; this is the same convex problem
//! by expectation maximisation, which needs none, never goes up, and knows how far from the end it
//! is: the loss is at most ln max gₖ above the least one, gₖ being a model's mean share of
//! responsibility over its weight.

use super::{
    best::{CONFIDENCE, Interval},
    table::Table,
    threads,
};
use crate::{
    error::{Error, Result},
    rng::Rng,
};
use serde::Serialize;

/// Rounds at most, and how near to the least loss is near enough, in nats.
const ROUNDS: usize = 20_000;
const NEAR_NATS: f64 = 1e-7;
const REPLICATES: usize = 100;
/// What is enough for resampled rows.
const ROUNDS_OF_RESAMPLED: usize = 500;

/// What each corpus' model lost on each row of target text.
#[derive(Debug, Clone)]
pub struct Predictions {
    pub corpora: Vec<String>,
    /// Nats per token by row and corpus.
    pub losses: Vec<Vec<f64>>,
    /// Tokens by row: 1 where rows are single tokens.
    pub tokens: Vec<f64>,
}

/// Columns that are no corpus.
const LABELS: [&str; 4] = ["index", "window", "document", "row"];
const TOKENS: &str = "tokens";

impl Predictions {
    /// A table with a row for each token, window or document of the target text: a column for each
    /// corpus with its model's loss in nats per token, optionally `tokens` (how many the row has; 1
    /// unless given) and a label (`index`, `window`, `document` or `row`).
    pub fn of(table: &Table) -> Result<Self> {
        let plain = |name: &String| name.to_lowercase();
        let is_corpus = |name: &String| {
            let plain = plain(name);
            plain != TOKENS && !LABELS.contains(&plain.as_str())
        };
        let columns: Vec<usize> = (0..table.columns.len())
            .filter(|i| is_corpus(&table.columns[*i]))
            .collect();
        if columns.len() < 2 {
            return Err(Error::input(
                &table.place,
                "fewer than two corpora",
                "give a column for each corpus, with the losses of the model trained on it",
            ));
        }
        let tokens = table.any_column(&[TOKENS]);
        let mut predictions = Self {
            corpora: columns.iter().map(|i| table.columns[*i].clone()).collect(),
            losses: Vec::new(),
            tokens: Vec::new(),
        };
        for row in 0..table.n_rows() {
            let numbers = columns.iter().map(|column| table.number(row, *column));
            predictions
                .losses
                .push(numbers.collect::<Result<Vec<_>>>()?);
            let n = tokens.map_or(Ok(1.0), |column| table.number(row, column))?;
            if n <= 0.0 {
                return Err(Error::input(
                    table.place_of(row),
                    format!("{TOKENS} is {n}"),
                    "give the row's number of tokens, 1 or more",
                ));
            }
            predictions.tokens.push(n);
        }
        Ok(predictions)
    }

    /// Probabilities by row, divided by the row's greatest, and the logarithms of those: e.g. of a
    /// document of a thousand tokens no probability is a float.
    fn rows(&self) -> Vec<Row> {
        let each = self.losses.iter().zip(&self.tokens);
        each.map(|(losses, n)| {
            let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
            Row {
                probabilities: losses.iter().map(|l| (-n * (l - least)).exp()).collect(),
                least_nats: n * least,
                weight: 1.0 / n,
            }
        })
        .collect()
    }
}

/// A row of target text.
struct Row {
    probabilities: Vec<f64>,
    least_nats: f64,
    /// One over its tokens: rows count alike, in nats per token.
    weight: f64,
}

/// The weights of least loss.
#[derive(Debug, Clone, Serialize)]
pub struct MixMin {
    pub weights: Vec<Corpus>,
    /// Nats per token of the mixture of predictions.
    pub loss: Interval,
    /// The same with equal weights, and of the best model alone.
    pub uniform_loss: f64,
    pub best_single: (String, f64),
    /// At most so far above the least loss, in nats.
    pub gap_nats: f64,
    pub rows: usize,
    pub confidence: f64,
    pub replicates: usize,
}

/// One corpus, with the loss of its model alone.
#[derive(Debug, Clone, Serialize)]
pub struct Corpus {
    pub corpus: String,
    #[serde(flatten)]
    pub weight: Interval,
    pub loss_alone: f64,
}

/// The weights, with intervals over resampled rows.
pub fn mixmin(predictions: &Predictions, seed: u64) -> MixMin {
    let rows = predictions.rows();
    let all: Vec<&Row> = rows.iter().collect();
    let n = predictions.corpora.len();
    let found = solve(&all, n, ROUNDS);
    let resampled = threads::map(REPLICATES, |replicate| {
        let mut rng = Rng::named(seed, &format!("laws.mixmin.{replicate}"));
        let some: Vec<&Row> = all
            .iter()
            .map(|_| all[rng.below(all.len() as u64) as usize])
            .collect();
        let weights = solve(&some, n, ROUNDS_OF_RESAMPLED).0;
        let loss = loss(&some, &weights);
        (weights, loss)
    });
    let alone = |k: usize| {
        let sum: f64 = predictions.losses.iter().map(|row| row[k]).sum();
        sum / predictions.losses.len() as f64
    };
    let weights = predictions
        .corpora
        .iter()
        .enumerate()
        .map(|(k, corpus)| Corpus {
            corpus: corpus.clone(),
            weight: Interval::of(
                found.0[k],
                &resampled.iter().map(|r| r.0[k]).collect::<Vec<_>>(),
            ),
            loss_alone: alone(k),
        });
    let weights: Vec<Corpus> = weights.collect();
    let best = weights
        .iter()
        .min_by(|a, b| a.loss_alone.total_cmp(&b.loss_alone));
    let losses: Vec<f64> = resampled.iter().map(|r| r.1).collect();
    MixMin {
        loss: Interval::of(loss(&all, &found.0), &losses),
        uniform_loss: loss(&all, &vec![1.0 / n as f64; n]),
        best_single: best.map_or((String::new(), 0.0), |b| (b.corpus.clone(), b.loss_alone)),
        gap_nats: found.1,
        rows: all.len(),
        confidence: CONFIDENCE,
        replicates: REPLICATES,
        weights,
    }
}

/// The weights, and how far above the least loss they can be at most.
fn solve(rows: &[&Row], n: usize, rounds: usize) -> (Vec<f64>, f64) {
    let total: f64 = rows.iter().map(|row| row.weight).sum();
    let mean_weight = total / rows.len().max(1) as f64;
    let mut weights = vec![1.0 / n as f64; n];
    let mut gap = f64::INFINITY;
    for _ in 0..rounds {
        let mut shares = vec![0.0; n];
        for row in rows {
            let mixed: f64 = row
                .probabilities
                .iter()
                .zip(&weights)
                .map(|(p, w)| p * w)
                .sum();
            let each = shares.iter_mut().zip(&row.probabilities);
            each.for_each(|(share, p)| *share += row.weight * p / mixed);
        }
        shares.iter_mut().for_each(|share| *share /= total);
        let most = shares.iter().copied().fold(0.0, f64::max);
        // By convexity: Σ wᵢ ln(mixᵢ*/mixᵢ) ≤ Σ wᵢ · ln(Σ wᵢ mixᵢ*/mixᵢ / Σ wᵢ) ≤ Σ wᵢ · ln max share.
        gap = most.ln().max(0.0) * mean_weight;
        if gap < NEAR_NATS {
            break;
        }
        weights
            .iter_mut()
            .zip(&shares)
            .for_each(|(w, share)| *w *= share);
    }
    (weights, gap)
}

/// Nats per token of the mixture of predictions.
fn loss(rows: &[&Row], weights: &[f64]) -> f64 {
    let each = rows.iter().map(|row| {
        let mixed: f64 = row
            .probabilities
            .iter()
            .zip(weights)
            .map(|(p, w)| p * w)
            .sum();
        row.weight * (row.least_nats - mixed.ln())
    });
    each.sum::<f64>() / rows.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens drawn from a mixture of three distributions over ten symbols.
    fn planted(truth: &[f64; 3], n: usize) -> Predictions {
        let mut rng = Rng::named(1, "mixmin");
        let models: Vec<Vec<f64>> = (0..3)
            .map(|_| {
                let raw: Vec<f64> = (0..10).map(|_| rng.uniform().powi(3) + 1e-3).collect();
                let sum: f64 = raw.iter().sum();
                raw.iter().map(|p| p / sum).collect()
            })
            .collect();
        let losses = (0..n).map(|_| {
            let token = {
                let model = rng.pick(truth);
                rng.pick(&models[model])
            };
            models.iter().map(|m| -m[token].ln()).collect()
        });
        Predictions {
            corpora: ["a", "b", "c"].map(String::from).to_vec(),
            losses: losses.collect(),
            tokens: vec![1.0; n],
        }
    }

    #[test]
    fn the_mixture_that_tokens_were_drawn_from_comes_back() {
        let truth = [0.6, 0.0, 0.4];
        let found = mixmin(&planted(&truth, 4_000), 1);
        assert!(found.gap_nats < 1e-6, "{}", found.gap_nats);
        for (corpus, truth) in found.weights.iter().zip(truth) {
            assert!((corpus.weight.value - truth).abs() < 0.06, "{corpus:?}");
            assert!(corpus.weight.low - 0.05 <= truth && truth <= corpus.weight.high + 0.05);
        }
        assert!(found.loss.value < found.uniform_loss);
        assert!(found.loss.value < found.best_single.1);
    }

    #[test]
    fn no_other_weights_have_a_lower_loss() {
        let predictions = planted(&[0.2, 0.3, 0.5], 500);
        let rows = predictions.rows();
        let rows: Vec<&Row> = rows.iter().collect();
        let (weights, gap) = solve(&rows, 3, ROUNDS);
        let least = loss(&rows, &weights);
        for i in 0..=20 {
            for j in 0..=20 - i {
                let other = [i, j, 20 - i - j].map(|x| f64::from(x) / 20.0);
                assert!(loss(&rows, &other) >= least - gap - 1e-12);
            }
        }
    }

    #[test]
    fn whole_documents_do_not_overflow() {
        let predictions = Predictions {
            corpora: vec!["a".into(), "b".into()],
            losses: vec![vec![3.0, 5.0], vec![4.0, 3.5]],
            tokens: vec![2_000.0, 5_000.0],
        };
        let found = mixmin(&predictions, 1);
        // A document goes to the model that knows it; weights cost ln 2 nats for each whole one.
        assert!((found.weights[0].weight.value - 5.0 / 7.0).abs() < 1e-3);
        assert!((found.loss.value - 3.25).abs() < 1e-3 && found.loss.value > 3.25);
    }

    #[test]
    fn the_layout_is_read_and_checked() {
        let table = |text| Table::parse("p.csv", text).unwrap();
        let read = Predictions::of(&table("window,Tokens,x,y\n0,10,1.5,2\n1,20,3,1\n")).unwrap();
        assert_eq!(read.corpora, ["x", "y"]);
        assert_eq!(
            (read.losses, read.tokens),
            (vec![vec![1.5, 2.0], vec![3.0, 1.0]], vec![10.0, 20.0])
        );
        for text in ["tokens,x\n1,2\n", "tokens,x,y\n0,1,1\n", "x,y\n1,nan\n"] {
            assert!(Predictions::of(&table(text)).is_err());
        }
    }
}
