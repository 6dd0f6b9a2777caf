//! `windtunnel eval RUN`

use super::{Global, output::Output};
use crate::{
    error::{Error, Result},
    files,
    home::Home,
    metrics::EvalRecord,
    session::{Restored, Session, TextNats, restore},
};
use safetensors::{Dtype, tensor::TensorView};
use std::{
    fs,
    path::{Path, PathBuf},
};

#[derive(clap::Args)]
pub struct Args {
    /// A run: its id or the start of it, or its folder
    run: String,
    /// Corpora to evaluate on instead of the run's own, with commas between them
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    corpus: Vec<String>,
    /// Windows of each corpus, spread evenly; 0 means all
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        requires = "corpus",
        hide_default_value = true
    )]
    windows: usize,
    /// A text to evaluate instead, token by token; --json gives each token's nats
    #[arg(long, value_name = "FILE", conflicts_with = "corpus")]
    text: Option<PathBuf>,
    /// Writes the text's ids (n) and logits (n, vocabulary) to a safetensors file; for a text of
    /// one block
    #[arg(long, value_name = "FILE", requires = "text")]
    logits: Option<PathBuf>,
    /// The average of the weights that `eval.ema` keeps, in their place
    #[arg(long)]
    ema: bool,
}

pub fn run(global: &Global, args: Args, output: Output) -> Result<()> {
    let dir = Home::find_run(&global.home, &args.run)?;
    let session =
        Session::new(&global.home, global.compute(output)?).watched(super::ingest::bar(output));
    let restored = restore(&session, &dir)?;
    let mut restored = match args.ema {
        true => restored.averaged(&dir)?,
        false => restored,
    };
    if let Some(path) = &args.text {
        return text(&mut restored, path, args.logits.as_deref(), output);
    }
    let record = match args.corpus.is_empty() {
        false => restored.evaluate_on(&session, &args.corpus, args.windows)?,
        true if restored.run().eval.corpora.is_empty() => {
            return Err(Error::input(
                format!("run \"{}\"", args.run),
                "an imported model has no corpora of its own",
                "name some, such as --corpus tales,sums; `windtunnel data list` has them",
            ));
        }
        true => restored.evaluate(&session)?,
    };
    output.result("windtunnel.eval.v1", &record, &in_words(&record));
    Ok(())
}

fn in_words(record: &EvalRecord) -> String {
    let mut text = format!(
        "step {}: {:.4} nats per token, {:.4} bits per byte\n",
        record.step, record.loss, record.bpb
    );
    for (corpus, val) in &record.val {
        text += &format!(
            "  {corpus:<20} {:.4} nats  {:.4} bpb  ({} tokens, {} bytes){}\n",
            val.loss,
            val.bpb,
            val.tokens,
            val.bytes,
            val.answers_in_words()
        );
    }
    text
}

fn text(restored: &mut Restored, path: &Path, logits: Option<&Path>, output: Output) -> Result<()> {
    let bytes = fs::read(path).map_err(|e| Error::io(path, "read", &e))?;
    let text = files::utf8(path, bytes)?;
    let at = |e: Error| Error {
        place: format!("{}, {}", path.display(), e.place),
        ..e
    };
    let mut kept = Vec::new();
    let made = match logits {
        None => restored.text_nats(&text, &mut |_| {}).map_err(at)?,
        Some(_) => {
            check_length(restored, &text).map_err(at)?;
            let mut keep = |row: &[f32]| kept.extend_from_slice(row);
            restored.text_nats(&text, &mut keep).map_err(at)?
        }
    };
    if let Some(file) = logits {
        write_logits(file, &made, &kept)?;
    }
    let words = format!(
        "step {}: {:.4} nats per token, {:.4} bits per byte over {} tokens",
        made.step,
        made.loss,
        made.bpb,
        made.nats.len()
    );
    output.result("windtunnel.eval_text.v1", &made, &words);
    Ok(())
}

/// Errors when a text is more than one block: its logits would not fit memory before long.
fn check_length(restored: &Restored, text: &str) -> Result<()> {
    let n = restored.tokenizer().encode(text)?.len();
    let block_size = restored.run().model.block_size;
    match n <= block_size {
        true => Ok(()),
        false => Err(Error::input(
            "--logits",
            format!("the text has {n} tokens, a block of this model {block_size}"),
            "give a shorter text, or leave --logits out",
        )),
    }
}

fn write_logits(path: &Path, made: &TextNats, logits: &[f32]) -> Result<()> {
    let n = made.ids.len();
    let ids: Vec<u8> = made
        .ids
        .iter()
        .flat_map(|id| i64::from(*id).to_le_bytes())
        .collect();
    let logits: Vec<u8> = logits.iter().flat_map(|z| z.to_le_bytes()).collect();
    let view = |dtype: Dtype, shape, bytes| {
        TensorView::new(dtype, shape, bytes).expect("a tensor's bytes fit its shape")
    };
    let vocabulary = logits.len() / 4 / n;
    let tensors = [
        ("ids", view(Dtype::I64, vec![n], &ids)),
        ("logits", view(Dtype::F32, vec![n, vocabulary], &logits)),
    ];
    let bytes = safetensors::serialize(tensors, None).expect("two tensors have a header");
    files::replace(path, &bytes)
}
