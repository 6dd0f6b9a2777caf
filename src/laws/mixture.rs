//! All that `fit mixture` says, in one value: each target's law with its cross-validation and held-out
//! scores, the best mixture under a goal, what to run next, and every number of its picture.

use super::{
    best::{Best, Goal, Search, best_mix, ensemble},
    law::{Fitted, Law, fit},
    next::{Next, Space, next_mixtures},
    runs::Runs,
    simplex::Bounds,
    validate::{CrossValidated, Scores, choose, compare, cross_validated},
};
use crate::error::{Error, Result};
use serde::Serialize;

/// Resamplings of the runs: of trees, which take long, fewer.
const REPLICATES: usize = 200;
const REPLICATES_OF_TREES: usize = 20;
/// Steps along an edge of the map of three domains.
const MAP_STEPS: usize = 40;

/// What is asked for.
pub struct Request {
    /// In the table.
    pub targets: Vec<usize>,
    /// What the best mixture is best for.
    pub goal: Goal,
    /// `None`: each target's by cross-validation.
    pub law: Option<Law>,
    pub bounds: Bounds,
    /// Tokens by domain: the natural mixture, and the middle of the search.
    pub sizes: Option<Vec<f64>>,
    pub replicates: Option<usize>,
    /// Proposals of what to run next.
    pub n_next: usize,
    pub seed: u64,
}

/// Runs that no law is fitted to or chosen by.
pub struct Held {
    pub name: String,
    pub runs: Runs,
}

#[derive(Debug, Serialize)]
pub struct MixtureFit {
    pub runs: usize,
    pub domains: Vec<String>,
    pub seed: u64,
    pub fits: Vec<TargetFit>,
    pub goal: Vec<GoalTarget>,
    /// The middle of the search: the natural mixture, or the mean of the runs'.
    pub prior: Vec<f64>,
    pub bounds: Bounds,
    pub best: Best,
    pub next: Vec<Next>,
    /// The goal on runs that no law has seen.
    pub goal_tests: Vec<GoalTest>,
    pub scatter: Scatter,
    /// Of three domains: the goal all over the simplex.
    pub map: Option<Vec<Cell>>,
    pub measured_mixtures: Option<Vec<Vec<f64>>>,
}

#[derive(Debug, Serialize)]
pub struct GoalTarget {
    pub target: String,
    pub weight: f64,
}

/// One target's laws.
#[derive(Debug, Serialize)]
pub struct TargetFit {
    pub target: String,
    pub law: Law,
    pub formula: &'static str,
    /// Whether cross-validation chose it, or the caller.
    pub chosen_by: &'static str,
    pub cross_validated: Vec<CrossValidated>,
    pub tests: Vec<Test>,
    /// Of the law's numbers, what can be written down.
    pub parameters: serde_json::Value,
}

/// A law on runs that it has not seen.
#[derive(Debug, Serialize)]
pub struct Test {
    pub runs: String,
    pub law: Law,
    #[serde(flatten)]
    pub scores: Scores,
}

/// How well the goal is foretold.
#[derive(Debug, Serialize)]
pub struct GoalTest {
    pub runs: String,
    #[serde(flatten)]
    pub scores: Scores,
}

/// The goal by run: out of fold, and measured.
#[derive(Debug, Serialize)]
pub struct Scatter {
    pub predicted: Vec<f64>,
    pub measured: Vec<f64>,
    #[serde(flatten)]
    pub scores: Scores,
}

#[derive(Debug, Serialize)]
pub struct Cell {
    pub mixture: Vec<f64>,
    pub predicted: f64,
}

