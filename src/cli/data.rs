//! `windtunnel data list|fetch|add|synth|stat`

use super::{Global, output::Output};
use crate::{
    data::{
        Corpus, Library, answers, fetch, ngram, split,
        synth::{self, GRAMMARS},
    },
    error::{Error, Result, nearest},
    files,
    home::Home,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Name every corpus that a recipe may use
    List,
    /// Bring a public corpus here and verify it (WINDTUNNEL_MIRROR=DIR is read first)
    Fetch { corpus: String },
    /// Give a text file a name that recipes can use
    Add { file: PathBuf, name: String },
    /// Write a built-in corpus to a file
    Synth(SynthArgs),
    /// Sizes, parts and n-gram floors of a corpus
    Stat(StatArgs),
}

#[derive(clap::Args)]
pub struct SynthArgs {
    corpus: String,
    /// The file to write
    file: PathBuf,
    /// At least this many bytes
    #[arg(long, default_value_t = synth::DEFAULT_BYTES)]
    bytes: usize,
    #[arg(long, default_value_t = synth::DEFAULT_SEED)]
    seed: u64,
}

#[derive(clap::Args)]
pub struct StatArgs {
    corpus: String,
    /// byte, char, a name from `tokenizer train`, or the path of a tokenizer.json
    #[arg(long, default_value = "char")]
    tokenizer: String,
    /// Longest n-gram of the Witten-Bell floors
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(1..=8))]
    orders: u8,
}

pub fn run(global: &Global, command: &Command, output: Output) -> Result<()> {
    let library = Library::new(&global.home);
    match command {
        Command::List => list(&library, output),
        Command::Fetch { corpus } => bring(global, corpus, output),
        Command::Add { file, name } => {
            let added = library.to_add(name, file)?;
            let _lock = Home::lock(&global.home)?;
            library.add(name, &added)?;
            output.result(
                "windtunnel.data_add.v1",
                &json!({ "corpus": name, "path": added.path, "sha256": added.sha256 }),
                &format!("{name}: {} ({})", added.path.display(), added.sha256),
            );
            Ok(())
        }
        Command::Synth(args) => write(args, output),
        Command::Stat(args) => stat(global, &library, args, output),
    }
}

fn list(library: &Library, output: Output) -> Result<()> {
    let listed = library.list()?;
    let lines = listed.iter().map(|l| {
        format!(
            "{:<18} {:<9} {} ({})\n",
            l.name, l.state, l.about, l.licence
        )
    });
    let text: String = lines.collect();
    output.result(
        "windtunnel.data_list.v1",
        &json!({ "corpora": listed }),
        &text,
    );
    Ok(())
}

fn bring(global: &Global, corpus: &str, output: Output) -> Result<()> {
    let recipes = fetch::recipes()?;
    let Some(recipe) = recipes.iter().find(|recipe| recipe.name == corpus) else {
        let names: Vec<&str> = recipes.iter().map(|recipe| recipe.name.as_str()).collect();
        return Err(Error::input(
            format!("corpus \"{corpus}\""),
            "there is no such corpus to fetch",
            match nearest(corpus, names.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("there are: {}", names.join(", ")),
            },
        ));
    };
    // A wrong file is found out before anything is written.
    fetch::find(recipe, &global.home)?;
    let _lock = Home::lock(&global.home)?;
    let bar = output.bars().then(|| {
        let bar = ProgressBar::new(recipe.bytes);
        bar.with_style(
            ProgressStyle::with_template("{prefix} {bar:24} {bytes}/{total_bytes} {eta}")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        )
        .with_prefix(recipe.name.clone())
    });
    let path = fetch::fetch(recipe, &global.home, &mut |done, all| {
        if let Some(bar) = &bar {
            bar.set_length(all);
            bar.set_position(done);
        }
    })?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    output.result(
        "windtunnel.data_fetch.v1",
        &json!({ "corpus": recipe.name, "path": path, "sha256": recipe.sha256, "bytes": recipe.bytes }),
        &format!("{}: {}, digest verified", recipe.name, path.display()),
    );
    Ok(())
}

fn write(args: &SynthArgs, output: Output) -> Result<()> {
    let Some(grammar) = GRAMMARS.iter().find(|g| g.name == args.corpus) else {
        let names: Vec<&str> = GRAMMARS.iter().map(|g| g.name).collect();
        return Err(Error::input(
            format!("corpus \"{}\"", args.corpus),
            "there is no such built-in corpus",
            format!("there are: {}", names.join(", ")),
        ));
    };
    let text = synth::generate(grammar, args.bytes, args.seed)?;
    files::replace(&args.file, text.as_bytes())?;
    output.result(
        "windtunnel.data_synth.v1",
        &json!({ "corpus": grammar.name, "path": args.file, "bytes": text.len() }),
        &format!("{}: {} bytes", args.file.display(), text.len()),
    );
    Ok(())
}

fn stat(global: &Global, library: &Library, args: &StatArgs, output: Output) -> Result<()> {
    library.check(&args.corpus)?;
    let source = library.source(&args.corpus, &mut |_, _| {})?;
    let tokenizer = super::tokenizer::named(&global.home, &args.tokenizer, &source.text)?;
    let corpus = Corpus::open(&global.home, &source, &tokenizer)?;
    let parts = split::split(&source.text, &source.split)?;
    let bytes = |part: split::Part| -> Vec<u8> {
        let documents = parts[part as usize].iter();
        documents.flat_map(|d| d.0.bytes()).collect()
    };
    let (train, validation) = (bytes(split::Part::Train), bytes(split::Part::Validation));
    let floors = ngram::floors(&train, &validation, usize::from(args.orders));
    let mut text = format!(
        "{}\n  origin     {}\n  licence    {}\n  sha256     {}\n  documents  {} train, {} test, {} validation\n  bytes      {} train, {} validation\n  tokens     {} train, {} validation; vocabulary {}\n  n-gram floors on the validation part (Witten-Bell, nats per byte)\n",
        args.corpus,
        source.origin,
        source.licence,
        source.digest,
        parts[0].len(),
        parts[1].len(),
        parts[2].len(),
        train.len(),
        validation.len(),
        corpus.train().len(),
        corpus.validation().len(),
        tokenizer.vocab_size(),
    );
    for (idx, floor) in floors.iter().enumerate() {
        text += &format!("    order {}  {floor:.4}\n", idx + 1);
    }
    let guess = source.answers.as_ref().and_then(|prefix| {
        let documents = |part| parts[part as usize].iter().map(|d: &split::Document| d.0);
        let (train, validation) = (split::Part::Train, split::Part::Validation);
        answers::guess(prefix, documents(train), documents(validation))
    });
    if let Some(guess) = &guess {
        text += &format!(
            "  answers    {} train, {} validation; always the commonest, {:?}: {:.1}% right\n",
            guess.train,
            guess.validation,
            guess.answer,
            100.0 * guess.right
        );
    }
    output.result(
        "windtunnel.data_stat.v1",
        &json!({
            "corpus": args.corpus,
            "origin": source.origin,
            "licence": source.licence,
            "sha256": source.digest,
            "documents": { "train": parts[0].len(), "test": parts[1].len(), "validation": parts[2].len() },
            "bytes": { "train": train.len(), "validation": validation.len() },
            "tokens": { "train": corpus.train().len(), "validation": corpus.validation().len() },
            "vocabulary": tokenizer.vocab_size(),
            "floors_nats_per_byte": floors,
            "answers": guess,
        }),
        &text,
    );
    Ok(())
}
