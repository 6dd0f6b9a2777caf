//! A model's folder as a run of the home, at step 0 of 0.
//!
//! Everything is read and checked before the home is touched. The run folder holds what any run's
//! does but an outcome: `recipe.toml` (no corpora, no steps), `env.json`, an empty `metrics.jsonl`, a
//! checkpoint without moments, and `origin.json`, which says where it came from.

use super::{
    Layout,
    config::{self, Described},
    names::{self, Mapped},
    weights::{Stored, Weights},
};
use crate::{
    checkpoint::{self, CheckpointConfig},
    data::{
        BatchConfig, DataConfig, Targets, Tokenizer, Weighting, tokenizer::files as tokenizers,
    },
    device::DeviceClass,
    digest::{sha256_file, sha256_json},
    error::{Error, Result},
    eval::EvalConfig,
    files,
    metrics::Cost,
    model::GptConfig,
    optim::OptimizerConfig,
    params::Spec,
    run::{LogConfig, Run},
    run_dir::RunDir,
    schedule::ScheduleConfig,
    train::CheckpointExtra,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// What `origin.json` says of an imported run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    pub schema: String,
    pub layout: Layout,
    pub folder: PathBuf,
    /// SHA-256 of the files that were read, by name.
    pub files: BTreeMap<String, String>,
    pub parameters: u64,
    /// `bos_token_id` and the like, for an export to write again.
    #[serde(default)]
    pub special: Map<String, Value>,
}

impl Origin {
    const SCHEMA: &str = "windtunnel.origin.v1";

    /// Where a run was imported from; `None` for one that was trained here. Errors when the file is
    /// damaged.
    pub fn of(dir: &RunDir) -> Result<Option<Self>> {
        let path = dir.path().join("origin.json");
        match path.exists() {
            true => files::read_json(&path, "import the model again").map(Some),
            false => Ok(None),
        }
    }
}

/// A model read and checked, in memory.
pub struct Imported {
    pub run: Run,
    pub origin: Origin,
    /// What the user should know: settings that nothing was made of, ids without a token.
    pub notes: Vec<String>,
    tokenizer: Tokenizer,
    /// In arena order.
    weights: Vec<(Spec, Vec<f32>)>,
}

/// What may be chosen when a model is read.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    /// Instead of the folder's own.
    pub tokenizer: Option<Tokenizer>,
    /// Shorter sequences than the model was made for; 0 means as long.
    pub block_size: usize,
}

/// Tokens of one evaluation batch: logits are held for a part of them at a time.
const EVAL_TOKENS: usize = 2048;

impl Imported {
    /// Reads a folder. Errors at the first setting, file or tensor that ours can't be.
    pub fn read(dir: &Path, choices: Choices) -> Result<Self> {
        let path = config_file(dir)?;
        let json: Value = files::read_json(&path, "give the config.json that was saved with it")?;
        let mut described = config::read(&path, &json)?;
        let weights = Weights::open(dir)?;
        let (layout, vocab_size) = (described.layout, described.vocab_size);
        let tensors = matched(&path, &described, &weights)?;
        let unknown =
            |key: &String| format!("config.json: {key} is not known here; nothing was made of it");
        let mut notes: Vec<String> = described.unread.iter().map(unknown).collect();
        let tokenizer = match choices.tokenizer {
            Some(tokenizer) => tokenizer,
            None => own_tokenizer(dir)?,
        };
        notes.extend(check_vocabulary(dir, &tokenizer, vocab_size)?);
        let mapped = names::mapped(layout, &described.model, vocab_size);
        let parameters = mapped.iter().map(|m| m.spec.len() as u64).sum();
        let mut values = mapped
            .into_iter()
            .map(|mapped| read_one(&mapped, &tensors).map(|values| (mapped.spec, values)))
            .collect::<Result<Vec<_>>>()?;
        check_tied(dir, &described.model, &tensors, &values)?;
        shorten(&path, &mut described.model, choices.block_size, &mut values)?;
        let origin = Origin {
            schema: Origin::SCHEMA.into(),
            layout,
            folder: dir.canonicalize().unwrap_or_else(|_| dir.into()),
            files: digests(&path, &weights)?,
            parameters,
            special: described.special,
        };
        Ok(Self {
            run: run(described.model, vocab_size, &tokenizer),
            origin,
            notes,
            tokenizer,
            weights: values,
        })
    }

    /// The run's id: a name, and a digest of the files, the tokenizer and the recipe.
    pub fn id(&self, name: &str) -> String {
        let all = (
            &self.origin.files,
            self.tokenizer.digest(),
            self.run.identity(),
        );
        format!("{name}-{}", &sha256_json(&all)[..8])
    }

