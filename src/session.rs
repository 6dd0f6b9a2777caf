//! From names to things: a recipe's corpora opened, its trial addressed, a run's weights read back.

mod probe;
mod restored;

pub use probe::Effort;
pub use restored::{Restored, Sampling, TextNats, restore, windows_now};

use crate::{
    calibration::{AtOnce, Calibration, Entry, Key},
    data::{
        Corpus, EvalWindows, Library, Stream, Tokenizer, TokenizerChoice, TokenizerKind,
        ingest::{Progress, Settings, Watch, silent},
        mixture::Mixture,
        source::Source,
        tokenizer::files,
    },
    device::{Backend, Compute, Machine, Resident},
    error::{Error, Kind, Result},
    recipe::{Budget, Facts, Recipe},
    run::Run,
    run_dir::{Design, RunDir, TrialId},
    train::{
        Job, RunData, need,
        pack::{self, PackKey},
    },
    trunk::Trunk,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicBool},
};

/// A home and a device: what every command that computes has.
pub struct Session {
    pub home: PathBuf,
    pub compute: Compute,
    pub library: Library,
    /// Texts read so far: arms and seeds of a study share them.
    texts: Mutex<BTreeMap<String, Arc<Source>>>,
    corpora: Mutex<BTreeMap<(String, String), Arc<Corpus>>>,
    /// Read from files, by the name that recipes have for them.
    tokenizers: Mutex<BTreeMap<String, Tokenizer>>,
    /// The home's, once it is needed.
    calibration: Mutex<Option<Calibration>>,
    resident: OnceLock<Resident>,
    /// How many runs of a kind the device has room for.
    packs: Mutex<BTreeMap<PackKey, usize>>,
    /// Hears how far long passes over corpora are.
    watch: Mutex<Box<Watch<'static>>>,
}

/// A recipe made ready to train.
#[derive(Clone)]
pub struct Trial {
    pub run: Run,
    pub data: RunData,
    pub design: Design,
    pub id: TrialId,
    pub dir: RunDir,
    /// What it may share with others.
    pub trunk: Option<Trunk>,
}

impl Trial {
    /// Equal for trials that may be trained as one.
    pub fn pack_key(&self) -> PackKey {
        pack::key(&self.run, &self.data)
    }
}

impl Session {
    pub fn new(home: &Path, compute: Compute) -> Self {
        Self {
            home: home.into(),
            library: Library::new(home),
            compute,
            texts: Mutex::default(),
            corpora: Mutex::default(),
            tokenizers: Mutex::default(),
            calibration: Mutex::default(),
            resident: OnceLock::new(),
            packs: Mutex::default(),
            watch: Mutex::new(Box::new(silent)),
        }
    }

    /// The same session, whose long passes over corpora `watch` hears of, and may end.
    pub fn watched(self, watch: Box<Watch<'static>>) -> Self {
        Self {
            watch: Mutex::new(watch),
            ..self
        }
    }

    /// What the process held when this was first asked: before anything was timed, with all that is
    /// open then.
    pub fn resident(&self) -> Resident {
        *self.resident.get_or_init(Resident::read)
    }

    /// Errors at the first tokenizer or corpus that a recipe names and that there is not, with the
    /// recipe's key as the place.
    pub fn check_names(&self, recipe: &Recipe) -> Result<()> {
        let phases = recipe.data.phases.iter().map(|phase| &phase.mixture);
        let phases = phases.map(|shares| ("data.phases", shares));
        // What is evaluated comes last: a study evaluates what its arms name.
        let all = std::iter::once(("data.mixture", &recipe.data.mixture))
            .chain(phases)
            .chain([("eval.corpora", &recipe.eval.corpora)]);
        for (key, shares) in all {
            for share in shares {
                self.check_name(key, &share.corpus)?;
            }
        }
        match &recipe.data.tokenizer {
            TokenizerChoice::BuiltIn(_) => Ok(()),
            TokenizerChoice::File(name) => self.file_tokenizer(name).map(|_| ()),
        }
    }

    fn check_name(&self, key: &str, name: &str) -> Result<()> {
        self.library.check(name).map_err(|e| Error {
            problem: format!("{}: {}", e.place, e.problem),
            place: key.into(),
            ..e
        })
    }

    /// Opens a recipe's corpora (downloaded on first use) and gives the trial that it means; writes
    /// nothing else before [`Session::keep`]. Errors at the first name or size that does not fit,
    /// with the recipe's key as the place.
    pub fn resolve(&self, recipe: &Recipe) -> Result<Trial> {
        self.check_names(recipe)?;
        for name in &recipe.data.vocabulary {
            self.check_name("data.vocabulary", name)?;
        }
        let tokenizer = self.tokenizer(recipe)?;
        let mut facts = Facts {
            vocab_size: tokenizer.vocab_size(),
            seconds_per_step: None,
        };
        if recipe.budget.seconds.is_some() {
            let mut probe = recipe.clone();
            probe.budget = Budget {
                steps: Some(1),
                ..Default::default()
            };
            // One step has no phases, and what it draws makes no difference to its time.
            probe.data.phases.clear();
            let trial = self.opened(&probe, facts, &tokenizer)?;
            self.fits(&trial.run)?;
            let (_, entry) = self.timing(&trial, AtOnce::ONE, Effort::Thorough)?;
            facts.seconds_per_step = Some(entry.timing.seconds_per_step);
        }
        let trial = self.opened(recipe, facts, &tokenizer)?;
        self.fits(&trial.run)?;
        Ok(trial)
    }

