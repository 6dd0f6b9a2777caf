//! `windtunnel eval RUN`

use super::{Global, output::Output};
use crate::{
    error::{Error, Result},
    files,
    home::Home,
    metrics::EvalRecord,
    session::{Restored, Session, restore},
};
use std::{fs, path::PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// A run: its id or the start of it, or its folder
    run: String,
    /// Corpora to evaluate on instead of the run's own, with commas between them
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    corpus: Vec<String>,
    /// A text to evaluate instead, token by token; --json gives each token's nats
    #[arg(long, value_name = "FILE", conflicts_with = "corpus")]
    text: Option<PathBuf>,
}

pub fn run(global: &Global, args: Args, output: Output) -> Result<()> {
    let dir = Home::find_run(&global.home, &args.run)?;
    let session = Session::new(&global.home, global.compute(output)?);
    let mut restored = restore(&session, &dir)?;
    if let Some(path) = &args.text {
        return text(&mut restored, path, output);
    }
    let record = match args.corpus.is_empty() {
        false => restored.evaluate_on(&session, &args.corpus)?,
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
            "  {corpus:<20} {:.4} nats  {:.4} bpb  ({} tokens, {} bytes)\n",
            val.loss, val.bpb, val.tokens, val.bytes
        );
    }
    text
}

fn text(restored: &mut Restored, path: &PathBuf, output: Output) -> Result<()> {
    let bytes = fs::read(path).map_err(|e| Error::io(path, "read", &e))?;
    let text = files::utf8(path, bytes)?;
    let made = restored.text_nats(&text).map_err(|e| Error {
        place: format!("{}, {}", path.display(), e.place),
        ..e
    })?;
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
