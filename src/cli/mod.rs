//! The command line: parse, call, print. Results go to stdout, progress and logs to stderr.

mod anomalies;
mod audit;
mod autopilot;
mod bench;
mod calibrate;
mod campaign;
mod clean;
mod compare;
mod data;
mod doctor;
mod eval;
mod export;
mod finding;
mod fit;
mod import;
mod ingest;
mod init;
mod jobs;
mod known_answers;
mod ladder;
mod lit;
mod ls;
mod mcp;
mod memory;
mod new;
mod next_mixture;
mod noise;
mod output;
mod plan;
mod progress;
mod propose;
mod proposers;
mod report;
mod run;
mod sample;
mod schema;
mod show;
mod stat;
mod study;
mod submit;
mod supervise;
mod tokenizer;
mod train;
mod validate;
mod watch;

use crate::{
    device::{Compute, DeviceChoice, Precision, cores},
    error::{Error, Result},
    home::Home,
    jobs::Settings,
};
use clap::{
    CommandFactory, Parser, Subcommand,
    error::{ContextKind, ErrorKind},
};
use output::Output;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

/// A wind tunnel for pre-training ideas: small GPTs, paired seeds, frozen contracts, verdicts.
#[derive(Parser)]
#[command(name = "windtunnel", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(clap::Args, Clone)]
struct Global {
    /// Print one JSON object on stdout instead of text
    #[arg(long, global = true)]
    json: bool,
    /// Where runs, studies and corpora are kept
    #[arg(
        long,
        global = true,
        env = "WINDTUNNEL_HOME",
        default_value = ".windtunnel",
        value_name = "DIR"
    )]
    home: PathBuf,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, global = true, default_value = "auto")]
    device: DeviceChoice,
    /// f32; bf16: products of matrices read their inputs rounded to bf16, weights and sums stay f32;
    /// tf32, on a GPU alone
    #[arg(long, global = true, default_value = "f32")]
    dtype: Precision,
    /// Threads for one trial [default: all cores for `train`, cores divided by jobs for `run`]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a study to its verdict
    Run(run::Args),
    /// Say what a study would cost and what it could see
    Plan(study::StudyArgs),
    /// Train one recipe
    Train(train::Args),
    /// Evaluate a run's newest checkpoint on its fixed validation windows
    Eval(eval::Args),
    /// Write text with a run's newest checkpoint
    Sample(sample::Args),
    /// Write a run's model as Hugging Face's transformers loads it
    Export(export::Args),
    /// Take in a GPT-2 or Llama model that Hugging Face's transformers saved
    Import(import::Args),
    /// Says what a recipe takes of a GPU's memory, alone and packed; needs no GPU
    Memory(memory::Args),
    /// List studies and runs
    Ls(ls::Args),
    /// Show a study or a run
    Show(show::Args),
    /// Two runs side by side
    Compare(compare::Args),
    /// Say what looks wrong in a run's log, or in all of them
    Anomalies(anomalies::Args),
    /// Write a study's report again, or a run's as a page
    Report(report::Args),
    /// Corpora: list, fetch, add, clean, synth, stat
    #[command(subcommand)]
    Data(data::Command),
    /// Tokenizers: train, list, show
    #[command(subcommand)]
    Tokenizer(tokenizer::Command),
    /// Write a commented study or recipe to start from
    #[command(subcommand)]
    New(new::Command),
    /// The studies of a folder that share an error budget, and their locked test part
    Campaign(campaign::Args),
    /// Laws from tables of finished runs: mixture, scaling
    #[command(subcommand)]
    Fit(fit::Command),
    /// Propose the mixture that would teach most, by the laws of a finished study
    NextMixture(next_mixture::Args),
    /// How much trials differ by their seeds, and by which of them
    Noise(noise::Args),
    /// Measure how often verdicts are right: with known answers, or --fast on simulated outcomes
    Calibrate(calibrate::Args),
    /// Say what this machine has, and check that training works on it
    Doctor(doctor::Args),
    /// Time training steps, and say where their time goes
    Bench(bench::Args),
    /// Print the JSON Schema of a study file, a recipe file, or a proposal by the Messages API
    Schema(schema::Args),
    /// Check a study, and say what is known of its question already
    Validate(validate::Args),
    /// Hand a study to the supervisor, which runs it in the background
    Submit(submit::Args),
    /// Submitted studies: all, or one with its events and the end of its log
    Jobs(jobs::Args),
    /// Let a submitted study run that waits for a person
    Approve(jobs::ApproveArgs),
    /// Say no to a submitted study
    Reject(jobs::RejectArgs),
    /// End a submitted study; what was trained is kept
    Cancel(jobs::CancelArgs),
    /// Run submitted studies one after another, until none is left
    #[command(hide = true)]
    Supervise(supervise::Args),
    /// Print one line whenever a submitted study changes its state
    Watch(watch::Args),
    /// Check that limits, submissions, contracts and verdicts are what was written down
    Audit(audit::Args),
    /// Serve the Model Context Protocol on stdin and stdout
    Mcp(mcp::Args),
    /// Have Claude, or a baseline, write a study ready for review
    Propose(propose::Args),
    /// Have Claude propose, run and judge studies within a budget
    Autopilot(autopilot::Args),
    /// The library of papers: search, show, add, sync
    Lit(lit::Args),
    /// Write what a project needs to begin
    Init(init::Args),
    /// Record what a verdict means, with numbers filled in from the ledger
    Finding(finding::Args),
    /// Score predictions, by who made them
    Proposers(proposers::Args),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
}

