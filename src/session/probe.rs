//! What a run costs on this machine, from a few of its own steps, an evaluation's first batches and
//! a file's worth of bytes.

use super::Session;
use crate::{
    calibration::Timing,
    data::EvalWindows,
    device::Resident,
    digest::sha256,
    error::Result,
    files,
    run::Run,
    train::{RunData, Trainer},
};
use std::{path::Path, sync::Barrier, time::Instant};

/// How long to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Somebody waits for the first step: a tenth of a second where steps are short.
    Quick,
    /// Somebody asked: about a second.
    Thorough,
}

/// When to stop timing something.
struct Limits {
    least: usize,
    seconds: f64,
    /// Bytes of a trial file.
    bytes: usize,
}

impl Effort {
    fn steps(self) -> Limits {
        match self {
            Self::Quick => Limits {
                least: 2,
                seconds: 0.03,
                bytes: 1 << 20,
            },
            Self::Thorough => Limits {
                least: 4,
                seconds: 1.0,
                bytes: 16 << 20,
            },
        }
    }
}

/// Small files that a run syncs from its start to its end: recipe, environment, events, metrics,
/// outcome, the ledger's journal.
const SMALL_FILES: f64 = 10.0;

impl Session {
    /// Times `jobs` copies of a run side by side, each on this session's threads: cores share caches
    /// and memory. Errors when the data does not fit the run.
    pub fn probe(&self, run: &Run, data: &RunData, jobs: usize, effort: Effort) -> Result<Timing> {
        let before = Resident::forget_peak().then(|| Resident::read().now);
        let barrier = Barrier::new(jobs);
        let found: Vec<Result<Timing>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs)
                .map(|_| scope.spawn(|| self.probe_one(run, data, &barrier, effort)))
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

    /// One of the copies; all that are beside it do the same at the same time.
    fn probe_one(
        &self,
        run: &Run,
        data: &RunData,
        barrier: &Barrier,
        effort: Effort,
    ) -> Result<Timing> {
        let started = Instant::now();
        let trainer = Trainer::new(run, data.clone(), &self.compute).and_then(|mut trainer| {
            let fresh = started.elapsed().as_secs_f64();
            let now = Instant::now();
            // It fills the buffers.
            let _ = trainer.train_step()?;
            Ok((trainer, fresh, now.elapsed().as_secs_f64()))
        });
        // Everybody comes here, with an error too: nobody waits for ever.
        barrier.wait();
        let stepped = trainer.and_then(|(mut trainer, fresh, first)| {
            let mut step = || Ok(trainer.train_step()?.is_ok());
            let times = timed(&effort.steps(), &mut step)?;
            Ok((trainer, fresh, first, times))
        });
        barrier.wait();
        let (mut trainer, fresh, first, times) = stepped?;
        let (seconds_per_step, noise) = mean_and_error(&times);
        let mut eval_seconds = 0.0;
        // Windows that are judged by answers take longer; any others are alike.
        let mut per_token = [None, None];
        for (_, windows) in &data.windows {
            let known = &mut per_token[usize::from(windows.answers().is_some())];
            let rate = match *known {
                Some(rate) => rate,
                None => eval_rate(&mut trainer, windows, effort)?,
            };
            *known = Some(rate);
            eval_seconds += rate * windows.tokens() as f64;
        }
        // The averaged weights are evaluated as well.
        let evaluations = if run.eval.ema > 0.0 { 2.0 } else { 1.0 };
        Ok(Timing {
            start_seconds: fresh + (first - seconds_per_step).max(0.0),
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
        let measured = bytes.clamp(1 << 10, effort.steps().bytes);
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

/// Seconds a token of an evaluation's first batches.
fn eval_rate(trainer: &mut Trainer, windows: &EvalWindows, effort: Effort) -> Result<f64> {
    trainer.evaluate_passes(windows, 1)?;
    let (n, seconds) = match effort {
        Effort::Quick => (1, 0.0),
        Effort::Thorough => (4, 0.3),
    };
    let (mut tokens, mut passes) = (0, n);
    let now = Instant::now();
    loop {
        tokens += trainer.evaluate_passes(windows, passes)?;
        let passed = now.elapsed().as_secs_f64();
        if passed >= seconds || tokens == 0 {
            return Ok(passed / tokens.max(1) as f64);
        }
        passes *= 2;
    }
}

/// Seconds of each call until there are enough of them, or one says that there is no more.
fn timed(limits: &Limits, step: &mut dyn FnMut() -> Result<bool>) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    let started = Instant::now();
    while times.len() < limits.least || started.elapsed().as_secs_f64() < limits.seconds {
        let now = Instant::now();
        if !step()? {
            break;
        }
        times.push(now.elapsed().as_secs_f64());
    }
    Ok(times)
}

/// Mean, since a run is the sum of its steps, and its standard error relative to it; zeros of
/// nothing.
fn mean_and_error(times: &[f64]) -> (f64, f64) {
    if times.is_empty() {
        return (0.0, 0.0);
    }
    let n = times.len() as f64;
    let mean = times.iter().sum::<f64>() / n;
    let variance = times.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, (variance / n).sqrt() / mean.max(f64::MIN_POSITIVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_has_the_standard_error_of_its_values() {
        assert_eq!(mean_and_error(&[]), (0.0, 0.0));
        assert_eq!(mean_and_error(&[2.0]), (2.0, 0.0));
        // Sample standard deviation √2 · 1, over √2 values, relative to 3.
        let (mean, error) = mean_and_error(&[2.0, 4.0]);
        assert_eq!(mean, 3.0);
        assert!((error - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn timing_ends_with_enough_calls_or_when_there_is_no_more() {
        let limits = Limits {
            least: 3,
            seconds: 0.0,
            bytes: 0,
        };
        let mut calls = 0;
        let mut count = || {
            calls += 1;
            Ok(true)
        };
        assert_eq!(timed(&limits, &mut count).unwrap().len(), 3);
        assert_eq!(calls, 3);
        assert!(timed(&limits, &mut || Ok(false)).unwrap().is_empty());
    }
}
