//! Reports: a study's folder turned into words ([`StudyReport::summary`]), a Markdown page with SVG
//! pictures, and one HTML page; a run's folder into an HTML page. Every number comes from the
//! contract, the verdict, the outcomes and the recorded metrics.

pub mod campaign;
pub mod compared;
pub mod figures;
pub mod html;
pub mod markdown;
pub mod plot;
pub mod png;
mod tables;
mod trials;

use crate::{
    error::Result,
    files,
    metrics::{Cost, Outcome},
    run::Run,
    run_dir::{Environment, RunDir},
    study::{
        contract::{Contract, StudyDir},
        finding::{self, Kept},
        judged,
        proposal::Direction,
        runner::outcomes,
        spent::Stretch,
        verdict::{ArmVerdict, Call, Verdict, total_cost},
    },
};
use std::path::{Path, PathBuf};
pub use {png::png, trials::TrialRecords, trials::recorded};

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
    /// What was written down of its verdict.
    pub findings: Vec<Kept>,
}

impl StudyReport {
    /// Reads a study's folder and its trials. Errors when it is not finished, damaged, or its
    /// written verdict is not what its outcomes say.
    pub fn read(home: &Path, dir: &StudyDir) -> Result<Self> {
        let contract = dir.contract()?;
        let verdict = judged::verdict(home, dir, &contract)?;
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
            findings: finding::of_study(home, dir)?,
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
        figures::curves(&self.contract.terms, &self.trials, |_| true)
    }

    /// Every arm's name with its first seed's outcome.
    fn first_outcomes(&self) -> impl Iterator<Item = (&str, Option<&Outcome>)> {
        let arms = self.contract.terms.arms.iter().zip(&self.outcomes);
        arms.map(|(arm, outcomes)| (arm.name.as_str(), outcomes.first()))
    }

    fn differences_svg(&self) -> String {
        figures::differences(&self.contract.terms, &self.verdict, |_| true)
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
        findings: &study.findings,
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
        findings: &finding::of_study(home, dir)?,
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
