//! What the ledger can fill in: keys and their values, with the digits that the margin allows and units.

use crate::{
    error::nearest,
    report::duration,
    study::{
        arms::flat_changes,
        contract::ArmTerms,
        judged::Judged,
        proposal::Direction,
        verdict::{ArmVerdict, Percent, digits},
    },
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A key, and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub key: String,
    pub value: String,
}

/// All that one study's ledger entry can fill in.
pub struct Keys {
    /// In the order in which they are shown.
    entries: Vec<Entry>,
    /// Why a key that could be there has no value.
    absent: BTreeMap<String, String>,
    /// `contract.ARM.PATH`, of every leaf of the resolved recipes.
    settings: BTreeMap<String, String>,
    /// What is quoted as it is in the contract.
    literals: BTreeSet<String>,
    /// Words that are names, whatever digits they have.
    names: BTreeSet<String>,
}

impl Keys {
    pub fn of(judged: &Judged) -> Self {
        let mut keys = Self {
            entries: Vec::new(),
            absent: BTreeMap::new(),
            settings: BTreeMap::new(),
            literals: BTreeSet::new(),
            names: BTreeSet::new(),
        };
        keys.verdict(judged);
        keys.study(judged);
        keys.contract(judged);
        keys
    }

    /// Those that are worth a list; settings that every arm has in common are left out.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// A key's value. Errors in words: what is wrong, and what would do.
    pub fn get(&self, key: &str) -> Result<&str, (String, String)> {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        if let Some(entry) = entry {
            return Ok(&entry.value);
        }
        if let Some(value) = self.settings.get(key) {
            return Ok(value);
        }
        if let Some(why) = self.absent.get(key) {
            let remedy = "leave it out and say so in words";
            return Err((format!("{{{{{key}}}}} has no value: {why}"), remedy.into()));
        }
        let known = || self.entries.iter().map(|entry| entry.key.as_str());
        let near = nearest(key, known().chain(self.settings.keys().map(String::as_str)));
        let some: Vec<&str> = known().take(12).collect();
        let all = format!(
            "there are {} …; `windtunnel finding STUDY --keys` lists them all",
            some.join(", ")
        );
        Err((
            format!("{{{{{key}}}}}: unknown key"),
            match near {
                Some(near) => format!("did you mean {{{{{near}}}}}? {all}"),
                None => all,
            },
        ))
    }

    /// Whether the contract has this value, by itself or as "path = value".
    pub fn quotes(&self, text: &str) -> bool {
        let number = |text: &str| text.parse::<f64>().ok();
        self.literals.contains(text)
            || number(text).is_some_and(|x| self.literals.iter().any(|l| number(l) == Some(x)))
            || text.split_once('=').is_some_and(|(path, value)| {
                let (path, value) = (path.trim(), value.trim());
                self.settings.iter().any(|(key, known)| {
                    let same = known == value
                        || (number(value).is_some() && number(known) == number(value));
                    same && key.ends_with(path) && key[..key.len() - path.len()].ends_with('.')
                })
            })
    }

    pub fn is_name(&self, word: &str) -> bool {
        self.names.contains(word)
    }

    fn add(&mut self, key: &str, value: impl Into<String>) {
        let value = value.into();
        self.entries.push(Entry {
            key: key.into(),
            value,
        });
    }

    fn verdict(&mut self, judged: &Judged) {
        let verdict = &judged.verdict;
        let one = verdict.arms.len() == 1;
        for arm in &verdict.arms {
            if one {
                self.arm("verdict", judged, arm);
            } else {
                for key in [
                    "effect",
                    "size",
                    "low",
                    "high",
                    "interval",
                    "confidence",
                    "n",
                    "call",
                    "worth",
                ] {
                    let arms: Vec<&str> = verdict.arms.iter().map(|a| a.arm.as_str()).collect();
                    let why = format!(
                        "of several arms, name one: verdict.ARM.{key} with ARM one of {}",
                        arms.join(", ")
                    );
                    self.absent.insert(format!("verdict.{key}"), why);
                }
            }
        }
        for arm in &verdict.arms {
            self.arm(&format!("verdict.{}", arm.arm), judged, arm);
        }
        let unit = verdict.rule.metric.unit();
        let places = digits(verdict.rule.margin);
        self.add(
            "verdict.margin",
            format!("{:.places$} {unit}", verdict.rule.margin),
        );
        self.add("verdict.unit", unit);
        self.add("verdict.control", verdict.control.clone());
        match verdict.control_mean {
            Some(mean) => self.add("verdict.control_mean", format!("{mean:.places$} {unit}")),
            None => {
                let why = "no trial of the control finished".into();
                self.absent.insert("verdict.control_mean".into(), why);
            }
        }
    }

