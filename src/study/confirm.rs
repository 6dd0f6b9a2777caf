//! The study that confirms a candidate: the arm that did best among several, alone against the same
//! control, on seeds that nothing has been seen of.

use super::{
    arms::STACK,
    contract::{ArmTerms, Contract},
    proposal::{ArmProposal, Direction, Hypothesis, Prediction, Proposal},
    seeds::{Between, Seeds},
    verdict::{Call, Verdict},
};
use crate::{
    data::Share,
    error::{Error, Result},
    recipe::{Budget, Recipe},
    toml_file::parse_value,
};
use std::collections::BTreeMap;

/// A recipe and a study, as text.
#[derive(Debug, Clone, PartialEq)]
pub struct Confirmation {
    pub recipe: String,
    pub study: String,
}

/// What would confirm the candidate of this study that did best; the recipe will be `base`, seen
/// from the study. Errors when the study has none.
pub fn confirm(
    contract: &Contract,
    verdict: &Verdict,
    name: &str,
    base: &str,
) -> Result<Confirmation> {
    let terms = &contract.terms;
    let candidates = verdict
        .arms
        .iter()
        .filter(|arm| arm.call == Call::Candidate);
    let mean = |effect: Option<crate::stats::paired::Paired>| effect.map_or(0.0, |e| e.mean);
    let best = candidates.min_by(|a, b| mean(a.effect).total_cmp(&mean(b.effect)));
    let found = best.and_then(|best| {
        let arm = terms.arms.iter().find(|arm| arm.name == best.arm)?;
        Some((best, arm))
    });
    let Some((best, arm)) = found else {
        return Err(Error::input(
            format!("study \"{}\"", contract.id),
            format!("no arm is a candidate: {}", verdict.summary()),
            "only an arm that beat the control among several has to be confirmed",
        ));
    };
    let effect = mean(best.effect).abs();
    let rationale = format!(
        "It did best of {} arms, by {effect:.4}; what is picked looks better than it is, so this asks again on seeds that nothing was seen of. The margin is {}.",
        verdict.arms.len(),
        terms.decision.margin
    );
    let asked = Asked {
        arm: (arm.name.clone(), written(arm.factor.clone(), changes(arm)?)),
        effect,
        rationale,
        seeds: terms.decision.seeds,
    };
    Ok(asked.of(contract, name, base))
}

/// Seeds for the mixture that a law foretells: enough for a margin of one standard deviation.
const FEWEST_SEEDS: usize = 3;
const MOST_SEEDS: usize = 16;

/// The study that puts a mixture which a law foretells to be best against this study's control, on
/// fresh seeds; the mixture by domain, how much lower its loss should be, and by how many runs.
pub fn confirm_mixture(
    contract: &Contract,
    (mixture, effect, runs): (&[(String, f64)], f64, usize),
    name: &str,
    base: &str,
) -> Confirmation {
    let known = &contract.terms.arms;
    let share = |domain: &String| {
        let shares = known.iter().flat_map(|arm| &arm.run.data.mixture);
        shares.into_iter().find(|share| share.name() == domain)
    };
    let shares = mixture.iter().filter_map(|(domain, weight)| {
        let share = Share {
            // Four digits are what a run can tell apart.
            weight: (weight * 1e4).round() / 1e4,
            ..share(domain)?.clone()
        };
        (share.weight > 0.0).then(|| toml::Value::try_from(share).expect("plain data"))
    });
    let shares: Vec<toml::Value> = shares.collect();
    let set = toml::Table::from_iter([("data.mixture".to_string(), shares.into())]);
    let asked = Asked {
        arm: ("foretold".into(), written(Some("data.mixture".into()), set)),
        effect: (effect.max(0.0) * 1e4).round() / 1e4,
        rationale: format!(
            "A law fitted to {runs} runs of {} foretells it to be lower by {effect:.4}; a law is not a run.",
            contract.id
        ),
        seeds: Seeds::Between(Between {
            min: FEWEST_SEEDS,
            max: MOST_SEEDS,
        }),
    };
    asked.of(contract, name, base)
}

/// What a confirming study asks of one arm.
struct Asked {
    arm: (String, ArmProposal),
    effect: f64,
    rationale: String,
    seeds: Seeds,
}

impl Asked {
    /// The study of a contract's control against the arm, on seeds that come after all of its.
    fn of(self, contract: &Contract, name: &str, base: &str) -> Confirmation {
        let terms = &contract.terms;
        let control = &terms.arms[0];
        let mut decision = terms.decision.clone();
        decision.eval.clone_from(&control.run.eval.corpora);
        decision.seeds = self.seeds;
        if let Seeds::Between(_) = self.seeds {
            decision.rule = None;
        }
        let proposal = Proposal {
            name: name.into(),
            base: base.into(),
            set: toml::Table::new(),
            proposer: terms.proposer.clone(),
            hypothesis: Hypothesis {
                claim: format!(
                    "{} is better than {}, as {} suggests.",
                    self.arm.0, control.name, contract.id
                ),
                rationale: self.rationale,
                references: vec![contract.id.clone()],
                prediction: Some(Prediction {
                    direction: Direction::Better,
                    effect: self.effect,
                    confidence: 0.5,
                    interval: None,
                }),
            },
            decision,
            limits: terms.limits.clone(),
            ladder: None,
            space: None,
            arms: BTreeMap::from([
                (control.name.clone(), written(None, toml::Table::new())),
                self.arm,
            ]),
        };
        let mut recipe = recipe(control);
        recipe.seed = terms.seeds.iter().max().map_or(0, |last| last + 1);
        let text =
            |value: std::result::Result<String, toml::ser::Error>| value.expect("plain data");
        Confirmation {
            recipe: text(toml::to_string(&recipe)),
            study: text(toml::to_string(&proposal)),
        }
    }
}

fn written(factor: Option<String>, set: toml::Table) -> ArmProposal {
    ArmProposal {
        control: factor.is_none(),
        factor,
        set,
    }
}

/// What the arm sets. Errors where it leaves out what the control has, which no `set` can say.
fn changes(arm: &ArmTerms) -> Result<toml::Table> {
    let mut set = toml::Table::new();
    for (path, (_, after)) in &arm.changes {
        if after == "unset" {
            return Err(Error::input(
                format!("arms.{}", arm.name),
                format!("leaves out {path}, which the control has"),
                format!("write the confirming study by hand, with factor = \"{STACK}\" if need be"),
            ));
        }
        set.insert(path.clone(), parse_value(after));
    }
    Ok(set)
}

/// The recipe that the control's resolved run means.
fn recipe(control: &ArmTerms) -> Recipe {
    let run = control.run.clone();
    let mut eval = run.eval;
    eval.corpora = Vec::new();
    Recipe {
        seed: run.seed,
        init_seed: run.init_seed,
        data_seed: run.data_seed,
        data: run.data,
        model: run.model,
        batch: run.batch,
        budget: Budget {
            steps: Some(run.steps),
            ..Default::default()
        },
        optimizer: run.optimizer,
        schedule: run.schedule,
        eval,
        checkpoint: run.checkpoint,
        log: run.log,
    }
}
