//! What an export holds, and that nothing is lost on the way there and back.

use super::{Bench, fixtures, read_tensors};
use serde_json::Value;
use std::{fs, path::Path};
use windtunnel::{
    hf::{Layout, export::layout, import::Choices},
    model::{GptConfig, Positions},
    ops::{activation::Activation, norm::NormKind},
};

const RECIPE: &str = r#"[data]
tokenizer = "char"
mixture = [{ corpus = "tales" }]
[model]
n_layer = 1
n_head = 2
n_embd = 16
block_size = 16
[batch]
rows = 4
[budget]
steps = 8
[eval]
every = 0
windows = 8
ema = 0.5
"#;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn export_and_import_give_back_every_bit_of_the_weights() {
    let bench = Bench::new();
    for name in ["gpt2", "llama"] {
        let out = format!("{name}-out");
        let run = bench.succeed(&["import", fixtures().join(name).to_str().unwrap(), name]);
        bench.succeed(&[
            "export",
            run["run"].as_str().unwrap(),
            "--to",
            "hf",
            "--out",
            &out,
        ]);
        let before = bench.imported(&fixtures().join(name), Choices::default());
        let after = bench.imported(&bench.path(&out), Choices::default());
        assert_eq!(before.params().values[..], after.params().values[..]);
        assert_eq!(before.tokenizer(), after.tokenizer());
        let (theirs, ours) = [fixtures().join(name), bench.path(&out)]
            .map(|dir| json(&dir.join("config.json")))
            .into();
        for key in [
            "model_type",
            "vocab_size",
            "tie_word_embeddings",
            "eos_token_id",
        ] {
            assert_eq!(theirs[key], ours[key], "{name}: {key}");
        }
        assert_eq!(after.run().model, before.run().model);
    }
}

#[test]
fn a_trained_run_comes_back_with_its_ids_and_its_loss() {
    let bench = Bench::new();
    fs::write(bench.path("recipe.toml"), RECIPE).unwrap();
    let run = bench.succeed(&["train", "recipe.toml"])["trial"].clone();
    let run = run.as_str().unwrap();
    let export = bench.succeed(&["export", run, "--to", "hf", "--out", "out"]);
    assert_eq!(export["layout"], "gpt2");
    // GPT-2's layout has biases: zeros, where ours has none.
    let tensors = read_tensors(&bench.path("out/model.safetensors"));
    let (_, shape, bytes) = &tensors["transformer.h.0.attn.c_attn.bias"];
    assert!(shape[..] == [48] && bytes.iter().all(|byte| *byte == 0));
    assert_eq!(tensors["transformer.h.0.attn.c_attn.weight"].1, [16, 48]);
    assert!(!tensors.contains_key("lm_head.weight"));

    fs::write(bench.path("text.txt"), "once upon a time there was a wind").unwrap();
    let back = bench.succeed(&["import", "out"])["run"].clone();
    let of = |run: &str| bench.succeed(&["eval", run, "--text", "text.txt"]);
    let (before, after) = (of(run), of(back.as_str().unwrap()));
    assert_eq!(before["ids"], after["ids"]);
    assert_eq!(before["nats"], after["nats"]);

    bench.succeed(&["export", run, "--to", "hf", "--out", "averaged", "--ema"]);
    let averaged = bench.path("averaged/model.safetensors");
    assert_ne!(read_tensors(&averaged), tensors);
}

#[test]
fn what_is_there_already_is_not_written_over() {
    let bench = Bench::new();
    let run = bench.succeed(&["import", fixtures().join("llama").to_str().unwrap()]);
    let run = run["run"].as_str().unwrap();
    fs::create_dir(bench.path("out")).unwrap();
    bench.succeed(&["export", run, "--to", "hf", "--out", "out"]);
    fs::write(bench.path("out/notes.txt"), "mine").unwrap();
    let error = bench.refused(&["export", run, "--to", "hf", "--out", "out"]);
    assert!(
        error["place"].as_str().unwrap().contains("--out out"),
        "{error}"
    );
    assert_eq!(fs::read(bench.path("out/notes.txt")).unwrap(), b"mine");
    fs::write(bench.path("file"), "mine").unwrap();
    bench.refused(&["export", run, "--to", "hf", "--out", "file"]);
    let left = fs::read_dir(bench.path("")).unwrap();
    assert_eq!(
        left.count(),
        3,
        "the home, out and file, and nothing half-made"
    );
}

#[test]
fn a_model_without_a_layout_is_refused_with_every_key_that_stands_in_the_way() {
    let gpt2 = GptConfig::default();
    let llama = GptConfig {
        norm: NormKind::Rms,
        activation: Activation::Swiglu,
        positions: Positions::Rotary,
        n_kv_head: 2,
        tied: false,
        ..Default::default()
    };
    assert_eq!(layout(&gpt2).unwrap(), Layout::Gpt2);
    assert_eq!(layout(&llama).unwrap(), Layout::Llama);
    type Change = fn(&mut GptConfig);
    let changes: [(Change, &str); 10] = [
        (|m| m.qk_norm = true, "qk_norm = true"),
        (|m| m.window = 8, "window = 8"),
        (|m| m.logit_cap = 15.0, "logit_cap = 15"),
        (|m| m.attention_only = true, "attention_only = true"),
        (
            |m| m.activation = Activation::Relu2,
            "activation = \"relu2\"",
        ),
        (|m| m.positions = Positions::None, "positions = \"none\""),
        (|m| m.bias = !m.bias, "bias = true"),
        (|m| m.n_kv_head = 2, "n_kv_head = 2"),
        (|m| m.norm = NormKind::Rms, "norm = \"rms\""),
        (|m| m.norm = NormKind::Layer, "norm = \"layer\""),
    ];
    for (change, named) in changes {
        for plain in [&gpt2, &llama] {
            let mut model = plain.clone();
            change(&mut model);
            let fits = Layout::ALL.iter().any(|l| l.obstacles(&model).is_empty());
            match layout(&model) {
                Ok(_) => assert!(fits),
                Err(error) => {
                    assert!(error.problem.contains(named), "{error}");
                    assert!(error.remedy.contains("gpt2") && error.remedy.contains("llama"));
                }
            }
        }
    }
    // A window as long as the block hides nothing, and the z-loss is of training alone.
    let whole = GptConfig {
        window: gpt2.block_size,
        z_loss: 0.1,
        ..gpt2
    };
    assert_eq!(layout(&whole).unwrap(), Layout::Gpt2);
}

#[test]
fn a_refused_export_leaves_nothing_and_says_where_the_key_is() {
    let bench = Bench::new();
    fs::write(bench.path("recipe.toml"), RECIPE).unwrap();
    let trained = bench.succeed(&["train", "recipe.toml", "model.qk_norm=true", "eval.ema=0.0"]);
    let run = trained["trial"].as_str().unwrap();
    let error = bench.refused(&["export", run, "--to", "hf", "--out", "out"]);
    assert!(
        error["problem"]
            .as_str()
            .unwrap()
            .contains("qk_norm = true")
    );
    assert!(
        error["place"]
            .as_str()
            .unwrap()
            .ends_with("recipe.toml [model]")
    );
    assert!(!bench.path("out").exists());
    let error = bench.refused(&["export", run, "--to", "hf", "--ema"]);
    assert!(
        error["problem"].as_str().unwrap().contains("eval.ema"),
        "{error}"
    );
}