    /// Writes the run to a home that this process holds, whole or not at all; gives its folder.
    pub fn keep(&self, home: &Path, id: &str, device: &DeviceClass) -> Result<RunDir> {
        let place = home.join("runs").join(id);
        let beside = home.join(format!(".import-{id}"));
        let io = |path: &Path, e| Error::io(path, "write the run", &e);
        if beside.exists() {
            // Left by a kill.
            fs::remove_dir_all(&beside).map_err(|e| io(&beside, e))?;
        }
        fs::create_dir_all(home.join("runs")).map_err(|e| io(home, e))?;
        let written = self.write(&RunDir::new(beside.clone()), id, device);
        let written = written
            .and_then(|()| fs::rename(&beside, &place).map_err(|e| io(&place, e)))
            .inspect_err(|_| {
                let _ = fs::remove_dir_all(&beside);
            });
        written.map(|()| RunDir::new(place))
    }

    fn write(&self, dir: &RunDir, id: &str, device: &DeviceClass) -> Result<()> {
        dir.describe(&self.run, device, 1)?;
        files::write_json(&dir.path().join("origin.json"), &self.origin)?;
        files::replace(&dir.path().join("metrics.jsonl"), b"")?;
        dir.event("import", 0)?;
        let extra = CheckpointExtra {
            trial: id.into(),
            tokenizer: self.tokenizer.clone(),
            cost: Cost::default(),
            branched: None,
        };
        checkpoint::save_weights(&dir.checkpoints(), (0, &extra), &self.weights)?;
        Ok(())
    }
}

const BELONG: &str = "use the config.json that belongs to the weights";

fn config_file(dir: &Path) -> Result<PathBuf> {
    let path = dir.join("config.json");
    if path.is_file() {
        return Ok(path);
    }
    let remedy = "give a folder as transformers' save_pretrained writes it; for a model of the hub, first `hf download NAME --local-dir DIR`";
    let problem = match dir.is_dir() {
        true => "the folder has no config.json",
        false => "there is no such folder",
    };
    Err(Error::input(dir.display().to_string(), problem, remedy))
}

/// Their tensors by the names that a causal model has. Errors when one is missing, left over, or of
/// another shape than the settings at `config` say.
fn matched<'a>(
    config: &Path,
    described: &Described,
    weights: &'a Weights,
) -> Result<BTreeMap<String, &'a Stored>> {
    let (layout, n_layer) = (described.layout, described.model.n_layer);
    let n_tensors = weights.tensors.len();
    if n_layer > n_tensors {
        return Err(Error::input(
            config.display().to_string(),
            format!("it says {n_layer} layers, the weights have {n_tensors} tensors in all"),
            BELONG,
        ));
    }
    let place = match &weights.files[..] {
        [file] => file.display().to_string(),
        _ => config.with_file_name("").display().to_string(),
    };
    let wrong = |problem: String| Err(Error::input(&place, problem, BELONG));
    let mut found = BTreeMap::new();
    for (name, stored) in &weights.tensors {
        if !names::is_buffer(layout, name) {
            let name = names::with_prefix(layout, name);
            if found.insert(name.clone(), stored).is_some() {
                return wrong(format!(
                    "{name} is there twice, with its prefix and without"
                ));
            }
        }
    }
    let mapped = names::mapped(layout, &described.model, described.vocab_size);
    let wanted: BTreeMap<&str, &[usize]> = mapped
        .iter()
        .flat_map(|mapped| &mapped.parts)
        .map(|part| (part.name.as_str(), &part.shape[..]))
        .collect();
    let missing = wanted.keys().filter(|name| !found.contains_key(**name));
    let missing: Vec<&str> = missing.copied().collect();
    if !missing.is_empty() {
        return wrong(format!("lacks {}", listed(&missing)));
    }
    for (name, shape) in &wanted {
        let stored = &found[*name].shape;
        if stored != shape {
            return wrong(format!(
                "{name} is of {stored:?}, config.json wants {shape:?}"
            ));
        }
    }
    let head = described.model.tied.then_some(HEAD);
    let extra = found.keys().map(String::as_str);
    let extra: Vec<&str> = extra
        .filter(|name| !wanted.contains_key(name) && Some(*name) != head)
        .collect();
    match extra.is_empty() {
        true => Ok(found),
        false => wrong(format!(
            "has {}, which {} has no place for",
            listed(&extra),
            layout.name()
        )),
    }
}

const HEAD: &str = "lm_head.weight";

/// A few names, and how many more there are.
fn listed(names: &[&str]) -> String {
    let shown = names.len().min(4);
    match names.len() - shown {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..shown].join(", ")),
    }
}

