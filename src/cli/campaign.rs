//! `windtunnel campaign DIR`: the studies of a folder with a campaign.toml, and its locked test part.

use super::{Global, output::Output};
use crate::{
    claude::campaign::{self as story, Asked, turned_away},
    error::{Error, Kind, Result},
    home::Home,
    jobs::{Job, Store},
    metrics::EvalRecord,
    report::Written,
    run_dir::RunDir,
    session::{Session, restore},
    study::{
        campaign::{Campaign, Member},
        test_part::{self, Reading, TestRead},
        verdict::Percent,
    },
};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// The campaign's folder
    dir: PathBuf,
    /// Evaluate this study's trials on the locked test part: once for the whole campaign
    #[arg(long, value_name = "STUDY")]
    read_test: Option<String>,
    /// Write a report on all its studies: Markdown, and one HTML page
    #[arg(long)]
    report: bool,
}

#[derive(Serialize)]
struct Status {
    campaign: Campaign,
    studies: Vec<Line>,
    discoveries: usize,
    /// Trials whose validation loss a verdict has seen, over all studies.
    validation_reads: usize,
    /// The one reading of the locked test part.
    test: Option<TestRead>,
    /// Where the report was written, with --report.
    #[serde(flatten)]
    written: Option<Written>,
}

#[derive(Serialize)]
struct Line {
    study: String,
    level: f64,
    seeds: [u64; 2],
    verdict: Option<String>,
    discovery: bool,
    validation_reads: usize,
    exploratory: bool,
}

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    let campaign = Campaign::of(&args.dir)?.ok_or_else(|| {
        Error::input(
            args.dir.display().to_string(),
            "is no campaign",
            "write campaign.toml there, with name = \"…\" at least",
        )
    })?;
    let members = campaign.members(&global.home)?;
    if let Some(study) = &args.read_test {
        read_test(global, (&campaign, &members), study, output)?;
    }
    let status = Status {
        studies: members.iter().map(line).collect(),
        discoveries: members.iter().filter(|member| member.discovered()).count(),
        validation_reads: members.iter().map(Member::validation_reads).sum(),
        test: test_part::read(&global.home, &campaign.name)?,
        written: match args.report {
            true => Some(report(&global.home, &campaign, &members)?),
            false => None,
        },
        campaign,
    };
    let written = status.written.as_ref().map(Written::summary);
    let text = text(&status) + &written.unwrap_or_default();
    output.result("windtunnel.campaign.v1", &status, &text);
    Ok(())
}

/// Writes the campaign's report into the home.
fn report(home: &Path, campaign: &Campaign, members: &[Member]) -> Result<Written> {
    let jobs = match Store::existing(home)? {
        Some(store) => store.jobs()?,
        None => Vec::new(),
    };
    let ours = |job: &&Job| job.campaign.as_deref() == Some(&campaign.name);
    let jobs: Vec<&Job> = jobs.iter().filter(ours).collect();
    let asked = Asked {
        name: campaign.name.clone(),
        studies: members.iter().map(|m| m.contract.id.clone()).collect(),
        turned_away: jobs.iter().filter_map(|job| turned_away(job)).collect(),
        dollars: (!jobs.is_empty()).then(|| jobs.iter().map(|job| job.dollars).sum()),
        rule: Some(format!(
            "The campaign's studies share an error budget: of the effects it reports, at most {}% are expected to be false (e-LOND).",
            Percent(campaign.alpha)
        )),
        ..Asked::default()
    };
    story::report(home, &asked, &story::folder(home, &campaign.name))
}

fn line(member: &Member) -> Line {
    let seeds = &member.contract.terms.seeds;
    let ends = [seeds.first(), seeds.last()].map(|seed| seed.copied().unwrap_or(0));
    Line {
        study: member.contract.id.clone(),
        level: member.place.level,
        seeds: ends,
        verdict: member.verdict.as_ref().map(|verdict| verdict.summary()),
        discovery: member.discovered(),
        validation_reads: member.validation_reads(),
        exploratory: !member.contract.terms.exploratory.is_empty(),
    }
}

fn text(status: &Status) -> String {
    let campaign = &status.campaign;
    let mut text = format!(
        "campaign  {}: false discovery rate {}, {} studies, {} discoveries\n",
        campaign.name,
        campaign.alpha,
        status.studies.len(),
        status.discoveries
    );
    for line in &status.studies {
        text += &format!(
            "{:<32} level {:.5}, seeds {} to {}: {}{}\n",
            line.study,
            line.level,
            line.seeds[0],
            line.seeds[1],
            line.verdict.as_deref().unwrap_or("not judged yet"),
            if line.discovery { " (a discovery)" } else { "" }
        );
    }
    text += &format!("validation read for {} trials\n", status.validation_reads);
    match &status.test {
        None => text + "test part not read yet\n",
        Some(test) => text + &test.in_words(),
    }
}

/// Evaluates a judged study's trials on the test part and writes it down, before anything is shown.
/// Errors (refused, status 3) when the campaign has read it before.
fn read_test(
    global: &Global,
    (campaign, members): (&Campaign, &[Member]),
    study: &str,
    output: Output,
) -> Result<()> {
    if let Some(before) = test_part::read(&global.home, &campaign.name)? {
        return Err(Error::new(
            Kind::Refused,
            format!("campaign \"{}\"", campaign.name),
            format!("its test part was read before, for {}", before.study),
            "what was read then is kept: leave --read-test out to see it; another look needs another campaign on other text",
        ));
    }
    let judged = members
        .iter()
        .find(|member| member.contract.id.starts_with(study) && member.verdict.is_some());
    let Some((member, verdict)) = judged.and_then(|m| Some((m, m.verdict.as_ref()?))) else {
        return Err(Error::input(
            format!("--read-test {study}"),
            "no judged study of this campaign has this id",
            "leave --read-test out to see its studies; `windtunnel run` judges one",
        ));
    };
    let compute = global.compute(output)?;
    let _lock = Home::lock(&global.home)?;
    let session = Session::new(&global.home, compute).watched(super::ingest::bar(output));
    let metric = verdict.rule.metric;
    let mut readings = Vec::new();
    for arm in &member.contract.terms.arms {
        let values = arm.trials.iter().take(verdict.seeds).map(|trial| {
            let dir = RunDir::of(&global.home, trial);
            Ok(on_test(&session, &dir)?.metric(metric))
        });
        readings.push(Reading {
            arm: arm.name.clone(),
            values: values.collect::<Result<_>>()?,
        });
    }
    let read = TestRead::new(&member.contract, verdict, readings);
    test_part::keep(&global.home, &campaign.name, &read)
}

fn on_test(session: &Session, dir: &RunDir) -> Result<EvalRecord> {
    let whole = |e: Error| Error {
        problem: format!("{}: {}", Path::new(dir.path()).display(), e.problem),
        ..e
    };
    restore(session, dir).map_err(whole)?.evaluate_test(session)
}
