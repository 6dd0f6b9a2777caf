//! What a run costs on this machine, from a few of its own steps, an evaluation's first batches and
//! a file's worth of bytes.

use super::Session;
use crate::{
    calibration::{AtOnce, Timing},
    data::EvalWindows,
    device::Resident,
    digest::sha256,
    error::Result,
    files,
    run::Run,
    train::{RunData, Trainer},
};
use std::{
    path::Path,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

/// How long to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Somebody waits for the first step: one or two are all.
    Quick,
    /// Somebody asked: about a second.
    Thorough,
}

/// When to stop timing steps, and how large a trial file is.
#[derive(Clone, Copy)]
struct Limits {
    least: usize,
    seconds: f64,
    /// Where the steps differ: until this many, or until their mean is known.
    most_seconds: f64,
    bytes: usize,
}

impl Effort {
    fn limits(self) -> Limits {
        match self {
            Self::Quick => Limits {
                least: 1,
                seconds: 0.0,
                most_seconds: 0.0,
                bytes: 1 << 18,
            },
            Self::Thorough => Limits {
                least: 4,
                seconds: 1.0,
                most_seconds: 4.0,
                bytes: 16 << 20,
            },
        }
    }
}

/// Who waits for the first step sees no second one of this length timed: the first, which fills the
/// buffers too, is near enough for a glance.
const GLANCED_SECONDS: f64 = 0.03;
/// A mean is known when its relative standard error is below this.
const KNOWN: f64 = 0.015;
/// How long an evaluation is timed, at least.
const EVALUATED_SECONDS: f64 = 0.3;
/// Small files that a run syncs from its start to its end: recipe, environment, events, metrics,
/// outcome, the ledger's journal.
const SMALL_FILES: f64 = 10.0;

