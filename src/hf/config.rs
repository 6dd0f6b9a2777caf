//! `config.json`: every setting that changes what a model computes is taken over or refused by name.

use super::Layout;
use crate::{
    data::tokenizer::MOST_IDS,
    error::{Error, Result, nearest},
    model::{GptConfig, Positions},
    ops::{activation::Activation, norm::NormKind},
};
use serde_json::{Map, Value, json};
use std::path::Path;

/// What a `config.json` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    pub layout: Layout,
    pub model: GptConfig,
    pub vocab_size: usize,
    /// Keys that name tokens, to be written again by an export.
    pub special: Map<String, Value>,
    /// Keys that nothing was made of.
    pub unread: Vec<String>,
}

const SPECIAL: [&str; 3] = ["bos_token_id", "eos_token_id", "pad_token_id"];

/// Keys that change nothing in what either layout computes in f32 without dropout.
const HARMLESS: [&str; 22] = [
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "attn_pdrop",
    "dtype",
    "embd_pdrop",
    "gradient_checkpointing",
    "initializer_range",
    "model_type",
    "n_ctx",
    "output_past",
    "pretraining_tp",
    "reorder_and_upcast_attn",
    "resid_pdrop",
    "return_dict",
    "task_specific_params",
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "use_return_dict",
    "output_attentions",
    "output_hidden_states",
];

/// Keys that do change it, with the one value that is ours and what the others would mean.
const FIXED: [(&str, Value, &str); 9] = [
    (
        "scale_attn_weights",
        Value::Bool(true),
        "attention without its scale is not built in",
    ),
    (
        "scale_attn_by_inverse_layer_idx",
        Value::Bool(false),
        "a scale for each layer is not built in",
    ),
    (
        "add_cross_attention",
        Value::Bool(false),
        "there is no encoder to attend to",
    ),
    (
        "is_encoder_decoder",
        Value::Bool(false),
        "there is no encoder here",
    ),
    (
        "attention_bias",
        Value::Bool(false),
        "Llama's layout has biases nowhere here",
    ),
    (
        "mlp_bias",
        Value::Bool(false),
        "Llama's layout has biases nowhere here",
    ),
    (
        "sliding_window",
        Value::Null,
        "transformers' Llama ignores a window, so that it is not clear what is meant",
    ),
    (
        "quantization_config",
        Value::Null,
        "quantised weights are not read",
    ),
    ("pruned_heads", Value::Null, "pruned heads are not built in"),
];

const READ: [&str; 24] = [
    "activation_function",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "layer_norm_epsilon",
    "max_position_embeddings",
    "n_embd",
    "n_head",
    "n_inner",
    "n_layer",
    "n_positions",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "tie_word_embeddings",
    "vocab_size",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
];

/// The file's keys, and where it lies.
struct Keys<'a> {
    path: &'a Path,
    map: &'a Map<String, Value>,
}

/// The model that a `config.json` at `path` means. Errors at the first setting that ours can't be.
pub fn read(path: &Path, json: &Value) -> Result<Described> {
    let Some(map) = json.as_object() else {
        return Err(Error::input(
            path.display().to_string(),
            "is not an object of settings",
            "give a folder as transformers' save_pretrained writes it",
        ));
    };
    let keys = Keys { path, map };
    let layout = keys.layout()?;
    for (key, ours, why) in &FIXED {
        keys.must_be(key, ours, why)?;
    }
    let model = match layout {
        Layout::Gpt2 => keys.gpt2()?,
        Layout::Llama => keys.llama()?,
    };
    keys.check_heads(&model, layout)?;
    let vocab_size = keys.size("vocab_size")?;
    if vocab_size > MOST_IDS {
        let problem = format!(
            "is {vocab_size}; ids are 16-bit numbers here, so that a vocabulary has at most {MOST_IDS}"
        );
        return Err(keys.wrong(
            "vocab_size",
            problem,
            "import a model with a smaller vocabulary",
        ));
    }
    let special = SPECIAL.iter().filter_map(|key| {
        let value = map.get(*key).filter(|value| !value.is_null())?;
        Some((key.to_string(), value.clone()))
    });
    let known = |key: &str| {
        HARMLESS.contains(&key)
            || READ.contains(&key)
            || FIXED.iter().any(|(fixed, ..)| *fixed == key)
            || key.starts_with("summary_")
    };
    Ok(Described {
        layout,
        model,
        vocab_size,
        special: special.collect(),
        unread: map.keys().filter(|key| !known(key)).cloned().collect(),
    })
}

