//! How a study's trials share the cores: how many side by side, with how many threads each.
//!
//! One thread a trial wastes nothing on meeting points, so it wins while there are trials for every
//! core; what does not divide evenly, or does not fit into caches or memory side by side, is quicker
//! with more threads each. Whether it is, is measured. The number of threads is part of a trial's
//! id, since it is part of what computed it: so a study that was begun keeps its threads, and trials
//! that are there already count for the way that they were trained in.

use super::{
    forecast::Forecast,
    ledger::Ledger,
    plan::{Planned, frozen, plan},
    proposal::Study,
};
use crate::{
    calibration::{AtOnce, Key},
    device::{Backend, Compute, Machine},
    error::{Error, Result},
    run::Run,
    run_dir::RunDir,
    session::{Effort, Session},
};
use serde::Serialize;
use std::str::FromStr;

/// What `--jobs` may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jobs {
    #[default]
    Auto,
    Number(usize),
}

impl FromStr for Jobs {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.parse::<u16>() {
            Ok(n) if (1..=1024).contains(&n) => Ok(Self::Number(usize::from(n))),
            _ if text == "auto" => Ok(Self::Auto),
            _ => Err("choose auto, or a number from 1 to 1024".into()),
        }
    }
}

/// What was asked for, and what there is.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub jobs: Jobs,
    /// The most trials that are trained as one; 0 leaves it to the device.
    pub pack: usize,
    pub threads: Option<usize>,
    pub cores: usize,
    pub effort: Effort,
}

impl Asked {
    fn at_once(&self, sides: Sides) -> AtOnce {
        AtOnce {
            jobs: sides.jobs,
            pack: self.pack,
        }
    }

    /// How many programs so many trials make at least.
    fn programs(&self, trials: usize) -> usize {
        trials.div_ceil(self.pack.max(1))
    }

    /// As many jobs as the cores have room for, or as asked, and not more than there is for them.
    fn fitting(&self, jobs: Jobs, threads: usize, trials: usize) -> Sides {
        let jobs = match jobs {
            Jobs::Auto => (self.cores / threads).max(1),
            Jobs::Number(jobs) => jobs,
        };
        Sides {
            jobs: jobs.min(self.programs(trials)),
            threads,
        }
    }
}

/// Programs side by side, and threads of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sides {
    pub jobs: usize,
    pub threads: usize,
}

/// A way to share the cores, and what it would take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Way {
    #[serde(flatten)]
    pub sides: Sides,
    pub minutes: f64,
    pub memory_bytes: u64,
}

/// Why the cores are shared as they are.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Why {
    /// `--jobs` and `--threads` say so.
    Asked,
    /// The study was begun with these threads; with others its trials would be other trials.
    Begun,
    /// There is one way, or the others can't be quicker even if threads cost nothing.
    Divides,
    /// The quickest of all.
    Measured { others: Vec<Way> },
}

impl Why {
    /// In words, as the end of a sentence.
    pub fn words(&self) -> String {
        let way = |way: &Way| {
            let sides = way.sides;
            format!(
                "{} × {} would take {:.1} minutes",
                sides.jobs, sides.threads, way.minutes
            )
        };
        match self {
            Self::Asked => "as asked".into(),
            Self::Begun => "as the study was begun".into(),
            Self::Divides => "no other way can be quicker".into(),
            Self::Measured { others } => {
                let others: Vec<String> = others.iter().map(way).collect();
                format!("the quickest: {}", others.join(", "))
            }
        }
    }
}

/// A study planned, and how it is to be run.
pub struct Choice {
    pub planned: Planned,
    pub sides: Sides,
    pub why: Why,
}

/// Another way has to be this much quicker: a probe sees no less.
const CLEARLY: f64 = 0.9;
/// Where a step takes longer, caches and memory may be what decides, and a look at every way is
/// cheap beside the study.
const LONG_STEP_SECONDS: f64 = 0.1;