impl Session {
    /// Times copies of a run, as many at a time as are to run, each job on this session's threads:
    /// cores share caches and memory. Errors when the data does not fit the run.
    pub fn probe(&self, run: &Run, data: &RunData, at: AtOnce, effort: Effort) -> Result<Timing> {
        let AtOnce { jobs, pack } = at;
        let copies = vec![(run, data.clone()); pack];
        let before = Resident::forget_peak().then(|| Resident::read().now);
        let together = Together {
            barrier: Barrier::new(jobs),
            satisfied: AtomicUsize::new(0),
            jobs,
        };
        let found: Vec<Result<Timing>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs)
                .map(|_| scope.spawn(|| self.probe_one(&copies, &together, effort)))
                .collect();
            let join = |worker: std::thread::ScopedJoinHandle<_>| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().map(join).collect()
        });
        let found = found.into_iter().collect::<Result<Vec<Timing>>>()?;
        let held = before.map(|before| Resident::read().peak.saturating_sub(before) / jobs as u64);
        let mean = |f: fn(&Timing) -> f64| found.iter().map(f).sum::<f64>() / jobs as f64;
        let counted = found.iter().map(|timing| timing.memory_bytes).max();
        Ok(Timing {
            start_seconds: mean(|timing| timing.start_seconds) + self.write_seconds(0, effort),
            seconds_per_step: mean(|timing| timing.seconds_per_step),
            noise: mean(|timing| timing.noise),
            eval_seconds: mean(|timing| timing.eval_seconds),
            save_seconds: self.write_seconds(saved_bytes(run), effort),
            // What is counted is there, even where freed memory was used again.
            memory_bytes: held.unwrap_or(0).max(counted.unwrap_or(0)),
        })
    }

    /// One of the jobs, of copies of one run; all that are beside it do the same at the same time.
    fn probe_one(
        &self,
        copies: &[(&Run, RunData)],
        together: &Together,
        effort: Effort,
    ) -> Result<Timing> {
        let (run, data) = &copies[0];
        let share = 1.0 / copies.len() as f64;
        let started = Instant::now();
        let trainer = Trainer::packed(copies, &self.compute).and_then(|mut trainer| {
            let fresh = started.elapsed().as_secs_f64();
            let now = Instant::now();
            // It fills the buffers.
            let _ = trainer.train_step()?;
            Ok((trainer, fresh, now.elapsed().as_secs_f64()))
        });
        if trainer.is_err() {
            together.satisfied.fetch_add(1, Ordering::Relaxed);
        }
        // Everybody comes here, with an error too: nobody waits for ever.
        together.barrier.wait();
        let stepped = trainer.and_then(|(mut trainer, fresh, first)| {
            if effort == Effort::Quick && first > GLANCED_SECONDS {
                together.satisfied.fetch_add(1, Ordering::Relaxed);
                return Ok((trainer, fresh, first, vec![first]));
            }
            // As many at a time as in a run: a device is looked at once in a while.
            let mut steps = || {
                let rows = trainer.train_steps(trainer.steps_at_once())?;
                let mut lanes = rows.iter().flatten();
                let all_go_on = lanes.all(|lane| matches!(lane, Some(Ok(_))));
                Ok(if all_go_on { rows.len() } else { 0 })
            };
            let times = timed(effort.limits(), together, &mut steps)?;
            Ok((trainer, fresh, first, times))
        });
        together.barrier.wait();
        let (mut trainer, fresh, first, times) = stepped?;
        let (step_seconds, noise) = middle_and_error(&times);
        let seconds_per_step = share * step_seconds;
        let mut eval_seconds = 0.0;
        // Windows that are judged by answers take longer; any others are alike.
        let mut per_token = [None, None];
        for (_, windows) in &data.windows {
            let known = &mut per_token[usize::from(windows.answers().is_some())];
            let rate = match *known {
                Some(rate) => rate,
                // A step goes forward once, and back at twice the price.
                None if effort == Effort::Quick => {
                    seconds_per_step / (3 * run.tokens_per_step()) as f64
                }
                None => eval_rate(&mut trainer, windows)?,
            };
            *known = Some(rate);
            eval_seconds += rate * windows.tokens() as f64;
        }
        // The averaged weights are evaluated as well.
        let evaluations = if run.eval.ema > 0.0 { 2.0 } else { 1.0 };
        Ok(Timing {
            start_seconds: share * (fresh + (first - step_seconds).max(0.0)),
            seconds_per_step,
            noise,
            eval_seconds: evaluations * eval_seconds,
            save_seconds: 0.0,
            memory_bytes: trainer.memory_bytes(),
        })
    }

    /// Seconds to digest, write and sync a file of `bytes`, or a run's small files when that is 0.
    fn write_seconds(&self, bytes: usize, effort: Effort) -> f64 {
        let folder = match self.home.is_dir() {
            true => self.home.clone(),
            false => std::env::temp_dir(),
        };
        let path = folder.join(format!(".probe-{}", std::process::id()));
        let measured = bytes.clamp(1 << 10, effort.limits().bytes);
        let times = write_once(&path, measured);
        match bytes {
            0 => SMALL_FILES * times,
            bytes => times * (bytes as f64 / measured as f64).max(1.0),
        }
    }
}

fn write_once(path: &Path, bytes: usize) -> f64 {
    let content = vec![7u8; bytes];
    let now = Instant::now();
    // Nothing is said of a folder that can't be written: the run itself will.
    let _ = std::hint::black_box(sha256(&content));
    let _ = files::replace(path, &content);
    let seconds = now.elapsed().as_secs_f64();
    let _ = std::fs::remove_file(path);
    seconds
}

/// Bytes of one checkpoint: weights, what the optimizer keeps, and their average.
fn saved_bytes(run: &Run) -> usize {
    let arenas = 1 + run.optimizer.n_states() + usize::from(run.eval.ema > 0.0);
    4 * arenas * run.model.n_params(run.vocab_size) as usize
}

