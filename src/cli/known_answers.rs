//! The real part of `windtunnel calibrate`: the committed studies with known answers are run by this
//! very program in a home of their own, so that nothing comes from a cache, and their outcomes are
//! kept as JSON lines from which the table can be made again.

use super::{Global, output::Output};
use crate::{
    device::{DeviceChoice, Machine},
    error::{DISK_REMEDY, Error, Kind, Result},
    metrics::Outcome,
    run_dir::RunDir,
    study::{
        contract::StudyDir,
        known_answers::{Expect, Expected, Hypothesis, Line, SCHEMA, Table, table},
    },
    toml_file::Source,
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

#[derive(clap::Args)]
pub struct Args {
    /// The folder of the studies and of expected.toml
    #[arg(
        long,
        value_name = "DIR",
        default_value = "configs/studies/calibration"
    )]
    studies: PathBuf,
    /// Where the outcomes go [default: calibration.jsonl in the home]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Go on in the home of the last calibration, which was interrupted: its trials are kept
    #[arg(long)]
    resume: bool,
    /// Make the table of outcomes that are there, and run nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["studies", "out"])]
    from: Option<PathBuf>,
    /// Trials side by side, as for `run`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
}

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    let path = match (&args.from, &args.out) {
        (Some(from), _) => from.clone(),
        (None, Some(out)) => out.clone(),
        (None, None) => global.home.join("calibration.jsonl"),
    };
    if args.from.is_none() {
        put_to_the_test(global, args, (&path, output))?;
    }
    let table = table(&read(&path)?)?;
    let text = table.in_words() + &format!("outcomes  {}\n", path.display());
    output.result("windtunnel.calibrate.v1", &table, &text);
    gate(&table, &path)
}

/// Errors when a row that must be right is not.
fn gate(table: &Table, path: &Path) -> Result<()> {
    let wrong: Vec<String> = table
        .wrong()
        .map(|row| format!("{} ({}): {}", row.id, row.claim, row.found))
        .collect();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Error::new(
            Kind::Failed,
            path.display().to_string(),
            format!("not as it must be: {}", wrong.join("; ")),
            "look at those outcomes; verdicts of this build can't be trusted until it is understood",
        )),
    }
}

fn read(path: &Path) -> Result<Vec<Line>> {
    let text = fs::read_to_string(path).map_err(|e| Error::io(path, "read", &e))?;
    let lines = text.lines().enumerate().map(|(i, line)| {
        serde_json::from_str(line).map_err(|e| {
            Error::input(
                format!("{}:{}", path.display(), i + 1),
                format!("is no line of a calibration: {e}"),
                "give a file that `windtunnel calibrate --out FILE` wrote",
            )
        })
    });
    lines.collect()
}

/// Writes lines as they come, so that a kill leaves those before it.
struct Writer {
    path: PathBuf,
    file: File,
}

impl Writer {
    fn new(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", &e))?;
        }
        let file = File::create(path).map_err(|e| Error::io(path, "create", &e))?;
        let path = path.into();
        Ok(Self { path, file })
    }

    fn write(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_string(line).expect("a line is plain data");
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(|e| Error {
            remedy: DISK_REMEDY.into(),
            ..Error::io(&self.path, "write", &e)
        })
    }
}

/// A calibration that goes on.
struct Calibration<'a> {
    global: &'a Global,
    jobs: Option<u16>,
    /// Empty at the start.
    home: PathBuf,
    program: PathBuf,
}

fn put_to_the_test(global: &Global, args: &Args, (path, output): (&Path, Output)) -> Result<()> {
    let expected: Expected = Source::read(&args.studies.join("expected.toml"))?.parse()?;
    let started = Instant::now();
    let home = home(&global.home, args.resume)?;
    let program = std::env::current_exe();
    let calibration = Calibration {
        global,
        jobs: args.jobs,
        program: program.map_err(|e| Error::io(Path::new("this program"), "find", &e))?,
        home,
    };
    let mut writer = Writer::new(path)?;
    writer.write(&Line::Begun {
        schema: SCHEMA.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        revision: env!("WINDTUNNEL_REVISION").into(),
        numerics: env!("WINDTUNNEL_NUMERICS").into(),
        machine: Machine::read(),
        expected: expected.clone(),
    })?;
    calibration.copied_corpus()?;
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for hypothesis in &expected.hypothesis {
        if done.insert(&hypothesis.study) {
            output.note(&format!("{}: {}", hypothesis.study, hypothesis.claim));
            for line in calibration.study(&args.studies, hypothesis)? {
                writer.write(&line)?;
            }
        }
    }
    match args.resume {
        // What it took before is in its trials.
        true => Ok(()),
        false => writer.write(&Line::Ended {
            minutes: started.elapsed().as_secs_f64() / 60.0,
        }),
    }
}

