//! Packs: runs of one shape that are trained as one program, each in a folder of its own, which ends
//! up as if it had been trained alone.

use super::{
    Job, Progress, RunData, Stepped, Trainer,
    lane::{Lane, due},
    windows_digest,
};
use crate::{
    checkpoint,
    digest::sha256_json,
    error::{Error, Kind, Result},
    metrics::Outcome,
    run::Run,
    trunk::Trunk,
};
use serde_json::json;
use std::{collections::BTreeMap, sync::atomic::Ordering, time::Instant};

/// What runs have in common that may share a pack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackKey(String);

#[cfg(test)]
impl From<&str> for PackKey {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

/// The key of a run. Equal keys may differ in seeds, rates, schedules, decays, betas, clips, dropout
/// and what is drawn; they agree in
///
/// - the model but for its dropout, and the vocabulary: the shapes of all that is computed;
/// - the tokenizer and the evaluated windows, so that one batch of an evaluation is everybody's;
/// - the rows of a step and of a pass: shapes again, and the order of sums;
/// - the optimizer's kind and how much it remembers: one update moves all lanes;
/// - how many steps there are, and after how many of them runs are evaluated, averaged (or not) and
///   saved: all lanes stop for it;
/// - what is logged, so that lanes read back the same.
pub fn key(run: &Run, data: &RunData) -> PackKey {
    let mut model = json!(run.model);
    if let Some(map) = model.as_object_mut() {
        map.remove("dropout");
    }
    PackKey(sha256_json(&json!({
        "model": model,
        "vocab_size": run.vocab_size,
        "tokenizer": data.tokenizer.digest(),
        "windows": windows_digest(&data.windows),
        "eval": {
            "corpora": run.eval.corpora,
            "every": run.eval.every,
            "averages": run.eval.ema > 0.0,
        },
        "batch": run.batch,
        "optimizer": [json!(run.optimizer.kind), json!(run.optimizer.n_states())],
        "steps": run.steps,
        "checkpoint": run.checkpoint,
        "log": run.log,
    })))
}

/// Trains a run to its end, from the start or from its newest checkpoint, and writes its outcome.
///
/// A run that has an outcome is not run again. Errors: interrupted (everything kept), a damaged
/// checkpoint, a full disk. Divergence is an outcome, not an error.
pub fn train(job: Job, progress: &mut dyn FnMut(Progress)) -> Result<Outcome> {
    let jobs = [job];
    let mut outcomes = train_pack(&jobs, &mut |_, event| progress(event))?;
    Ok(outcomes.swap_remove(0))
}

/// The same of runs whose [`key`]s are equal, as one program; gives their outcomes in the same order.
/// `progress` hears of each by its place among them.
///
/// Runs that were left at different steps go on in packs of those that were left at the same one, one
/// after the other. A failure of one ends all: the others are saved first.
pub fn train_pack(jobs: &[Job], progress: &mut dyn FnMut(usize, Progress)) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::with_capacity(jobs.len());
    let mut by_step: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (idx, job) in jobs.iter().enumerate() {
        let outcome = job.dir.outcome()?;
        if outcome.is_none() {
            by_step.entry(first_step(job)?).or_default().push(idx);
        }
        outcomes.push(outcome);
    }
    for places in by_step.into_values() {
        let of: Vec<&Job> = places.iter().map(|idx| &jobs[*idx]).collect();
        let ended = Pack::begin(&of)?.train(&mut |lane, event| progress(places[lane], event))?;
        for (place, outcome) in places.iter().zip(ended) {
            outcomes[*place] = Some(outcome);
        }
    }
    let all: Option<Vec<Outcome>> = outcomes.into_iter().collect();
    Ok(all.expect("every run had its outcome or got it"))
}

/// The same, but where the device has no memory for all of them at once they are trained in halves,
/// and an event in each folder says so. Errors as [`train_pack`] does; with [`Kind::Memory`] when a
/// run does not fit alone.
pub fn train_in_memory(
    jobs: &[Job],
    progress: &mut dyn FnMut(usize, Progress),
) -> Result<Vec<Outcome>> {
    in_halves(jobs, 0, &mut |first, jobs| {
        train_pack(jobs, &mut |idx, event| progress(first + idx, event))
    })
}

/// Trains some jobs, of which the first has this place among all.
type TrainSome<'a> = &'a mut dyn FnMut(usize, &[Job]) -> Result<Vec<Outcome>>;

/// Calls `train` with the place of the first of some jobs, of which `first` is the first here, and with
/// the jobs: all of them, or halves while it has no memory for more.
pub fn in_halves(jobs: &[Job], first: usize, train: TrainSome) -> Result<Vec<Outcome>> {
    match train(first, jobs) {
        Err(error) if error.kind == Kind::Memory && jobs.len() > 1 => {
            for job in jobs {
                let newest = checkpoint::steps(&job.dir.checkpoints()).pop();
                job.dir.describe(job.run, &job.compute.class, jobs.len())?;
                job.dir.event("halved", newest.unwrap_or(0))?;
            }
            let (one, other) = jobs.split_at(jobs.len().div_ceil(2));
            let mut outcomes = in_halves(one, first, train)?;
            outcomes.extend(in_halves(other, first + one.len(), train)?);
            Ok(outcomes)
        }
        result => result,
    }
}

/// The step from which a run goes on. One that has done nothing itself begins where its trunk ends.
fn first_step(job: &Job) -> Result<u64> {
    let newest = || checkpoint::steps(&job.dir.checkpoints()).pop();
    if let (Some(trunk), None) = (job.trunk, newest()) {
        trunk.graft(job.dir)?;
    }
    Ok(newest().unwrap_or(0))
}