/// Parses the arguments, runs the command, prints its result or its error.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_parsed(&error),
    };
    let output = Output::new(cli.global.json);
    let result = dispatch(cli, output);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints help where that was asked for, or what is wrong with the command line.
fn not_parsed(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().skip(1).any(|arg| arg == "--json");
    let help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if !error.use_stderr() || (help && !json) {
        let _ = error.print();
        return ExitCode::from(if help { 2 } else { 0 });
    }
    let error = in_our_words(error);
    Output::new(json).error(&error);
    ExitCode::from(error.exit_code())
}

/// What clap says as place, problem and remedy.
fn in_our_words(error: &clap::Error) -> Error {
    let get = |kind| error.get(kind).map(ToString::to_string);
    let place = get(ContextKind::InvalidArg).or_else(|| get(ContextKind::InvalidSubcommand));
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim);
    let problem: Vec<&str> = lines.clone().take_while(|line| !line.is_empty()).collect();
    let suggested = [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
    ];
    let usage = lines.clone().find(|line| line.starts_with("Usage:"));
    let remedy = match (suggested.into_iter().find_map(get), usage) {
        (Some(near), _) => format!("did you mean \"{near}\"? --help lists what there is"),
        (None, Some(usage)) => format!("{}; --help says more", usage.replacen("Usage: ", "", 1)),
        (None, None) => match get(ContextKind::ValidValue) {
            Some(values) => format!("use one of {values}"),
            None => "give another value; --help says what it takes".into(),
        },
    };
    Error::input(
        place.unwrap_or_else(|| "the command line".into()),
        problem.join(" ").replacen("error: ", "", 1),
        remedy,
    )
}