/// Fits, chooses, searches. `note` hears of what takes long.
pub fn fit_mixture(
    runs: &Runs,
    held: &[Held],
    request: &Request,
    note: &dyn Fn(&str),
) -> Result<MixtureFit> {
    request.bounds.check(&runs.domains)?;
    let natural = request.sizes.clone().map(|mut sizes| {
        super::runs::normalise("sizes", &mut sizes)?;
        Ok::<_, Error>(sizes)
    });
    let natural = natural.transpose()?;
    let mut fits = Vec::new();
    for target in &request.targets {
        note(&format!("fitting {}", runs.targets[*target]));
        fits.push(target_fit(runs, held, *target, request)?);
    }
    let of_goal: Vec<&TargetFit> = request
        .goal
        .targets
        .iter()
        .filter_map(|t| fits.iter().find(|f| f.target == runs.targets[*t]))
        .collect();
    let laws: Vec<Law> = of_goal.iter().map(|f| f.law).collect();
    let replicates = request
        .replicates
        .unwrap_or(match laws.contains(&Law::Trees) {
            true => REPLICATES_OF_TREES,
            false => REPLICATES,
        });
    note(&format!("fitting to {replicates} resamplings of the runs"));
    let ensemble = ensemble(runs, &request.goal, &laws, replicates, request.seed)?;
    let prior = natural.clone().unwrap_or_else(|| runs.mean_mixture());
    let goal_tests = held.iter().map(|held| {
        let predicted = held.runs.mixtures.iter().map(|m| ensemble.predict(m));
        GoalTest {
            runs: held.name.clone(),
            scores: Scores::of(
                &predicted.collect::<Vec<_>>(),
                &request.goal.measured(&held.runs),
            ),
        }
    });
    let goal_tests = goal_tests.collect();
    let search = Search {
        bounds: &request.bounds,
        prior: &prior,
        natural: natural.as_deref(),
        seed: request.seed,
    };
    note("searching the best mixture");
    let best = best_mix(runs, &ensemble, &search);
    let space = Space {
        bounds: &request.bounds,
        prior: &prior,
        present: &best.weights(),
        seed: request.seed,
    };
    let next = match request.n_next {
        0 => Vec::new(),
        n => next_mixtures(runs, &ensemble, &space, n),
    };
    let three = runs.domains.len() == 3;
    let map = three.then(|| {
        let cell = |mixture: Vec<f64>| Cell {
            predicted: ensemble.predict(&mixture),
            mixture,
        };
        cells(MAP_STEPS).into_iter().map(cell).collect()
    });
    Ok(MixtureFit {
        runs: runs.len(),
        domains: runs.domains.clone(),
        seed: request.seed,
        goal: goal(runs, &request.goal),
        goal_tests,
        scatter: scatter(runs, &request.goal, &of_goal),
        fits,
        prior,
        bounds: request.bounds.clone(),
        best,
        next,
        map,
        measured_mixtures: three.then(|| runs.mixtures.clone()),
    })
}

fn target_fit(runs: &Runs, held: &[Held], target: usize, request: &Request) -> Result<TargetFit> {
    let losses = runs.target(target);
    let (mixtures, seed) = (&runs.mixtures, request.seed);
    // Too few runs are refused before folds of still fewer are made.
    fit(runs, target, Law::Linear, seed)?;
    let cross_validated = match request.law {
        Some(law) => vec![cross_validated(mixtures, &losses, law, seed)?],
        None => compare(mixtures, &losses, seed)?,
    };
    let law = request.law.or_else(|| choose(&cross_validated));
    let law = law.unwrap_or(Law::LogLinear);
    let mut tests = Vec::new();
    let mut parameters = serde_json::Value::Null;
    for each in &cross_validated {
        let fitted = Fitted::of(mixtures, &losses, each.law, seed)?;
        for held in held {
            let predicted = fitted.predict_all(&held.runs.mixtures);
            tests.push(Test {
                runs: held.name.clone(),
                law: each.law,
                scores: Scores::of(&predicted, &held.runs.target(target)),
            });
        }
        if each.law == law {
            parameters = fitted.parameters();
        }
    }
    Ok(TargetFit {
        target: runs.targets[target].clone(),
        law,
        formula: law.formula(),
        chosen_by: match request.law {
            Some(_) => "the caller",
            None => "cross-validated rank correlation",
        },
        cross_validated,
        tests,
        parameters,
    })
}

fn goal(runs: &Runs, goal: &Goal) -> Vec<GoalTarget> {
    let each = goal.targets.iter().zip(&goal.weights);
    each.map(|(target, weight)| GoalTarget {
        target: runs.targets[*target].clone(),
        weight: *weight,
    })
    .collect()
}