    fn arm(&mut self, head: &str, judged: &Judged, arm: &ArmVerdict) {
        let rule = &judged.verdict.rule;
        let (places, unit) = (digits(rule.margin), rule.metric.unit());
        let mut add = |key: &str, value: Option<String>, why: &str| {
            let key = format!("{head}.{key}");
            match value {
                Some(value) => self.add(&key, value),
                None => {
                    self.absent.insert(key, why.into());
                }
            }
        };
        let no_effect = match (&arm.invalid, arm.sign_p) {
            (Some(why), _) => format!("the comparison is invalid: {why}"),
            (None, Some(_)) => "a trial diverged, so that there is no mean".into(),
            (None, None) => "there are too few pairs for an interval".into(),
        };
        let e = arm.effect.as_ref();
        add("call", Some(arm.call.name().into()), "");
        add(
            "effect",
            e.map(|e| format!("{:+.places$} {unit}", e.mean)),
            &no_effect,
        );
        add(
            "size",
            e.map(|e| format!("{:.places$} {unit}", e.mean.abs())),
            &no_effect,
        );
        add(
            "low",
            e.map(|e| format!("{:+.places$} {unit}", e.low)),
            &no_effect,
        );
        add(
            "high",
            e.map(|e| format!("{:+.places$} {unit}", e.high)),
            &no_effect,
        );
        let interval = e.map(|e| format!("{:+.places$} to {:+.places$} {unit}", e.low, e.high));
        add("interval", interval, &no_effect);
        add(
            "confidence",
            e.map(|e| format!("{}%", Percent(e.confidence))),
            &no_effect,
        );
        let n = e.map_or(arm.pairs.len(), |e| e.n);
        add("n", Some(n.to_string()), "");
        let worth = arm.worth.as_ref().map(|worth| worth.in_words());
        let worth = worth.map(|words| words.trim_start_matches("worth ").to_string());
        add(
            "worth",
            worth,
            "the control's curve can't tell what the effect is worth",
        );
        if arm.diverged != (0, 0) {
            add("diverged", Some(arm.diverged.1.to_string()), "");
            add("control_diverged", Some(arm.diverged.0.to_string()), "");
        }
        if let Some(p) = arm.sign_p {
            add("sign_p", Some(format!("{p:.3}")), "");
        }
        for (corpus, difference) in &arm.by_corpus {
            let value = format!("{difference:+.places$} bits per byte");
            add(&format!("corpus.{corpus}"), Some(value), "");
        }
    }

    fn study(&mut self, judged: &Judged) {
        let terms = &judged.contract.terms;
        let cost = &judged.verdict.cost;
        self.add("study.id", judged.contract.id.clone());
        self.add("study.proposer", terms.proposer.clone());
        self.add("study.seeds", judged.verdict.seeds.to_string());
        self.add("cost.minutes", duration(60.0 * judged.minutes));
        self.add("cost.tokens", format!("{} tokens", grouped(cost.tokens)));
        self.add("cost.flops", format!("{:.3e} FLOPs", cost.flops));
        if let Some(p) = &terms.hypothesis.prediction {
            let word = match p.direction {
                Direction::Better => "better",
                Direction::Worse => "worse",
                Direction::Equivalent => "equivalent",
            };
            let unit = judged.verdict.rule.metric.unit();
            self.add("prediction.direction", word);
            self.add("prediction.effect", format!("{} {unit}", p.effect));
            self.add(
                "prediction.confidence",
                format!("{}%", Percent(p.confidence)),
            );
        }
    }

    fn contract(&mut self, judged: &Judged) {
        let terms = &judged.contract.terms;
        let d = &terms.decision;
        self.literals
            .extend([d.margin.to_string(), d.alpha.to_string()]);
        let tokens = terms.arms.first().map_or(0, |control| control.tokens);
        self.add("contract.margin", d.margin.to_string());
        self.add("contract.alpha", d.alpha.to_string());
        self.add("contract.seeds", terms.seeds.len().to_string());
        self.add("contract.tokens", format!("{} tokens", grouped(tokens)));
        self.names
            .extend([terms.name.clone(), judged.contract.id.clone()]);
        self.names.extend(
            terms
                .campaign
                .iter()
                .map(|place| place.campaign.name.clone()),
        );
        for (idx, arm) in terms.arms.iter().enumerate() {
            self.names.insert(arm.name.clone());
            let shares = arm.run.data.mixture.iter().chain(&arm.run.eval.corpora);
            self.names.extend(shares.map(|share| share.corpus.clone()));
            // Against nothing: every leaf.
            let leaves = flat_changes(&toml::Table::new(), &as_table(arm));
            for (path, (_, value)) in leaves {
                self.setting((idx, arm), &path, &value);
            }
        }
        let [control, arms @ ..] = &terms.arms[..] else {
            return;
        };
        let changed: BTreeSet<&String> = arms.iter().flat_map(|arm| arm.changes.keys()).collect();
        for arm in [control].into_iter().chain(arms) {
            for path in &changed {
                let key = format!("contract.{}.{path}", arm.name);
                if let Some(value) = self.settings.get(&key).cloned() {
                    self.literals.insert(value.clone());
                    self.add(&key, value);
                }
            }
        }
    }

    /// A leaf of an arm's resolved recipe.
    fn setting(&mut self, (idx, arm): (usize, &ArmTerms), path: &str, value: &str) {
        let plain = value.trim_matches('"').to_string();
        if plain != value {
            self.names.insert(plain.clone());
        }
        self.names.insert(path.into());
        if idx == 0 {
            self.settings
                .insert(format!("contract.control.{path}"), plain.clone());
        }
        self.settings
            .insert(format!("contract.{}.{path}", arm.name), plain);
    }
}

fn as_table(arm: &ArmTerms) -> toml::Table {
    toml::Table::try_from(&arm.run).expect("a run is plain data")
}

/// A whole number with commas.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(c);
    }
    text
}