/// A home that nothing was computed in before, or that of the last calibration, to go on in.
fn home(home: &Path, resume: bool) -> Result<PathBuf> {
    let folder = home.join("calibrations");
    let nth = |n: u32| folder.join(n.to_string());
    let last = (1..).take_while(|n| nth(*n).is_dir()).last();
    if let (true, Some(last)) = (resume, last) {
        return Ok(nth(last));
    }
    fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "create the folder", &e))?;
    for n in 1.. {
        let home = nth(n);
        match fs::create_dir(&home) {
            Ok(()) => return Ok(home),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io(&home, "create the folder", &e)),
        }
    }
    unreachable!("there are more numbers than folders")
}

impl Calibration<'_> {
    /// This program with these arguments, in the home of the calibration.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .arg("--home")
            .arg(&self.home)
            .args(["--device", &named(self.global.device)])
            .args(["--threads", &self.global.threads.unwrap_or(1).to_string()])
            .stdin(Stdio::null());
        command
    }

    /// Its status and what it said; progress goes on to the terminal.
    fn output(&self, args: &[&str]) -> Result<(i32, Value)> {
        let ran = self.command(args).stderr(Stdio::inherit()).output();
        let ran = ran.map_err(|e| Error::io(&self.program, "run", &e))?;
        let said = serde_json::from_slice(&ran.stdout).unwrap_or(Value::Null);
        Ok((ran.status.code().unwrap_or(130), said))
    }

    /// Adds the corpus "copied": the text of "tales", shared out so that most of its validation
    /// documents are trained on.
    fn copied_corpus(&self) -> Result<()> {
        let listed = self.output(&["data", "list", "--json"])?.1;
        let mut names = listed["corpora"].as_array().into_iter().flatten();
        if names.any(|corpus| corpus["name"] == "copied") {
            return Ok(());
        }
        let file = self.home.join("copied.txt").display().to_string();
        for args in [
            vec!["data", "synth", "tales", &file, "--json"],
            vec![
                "data",
                "add",
                &file,
                "copied",
                "--validation",
                "0.02",
                "--test",
                "0.02",
                "--json",
            ],
        ] {
            match self.output(&args)? {
                (0, _) => {}
                (status, said) => return Err(self.failed(&args, status, &said)),
            }
        }
        Ok(())
    }

    fn failed(&self, args: &[&str], status: i32, said: &Value) -> Error {
        let kind = if status == 130 {
            Kind::Interrupted
        } else {
            Kind::Failed
        };
        let words = said["problem"].as_str().unwrap_or("see what it printed");
        Error::new(
            kind,
            args.join(" "),
            format!("ended with status {status}: {words}"),
            "run that command alone to see why",
        )
    }

    /// A study's contract and outcomes, or its refusal.
    fn study(&self, folder: &Path, hypothesis: &Hypothesis) -> Result<Vec<Line>> {
        let study = hypothesis.study.clone();
        let file = folder.join(&study).display().to_string();
        let jobs = self.jobs.map(|jobs| jobs.to_string());
        let mut args = vec!["run", &file, "--json"];
        if hypothesis.exploratory {
            args.push("--exploratory");
        }
        if let Some(jobs) = &jobs {
            args.extend(["--jobs", jobs]);
        }
        let (status, said) = self.output(&args)?;
        if [2, 3].contains(&status) && matches!(hypothesis.expect, Expect::Refused(_)) {
            let words = said["problem"].as_str().unwrap_or_default().into();
            return Ok(vec![Line::Refused {
                study,
                status,
                words,
            }]);
        }
        let Some(id) = said["study"].as_str().filter(|_| status == 0) else {
            return Err(self.failed(&args, status, &said));
        };
        let contract = StudyDir::find(&self.home, id)?.contract()?;
        let mut lines = Vec::new();
        for arm in &contract.terms.arms {
            for trial in &arm.trials {
                if let Some(outcome) = RunDir::of(&self.home, trial).outcome()? {
                    lines.push(outcome_line(&study, &arm.name, outcome));
                }
            }
        }
        let contract = Box::new(contract);
        lines.insert(0, Line::Contract { study, contract });
        Ok(lines)
    }
}

/// As `--device` takes it.
fn named(device: DeviceChoice) -> String {
    match device {
        DeviceChoice::Auto => "auto".into(),
        DeviceChoice::Cpu => "cpu".into(),
        DeviceChoice::Cuda(index) => format!("cuda:{index}"),
    }
}

fn outcome_line(study: &str, arm: &str, outcome: Outcome) -> Line {
    Line::Outcome {
        study: study.into(),
        arm: arm.into(),
        outcome: Box::new(outcome),
    }
}