fn scatter(runs: &Runs, goal: &Goal, fits: &[&TargetFit]) -> Scatter {
    let mut predicted = vec![0.0; runs.len()];
    for (fit, weight) in fits.iter().zip(&goal.weights) {
        let chosen = fit.cross_validated.iter().find(|c| c.law == fit.law);
        for (sum, value) in predicted
            .iter_mut()
            .zip(chosen.iter().flat_map(|c| &c.predicted))
        {
            *sum += weight * value;
        }
    }
    let measured = goal.measured(runs);
    Scatter {
        scores: Scores::of(&predicted, &measured),
        predicted,
        measured,
    }
}

/// Points of a triangular grid, corners included.
fn cells(steps: usize) -> Vec<Vec<f64>> {
    let share = |n: usize| n as f64 / steps as f64;
    let row =
        |i: usize| (0..=steps - i).map(move |j| vec![share(i), share(j), share(steps - i - j)]);
    (0..=steps).flat_map(row).collect()
}

impl MixtureFit {
    /// Tables for people.
    pub fn in_words(&self) -> String {
        let mut text = format!("{} runs over {} domains\n", self.runs, self.domains.len());
        text += &self.ranks("cross-validated rank correlation", |fit| {
            let each = fit.cross_validated.iter();
            each.map(|c| (c.law, &c.scores)).collect()
        });
        let mut names: Vec<&str> = Vec::new();
        for test in self.fits.iter().flat_map(|fit| &fit.tests) {
            if !names.contains(&test.runs.as_str()) {
                names.push(&test.runs);
            }
        }
        for name in names {
            text += &self.ranks(&format!("rank correlation on {name}"), |fit| {
                let each = fit.tests.iter().filter(|t| t.runs == name);
                each.map(|t| (t.law, &t.scores)).collect()
            });
        }
        for test in &self.goal_tests {
            let rank = test
                .scores
                .spearman
                .map_or("none".into(), |s| format!("{s:.4}"));
            text += &format!(
                "\nthe goal on {}: rank correlation {rank} over {} runs, regret {:.4}\n",
                test.runs, test.scores.n, test.scores.regret
            );
        }
        text += &self.best_in_words();
        for next in &self.next {
            let weights = self.in_short(&next.mixture);
            text += &format!(
                "next      {weights}: expected gain {:.4}, better with chance {:.2}\n",
                next.expected_improvement, next.chance_better
            );
        }
        text
    }

