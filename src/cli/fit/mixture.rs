//! `windtunnel fit mixture MIXTURES.csv LOSSES.csv`

use super::{Global, Output, pair, plot, table};
use crate::{
    error::{Error, Result},
    laws::{
        Bounds, Goal, Joined, Law, Runs,
        mixmin::{MixMin, Predictions, mixmin},
        mixture::{Held, MixtureFit, Request, fit_mixture},
    },
    report::{StudyReport, plot::mixture_svg},
    study::{contract::StudyDir, swarm::swarm},
};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// A row for each run: its `index`, and the weight of every domain
    #[arg(required_unless_present_any = ["mixmin", "study"])]
    pub mixtures: Option<PathBuf>,
    /// A row for each run: its `index`, and its loss on every target
    #[arg(required_unless_present_any = ["mixmin", "study"])]
    pub losses: Option<PathBuf>,
    /// Instead of tables: the arms of a finished study; what it held back is what laws are tested on
    #[arg(long, value_name = "STUDY", conflicts_with_all = ["mixtures", "losses", "test"])]
    pub study: Option<String>,
    /// Targets, with commas between them, or all
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "all",
        value_name = "TARGET"
    )]
    pub target: Vec<String>,
    /// What the best mixture is best for: weights on targets [default: equal on --target]
    #[arg(long, value_delimiter = ',', value_name = "TARGET=WEIGHT")]
    pub weights: Vec<String>,
    /// Runs that nothing is fitted to or chosen by; may be repeated
    #[arg(long, num_args = 2, value_names = ["MIXTURES", "LOSSES"], action = clap::ArgAction::Append)]
    pub test: Vec<PathBuf>,
    /// linear, log-linear, quadratic, trees, or auto: the best by cross-validation
    #[arg(long, default_value = "auto")]
    pub law: String,
    /// Use the first N runs alone
    #[arg(long, value_name = "N")]
    pub n: Option<usize>,
    /// Let this seed choose the N runs
    #[arg(long, value_name = "SEED", requires = "n")]
    pub subset: Option<u64>,
    /// Tokens of domains: the natural mixture, around which the best is searched
    #[arg(long, value_delimiter = ',', value_name = "DOMAIN=TOKENS")]
    pub sizes: Vec<String>,
    /// Least weights, of one domain each or of all
    #[arg(long, value_delimiter = ',', value_name = "[DOMAIN=]WEIGHT")]
    pub min: Vec<String>,
    /// Greatest weights, of one domain each or of all
    #[arg(long, value_delimiter = ',', value_name = "[DOMAIN=]WEIGHT")]
    pub max: Vec<String>,
    /// Resamplings of the runs that intervals come from [default: 200; 20 of trees]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=5000))]
    pub bootstrap: Option<u16>,
    /// Also propose N mixtures whose runs would teach most
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub next: u16,
    /// Of folds, resamplings and the search
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write a picture
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Instead of runs on mixtures: the losses that one model for each corpus has on target text; a
    /// row for each token, window or document, a column for each corpus, in nats per token, and
    /// optionally `tokens`
    #[arg(long, value_name = "PREDICTIONS.csv", conflicts_with_all = ["mixtures", "losses", "test", "plot"])]
    pub mixmin: Option<PathBuf>,
}

impl Args {
    /// What `fit mixture --study STUDY` would have.
    pub fn default_for(study: &str) -> Self {
        Self {
            mixtures: None,
            losses: None,
            study: Some(study.into()),
            target: vec!["all".into()],
            weights: Vec::new(),
            test: Vec::new(),
            law: "auto".into(),
            n: None,
            subset: None,
            sizes: Vec::new(),
            min: Vec::new(),
            max: Vec::new(),
            bootstrap: None,
            next: 0,
            seed: 1,
            plot: None,
            mixmin: None,
        }
    }
}

pub fn run(global: &Global, args: &Args, output: Output) -> Result<()> {
    if let Some(study) = &args.study {
        let (found, _) = of_study(global, (study, args), output)?;
        plot(args.plot.as_deref(), || mixture_svg(&found), output)?;
        output.result("windtunnel.fit_mixture.v1", &found, &found.in_words());
        return Ok(());
    }
    match (&args.mixmin, &args.mixtures, &args.losses) {
        (Some(predictions), _, _) => by_predictions(predictions, args.seed, output),
        (None, Some(mixtures), Some(losses)) => by_runs(args, (mixtures, losses), output),
        _ => Err(Error::input(
            "fit mixture",
            "one table is missing",
            "give the mixtures and the losses; --help says what they hold",
        )),
    }
}

/// Laws fitted to a study's arms, with what it was judged by as the goal unless `args` say otherwise;
/// and the study.
pub fn of_study(
    global: &Global,
    (study, args): (&str, &Args),
    output: Output,
) -> Result<(MixtureFit, StudyReport)> {
    let dir = StudyDir::find(&global.home, study)?;
    let report = StudyReport::read(&global.home, &dir)?;
    let swarm = swarm(&report.contract, &report.outcomes)?;
    for arm in &swarm.diverged {
        output.note(&format!("{arm} diverged: no law is fitted to it"));
    }
    if !swarm.outside.is_empty() {
        let arms = swarm.outside.join(", ");
        output.note(&format!("beyond the space's limits, so not fitted: {arms}"));
    }
    let runs = some_of(&swarm.fitted, args)?;
    let mut asked = request(&runs, args)?;
    if args.weights.is_empty() && args.target == ["all"] {
        let weighted: Vec<(usize, f64)> = swarm.weights.iter().copied().enumerate().collect();
        asked.goal = Goal::new("decision.eval", &weighted)?;
    }
    let held = match swarm.held_back.is_empty() {
        true => Vec::new(),
        false => vec![Held {
            name: "held back".into(),
            runs: swarm.held_back,
        }],
    };
    let found = fit_mixture(&runs, &held, &asked, &|text| output.note(text))?;
    Ok((found, report))
}

