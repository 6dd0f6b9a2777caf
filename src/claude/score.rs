//! Who is worth the compute: every prediction held against its verdict, by proposer.
//!
//! A study has one prediction, about its first arm. Its direction gets a Brier score where the verdict is a
//! decision, its size an interval score where there is an effect, in margins so that studies can be added
//! up. Skill is what a Brier score saves of the guess of a third for each direction: 1 is certainty that came
//! true, 0 is guessing. Its interval is a confidence sequence, which may be looked at after every study.
//! Studies that were exploratory from the start, and swarms, test no prediction; they are counted.

pub mod rules;

use crate::{
    stats::{bounded::mean_interval, paired::Moments},
    study::{
        judged::{self, Judged, LeftOut},
        proposal::{Direction, Prediction},
        verdict::{ArmVerdict, Call},
    },
};
use rules::{GUESS, brier, interval, interval_score};
use serde::Serialize;
use std::{collections::BTreeMap, path::Path};

/// A study's prediction and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Scored {
    pub study: String,
    pub proposer: String,
    pub prediction: Option<Prediction>,
    /// The first arm's verdict.
    pub call: Call,
    /// Of the direction; none where there is nothing to score, or no decision.
    pub brier: Option<f64>,
    /// Of the size, in margins.
    pub interval_score: Option<f64>,
    /// Whether the effect came inside the interval.
    pub inside: Option<bool>,
    /// Why the direction has no score.
    pub unscored: Option<String>,
    /// What an arm that was found better gains at least, by the near end of its interval, in margins.
    pub gain: f64,
    pub minutes: f64,
    /// The trials that were compared, by what the same question by another proposer is known.
    #[serde(skip)]
    question: String,
}

/// What a proposer's studies came to.
#[derive(Debug, Clone, Serialize)]
pub struct Proposer {
    pub proposer: String,
    /// Judged studies.
    pub studies: usize,
    /// Predictions whose direction has a score, and those that have none.
    pub scored: usize,
    pub unscored: usize,
    /// Mean Brier score and its standard error; a guess scores 2/3.
    pub brier: Option<f64>,
    pub brier_error: Option<f64>,
    /// 1 − Brier/guess, and its interval at 95%.
    pub skill: Option<f64>,
    pub skill_interval: [f64; 2],
    pub standing: Standing,
    /// Mean interval score, in margins, and the share of effects inside, which should be 80%.
    pub interval_score: Option<f64>,
    pub inside: Option<f64>,
    /// Studies whose first arm came out better or a candidate.
    pub better: usize,
    /// Their share at 95%.
    pub better_interval: [f64; 2],
    /// Margins gained at least in each hour of the device.
    pub gain_per_hour: Option<f64>,
    pub device_hours: f64,
    pub dollars: f64,
}

/// What can be said of a proposer's predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    BetterThanGuessing,
    WorseThanGuessing,
    TooFewToTell,
    NothingScored,
}

impl Standing {
    pub fn words(self) -> &'static str {
        match self {
            Self::BetterThanGuessing => "predicts better than guessing",
            Self::WorseThanGuessing => "predicts worse than guessing",
            Self::TooFewToTell => "too few to tell from guessing",
            Self::NothingScored => "nothing scored yet",
        }
    }
}

/// Two proposers who predicted the same comparisons.
#[derive(Debug, Clone, Serialize)]
pub struct Duel {
    pub proposers: [String; 2],
    pub questions: usize,
    /// Mean difference of their Brier scores, first minus second: below zero is better for the first.
    pub difference: f64,
    pub interval: [f64; 2],
    /// Who predicts better, once that can be told.
    pub better: Option<String>,
}

/// Scores of all proposers of a home.
#[derive(Debug, Clone, Serialize)]
pub struct Scores {
    /// Those with the most device hours first.
    pub proposers: Vec<Proposer>,
    pub duels: Vec<Duel>,
    pub predictions: Vec<Scored>,
    /// Studies whose files can't be trusted.
    pub left_out: Vec<LeftOut>,
}

/// 95%.
const CONFIDENCE: f64 = 0.95;

