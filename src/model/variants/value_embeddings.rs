//! Value embeddings: every block has a table that gives each token a value of its own, added to the
//! values that attention reads (modded-nanogpt; `v = λ·v + λ'·e[token]` there, with λ = 1 here).
//!
//! A token's identity then reaches every block without having to survive in the stream. The cost is
//! V·G·D parameters a block that are looked up and not multiplied.

use super::{Pass, Site};
use crate::{
    error::Result,
    model::GptConfig,
    params::{Init, Spec},
    real::Real,
    tape::{Tape, Value},
};

/// For each block a table (V, G·D) and the factor λ' (1,). A table that is looked up is called
/// `wte`, as the token embedding is: it then has the embeddings' rate, and costs no FLOPs.
pub fn specs(config: &GptConfig, vocab_size: usize) -> Vec<Spec> {
    let width = config.kv_heads() * config.head_dim();
    (0..config.n_layer)
        .flat_map(|block| {
            let name = |part| format!("value_embeddings.h.{block}.{part}");
            [
                Spec::new(name("wte"), &[vocab_size, width], Init::Normal(0.02)),
                Spec::new(name("factor"), &[1], Init::Ones),
            ]
        })
        .collect()
}

/// Adds λ'·e[token] to the values, the last G·D columns of qkv.
pub fn apply<R: Real>(tape: &mut Tape<R>, site: Site, x: Value, pass: &Pass) -> Result<Value> {
    let Site::Qkv(block) = site else {
        return Ok(x);
    };
    let (table, factor) = (pass.own[2 * block], pass.own[2 * block + 1]);
    let e = tape.embed(pass.tokens, pass.t, table, None)?; // (K, B·T, G·D)
    tape.composed(&[x, e], &[factor], |xs, ws| {
        let (qkv, e) = (&xs[0], &xs[1]);
        let e = e.broadcast_mul(&ws[0].unsqueeze(1)?)?; // the factor is (K, 1)
        let others = qkv.dim(2)? - e.dim(2)?;
        let v = (qkv.narrow(2, others, e.dim(2)?)? + e)?;
        candle_core::Tensor::cat(&[&qkv.narrow(2, 0, others)?, &v], 2)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;

    #[test]
    fn value_embeddings_hold_what_every_part_of_the_model_holds() {
        testing::holds("value_embeddings");
    }
}
