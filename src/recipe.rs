//! Recipes: TOML as written ([`Recipe`]), and resolved and checked ([`Run`]).

mod rates;

use crate::{
    checkpoint::CheckpointConfig,
    data::{BatchConfig, DataConfig, Share, TokenizerChoice, Weighting, mixture::normalised},
    error::{Error, Result},
    eval::EvalConfig,
    model::{GptConfig, Positions},
    optim::OptimizerConfig,
    run::{LogConfig, Run},
    schedule::ScheduleConfig,
    toml_file::{Change, Place, Places, Source, overrides, set_path, typed},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt::Display, path::Path};

/// A recipe as somebody wrote it. Every table has nanoGPT's defaults but `[data]` and `[budget]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Of everything random; a study's pairs use it and the next ones.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Of the first weights alone, where it is not the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_seed: Option<u64>,
    /// Of the order of the data alone, and of its noise, where it is not the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u64>,
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Optimizer steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Tokens of training, in whole steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// FLOPs of training, in whole steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flops: Option<f64>,
    /// Seconds on this machine, which become steps when the run is planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// The largest count: what JSON and TOML both hold exactly.
const MOST: u64 = (1 << 53) - 1;

/// What resolving needs to know besides the recipe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    pub vocab_size: usize,
    /// Measured here; needed by a budget in seconds only.
    pub seconds_per_step: Option<f64>,
}

impl Recipe {
    /// Keys and tables of a recipe.
    pub const KEYS: [&str; 12] = [
        "seed",
        "init_seed",
        "data_seed",
        "data",
        "model",
        "batch",
        "budget",
        "optimizer",
        "schedule",
        "eval",
        "checkpoint",
        "log",
    ];

    /// Reads a recipe and applies `dotted.key=value` changes; gives also what set its keys. Errors
    /// name file and line, or the change, with the nearest known key.
    pub fn load(path: &Path, changes: &[String]) -> Result<(Self, Places)> {
        let (recipe, place) = Self::read(path)?;
        let mut places = Places::new(place);
        let changes = seen_from(overrides(changes)?, Path::new(""));
        let recipe = recipe.patched(&changes, &mut places)?;
        recipe.check(&places)?;
        Ok((recipe, places))
    }

    /// A recipe as its file says, unchecked, and the place that errors name. A tokenizer's path is
    /// seen from the file's folder.
    pub fn read(path: &Path) -> Result<(Self, Place)> {
        let source = Source::read(path)?;
        let mut recipe: Self = source.parse()?;
        let folder = path.parent().unwrap_or(Path::new(""));
        recipe.data.tokenizer = recipe.data.tokenizer.seen_from(folder);
        Ok((recipe, source.place()))
    }

    /// The recipe with changes that were made together; their places are added to `places`. Errors
    /// when a key is unknown, a value has the wrong type, or two of the changes set two budgets.
    pub fn patched(&self, changes: &[Change], places: &mut Places) -> Result<Self> {
        let mut recipe = self.clone();
        let mut budget: Option<&str> = None;
        for (key, value, place) in changes {
            let mut table = toml::Table::try_from(&recipe).expect("a recipe is plain data");
            if let Some(kind) = key.strip_prefix("budget.") {
                // One budget replaces another, but not one that stands beside it.
                if ["steps", "tokens", "flops", "seconds"].contains(&kind) && budget.is_none() {
                    table.insert("budget".into(), toml::Table::new().into());
                }
                if let Some(other) = budget.filter(|other| *other != kind) {
                    return Err(Error::input(
                        place.find(key).unwrap_or_default(),
                        format!("budget.{kind} is set beside budget.{other}"),
                        "give exactly one of steps, tokens, flops and seconds",
                    ));
                }
                budget = Some(kind);
            }
            // So does one weighting another.
            let data = table.get_mut("data").and_then(toml::Value::as_table_mut);
            if let Some(data) = data.filter(|_| key.starts_with("data.weighting.")) {
                data.remove("weighting");
            }
            set_path(&mut table, key, value.clone(), place)?;
            recipe = typed(table, place)?;
            places.push(place.clone());
        }
        Ok(recipe)
    }

