//! Reports: a study's folder turned into words ([`StudyReport::summary`]), a Markdown page and
//! SVG pictures. Every number comes from the contract, the verdict and the outcomes.

pub mod markdown;
pub mod plot;

use crate::{
    error::{Error, Result},
    files,
    metrics::{Cost, Outcome, Record},
    run_dir::Environment,
    run_dir::RunDir,
    study::{
        contract::{Contract, StudyDir},
        proposal::Direction,
        runner::{judge_again, outcomes},
        verdict::{ArmVerdict, Call, Verdict},
    },
};
use plot::{ArmCurves, Curve, Differences};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// A finished study, read back.
pub struct StudyReport {
    pub contract: Contract,
    pub verdict: Verdict,
    /// By arm, the control first, then by seed.
    pub outcomes: Vec<Vec<Outcome>>,
    /// Evaluations on the way, beside the outcomes: (tokens, metric).
    curves: Vec<Vec<Vec<(f64, f64)>>>,
    pub environment: Environment,
}

impl StudyReport {
    /// Reads a study's folder and its trials. Errors when it is not finished, damaged, or its
    /// written verdict is not what its outcomes say.
    pub fn read(home: &Path, dir: &StudyDir) -> Result<Self> {
        let contract = dir.contract()?;
        let remedy = "run the study again; finished trials are kept";
        let verdict: Verdict = files::read_json(&dir.verdict_path(), remedy)?;
        if verdict != judge_again(home, &contract)? {
            return Err(Error::input(
                dir.verdict_path().display().to_string(),
                "the verdict is not what the outcomes say",
                remedy,
            ));
        }
        let (control, arms) = outcomes(home, &contract)?;
        let mut all = vec![control.outcomes];
        all.extend(arms.into_iter().map(|arm| arm.outcomes));
        let metric = contract.terms.decision.metric;
        let mut curves = Vec::new();
        for arm in &contract.terms.arms {
            let mut of_arm = Vec::new();
            for trial in &arm.trials {
                let records = RunDir::of(home, trial).records()?.into_iter();
                let points = records.filter_map(|record| match record {
                    Record::Eval(eval) => Some((eval.tokens as f64, eval.metric(metric))),
                    Record::Step(_) | Record::Data(_) => None,
                });
                of_arm.push(points.collect());
            }
            curves.push(of_arm);
        }
        let environment = RunDir::of(home, &contract.terms.arms[0].trials[0]).environment()?;
        Ok(Self {
            contract,
            verdict,
            outcomes: all,
            curves,
            environment,
        })
    }

    /// What all distinct trials cost together; a trunk that some share counts once.
    pub fn cost(&self) -> Cost {
        let mut seen = BTreeSet::new();
        let mut total = Cost::default();
        for outcome in self.outcomes.iter().flatten() {
            if seen.insert(&outcome.trial) {
                let own = outcome.own_cost();
                total.seconds += own.seconds;
                total.tokens += own.tokens;
                total.flops += own.flops;
            }
        }
        total
    }

    /// The verdict for a terminal.
    pub fn summary(&self) -> String {
        let terms = &self.contract.terms;
        let mut text = format!(
            "study     {}\nclaim     {}\n",
            self.contract.id, terms.hypothesis.claim
        );
        if let Some(mean) = self.verdict.control_mean {
            text += &format!(
                "control   {}: {mean:.4} {}\n",
                self.verdict.control,
                terms.decision.metric.unit()
            );
        }
        for arm in &self.verdict.arms {
            text += &format!("verdict   {}\n", arm.headline(&self.verdict.rule));
            for (corpus, difference) in &arm.by_corpus {
                text += &format!("          {corpus}: {difference:+.4} bits per byte\n");
            }
        }
        if let Some(words) = self.prediction() {
            text += &format!("foreseen  {words}\n");
        }
        let cost = self.cost();
        text + &format!(
            "cost      {} tokens, {:.3e} FLOPs, {} of trials of {} each\n",
            cost.tokens,
            cost.flops,
            duration(cost.seconds),
            threads(terms.device.threads),
        )
    }

    /// How the prediction came out, when there was one; it is about the first arm.
    pub fn prediction(&self) -> Option<String> {
        let prediction = self.contract.terms.hypothesis.prediction.as_ref()?;
        let arm = self.verdict.arms.first()?;
        let (word, call) = match prediction.direction {
            Direction::Better => ("better", Call::Better),
            Direction::Worse => ("worse", Call::Worse),
            Direction::Equivalent => ("equivalent", Call::Equivalent),
        };
        let came = match arm.call {
            seen if seen == call => "so it came",
            Call::Inconclusive => "undecided",
            Call::Invalid => "not tested",
            _ => "it came otherwise",
        };
        Some(format!(
            "{word} by {} ({:.0}% sure): {came}",
            prediction.effect,
            100.0 * prediction.confidence
        ))
    }

    fn curves_svg(&self) -> String {
        let terms = &self.contract.terms;
        let arms: Vec<ArmCurves> = terms
            .arms
            .iter()
            .zip(&self.curves)
            .map(|(arm, curves)| ArmCurves {
                name: &arm.name,
                curves: terms
                    .seeds
                    .iter()
                    .zip(curves)
                    .map(|(seed, points)| Curve {
                        seed: *seed,
                        points: points.clone(),
                    })
                    .collect(),
            })
            .collect();
        let label = format!("validation, {}", terms.decision.metric.unit());
        plot::curves_svg(&arms, &label)
    }

    fn differences_svg(&self) -> String {
        let terms = &self.contract.terms;
        let differences = |arm: &ArmVerdict| -> Vec<(u64, f64)> {
            let pairs = arm.pairs.iter();
            let known = pairs.filter_map(|pair| Some((pair.seed, pair.difference()?)));
            known.collect()
        };
        let arms: Vec<Differences> = self
            .verdict
            .arms
            .iter()
            .map(|arm| Differences {
                arm: &arm.arm,
                values: differences(arm),
                interval: arm.effect.map(|e| (e.low, e.mean, e.high)),
            })
            .collect();
        let label = format!(
            "difference from {}, {}",
            self.verdict.control,
            terms.decision.metric.unit()
        );
        plot::differences_svg(&arms, terms.decision.margin, &label)
    }
}

/// A time as people say it: "36 s", "2.1 minutes".
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.1} minutes", s / 60.0),
        s => format!("{:.1} hours", s / 3600.0),
    }
}

/// "1 thread", "2 threads".
pub fn threads(n: usize) -> String {
    match n {
        1 => "1 thread".into(),
        n => format!("{n} threads"),
    }
}

/// Writes `report.md`, `curves.svg` and `differences.svg` into the study's folder; gives the
/// report's path.
pub fn write(study: &StudyReport, dir: &StudyDir) -> Result<PathBuf> {
    for (name, picture) in [
        ("curves.svg", study.curves_svg()),
        ("differences.svg", study.differences_svg()),
    ] {
        files::replace(&dir.path().join(name), picture.as_bytes())?;
    }
    let path = dir.report_path();
    files::replace(&path, markdown::page(study).as_bytes())?;
    Ok(path)
}
