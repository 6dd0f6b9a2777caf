//! The rules, one function each.

use super::{Anomaly, Flag, Log};
use crate::{
    metrics::{Ending, StepRecord},
    run::Run,
    schedule::Schedule,
};
use std::collections::BTreeMap;

/// Steps that a spike is measured against.
const PAST: usize = 100;
/// Deviations from the median, in medians of absolute deviations.
const SPIKE: f64 = 8.0;
/// The same in the largest deviation of the steps before.
const BEYOND: f64 = 1.5;
/// Nats that a spike has at least: below, nobody cares.
const LEAST_SPIKE: f64 = 0.05;
/// Steps after a spike in which no other is flagged: one event is one flag.
const EVENT: u64 = 20;
/// Steps of the medians that divergence is seen in, and how long they must stay up.
const MEDIAN: usize = 20;
const STAYS: usize = 50;
/// Nats above the lowest median that are divergence, at least.
const RISE: f64 = 0.3;
/// A first loss this far from that of even odds, in nats.
const START: f64 = 0.3;
/// Evaluations in a row that have to rise, and by how much of the lowest in all.
const RISES: usize = 3;
const RISEN: f64 = 0.01;
/// How much longer steps take, against the median before, and for how many steps.
const SLOWER: f64 = 1.25;
const SLOW_STEPS: usize = 50;
/// Correlation of two runs' changes of loss that says they saw the same batches.
const SAME_ORDER: f64 = 0.2;
const STEPS_FOR_ORDER: usize = 50;

/// The loss or a gradient was no number.
pub fn not_a_number(log: &Log) -> Option<Flag> {
    let outcome = log.outcome.as_ref()?;
    let Ending::Diverged { step, what } = &outcome.ending else {
        return None;
    };
    Some(Flag {
        anomaly: Anomaly::NotANumber,
        step: *step,
        words: what.clone(),
        look: "the rate, the warm-up, and the steps just before",
    })
}

/// The first loss against ln(vocabulary). A recipe that starts from other weights than its own is
/// none of these.
pub fn start(log: &Log) -> Option<Flag> {
    let first = log.steps.first().filter(|step| step.step == 1)?;
    if first.targets == Some(0) {
        return None;
    }
    let even = (log.run.vocab_size as f64).ln();
    ((first.loss - even).abs() > START).then(|| Flag {
        anomaly: Anomaly::Start,
        step: 1,
        words: format!(
            "the first loss is {:.3}, a model that knows nothing has ln {} = {even:.3}",
            first.loss, log.run.vocab_size
        ),
        look: "the initial weights, the head, and whether targets leak into inputs",
    })
}

/// The first logged rate that is not the schedule's.
pub fn rate(log: &Log) -> Option<Flag> {
    let run = &log.run;
    let schedule = Schedule::new(&run.schedule, run.optimizer.lr, run.steps);
    let wrong = |step: &&StepRecord| {
        let due = schedule.lr(step.step.saturating_sub(1));
        (step.lr - due).abs() > 1e-9 * run.optimizer.lr
    };
    let step = log.steps.iter().find(wrong)?;
    let due = schedule.lr(step.step.saturating_sub(1));
    Some(Flag {
        anomaly: Anomaly::Rate,
        step: step.step,
        words: format!("the rate was {:e}, the schedule says {due:e}", step.lr),
        look: "the recipe that this log was written with",
    })
}

/// Steps whose loss counts targets.
fn counted(log: &Log) -> impl Iterator<Item = &StepRecord> {
    log.steps.iter().filter(|step| step.targets != Some(0))
}

/// Whether what is drawn has been the same for long enough that the past says what to expect: a phase
/// of another mixture has another loss.
fn is_settled(run: &Run, step: u64) -> bool {
    run.data.phases.iter().all(|phase| {
        let first = phase.at_step.unwrap_or(0);
        let until = first + phase.over_steps.unwrap_or(0) + PAST as u64;
        !(first + 1..=until).contains(&step)
    })
}

/// (step, residual) of two runs' losses on the same batches.
fn residuals(log: &Log, baseline: &Log) -> Vec<(u64, f64)> {
    let theirs: BTreeMap<u64, f64> = counted(baseline).map(|s| (s.step, s.loss)).collect();
    let both = counted(log).filter_map(|s| Some((s.step, s.loss - theirs.get(&s.step)?)));
    both.collect()
}

pub fn spikes_beside(log: &Log, baseline: &Log) -> Vec<Flag> {
    let words = |value: f64, usual: f64| {
        format!("{value:+.3} nats against the baseline, {usual:+.3} in the steps before")
    };
    spikes(&log.run, &residuals(log, baseline), &words)
}

/// Alone, a batch that is hard for any model looks like a spike, too.
pub fn spikes_alone(log: &Log) -> Vec<Flag> {
    let losses: Vec<(u64, f64)> = counted(log).map(|s| (s.step, s.loss)).collect();
    let words = |value: f64, usual: f64| format!("loss {value:.3}, {usual:.3} in the steps before");
    spikes(&log.run, &losses, &words)
}

/// Values far above the median of the [`PAST`] ones before.
fn spikes(run: &Run, values: &[(u64, f64)], words: &dyn Fn(f64, f64) -> String) -> Vec<Flag> {
    let mut flags: Vec<Flag> = Vec::new();
    for (idx, (step, value)) in values.iter().enumerate().skip(PAST) {
        let mut past: Vec<f64> = values[idx - PAST..idx].iter().map(|(_, v)| *v).collect();
        let usual = median(&mut past);
        past.iter_mut().for_each(|v| *v = (*v - usual).abs());
        // Small batches have heavy tails: a spike is also half as large again as anything before it.
        let largest = past.iter().copied().fold(0.0, f64::max);
        let least = (SPIKE * median(&mut past)).max(BEYOND * largest);
        let above = value - usual;
        let recent = flags.last().is_some_and(|flag| flag.step + EVENT > *step);
        let is_spike = above > least.max(LEAST_SPIKE);
        if is_spike && !recent && is_settled(run, *step) {
            flags.push(Flag {
                anomaly: Anomaly::Spike,
                step: *step,
                words: words(*value, usual),
                look: "the gradient norm at that step, and the batch",
            });
        }
    }
    flags
}