/// Plans a study for the way in which its remaining trials end first, and leaves `session` with the
/// threads of that. `open` opens the device with a number of threads. Errors as [`plan`] does.
pub fn choose(
    session: &mut Session,
    study: &Study,
    asked: Asked,
    open: &dyn Fn(usize) -> Compute,
) -> Result<Choice> {
    let trials = n_trials(study);
    let begun = match asked.threads {
        Some(_) => None,
        None => begun(session, study)?,
    };
    let (mut sides, why) = match (asked.threads, asked.jobs, begun) {
        (Some(threads), jobs, _) => (asked.fitting(jobs, threads, trials), Why::Asked),
        (None, jobs, Some(threads)) => (asked.fitting(jobs, threads, trials), Why::Begun),
        (None, Jobs::Number(jobs), None) => {
            // Whatever the pack, so that it does not change a trial's id.
            let threads = (asked.cores / jobs.min(trials)).max(1);
            (asked.fitting(asked.jobs, threads, trials), Why::Asked)
        }
        (None, Jobs::Auto, None) => (asked.fitting(Jobs::Auto, 1, trials), Why::Divides),
    };
    session.compute = open(sides.threads);
    let one_device = !matches!(session.compute.backend, Backend::Fused);
    match asked.jobs {
        // One device, which one program has for itself.
        Jobs::Auto if one_device => sides.jobs = 1,
        Jobs::Number(jobs) if one_device && jobs > 1 => {
            return Err(Error::input(
                format!("--jobs {jobs}"),
                "a GPU runs one program at a time",
                "use --pack to train trials as one program",
            ));
        }
        _ => {}
    }
    let first = Choice {
        planned: plan(session, study)?,
        sides,
        why,
    };
    match first.why {
        Why::Divides if !one_device && asked.cores > 1 => {
            let chosen = quickest(first, session, study, (asked, open))?;
            session.compute = open(chosen.sides.threads);
            Ok(chosen)
        }
        _ => Ok(first),
    }
}

fn n_trials(study: &Study) -> usize {
    study.arms.len() * study.proposal.decision.seeds.most()
}

/// The threads of a study that was frozen before, by this very binary on this device; of several,
/// those of the furthest.
fn begun(session: &Session, study: &Study) -> Result<Option<usize>> {
    let class = &session.compute.class;
    let mut found: Option<(usize, usize)> = None;
    // A contract that can't be read stands in nobody's way but its own study's.
    for contract in frozen(session, study)?.into_iter().flatten() {
        let device = &contract.terms.device;
        let same = (&device.class, &device.dtype) == (&class.class, &class.dtype)
            && contract.terms.numerics == env!("WINDTUNNEL_NUMERICS");
        let ids = contract.terms.arms.iter().flat_map(|arm| &arm.trials);
        let runs = ids.map(|id| RunDir::of(&session.home, id));
        let begun = runs.filter(|dir| dir.path().exists()).count();
        if same && found.is_none_or(|(most, _)| begun > most) {
            found = Some((begun, device.threads));
        }
    }
    Ok(found.map(|(_, threads)| threads))
}

/// Compares the other ways with the one that is given: a job a core.
fn quickest(
    first: Choice,
    session: &mut Session,
    study: &Study,
    (asked, open): (Asked, &dyn Fn(usize) -> Compute),
) -> Result<Choice> {
    let free = Machine::read().available_bytes;
    let ledger = Ledger::read(&session.home)?;
    let one_each =
        first
            .planned
            .forecast(session, &ledger, (asked.at_once(first.sides), asked.effort))?;
    let every_way = asked.effort == Effort::Thorough
        || step_seconds(&one_each) > LONG_STEP_SECONDS
        || one_each.memory_bytes > free;
    let any_runs = session.home.join("runs").exists();
    let arms = &first.planned.contract.terms.arms;
    let runs: Vec<Run> = arms.iter().map(|arm| arm.run.clone()).collect();
    let mut best = (first, one_each.clone());
    let mut others = Vec::new();
    for sides in other_ways(asked, n_trials(study)) {
        // What `plan` measured, `run` takes into account.
        let at = asked.at_once(sides);
        let look = every_way || is_known(session, &runs, (at, &open(sides.threads)))?;
        // Where nothing was ever trained, what is left is the same in every way.
        let too_slow = |left| bound(left, (at, sides), &one_each) >= CLEARLY * one_each.minutes;
        if !look && !any_runs && too_slow(one_each.trials) {
            continue;
        }
        session.compute = open(sides.threads);
        let planned = plan(session, study)?;
        if !look && too_slow(unfinished(&planned)?) {
            continue;
        }
        let forecast = planned.forecast(session, &ledger, (at, asked.effort))?;
        let why = Why::Divides;
        let mut found = (
            Choice {
                planned,
                sides,
                why,
            },
            forecast,
        );
        let is_too_large = |(_, forecast): &(Choice, Forecast)| forecast.memory_bytes > free;
        let is_quicker = found.1.minutes < CLEARLY * best.1.minutes;
        let is_smaller = found.1.memory_bytes < best.1.memory_bytes;
        if (is_quicker && !is_too_large(&found)) || (is_smaller && is_too_large(&best)) {
            std::mem::swap(&mut best, &mut found);
        }
        others.push(Way {
            sides: found.0.sides,
            minutes: found.1.minutes,
            memory_bytes: found.1.memory_bytes,
        });
    }
    let (mut choice, _) = best;
    if !others.is_empty() {
        choice.why = Why::Measured { others };
    }
    Ok(choice)
}

