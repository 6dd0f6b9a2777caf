//! Simulated studies: outcomes made up, then judged as any study's.

use crate::{
    metrics::{Cost, Ending, EvalRecord, Metric, Outcome},
    rng::Rng,
    stats::draw::chi_squared,
    study::{
        proposal::Matched,
        verdict::{ArmOutcomes, Call, Looks, Rule, judge},
    },
};

/// How paired differences spread about their mean, with a standard deviation of 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    Gaussian,
    /// Student's t with three degrees of freedom: no fourth moment.
    HeavyTails,
    /// Exponential, so that large differences are all of one sign.
    Skewed,
    /// Gaussian, every other seed with three times the spread.
    Unequal,
}

impl Noise {
    pub const ALL: [Self; 4] = [
        Self::Gaussian,
        Self::HeavyTails,
        Self::Skewed,
        Self::Unequal,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Gaussian => "Gaussian",
            Self::HeavyTails => "heavy tails (t, 3 df)",
            Self::Skewed => "skewed (exponential)",
            Self::Unequal => "spread ×3 every other seed",
        }
    }

    fn draw(self, rng: &mut Rng, seed_idx: usize) -> f64 {
        match self {
            Self::Gaussian => rng.normal(),
            Self::HeavyTails => {
                let squares: f64 = (0..3).map(|_| rng.normal().powi(2)).sum();
                // The variance of this t is 3, and so is the number under the root.
                rng.normal() / squares.sqrt()
            }
            Self::Skewed => -(1.0 - rng.uniform()).ln() - 1.0,
            // 0.2 and 1.8 on average over a pair of seeds.
            Self::Unequal if seed_idx.is_multiple_of(2) => 0.2_f64.sqrt() * rng.normal(),
            Self::Unequal => 1.8_f64.sqrt() * rng.normal(),
        }
    }
}

/// A study to simulate, in units of the differences' standard deviation.
#[derive(Debug, Clone, Copy)]
pub struct Design {
    pub seeds: usize,
    pub looks: Looks,
    pub alpha: f64,
    pub margin: f64,
    pub arms: usize,
    /// Of every arm.
    pub effect: f64,
    pub noise: Noise,
    /// Each study has a standard deviation of its own, from what an estimate of 1 with so many
    /// degrees of freedom leaves open.
    pub spread_df: Option<f64>,
}

/// What a simulated study came to.
#[derive(Debug, Clone, Copy)]
pub struct Came {
    /// Of the first arm.
    pub call: Call,
    /// Whether any arm is said to differ.
    pub alarm: bool,
    /// Whether the first arm's interval holds the truth; a study without an interval says nothing
    /// false.
    pub covers: bool,
    pub seeds: usize,
    pub log_e: Option<f64>,
}

impl Design {
    /// All seeds, one look.
    pub fn fixed(seeds: usize) -> Self {
        Self {
            seeds,
            looks: Looks::Once,
            alpha: 0.05,
            margin: 0.0,
            arms: 1,
            effect: 0.0,
            noise: Noise::Gaussian,
            spread_df: None,
        }
    }

    /// A look after every seed.
    pub fn anytime(most: usize) -> Self {
        Self {
            looks: Looks::EachSeed { first: 2, most },
            ..Self::fixed(most)
        }
    }

    /// Simulates study number `idx` of those called `name`, and judges it.
    pub fn study(&self, seed: u64, name: &str, idx: usize) -> Came {
        let mut rng = Rng::named(seed, &format!("calibrate.{name}.{idx}"));
        let (control, arms) = self.outcomes(&mut rng);
        let rule = Rule {
            metric: Metric::Bpb,
            margin: self.margin,
            alpha: self.alpha,
            matched: Matched::Tokens,
            looks: self.looks,
        };
        let verdict = judge(&rule, &control, &arms);
        let differs = |call| matches!(call, Call::Better | Call::Candidate | Call::Worse);
        let first = &verdict.arms[0];
        Came {
            call: first.call,
            alarm: verdict.arms.iter().any(|arm| differs(arm.call)),
            covers: first
                .effect
                .is_none_or(|e| e.low <= self.effect && self.effect <= e.high),
            seeds: verdict.seeds,
            log_e: first.log_e,
        }
    }

    /// Several arms share their control, so that their differences correlate by a half.
    fn outcomes(&self, rng: &mut Rng) -> (ArmOutcomes, Vec<ArmOutcomes>) {
        let mut control = named("control");
        let mut arms: Vec<ArmOutcomes> = (0..self.arms).map(|_| named("arm")).collect();
        let sd = self
            .spread_df
            .map_or(1.0, |df| (df / chi_squared(rng, df)).sqrt());
        for seed_idx in 0..self.seeds {
            let level = 2.0 + rng.normal();
            control.outcomes.push(outcome(seed_idx, level));
            let shared = match self.arms {
                1 => None,
                _ => Some(self.noise.draw(rng, seed_idx)),
            };
            for arm in &mut arms {
                let own = self.noise.draw(rng, seed_idx);
                let noise = shared.map_or(own, |s| (own - s) / std::f64::consts::SQRT_2);
                let value = level + self.effect + sd * noise;
                arm.outcomes.push(outcome(seed_idx, value));
            }
        }
        (control, arms)
    }
}

fn named(name: &str) -> ArmOutcomes {
    ArmOutcomes {
        name: name.into(),
        outcomes: Vec::new(),
    }
}

/// A finished trial of which only seed and value count.
fn outcome(seed_idx: usize, value: f64) -> Outcome {
    Outcome {
        schema: String::new(),
        trial: String::new(),
        design: String::new(),
        seed: seed_idx as u64,
        ending: Ending::Finished {
            eval: EvalRecord {
                step: 1,
                tokens: 1,
                loss: value,
                bpb: value,
                val: Default::default(),
                ema: None,
            },
        },
        cost: Cost::default(),
        branched: None,
        realised: Vec::new(),
        windows: String::new(),
    }
}

/// `f` of 0 to `n`, in order, on all cores.
pub fn each<T: Send>(n: usize, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let share = n.div_ceil(workers).max(1);
    std::thread::scope(|scope| {
        let f = &f;
        let threads: Vec<_> = (0..n)
            .step_by(share)
            .map(|from| {
                scope.spawn(move || (from..(from + share).min(n)).map(f).collect::<Vec<T>>())
            })
            .collect();
        let done = threads.into_iter().flat_map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        done.collect()
    })
}
