//! `windtunnel proposers`: whose predictions come true, and who finds something for the compute.

use super::{Global, output::Output};
use crate::{
    claude::score::{Duel, Proposer, Scores, scores},
    error::Result,
    jobs::Store,
    report::duration,
    study::contract::StudyDir,
};
use std::{collections::BTreeMap, path::Path};

/// Score predictions, by who made them.
///
/// Each study's prediction is about its first arm. Its direction has a Brier score over better, worse and
/// equivalent (0 is certain and right, 2/3 is a guess, 2 is certain and wrong; a candidate counts as
/// better; inconclusive, invalid and exploratory studies are not scored). Skill is 1 − Brier/guess with a
/// 95% interval that may be looked at after every study. The interval score is in margins, less is better.
/// "better" counts studies whose first arm came out better; what these gain at least, in margins, is shown
/// for each hour of the device.
#[derive(clap::Args)]
pub struct Args {
    /// Show every prediction, too
    #[arg(long)]
    each: bool,
}

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    let scores = scores(&global.home, &dollars(&global.home)?);
    let mut text = match scores.proposers.is_empty() {
        true => nothing(StudyDir::all(&global.home).len()),
        false => table(&scores),
    };
    if args.each {
        text += &each(&scores);
    }
    for study in &scores.left_out {
        text += &format!("left out  {}: {}\n", study.study, study.why);
    }
    output.result("windtunnel.proposers.v1", &scores, &text);
    Ok(())
}

/// What each proposer's submissions cost on the API.
fn dollars(home: &Path) -> Result<BTreeMap<String, f64>> {
    let mut dollars = BTreeMap::new();
    if let Some(store) = Store::existing(home)? {
        for job in store.jobs()? {
            *dollars.entry(job.proposer).or_insert(0.0) += job.dollars;
        }
    }
    Ok(dollars)
}

fn nothing(studies: usize) -> String {
    format!(
        "no study is judged yet ({studies} begun): a study with [hypothesis] prediction = {{ … }} is scored when its verdict is in\n"
    )
}

fn table(scores: &Scores) -> String {
    let mut rows = vec![
        [
            "proposer",
            "studies",
            "scored",
            "Brier",
            "skill (95%)",
            "size",
            "inside",
            "better",
            "gain/h",
            "device",
            "dollars",
        ]
        .map(String::from),
    ];
    rows.extend(scores.proposers.iter().map(row));
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|i| {
            rows.iter()
                .map(|row| row[i].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(i, (cell, width))| match i {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text.push('\n');
    for p in &scores.proposers {
        text += &format!(
            "{}: {} ({} scored)\n",
            p.proposer,
            p.standing.words(),
            p.scored
        );
    }
    text + &scores.duels.iter().map(met).collect::<String>()
}

fn row(p: &Proposer) -> [String; 11] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "—".into());
    let brier = p.brier.map(|brier| match p.brier_error {
        Some(error) => format!("{brier:.3} ± {error:.3}"),
        None => format!("{brier:.3}"),
    });
    let skill = p.skill.map(|skill| {
        format!(
            "{skill:+.2} [{:+.2}, {:+.2}]",
            p.skill_interval[0], p.skill_interval[1]
        )
    });
    [
        p.proposer.clone(),
        p.studies.to_string(),
        format!("{} of {}", p.scored, p.scored + p.unscored),
        or_none(brier),
        or_none(skill),
        or_none(p.interval_score.map(|score| format!("{score:.2}"))),
        or_none(p.inside.map(|share| format!("{:.0}%", 100.0 * share))),
        format!("{} of {}", p.better, p.studies),
        or_none(p.gain_per_hour.map(|gain| format!("{gain:.2}"))),
        duration(3600.0 * p.device_hours),
        format!("{:.2}", p.dollars),
    ]
}

/// What those who met say of each other.
fn met(duel: &Duel) -> String {
    let [first, second] = &duel.proposers;
    let says = match &duel.better {
        Some(better) => format!("{better} predicts better"),
        None => "too few to tell".into(),
    };
    format!(
        "{first} against {second} on the same {} questions: Brier {:+.3} [{:+.3}, {:+.3}], {says}\n",
        duel.questions, duel.difference, duel.interval[0], duel.interval[1]
    )
}

fn each(scores: &Scores) -> String {
    let lines = scores.predictions.iter().map(|s| {
        let score = match (&s.brier, &s.unscored) {
            (Some(brier), _) => format!("Brier {brier:.3}"),
            (None, why) => format!("not scored ({})", why.as_deref().unwrap_or("no decision")),
        };
        format!(
            "{}  {}: foreseen {}; came {}; {score}\n",
            s.study,
            s.proposer,
            s.foreseen(),
            s.call.name()
        )
    });
    format!("\n{}", lines.collect::<String>())
}
