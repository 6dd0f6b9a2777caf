//! Folders that ours can't be: place, value and remedy are named, and the home is not touched.

use super::{Bench, Tensors, read_tensors, write_tensors};
use safetensors::Dtype;
use serde_json::{Value, json};
use std::{fs, path::Path};

/// Imports a folder that is wrong; gives place, problem and remedy.
fn refused(bench: &Bench, args: &[&str]) -> [String; 3] {
    let error = bench.refused(&[&["import"], args].concat());
    assert!(!bench.path("home").exists(), "{args:?} made a home");
    let words = ["place", "problem", "remedy"];
    let words = words.map(|key| error[key].as_str().unwrap().to_string());
    assert!(words.iter().all(|text| !text.is_empty()), "{error}");
    words
}

fn change_config(dir: &Path, change: impl Fn(&mut Value)) {
    let path = dir.join("config.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

fn change_tensors(dir: &Path, change: impl Fn(&mut Tensors)) {
    let path = dir.join("model.safetensors");
    let mut tensors = read_tensors(&path);
    change(&mut tensors);
    write_tensors(&path, &tensors);
}

#[test]
fn a_setting_that_is_not_ours_is_named_with_its_value() {
    let bench = Bench::new();
    let cases = [
        ("gpt2", "model_type", json!("gpt3"), "did you mean \"gpt2\""),
        ("gpt2", "model_type", json!("mamba"), "gpt2, llama"),
        ("gpt2", "model_type", json!(null), "gpt2, llama"),
        (
            "gpt2",
            "activation_function",
            json!("quick_gelu"),
            "gelu_new",
        ),
        ("gpt2", "scale_attn_weights", json!(false), "true"),
        (
            "gpt2",
            "scale_attn_by_inverse_layer_idx",
            json!(true),
            "false",
        ),
        ("gpt2", "add_cross_attention", json!(true), "false"),
        ("gpt2", "layer_norm_epsilon", json!(0), "above 0"),
        ("gpt2", "layer_norm_epsilon", json!("1e-5"), "above 0"),
        ("gpt2", "n_head", json!(3), "belongs to the weights"),
        ("gpt2", "n_head", json!(-2), "whole number"),
        ("gpt2", "n_layer", json!(0), "whole number"),
        (
            "gpt2",
            "n_layer",
            json!(9_000_000),
            "belongs to the weights",
        ),
        ("gpt2", "n_embd", json!(1e30), "whole number"),
        ("gpt2", "n_positions", json!(null), "whole number"),
        ("gpt2", "vocab_size", json!(70_000), "smaller vocabulary"),
        ("gpt2", "tie_word_embeddings", json!("yes"), "true or false"),
        ("llama", "hidden_act", json!("relu"), "silu"),
        ("llama", "attention_bias", json!(true), "false"),
        ("llama", "mlp_bias", json!(true), "false"),
        ("llama", "head_dim", json!(8), "wide"),
        ("llama", "sliding_window", json!(512), "null"),
        ("llama", "quantization_config", json!({ "bits": 4 }), "null"),
        (
            "llama",
            "num_key_value_heads",
            json!(3),
            "belongs to the weights",
        ),
        (
            "llama",
            "rope_scaling",
            json!({ "type": "linear", "factor": 2.0 }),
            "default",
        ),
        (
            "llama",
            "rope_parameters",
            json!({ "rope_type": "llama3", "rope_theta": 5e5 }),
            "default",
        ),
        (
            "llama",
            "rope_parameters",
            json!({ "rope_type": "default", "partial_rotary_factor": 0.5 }),
            "is 1",
        ),
        ("llama", "rope_theta", json!(1e6), "take out the one"),
        ("llama", "rms_norm_eps", json!(-1e-6), "above 0"),
    ];
    for (fixture, key, value, remedy) in cases {
        let dir = bench.copy(fixture);
        change_config(&dir, |json| json[key] = value.clone());
        let [place, problem, said] = refused(&bench, &[fixture]);
        let named = match key {
            "rope_theta" => "rope_theta",
            "n_layer" if value == 9_000_000 => "9000000 layers",
            key => key,
        };
        assert!(place.ends_with("config.json"), "{key}: {place}");
        assert!(problem.contains(named), "{key} = {value}: {problem}");
        assert!(said.contains(remedy), "{key} = {value}: {said}");
        let simple = !value.is_object() && !value.is_null() && value != 1e30;
        assert!(
            !simple || problem.contains(&shown(&value)),
            "{key}: {problem}"
        );
    }
}

/// A value as a message shows it.
fn shown(value: &Value) -> String {
    value.to_string()
}

#[test]
fn tensors_that_do_not_fit_are_named_with_both_shapes() {
    let bench = Bench::new();
    let shape = |key: &str, value: usize| {
        let dir = bench.copy("gpt2");
        change_config(&dir, |json| json[key] = value.into());
        refused(&bench, &["gpt2"])[1].clone()
    };
    let problem = shape("n_inner", 44);
    assert!(
        problem.contains("h.0.mlp.c_fc.bias is of [40], config.json wants [44]"),
        "{problem}"
    );
    let problem = shape("vocab_size", 281);
    assert!(
        problem.contains("wte.weight is of [280, 16], config.json wants [281, 16]"),
        "{problem}"
    );
    let problem = shape("n_layer", 3);
    assert!(
        problem.contains("lacks transformer.h.2.") && problem.contains("8 more"),
        "{problem}"
    );
    let problem = shape("n_layer", 1);
    assert!(
        problem.contains("has transformer.h.1.") && problem.contains("no place"),
        "{problem}"
    );

    let dir = bench.copy("gpt2");
    change_config(&dir, |json| json["tie_word_embeddings"] = false.into());
    let problem = refused(&bench, &["gpt2"])[1].clone();
    assert!(problem.contains("lacks lm_head.weight"), "{problem}");
}

#[test]
fn numbers_that_are_none_and_types_that_are_not_read_are_named() {
    let bench = Bench::new();
    let name = "h.1.mlp.c_fc.weight";
    let dir = bench.copy("gpt2");
    change_tensors(&dir, |tensors| {
        tensors.get_mut(name).unwrap().2[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let [place, problem, _] = refused(&bench, &["gpt2"]);
    assert!(place.ends_with("model.safetensors"), "{place}");
    assert!(
        problem.contains(name) && problem.contains("NaN at its number 1"),
        "{problem}"
    );

    let dir = bench.copy("gpt2");
    change_tensors(&dir, |tensors| {
        let (dtype, _, bytes) = tensors.get_mut(name).unwrap();
        *dtype = Dtype::I64;
        bytes.resize(2 * bytes.len(), 0);
    });
    let [_, problem, remedy] = refused(&bench, &["gpt2"]);
    assert!(
        problem.contains(name) && problem.contains("I64"),
        "{problem}"
    );
    assert!(remedy.contains("bfloat16"), "{remedy}");
}

#[test]
fn damaged_absent_and_foreign_files_are_named() {
    let bench = Bench::new();
    let [place, problem, remedy] = refused(&bench, &["nowhere"]);
    assert!(
        place.contains("nowhere") && problem.contains("no such folder"),
        "{problem}"
    );
    assert!(remedy.contains("save_pretrained"), "{remedy}");

    let file = bench.copy("gpt2").join("model.safetensors");
    let whole = fs::read(&file).unwrap();
    let mut grown = whole.clone();
    grown.push(0);
    let mut huge = whole.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let pickle = b"PK\x03\x04archive/data.pkl and so on, as torch.save writes".to_vec();
    let cases: [&[u8]; 7] = [
        &whole[..whole.len() - 1],
        &whole[..100],
        &whole[..3],
        b"",
        &grown,
        &huge,
        &pickle,
    ];
    for bytes in cases {
        fs::write(&file, bytes).unwrap();
        let [place, problem, _] = refused(&bench, &["gpt2"]);
        assert!(place.ends_with("model.safetensors"), "{place}");
        assert!(
            problem.contains("not a whole safetensors file"),
            "{problem}"
        );
    }
    fs::rename(&file, file.with_file_name("pytorch_model.bin")).unwrap();
    let [_, problem, remedy] = refused(&bench, &["gpt2"]);
    assert!(problem.contains("pytorch_model.bin"), "{problem}");
    assert!(remedy.contains("save_pretrained(OUT"), "{remedy}");

    let config = bench.copy("gpt2").join("config.json");
    for text in ["", "[]", "{\"model_type\": "] {
        fs::write(&config, text).unwrap();
        assert!(
            refused(&bench, &["gpt2"])[0].contains("config.json"),
            "{text}"
        );
    }
}

#[test]
fn shards_that_are_missing_or_somewhere_else_are_named() {
    let bench = Bench::new();
    let shard = "model-00002-of-00004.safetensors";
    let dir = bench.copy("llama");
    fs::remove_file(dir.join(shard)).unwrap();
    assert!(refused(&bench, &["llama"])[1].contains(shard));

    let index = "model.safetensors.index.json";
    let in_index = |change: fn(&mut Value)| {
        let dir = bench.copy("llama");
        let path = dir.join(index);
        let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut json["weight_map"]);
        fs::write(path, json.to_string()).unwrap();
        refused(&bench, &["llama"])
    };
    let [place, problem, _] = in_index(|map| {
        map["model.norm.weight"] = "../gpt2/model.safetensors".into();
    });
    assert!(
        place.ends_with(index) && problem.contains("../gpt2"),
        "{problem}"
    );
    let problem =
        &in_index(|map| map["model.extra.weight"] = "model-00001-of-00004.safetensors".into())[1];
    assert!(problem.contains("model.extra.weight"), "{problem}");
    let problem = &in_index(|map| {
        map.as_object_mut().unwrap().remove("model.norm.weight");
    })[1];
    assert!(problem.contains("lacks model.norm.weight"), "{problem}");
}

#[test]
fn a_tokenizer_that_is_missing_or_too_large_is_named_and_another_can_be_given() {
    let bench = Bench::new();
    let dir = bench.copy("gpt2");
    fs::remove_file(dir.join("vocab.json")).unwrap();
    let [_, problem, remedy] = refused(&bench, &["gpt2"]);
    assert!(
        problem.contains("no tokenizer") && remedy.contains("--tokenizer"),
        "{problem}"
    );
    let [place, ..] = refused(&bench, &["gpt2", "--tokenizer", "char"]);
    assert!(place.contains("--tokenizer"), "{place}");

    let dir = bench.copy("llama");
    let path = dir.join("tokenizer.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json["model"]["vocab"]["zebra"] = 276.into();
    fs::write(path, json.to_string()).unwrap();
    let [_, problem, remedy] = refused(&bench, &["llama"]);
    assert!(
        problem.contains("277 ids") && problem.contains("276 rows"),
        "{problem}"
    );
    assert!(remedy.contains("--tokenizer"), "{remedy}");

    let imported = bench.succeed(&["import", "gpt2", "--tokenizer", "byte"]);
    assert!(
        imported["notes"].to_string().contains("other 24 rows"),
        "{imported}"
    );
}

#[test]
fn names_and_blocks_that_can_t_be_are_refused() {
    let bench = Bench::new();
    bench.copy("gpt2");
    for name in ["", "../up", "a b", "naïve", &"x".repeat(65)] {
        assert_eq!(refused(&bench, &["gpt2", name])[0], "NAME");
    }
    let [place, problem, _] = refused(&bench, &["gpt2", "--block-size", "33"]);
    assert!(
        place.contains("33") && problem.contains("32 tokens"),
        "{problem}"
    );
}