    /// Errors at the first setting that can't be meant, with the place that set it.
    pub fn check(&self, places: &Places) -> Result<()> {
        self.check_sizes(places)?;
        self.check_rates(places)?;
        self.check_optimizer(places)?;
        self.check_schedule(places)?;
        self.check_parametrization(places)?;
        self.check_mixture(places)?;
        let noise = self.data.token_noise;
        if !(0.0..=1.0).contains(&noise) {
            return Err(Error::input(
                places.find("data.token_noise"),
                format!("data.token_noise is {noise}: out of range"),
                "use a probability, 0 to 1",
            ));
        }
        if !self.eval.corpora.is_empty() {
            positive("eval.corpora", &self.eval.corpora).map_err(|e| places.locate(e))?;
        }
        self.check_budget(places)
    }

    /// Weights, caps and phases, as far as the file alone says.
    fn check_mixture(&self, places: &Places) -> Result<()> {
        normalised("data.mixture", &self.data.mixture).map_err(|e| places.locate(e))?;
        let (key, value) = match self.data.weighting {
            Weighting::Temperature(tau) => ("temperature", tau),
            Weighting::UnimaxEpochs(epochs) => ("unimax_epochs", epochs),
            _ => ("", 1.0),
        };
        if !(value > 0.0 && value.is_finite()) {
            let key = format!("data.weighting.{key}");
            return Err(Error::input(
                places.find_any(&[&key, "data.weighting"]),
                format!("{key} is {value}: out of range"),
                "use a number above 0",
            ));
        }
        match self.planned_steps().filter(|steps| *steps > 0) {
            Some(steps) => self.data.resolved(steps).map(|_| ()),
            // Of a budget that needs a measurement, when it is there.
            None => Ok(()),
        }
        .map_err(|e| places.locate(e))
    }

    fn check_sizes(&self, places: &Places) -> Result<()> {
        let wrong = |keys: &[&str], value: &dyn Display, problem: &str, remedy: String| {
            Err(Error::input(
                places.find_any(keys),
                format!("{} is {value}: {problem}", keys[0]),
                remedy,
            ))
        };
        let m = &self.model;
        const SIZE: u64 = 1 << 24;
        for (key, value, least, most) in [
            ("seed", self.seed, 0, MOST),
            ("init_seed", self.init_seed.unwrap_or(0), 0, MOST),
            ("data_seed", self.data_seed.unwrap_or(0), 0, MOST),
            ("model.n_layer", m.n_layer as u64, 1, SIZE),
            ("model.n_head", m.n_head as u64, 1, SIZE),
            ("model.n_embd", m.n_embd as u64, 1, SIZE),
            ("model.block_size", m.block_size as u64, 1, SIZE),
            ("model.n_inner", m.n_inner as u64, 0, SIZE),
            ("model.n_kv_head", m.n_kv_head as u64, 0, SIZE),
            ("model.window", m.window as u64, 0, SIZE),
            (
                "model.base_width",
                m.base_width.unwrap_or(1) as u64,
                1,
                SIZE,
            ),
            (
                "model.base_head_dim",
                m.base_head_dim.unwrap_or(1) as u64,
                1,
                SIZE,
            ),
            ("batch.rows", self.batch.rows as u64, 1, SIZE),
            ("eval.every", self.eval.every, 0, MOST),
            ("eval.windows", self.eval.windows as u64, 0, MOST),
            ("checkpoint.every", self.checkpoint.every, 0, MOST),
            ("checkpoint.keep", self.checkpoint.keep as u64, 1, SIZE),
            ("log.every", self.log.every, 1, MOST),
            (
                "schedule.warmup_steps",
                self.schedule.warmup_steps.unwrap_or(0),
                0,
                MOST,
            ),
        ] {
            if !(least..=most).contains(&value) {
                let remedy = format!("use {least} to {most}");
                return wrong(&[key], &value, "out of range", remedy);
            }
        }
        self.check_heads(places)?;
        // A model of 2^36 parameters would need a terabyte; sums below stay far from overflow.
        let width = 4.0 * m.n_embd as f64 + 3.0 * m.inner() as f64;
        let size = m.n_layer as f64 * m.n_embd as f64 * width;
        let step = self.batch.rows as f64 * m.block_size as f64;
        if size > 2f64.powi(36) {
            let problem = format!("{size:.1e} parameters do not fit any machine");
            let keys = ["model.n_embd", "model.n_inner", "model.n_layer"];
            return wrong(&keys, &m.n_embd, &problem, "make the model smaller".into());
        }
        if step > 2f64.powi(31) {
            let problem = format!("{step:.1e} tokens in one step");
            let keys = ["batch.rows", "model.block_size"];
            return wrong(&keys, &self.batch.rows, &problem, "use fewer rows".into());
        }
        let (rows, part) = (self.batch.rows, self.batch.rows_per_pass);
        if part > 0 && !rows.is_multiple_of(part) {
            let problem = format!("does not divide batch.rows = {rows}");
            let remedy = format!("use a divisor of {rows}, or 0 for all at once");
            return wrong(
                &["batch.rows_per_pass", "batch.rows"],
                &part,
                &problem,
                remedy,
            );
        }
        Ok(())
    }

