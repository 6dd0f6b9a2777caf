//! Models to and from Hugging Face's folders: `make.py` in `tests/hf` made those that are read here,
//! and what `transformers` computes with them. `roundtrip.py` beside it asks `transformers` itself.

#[path = "hf/exported.rs"]
mod exported;
#[path = "hf/refused.rs"]
mod refused;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;
use windtunnel::{
    device::{Compute, DeviceChoice},
    hf::{Imported, import::Choices},
    session::{Restored, Session, restore},
};

/// Largest absolute difference of a logit.
const TOLERANCE: f32 = 1e-4;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hf")
}

/// A folder to work in, with a home.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
        command.current_dir(self.0.path()).args(args);
        command.args(["--json", "--home", "home", "--threads", "1"]);
        command.output().unwrap()
    }

    fn succeed(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {err}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The error that ends a command with status 2.
    fn refused(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        let out = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {out}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A copy of a fixture under its own name, to be changed.
    fn copy(&self, name: &str) -> PathBuf {
        let to = self.path(name);
        let _ = fs::remove_dir_all(&to);
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(fixtures().join(name)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        to
    }

    fn session(&self) -> Session {
        let compute = Compute::open(DeviceChoice::Cpu, 1).unwrap();
        Session::new(&self.path("home"), compute)
    }

    /// A folder imported and read back from the home.
    fn imported(&self, dir: &Path, choices: Choices) -> Restored {
        let session = self.session();
        let model = Imported::read(dir, choices).unwrap();
        let id = model.id("model");
        let home = self.path("home");
        let there = home.join("runs").join(&id);
        let kept = match there.exists() {
            true => windtunnel::run_dir::RunDir::new(there),
            false => model.keep(&home, &id, &session.compute.class).unwrap(),
        };
        restore(&session, &kept).unwrap()
    }
}

/// The fixtures' text, its ids, and the logits of a model.
fn expected(model: &str) -> (String, Vec<u16>, Vec<f32>) {
    let bytes = fs::read(fixtures().join("expected.safetensors")).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let text = metadata.metadata().as_ref().unwrap()["text"].clone();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let ids = file.tensor("ids").unwrap().data().as_chunks::<8>().0.iter();
    let logits = file.tensor(model).unwrap();
    let logits = logits.data().as_chunks::<4>().0.iter();
    (
        serde_json::from_str(&text).unwrap(),
        ids.map(|b| i64::from_le_bytes(*b) as u16).collect(),
        logits.map(|b| f32::from_le_bytes(*b)).collect(),
    )
}

/// The logits of the first block of the fixtures' text.
fn logits(restored: &mut Restored, text: &str) -> (Vec<u16>, Vec<f32>) {
    let mut rows = Vec::new();
    let made = restored.text_nats(text, &mut |row| rows.extend_from_slice(row));
    (made.unwrap().ids, rows)
}

fn largest_difference(ours: &[f32], theirs: &[f32]) -> f32 {
    let pairs = ours.iter().zip(theirs);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Tensors of a file by name: type, shape, bytes.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn read_tensors(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(name, view)| {
            let copy = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            (name.to_string(), copy)
        })
        .collect()
}

fn write_tensors(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn models_that_transformers_saved_give_its_ids_and_its_logits() {
    let bench = Bench::new();
    for name in ["gpt2", "llama"] {
        let (text, ids, theirs) = expected(name);
        let mut restored = bench.imported(&fixtures().join(name), Choices::default());
        let (our_ids, ours) = logits(&mut restored, &text);
        assert_eq!(our_ids[..ids.len()], ids);
        let difference = largest_difference(&ours[..theirs.len()], &theirs);
        assert!(difference <= TOLERANCE, "{name}: {difference:e}");
        let spread = theirs.iter().copied().fold(0.0, f32::max);
        assert!(spread > 1.0, "{name}: such logits say nothing");
    }
}

#[test]
fn the_composed_backend_takes_the_epsilon_too() {
    let bench = Bench::new();
    let (text, ids, theirs) = expected("gpt2");
    bench.imported(&fixtures().join("gpt2"), Choices::default());
    let runs = windtunnel::home::Home::runs(&bench.path("home"));
    let dir = windtunnel::home::Home::find_run(&bench.path("home"), &runs[0]).unwrap();
    let mut session = bench.session();
    session.compute.backend = windtunnel::device::Backend::Composed(candle_core::Device::Cpu);
    let mut restored = restore(&session, &dir).unwrap();
    let (our_ids, ours) = logits(&mut restored, &text);
    assert_eq!(our_ids[..ids.len()], ids);
    assert!(largest_difference(&ours[..theirs.len()], &theirs) <= TOLERANCE);
}

#[test]
fn a_shorter_block_computes_the_same_of_shorter_texts() {
    let bench = Bench::new();
    for name in ["gpt2", "llama"] {
        let (text, _, theirs) = expected(name);
        let choices = Choices {
            block_size: 8,
            ..Choices::default()
        };
        let mut restored = bench.imported(&fixtures().join(name), choices);
        assert_eq!(restored.run().model.block_size, 8);
        let vocab = restored.run().vocab_size;
        let (_, ours) = logits(&mut restored, &text);
        let first = ..8 * vocab;
        assert!(largest_difference(&ours[first], &theirs[first]) <= TOLERANCE);
        // The ninth token is seen from its own start.
        let second = 8 * vocab..9 * vocab;
        assert!(largest_difference(&ours[second.clone()], &theirs[second]) > TOLERANCE);
    }
}

#[test]
fn names_with_and_without_their_prefix_and_a_head_that_is_the_embedding_are_read() {
    let bench = Bench::new();
    let dir = bench.copy("gpt2");
    let file = dir.join("model.safetensors");
    let before = bench
        .imported(&dir, Choices::default())
        .params()
        .values
        .to_vec();
    let mut tensors: Tensors = read_tensors(&file)
        .into_iter()
        .map(|(name, tensor)| (format!("transformer.{name}"), tensor))
        .collect();
    let head = tensors["transformer.wte.weight"].clone();
    tensors.insert("lm_head.weight".into(), head);
    write_tensors(&file, &tensors);
    let after = bench.imported(&dir, Choices::default());
    assert_eq!(after.params().values[..], before[..]);

    // Not the embedding: which of the two is meant?
    tensors.get_mut("lm_head.weight").unwrap().2[1] ^= 1;
    write_tensors(&file, &tensors);
    let error = bench.refused(&["import", "gpt2"]);
    assert!(
        error["problem"]
            .as_str()
            .unwrap()
            .contains("tie_word_embeddings")
    );
}

#[test]
fn an_imported_run_is_listed_shown_evaluated_sampled_and_exported() {
    let bench = Bench::new();
    let imported = bench.succeed(&["import", fixtures().join("gpt2").to_str().unwrap(), "small"]);
    let run = imported["run"].as_str().unwrap();
    assert!(
        run.starts_with("small-") && run.len() == "small-".len() + 8,
        "{run}"
    );
    let notes = imported["notes"].to_string();
    assert!(
        notes.contains("280 rows") && notes.contains("276 ids"),
        "{notes}"
    );

    for listing in [&["ls"][..], &["ls", "--rebuild"]] {
        let listed = bench.succeed(listing);
        assert_eq!(listed["imported"][0]["id"], run);
        assert_eq!(listed["unfinished"].as_array().unwrap().len(), 0);
    }
    let shown = bench.succeed(&["show", "small"]);
    assert_eq!(shown["origin"]["layout"], "gpt2");
    assert_eq!(shown["run"]["model"]["norm_eps"], 0.02);

    let record = bench.succeed(&["eval", "small", "--corpus", "sums,tales"]);
    let bpb = |corpus: &str| record["val"][corpus]["bpb"].as_f64().unwrap();
    assert!((record["bpb"].as_f64().unwrap() - (bpb("sums") + bpb("tales")) / 2.0).abs() < 1e-12);
    let few = bench.succeed(&["eval", "small", "--corpus", "sums", "--windows", "2"]);
    assert_eq!(few["val"]["sums"]["tokens"], 64);
    let foreign = bench.refused(&["eval", "small", "--corpus", "sms"]);
    assert_eq!(foreign["place"], "--corpus");
    let none = bench.refused(&["eval", "small"]);
    assert!(
        none["remedy"].as_str().unwrap().contains("--corpus"),
        "{none}"
    );

    let sample = bench.succeed(&["sample", "small", "--prompt", "風の wind", "--tokens", "5"]);
    assert_eq!(sample["prompt"], "風の wind");

    // Again: the same files are the same run.
    let again = bench.succeed(&["import", fixtures().join("gpt2").to_str().unwrap(), "small"]);
    assert_eq!(again["run"], run);
    assert_eq!(fs::read_dir(bench.path("home/runs")).unwrap().count(), 1);
}

#[test]
fn models_with_different_tokenizers_are_compared_in_bits_per_byte() {
    let bench = Bench::new();
    let [first, second] = ["gpt2", "llama"].map(|name| {
        let imported = bench.succeed(&["import", fixtures().join(name).to_str().unwrap()]);
        imported["run"].as_str().unwrap().to_string()
    });
    let none = bench.refused(&["compare", &first, &second]);
    assert!(
        none["remedy"].as_str().unwrap().contains("--corpus"),
        "{none}"
    );
    let both = bench.succeed(&["compare", &first, &second, "--corpus", "sums"]);
    for (idx, run) in [&first, &second].into_iter().enumerate() {
        let alone = bench.succeed(&["eval", run, "--corpus", "sums"]);
        assert_eq!(both["bpb"]["sums"][idx], alone["val"]["sums"]["bpb"]);
    }
}

#[test]
fn a_setting_that_nobody_knows_is_said_and_the_model_read() {
    let bench = Bench::new();
    let path = bench.copy("llama").join("config.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json["rope_interleaved"] = false.into();
    fs::write(path, json.to_string()).unwrap();
    let notes = bench.succeed(&["import", "llama"])["notes"].clone();
    assert_eq!(notes.as_array().unwrap().len(), 1);
    assert!(notes.to_string().contains("rope_interleaved"), "{notes}");
}
