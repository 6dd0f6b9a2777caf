//! `windtunnel run` and `plan` of a study with a ladder: its rungs one after the other, and what they say
//! together.

use super::{
    Global,
    output::Output,
    run::{Done, one},
    study::StudyArgs,
};
use crate::{
    error::{Error, Result},
    files,
    report::plot::{Differences, differences_svg},
    study::{
        climb::{Climb, Judged, climb},
        ladder::Rung,
        proposal::Study,
    },
};
use serde_json::json;

/// Runs every rung to its verdict, and sums them up in a folder of the home. Errors as a study does; what
/// was trained is kept, and the same command goes on.
pub fn run(global: &Global, (args, rungs): (&StudyArgs, &[Rung]), output: Output) -> Result<()> {
    let whole = Study::load(&args.study, &args.overrides)?;
    let mut judged = Vec::new();
    let mut reports = Vec::new();
    for rung in rungs {
        output.note(&format!(
            "rung {} of {}: {}",
            rung.idx + 1,
            rungs.len(),
            rung.label
        ));
        let rung_args = StudyArgs {
            rung: Some(rung.idx),
            ..args.clone()
        };
        let Done { study, value, text } = one(global, &rung_args, output)?;
        output.note(&text);
        judged.push(Judged::new(rung, &study.contract, &study.verdict));
        reports.push(value["report"].clone());
    }
    let proposal = &whole.proposal;
    let target = proposal.ladder.as_ref().and_then(|ladder| ladder.target());
    let words = (
        proposal.name.as_str(),
        proposal.hypothesis.claim.as_str(),
        proposal.decision.metric.unit(),
    );
    let climb = climb(words, judged, target)?;
    let folder = global.home.join("ladders").join(&proposal.name);
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "create the folder", &e))?;
    let (data, picture) = (folder.join("ladder.json"), folder.join("ladder.svg"));
    files::write_json(&data, &climb)?;
    files::replace(
        &picture,
        forest(&climb, proposal.decision.margin).as_bytes(),
    )?;
    let text = format!(
        "{}picture   {}\ndata      {}\n",
        climb.in_words(),
        picture.display(),
        data.display()
    );
    let value = json!({ "ladder": climb, "reports": reports, "picture": picture, "data": data });
    output.result("windtunnel.ladder.v1", &value, &text);
    Ok(())
}

/// Every rung's arms, from the smallest model on, and what is foretold of the target size.
fn forest(climb: &Climb, margin: f64) -> String {
    let mut names = Vec::new();
    let mut rows = Vec::new();
    for (idx, arm) in climb.arms.iter().enumerate() {
        for rung in &climb.rungs {
            let of_rung = &rung.arms[idx];
            names.push(format!("{} {}", arm.arm, rung.label));
            let values = rung
                .seeds
                .iter()
                .copied()
                .zip(of_rung.differences.iter().copied());
            let interval = of_rung.effect.map(|e| (e.low, e.mean, e.high));
            rows.push((values.collect(), interval));
        }
        for rate in &arm.by_rate {
            let Some(at) = rate.transfer.at_target else {
                continue;
            };
            let at_rate = match arm.by_rate.len() {
                1 => String::new(),
                _ => format!(", lr={}", rate.learning_rate),
            };
            names.push(format!(
                "{} foretold at {:.1e}{at_rate}",
                arm.arm, rate.transfer.target_size
            ));
            rows.push((Vec::new(), Some((at.low, at.value, at.high))));
        }
    }
    let rows = names.iter().zip(rows);
    let rows = rows.map(|(arm, (values, interval))| Differences {
        arm,
        values,
        interval,
    });
    differences_svg(&rows.collect::<Vec<_>>(), margin, climb.unit)
}