/// Where the loss, smoothed, went up for good.
pub fn divergence(log: &Log) -> Option<Flag> {
    let steps: Vec<&StepRecord> = counted(log).collect();
    let (mut lowest, mut high, mut spread) = (f64::INFINITY, 0, 0.0);
    for window in steps.windows(MEDIAN) {
        let mut losses: Vec<f64> = window.iter().map(|s| s.loss).collect();
        let now = median(&mut losses);
        if now < lowest || !is_settled(&log.run, window[MEDIAN - 1].step) {
            losses.iter_mut().for_each(|v| *v = (*v - now).abs());
            (lowest, spread) = (now, median(&mut losses));
        }
        high = match now > lowest + RISE.max(6.0 * spread) {
            true => high + 1,
            false => 0,
        };
        if high == STAYS {
            return Some(Flag {
                anomaly: Anomaly::Divergence,
                step: window[MEDIAN - 1].step,
                words: format!("the loss stays near {now:.3}; it had come down to {lowest:.3}"),
                look: "the rate and the clipping; a lower rate or a longer warm-up is the usual cure",
            });
        }
    }
    None
}

/// The first evaluation at which validation had risen [`RISES`] times in a row while training fell.
pub fn overfitting(log: &Log) -> Option<Flag> {
    let trained = |from: u64, to: u64| {
        let within = counted(log).filter(|s| s.step > from && s.step <= to);
        let losses: Vec<f64> = within.map(|s| s.loss).collect();
        (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64)
    };
    let evals = &log.evals;
    let mut lowest = f64::INFINITY;
    for (idx, eval) in evals.iter().enumerate() {
        lowest = lowest.min(eval.loss);
        if idx < RISES + 1 {
            continue;
        }
        let last = &evals[idx - RISES..=idx];
        let rises = last.windows(2).all(|pair| pair[1].loss > pair[0].loss);
        let before = trained(evals[idx - RISES - 1].step, last[0].step);
        let now = trained(last[RISES - 1].step, eval.step);
        let falls = before.zip(now).is_some_and(|(before, now)| now < before);
        if rises && falls && eval.loss > (1.0 + RISEN) * lowest {
            return Some(Flag {
                anomaly: Anomaly::Overfitting,
                step: eval.step,
                words: format!(
                    "validation rose {RISES} times to {:.3} from {lowest:.3} while training fell",
                    eval.loss
                ),
                look: "how often the data was repeated, dropout, weight decay; or stop earlier",
            });
        }
    }
    None
}

/// Where steps began to take longer and went on so.
pub fn slow(log: &Log) -> Option<Flag> {
    // The first steps warm caches and buffers up.
    let steps = log.steps.get(SLOW_STEPS..)?;
    for idx in SLOW_STEPS..steps.len().saturating_sub(SLOW_STEPS - 1) {
        let ms = |of: &[StepRecord]| median(&mut of.iter().map(|s| s.ms).collect::<Vec<_>>());
        let (now, rest) = (&steps[idx..idx + SLOW_STEPS], &steps[..idx]);
        // A whole stretch, not its median alone: evaluations and neighbours slow single steps.
        let usual = ms(rest);
        if now.iter().all(|s| s.ms > SLOWER * usual) {
            return Some(Flag {
                anomaly: Anomaly::Slow,
                step: now[0].step,
                words: format!("steps take {:.1} ms, they took {usual:.1}", ms(now)),
                look: "what else runs on this machine, its temperature, its memory",
            });
        }
    }
    None
}

/// Whether changes of the loss from step to step go together with the baseline's.
pub fn order(log: &Log, baseline: &Log) -> Option<Flag> {
    let theirs: BTreeMap<u64, f64> = counted(baseline).map(|s| (s.step, s.loss)).collect();
    let both: Vec<(f64, f64)> = counted(log)
        .filter_map(|s| Some((s.loss, *theirs.get(&s.step)?)))
        .collect();
    if both.len() < STEPS_FOR_ORDER {
        return None;
    }
    let changes: Vec<(f64, f64)> = both
        .windows(2)
        .map(|pair| (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1))
        .collect();
    let r = correlation(&changes);
    (r < SAME_ORDER).then(|| Flag {
        anomaly: Anomaly::Order,
        step: log.steps.first().map_or(0, |s| s.step),
        words: format!("its losses move with the baseline's by r = {r:.2} only: other batches"),
        look: "data_seed, the mixture and the corpora of both; residuals say nothing then",
    })
}

fn correlation(pairs: &[(f64, f64)]) -> f64 {
    let n = pairs.len() as f64;
    let (sx, sy) = pairs
        .iter()
        .fold((0.0, 0.0), |(x, y), p| (x + p.0, y + p.1));
    let (mx, my) = (sx / n, sy / n);
    let mut sums = (0.0, 0.0, 0.0);
    for (x, y) in pairs {
        let (dx, dy) = (x - mx, y - my);
        sums = (sums.0 + dx * dy, sums.1 + dx * dx, sums.2 + dy * dy);
    }
    sums.0 / (sums.1 * sums.2).sqrt().max(f64::MIN_POSITIVE)
}

/// The middle value; the values are put into another order.
fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}
