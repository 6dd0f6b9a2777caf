//! Reports: a study's folder turned into words ([`StudyReport::summary`]), a Markdown page with SVG
//! pictures, and one HTML page; a run's folder into an HTML page. Every number comes from the
//! contract, the verdict, the outcomes and the recorded metrics.

pub mod html;
pub mod markdown;
pub mod plot;
mod tables;
mod trials;

use crate::{
    error::{Error, Result},
    files,
    metrics::{Cost, Metric, Outcome, Record},
    run::Run,
    run_dir::{Environment, RunDir},
    study::{
        contract::{Contract, StudyDir},
        proposal::Direction,
        runner::{judge_again, outcomes},
        spent::Stretch,
        verdict::{ArmVerdict, Call, Verdict, total_cost},
    },
};
use plot::{ArmCurves, Curve, Differences};
use std::path::{Path, PathBuf};
pub use trials::TrialRecords;

/// A finished study, read back.
pub struct StudyReport {
    pub contract: Contract,
    pub verdict: Verdict,
    /// By arm, the control first, then by seed.
    pub outcomes: Vec<Vec<Outcome>>,
    /// The same trials with what they recorded on the way.
    trials: Vec<Vec<TrialRecords>>,
    pub environment: Environment,
    /// What each process that trained some of it was to take, and took.
    pub stretches: Vec<Stretch>,
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
        let mut trials = TrialRecords::read(home, &contract)?;
        // Of a study that stopped early, the seeds that it looked at.
        trials
            .iter_mut()
            .for_each(|arm| arm.truncate(verdict.seeds));
        let environment = RunDir::of(home, &contract.terms.arms[0].trials[0]).environment()?;
        Ok(Self {
            contract,
            verdict,
            outcomes: all,
            trials,
            environment,
            stretches: dir.stretches()?,
        })
    }

    /// What all distinct trials cost together; a trunk that some share counts once.
    pub fn cost(&self) -> Cost {
        total_cost(self.outcomes.iter().flatten())
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
        for why in &self.verdict.exploratory {
            text += &format!("exploratory: no test of the claim: {why}\n");
        }
        if let Some(ranking) = tables::ranking(&self.contract, &self.outcomes) {
            text += &best(&ranking);
        }
        for arm in self.judged() {
            text += &format!("verdict   {}\n", arm.headline(&self.verdict.rule));
            for line in arm.details(&self.verdict.rule) {
                text += &format!("          {line}\n");
            }
        }
        if let Some(words) = self.prediction() {
            text += &format!("foreseen  {words}\n");
        }
        let cost = self.cost();
        text += &format!(
            "cost      {} tokens, {:.3e} FLOPs, {} of trials of {} each\n",
            cost.tokens,
            cost.flops,
            duration(cost.seconds),
            threads(terms.device.threads),
        );
        if self.verdict.arms.len() > 1 {
            text += &format!("          {}\n", cost_each(&self.verdict));
        }
        for stretch in &self.stretches {
            text += &format!("          {}\n", stretch.words());
        }
        text
    }

    /// The arms that have a verdict worth reading: none of a swarm of one seed.
    pub fn judged(&self) -> &[ArmVerdict] {
        match self.contract.terms.space.is_some() && self.verdict.seeds < 2 {
            true => &[],
            false => &self.verdict.arms,
        }
    }

    /// How the prediction came out, when there was one; it is about the first arm.
    pub fn prediction(&self) -> Option<String> {
        prediction(&self.contract, &self.verdict)
    }

    fn curves_svg(&self) -> String {
        let terms = &self.contract.terms;
        let arms: Vec<ArmCurves> = terms
            .arms
            .iter()
            .zip(&self.trials)
            .map(|(arm, trials)| ArmCurves {
                name: &arm.name,
                curves: trials
                    .iter()
                    .map(|trial| curve(trial, terms.decision.metric))
                    .collect(),
            })
            .collect();
        let label = format!("validation, {}", terms.decision.metric.unit());
        plot::curves_svg(&arms, &label)
    }

    /// Every arm's name with its first seed's outcome.
    fn first_outcomes(&self) -> impl Iterator<Item = (&str, Option<&Outcome>)> {
        let arms = self.contract.terms.arms.iter().zip(&self.outcomes);
        arms.map(|(arm, outcomes)| (arm.name.as_str(), outcomes.first()))
    }

    fn differences_svg(&self) -> String {
        let terms = &self.contract.terms;
        let arms = differences(&self.verdict);
        let label = format!(
            "difference from {}, {}",
            self.verdict.control,
            terms.decision.metric.unit()
        );
        plot::differences_svg(&arms, terms.decision.margin, &label)
    }
}

/// What a verdict cost, in words.
fn cost_each(verdict: &Verdict) -> String {
    let each = verdict.cost_each();
    format!(
        "a verdict: {} tokens, {:.3e} FLOPs, {} of trials",
        each.tokens,
        each.flops,
        duration(each.seconds)
    )
}

