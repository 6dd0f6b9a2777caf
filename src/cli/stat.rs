//! `windtunnel data stat`

use super::{Global, output::Output};
use crate::{
    data::{
        Corpus, Library, Tokenizer, answers,
        clean::{NEAR, duplicates::duplicates},
        ingest::{Settings, Watch},
        ngram,
        overlap::{Overlap, overlap},
        source::Source,
        split::Part,
    },
    error::Result,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

#[derive(clap::Args)]
pub struct Args {
    /// One corpus, or several to see what they share
    #[arg(required = true, value_name = "CORPUS")]
    corpora: Vec<String>,
    /// byte, char, a name from `tokenizer train`, or the path of a tokenizer.json
    #[arg(long, default_value = "char")]
    tokenizer: String,
    /// Longest n-gram of the Witten-Bell floors
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(1..=8))]
    orders: u8,
}

/// Of longer parts the floors are of their beginnings: counts of n-grams are held in memory.
const FLOOR_BYTES: [usize; 2] = [16 << 20, 2 << 20];
/// Of longer corpora duplicates are looked for in the beginning: an index is held in memory.
const DUPLICATES_TOKENS: usize = 256 << 20;

/// A corpus and its tokenizer.
struct Opened {
    source: Source,
    corpus: Arc<Corpus>,
    tokenizer: Tokenizer,
}

pub fn run(global: &Global, library: &Library, args: &Args, output: Output) -> Result<()> {
    args.corpora
        .iter()
        .try_for_each(|name| library.check(name))?;
    let mut watch = super::ingest::bar(output);
    let sources = args.corpora.iter();
    let sources = sources.map(|name| library.source(name, &mut |_, _| {}));
    let opened = open(global, sources.collect::<Result<_>>()?, args, &mut *watch)?;
    let mut stats = Vec::new();
    for opened in &opened {
        stats.push(stat(opened, args)?);
    }
    let mut overlaps = Vec::new();
    for trained in &opened {
        for held_out in &opened {
            let (a, b) = (&trained.corpus, &held_out.corpus);
            overlaps.push(overlap(a, b, &held_out.tokenizer));
        }
    }
    let mut text: Vec<String> = stats.iter().map(|(_, text)| text.clone()).collect();
    text.push(match &overlaps[..] {
        [own] => format!("  overlap    {}\n", own.in_words()),
        _ => matrix(&overlaps, opened.len()),
    });
    let mut values: Vec<Value> = stats.into_iter().map(|(value, _)| value).collect();
    match (&mut values[..], &overlaps[..]) {
        ([value], [own]) => {
            value["overlap"] = json!(own);
            output.result("windtunnel.data_stat.v1", value, &text.concat());
        }
        _ => output.result(
            "windtunnel.data_stats.v1",
            &json!({ "corpora": values, "overlaps": overlaps }),
            &text.concat(),
        ),
    }
    Ok(())
}

/// The corpora in the tokens of one tokenizer.
fn open(
    global: &Global,
    sources: Vec<Source>,
    args: &Args,
    watch: &mut Watch,
) -> Result<Vec<Opened>> {
    let settings = Settings::default();
    let mut characters = BTreeSet::new();
    if args.tokenizer == "char" {
        for source in &sources {
            characters.extend(source.characters(&global.home, &settings, watch)?.chars());
        }
    }
    let shared: String = characters.into_iter().collect();
    let mut opened = Vec::new();
    for source in sources {
        let tokenizer = super::tokenizer::named(&global.home, &args.tokenizer, &shared)?;
        let corpus = Corpus::open_with(&global.home, &source, &tokenizer, &settings, watch)?;
        opened.push(Opened {
            source,
            corpus,
            tokenizer,
        });
    }
    Ok(opened)
}

