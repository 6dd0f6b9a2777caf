//! A report's tables as rows of text, shared by the Markdown and the HTML page so that both say
//! the same.

use super::{TrialRecords, threads};
use crate::{
    metrics::{Ending, Outcome},
    stats::{
        paired::{Paired, paired},
        simultaneous_confidence,
    },
    study::{
        contract::{ArmTerms, Contract},
        spent::{Amount, Stretch, in_packs},
        verdict::{ArmVerdict, Looks, Pair, Verdict, digits},
    },
};
use std::collections::BTreeSet;

/// A head and rows of as many cells.
pub struct Table {
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

const NONE: &str = "—";

fn words(cells: &[&str]) -> Vec<String> {
    cells.iter().map(ToString::to_string).collect()
}

/// What an arm changes: "path: before → after".
pub fn changes(arm: &ArmTerms) -> Vec<String> {
    let changes = arm.changes.iter();
    let changes = changes.map(|(path, (before, after))| format!("{path}: {before} → {after}"));
    changes.collect()
}

/// What each process that trained some of a study was to take, and took.
pub fn stretches(stretches: &[Stretch]) -> Table {
    let mib = |bytes: u64| format!("{:.0}", bytes as f64 / f64::from(1 << 20));
    let row = |what: String, amount: &Amount| {
        vec![
            what,
            format!("{:.2}", amount.minutes),
            format!("{:.2}", amount.trial_minutes),
            mib(amount.memory_bytes),
        ]
    };
    let rows = stretches.iter().flat_map(|stretch| {
        let end = match stretch.interrupted {
            true => ", then interrupted",
            false => "",
        };
        let spent = format!(
            "spent: {} trials, {} side by side{} of {} each{end}",
            stretch.trials,
            stretch.jobs,
            in_packs(stretch.pack),
            threads(stretch.threads)
        );
        let predicted = format!("predicted, ± {:.0}%", 100.0 * stretch.uncertainty);
        [
            row(predicted, &stretch.predicted),
            row(spent, &stretch.spent),
        ]
    });
    Table {
        head: words(&["", "minutes", "minutes of trials", "MiB at most"]),
        rows: rows.collect(),
    }
}

/// Every arm's change, verdict, effect and interval.
pub fn effects(contract: &Contract, verdict: &Verdict) -> Table {
    let places = digits(verdict.rule.margin);
    let of_arm = |arm: &ArmVerdict| {
        let terms = contract.terms.arms.iter().find(|a| a.name == arm.arm);
        let changes = terms.map(|terms| changes(terms).join("; "));
        let (difference, interval, p) = match (&arm.effect, arm.sign_p) {
            (Some(e), _) => (
                format!("{:+.places$}", e.mean),
                format!("{:+.places$} to {:+.places$}", e.low, e.high),
                format!("{:.2e}", e.p),
            ),
            (None, Some(p)) => (NONE.into(), NONE.into(), format!("{p:.3} (sign test)")),
            (None, None) => (NONE.into(), NONE.into(), NONE.into()),
        };
        vec![
            arm.arm.clone(),
            changes.unwrap_or_default(),
            arm.call.name().into(),
            difference,
            interval,
            p,
            format!("{} (control {})", arm.diverged.1, arm.diverged.0),
        ]
    };
    Table {
        head: words(&[
            "arm",
            "change",
            "verdict",
            "difference",
            "interval",
            "p",
            "diverged",
        ]),
        rows: verdict.arms.iter().map(of_arm).collect(),
    }
}

/// A swarm's arms by their final metric, the best first: what each trained on or was set to, the mean
/// over its seeds, and every corpus alone in bits per byte. `None` of a study without a space.
pub fn ranking(contract: &Contract, outcomes: &[Vec<Outcome>]) -> Option<Table> {
    let space = contract.terms.space.as_ref()?;
    let metric = contract.terms.decision.metric;
    let mean = |of: &dyn Fn(&Outcome) -> Option<f64>, outcomes: &[Outcome]| {
        let values: Option<Vec<f64>> = outcomes.iter().map(of).collect();
        values.map(|values| values.iter().sum::<f64>() / values.len().max(1) as f64)
    };
    let cell = |value: Option<f64>| value.map_or("diverged".into(), |x| format!("{x:.4}"));
    let corpora: Vec<&String> = contract
        .terms
        .arms
        .first()?
        .run
        .eval
        .corpora
        .iter()
        .map(|share| &share.corpus)
        .collect();
    let mut rows: Vec<(f64, Vec<String>)> = Vec::new();
    for (arm, outcomes) in contract.terms.arms.iter().zip(outcomes) {
        let shares = arm
            .run
            .data
            .mixture
            .iter()
            .filter(|share| share.weight > 0.0);
        let mixture: Vec<String> = shares
            .map(|share| format!("{} {:.1}%", share.name(), 100.0 * share.weight))
            .collect();
        let others = arm
            .changes
            .iter()
            .filter(|(path, _)| space.vary.contains_key(*path));
        let others = others.map(|(path, (_, after))| format!("{path} = {after}"));
        let all = mean(&|outcome| outcome.metric(metric), outcomes);
        let each = corpora.iter().map(|corpus| {
            cell(mean(
                &|outcome| Some(outcome.eval()?.val.get(*corpus)?.bpb),
                outcomes,
            ))
        });
        let what: Vec<String> = std::iter::once(mixture.join(", "))
            .filter(|_| !space.corpora.is_empty())
            .chain(others)
            .collect();
        let row = [arm.name.clone(), what.join("; "), cell(all)]
            .into_iter()
            .chain(each)
            .collect();
        rows.push((all.unwrap_or(f64::INFINITY), row));
    }
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let head = words(&["arm", "point", metric.unit()]).into_iter();
    Some(Table {
        head: head.chain(corpora.into_iter().cloned()).collect(),
        rows: rows.into_iter().map(|(_, row)| row).collect(),
    })
}

/// Mean paired differences of each corpus with their intervals; `None` where no arm has any.
pub fn corpora(verdict: &Verdict, outcomes: &[Vec<Outcome>]) -> Option<Table> {
    let mut names: Vec<&String> = verdict
        .arms
        .iter()
        .flat_map(|a| a.by_corpus.keys())
        .collect();
    names.sort();
    names.dedup();
    let (control, arms) = outcomes.split_first()?;
    let confidence = simultaneous_confidence(verdict.rule.alpha, verdict.arms.len());
    let cell = |arm: &ArmVerdict, outcomes: &[Outcome], corpus: &str| {
        let Some(mean) = arm.by_corpus.get(corpus) else {
            return NONE.to_string();
        };
        match by_corpus((control, outcomes), corpus, confidence) {
            Some(e) => format!("{mean:+.4} ({:+.4} to {:+.4})", e.low, e.high),
            None => format!("{mean:+.4} (no interval)"),
        }
    };
    let rows = verdict.arms.iter().zip(arms).map(|(arm, outcomes)| {
        let cells = names.iter().map(|name| cell(arm, outcomes, name));
        std::iter::once(arm.arm.clone()).chain(cells).collect()
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let head = std::iter::once("arm".to_string()).chain(names.iter().map(ToString::to_string));
    let head = head.collect();
    (!names.is_empty()).then_some(Table { head, rows })
}

/// Mean share of answers that each arm gets right, by corpus, over the seeds that finished; `None`
/// where no corpus has answers.
pub fn accuracy(contract: &Contract, outcomes: &[Vec<Outcome>]) -> Option<Table> {
    let evals = outcomes.iter().flatten().filter_map(Outcome::eval);
    let with_answers = evals.flat_map(|eval| &eval.val);
    let with_answers = with_answers.filter(|(_, val)| val.accuracy.is_some());
    let names: BTreeSet<&String> = with_answers.map(|(corpus, _)| corpus).collect();
    let cell = |outcomes: &[Outcome], corpus: &String| {
        let evals = outcomes.iter().filter_map(Outcome::eval);
        let seen: Vec<f64> = evals
            .filter_map(|eval| eval.val.get(corpus)?.accuracy)
            .collect();
        match seen.len() {
            0 => NONE.to_string(),
            n => format!("{:.2}%", 100.0 * seen.iter().sum::<f64>() / n as f64),
        }
    };
    let arms = contract.terms.arms.iter().zip(outcomes);
    let rows = arms.map(|(arm, outcomes)| {
        let cells = names.iter().map(|name| cell(outcomes, name));
        std::iter::once(arm.name.clone()).chain(cells).collect()
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let head = std::iter::once("arm".to_string()).chain(names.iter().map(ToString::to_string));
    let head = head.collect();
    (!names.is_empty()).then_some(Table { head, rows })
}

/// The paired difference in one corpus's bits per byte.
fn by_corpus(
    (control, arm): (&[Outcome], &[Outcome]),
    corpus: &str,
    confidence: f64,
) -> Option<Paired> {
    let bpb = |outcome: &Outcome| Some(outcome.eval()?.val.get(corpus)?.bpb);
    let pairs = control.iter().zip(arm);
    let differences: Option<Vec<f64>> = pairs.map(|(c, a)| Some(bpb(a)? - bpb(c)?)).collect();
    paired(&differences?, confidence)
}

/// Every seed's numbers and differences.
pub fn pairs(verdict: &Verdict) -> Table {
    let mut head = vec!["seed".to_string(), verdict.control.clone()];
    for arm in &verdict.arms {
        head.extend([arm.arm.clone(), "difference".into()]);
    }
    let number = |x: Option<f64>| x.map_or("diverged".into(), |x| format!("{x:.5}"));
    let of_seed = |(idx, pair): (usize, &Pair)| {
        let mut row = vec![pair.seed.to_string(), number(pair.control)];
        for arm in &verdict.arms {
            let pair = &arm.pairs[idx];
            let difference = pair.difference();
            row.push(number(pair.arm));
            row.push(difference.map_or(NONE.into(), |d| format!("{d:+.5}")));
        }
        row
    };
    let first = verdict.arms.first();
    let pairs = first.map_or(&[][..], |arm| &arm.pairs);
    Table {
        head,
        rows: pairs.iter().enumerate().map(of_seed).collect(),
    }
}

/// What the first seed's trial of each arm drew, beside what its weights declared. Every seed draws the same number of rows from each
/// corpus, give or take one.
pub fn realised<'a>(arms: impl Iterator<Item = (&'a str, Option<&'a Outcome>)>) -> Table {
    let mut rows = Vec::new();
    for (arm, outcome) in arms {
        for part in outcome.map_or(&[][..], |outcome| &outcome.realised) {
            let percent = |share: f64| format!("{:.1}%", 100.0 * share);
            let row = |what: String, tokens: u64, shares: (f64, Option<f64>), epochs: f64| {
                vec![
                    arm.into(),
                    what,
                    tokens.to_string(),
                    percent(shares.0),
                    shares.1.map_or(NONE.into(), percent),
                    format!("{epochs:.2}"),
                ]
            };
            let shares = (part.share, part.declared);
            rows.push(row(part.corpus.clone(), part.tokens, shares, part.epochs));
            for phase in &part.phases {
                let (from, to) = (phase.from_step, phase.to_step - 1);
                let epochs = part.epochs * phase.tokens as f64 / part.tokens.max(1) as f64;
                rows.push(row(
                    format!("{}, steps {from} to {to}", part.corpus),
                    phase.tokens,
                    (phase.share, Some(phase.declared)),
                    epochs,
                ));
            }
        }
    }
    Table {
        head: words(&["arm", "corpus", "tokens", "share", "declared", "epochs"]),
        rows,
    }
}

/// Every trial: arm, seed, id, how it ended, what it cost, and its corpora.
pub fn trials(contract: &Contract, trials: &[Vec<TrialRecords>]) -> Table {
    let corpora = &contract.terms.arms[0].run.eval.corpora;
    let mut head = words(&["arm", "seed", "trial", "bpb", "loss"]);
    head.extend(corpora.iter().map(|share| format!("{} bpb", share.corpus)));
    head.extend(words(&["tokens", "seconds"]));
    let mut rows = Vec::new();
    for (arm, trials) in contract.terms.arms.iter().zip(trials) {
        for trial in trials {
            let mut row = vec![
                arm.name.clone(),
                trial.seed.to_string(),
                trial.id.to_string(),
            ];
            row.extend(ended(
                trial,
                corpora.iter().map(|share| share.corpus.as_str()),
            ));
            rows.push(row);
        }
    }
    Table { head, rows }
}

fn ended<'a>(trial: &TrialRecords, corpora: impl Iterator<Item = &'a str>) -> Vec<String> {
    let Some(outcome) = &trial.outcome else {
        let state = match trial.last_step() {
            0 => "not started".to_string(),
            step => format!("at step {step}"),
        };
        let rest = vec![NONE.to_string(); corpora.count() + 3];
        return std::iter::once(state).chain(rest).collect();
    };
    let (bpb, loss) = match &outcome.ending {
        Ending::Finished { eval } => (format!("{:.5}", eval.bpb), format!("{:.5}", eval.loss)),
        Ending::Diverged { step, what } => {
            (format!("diverged at step {step}: {what}"), NONE.into())
        }
    };
    let mut cells = vec![bpb, loss];
    for corpus in corpora {
        let val = outcome.eval().and_then(|eval| eval.val.get(corpus));
        cells.push(val.map_or(NONE.into(), |val| format!("{:.5}", val.bpb)));
    }
    cells.push(outcome.cost.tokens.to_string());
    cells.push(format!("{:.1}", outcome.cost.seconds));
    cells
}

fn looks(contract: &Contract) -> String {
    let rule = contract.rule();
    let level = match &contract.terms.campaign {
        Some(place) => format!(
            "; study {} of the campaign {}, at its level {:.5}",
            place.earlier + 1,
            place.campaign.name,
            place.level
        ),
        None => String::new(),
    };
    match rule.looks {
        Looks::Once => format!("fixed: all seeds, then one look{level}"),
        Looks::EachSeed { first, most } => format!(
            "anytime: a look after every seed from the {first}th to the {most}th, until each arm is decided{level}"
        ),
    }
}

/// What was agreed, but for the arms.
pub fn terms(contract: &Contract) -> Table {
    let terms = &contract.terms;
    let corpora = terms.arms[0].run.eval.corpora.iter();
    let eval = corpora.map(|share| format!("{} (weight {:.3})", share.corpus, share.weight));
    let seeds: Vec<String> = terms.seeds.iter().map(ToString::to_string).collect();
    let d = &terms.decision;
    let rows = [
        ("proposer", terms.proposer.clone()),
        ("metric", d.metric.unit().to_string()),
        ("evaluated on", eval.collect::<Vec<_>>().join(", ")),
        ("margin", format!("±{}", d.margin)),
        ("alpha", d.alpha.to_string()),
        ("rule", looks(contract)),
        ("seeds", seeds.join(" ")),
        ("tokens per trial", terms.arms[0].tokens.to_string()),
        (
            "device",
            format!(
                "{}, {}, {} per trial",
                terms.device.class,
                terms.device.dtype,
                threads(terms.device.threads)
            ),
        ),
        ("numerics", terms.numerics.clone()),
        ("validation windows", terms.windows.clone()),
        ("digest", contract.digest.clone()),
    ];
    Table {
        head: words(&["", ""]),
        rows: rows.map(|(name, value)| vec![name.into(), value]).into(),
    }
}
