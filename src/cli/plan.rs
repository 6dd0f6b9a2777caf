//! `windtunnel plan STUDY.toml`

use super::{
    Global,
    output::Output,
    study::{StudyArgs, ready},
};
use crate::{
    data::declared::Declared,
    error::Result,
    report::{duration, threads},
    session::{Effort, Trial},
    stats::chances::Chances,
    study::{
        contract::ArmTerms,
        forecast::{Basis, Forecast},
        ledger::Ledger,
        plan::Planned,
        proposal::Study,
        sides::Why,
        sight::Outlook,
        spent::in_packs,
        verdict::{Looks, Percent},
    },
};
use serde_json::json;

pub fn run(global: &Global, args: &StudyArgs, output: Output) -> Result<()> {
    let rungs = Study::rungs(&args.study)?;
    if rungs.is_empty() {
        let planned = one(global, args, output)?;
        output.result("windtunnel.plan.v1", &planned.value, &planned.words);
        return planned.allowed;
    }
    let (mut text, mut minutes, mut values) = (String::new(), 0.0, Vec::new());
    let mut allowed = Ok(());
    for rung in &rungs {
        let of_rung = StudyArgs {
            rung: Some(rung.idx),
            ..args.clone()
        };
        let planned = one(global, &of_rung, output)?;
        text += &format!("rung      {}\n{}\n", rung.label, planned.words);
        minutes += planned.minutes;
        values.push(planned.value);
        allowed = allowed.and(planned.allowed);
    }
    text += &format!(
        "ladder    {} rungs, about {}\n",
        rungs.len(),
        duration(60.0 * minutes)
    );
    let value = json!({ "rungs": values, "minutes": minutes });
    output.result("windtunnel.plan_ladder.v1", &value, &text);
    allowed
}

/// A study, or a rung of one, planned.
struct OnePlan {
    value: serde_json::Value,
    words: String,
    minutes: f64,
    /// Whether limits and gates let it run.
    allowed: Result<()>,
}

fn one(global: &Global, args: &StudyArgs, output: Output) -> Result<OnePlan> {
    let ready = ready(global, args, output, Effort::Thorough)?;
    let ledger = Ledger::read(&global.home)?;
    let at = (ready.at_once, Effort::Thorough);
    let forecast = ready.planned.forecast(&ready.session, &ledger, at)?;
    let mixtures = mixtures(&ready.planned)?;
    let said = Said {
        forecast: &forecast,
        sides: &ready.why,
        mixtures: &mixtures,
        caution: ready.caution.as_deref(),
    };
    let words =
        describe(&forecast, &ready.why) + &drawn(&mixtures) + &cautions(ready.caution.as_deref());
    let allowed = forecast.check(&ready.planned.contract, ready.available_bytes);
    if allowed.is_ok() {
        ready.session.keep_calibration()?;
    }
    Ok(OnePlan {
        value: json!(said),
        words,
        minutes: forecast.minutes,
        allowed,
    })
}

#[derive(serde::Serialize)]
struct Said<'a> {
    #[serde(flatten)]
    forecast: &'a Forecast,
    /// Why so many side by side.
    sides: &'a Why,
    /// What each arm is going to draw.
    mixtures: &'a [ArmMixture],
    /// What the study's design leaves open.
    #[serde(skip_serializing_if = "Option::is_none")]
    caution: Option<&'a str>,
}

/// A caution as a line of the plan.
pub fn cautions(caution: Option<&str>) -> String {
    caution.map_or(String::new(), |words| format!("note      {words}\n"))
}

/// What an arm's trials are going to draw.
#[derive(serde::Serialize)]
pub struct ArmMixture {
    arm: String,
    #[serde(flatten)]
    declared: Declared,
    warnings: Vec<String>,
}

pub fn mixtures(planned: &Planned) -> Result<Vec<ArmMixture>> {
    let arms = planned.contract.terms.arms.iter().zip(&planned.trials);
    let of_arm = |(arm, trials): (&ArmTerms, &Vec<Trial>)| {
        let batches = trials[0].data.batches(&arm.run)?;
        let declared = batches.declared(arm.run.steps);
        Ok(ArmMixture {
            arm: arm.name.clone(),
            warnings: declared.warnings(),
            declared,
        })
    };
    arms.map(of_arm).collect()
}

/// What arms are going to draw, in words; those that draw the same are said once.
pub fn drawn(mixtures: &[ArmMixture]) -> String {
    let mut text = String::new();
    let shown = match mixtures.len() > MOST_ARMS {
        true => FEW_ARMS,
        false => mixtures.len(),
    };
    for (idx, mixture) in mixtures.iter().take(shown).enumerate() {
        let same = |other: &&ArmMixture| other.declared == mixture.declared;
        if mixtures[..idx].iter().any(|other| same(&other)) {
            continue;
        }
        let arms = mixtures.iter().filter(same).map(|other| other.arm.as_str());
        let label = if idx == 0 { "draws" } else { "" };
        text += &format!("{label:<9} {}:\n", arms.collect::<Vec<_>>().join(", "));
        for line in mixture.declared.lines() {
            text += &format!("            {line}\n");
        }
        for warning in &mixture.warnings {
            text += &format!("          warning: {warning}\n");
        }
    }
    if shown < mixtures.len() {
        text += &format!("          and {} more\n", mixtures.len() - shown);
    }
    text
}

