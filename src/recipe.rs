//! Recipes: TOML as written ([`Recipe`]), and resolved and checked ([`Run`]).

use crate::{
    checkpoint::CheckpointConfig,
    data::{BatchConfig, DataConfig, Share, mixture::normalised},
    error::{Error, Result},
    eval::EvalConfig,
    model::GptConfig,
    optim::OptimizerConfig,
    run::{LogConfig, Run},
    schedule::ScheduleConfig,
    toml_file::{Place, Source, parse_value, set_path, typed},
};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A recipe as somebody wrote it. Every table has nanoGPT's defaults but `[data]` and `[budget]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    #[serde(default = "default_seed")]
    pub seed: u64,
    pub data: DataConfig,
    #[serde(default)]
    pub model: GptConfig,
    #[serde(default)]
    pub batch: BatchConfig,
    pub budget: Budget,
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    #[serde(default)]
    pub schedule: ScheduleConfig,
    #[serde(default)]
    pub eval: EvalConfig,
    #[serde(default)]
    pub checkpoint: CheckpointConfig,
    #[serde(default)]
    pub log: LogConfig,
}

fn default_seed() -> u64 {
    1337
}

/// The `[budget]` table: exactly one of these.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flops: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// What resolving needs to know besides the recipe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    pub vocab_size: usize,
    /// Measured here; needed by a budget in seconds only.
    pub seconds_per_step: Option<f64>,
}

