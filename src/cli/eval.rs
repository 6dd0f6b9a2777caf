//! `windtunnel eval RUN`

use super::{Global, output::Output};
use crate::{
    error::Result,
    home::Home,
    session::{Session, restore},
};

#[derive(clap::Args)]
pub struct Args {
    /// A run: its id or the start of it, or its folder
    run: String,
}

pub fn run(global: &Global, args: Args, output: Output) -> Result<()> {
    let dir = Home::find_run(&global.home, &args.run)?;
    let session = Session::new(&global.home, global.compute(output)?);
    let mut restored = restore(&session, &dir)?;
    let record = restored.evaluate(&session)?;
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
    output.result("windtunnel.eval.v1", &record, &text);
    Ok(())
}