    /// Errors (refused, status 3) when the machine's whole memory can't hold a run by any account.
    fn fits(&self, run: &Run) -> Result<()> {
        let memory = Machine::read().memory_bytes;
        let rows = run.batch.rows_in_pass(run.model.block_size);
        let m = &run.model;
        // Weights, gradients and moments; of each token a few vectors a layer, and logits.
        let arenas = 2 + run.optimizer.n_states();
        let state = (4 * arenas) as f64 * m.n_params(run.vocab_size) as f64;
        let per_token = 4.0 * (8.0 * m.n_layer as f64 * m.n_embd as f64 + run.vocab_size as f64);
        let activations = match self.compute.backend {
            // Of which the trainer counts what it takes.
            Backend::Gpu(_) => 0.0,
            _ => (rows * m.block_size) as f64 * per_token,
        };
        if memory == 0 || state + activations <= memory as f64 {
            return Ok(());
        }
        let gib = |bytes: f64| bytes / f64::from(1 << 30);
        let key = match state > activations {
            true => "model.n_embd",
            false => "batch.rows",
        };
        Err(Error::new(
            Kind::Refused,
            key,
            format!(
                "would hold {:.0} GiB at least, this machine has {:.0}",
                gib(state + activations),
                gib(memory as f64)
            ),
            "make the model smaller, or batch.rows_per_pass",
        ))
    }

    /// The trial of a recipe whose facts are known, with the weights that its corpora's sizes give.
    fn opened(&self, recipe: &Recipe, facts: Facts, tokenizer: &Tokenizer) -> Result<Trial> {
        let mut run = resolved(recipe, facts, tokenizer)?;
        let mut data = self.open(&run, tokenizer)?;
        data.weigh(&mut run)?;
        self.trial(run, data)
    }

    /// The tokenizer that a recipe means. Errors when its file is no tokenizer, with the recipe's key
    /// as the place.
    pub fn tokenizer(&self, recipe: &Recipe) -> Result<Tokenizer> {
        let kind = match &recipe.data.tokenizer {
            TokenizerChoice::BuiltIn(kind) => *kind,
            TokenizerChoice::File(name) => return self.file_tokenizer(name),
        };
        let names = recipe.vocabulary();
        let sources = names
            .iter()
            .map(|name| self.text(name))
            .collect::<Result<Vec<_>>>()?;
        if kind == TokenizerKind::Byte {
            return Ok(Tokenizer::Byte);
        }
        let mut watch = lock(&self.watch);
        let characters = sources
            .iter()
            .map(|source| source.characters(&self.home, &Settings::default(), &mut **watch))
            .collect::<Result<Vec<_>>>()?;
        Tokenizer::of(kind, characters.iter().map(String::as_str))
    }

    fn file_tokenizer(&self, name: &str) -> Result<Tokenizer> {
        let mut tokenizers = lock(&self.tokenizers);
        if let Some(tokenizer) = tokenizers.get(name) {
            return Ok(tokenizer.clone());
        }
        let read = || files::read(&files::find(&self.home, name)?);
        let tokenizer = Tokenizer::Bpe(read().map_err(|e| Error {
            problem: format!("{}: {}", e.place, e.problem),
            place: "data.tokenizer".into(),
            ..e
        })?);
        tokenizers.insert(name.into(), tokenizer.clone());
        Ok(tokenizer)
    }

    /// Writes down the texts and corpora that were opened and are not in the home yet, and what was
    /// timed.
    pub fn keep(&self) -> Result<()> {
        for name in lock(&self.texts).keys() {
            self.library.keep(name)?;
        }
        lock(&self.corpora).values().try_for_each(|c| c.keep())?;
        self.keep_calibration()
    }

    /// The same trial with another seed.
    pub fn with_seed(&self, trial: &Trial, seed: u64) -> Result<Trial> {
        let mut run = trial.run.clone();
        run.seed = seed;
        self.trial(run, trial.data.clone())
    }

    /// The same trial with other seeds of its first weights and of its data order.
    pub fn with_seeds(&self, trial: &Trial, (init, data): (u64, u64)) -> Result<Trial> {
        let mut run = trial.run.clone();
        (run.init_seed, run.data_seed) = (Some(init), Some(data));
        self.trial(run, trial.data.clone())
    }

    /// The most trials like this one that are trained as one: as many as were asked for, or, for 0,
    /// as the device decides. Errors when one alone has no room on it.
    pub fn most_in_pack(&self, trial: &Trial, asked: usize) -> Result<usize> {
        if asked > 0 {
            return Ok(asked);
        }
        let mut packs = lock(&self.packs);
        if let Some(lanes) = packs.get(&trial.pack_key()) {
            return Ok(*lanes);
        }
        let lanes = need::pack_that_fits(&trial.run, &self.compute)?;
        packs.insert(trial.pack_key(), lanes);
        Ok(lanes)
    }