impl Keys<'_> {
    fn wrong(&self, key: &str, problem: String, remedy: impl Into<String>) -> Error {
        Error::input(
            self.path.display().to_string(),
            format!("{key} {problem}"),
            remedy,
        )
    }

    /// A key's value, unless it is null or left out.
    fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn layout(&self) -> Result<Layout> {
        let names = Layout::ALL.map(Layout::name);
        let known = format!("layouts that are read: {}", names.join(", "));
        let Some(value) = self.get("model_type") else {
            return Err(self.wrong("model_type", "is missing".into(), known));
        };
        let name = value.as_str().unwrap_or_default();
        let found = Layout::ALL.into_iter().find(|layout| layout.name() == name);
        found.ok_or_else(|| {
            let remedy = match nearest(name, names) {
                Some(near) => format!("did you mean \"{near}\"? {known}"),
                None => known,
            };
            self.wrong("model_type", format!("is {value}"), remedy)
        })
    }

    fn must_be(&self, key: &str, ours: &Value, why: &str) -> Result<()> {
        match self.get(key) {
            Some(value) if value != ours => {
                let remedy = format!("import a model whose {key} is {ours}");
                Err(self.wrong(key, format!("is {value}: {why}"), remedy))
            }
            _ => Ok(()),
        }
    }

    /// A number of things. Errors when it is missing, none or beyond all reason.
    fn size(&self, key: &str) -> Result<usize> {
        const MOST: u64 = 1 << 24;
        let remedy =
            format!("give a whole number from 1 to {MOST}, as in the original config.json");
        match self.get(key).map(|value| (value, value.as_u64())) {
            Some((_, Some(n))) if (1..=MOST).contains(&n) => Ok(n as usize),
            Some((value, _)) => Err(self.wrong(key, format!("is {value}"), remedy)),
            None => Err(self.wrong(key, "is missing".into(), remedy)),
        }
    }

    /// The same of a key that may be left out.
    fn size_or(&self, key: &str, usual: usize) -> Result<usize> {
        self.get(key).map_or(Ok(usual), |_| self.size(key))
    }

    fn above_zero(&self, key: &str, value: &Value) -> Result<f64> {
        match value.as_f64().filter(|x| *x > 0.0 && x.is_finite()) {
            Some(x) => Ok(x),
            None => Err(self.wrong(key, format!("is {value}"), "give a number above 0")),
        }
    }

    fn above_zero_or(&self, key: &str, usual: f64) -> Result<f64> {
        let value = self.get(key);
        value.map_or(Ok(usual), |value| self.above_zero(key, value))
    }

    fn flag_or(&self, key: &str, usual: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(usual),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) => Err(self.wrong(key, format!("is {value}"), "give true or false")),
        }
    }

    /// One of some words, the first where the key is left out.
    fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<T> {
        let Some(value) = self.get(key) else {
            return Ok(words[0].1);
        };
        let found = words.iter().find(|(word, _)| value == word);
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let remedy = format!("read are: {}", known.join(", "));
            self.wrong(key, format!("is {value}"), remedy)
        })
    }

    fn gpt2(&self) -> Result<GptConfig> {
        let activations = [
            ("gelu_new", Activation::GeluTanh),
            ("gelu_pytorch_tanh", Activation::GeluTanh),
            ("gelu_fast", Activation::GeluTanh),
            ("gelu", Activation::Gelu),
        ];
        Ok(GptConfig {
            n_layer: self.size("n_layer")?,
            n_head: self.size("n_head")?,
            n_embd: self.size("n_embd")?,
            block_size: self.size("n_positions")?,
            dropout: self.dropout(),
            n_inner: self.size_or("n_inner", 0)?,
            bias: true,
            norm: NormKind::Layer,
            norm_eps: self.above_zero_or("layer_norm_epsilon", 1e-5)?,
            activation: self.choice("activation_function", &activations)?,
            tied: self.flag_or("tie_word_embeddings", true)?,
            positions: Positions::Learned,
            ..Default::default()
        })
    }

    fn llama(&self) -> Result<GptConfig> {
        let silu = [("silu", Activation::Swiglu), ("swish", Activation::Swiglu)];
        let n_head = self.size("num_attention_heads")?;
        let shared = match self.size_or("num_key_value_heads", n_head)? {
            n if n == n_head => 0,
            n => n,
        };
        Ok(GptConfig {
            n_layer: self.size("num_hidden_layers")?,
            n_head,
            n_kv_head: shared,
            n_embd: self.size("hidden_size")?,
            block_size: self.size("max_position_embeddings")?,
            n_inner: self.size("intermediate_size")?,
            bias: false,
            norm: NormKind::Rms,
            norm_eps: self.above_zero_or("rms_norm_eps", 1e-6)?,
            activation: self.choice("hidden_act", &silu)?,
            tied: self.flag_or("tie_word_embeddings", false)?,
            positions: Positions::Rotary,
            rope_base: self.rope_base()?,
            ..Default::default()
        })
    }

    /// The rate, where GPT-2's three are one: it matters in training alone.
    fn dropout(&self) -> f64 {
        let rates = ["resid_pdrop", "embd_pdrop", "attn_pdrop"].map(|key| self.get(key));
        match rates.map(|rate| rate.and_then(Value::as_f64)) {
            [Some(a), Some(b), Some(c)] if a == b && b == c && (0.0..1.0).contains(&a) => a,
            _ => 0.0,
        }
    }

    /// The base of rotary angles, which newer versions write within `rope_parameters`. Errors when
    /// angles are scaled, or two bases are given.
    fn rope_base(&self) -> Result<f64> {
        let mut base = self.get("rope_theta");
        for key in ["rope_parameters", "rope_scaling"] {
            let Some(value) = self.get(key) else {
                continue;
            };
            for kind in ["rope_type", "type"] {
                if value.get(kind).is_some_and(|kind| kind != "default") {
                    let problem = format!(
                        "has the {kind} {}: scaled angles are not built in",
                        value[kind]
                    );
                    return Err(self.wrong(
                        key,
                        problem,
                        "import a model whose rope_type is \"default\"",
                    ));
                }
            }
            if let Some(part) = value
                .get("partial_rotary_factor")
                .filter(|x| x.as_f64() != Some(1.0))
            {
                let problem = format!(
                    "has the partial_rotary_factor {part}: all channels of a head are turned here"
                );
                return Err(self.wrong(
                    key,
                    problem,
                    "import a model whose partial_rotary_factor is 1",
                ));
            }
            let Some(theta) = value.get("rope_theta").filter(|x| !x.is_null()) else {
                continue;
            };
            if let Some(other) = base.filter(|base| base.as_f64() != theta.as_f64()) {
                let problem =
                    format!("has the rope_theta {theta}, and beside it rope_theta is {other}");
                return Err(self.wrong(key, problem, "take out the one that is not meant"));
            }
            base = Some(theta);
        }
        base.map_or(Ok(10_000.0), |base| self.above_zero("rope_theta", base))
    }

    fn check_heads(&self, m: &GptConfig, layout: Layout) -> Result<()> {
        let [heads, width, kv] = match layout {
            Layout::Gpt2 => ["n_head", "n_embd", "n_head"],
            Layout::Llama => ["num_attention_heads", "hidden_size", "num_key_value_heads"],
        };
        let original = "use the config.json that belongs to the weights";
        if !m.n_embd.is_multiple_of(m.n_head) {
            let problem = format!(
                "is {}, which does not divide {width}, {}",
                m.n_head, m.n_embd
            );
            return Err(self.wrong(heads, problem, original));
        }
        if !m.n_head.is_multiple_of(m.kv_heads()) {
            let problem = format!(
                "is {}, which does not divide {heads}, {}",
                m.n_kv_head, m.n_head
            );
            return Err(self.wrong(kv, problem, original));
        }
        let dim = m.head_dim();
        if self.size_or("head_dim", dim)? != dim {
            let problem = format!(
                "is {}: heads have {width} / {heads} = {dim} channels here",
                self.size("head_dim")?
            );
            let remedy = "import a model whose heads are as wide as that";
            return Err(self.wrong("head_dim", problem, remedy));
        }
        if layout == Layout::Llama && !dim.is_multiple_of(2) {
            let problem = format!("gives heads of {dim} channels, which have no pairs to turn");
            return Err(self.wrong(heads, problem, original));
        }
        Ok(())
    }
}