/// Whether the calibration knows runs like these in a way.
fn is_known(session: &Session, runs: &[Run], (at, compute): (AtOnce, &Compute)) -> Result<bool> {
    let at = AtOnce {
        pack: at.pack.max(1),
        ..at
    };
    session.calibrated(|calibration| {
        let mut keys = runs.iter().map(|run| Key::new(run, &compute.class, at));
        keys.all(|key| calibration.get(&key).is_some())
    })
}

/// Two threads a trial, four, eight, and so on to all cores.
fn other_ways(asked: Asked, trials: usize) -> Vec<Sides> {
    let cores = asked.cores;
    let doubled = std::iter::successors(Some(2), |threads| Some(2 * threads));
    let below = doubled.take_while(|threads| *threads < cores);
    let threads = below.chain((cores > 1).then_some(cores));
    threads
        .map(|threads| asked.fitting(Jobs::Auto, threads, trials))
        .collect()
}

/// Minutes that `left` trials would take in a way whose threads shared a trial's work for nothing.
fn bound(left: usize, (at, sides): (AtOnce, Sides), one_each: &Forecast) -> f64 {
    let pack = at.pack.max(1);
    let seconds = one_each.arms.iter().filter_map(|arm| arm.seconds_per_trial);
    let quickest = seconds.fold(f64::INFINITY, f64::min);
    match left.div_ceil(at.jobs * pack) * pack {
        0 => 0.0,
        in_a_row => in_a_row as f64 * quickest / sides.threads as f64 / 60.0,
    }
}

fn unfinished(planned: &Planned) -> Result<usize> {
    let mut left = 0;
    for trial in planned.distinct() {
        left += usize::from(trial.dir.outcome()?.is_none());
    }
    Ok(left)
}

/// Of the slowest arm, its evaluations spread over its steps.
fn step_seconds(forecast: &Forecast) -> f64 {
    let arms = forecast.arms.iter();
    let seconds =
        arms.filter_map(|arm| Some(arm.seconds_per_trial? / arm.steps_per_trial.max(1) as f64));
    seconds.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_auto_or_a_number() {
        assert_eq!("auto".parse(), Ok(Jobs::Auto));
        assert_eq!("2".parse(), Ok(Jobs::Number(2)));
        for wrong in ["0", "1025", "two", "-1", ""] {
            assert!(wrong.parse::<Jobs>().is_err(), "{wrong}");
        }
    }

    fn asked(cores: usize, pack: usize) -> Asked {
        Asked {
            jobs: Jobs::Auto,
            pack,
            threads: None,
            cores,
            effort: Effort::Quick,
        }
    }

    #[test]
    fn no_way_has_more_threads_than_there_are_cores() {
        for cores in 1..=24 {
            for trials in 2..=24 {
                let asked = asked(cores, 1);
                let first = asked.fitting(Jobs::Auto, 1, trials);
                for way in other_ways(asked, trials).into_iter().chain([first]) {
                    assert!(way.jobs * way.threads <= cores, "{way:?} of {cores}");
                    assert!((1..=trials).contains(&way.jobs), "{way:?} of {trials}");
                }
            }
        }
        let sides = |jobs, threads| Sides { jobs, threads };
        let ways = |cores, trials| other_ways(asked(cores, 1), trials);
        assert_eq!(ways(1, 4), []);
        assert_eq!(ways(2, 4), [sides(1, 2)]);
        assert_eq!(ways(6, 8), [sides(3, 2), sides(1, 4), sides(1, 6)]);
        // More are run only where somebody asks for them.
        let fitting = |pack, jobs, threads| {
            let asked = asked(2, pack);
            asked.fitting(Jobs::Number(jobs), threads, 12)
        };
        assert_eq!(fitting(1, 4, 2), sides(4, 2));
        assert_eq!(fitting(1, 40, 1), sides(12, 1));
        // Twelve in packs of five are three programs.
        assert_eq!(fitting(5, 40, 1), sides(3, 1));
        assert_eq!(fitting(0, 40, 1), sides(12, 1));
    }
}