/// Seconds a token of an evaluation's first batches, of which every copy has its own.
fn eval_rate(trainer: &mut Trainer, windows: &EvalWindows) -> Result<f64> {
    trainer.evaluate_passes(windows, 1)?;
    let (mut tokens, mut passes) = (0, 4);
    let now = Instant::now();
    loop {
        tokens += trainer.evaluate_passes(windows, passes)?;
        let passed = now.elapsed().as_secs_f64();
        if passed >= EVALUATED_SECONDS || tokens == 0 {
            return Ok(passed / tokens.max(1) as f64);
        }
        passes *= 2;
    }
}

/// Copies of a run that are timed side by side: all of them until each has seen enough, so that none
/// is ever timed with less beside it.
struct Together {
    barrier: Barrier,
    satisfied: AtomicUsize,
    jobs: usize,
}

/// Seconds a step of each call until all copies have seen enough, or a call makes no step.
fn timed(
    limits: Limits,
    together: &Together,
    steps: &mut dyn FnMut() -> Result<usize>,
) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    let started = Instant::now();
    let mut satisfied = false;
    loop {
        let now = Instant::now();
        let done = steps();
        let Some(n) = done.as_ref().ok().filter(|n| **n > 0) else {
            together
                .satisfied
                .fetch_add(usize::from(!satisfied), Ordering::Relaxed);
            return done.map(|_| times);
        };
        times.push(now.elapsed().as_secs_f64() / *n as f64);
        let passed = started.elapsed().as_secs_f64();
        if !satisfied && times.len() >= limits.least && passed >= limits.seconds {
            satisfied = passed >= limits.most_seconds || middle_and_error(&times).1 < KNOWN;
            together
                .satisfied
                .fetch_add(usize::from(satisfied), Ordering::Relaxed);
        }
        if satisfied && together.satisfied.load(Ordering::Relaxed) == together.jobs {
            return Ok(times);
        }
    }
}

/// Mean of the middle half, which a moment's disturbance leaves alone, and the standard error of the
/// mean relative to it; zeros of nothing.
fn middle_and_error(times: &[f64]) -> (f64, f64) {
    if times.is_empty() {
        return (0.0, 0.0);
    }
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let outer = sorted.len() / 4;
    let middle = &sorted[outer..sorted.len() - outer];
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (n, middle, all) = (times.len() as f64, mean(middle), mean(times));
    let variance = times.iter().map(|t| (t - all).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (
        middle,
        (variance / n).sqrt() / middle.max(f64::MIN_POSITIVE),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moments_disturbance_moves_the_error_and_not_the_middle() {
        assert_eq!(middle_and_error(&[]), (0.0, 0.0));
        assert_eq!(middle_and_error(&[2.0]), (2.0, 0.0));
        // Sample standard deviation √2, over √2 values, relative to 3.
        let (middle, error) = middle_and_error(&[2.0, 4.0]);
        assert_eq!(middle, 3.0);
        assert!((error - 1.0 / 3.0).abs() < 1e-12);
        let (middle, error) = middle_and_error(&[1.0, 1.0, 1.0, 9.0]);
        assert_eq!(middle, 1.0);
        assert!(error > 1.0);
    }

    #[test]
    fn timing_ends_when_all_have_seen_enough_or_there_is_no_more() {
        let limits = Limits {
            least: 3,
            seconds: 0.0,
            most_seconds: 0.0,
            bytes: 0,
        };
        let together = |jobs| Together {
            barrier: Barrier::new(jobs),
            satisfied: AtomicUsize::new(0),
            jobs,
        };
        let alone = timed(limits, &together(1), &mut || Ok(1)).unwrap();
        assert_eq!(alone.len(), 3);
        assert!(
            timed(limits, &together(1), &mut || Ok(0))
                .unwrap()
                .is_empty()
        );
        // Beside one that needs five, three are not enough; and one that fails is waited for no more.
        let two = together(2);
        let mut calls = 0;
        let times = timed(limits, &two, &mut || {
            calls += 1;
            if calls == 5 {
                let mut failed = || Err(crate::error::Error::input("a", "b", "c"));
                assert!(timed(limits, &two, &mut failed).is_err());
            }
            Ok(1)
        });
        assert_eq!(times.unwrap().len(), 5);
    }
}