    /// What [`train`](crate::train::train) needs for a trial.
    pub fn job<'a>(&'a self, trial: &'a Trial, stop: &'a AtomicBool) -> Job<'a> {
        Job {
            run: &trial.run,
            data: trial.data.clone(),
            compute: &self.compute,
            dir: &trial.dir,
            design: &trial.design,
            trial: &trial.id,
            trunk: trial.trunk.as_ref(),
            stop,
        }
    }

    fn trial(&self, run: Run, data: RunData) -> Result<Trial> {
        data.batches(&run)?;
        let mut digests: Vec<String> = data
            .mixture
            .parts
            .iter()
            .map(|(_, stream)| stream.corpus().digest().into())
            .collect();
        digests.extend(data.windows.iter().map(|(_, w)| w.digest().to_string()));
        let design = Design::new(&run, &digests, &self.compute.class);
        let trunk = Trunk::of(&self.home, &run, &digests, &self.compute.class);
        let id = TrialId::new(&design, &run);
        let dir = RunDir::of(&self.home, &id);
        Ok(Trial {
            run,
            data,
            design,
            id,
            dir,
            trunk,
        })
    }

    fn text(&self, name: &str) -> Result<Arc<Source>> {
        let mut texts = lock(&self.texts);
        if let Some(text) = texts.get(name) {
            return Ok(text.clone());
        }
        let mut progress = |done, all| {
            let name = name.to_string();
            let doing = "fetch";
            let progress = Progress {
                doing,
                name,
                done,
                all,
            };
            // A download goes on by itself the next time; it has no way to stop here.
            let _ = lock(&self.watch)(&progress);
        };
        let source = Arc::new(self.library.source(name, &mut progress)?);
        texts.insert(name.into(), source.clone());
        Ok(source)
    }

    fn corpus(&self, name: &str, tokenizer: &Tokenizer) -> Result<Arc<Corpus>> {
        let source = self.text(name)?;
        let mut corpora = lock(&self.corpora);
        let key = (name.to_string(), tokenizer.digest());
        if let Some(corpus) = corpora.get(&key) {
            return Ok(corpus.clone());
        }
        let settings = Settings::default();
        let mut watch = lock(&self.watch);
        let corpus = Corpus::open_with(&self.home, &source, tokenizer, &settings, &mut **watch)?;
        corpora.insert(key, corpus.clone());
        Ok(corpus)
    }

    fn open(&self, run: &Run, tokenizer: &Tokenizer) -> Result<RunData> {
        let parts = run.data.mixture.iter();
        let parts = parts.map(|share| {
            let corpus = self.corpus(&share.corpus, tokenizer)?;
            Ok((share.weight, Stream::new(corpus, share)?))
        });
        let windows = run.eval.corpora.iter().map(|share| {
            let corpus = self.corpus(&share.corpus, tokenizer)?;
            let windows =
                EvalWindows::new(corpus, run.model.block_size, run.eval.windows, tokenizer)?;
            Ok((share.weight, Arc::new(windows)))
        });
        Ok(RunData {
            mixture: Mixture {
                parts: parts.collect::<Result<_>>()?,
            },
            windows: windows.collect::<Result<_>>()?,
            tokenizer: tokenizer.clone(),
        })
    }

    /// What a run like this costs with so many of them at a time: as the home's calibration has it,
    /// else timed here.
    pub fn timing(&self, trial: &Trial, at: AtOnce, effort: Effort) -> Result<(Key, Entry)> {
        let key = Key::new(&trial.run, &self.compute.class, at);
        let glance = effort == Effort::Quick;
        if let Some(entry) = self.calibrated(|calibration| calibration.get(&key))?
            && (glance || !entry.glance || entry.learnt.is_some())
        {
            return Ok((key, entry));
        }
        let entry = Entry::new(self.probe(&trial.run, &trial.data, at, effort)?, glance);
        self.calibrated(|calibration| calibration.put(key.clone(), entry))?;
        Ok((key, entry))
    }

    /// Does something with the home's calibration, which is read when it is first needed. Errors
    /// when its file is damaged.
    pub fn calibrated<T>(&self, f: impl FnOnce(&mut Calibration) -> T) -> Result<T> {
        let mut calibration = lock(&self.calibration);
        if calibration.is_none() {
            *calibration = Some(Calibration::read(&self.home)?);
        }
        Ok(f(calibration.get_or_insert_default()))
    }

    /// Writes down what was timed.
    pub fn keep_calibration(&self) -> Result<()> {
        self.calibrated(|calibration| calibration.keep(&self.home))?
    }
}

/// The run that a recipe with this tokenizer means, wherever the tokenizer's file is.
fn resolved(recipe: &Recipe, facts: Facts, tokenizer: &Tokenizer) -> Result<Run> {
    let mut run = recipe.resolve(facts)?;
    run.data.tokenizer = tokenizer.resolved();
    Ok(run)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