    fn check_heads(&self, places: &Places) -> Result<()> {
        let m = &self.model;
        let wrong = |keys: &[&str], value: usize, problem: String, fitting: Vec<usize>| {
            let fitting: Vec<String> = fitting.iter().map(usize::to_string).collect();
            Err(Error::input(
                places.find_any(keys),
                format!("{} is {value}: {problem}", keys[0]),
                format!("use one of {}", fitting.join(", ")),
            ))
        };
        let divisors =
            |n: usize| -> Vec<usize> { (1..=n.min(64)).filter(|d| n.is_multiple_of(*d)).collect() };
        if !m.n_embd.is_multiple_of(m.n_head) {
            let problem = format!("heads do not divide the width, model.n_embd = {}", m.n_embd);
            let keys = ["model.n_head", "model.n_embd"];
            return wrong(&keys, m.n_head, problem, divisors(m.n_embd));
        }
        if !m.n_head.is_multiple_of(m.kv_heads()) {
            let problem = format!("does not divide the heads, model.n_head = {}", m.n_head);
            let keys = ["model.n_kv_head", "model.n_head"];
            return wrong(&keys, m.n_kv_head, problem, divisors(m.n_head));
        }
        if m.positions == Positions::Rotary && !m.head_dim().is_multiple_of(2) {
            let problem = format!("rotary heads of {} channels have no pairs", m.head_dim());
            let keys = ["model.n_head", "model.n_embd", "model.positions"];
            let even = divisors(m.n_embd).into_iter();
            let even = even.filter(|heads| (m.n_embd / heads).is_multiple_of(2));
            return wrong(&keys, m.n_head, problem, even.collect());
        }
        Ok(())
    }

    fn check_budget(&self, places: &Places) -> Result<()> {
        let b = &self.budget;
        let given = [
            b.steps.map(|x| ("steps", x as f64)),
            b.tokens.map(|x| ("tokens", x as f64)),
            b.flops.map(|x| ("flops", x)),
            b.seconds.map(|x| ("seconds", x)),
        ];
        let given: Vec<(&str, f64)> = given.into_iter().flatten().collect();
        let [(kind, value)] = given[..] else {
            let names: Vec<&str> = given.iter().map(|(kind, _)| *kind).collect();
            let problem = match &names[..] {
                [] => "[budget] sets none of steps, tokens, flops and seconds".into(),
                names => format!("[budget] sets {}", names.join(" and ")),
            };
            let remedy = "give exactly one of steps, tokens, flops and seconds";
            return Err(Error::input(places.find("budget"), problem, remedy));
        };
        if !(value > 0.0 && value.is_finite()) {
            return Err(Error::input(
                places.find(&format!("budget.{kind}")),
                format!("budget.{kind} is {value}"),
                "use a number above 0",
            ));
        }
        self.whole_steps(match kind {
            "steps" => b.steps,
            "tokens" => b.tokens.map(|tokens| tokens / self.tokens_per_step()),
            _ => None,
        })
        .map(|_| ())
        .map_err(|e| Error {
            place: places.find_any(&[&e.place, "batch.rows", "model.block_size"]),
            problem: format!("{}: {}", e.place, e.problem),
            ..e
        })
    }

    /// At least one step, and no more tokens than can be counted, of a number of steps that is
    /// known already. Errors name the budget's key.
    fn whole_steps(&self, steps: Option<u64>) -> Result<Option<u64>> {
        let per_step = self.tokens_per_step();
        let b = &self.budget;
        let (key, value) = match (b.steps, b.tokens, b.flops, b.seconds) {
            (Some(n), ..) => ("budget.steps", n.to_string()),
            (_, Some(n), ..) => ("budget.tokens", n.to_string()),
            (_, _, Some(x), _) => ("budget.flops", format!("{x:?}")),
            (.., x) => ("budget.seconds", format!("{:?}", x.unwrap_or(0.0))),
        };
        match steps {
            Some(0) => Err(Error::input(
                key,
                format!("{value} is less than one step of {per_step} tokens"),
                "raise the budget, or lower batch.rows or model.block_size",
            )),
            Some(n) if n > MOST / per_step => Err(Error::input(
                key,
                format!("{value} is more than {MOST} tokens"),
                "lower the budget",
            )),
            steps => Ok(steps),
        }
    }