fn by_predictions(path: &Path, seed: u64, output: Output) -> Result<()> {
    let found = mixmin(&Predictions::of(&table(path)?)?, seed);
    output.result("windtunnel.fit_mixmin.v1", &found, &in_words(&found));
    Ok(())
}

fn in_words(found: &MixMin) -> String {
    let mut text = format!(
        "{} rows\n{:<20} {:>8} {:>18} {:>11}\n",
        found.rows, "corpus", "weight", "90% interval", "loss alone"
    );
    for corpus in &found.weights {
        let w = corpus.weight;
        text += &format!(
            "{:<20} {:>8.4} {:>18} {:>11.4}\n",
            corpus.corpus,
            w.value,
            format!("[{:.4}, {:.4}]", w.low, w.high),
            corpus.loss_alone
        );
    }
    text + &format!(
        "the mixture of predictions loses {:.4} nats per token, at equal weights {:.4}, {} alone {:.4}\n",
        found.loss.value, found.uniform_loss, found.best_single.0, found.best_single.1
    )
}

fn by_runs(args: &Args, (mixtures, losses): (&Path, &Path), output: Output) -> Result<()> {
    let joined = Joined::of(&table(mixtures)?, &table(losses)?)?;
    let runs = some_of(&joined.runs, args)?;
    let request = request(&runs, args)?;
    let mut held = Vec::new();
    let mut unmatched = joined.unmatched;
    for pair in args.test.chunks_exact(2) {
        let more = Joined::more(&joined, &table(&pair[0])?, &table(&pair[1])?)?;
        unmatched += more.unmatched;
        held.push(Held {
            name: pair[1]
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into(),
            runs: more.runs,
        });
    }
    if unmatched > 0 {
        output.note(&format!(
            "{unmatched} rows have no partner in the other table; left out"
        ));
    }
    let found = fit_mixture(&runs, &held, &request, &|text| output.note(text))?;
    plot(args.plot.as_deref(), || mixture_svg(&found), output)?;
    output.result("windtunnel.fit_mixture.v1", &found, &found.in_words());
    Ok(())
}

fn some_of(runs: &Runs, args: &Args) -> Result<Runs> {
    match (args.n, args.subset) {
        (Some(n), _) if n > runs.len() => Err(Error::input(
            format!("--n {n}"),
            format!("there are {} runs", runs.len()),
            "ask for as many or fewer",
        )),
        (Some(n), Some(seed)) => Ok(runs.subset(n, seed)),
        (Some(n), None) => Ok(runs.first(n)),
        (None, _) => Ok(runs.clone()),
    }
}

fn request(runs: &Runs, args: &Args) -> Result<Request> {
    let mut targets = match &args.target[..] {
        [all] if all == "all" => (0..runs.targets.len()).collect(),
        names => {
            let found = names.iter().map(|name| runs.find_target(name));
            found.collect::<Result<Vec<_>>>()?
        }
    };
    let weighted = match args.weights.is_empty() {
        true => targets.iter().map(|t| (*t, 1.0)).collect(),
        false => {
            let each = args.weights.iter().map(|text| {
                let (name, weight) = pair("--weights", text)?;
                Ok((runs.find_target(&name)?, weight))
            });
            each.collect::<Result<Vec<_>>>()?
        }
    };
    let named_all = args.target == ["all"];
    if named_all && !args.weights.is_empty() {
        // Weights name what is of interest.
        targets.retain(|t| weighted.iter().any(|(named, _)| named == t));
    }
    let more = weighted
        .iter()
        .map(|(t, _)| *t)
        .filter(|t| !targets.contains(t));
    targets.extend(more.collect::<Vec<_>>());
    let law = match args.law.as_str() {
        "auto" => None,
        name => Some(name.parse::<Law>()?),
    };
    let flag = if args.weights.is_empty() {
        "--target"
    } else {
        "--weights"
    };
    Ok(Request {
        goal: Goal::new(flag, &weighted)?,
        targets,
        law,
        bounds: bounds(runs, args)?,
        sizes: sizes(runs, &args.sizes)?,
        replicates: args.bootstrap.map(usize::from),
        n_next: args.next.into(),
        seed: args.seed,
    })
}

fn bounds(runs: &Runs, args: &Args) -> Result<Bounds> {
    let mut bounds = Bounds::free(runs.domains.len());
    for (flag, texts, limits) in [
        ("--min", &args.min, &mut bounds.low),
        ("--max", &args.max, &mut bounds.high),
    ] {
        for text in texts {
            match text.parse::<f64>() {
                Ok(all) => limits.fill(all),
                Err(_) => {
                    let (name, weight) = pair(flag, text)?;
                    limits[runs.find_domain(flag, &name)?] = weight;
                }
            }
        }
    }
    Ok(bounds)
}

/// Every domain's, or none.
fn sizes(runs: &Runs, texts: &[String]) -> Result<Option<Vec<f64>>> {
    if texts.is_empty() {
        return Ok(None);
    }
    let mut sizes = vec![None; runs.domains.len()];
    for text in texts {
        let (name, tokens) = pair("--sizes", text)?;
        sizes[runs.find_domain("--sizes", &name)?] = Some(tokens);
    }
    let missing = sizes.iter().position(Option::is_none);
    match missing {
        None => Ok(Some(sizes.into_iter().flatten().collect())),
        Some(idx) => Err(Error::input(
            "--sizes",
            format!("the size of \"{}\" is missing", runs.domains[idx]),
            "give the tokens of every domain, or none",
        )),
    }
}