    fn ranks<'a>(
        &'a self,
        title: &str,
        scores: impl Fn(&'a TargetFit) -> Vec<(Law, &'a Scores)>,
    ) -> String {
        let laws = self.fits.first().map_or(Vec::new(), &scores);
        let n = laws.first().map_or(0, |(_, scores)| scores.n);
        let mut text = format!("\n{title} ({n} runs)\n{:<20}", "target");
        laws.iter()
            .for_each(|(law, _)| text += &format!(" {law:>11}"));
        text += "   regret of the chosen (*)\n";
        for fit in &self.fits {
            text += &format!("{:<20}", fit.target);
            let mut regret = f64::NAN;
            for (law, scores) in scores(fit) {
                let rank = scores.spearman.map_or("none".into(), |s| format!("{s:.4}"));
                let mark = if law == fit.law { "*" } else { " " };
                text += &format!(" {rank:>10}{mark}");
                if law == fit.law {
                    regret = scores.regret;
                }
            }
            text += &format!("   {regret:.4}\n");
        }
        text
    }

    fn best_in_words(&self) -> String {
        let goal = self
            .goal
            .iter()
            .map(|g| format!("{} {:.3}", g.target, g.weight));
        let goal = goal.collect::<Vec<_>>().join(", ");
        let best = &self.best;
        let percent = 100.0 * best.confidence;
        let mut text = format!(
            "\nbest mixture for {goal}\n{:<20} {:>8} {:>18} {:>8}\n",
            "domain",
            "weight",
            format!("{percent:.0}% interval"),
            "prior"
        );
        for share in &best.mixture {
            let interval = format!("[{:.4}, {:.4}]", share.weight.low, share.weight.high);
            text += &format!(
                "{:<20} {:>8.4} {interval:>18} {:>8.4}\n",
                share.domain, share.weight.value, share.prior
            );
        }
        let p = best.predicted;
        text += &format!("predicted {:.4} [{:.4}, {:.4}]\n", p.value, p.low, p.high);
        for other in &best.beside {
            let (p, above) = (other.predicted, other.above_best);
            text += &format!(
                "          {} {:.4}, {:+.4} [{:+.4}, {:+.4}] above it{}\n",
                other.name,
                p.value,
                above.value,
                above.low,
                above.high,
                if other.within_bounds {
                    ""
                } else {
                    " (outside of the bounds)"
                }
            );
        }
        text += &format!(
            "          by {} resamplings of the runs; the nearest run differs in {:.0}% of its tokens\n",
            best.replicates,
            100.0 * best.nearest_run
        );
        text
    }

    /// Weights of 1% and more, the largest first.
    fn in_short(&self, mixture: &[f64]) -> String {
        let mut all: Vec<(f64, &String)> = mixture.iter().copied().zip(&self.domains).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let some = all.iter().filter(|(w, _)| *w >= 0.01);
        let each = some.map(|(w, domain)| format!("{domain} {w:.2}"));
        each.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{laws::simplex::dirichlet, rng::Rng};

    fn runs(n: usize, name: &str) -> Runs {
        let mut rng = Rng::named(1, name);
        let mixtures: Vec<Vec<f64>> = (0..n).map(|_| dirichlet(&mut rng, &[0.8; 3])).collect();
        let losses = mixtures.iter().map(|r| {
            let loss = |j: usize| 2.0 + (0.8 - 3.0 * r[j]).exp();
            vec![loss(0), loss(1) + 0.01 * rng.normal()]
        });
        let losses = losses.collect();
        let domains = ["a", "b", "c"].map(String::from).to_vec();
        Runs::new(domains, mixtures, vec!["x".into(), "y".into()], losses).unwrap()
    }

    fn request(goal: &[(usize, f64)]) -> Request {
        Request {
            targets: vec![0, 1],
            goal: Goal::new("goal", goal).unwrap(),
            law: None,
            bounds: Bounds::free(3),
            sizes: Some(vec![10.0, 30.0, 60.0]),
            replicates: Some(10),
            n_next: 2,
            seed: 1,
        }
    }

    #[test]
    fn one_value_has_everything_and_its_words_have_its_numbers() {
        let held = Held {
            name: "more.csv".into(),
            runs: runs(30, "held"),
        };
        let all = runs(60, "runs");
        let request = request(&[(0, 1.0), (1, 1.0)]);
        let found = fit_mixture(&all, &[held], &request, &|_| {}).unwrap();
        assert_eq!(found.fits.len(), 2);
        for fit in &found.fits {
            assert_eq!(fit.law, Law::LogLinear);
            let test = fit.tests.iter().find(|t| t.law == fit.law).unwrap();
            assert!(test.scores.spearman.unwrap() > 0.98, "{test:?}");
            assert!(fit.parameters["floor"].as_f64().unwrap() > 1.5);
        }
        assert_eq!(found.prior, [0.1, 0.3, 0.6]);
        assert_eq!(found.map.as_ref().unwrap().len(), 41 * 42 / 2);
        assert_eq!(found.next.len(), 2);
        assert_eq!(found.scatter.measured.len(), 60);
        assert!(found.scatter.scores.spearman.unwrap() > 0.97);
        let words = found.in_words();
        for word in ["more.csv (30 runs)", "natural", "x 0.500, y 0.500", "next"] {
            assert!(words.contains(word), "{words}");
        }
        let again = fit_mixture(&all, &[], &request, &|_| {}).unwrap();
        assert_eq!(again.best.weights(), found.best.weights());
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        let few = runs(60, "runs").first(4);
        assert!(fit_mixture(&few, &[], &request(&[(0, 1.0)]), &|_| {}).is_err());
        let all = runs(60, "runs");
        let mut wrong = request(&[(0, 1.0)]);
        wrong.bounds.low = vec![0.5; 3];
        assert!(fit_mixture(&all, &[], &wrong, &|_| {}).is_err());
        let mut wrong = request(&[(0, 1.0)]);
        wrong.sizes = Some(vec![1.0, -1.0, 1.0]);
        assert!(fit_mixture(&all, &[], &wrong, &|_| {}).is_err());
    }
}