/// Of more arms than these a terminal shows only a few.
const MOST_ARMS: usize = 12;
const FEW_ARMS: usize = 4;
/// And of pairs of corpora those that share most.
const MOST_OVERLAPS: usize = 3;

/// A forecast in words, and why so many trials run side by side.
pub fn describe(f: &Forecast, why: &Why) -> String {
    let mut text = format!("study     {}\nclaim     {}\n", f.study, f.claim);
    let shown = if f.arms.len() > MOST_ARMS {
        FEW_ARMS
    } else {
        f.arms.len()
    };
    for (idx, arm) in f.arms.iter().take(shown).enumerate() {
        let label = if idx == 0 { "arms" } else { "" };
        let what = match &arm.factor {
            None => "control".to_string(),
            Some(_) if arm.changes.is_empty() => "the control again (A/A)".to_string(),
            Some(_) => {
                let changes = arm.changes.iter();
                let changes =
                    changes.map(|(path, (before, after))| format!("{path}: {before} → {after}"));
                changes.collect::<Vec<_>>().join("; ")
            }
        };
        text += &format!("{label:<9} {}: {what}\n", arm.name);
        if let Some(why) = &arm.confounded {
            text += &format!("          confounded, so its verdict will be invalid: {why}\n");
        }
    }
    if shown < f.arms.len() {
        text += &format!("          and {} more\n", f.arms.len() - shown);
    }
    let first = &f.arms[0];
    text += &format!(
        "trials    {} ({} arms × {} paired seeds), {} finished; {} parameters, {} tokens each\n",
        f.trials,
        f.arms.len(),
        match f.looks {
            Looks::Once => f.seeds.to_string(),
            Looks::EachSeed { first, .. } => format!("{first} to {}", f.seeds),
        },
        f.finished,
        first.parameters,
        first.tokens_per_trial,
    );
    text += &format!(
        "to do     {} tokens, {:.3e} FLOPs, about {} ± {:.0}%, {:.0} MiB\n",
        f.tokens,
        f.flops,
        duration(60.0 * f.minutes),
        100.0 * f.basis.uncertainty,
        f.memory_bytes as f64 / f64::from(1 << 20),
    );
    text += &format!("          {}\n", basis(&f.basis));
    text += &format!(
        "          {} of {} side by side{}: {}\n",
        f.jobs,
        threads(f.threads),
        in_packs(f.pack),
        why.words()
    );
    let mut overlaps: Vec<_> = f.overlaps.iter().collect();
    overlaps.sort_by(|a, b| b.share().total_cmp(&a.share()));
    for overlap in overlaps.iter().take(MOST_OVERLAPS) {
        text += &format!("leaks     none: {}\n", overlap.in_words());
    }
    if overlaps.len() > MOST_OVERLAPS {
        let more = overlaps.len() - MOST_OVERLAPS;
        text += &format!("          nor in {more} other pairs of corpora, which share less\n");
    }
    let s = &f.sight;
    if !s.smallest_sd.is_finite() {
        return text + "sees      no difference: one seed has no interval\n";
    }
    text += &format!(
        "sees      {:.2} σ of the paired differences with chance 0.8, by {}% intervals\n",
        s.smallest_sd,
        Percent(s.confidence),
    );
    match (&s.sigma, s.smallest) {
        (Some(sigma), Some(smallest)) => {
            text += &format!(
                "          = {smallest:.4} {}; σ is {:.4} from {} {}; the margin is {}\n",
                f.metric.unit(),
                sigma.value,
                sigma.n,
                sigma.from,
                s.margin
            );
        }
        _ => {
            text += "          σ is not known before three seeds of an arm are finished\n";
        }
    }
    for outlook in &s.outlook {
        text += &outlooks(outlook, f);
    }
    text
}

/// The chance of each verdict by either rule, and how many seeds it takes.
fn outlooks(outlook: &Outlook, f: &Forecast) -> String {
    let what = match outlook.predicted {
        true => format!("if the effect is the predicted {:+}", outlook.effect),
        false => "if there is no effect".into(),
    };
    let seconds = f.arms.iter().filter_map(|arm| arm.seconds_per_trial);
    let minutes = seconds.sum::<f64>() / 60.0;
    let chances = |c: &Chances| {
        format!(
            "better {:.0}%, worse {:.0}%, equivalent {:.0}%, inconclusive {:.0}%; {:.1} seeds, {} of trials",
            100.0 * c.better,
            100.0 * c.worse,
            100.0 * c.equivalent,
            100.0 * c.inconclusive,
            c.pairs,
            duration(60.0 * minutes * c.pairs)
        )
    };
    format!(
        "          {what}:\n            fixed    {}\n            anytime  {}\n",
        chances(&outlook.fixed),
        chances(&outlook.anytime)
    )
}

/// What an estimate rests on, in words.
fn basis(basis: &Basis) -> String {
    let age = match basis.age_seconds {
        s if s < 60 => "just now".into(),
        s if s < 3 * 3600 => format!("{} minutes ago", s / 60),
        s if s < 72 * 3600 => format!("{} hours ago", s / 3600),
        s => format!("{} days ago", s / 86_400),
    };
    match basis.runs {
        0 => format!("by steps timed on this machine {age}"),
        1 => format!("by a run like these that ended on this machine {age}"),
        n => format!("by {n} runs like these on this machine, the last {age}"),
    }
}
