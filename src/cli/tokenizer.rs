//! `windtunnel tokenizer train|list|show`

use super::{Global, ingest, output::Output};
use crate::{
    data::{
        Library, Tokenizer, TokenizerChoice,
        ingest::Watch,
        source::Source,
        tokenizer::{Bpe, files, training},
    },
    error::{Error, Result},
    home::Home,
};
use serde_json::{Value, json};
use std::{cell::RefCell, fs, path::Path};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Train a byte-level BPE on the training parts of corpora, and give it a name for recipes
    Train(TrainArgs),
    /// Name every tokenizer that a recipe may use
    List,
    /// Say how tokenizers cut a text
    Show(ShowArgs),
}

#[derive(clap::Args)]
pub struct TrainArgs {
    name: String,
    /// Tokens in all, the 256 bytes included
    #[arg(long, value_name = "N")]
    vocab_size: usize,
    /// Names of corpora, with commas between them
    #[arg(long, required = true, value_delimiter = ',', value_name = "A,B")]
    corpora: Vec<String>,
}

#[derive(clap::Args)]
pub struct ShowArgs {
    text: String,
    /// A name or a path, or several with commas between them [default: all that `list` names]
    #[arg(long, value_delimiter = ',', value_name = "T")]
    tokenizer: Vec<String>,
}

pub fn run(global: &Global, command: &Command, output: Output) -> Result<()> {
    match command {
        Command::Train(args) => train(global, args, output),
        Command::List => list(&global.home, output),
        Command::Show(args) => show(&global.home, args, output),
    }
}

/// The tokenizer of this name or path; `characters` are those that "char" means.
pub fn named(home: &Path, name: &str, characters: &str) -> Result<Tokenizer> {
    let choice = TokenizerChoice::from(name.to_string()).seen_from(Path::new(""));
    match choice {
        TokenizerChoice::BuiltIn(kind) => Tokenizer::of(kind, [characters]),
        TokenizerChoice::File(name) => Ok(Tokenizer::Bpe(files::read(&files::find(home, &name)?)?)),
    }
}

fn train(global: &Global, args: &TrainArgs, output: Output) -> Result<()> {
    check_name(&args.name)?;
    training::check_size(args.vocab_size)?;
    let library = Library::new(&global.home);
    let mut corpora = args.corpora.clone();
    corpora.sort();
    corpora.dedup();
    corpora
        .iter()
        .try_for_each(|corpus| library.check(corpus))?;
    let sources = corpora
        .iter()
        .map(|corpus| library.source(corpus, &mut |_, _| {}))
        .collect::<Result<Vec<_>>>()?;
    let watch = RefCell::new(ingest::bar(output));
    let each = |take: &mut dyn FnMut(&str) -> Result<()>| {
        training_parts(&global.home, &sources, &mut **watch.borrow_mut(), take)
    };
    let bpe = training::train_on(&each, args.vocab_size)?;
    let path = files::place(&global.home, &args.name);
    check_free(&path, &args.name, &bpe)?;
    let _lock = Home::lock(&global.home)?;
    corpora.iter().try_for_each(|corpus| library.keep(corpus))?;
    files::keep(&path, &bpe)?;
    let size = bpe.vocab_size();
    let mut text = format!("{}: {size} tokens, {}", args.name, path.display());
    if size < args.vocab_size {
        text += &format!(
            "\n  fewer than {}: no other pair of tokens occurs twice",
            args.vocab_size
        );
    }
    output.result(
        "windtunnel.tokenizer_train.v1",
        &json!({
            "tokenizer": args.name,
            "path": path,
            "vocabulary": size,
            "digest": bpe.digest(),
            "corpora": corpora,
        }),
        &text,
    );
    Ok(())
}

/// The documents that corpora are trained on; those for validation and test stay unseen.
fn training_parts(
    home: &Path,
    sources: &[Source],
    watch: &mut Watch,
    take: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<()> {
    sources
        .iter()
        .try_for_each(|source| source.training_documents(home, watch, take))
}

fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if ["byte", "char"].contains(&name) {
        return Err(Error::input(
            "NAME",
            format!("\"{name}\" is built in"),
            "choose another name",
        ));
    }
    match !name.is_empty() && name.len() <= 64 && name.chars().all(plain) {
        true => Ok(()),
        false => Err(Error::input(
            "NAME",
            format!("{name:?} can't be a tokenizer's name"),
            "use letters, digits, - and _, at most 64",
        )),
    }
}

/// Errors when another tokenizer has the name.
fn check_free(path: &Path, name: &str, bpe: &Bpe) -> Result<()> {
    match !path.exists() || fs::read_to_string(path).is_ok_and(|kept| kept == bpe.text()) {
        true => Ok(()),
        false => Err(Error::input(
            "NAME",
            format!("\"{name}\" is taken by another tokenizer"),
            format!("choose another name, or delete {}", path.display()),
        )),
    }
}

fn list(home: &Path, output: Output) -> Result<()> {
    let mut text = String::from(
        "byte                  256 tokens, one a byte\nchar                  one token for each character of a run's corpora\n",
    );
    let mut listed = vec![
        json!({ "name": "byte", "state": "built in", "vocabulary": 256 }),
        json!({ "name": "char", "state": "built in" }),
    ];
    for name in files::names(home) {
        let path = files::place(home, &name);
        let bpe = files::read(&path)?;
        text += &format!(
            "{name:<18} {:>6} tokens, {}\n",
            bpe.vocab_size(),
            path.display()
        );
        listed.push(json!({
            "name": name,
            "state": "trained",
            "path": path,
            "vocabulary": bpe.vocab_size(),
            "digest": bpe.digest(),
        }));
    }
    let value = json!({ "tokenizers": listed });
    output.result("windtunnel.tokenizer_list.v1", &value, &text);
    Ok(())
}

fn show(home: &Path, args: &ShowArgs, output: Output) -> Result<()> {
    let names = match args.tokenizer.is_empty() {
        false => args.tokenizer.clone(),
        true => {
            let built_in = ["byte", "char"].map(String::from).into_iter();
            built_in.chain(files::names(home)).collect()
        }
    };
    let mut text = String::new();
    let mut shown: Vec<Value> = Vec::new();
    for name in names {
        let tokenizer = named(home, &name, &args.text)?;
        let ids = tokenizer.encode(&args.text)?;
        let tokens: Vec<String> = ids.iter().map(|id| tokenizer.decode(&[*id])).collect();
        text += &format!("{name}: {} tokens\n  {}\n", ids.len(), quoted(&tokens));
        shown.push(json!({ "name": name, "ids": ids, "tokens": tokens }));
    }
    let value = json!({ "text": args.text, "tokenizers": shown });
    output.result("windtunnel.tokenizer_show.v1", &value, &text);
    Ok(())
}

/// Tokens on one line, with what can't be seen escaped.
fn quoted(tokens: &[String]) -> String {
    let quoted: Vec<String> = tokens.iter().map(|token| format!("{token:?}")).collect();
    quoted.join(" ")
}
