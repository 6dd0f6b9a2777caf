//! `windtunnel data list|fetch|add|synth`

use super::{Global, clean, output::Output, stat};
use crate::{
    data::{
        Library, Tokenizer,
        added::{Addition, ToAdd},
        fetch::{self, FetchRecipe},
        ingest::Format,
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
    /// Give files a name that recipes can use: text, JSON lines, Parquet, tokens
    Add(AddArgs),
    /// Write a built-in corpus to a file
    Synth(SynthArgs),
    /// Make a corpus of another one without duplicates, scraps, or text of benchmarks
    Clean(clean::Args),
    /// Sizes, bytes per token, duplicates and n-gram floors of corpora, and what they share
    Stat(stat::Args),
}

#[derive(clap::Args)]
pub struct AddArgs {
    /// A file, a folder, or a quoted pattern such as "shards/*.jsonl.zst"
    path: PathBuf,
    name: String,
    /// What is in the files, where their names do not say it
    #[arg(long, value_parser = Format::NAMES)]
    format: Option<String>,
    /// The field or column with the text, where there are rows [default: text]
    #[arg(long)]
    field: Option<String>,
    /// The tokenizer that made files of tokens: a name, or the path of a tokenizer.json
    #[arg(long, value_name = "T")]
    tokenizer: Option<String>,
    /// Fraction for validation [default: 0.1]
    #[arg(long, value_name = "FRACTION")]
    validation: Option<f64>,
    /// Fraction for the locked test part [default: 0.05]
    #[arg(long, value_name = "FRACTION")]
    test: Option<f64>,
    /// What every answer follows, such as "Answer: "; to the end of its line, or of its document
    /// where it ends with \n
    #[arg(long, value_name = "PREFIX")]
    answers: Option<String>,
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

pub fn run(global: &Global, command: &Command, output: Output) -> Result<()> {
    let library = Library::new(&global.home);
    match command {
        Command::List => list(&library, output),
        Command::Fetch { corpus } => bring(global, corpus, output),
        Command::Add(args) => add(global, &library, args, output),
        Command::Synth(args) => write(args, output),
        Command::Clean(args) => clean::run(global, &library, args, output),
        Command::Stat(args) => stat::run(global, &library, args, output),
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

fn add(global: &Global, library: &Library, args: &AddArgs, output: Output) -> Result<()> {
    let name = &args.name;
    let tokenizer = args.tokenizer.as_deref();
    let to_add = ToAdd {
        path: args.path.clone(),
        format: args.format.as_deref().and_then(Format::named),
        field: args.field.clone(),
        tokenizer: tokenizer
            .map(|given| tokenizer_of(global, given))
            .transpose()?,
        validation: args.validation,
        test: args.test,
        // A shell has no easy newline.
        answers: args
            .answers
            .as_ref()
            .map(|prefix| prefix.replace("\\n", "\n")),
    };
    let addition = library.addition(name, &to_add, &mut *super::ingest::bar(output))?;
    let _lock = Home::lock(&global.home)?;
    library.keep_scan(name, &addition)?;
    library.add(name, &addition.added)?;
    let Addition {
        added,
        scan,
        left_out,
    } = &addition;
    output.result(
        "windtunnel.data_add.v1",
        &json!({
            "corpus": name,
            "path": added.path,
            "sha256": added.sha256,
            "format": added.format.unwrap_or(Format::Text),
            "files": added.files.len().max(1),
            "split": added.split,
            "sizes": scan.as_ref().map(|scan| scan.sizes),
            "empty_rows": scan.as_ref().map_or(0, |scan| scan.empty_rows),
            "left_out": left_out,
        }),
        &described(name, &addition),
    );
    Ok(())
}

/// The tokenizer that a user names for token files, and what a record calls it.
fn tokenizer_of(global: &Global, given: &str) -> Result<(String, Tokenizer)> {
    let tokenizer = super::tokenizer::named(&global.home, given, "").map_err(|e| Error {
        place: format!("--tokenizer, {}", e.place),
        ..e
    })?;
    // A path is kept whole: a recipe may lie anywhere.
    let is_file = matches!(tokenizer, Tokenizer::Bpe(_)) && given.contains(['/', '.']);
    let path = std::fs::canonicalize(given).ok().filter(|_| is_file);
    let name = path.map_or_else(|| given.into(), |path| path.display().to_string());
    Ok((name, tokenizer))
}

/// What was added, for people.
fn described(name: &str, addition: &Addition) -> String {
    let Addition {
        added,
        scan,
        left_out,
    } = addition;
    let mut text = format!("{name}: {} ({})", added.about(), added.sha256);
    if let Some(scan) = scan {
        let what = match added.format {
            Some(Format::Tokens) => "tokens".to_string(),
            _ => format!("bytes in {} documents", scan.documents.iter().sum::<u64>()),
        };
        let [train, test, validation] = scan.sizes;
        text += &format!("\n  {what}: {train} train, {test} test, {validation} validation");
        if scan.empty_rows > 0 {
            text += &format!("\n  {} rows without text were left out", scan.empty_rows);
        }
    }
    if !left_out.is_empty() {
        let shown = left_out.iter().take(6);
        let shown: Vec<String> = shown.map(|path| path.display().to_string()).collect();
        text += &format!("\n  left out: {}", shown.join(", "));
        if left_out.len() > shown.len() {
            text += &format!(" and {} more", left_out.len() - shown.len());
        }
    }
    text
}

/// The fetch recipe of this name.
fn recipe_of(corpus: &str) -> Result<FetchRecipe> {
    let mut recipes = fetch::recipes()?;
    match recipes.iter().position(|recipe| recipe.name == corpus) {
        Some(at) => Ok(recipes.swap_remove(at)),
        None => {
            let names: Vec<&str> = recipes.iter().map(|recipe| recipe.name.as_str()).collect();
            Err(Error::input(
                format!("corpus \"{corpus}\""),
                "there is no such corpus to fetch",
                match nearest(corpus, names.iter().copied()) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("there are: {}", names.join(", ")),
                },
            ))
        }
    }
}

fn bring(global: &Global, corpus: &str, output: Output) -> Result<()> {
    let recipe = &recipe_of(corpus)?;
    // A wrong file is found out before anything is written.
    fetch::find(recipe, &global.home)?;
    let _lock = Home::lock(&global.home)?;
    let style = "{prefix} {bar:24} {bytes}/{total_bytes} {eta}";
    let style = ProgressStyle::with_template(style);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = output.bars().then(|| {
        let bar = ProgressBar::new(0).with_style(style);
        bar.with_prefix(recipe.name.clone())
    });
    let files = fetch::fetch(recipe, &global.home, &mut |done, all| {
        if let Some(bar) = &bar {
            bar.set_length(all);
            bar.set_position(done);
        }
    })?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let text = files.iter().zip(&recipe.files).map(|(file, remote)| {
        let how = match remote.sha256 {
            Some(_) => "digest verified".to_string(),
            None => format!("pinned to SHA-256 {}", file.sha256),
        };
        format!("{}: {}, {how}", recipe.name, file.path.display())
    });
    let text: Vec<String> = text.collect();
    let first = files.first();
    output.result(
        "windtunnel.data_fetch.v1",
        &json!({
            "corpus": recipe.name,
            "path": first.map(|file| &file.path),
            "sha256": first.map(|file| &file.sha256),
            "bytes": files.iter().map(|file| file.bytes).sum::<u64>(),
            "files": files,
        }),
        &text.join("\n"),
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