/// One of our parameters.
fn read_one(mapped: &Mapped, tensors: &BTreeMap<String, &Stored>) -> Result<Vec<f32>> {
    let mut values = Vec::with_capacity(mapped.spec.len());
    for part in &mapped.parts {
        let theirs = tensors[&part.name].read(&part.name)?;
        let ours = match part.turned {
            true => names::turned(&theirs, part.shape[0]),
            false => theirs,
        };
        match values.is_empty() {
            true => values = ours,
            false => values.extend(ours),
        }
    }
    Ok(values)
}

/// Errors when a head is stored beside the embedding that it is said to be, and is another.
fn check_tied(
    dir: &Path,
    model: &GptConfig,
    tensors: &BTreeMap<String, &Stored>,
    values: &[(Spec, Vec<f32>)],
) -> Result<()> {
    let Some(head) = tensors.get(HEAD).filter(|_| model.tied) else {
        return Ok(());
    };
    let embedding = values.first().map(|(_, values)| &values[..]);
    match embedding == Some(&head.read(HEAD)?[..]) {
        true => Ok(()),
        false => Err(Error::input(
            dir.join("config.json").display().to_string(),
            format!("tie_word_embeddings is true, but {HEAD} differs from the token embedding"),
            "set tie_word_embeddings to false if the head is one of its own, or take it out of the weights",
        )),
    }
}

/// Cuts a model down to shorter sequences, of which it computes the same.
fn shorten(
    path: &Path,
    model: &mut GptConfig,
    block_size: usize,
    values: &mut [(Spec, Vec<f32>)],
) -> Result<()> {
    if block_size == 0 || block_size == model.block_size {
        return Ok(());
    }
    if block_size > model.block_size {
        return Err(Error::input(
            format!("--block-size {block_size}"),
            format!(
                "{} says that sequences have at most {} tokens",
                path.display(),
                model.block_size
            ),
            "use that, or less",
        ));
    }
    model.block_size = block_size;
    for (spec, values) in values {
        if spec.name == "transformer.wpe.weight" {
            values.truncate(block_size * spec.shape[1]);
            spec.shape[0] = block_size;
        }
    }
    Ok(())
}

fn own_tokenizer(dir: &Path) -> Result<Tokenizer> {
    let there = ["tokenizer.json", "vocab.json"].map(|name| dir.join(name).is_file());
    match there.contains(&true) {
        true => tokenizers::read(dir).map(Tokenizer::Bpe),
        false => Err(Error::input(
            dir.display().to_string(),
            "the folder has no tokenizer: neither tokenizer.json nor vocab.json and merges.txt",
            "say --tokenizer with a tokenizer.json, a folder that holds one, \"byte\", or a name from `windtunnel tokenizer list`",
        )),
    }
}

/// Ids that no token has are kept, and said; tokens that have no embedding are an error.
fn check_vocabulary(
    dir: &Path,
    tokenizer: &Tokenizer,
    vocab_size: usize,
) -> Result<Option<String>> {
    let known = tokenizer.vocab_size();
    if known > vocab_size {
        return Err(Error::input(
            dir.display().to_string(),
            format!("the tokenizer has {known} ids, the embedding {vocab_size} rows"),
            "give the tokenizer that the model was trained with, --tokenizer",
        ));
    }
    let padding = vocab_size - known;
    Ok((padding > 0).then(|| {
        format!(
            "the embedding has {vocab_size} rows, the tokenizer {known} ids; the other {padding} rows are kept"
        )
    }))
}

fn digests(config: &Path, weights: &Weights) -> Result<BTreeMap<String, String>> {
    let all = weights.files.iter().map(PathBuf::as_path).chain([config]);
    all.map(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok((name.into_owned(), sha256_file(path)?))
    })
    .collect()
}

/// A run of no steps on no corpora.
fn run(model: GptConfig, vocab_size: usize, tokenizer: &Tokenizer) -> Run {
    let rows = (EVAL_TOKENS / model.block_size).clamp(1, BatchConfig::default().rows);
    Run {
        seed: 0,
        init_seed: None,
        data_seed: None,
        steps: 0,
        vocab_size,
        data: DataConfig {
            targets: Targets::All,
            tokenizer: tokenizer.resolved(),
            mixture: Vec::new(),
            vocabulary: Vec::new(),
            token_noise: 0.0,
            weighting: Weighting::Given,
            phases: Vec::new(),
        },
        model,
        batch: BatchConfig {
            rows,
            ..Default::default()
        },
        optimizer: OptimizerConfig::default().resolved(),
        schedule: ScheduleConfig::default().resolved(),
        eval: EvalConfig::default(),
        checkpoint: CheckpointConfig::default(),
        log: LogConfig::default(),
    }
}