fn dispatch(cli: Cli, output: Output) -> Result<()> {
    let global = &cli.global;
    Home::check(&global.home)?;
    match cli.command {
        Command::Run(args) => run::run(global, &args, output),
        Command::Plan(args) => plan::run(global, &args, output),
        Command::Train(args) => train::run(global, args, output),
        Command::Eval(args) => eval::run(global, args, output),
        Command::Sample(args) => sample::run(global, args, output),
        Command::Export(args) => export::run(global, args, output),
        Command::Import(args) => import::run(global, args, output),
        Command::Memory(args) => memory::run(global, args, output),
        Command::Ls(args) => ls::run(global, &args, output),
        Command::Show(args) => show::run(global, &args, output),
        Command::Compare(args) => compare::run(global, &args, output),
        Command::Anomalies(args) => anomalies::run(global, &args, output),
        Command::Report(args) => report::run(global, &args, output),
        Command::Data(command) => data::run(global, &command, output),
        Command::Tokenizer(command) => tokenizer::run(global, &command, output),
        Command::New(command) => new::run(global, command, output),
        Command::Campaign(args) => campaign::run(global, &args, output),
        Command::Fit(command) => fit::run(global, &command, output),
        Command::NextMixture(args) => next_mixture::run(global, &args, output),
        Command::Noise(args) => noise::run(global, &args, output),
        Command::Calibrate(args) => calibrate::run(global, &args, output),
        Command::Bench(args) => bench::run(global, args, output),
        Command::Doctor(args) => doctor::run(global, args, output),
        Command::Schema(args) => schema::run(global, &args, output),
        Command::Validate(args) => validate::run(global, &args, output),
        Command::Submit(args) => submit::run(global, &args, output),
        Command::Jobs(args) => jobs::run(global, &args, output),
        Command::Approve(args) => jobs::approve(global, &args, output),
        Command::Reject(args) => jobs::reject(global, &args, output),
        Command::Cancel(args) => jobs::cancel(global, &args, output),
        Command::Supervise(args) => supervise::run(global, &args, output),
        Command::Watch(args) => watch::run(global, &args, output),
        Command::Audit(args) => audit::run(global, &args, output),
        Command::Mcp(args) => mcp::run(global, &args, output),
        Command::Propose(args) => propose::run(global, &args, output),
        Command::Autopilot(args) => autopilot::run(global, &args, output),
        Command::Lit(args) => lit::run(global, &args, output),
        Command::Init(args) => init::run(global, &args, output),
        Command::Finding(args) => finding::run(global, &args, output),
        Command::Proposers(args) => proposers::run(global, &args, output),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "windtunnel",
                &mut std::io::stdout(),
            );
            Ok(())
        }
    }
}

impl Global {
    /// How this program's commands are run again as children. The project is the nearest folder, from the
    /// current one up, that holds the home or a repository; else the current one.
    fn settings(&self) -> Result<Settings> {
        let here = std::env::current_dir();
        let here = here.map_err(|e| Error::io(Path::new("."), "find the current folder", &e))?;
        let home = std::path::absolute(&self.home).unwrap_or_else(|_| self.home.clone());
        let is_project =
            |folder: &&Path| home.parent() == Some(*folder) || folder.join(".git").exists();
        let root = here.ancestors().find(is_project).unwrap_or(&here);
        Ok(Settings {
            device: self.device.name(),
            dtype: self.dtype.name().into(),
            threads: self.threads.map(usize::from),
            ..Settings::new(&self.home, root)?
        })
    }

    /// The device for one trial on its own, with every core.
    fn compute(&self, output: Output) -> Result<Compute> {
        self.compute_with(self.threads.map_or_else(cores, usize::from), output)
    }
}

static STOP: AtomicBool = AtomicBool::new(false);

/// The flag that the first Ctrl-C (or SIGTERM) sets; the second ends the program at once.
fn stop_on_interrupt() -> &'static AtomicBool {
    // A handler that is there already is ours.
    let _ = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step and saving; press Ctrl-C again to stop at once");
    });
    &STOP
}

/// Sets the flag of Ctrl-C when stdin ends: it is a pipe from whoever started this.
fn stop_when_stdin_ends() {
    std::thread::spawn(|| {
        // Nothing is written to it; an error is as good as an end.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        STOP.store(true, Ordering::Relaxed);
        eprintln!(
            "whoever started this is gone, or asks for it: stopping after this step and saving"
        );
    });
}