    fn tokens_per_step(&self) -> u64 {
        (self.batch.rows * self.model.block_size) as u64
    }

    /// Steps of the whole run, when the budget says so without a measurement.
    fn planned_steps(&self) -> Option<u64> {
        let tokens = self.budget.tokens;
        let of_tokens = || tokens.map(|tokens| tokens / self.tokens_per_step());
        self.budget.steps.or_else(of_tokens)
    }

    /// Tokens of the whole run, when the budget says so without a measurement.
    pub fn planned_tokens(&self) -> Option<u64> {
        self.planned_steps()
            .map(|steps| steps * self.tokens_per_step())
    }

    /// What is evaluated: as written, or every corpus that is trained on at some step, equally.
    pub fn eval_corpora(&self) -> Vec<Share> {
        if !self.eval.corpora.is_empty() {
            return self.eval.corpora.clone();
        }
        let trained = self.data.trained().into_iter();
        let names: BTreeSet<&str> = trained.map(|share| share.corpus.as_str()).collect();
        names.into_iter().map(|name| Share::of(name, 1.0)).collect()
    }

    /// Every corpus whose text the tokenizer covers, in order of name, each once.
    pub fn vocabulary(&self) -> Vec<String> {
        let mut names: Vec<String> = self.data.vocabulary.clone();
        names.extend(self.data.entries().map(|share| share.corpus.clone()));
        names.extend(self.eval.corpora.iter().map(|share| share.corpus.clone()));
        names.sort();
        names.dedup();
        names
    }

    /// The run that this recipe means. Errors, with a key as the place, when the budget is less
    /// than a step or has no measured speed.
    pub fn resolve(&self, facts: Facts) -> Result<Run> {
        let per_step = self.tokens_per_step();
        let b = &self.budget;
        let steps = match (b.steps, b.tokens, b.flops, b.seconds) {
            (Some(steps), ..) => steps,
            (_, Some(tokens), ..) => tokens / per_step,
            (_, _, Some(flops), _) => {
                (flops / (self.model.flops_per_token(facts.vocab_size) * per_step as f64)) as u64
            }
            (.., seconds) => {
                let per_step = facts.seconds_per_step.ok_or_else(|| {
                    Error::input(
                        "budget.seconds",
                        "no speed was measured for it",
                        "use budget.steps",
                    )
                })?;
                (seconds.unwrap_or(0.0) / per_step) as u64
            }
        };
        self.whole_steps(Some(steps))?;
        let sorted = |place: &str, shares: &[Share]| -> Result<Vec<Share>> {
            let mut shares = normalised(place, shares)?;
            shares.sort_by(|a, b| a.name().cmp(b.name()));
            Ok(shares)
        };
        let mut run = Run {
            seed: self.seed,
            init_seed: self.init_seed,
            data_seed: self.data_seed,
            steps,
            vocab_size: facts.vocab_size,
            data: self.data.clone(),
            model: self.model.clone(),
            batch: self.batch.clone(),
            optimizer: self.optimizer.resolved(),
            schedule: self.schedule.resolved(),
            eval: self.eval.clone(),
            checkpoint: self.checkpoint.clone(),
            log: self.log.clone(),
        };
        run.data = self.data.resolved(steps)?;
        run.data.vocabulary = self.vocabulary();
        run.eval.corpora = sorted("eval.corpora", &self.eval_corpora())?;
        Ok(run)
    }
}

/// Changes that are written in `folder`, with the paths in them as seen from here.
pub fn seen_from(mut changes: Vec<Change>, folder: &Path) -> Vec<Change> {
    for (key, value, _) in &mut changes {
        if let (true, toml::Value::String(name)) = (key == "data.tokenizer", value) {
            let choice = TokenizerChoice::from(std::mem::take(name)).seen_from(folder);
            *name = choice.into();
        }
    }
    changes
}

/// Weights that must all be above 0.
pub fn positive(place: &str, shares: &[Share]) -> Result<()> {
    normalised(place, shares)?;
    let is_whole = |s: &Share| s.domain.is_none() && s.subset.is_none() && !s.is_capped();
    if let Some(share) = shares.iter().find(|share| !is_whole(share)) {
        return Err(Error::input(
            place,
            format!("\"{}\" has a domain, a subset or a cap", share.corpus),
            "leave it out: what is evaluated is a corpus's whole validation part",
        ));
    }
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
