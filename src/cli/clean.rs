//! `windtunnel data clean`

use super::{Global, output::Output};
use crate::{
    data::{
        Library,
        clean::{self, Benchmark, ByPart, Cleaning, Filters, Job, NEAR, Record, Removed},
        ingest::{Settings, Watch},
        source::Source,
    },
    error::{Error, Result, nearest},
    home::Home,
};
use std::path::Path;

const RULES: &str = "\
Rules of --filter, each RULE=NUMBER; none holds unless it is asked for:
  min_bytes, max_bytes    length, without white space at the ends
  min_words, max_words    what white space separates
  min_mean_word, max_mean_word
                          characters of a word, on average
  max_symbol_ratio        share of characters, white space aside, that are neither letter nor digit
  max_repeated_lines      share of lines that stand in the document before
  prose                   min_words=20, min_mean_word=2.5, max_mean_word=12, max_symbol_ratio=0.2,
                          max_repeated_lines=0.3; a rule beside it replaces its own

Order: filters, --against, exact, near; a document counts where it first falls. Documents stay in
their parts. Of two copies in different parts, the one for training goes.";

#[derive(clap::Args)]
#[command(after_help = RULES)]
pub struct Args {
    /// The corpus to clean, which stays as it is
    corpus: String,
    /// What the new one is called
    name: String,
    /// Remove documents that repeat earlier ones: exact, near, or both
    #[arg(long, value_delimiter = ',', value_parser = ["exact", "near"])]
    dedup: Vec<String>,
    /// Jaccard index of pairs of words from which on documents are near duplicates [default: 0.5]
    #[arg(long, value_name = "J")]
    near_threshold: Option<f64>,
    /// Remove documents that break a rule: "prose", "min_words=5,max_symbol_ratio=0.3", …
    #[arg(long, value_delimiter = ',', value_name = "RULES")]
    filter: Vec<String>,
    /// Remove documents that share 13 words in a row with the validation or test part of a corpus, or
    /// with files
    #[arg(long, num_args = 1.., value_name = "CORPUS_OR_FILE")]
    against: Vec<String>,
    /// The field with the text, where files of --against are rows
    #[arg(long, value_name = "FIELD", default_value = "text")]
    against_field: String,
    /// So many runs of 13 words shared with --against remove a document
    #[arg(long, value_name = "N", default_value_t = 1)]
    shared_runs: usize,
    /// Leave validation and test as they are; training documents that repeat them go all the same
    #[arg(long)]
    keep_held_out: bool,
}

pub fn run(global: &Global, library: &Library, args: &Args, output: Output) -> Result<()> {
    let cleaning = cleaning(args)?;
    library.check(&args.corpus)?;
    library.check_new(&args.name)?;
    let settings = Settings {
        threads: global
            .threads
            .map_or(Settings::default().threads, usize::from),
        ..Settings::default()
    };
    let mut watch = super::ingest::bar(output);
    Home::check_free(&global.home)?;
    let source = library.source(&args.corpus, &mut |_, _| {})?;
    let open = |name: &String| benchmark(global, library, (name, args), &settings, &mut *watch);
    let against = args.against.iter().map(open).collect::<Result<Vec<_>>>()?;
    let job = Job {
        source: &source,
        name: &args.name,
        cleaning: &cleaning,
        against: &against,
        settings: &settings,
    };
    job.check()?;
    let _lock = Home::lock(&global.home)?;
    let record = clean::clean(library, &job, &mut *watch)?;
    output.result(
        "windtunnel.data_clean.v1",
        &record,
        &in_words(&record, global),
    );
    Ok(())
}

fn cleaning(args: &Args) -> Result<Cleaning> {
    let asks = |name: &str| args.dedup.iter().any(|asked| asked == name);
    if args.near_threshold.is_some() && !asks("near") {
        return Err(Error::input(
            "--near-threshold",
            "near duplicates are not asked for",
            "give --dedup near, or leave it out",
        ));
    }
    Ok(Cleaning {
        filters: Filters::parse(args.filter.iter().map(String::as_str))?,
        shared_runs: args.shared_runs,
        exact: asks("exact"),
        near: asks("near").then_some(args.near_threshold.unwrap_or(NEAR)),
        keep_held_out: args.keep_held_out,
    })
}

/// What a name after --against means: a corpus's held-out parts, or files.
fn benchmark(
    global: &Global,
    library: &Library,
    (name, args): (&String, &Args),
    settings: &Settings,
    watch: &mut Watch,
) -> Result<Benchmark> {
    let known: Vec<String> = library
        .list()?
        .into_iter()
        .map(|listed| listed.name)
        .collect();
    let path = Path::new(name);
    if known.contains(name) {
        let source: Source = library.source(name, &mut |_, _| {})?;
        return Benchmark::held_out(&global.home, &source, settings, watch);
    }
    if !path.exists() && !name.contains(['/', '*', '.']) {
        return Err(Error::input(
            format!("--against {name}"),
            "there is no such corpus, and no such file",
            match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => "give a corpus that `windtunnel data list` names, or a path".into(),
            },
        ));
    }
    Benchmark::files(path, &args.against_field, settings, watch)
}

/// The record for people.
fn in_words(record: &Record, global: &Global) -> String {
    let (documents, bytes) = (&record.documents, &record.bytes);
    let share = |kept: ByPart, read: ByPart| 100.0 * kept.sum() as f64 / read.sum().max(1) as f64;
    let mut text = format!(
        "{}: {} of {} documents of \"{}\" ({:.1}%), {:.1}% of its bytes ({})\n  train {} of {}, test {} of {}, validation {} of {}\n",
        record.corpus,
        documents.kept.sum(),
        documents.read.sum(),
        record.source.corpus,
        share(documents.kept, documents.read),
        share(bytes.kept, bytes.read),
        record.sha256,
        documents.kept.train,
        documents.read.train,
        documents.kept.test,
        documents.read.test,
        documents.kept.validation,
        documents.read.validation,
    );
    for removed in &record.removed {
        let what = match &removed.by {
            None => removed.transform.clone(),
            Some(by) => format!("{} {by}", removed.transform),
        };
        text += &format!(
            "  removed  {what:<28} {:>9} documents {:>12} bytes{}\n",
            removed.documents.sum(),
            removed.bytes,
            example(removed)
        );
    }
    if record.removed.is_empty() {
        text += "  removed  nothing\n";
    }
    if record.copies_of_held_out > 0 {
        text += &format!(
            "  of them {} in training that repeat held-out documents\n",
            record.copies_of_held_out
        );
    }
    let path = global
        .home
        .join("clean")
        .join(format!("{}.json", record.corpus));
    text + &format!("  record   {}\n", path.display())
}

fn example(removed: &Removed) -> String {
    let Some(example) = removed.examples.first() else {
        return String::new();
    };
    match (&example.like, example.likeness) {
        (Some(like), Some(likeness)) => format!(
            "\n           such as {:?}\n           {likeness:.2} like {like:?}",
            example.text
        ),
        _ => format!("\n           such as {:?}", example.text),
    }
}
