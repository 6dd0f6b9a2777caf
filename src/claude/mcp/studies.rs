//! Tools that take a study from its text to its verdict: validate, plan, submit, status, wait,
//! results, cancel. They ask the same gates as the command line, and know no way around one.

use super::{
    Caller, Desk,
    answer::{Answer, cut, short},
    arguments::without_nulls,
    names,
    plot::{no_such_arm, verdict},
};
use crate::{
    claude::{
        literature::{Library, as_data},
        quoted::{quoted, visible_line},
        schema,
    },
    error::{Error, Result},
    jobs::{self, Event, HUMAN, Job, State, Store, StudyText, Submission},
    report::{StudyReport, TrialRecords},
    study::{
        contract::{ArmTerms, Contract},
        inside::inside,
        verdict::{ArmVerdict, Rule},
    },
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

/// The schema of a study file, for a tool's argument.
fn a_study(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let study = schema::study();
    study.try_into().unwrap_or_default()
}

/// The same for tools that take a study after study_validate, whose schema is not worth repeating:
/// clients read all tools before they call one. The study is held to the whole schema all the same.
fn the_same_study(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object" })
}

/// Where a study comes from: exactly one of these.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StudyArgs {
    /// The study itself, as JSON; what its base names is seen from the project's folder
    #[serde(default)]
    #[schemars(schema_with = "a_study")]
    spec: Option<Value>,
    /// Or its file, seen from the project's folder, such as configs/studies/quickstart.toml
    #[serde(default)]
    path: Option<String>,
}

/// The same, of a study that was validated.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanArgs {
    /// The study itself, as JSON, with the keys that study_validate lists; what its base names is seen from the project's folder
    #[serde(default)]
    #[schemars(schema_with = "the_same_study")]
    spec: Option<Value>,
    /// Or its file, seen from the project's folder
    #[serde(default)]
    path: Option<String>,
}

/// A study's text. One given as JSON is signed by the client that gave it, unless it names another
/// proposer: only a person writes as "human", in a file.
fn text(
    desk: &Desk,
    (spec, path): (&Option<Value>, &Option<String>),
    caller: &Caller,
) -> Result<StudyText> {
    let root = &desk.settings.root;
    match (spec, path) {
        (Some(spec), None) => {
            let mut spec = spec.clone();
            if let Some(map) = spec.as_object_mut() {
                let signed = map.get("proposer").is_some_and(|name| name != HUMAN);
                if !signed {
                    map.insert("proposer".into(), caller.client.clone().into());
                }
            }
            Ok(StudyText::new(
                schema::study_from_json(&spec).map_err(|e| Error {
                    place: format!("spec: {}", e.place),
                    ..e
                })?,
                root.clone(),
            ))
        }
        (None, Some(path)) => StudyText::read(&inside(root, Path::new(path))?),
        _ => Err(Error::input(
            "spec, path",
            "exactly one of them says which study is meant",
            "give the study as JSON in spec, or its file in path",
        )),
    }
}

/// An error about a line of the file that a study given as JSON became: there is no such file.
fn in_spec(desk: &Desk, spec: &Option<Value>, error: Error) -> Error {
    let file = desk.settings.root.join("study.toml").display().to_string();
    match error.place.strip_prefix(&file) {
        Some(rest) if spec.is_some() => {
            let rest = rest.trim_start_matches(|c: char| c == ':' || c.is_ascii_digit());
            let place = format!("spec{rest}");
            Error { place, ..error }
        }
        _ => error,
    }
}