/// Runs in training that stand at one step.
struct Pack<'a> {
    trainer: Trainer,
    lanes: Vec<Lane<'a>>,
    /// Up to when the lanes' seconds are counted.
    counted: Instant,
    /// What went wrong first.
    failure: Option<Error>,
}

impl<'a> Pack<'a> {
    fn begin(jobs: &[&'a Job<'a>]) -> Result<Self> {
        let runs: Vec<_> = jobs.iter().map(|job| (job.run, job.data.clone())).collect();
        let mut trainer = Trainer::packed(&runs, jobs[0].compute)?;
        let lanes = jobs.iter().enumerate();
        let lanes = lanes.map(|(k, job)| Lane::begin(job, k, &mut trainer));
        Ok(Self {
            lanes: lanes.collect::<Result<_>>()?,
            trainer,
            counted: Instant::now(),
            failure: None,
        })
    }

    fn train(mut self, progress: &mut dyn FnMut(usize, Progress)) -> Result<Vec<Outcome>> {
        // Equal in all lanes, as is all else that says when to stop.
        let (run, stop) = (self.lanes[0].job.run, self.lanes[0].job.stop);
        let (steps, pack) = (run.steps, self.lanes.len());
        for k in 0..pack {
            let step = self.trainer.step();
            progress(k, Progress::Started { step, steps, pack });
        }
        while self.running() > 0 {
            if self.trainer.step() == steps {
                self.evaluate(progress)?;
                break;
            }
            self.steps(progress)?;
            let step = self.trainer.step();
            if due(step, run.eval.every) && step < steps {
                self.evaluate(progress)?;
            }
            if self.lanes.iter().any(|lane| lane.is_due(&self.trainer)) {
                self.trainer.fetch()?;
                self.each(|_, lane, trainer| lane.keep_trunk(trainer));
                self.each(|_, lane, trainer| lane.save(trainer));
            }
            let stop = stop.load(Ordering::Relaxed) || self.failure.is_some();
            if stop && step < steps && self.running() > 0 {
                self.trainer.fetch()?;
                self.each(|_, lane, trainer| lane.save_now(trainer));
                self.each(|_, lane, _| lane.job.dir.event("interrupted", step));
                return Err(self.failure.take().unwrap_or_else(|| self.interrupted()));
            }
        }
        if let Some(error) = self.failure {
            return Err(error);
        }
        let lanes = self.lanes.into_iter();
        let outcomes: Option<Vec<Outcome>> = lanes.map(|lane| lane.outcome).collect();
        Ok(outcomes.expect("a lane that did not fail ran to its end"))
    }

    /// Lanes that have neither ended nor failed.
    fn running(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.runs()).count()
    }

    /// Does something with every lane that runs. One that fails runs no longer; the others are not
    /// stopped in the middle of a step for it.
    fn each(&mut self, mut f: impl FnMut(usize, &mut Lane, &Trainer) -> Result<()>) {
        let running = self.lanes.iter_mut().enumerate();
        for (k, lane) in running.filter(|(_, lane)| lane.runs()) {
            if let Err(error) = f(k, lane, &self.trainer) {
                lane.failed = true;
                self.failure.get_or_insert(error);
            }
        }
    }

    /// Trains up to the next step after which something other than a log is written, or not as far.
    fn steps(&mut self, progress: &mut dyn FnMut(usize, Progress)) -> Result<()> {
        let ahead = self.next_stop() - self.trainer.step();
        let n = self.trainer.steps_at_once().min(ahead as usize);
        let mut columns: Vec<Vec<Stepped>> = vec![Vec::new(); self.lanes.len()];
        for row in self.trainer.train_steps(n)? {
            for (column, stepped) in columns.iter_mut().zip(row) {
                column.extend(stepped);
            }
        }
        self.count_time();
        self.each(|k, lane, trainer| {
            let column = std::mem::take(&mut columns[k]);
            lane.stepped(column, trainer, &mut |event| progress(k, event))
        });
        Ok(())
    }

    fn next_stop(&self) -> u64 {
        let (run, step) = (self.lanes[0].job.run, self.trainer.step());
        let every = [run.eval.every, run.checkpoint.every].into_iter();
        let multiples = every.filter(|n| *n > 0).map(|n| (step / n + 1) * n);
        let trunks = self.lanes.iter().filter_map(|lane| lane.job.trunk);
        let trunks = trunks.map(Trunk::step).filter(|at| *at > step);
        multiples.chain(trunks).fold(run.steps, u64::min)
    }

    fn evaluate(&mut self, progress: &mut dyn FnMut(usize, Progress)) -> Result<()> {
        let records = self.trainer.evaluate()?;
        self.count_time();
        self.each(|k, lane, trainer| {
            lane.evaluated(&records[k], trainer, &mut |event| progress(k, event))
        });
        Ok(())
    }

    /// Books the time since the last count in equal shares on the lanes that run, so that the costs
    /// of runs add up to the time for which they held the device.
    fn count_time(&mut self) {
        let share = self.counted.elapsed().as_secs_f64() / self.running().max(1) as f64;
        self.counted = Instant::now();
        self.each(|_, lane, _| {
            lane.seconds += share;
            Ok(())
        });
    }

    fn interrupted(&self) -> Error {
        let job = self.lanes[0].job;
        let place = job.dir.path().display();
        Error::new(
            Kind::Interrupted,
            match self.lanes.len() - 1 {
                0 => place.to_string(),
                others => format!("{place} and {others} packed with it"),
            },
            format!(
                "stopped on request after step {} of {}; everything is kept",
                self.trainer.step(),
                job.run.steps
            ),
            "run the same command again to go on from here",
        )
    }
}