/// Scores everything that a home has judged; `dollars` is what each proposer spent.
pub fn scores(home: &Path, dollars: &BTreeMap<String, f64>) -> Scores {
    let (judged, left_out) = judged::all(home);
    Scores {
        left_out,
        ..of(&judged, dollars)
    }
}

/// The same of these studies.
pub fn of(judged: &[Judged], dollars: &BTreeMap<String, f64>) -> Scores {
    let mut in_order: Vec<&Judged> = judged.iter().collect();
    in_order.sort_by_key(|study| (study.at, study.contract.id.clone()));
    let predictions: Vec<Scored> = in_order.into_iter().filter_map(scored).collect();
    let mut by_proposer: BTreeMap<&str, Vec<&Scored>> = BTreeMap::new();
    for prediction in &predictions {
        let of_one = by_proposer.entry(&prediction.proposer).or_default();
        of_one.push(prediction);
    }
    // Who only spent has no study, and is no less worth a line.
    for proposer in dollars.keys() {
        by_proposer.entry(proposer).or_default();
    }
    let mut proposers: Vec<Proposer> = by_proposer
        .iter()
        .map(|(name, scored)| proposer(name, scored, dollars.get(*name).copied().unwrap_or(0.0)))
        .collect();
    proposers.sort_by(|a, b| b.device_hours.total_cmp(&a.device_hours));
    Scores {
        proposers,
        duels: duels(&by_proposer),
        predictions,
        left_out: Vec::new(),
    }
}

/// A study's prediction, scored; `None` of a study without arms.
fn scored(study: &Judged) -> Option<Scored> {
    let terms = &study.contract.terms;
    let arm = study.verdict.arms.first()?;
    let prediction = terms.hypothesis.prediction.clone();
    let untested = (!terms.exploratory.is_empty() || terms.space.is_some())
        .then(|| "exploratory: no test of a prediction".to_string());
    let tested = prediction.as_ref().filter(|_| untested.is_none());
    let brier = tested.and_then(|p| brier(p, arm.call));
    let unscored = match (&prediction, brier) {
        (None, _) => Some("no prediction".into()),
        (Some(_), None) => Some(untested.unwrap_or_else(|| arm.call.name().into())),
        (Some(_), Some(_)) => None,
    };
    let margin = study.verdict.rule.margin;
    let size = tested.zip(arm.effect).map(|(prediction, effect)| {
        let [low, high] = interval(prediction, margin);
        let inside = (low..=high).contains(&effect.mean);
        (interval_score([low, high], effect.mean) / margin, inside)
    });
    Some(Scored {
        study: study.contract.id.clone(),
        proposer: terms.proposer.clone(),
        call: arm.call,
        brier,
        interval_score: size.map(|(score, _)| score),
        inside: size.map(|(_, inside)| inside),
        unscored,
        gain: gain(arm, margin),
        minutes: study.minutes,
        question: question(study, arm),
        prediction,
    })
}

/// At least so many margins, where the arm was found better.
fn gain(arm: &ArmVerdict, margin: f64) -> f64 {
    match (arm.call, arm.effect) {
        (Call::Better | Call::Candidate, Some(effect)) => -effect.high.min(0.0) / margin,
        _ => 0.0,
    }
}

/// What the study asks, whoever asks it: trials, margin and metric.
fn question(study: &Judged, arm: &ArmVerdict) -> String {
    let terms = &study.contract.terms;
    let trials = |name: &str| {
        let found = terms.arms.iter().find(|terms| terms.name == name);
        let trials = found.map_or(&[][..], |terms| &terms.trials);
        let ids: Vec<String> = trials.iter().map(ToString::to_string).collect();
        ids.join(" ")
    };
    let rule = &study.verdict.rule;
    format!(
        "{} against {}, {} {}",
        trials(&arm.arm),
        trials(&study.verdict.control),
        rule.margin,
        rule.metric.name()
    )
}