pub fn validate(desk: &Desk, args: &StudyArgs, caller: &Caller) -> Result<Answer> {
    let text = text(desk, (&args.spec, &args.path), caller)?;
    let checked = jobs::check(&desk.settings, &text);
    let mut checked = checked.map_err(|e| in_spec(desk, &args.spec, e))?;
    for earlier in &mut checked.earlier {
        // Whoever claimed it wrote the words.
        earlier.claim = visible_line(&cut(&earlier.claim, 200));
    }
    let factors = checked.arms.iter().filter_map(|arm| arm.factor.as_deref());
    let factors: Vec<&str> = factors.collect();
    let library = Library::open(&desk.settings.home)?;
    let said = library.for_factors(&factors)?.into_iter();
    let said: Map<String, Value> = said
        .map(|known| match known.hits.is_empty() {
            true => (
                known.factor,
                "nothing; literature_search may find something".into(),
            ),
            false => (known.factor, as_data(&known.hits).into()),
        })
        .collect();
    let mut answer = without_nulls(serde_json::to_value(&checked).unwrap_or_default());
    answer["literature"] = said.into();
    answer["next"] = match &checked.repeat {
        Some(_) => {
            "this was asked before: its verdict is under repeat, and study_results has all of it"
                .into()
        }
        None => "study_plan says what it costs and what it can see".into(),
    };
    Ok(Answer::Json(answer))
}