fn prediction(contract: &Contract, verdict: &Verdict) -> Option<String> {
    let prediction = contract.terms.hypothesis.prediction.as_ref()?;
    let arm = verdict.arms.first()?;
    let (word, call) = match prediction.direction {
        Direction::Better => ("better", Call::Better),
        Direction::Worse => ("worse", Call::Worse),
        Direction::Equivalent => ("equivalent", Call::Equivalent),
    };
    let came = match arm.call {
        seen if seen == call => "so it came",
        Call::Candidate if call == Call::Better => "so it came, in a study of several arms",
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

/// A trial's evaluations: (tokens, metric).
fn curve(trial: &TrialRecords, metric: Metric) -> Curve {
    let points = trial.records.iter().filter_map(|record| match record {
        Record::Eval(eval) => Some((eval.tokens as f64, eval.metric(metric))),
        Record::Step(_) | Record::Data(_) => None,
    });
    Curve {
        seed: trial.seed,
        points: points.collect(),
    }
}

/// Each arm's paired differences, where both trials finished, and their interval.
fn differences(verdict: &Verdict) -> Vec<Differences<'_>> {
    let of_arm = |arm: &ArmVerdict| -> Vec<(u64, f64)> {
        let pairs = arm.pairs.iter();
        let known = pairs.filter_map(|pair| Some((pair.seed, pair.difference()?)));
        known.collect()
    };
    let arms = verdict.arms.iter().map(|arm| Differences {
        arm: &arm.arm,
        values: of_arm(arm),
        interval: arm.effect.map(|e| (e.low, e.mean, e.high)),
    });
    arms.collect()
}

/// The best points of a swarm and the control's place, for a terminal.
fn best(ranking: &tables::Table) -> String {
    const SHOWN: usize = 5;
    let line = |(place, row): (usize, &Vec<String>)| {
        let label = if place == 0 { "best" } else { "" };
        format!(
            "{label:<9} {:>3}. {}: {}, {}\n",
            place + 1,
            row[0],
            row[2],
            row[1]
        )
    };
    let rows = ranking.rows.iter().enumerate();
    let is_control = |row: &[String]| row[0] == "uniform" || row[0] == "base";
    let shown = rows.filter(|(place, row)| *place < SHOWN || is_control(row));
    shown.map(line).collect()
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

/// Where a report was written.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Written {
    /// `report.md`; `None` for a run, and for a study that is not judged yet.
    pub report: Option<PathBuf>,
    /// `report.html`.
    pub page: PathBuf,
}

impl Written {
    /// For a terminal.
    pub fn summary(&self) -> String {
        let report = self.report.as_ref();
        let report = report.map_or(String::new(), |p| format!("report    {}\n", p.display()));
        format!("{report}page      {}\n", self.page.display())
    }
}

/// Writes `report.md`, its pictures and `report.html` into the study's folder.
pub fn write(study: &StudyReport, dir: &StudyDir) -> Result<Written> {
    for (name, picture) in [
        ("curves.svg", study.curves_svg()),
        ("differences.svg", study.differences_svg()),
    ] {
        files::replace(&dir.path().join(name), picture.as_bytes())?;
    }
    let path = dir.report_path();
    files::replace(&path, markdown::page(study).as_bytes())?;
    let page = html::study::Page {
        contract: &study.contract,
        verdict: Some(&study.verdict),
        trials: &study.trials,
        environment: Some(&study.environment),
        stretches: &study.stretches,
    };
    Ok(Written {
        report: Some(path),
        page: write_page(dir.path(), &page.to_html())?,
    })
}

/// Writes the page of a study that is not judged yet: how far its trials are. Errors when the
/// contract or an outcome is damaged.
pub fn write_unjudged(home: &Path, dir: &StudyDir) -> Result<Written> {
    let contract = dir.contract()?;
    let trials = TrialRecords::read(home, &contract)?;
    let environment = RunDir::of(home, &contract.terms.arms[0].trials[0]).environment();
    let page = html::study::Page {
        contract: &contract,
        verdict: None,
        trials: &trials,
        environment: environment.as_ref().ok(),
        stretches: &dir.stretches()?,
    };
    Ok(Written {
        report: None,
        page: write_page(dir.path(), &page.to_html())?,
    })
}

/// Writes `report.html` into a run's folder, and the event file of one that ended before there were
/// any. Errors when the recipe or the outcome is damaged.
pub fn write_run(dir: &RunDir) -> Result<Written> {
    let (outcome, records) = (dir.outcome()?, trials::recorded(dir)?);
    if outcome.is_some() {
        dir.restore_events(&records)?;
    }
    let page = html::run::Page {
        name: dir
            .path()
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into()),
        run: Run::load(&dir.recipe())?,
        outcome,
        records,
        events: dir.events(),
        environment: dir.environment()?,
    };
    Ok(Written {
        report: None,
        page: write_page(dir.path(), &page.to_html())?,
    })
}

fn write_page(folder: &Path, page: &str) -> Result<PathBuf> {
    let path = folder.join("report.html");
    files::replace(&path, page.as_bytes())?;
    Ok(path)
}
