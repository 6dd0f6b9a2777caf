//! skeleton: say here what the idea is, who had it, and what it should change.
//!
//! As written: what attention adds to the stream is multiplied by a gain for each channel.

use super::{Pass, Site};
use crate::{
    error::Result,
    model::GptConfig,
    params::{Init, Spec},
    real::Real,
    tape::{Tape, Value},
};

/// The parameters it adds: here a gain (C,) for each block.
pub fn specs(config: &GptConfig, _vocab_size: usize) -> Vec<Spec> {
    (0..config.n_layer)
        .map(|block| {
            let name = format!("skeleton.h.{block}.gain");
            Spec::new(name, &[config.n_embd], Init::Ones)
        })
        .collect()
}

/// What becomes of `x` at `site`; the value itself wherever the idea has no say.
pub fn apply<R: Real>(tape: &mut Tape<R>, site: Site, x: Value, pass: &Pass) -> Result<Value> {
    let Site::AttentionOut(block) = site else {
        return Ok(x);
    };
    // x is (K, B·T, C), a parameter has the leading axis K.
    tape.composed(&[x], &[pass.own[block]], |xs, ws| {
        xs[0].broadcast_mul(&ws[0].unsqueeze(1)?)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;

    #[test]
    fn skeleton_holds_what_every_part_of_the_model_holds() {
        testing::holds("skeleton");
    }
}