fn proposer(name: &str, scored: &[&Scored], dollars: f64) -> Proposer {
    let all = |of: fn(&Scored) -> Option<f64>| -> Vec<f64> {
        scored.iter().filter_map(|s| of(s)).collect()
    };
    let briers = all(|s| s.brier);
    let moments = Moments::of(&briers);
    let some = |value: f64| (!briers.is_empty()).then_some(value);
    let skills: Vec<f64> = briers.iter().map(|brier| 1.0 - brier / GUESS).collect();
    let (low, high) = mean_interval(&skills, (1.0 - 2.0 / GUESS, 1.0), CONFIDENCE);
    let mean = |values: &[f64]| {
        let n = values.len();
        (n > 0).then(|| values.iter().sum::<f64>() / n as f64)
    };
    let is_better = |call| matches!(call, Call::Better | Call::Candidate);
    let better: Vec<f64> = scored
        .iter()
        .map(|s| f64::from(is_better(s.call)))
        .collect();
    let (fewest, most) = mean_interval(&better, (0.0, 1.0), CONFIDENCE);
    let device_hours = scored.iter().map(|s| s.minutes).sum::<f64>() / 60.0;
    let gained: f64 = scored.iter().map(|s| s.gain).sum();
    Proposer {
        proposer: name.into(),
        studies: scored.len(),
        scored: briers.len(),
        unscored: scored.len() - briers.len(),
        brier: some(moments.mean),
        brier_error: (briers.len() > 1).then(|| moments.standard_error()),
        skill: some(1.0 - moments.mean / GUESS),
        skill_interval: [low, high],
        standing: match briers.is_empty() {
            true => Standing::NothingScored,
            false if low > 0.0 => Standing::BetterThanGuessing,
            false if high < 0.0 => Standing::WorseThanGuessing,
            false => Standing::TooFewToTell,
        },
        interval_score: mean(&all(|s| s.interval_score)),
        inside: mean(&all(|s| s.inside.map(f64::from))),
        better: scored.iter().filter(|s| is_better(s.call)).count(),
        better_interval: [fewest, most],
        gain_per_hour: (device_hours > 0.0).then(|| gained / device_hours),
        device_hours,
        dollars,
    }
}

/// Proposers, two by two, on the questions that both predicted; an answer that one gave twice counts once,
/// the first.
fn duels(by_proposer: &BTreeMap<&str, Vec<&Scored>>) -> Vec<Duel> {
    let mut duels = Vec::new();
    let all: Vec<(&&str, &Vec<&Scored>)> = by_proposer.iter().collect();
    for (i, (first, ours)) in all.iter().enumerate() {
        for (second, theirs) in &all[i + 1..] {
            let mut seen = Vec::new();
            let mut differences = Vec::new();
            for one in ours.iter() {
                let other = theirs.iter().find(|other| other.question == one.question);
                let scores = other.and_then(|other| Some((one.brier?, other.brier?)));
                if let Some((a, b)) = scores.filter(|_| !seen.contains(&&one.question)) {
                    seen.push(&one.question);
                    differences.push(a - b);
                }
            }
            duels.extend(duel([first, second], &differences));
        }
    }
    duels
}

fn duel(proposers: [&str; 2], differences: &[f64]) -> Option<Duel> {
    let questions = differences.len();
    if questions == 0 {
        return None;
    }
    let (low, high) = mean_interval(differences, (-2.0, 2.0), CONFIDENCE);
    let better = match (high < 0.0, low > 0.0) {
        (true, _) => Some(proposers[0].to_string()),
        (_, true) => Some(proposers[1].to_string()),
        _ => None,
    };
    Some(Duel {
        proposers: proposers.map(Into::into),
        questions,
        difference: differences.iter().sum::<f64>() / questions as f64,
        interval: [low, high],
        better,
    })
}

impl Scored {
    /// What was predicted, in words.
    pub fn foreseen(&self) -> String {
        let Some(p) = &self.prediction else {
            return "nothing".into();
        };
        let word = match p.direction {
            Direction::Better => "better",
            Direction::Worse => "worse",
            Direction::Equivalent => "equivalent",
        };
        format!("{word} by {}, {:.0}% sure", p.effect, 100.0 * p.confidence)
    }
}