impl Recipe {
    /// Reads a recipe and applies `dotted.key=value` changes. Errors name file and line, or the
    /// change, with the nearest known key.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self> {
        let (mut recipe, place) = Self::read(path)?;
        let mut places = vec![place];
        for text in overrides {
            let (key, value) = text.split_once('=').ok_or_else(|| {
                Error::input(
                    format!("override \"{text}\""),
                    "has no \"=\"",
                    "write dotted.key=value, such as optimizer.lr=3e-3",
                )
            })?;
            let place = Place::text(format!("override \"{text}\""), key);
            recipe = recipe.patched(key, parse_value(value), &place)?;
            places.push(place);
        }
        recipe.check(&places)?;
        Ok(recipe)
    }

    /// A recipe as its file says, unchecked, and the place that errors name.
    pub fn read(path: &Path) -> Result<(Self, Place)> {
        let source = Source::read(path)?;
        Ok((source.parse()?, source.place()))
    }

    /// The recipe with one key changed; `place` is what an error names.
    pub fn patched(&self, key: &str, value: toml::Value, place: &Place) -> Result<Self> {
        let mut table = toml::Table::try_from(self).expect("a recipe is plain data");
        if let Some(kind) = key.strip_prefix("budget.")
            && ["steps", "tokens", "flops", "seconds"].contains(&kind)
        {
            // One budget replaces another.
            table.insert("budget".into(), toml::Table::new().into());
        }
        set_path(&mut table, key, value, place)?;
        typed(table, key, place)
    }

    /// Errors at the first setting that can't be meant, with the place that set it.
    pub fn check(&self, places: &[Place]) -> Result<()> {
        // The last place that sets a key is the one that counts.
        let place = |key: &str| {
            let found = places.iter().rev().find_map(|place| place.find(key));
            found.unwrap_or_else(|| format!("{key} (default)"))
        };
        let wrong = |key: &str, value: &dyn std::fmt::Display, problem: &str, remedy: String| {
            Err(Error::input(
                place(key),
                format!("{key} is {value}: {problem}"),
                remedy,
            ))
        };
        let m = &self.model;
        for (key, value) in [
            ("model.n_layer", m.n_layer),
            ("model.n_head", m.n_head),
            ("model.n_embd", m.n_embd),
            ("model.block_size", m.block_size),
            ("batch.rows", self.batch.rows),
            ("checkpoint.keep", self.checkpoint.keep),
            ("log.every", self.log.every as usize),
        ] {
            if value == 0 || value > 1 << 24 {
                return wrong(key, &value, "out of range", format!("use 1 to {}", 1 << 24));
            }
        }
        if !m.n_embd.is_multiple_of(m.n_head) {
            let fitting: Vec<String> = (1..=m.n_embd.min(64))
                .filter(|h| m.n_embd.is_multiple_of(*h))
                .map(|h| h.to_string())
                .collect();
            let problem = format!("heads do not divide the width, model.n_embd = {}", m.n_embd);
            return wrong(
                "model.n_head",
                &m.n_head,
                &problem,
                format!("use one of {}", fitting.join(", ")),
            );
        }
        // A model of 2^36 parameters would need a terabyte; sums below stay far from overflow.
        let size = (m.n_layer as f64 * 12.0) * (m.n_embd as f64).powi(2);
        let step = self.batch.rows as f64 * m.block_size as f64;
        if size > 2f64.powi(36) {
            return wrong(
                "model.n_embd",
                &m.n_embd,
                &format!("{size:.1e} parameters do not fit any machine"),
                "make the model smaller".into(),
            );
        }
        if step > 2f64.powi(31) {
            return wrong(
                "batch.rows",
                &self.batch.rows,
                &format!("{step:.1e} tokens in one step"),
                "use fewer rows".into(),
            );
        }
        let per_pass = self.batch.rows_per_pass;
        if per_pass > 0 && !self.batch.rows.is_multiple_of(per_pass) {
            let problem = format!("does not divide batch.rows = {}", self.batch.rows);
            let remedy = format!("use a divisor of {}, or 0 for all at once", self.batch.rows);
            return wrong(
                "batch.rows_per_pass",
                &self.batch.rows_per_pass,
                &problem,
                remedy,
            );
        }
        let o = &self.optimizer;
        let s = &self.schedule;
        let fraction = 0.0..1.0;
        let closed = |x: f64| (0.0..=1.0).contains(&x);
        let not_negative = |x: f64| x >= 0.0 && x.is_finite();
        for (key, value, ok, remedy) in [
            (
                "model.dropout",
                m.dropout,
                fraction.contains(&m.dropout),
                "use 0 or more and below 1",
            ),
            (
                "optimizer.lr",
                o.lr,
                o.lr > 0.0 && o.lr.is_finite(),
                "use a number above 0",
            ),
            (
                "optimizer.betas",
                o.betas[0],
                fraction.contains(&o.betas[0]),
                "use 0 or more and below 1 for both",
            ),
            (
                "optimizer.betas",
                o.betas[1],
                fraction.contains(&o.betas[1]),
                "use 0 or more and below 1 for both",
            ),
            ("optimizer.eps", o.eps, not_negative(o.eps), "use 0 or more"),
            (
                "optimizer.weight_decay",
                o.weight_decay,
                not_negative(o.weight_decay),
                "use 0 or more",
            ),
            (
                "optimizer.max_grad_norm",
                o.max_grad_norm,
                not_negative(o.max_grad_norm),
                "use 0 (off) or more",
            ),
            (
                "schedule.warmup",
                s.warmup,
                closed(s.warmup),
                "use a fraction of all steps, 0 to 1",
            ),
            (
                "schedule.final",
                s.final_fraction,
                closed(s.final_fraction),
                "use a fraction of the peak, 0 to 1",
            ),
        ] {
            if !ok {
                return wrong(key, &value, "out of range", remedy.into());
            }
        }
        normalised(&place("data.mixture"), &self.data.mixture)?;
        if !self.eval.corpora.is_empty() {
            positive(&place("eval.corpora"), &self.eval.corpora)?;
        }
        self.check_budget(&place("budget"))
    }

    fn check_budget(&self, place: &str) -> Result<()> {
        let b = &self.budget;
        let given = [
            b.steps.map(|x| ("steps", x as f64)),
            b.tokens.map(|x| ("tokens", x as f64)),
            b.flops.map(|x| ("flops", x)),
            b.seconds.map(|x| ("seconds", x)),
        ];
        let given: Vec<(&str, f64)> = given.into_iter().flatten().collect();
        match given[..] {
            [(kind, value)] if !(value > 0.0 && value.is_finite()) => Err(Error::input(
                place,
                format!("budget.{kind} is {value}"),
                "use a number above 0",
            )),
            [("tokens", tokens)] if tokens < self.tokens_per_step() as f64 => Err(Error::input(
                place,
                format!(
                    "budget.tokens is {tokens}, less than one step of {} tokens",
                    self.tokens_per_step()
                ),
                "raise the budget, or lower batch.rows or model.block_size",
            )),
            [_] => Ok(()),
            _ => Err(Error::input(
                place,
                format!(
                    "[budget] has {} of steps, tokens, flops and seconds",
                    given.len()
                ),
                "give exactly one",
            )),
        }
    }

    fn tokens_per_step(&self) -> u64 {
        (self.batch.rows * self.model.block_size) as u64
    }

    /// Tokens of the whole run, when the budget says so without a measurement.
    pub fn planned_tokens(&self) -> Option<u64> {
        let per_step = self.tokens_per_step();
        match (self.budget.steps, self.budget.tokens) {
            (Some(steps), _) => Some(steps * per_step),
            (None, Some(tokens)) => Some(tokens / per_step * per_step),
            (None, None) => None,
        }
    }

    /// What is evaluated: as written, or every corpus of the mixture that has a weight, equally.
    pub fn eval_corpora(&self) -> Vec<Share> {
        if !self.eval.corpora.is_empty() {
            return self.eval.corpora.clone();
        }
        let trained = self.data.mixture.iter().filter(|share| share.weight > 0.0);
        trained
            .map(|share| Share {
                corpus: share.corpus.clone(),
                weight: 1.0,
            })
            .collect()
    }

    /// Every corpus whose text the tokenizer covers, in order of name, each once.
    pub fn vocabulary(&self) -> Vec<String> {
        let mut names: Vec<String> = self.data.vocabulary.clone();
        names.extend(self.data.mixture.iter().map(|share| share.corpus.clone()));
        names.extend(self.eval.corpora.iter().map(|share| share.corpus.clone()));
        names.sort();
        names.dedup();
        names
    }

    /// The run that this recipe means. Errors when a budget in seconds has no measured speed.
    pub fn resolve(&self, facts: Facts) -> Result<Run> {
        let per_step = self.tokens_per_step();
        let b = &self.budget;
        let steps = match (b.steps, b.tokens, b.flops, b.seconds) {
            (Some(steps), ..) => steps,
            (_, Some(tokens), ..) => tokens / per_step,
            (_, _, Some(flops), _) => {
                (flops / (self.model.flops_per_token(facts.vocab_size) * per_step as f64)) as u64
            }
            (.., Some(seconds)) => {
                let per_step = facts.seconds_per_step.ok_or_else(|| {
                    Error::input(
                        "budget.seconds",
                        "no speed was measured for it",
                        "use budget.steps",
                    )
                })?;
                (seconds / per_step) as u64
            }
            _ => 0,
        };
        let sorted = |place: &str, shares: &[Share]| -> Result<Vec<Share>> {
            let mut shares = normalised(place, shares)?;
            shares.sort_by(|a, b| a.corpus.cmp(&b.corpus));
            Ok(shares)
        };
        let mut run = Run {
            seed: self.seed,
            steps: steps.max(1),
            vocab_size: facts.vocab_size,
            data: self.data.clone(),
            model: self.model.clone(),
            batch: self.batch.clone(),
            optimizer: self.optimizer.clone(),
            schedule: self.schedule.clone(),
            eval: self.eval.clone(),
            checkpoint: self.checkpoint.clone(),
            log: self.log.clone(),
        };
        run.data.vocabulary = self.vocabulary();
        run.data.mixture = sorted("data.mixture", &self.data.mixture)?;
        run.eval.corpora = sorted("eval.corpora", &self.eval_corpora())?;
        Ok(run)
    }
}

/// Weights that must all be above 0.
pub fn positive(place: &str, shares: &[Share]) -> Result<()> {
    normalised(place, shares)?;
    match shares.iter().find(|share| share.weight <= 0.0) {
        None => Ok(()),
        Some(share) => Err(Error::input(
            place,
            format!("weight of \"{}\" is {}", share.corpus, share.weight),
            "weights of what is evaluated must be above 0; leave the others out",
        )),
    }
}

/// The text of a commented recipe to start from.
pub fn template(name: &str) -> String {
    include_str!("../configs/recipes/template.txt").replace("NAME", name)
}
