//! Which of their tensors make up each of ours, and how they lie.
//!
//! Ours are linear weights (out, in), queries, keys and values one below the other, and a gate above
//! its values. GPT-2's `Conv1D` keeps weights (in, out). Llama keeps each part apart. Rotary turns
//! the same pairs of channels here and in `transformers`, i and i + D/2, so rows keep their order.

use super::Layout;
use crate::{
    model::{Gpt, GptConfig},
    params::Spec,
};

/// One of their tensors, and the rows of ours that it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// As `transformers` saves it.
    pub name: String,
    /// Theirs.
    pub shape: Vec<usize>,
    /// How many rows of ours it holds, below those of the parts before it.
    pub rows: usize,
    /// Whether its rows are our columns.
    pub turned: bool,
}

/// One of our parameters, and what it is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapped {
    pub spec: Spec,
    pub parts: Vec<Part>,
}

/// Every parameter of a model that fits the layout, in arena order.
pub fn mapped(layout: Layout, config: &GptConfig, vocab_size: usize) -> Vec<Mapped> {
    let (_, specs) = Gpt::new(config, vocab_size);
    specs
        .into_iter()
        .map(|spec| Mapped {
            parts: match layout {
                Layout::Gpt2 => vec![gpt2(&spec)],
                Layout::Llama => llama(config, &spec),
            },
            spec,
        })
        .collect()
}

/// The biases that GPT-2's layout always has, of a model that has none: name and length.
pub fn missing_biases(config: &GptConfig, vocab_size: usize) -> Vec<(String, usize)> {
    if config.bias {
        return Vec::new();
    }
    let (_, specs) = Gpt::new(config, vocab_size);
    let biased = specs.iter().filter(|spec| !is_table(&spec.name));
    biased
        .map(|spec| (spec.name.replace(".weight", ".bias"), spec.shape[0]))
        .collect()
}

fn is_table(name: &str) -> bool {
    ["transformer.wte", "transformer.wpe", "lm_head"]
        .iter()
        .any(|table| name.starts_with(table))
}

/// Our names are GPT-2's.
fn gpt2(spec: &Spec) -> Part {
    let turned = spec.shape.len() == 2 && !is_table(&spec.name);
    let mut shape = spec.shape.clone();
    if turned {
        shape.reverse();
    }
    Part {
        name: spec.name.clone(),
        shape,
        rows: spec.shape[0],
        turned,
    }
}

fn llama(config: &GptConfig, spec: &Spec) -> Vec<Part> {
    let c = config.n_embd;
    let kv = config.kv_heads() * config.head_dim();
    let whole = |name: &str| vec![(name.to_string(), spec.shape[0])];
    let inside = spec.name.strip_prefix("transformer.h.");
    let parts = match inside.and_then(|rest| rest.split_once('.')) {
        None => match spec.name.as_str() {
            "transformer.wte.weight" => whole("model.embed_tokens.weight"),
            "transformer.ln_f.weight" => whole("model.norm.weight"),
            other => whole(other),
        },
        Some((layer, name)) => {
            let (module, parts): (&str, Vec<(&str, usize)>) = match name {
                "ln_1.weight" => ("", vec![("input_layernorm", c)]),
                "ln_2.weight" => ("", vec![("post_attention_layernorm", c)]),
                "attn.c_attn.weight" => (
                    "self_attn.",
                    vec![("q_proj", c), ("k_proj", kv), ("v_proj", kv)],
                ),
                "attn.c_proj.weight" => ("self_attn.", vec![("o_proj", c)]),
                "mlp.c_fc.weight" => (
                    "mlp.",
                    vec![("gate_proj", config.inner()), ("up_proj", config.inner())],
                ),
                _ => ("mlp.", vec![("down_proj", c)]),
            };
            let named = |part: &str| format!("model.layers.{layer}.{module}{part}.weight");
            parts
                .into_iter()
                .map(|(part, rows)| (named(part), rows))
                .collect()
        }
    };
    parts
        .into_iter()
        .map(|(name, rows)| Part {
            name,
            shape: [&[rows], &spec.shape[1..]].concat(),
            rows,
            turned: false,
        })
        .collect()
}

/// A tensor's name as a causal model has it: a model saved without its head has no prefix.
pub fn with_prefix(layout: Layout, name: &str) -> String {
    let prefix = match layout {
        Layout::Gpt2 => "transformer.",
        Layout::Llama => "model.",
    };
    match name.starts_with(prefix) || name.starts_with("lm_head.") {
        true => name.into(),
        false => format!("{prefix}{name}"),
    }
}

/// Whether this holds no weights: masks and angles that older versions saved.
pub fn is_buffer(layout: Layout, name: &str) -> bool {
    let endings: &[&str] = match layout {
        Layout::Gpt2 => &[".attn.bias", ".attn.masked_bias"],
        Layout::Llama => &[".rotary_emb.inv_freq"],
    };
    endings.iter().any(|ending| name.ends_with(ending))
}

/// A matrix of `rows` rows with rows and columns exchanged.
pub fn turned(values: &[f32], rows: usize) -> Vec<f32> {
    /// Both sides of a block lie in the first-level cache.
    const BLOCK: usize = 32;
    let cols = values.len() / rows.max(1);
    let mut out = vec![0.0; values.len()];
    for top in (0..rows).step_by(BLOCK) {
        for left in (0..cols).step_by(BLOCK) {
            for row in top..(top + BLOCK).min(rows) {
                for col in left..(left + BLOCK).min(cols) {
                    out[col * rows + row] = values[row * cols + col];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_turned_twice_is_itself_and_once_is_not() {
        let values: Vec<f32> = (0..33 * 70).map(|i| i as f32).collect();
        let once = turned(&values, 33);
        assert_eq!(once[1], 70.0);
        assert_eq!(once[33], 1.0);
        assert_eq!(turned(&once, 70), values);
    }
}