/// What there is to say of one corpus, for programs and for people.
fn stat(opened: &Opened, args: &Args) -> Result<(Value, String)> {
    let Opened {
        source,
        corpus,
        tokenizer,
    } = opened;
    let counts = corpus.manifest();
    let mut text = counted(opened);
    let settings = Settings::default();
    let found = duplicates(corpus, tokenizer, NEAR, DUPLICATES_TOKENS, &settings)?;
    let parts = [counts.train, counts.test, counts.validation];
    let of = match found.documents == parts.iter().map(|part| part.documents).sum::<u64>() {
        true => String::new(),
        false => format!(
            " of the first {} tokens, held-out parts first",
            found.tokens
        ),
    };
    text += &format!(
        "  duplicates {} exact, {} near (Jaccard index of pairs of words {NEAR} or more) of {} documents{of}; {} in training repeat held-out ones\n",
        found.exact, found.near, found.documents, found.copies_of_held_out
    );
    let train = beginning(corpus, Part::Train, tokenizer, FLOOR_BYTES[0]);
    let validation = beginning(corpus, Part::Validation, tokenizer, FLOOR_BYTES[1]);
    let orders = usize::from(args.orders);
    let floors = ngram::floors(train.as_bytes(), validation.as_bytes(), orders);
    let used = [train.len() as u64, validation.len() as u64];
    let of = match used == [counts.train.bytes, counts.validation.bytes] {
        true => String::new(),
        false => format!(
            ", of the first {} bytes to train on and the first {} for validation",
            used[0], used[1]
        ),
    };
    text += &format!("  n-gram floors on the validation part (Witten-Bell, nats per byte{of})\n");
    for (idx, floor) in floors.iter().enumerate() {
        text += &format!("    order {}  {floor:.4}\n", idx + 1);
    }
    let prefix = source.answers.as_ref();
    let guess =
        prefix.and_then(|prefix| answers::guess(prefix, [train.as_str()], [validation.as_str()]));
    if let Some(guess) = &guess {
        text += &format!(
            "  answers    {} train, {} validation; always the commonest, {:?}: {:.1}% right\n",
            guess.train,
            guess.validation,
            guess.answer,
            100.0 * guess.right
        );
    }
    let value = json!({
        "corpus": source.name,
        "origin": source.origin,
        "licence": source.licence,
        "sha256": source.digest,
        "documents": { "train": counts.train.documents, "test": counts.test.documents, "validation": counts.validation.documents },
        "bytes": { "train": counts.train.bytes, "test": counts.test.bytes, "validation": counts.validation.bytes },
        "tokens": { "train": counts.train.tokens, "test": counts.test.tokens, "validation": counts.validation.tokens },
        "bytes_per_token": counts.bytes_per_token,
        "vocabulary": tokenizer.vocab_size(),
        "duplicates": found,
        "floors_of_bytes": { "train": used[0], "validation": used[1] },
        "floors_nats_per_byte": floors,
        "answers": guess,
    });
    Ok((value, text))
}

/// Where a corpus is from and how large it is, for people.
fn counted(opened: &Opened) -> String {
    let Opened {
        source,
        corpus,
        tokenizer,
    } = opened;
    let counts = corpus.manifest();
    format!(
        "{}\n  origin     {}\n  licence    {}\n  sha256     {}\n  documents  {} train, {} test, {} validation\n  bytes      {} train, {} validation\n  tokens     {} train, {} validation; vocabulary {}\n  per token  {:.3} bytes\n",
        source.name,
        source.origin,
        source.licence,
        source.digest,
        counts.train.documents,
        counts.test.documents,
        counts.validation.documents,
        counts.train.bytes,
        counts.validation.bytes,
        counts.train.tokens,
        counts.validation.tokens,
        tokenizer.vocab_size(),
        counts.bytes_per_token,
    )
}

/// What each corpus's validation part (columns) shares with each one's training part (rows).
fn matrix(overlaps: &[Overlap], n_corpora: usize) -> String {
    let width = overlaps.iter().map(|overlap| overlap.validation.len());
    let width = width.max().unwrap_or(0).max(12) + 2;
    let mut text = "overlap: of the validation part above, documents copied whole / runs of 13 words, in the training part at the left\n".to_string();
    let first = &overlaps[..n_corpora];
    let names = first
        .iter()
        .map(|overlap| format!("{:>width$}", overlap.validation));
    text += &format!("{:width$}{}\n", "", names.collect::<String>());
    for row in overlaps.chunks(n_corpora) {
        text += &format!("{:<width$}", row[0].train);
        for overlap in row {
            let share = |part: u64, all: u64| 100.0 * part as f64 / all.max(1) as f64;
            let copied = share(overlap.copied, overlap.documents);
            let shared = share(overlap.shared, overlap.runs);
            let leak = if overlap.is_leak() { "!" } else { "" };
            text += &format!("{:>width$}", format!("{copied:.1}/{shared:.1}%{leak}"));
        }
        text += "\n";
    }
    if overlaps.iter().any(Overlap::is_leak) {
        text += "! so much that no study may train on the one and evaluate on the other\n";
    }
    text
}
/// The first documents of a part as text, about so many bytes.
fn beginning(corpus: &Corpus, part: Part, tokenizer: &Tokenizer, most: usize) -> String {
    let ids = match part {
        Part::Train => corpus.train(),
        Part::Test => corpus.locked_test(),
        Part::Validation => corpus.validation(),
    };
    let sizes = tokenizer.bytes_per_id();
    let (mut bytes, mut end) = (0, 0);
    while end < ids.len() && bytes < most {
        bytes += sizes[usize::from(ids[end])] as usize;
        end += 1;
    }
    let mut text = tokenizer.decode(&ids[..end]);
    if end < ids.len() {
        // The last token may end within a character.
        let whole = text.trim_end_matches(char::REPLACEMENT_CHARACTER).len();
        text.truncate(whole);
    }
    text
}