/// The `config.json` of a model that fits the layout.
pub fn write(
    layout: Layout,
    m: &GptConfig,
    vocab_size: usize,
    special: &Map<String, Value>,
) -> Value {
    let mut json = match layout {
        Layout::Gpt2 => json!({
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "n_layer": m.n_layer,
            "n_head": m.n_head,
            "n_embd": m.n_embd,
            "n_inner": m.inner(),
            "n_positions": m.block_size,
            "activation_function": match m.activation {
                Activation::GeluTanh => "gelu_new",
                _ => "gelu",
            },
            "layer_norm_epsilon": m.norm_eps,
            "resid_pdrop": m.dropout,
            "embd_pdrop": m.dropout,
            "attn_pdrop": m.dropout,
        }),
        Layout::Llama => json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "num_hidden_layers": m.n_layer,
            "num_attention_heads": m.n_head,
            "num_key_value_heads": m.kv_heads(),
            "head_dim": m.head_dim(),
            "hidden_size": m.n_embd,
            "intermediate_size": m.inner(),
            "max_position_embeddings": m.block_size,
            "hidden_act": "silu",
            "rms_norm_eps": m.norm_eps,
            // Versions before 5 read the first, those since the second.
            "rope_theta": m.rope_base,
            "rope_parameters": { "rope_type": "default", "rope_theta": m.rope_base },
            "attention_bias": false,
            "mlp_bias": false,
        }),
    };
    json["vocab_size"] = vocab_size.into();
    json["tie_word_embeddings"] = m.tied.into();
    json["dtype"] = "float32".into();
    json["torch_dtype"] = "float32".into();
    for key in SPECIAL {
        json[key] = special.get(key).cloned().unwrap_or(Value::Null);
    }
    json
}