pub fn plan(desk: &Desk, args: &PlanArgs, caller: &Caller) -> Result<Answer> {
    let text = text(desk, (&args.spec, &args.path), caller)?;
    let plan = jobs::plan(&desk.settings, &text);
    Ok(Answer::Json(
        plan.map_err(|e| in_spec(desk, &args.spec, e))?,
    ))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitArgs {
    /// The study itself, as JSON, with the keys that study_validate lists; what its base names is seen from the project's folder
    #[serde(default)]
    #[schemars(schema_with = "the_same_study")]
    spec: Option<Value>,
    /// Or its file, seen from the project's folder
    #[serde(default)]
    path: Option<String>,
    /// Any words of yours that name this submission: the same key again returns the same job
    idempotency_key: String,
    /// Run it even where it is too small to see its margin; its verdict says so for good
    #[serde(default)]
    exploratory: bool,
}

pub fn submit(desk: &Desk, args: &SubmitArgs, caller: &Caller) -> Result<Answer> {
    let submission = Submission {
        study: text(desk, (&args.spec, &args.path), caller)?,
        key: args.idempotency_key.clone(),
        proposer: caller.client.clone(),
        dollars: 0.0,
        exploratory: args.exploratory,
    };
    let job = jobs::submit(&desk.settings, &submission);
    let job = job.map_err(|e| in_spec(desk, &args.spec, e))?;
    let waits = job.state == State::Waiting;
    let answer = of_job(&job);
    Ok(match waits {
        true => Answer::ForAPerson(answer),
        false => Answer::Json(answer),
    })
}

/// What a client needs of a job.
fn of_job(job: &Job) -> Value {
    let mut answer = json!({
        "job_id": job.id,
        "state": job.state.name(),
        "study": job.study,
        "n_trials": job.trials,
        "finished_trials": job.finished,
        "estimate": { "device_minutes": short(job.minutes) },
        "spent_device_minutes": short(job.spent_minutes),
    });
    if let Some(why) = &job.why {
        answer["why"] = cut(why, 2_000).into();
    }
    if let Some(verdict) = &job.verdict {
        answer["verdict"] = verdict.clone().into();
    }
    if job.state.is_open() {
        answer["poll_after_s"] = poll_after(job).into();
    }
    answer["next"] = next_of(job).into();
    answer
}

/// A tenth of what is left, in seconds.
fn poll_after(job: &Job) -> u64 {
    let left = 60.0 * (job.minutes - job.spent_minutes).max(0.0);
    (left / 10.0).clamp(2.0, 60.0) as u64
}

fn next_of(job: &Job) -> String {
    match job.state {
        State::Waiting => format!(
            "a person decides: tell them to run `windtunnel approve {id}` or `windtunnel reject {id}`; then study_wait",
            id = job.id
        ),
        State::Queued | State::Running => "study_wait".into(),
        State::Done => "study_results, then plot and finding_write".into(),
        State::Failed | State::Stopped => "run_log_tail says why; what was trained is kept, and submitting the study under a new key goes on from there".into(),
        State::Refused => "change the study as `why` says, study_validate, then submit under a new key".into(),
        State::Rejected => "a person said no: propose something else".into(),
        State::Cancelled => "submit again under a new key if it is wanted after all".into(),
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusArgs {
    /// The job's id; left out: the newest jobs
    #[serde(default)]
    job_id: Option<String>,
    /// Events after this number alone, as an earlier answer's last_event says
    #[serde(default)]
    since_event: u64,
}

/// Jobs and events that one answer lists at most.
const MOST_JOBS: usize = 30;
const MOST_EVENTS: usize = 50;

pub fn status(desk: &Desk, args: &StatusArgs, _: &Caller) -> Result<Answer> {
    let store = Store::open(&desk.settings.home)?;
    if let Some(id) = &args.job_id {
        let job = names::job(desk, id)?;
        return Ok(Answer::Json(with_events(&store, &job, args.since_event)?));
    }
    let jobs = store.jobs()?;
    let newest = jobs.iter().rev().take(MOST_JOBS).map(|job| {
        json!({ "job_id": job.id, "state": job.state.name(), "study": job.study, "verdict": job.verdict })
    });
    let events = store.events(args.since_event, None)?;
    Ok(Answer::Json(json!({
        "jobs": newest.collect::<Vec<_>>(),
        "jobs_in_all": jobs.len(),
        "events": in_short(&events),
        "last_event": events.last().map_or(args.since_event, |event| event.seq),
    })))
}

fn with_events(store: &Store, job: &Job, since: u64) -> Result<Value> {
    let events = store.events(since, Some(&job.id))?;
    let mut answer = of_job(job);
    answer["last_event"] = events.last().map_or(since, |event| event.seq).into();
    answer["events"] = in_short(&events);
    if events.len() > MOST_EVENTS {
        answer["earlier_events_left_out"] = (events.len() - MOST_EVENTS).into();
    }
    Ok(answer)
}

/// The last events, a line each.
fn in_short(events: &[Event]) -> Value {
    let newest = &events[events.len().saturating_sub(MOST_EVENTS)..];
    let lines = newest.iter().map(|event| {
        let of = event.job.as_deref().unwrap_or("-");
        cut(&format!("{} {of} {}", event.seq, event.words), 300)
    });
    lines.collect()
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitArgs {
    /// The job's id
    job_id: String,
    /// Seconds to wait at most [default: 60]
    #[serde(default)]
    #[schemars(range(min = 0, max = 90))]
    timeout_s: Option<u64>,
    /// Events after this number alone
    #[serde(default)]
    since_event: u64,
}

const USUAL_WAIT: u64 = 60;
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// Returns when nothing more happens to the job by itself, or the time is up.
pub fn wait(desk: &Desk, args: &WaitArgs, caller: &Caller) -> Result<Answer> {
    let store = Store::open(&desk.settings.home)?;
    let started = Instant::now();
    let patience = Duration::from_secs(args.timeout_s.unwrap_or(USUAL_WAIT));
    let mut job = names::job(desk, &args.job_id)?;
    if job.state.is_open() {
        // One that was killed left its jobs behind.
        jobs::ensure_supervisor(&desk.settings)?;
    }
    let mut told = None;
    while job.state.is_open() && started.elapsed() < patience && !caller.is_gone() {
        let now = (job.finished, job.state);
        if told.replace(now) != Some(now) {
            let words = format!(
                "{}: {} of {} trials",
                job.state.name(),
                job.finished,
                job.trials
            );
            caller.progress(job.finished as f64, job.trials as f64, words);
        }
        sleep(BETWEEN_LOOKS.min(patience.saturating_sub(started.elapsed())));
        job = store.job(&job.id)?;
    }
    Ok(Answer::Json(with_events(&store, &job, args.since_event)?))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelArgs {
    /// The job's id
    job_id: String,
}

pub fn cancel(desk: &Desk, args: &CancelArgs, _: &Caller) -> Result<Answer> {
    let job = names::job(desk, &args.job_id)?;
    let job = Store::open(&desk.settings.home)?.cancel(&job.id)?;
    Ok(Answer::Json(of_job(&job)))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResultsArgs {
    /// A study's or a job's id, or the start of a study's
    study: String,
    /// These arms alone [default: all]
    #[serde(default)]
    arms: Vec<String>,
    /// Also every seed's two values
    #[serde(default)]
    pairs: bool,
}

pub fn results(desk: &Desk, args: &ResultsArgs, _: &Caller) -> Result<Answer> {
    let home = &desk.settings.home;
    let dir = names::study(desk, &args.study)?;
    let contract = dir.contract()?;
    if let Some(name) = args.arms.iter().find(|name| arm(&contract, name).is_none()) {
        return Err(no_such_arm(&contract, name));
    }
    let mut answer = json!({
        "study": contract.id,
        "claim": quoted("claim", &cut(&contract.terms.hypothesis.claim, 1_000)),
        "proposer": contract.terms.proposer,
    });
    if verdict(&dir)?.is_none() {
        let trials = TrialRecords::read(home, &contract)?;
        let all = || trials.iter().flatten();
        answer["state"] = "not judged yet".into();
        answer["ended_trials"] = all().filter(|trial| trial.outcome.is_some()).count().into();
        answer["n_trials"] = all().count().into();
        answer["trials"] = of_trials(&contract);
        answer["next"] = "study_wait, or run_curve of one of the trials".into();
        return Ok(Answer::Json(answer));
    }
    let study = StudyReport::read(home, &dir)?;
    let judged = &study.verdict;
    let chosen = |arm: &&ArmVerdict| args.arms.is_empty() || args.arms.contains(&arm.arm);
    let arms = judged.arms.iter().filter(chosen);
    let arms: Vec<Value> = arms
        .map(|verdict| of_arm(&contract, verdict, (&judged.rule, args.pairs)))
        .collect();
    answer["state"] = "judged".into();
    answer["control"] = json!({ "arm": judged.control, "mean": judged.control_mean.map(short) });
    answer["metric"] = judged.rule.metric.unit().into();
    answer["margin"] = short(judged.rule.margin);
    answer["seeds"] = judged.seeds.into();
    answer["exploratory"] = json!(judged.exploratory);
    answer["prediction"] = study.prediction().into();
    answer["cost"] =
        json!({ "tokens": judged.cost.tokens, "trial_minutes": short(judged.cost.seconds / 60.0) });
    answer["arms"] = arms.into();
    if contract.terms.arms.len() <= FEW_ARMS {
        answer["trials"] = of_trials(&contract);
    }
    answer["next"] = "plot shows it; finding_write records what it means".into();
    Ok(Answer::Json(answer))
}

/// Of more arms, trials are listed with those that are asked for alone.
const FEW_ARMS: usize = 6;

fn arm<'a>(contract: &'a Contract, name: &str) -> Option<&'a ArmTerms> {
    contract.terms.arms.iter().find(|arm| arm.name == name)
}

/// Trials by arm, in the order of the seeds.
fn of_trials(contract: &Contract) -> Value {
    let arms = contract.terms.arms.iter();
    let map: Map<String, Value> = arms
        .map(|arm| {
            (
                arm.name.clone(),
                arm.trials.iter().map(ToString::to_string).collect(),
            )
        })
        .collect();
    map.into()
}

fn of_arm(contract: &Contract, verdict: &ArmVerdict, (rule, pairs): (&Rule, bool)) -> Value {
    let terms = arm(contract, &verdict.arm);
    let changes = terms.map(|terms| {
        let changes = terms.changes.iter();
        let changes = changes.map(|(path, (before, after))| format!("{path}: {before} → {after}"));
        cut(&changes.collect::<Vec<_>>().join("; "), 300)
    });
    let mut answer = json!({
        "arm": verdict.arm,
        "call": verdict.call.name(),
        "change": changes,
        "headline": cut(&verdict.headline(rule), 500),
    });
    if let Some(e) = &verdict.effect {
        answer["effect"] = json!({
            "mean": short(e.mean), "low": short(e.low), "high": short(e.high), "p": short(e.p),
        });
    }
    if verdict.diverged != (0, 0) {
        answer["diverged"] = json!({ "control": verdict.diverged.0, "arm": verdict.diverged.1 });
    }
    if pairs {
        let pairs = verdict.pairs.iter();
        answer["columns"] = json!(["seed", "control", "arm"]);
        answer["pairs"] = pairs
            .map(|pair| json!([pair.seed, pair.control.map(short), pair.arm.map(short)]))
            .collect();
    }
    answer
}
