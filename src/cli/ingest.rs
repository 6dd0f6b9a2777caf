//! Progress of long passes over corpora: a bar on a terminal, a line now and then elsewhere.

use super::{output::Output, stop_on_interrupt};
use crate::{
    data::ingest::{Progress, Watch},
    error::{Error, Kind},
};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// Of smaller files nothing is said: they are done before it could be read.
const WORTH_BYTES: u64 = 64 << 20;
/// Between two lines of progress when stderr is not a terminal.
const QUIET: Duration = Duration::from_secs(10);

/// Shows passes over corpora, and ends one at Ctrl-C.
pub fn bar(output: Output) -> Box<Watch<'static>> {
    let mut shown: Option<Shown> = None;
    Box::new(move |progress: &Progress| {
        if progress.all < WORTH_BYTES {
            return Ok(());
        }
        let label = format!("{} {}", progress.doing, progress.name);
        if shown.as_ref().is_none_or(|shown| shown.label != label) {
            shown = Some(Shown::new(label, progress, output));
        }
        if let Some(shown) = &mut shown {
            shown.update(progress);
        }
        match stop_on_interrupt().load(Ordering::Relaxed) {
            false => Ok(()),
            true => Err(Error::new(
                Kind::Interrupted,
                format!("corpus \"{}\"", progress.name),
                format!("stopped while it was to {}", progress.doing),
                "run the same command again; tokens that were made are kept",
            )),
        }
    })
}

/// One pass that is shown.
struct Shown {
    label: String,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Shown {
    fn new(label: String, progress: &Progress, output: Output) -> Self {
        let bar = output.bars().then(|| {
            let style = "{prefix:<24} {bar:24} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            let style = ProgressStyle::with_template(style);
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(progress.all).with_style(style.progress_chars("━╸ "));
            bar.set_prefix(label.clone());
            bar.set_position(progress.done);
            bar.reset_eta();
            bar
        });
        Self {
            label,
            bar,
            last_line: Instant::now(),
        }
    }

    fn update(&mut self, progress: &Progress) {
        if let Some(bar) = &self.bar {
            bar.set_position(progress.done);
        } else if self.last_line.elapsed() >= QUIET {
            self.last_line = Instant::now();
            let [done, all] = [progress.done, progress.all].map(|bytes| bytes >> 20);
            eprintln!("{}: {done} of {all} MiB", self.label);
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
