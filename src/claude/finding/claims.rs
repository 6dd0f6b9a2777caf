//! Words that say how an arm came out, held against how it did.
//!
//! A small list, on purpose: words that say better, worse, equivalent or significant. A sentence is about
//! the arms that it names, or all of them, and a word must be true of one of them. A word after a negation
//! or a conditional (not, whether, would, predicted, …) says nothing and is not checked; neither are
//! "lower" and "higher", which may be about anything.

use super::template::Fault;
use crate::study::verdict::Call;

const BETTER: [&str; 19] = [
    "better",
    "best",
    "improve",
    "improves",
    "improved",
    "improving",
    "improvement",
    "improvements",
    "beat",
    "beats",
    "outperform",
    "outperforms",
    "outperformed",
    "superior",
    "helps",
    "helped",
    "beneficial",
    "wins",
    "won",
];
const WORSE: [&str; 17] = [
    "worse",
    "worst",
    "worsen",
    "worsens",
    "worsened",
    "hurt",
    "hurts",
    "harm",
    "harms",
    "harmful",
    "harmed",
    "degrade",
    "degrades",
    "degraded",
    "degradation",
    "inferior",
    "underperforms",
];
const SAME: [&str; 4] = [
    "equivalent",
    "equivalence",
    "indistinguishable",
    "identical",
];
const SAME_PHRASES: [[&str; 2]; 3] = [["no", "difference"], ["no", "effect"], ["no", "change"]];
const DECIDED: [&str; 3] = ["significant", "significantly", "conclusive"];

/// After one of these, within a few words, nothing is claimed.
const NOT_CLAIMED: [&str; 39] = [
    "not",
    "no",
    "never",
    "neither",
    "nor",
    "cannot",
    "can't",
    "without",
    "nothing",
    "isn't",
    "doesn't",
    "didn't",
    "wasn't",
    "won't",
    "don't",
    "fails",
    "failed",
    "fail",
    "whether",
    "if",
    "would",
    "could",
    "might",
    "may",
    "should",
    "predicted",
    "predict",
    "predicts",
    "expected",
    "expect",
    "expects",
    "hypothesis",
    "claim",
    "claimed",
    "claims",
    "unlikely",
    "hoped",
    "ask",
    "asks",
];
const NEAR: usize = 5;

/// A sentence's words, in lower case, with their places, and how the arms came out that it is about.
pub struct Sentence {
    pub words: Vec<(usize, String)>,
    pub calls: Vec<Call>,
}

/// Which words of a sentence the verdict contradicts. `of_candidates` says that the text calls them that.
pub fn faults(sentence: &Sentence, of_candidates: bool) -> Vec<Fault> {
    let Sentence { words, calls } = sentence;
    let came = |wanted: &[Call]| calls.iter().any(|call| wanted.contains(call));
    let mut faults = Vec::new();
    for (i, (at, word)) in words.iter().enumerate() {
        let word = word.as_str();
        let after_no = i > 0 && SAME_PHRASES.contains(&[words[i - 1].1.as_str(), word]);
        let before = &words[i.saturating_sub(NEAR)..i];
        let unclaimed = before
            .iter()
            .any(|(_, w)| NOT_CLAIMED.contains(&w.as_str()));
        let (says, allowed): (&str, &[Call]) = match word {
            _ if after_no => ("no difference", &[Call::Equivalent]),
            _ if unclaimed => continue,
            w if BETTER.contains(&w) && of_candidates => {
                ("better", &[Call::Better, Call::Candidate])
            }
            w if BETTER.contains(&w) => ("better", &[Call::Better]),
            w if WORSE.contains(&w) => ("worse", &[Call::Worse]),
            w if SAME.contains(&w) => ("equivalent", &[Call::Equivalent]),
            w if DECIDED.contains(&w) => ("decided", &[Call::Better, Call::Candidate, Call::Worse]),
            _ => continue,
        };
        if !came(allowed) {
            let shown = if after_no {
                format!("no {word}")
            } else {
                word.into()
            };
            faults.push(Fault::new(
                *at,
                format!(
                    "{shown:?} says {says}, and the verdict is {}",
                    listed(calls)
                ),
                remedy(says, calls),
            ));
        }
    }
    faults
}

fn listed(calls: &[Call]) -> String {
    let mut names: Vec<&str> = calls.iter().map(|call| call.name()).collect();
    names.sort_unstable();
    names.dedup();
    match names.is_empty() {
        true => "not there".into(),
        false => names.join(", "),
    }
}

fn remedy(says: &str, calls: &[Call]) -> String {
    let only = |wanted| calls.iter().all(|call| *call == wanted);
    match says {
        "better" if calls.contains(&Call::Candidate) => {
            "of several arms it was a candidate: call it that, to be confirmed on other seeds".into()
        }
        _ if only(Call::Inconclusive) => {
            "an inconclusive study shows neither a difference nor equivalence: say what it could see, {{verdict.interval}}"
                .into()
        }
        _ if only(Call::Invalid) => "an invalid comparison shows nothing: say why it is invalid".into(),
        _ => "say what the verdict says, {{verdict.call}}, or name the arm that the sentence is about".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str, calls: &[Call]) -> usize {
        let words = text.split(' ').map(|word| (0, word.to_lowercase()));
        let sentence = Sentence {
            words: words.collect(),
            calls: calls.to_vec(),
        };
        faults(&sentence, text.contains("candidate")).len()
    }

    #[test]
    fn a_claim_that_the_verdict_does_not_bear_is_found() {
        for (text, call) in [
            ("It improves the loss", Call::Worse),
            ("It improves the loss", Call::Inconclusive),
            ("It improves the loss", Call::Candidate),
            ("It hurts", Call::Better),
            ("There is no difference", Call::Inconclusive),
            ("They are equivalent", Call::Worse),
            ("A significant change", Call::Equivalent),
            ("It was better", Call::Invalid),
        ] {
            assert_eq!(wrong(text, &[call]), 1, "{text}, {}", call.name());
        }
    }

    #[test]
    fn what_is_true_or_not_claimed_is_left_alone() {
        for (text, call) in [
            ("It improves the loss", Call::Better),
            ("A candidate that improves the loss", Call::Candidate),
            ("It does not improve the loss", Call::Inconclusive),
            ("We asked whether it is better", Call::Worse),
            ("It was predicted to be better and is worse", Call::Worse),
            ("There is no difference", Call::Equivalent),
            ("not a significant change", Call::Inconclusive),
            ("lower rates are slower", Call::Worse),
        ] {
            assert_eq!(wrong(text, &[call]), 0, "{text}, {}", call.name());
        }
        assert_eq!(wrong("One is better", &[Call::Worse, Call::Better]), 0);
    }
}
