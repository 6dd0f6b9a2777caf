//! Progress of runs: bars on a terminal, a line now and then elsewhere.

use super::output::Output;
use crate::train::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::{
    sync::Mutex,
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
            Progress::Started { step, steps } => {
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
                self.last_eval = format!("  val {:.4} bpb", record.bpb);
            }
        }
    }

    /// Removes the bar, or says that the run is done.
    pub fn finish(self, text: &str) {
        match self.bar {
            Some(bar) => bar.finish_and_clear(),
            None => eprintln!("{}: {text}", self.label),
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
    done: Mutex<(usize, usize)>,
}

impl StudyProgress {
    pub fn new(trials: usize, output: Output) -> Self {
        let group = MultiProgress::new();
        let all = output.bars().then(|| {
            let bar = group.add(ProgressBar::new(trials as u64));
            bar.set_style(
                ProgressStyle::with_template(
                    "{prefix:<24} {bar:24} {pos:>6}/{len} {elapsed:>4}  {msg}",
                )
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
            done: Mutex::new((0, trials)),
        }
    }

    pub fn trial(&self, label: &str) -> RunProgress {
        RunProgress::new(label, self.output, Some(&self.group))
    }

    /// One more trial ended.
    pub fn trial_done(&self, label: &str, text: &str) {
        let mut done = self
            .done
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        done.0 += 1;
        match &self.all {
            Some(bar) => bar.set_position(done.0 as u64),
            None => eprintln!("[{}/{}] {label}: {text}", done.0, done.1),
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.all {
            bar.finish_and_clear();
        }
    }
}
