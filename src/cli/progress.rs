//! Progress of runs: bars on a terminal, a line now and then elsewhere.

use super::output::Output;
use crate::{run_dir::TrialId, study::contract::Contract, train::Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Between two lines of progress when stderr is not a terminal.
const QUIET: Duration = Duration::from_secs(10);

/// One run's progress.
pub struct RunProgress {
    bar: Option<ProgressBar>,
    label: String,
    steps: u64,
    last_line: Instant,
    last_eval: String,
}

impl RunProgress {
    pub fn new(label: &str, output: Output, group: Option<&MultiProgress>) -> Self {
        let bar = output.bars().then(|| {
            let bar = ProgressBar::no_length().with_style(style());
            let bar = match group {
                Some(group) => group.add(bar),
                None => bar,
            };
            bar.set_prefix(label.to_string());
            bar
        });
        Self {
            bar,
            label: label.into(),
            steps: 0,
            last_line: Instant::now(),
            last_eval: String::new(),
        }
    }

    pub fn update(&mut self, progress: Progress) {
        match progress {
            Progress::Started { step, steps, .. } => {
                self.steps = steps;
                if let Some(bar) = &self.bar {
                    bar.set_length(steps);
                    bar.set_position(step);
                    bar.reset_eta();
                } else if step > 0 {
                    eprintln!("{}: goes on from step {step} of {steps}", self.label);
                }
            }
            Progress::Step(record) => {
                let speed = record.tokens as f64 / record.step as f64 / record.ms;
                let text = format!(
                    "loss {:.4}{}  {speed:.1}k tok/s",
                    record.loss, self.last_eval
                );
                if let Some(bar) = &self.bar {
                    bar.set_position(record.step);
                    bar.set_message(text);
                } else if self.last_line.elapsed() >= QUIET {
                    self.last_line = Instant::now();
                    eprintln!(
                        "{}: step {} of {}  {text}",
                        self.label, record.step, self.steps
                    );
                }
            }
            Progress::Eval(record) => {
                self.last_eval = format!("  val {:.4} bpb{}", record.bpb, record.accuracies());
            }
        }
    }

    /// Removes the bar.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix:<24} {bar:24} {pos:>6}/{len} {eta:>4}  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸ ")
}

/// A study's progress: one bar for all its trials, one for each that runs.
pub struct StudyProgress {
    group: MultiProgress,
    all: Option<ProgressBar>,
    output: Output,
    /// "arm, seed" by trial; the first arm that uses it.
    labels: BTreeMap<TrialId, String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ended: usize,
    running: BTreeMap<TrialId, RunProgress>,
}

impl StudyProgress {
    pub fn new(contract: &Contract, trials: usize, output: Output) -> Self {
        let mut labels = BTreeMap::new();
        for arm in &contract.terms.arms {
            for (seed, trial) in contract.terms.seeds.iter().zip(&arm.trials) {
                let label = || format!("{}, seed {seed}", arm.name);
                labels.entry(trial.clone()).or_insert_with(label);
            }
        }
        let group = MultiProgress::new();
        let all = output.bars().then(|| {
            let bar = group.add(ProgressBar::new(trials as u64));
            bar.set_style(
                ProgressStyle::with_template("{prefix:<24} {bar:24} {pos:>6}/{len} {elapsed:>4}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar())
                    .progress_chars("━╸ "),
            );
            bar.set_prefix("trials");
            bar.enable_steady_tick(Duration::from_secs(1));
            bar
        });
        Self {
            group,
            all,
            output,
            labels,
            state: Mutex::default(),
        }
    }

    pub fn update(&self, trial: &TrialId, progress: Progress) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let run = state
            .running
            .entry(trial.clone())
            .or_insert_with(|| RunProgress::new(self.label(trial), self.output, Some(&self.group)));
        run.update(progress);
    }

    /// A trial ended, now or in an earlier process.
    pub fn ended(&self, trial: &TrialId, text: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended += 1;
        let now = state.running.remove(trial);
        match (&self.all, now) {
            (Some(all), now) => {
                all.set_position(state.ended as u64);
                if let Some(run) = now {
                    run.finish();
                }
            }
            (None, Some(_)) => {
                let n = self.labels.len();
                eprintln!("[{}/{n}] {}: {text}", state.ended, self.label(trial));
            }
            (None, None) => {}
        }
    }

    fn label(&self, trial: &TrialId) -> &str {
        self.labels.get(trial).map_or("", String::as_str)
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.all {
            bar.finish_and_clear();
        }
        let _ = self.group.clear();
    }
}
