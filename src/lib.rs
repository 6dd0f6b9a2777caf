//! windtunnel: a wind tunnel for pre-training ideas. Test them on small models before the big run.
//!
//! This page is the architecture: what there is, in reading order, what always holds, and what is
//! left out on purpose. For how to use it, see the README.
//!
//! # From a hypothesis to a verdict
//!
//! ```text
//! study.toml ─ Proposal ─ Plan ─ Contract ─ Runner ─ Outcomes ─ Verdict ─ report
//!              (data)    (cost,  (frozen,   (trials  (one file  (a pure
//!                         sight)  digested)  by id)   a trial)   function)
//! ```
//!
//! A *study* is a hypothesis, a control, arms that each change one thing, paired seeds, a budget and
//! a decision rule. It is data, never code. The seed is the unit of replication: arms share seeds
//! (the same first weights, the same batches in the same order) and are judged on paired
//! differences of the final evaluation, which is the same windows for every arm.
//!
//! # Map
//!
//! Training, from the bottom up:
//!
//! - [`rng`]: counter-based streams, found by seed and name. There is no generator state anywhere.
//! - [`real`], [`memory`], [`pool`], [`profile`]: numbers and their vector loops, buffers that are
//!   reused every step, a thread pool that does not spin for ever, a stopwatch for its ops.
//! - [`params`]: parameters, gradients and moments as flat arenas in one fixed order, every tensor
//!   with the leading pack axis K.
//! - [`device`]: where a run computes. `gpu` says what ops ask of a GPU; `cuda` does it, and so does the
//!   emulated device of the tests; `dry` only counts bytes.
//! - [`tape`] and [`ops`]: a tape that records fused ops, each with its own backward, and *composed*
//!   ones, which are candle expressions differentiated by candle. Every fused op has its composed
//!   form, the oracle of its tests, and its half on a GPU in `ops::cuda`: kernels (`.cu`) and what launches
//!   them, batches that are sent ahead, graphs.
//! - [`model`]: the GPT, top to bottom like nanoGPT's `model.py`. [`optim`] and [`schedule`]: AdamW,
//!   SGD, Lion and Muon, and rates as functions of the step.
//! - [`data`]: sources (built-in grammars and generators, fetched and added files), tokenizers,
//!   corpora in memory-mapped files with three-way splits, which tokens are answers, mixtures (whose
//!   weights come from sizes, keep caps, and change in phases), and `Batches::at(step)`. What is
//!   larger than memory, of any form, comes in through [`data::ingest`]; [`data::clean`] makes a corpus
//!   of another one without duplicates, scraps and validation text.
//! - [`eval`], [`metrics`], [`tensorboard`], [`checkpoint`], [`train`]: one run in a folder of its own, or a
//!   *pack* of runs as one program (`train::pack`), on a device (`train::on_device`) in what memory it
//!   has (`train::need`).
//!   [`trunk`]: what runs that differ in their cooldowns share.
//! - [`recipe`] (as written) and [`run`] (resolved and checked); [`session`] turns names into
//!   opened corpora and trials. [`calibration`]: what runs cost on this machine. [`bench`]: where a step's time goes, beside what the processor could
//!   do at most. [`hf`] reads and writes the folders of Hugging Face's `transformers`.
//!
//! Studies:
//!
//! - [`stats`]: paired intervals, the anytime-valid t-mixture, chances of each verdict, multiplicity,
//!   variance between seeds. Pure functions.
//! - [`laws`]: loss as a function of the data mixture and of size, fitted to finished runs: the best mix,
//!   the best size, how far an effect is likely to hold. Pure functions, too.
//! - [`study`]: `proposal` and `arms` check a study file, `validity` whether its arms can be compared,
//!   `plan` says what it costs and `sight` what it can see, by the noise `bank`; `contract` freezes
//!   it, `runner` trains, `verdict` judges, `needed` and `worth` say what more would do and what the
//!   effect is worth, `ledger` indexes. `judged` reads finished studies back, held against their outcomes;
//!   `finding` keeps what somebody said of them. A `campaign` shares one error budget among studies.
//!   `known_answers` puts hypotheses whose truth is known to the whole of it.
//! - [`jobs`]: studies that are submitted rather than run: the gates they pass, a store with a journal, and
//!   a detached supervisor that runs `windtunnel run` on a snapshot of what was submitted.
//! - [`anomalies`]: what looks wrong in a run's log; a flag is a place to look and changes no verdict.
//! - [`claude`]: what talks to Claude, and what stands between: schemas and drafts, the Messages API and
//!   the loop over it, the MCP server, the library of papers, findings, scores of predictions.
//! - [`report`]: Markdown, SVG, and one HTML page. [`cli`]: parse, call, print.
//!
//! # Layers
//!
//! A module imports only from an earlier line, or from its neighbours; `tests/layering.rs` checks.
//!
//! ```text
//! error rng digest files toml_file stats
//! laws
//! memory pool profile real
//! device
//! params tape ops
//! schedule data model optim
//! metrics checkpoint
//! eval tensorboard
//! run
//! run_dir trunk
//! train
//! recipe home
//! session bench calibration anomalies
//! study hf
//! report
//! jobs
//! claude
//! cli
//! ```
//!
//! # What always holds
//!
//! - **A step is a pure function of the run and its number.** Batches, rates and dropout masks come
//!   from (seed, step); resuming needs weights, moments and a step number, and gives the same bits.
//! - **A cap is kept to the row, and a change of weights falls on its step.** Weights are plain numbers
//!   in a resolved run, whatever they were computed from.
//! - **A trial's id is a digest of all that decides its result:** the resolved run, the digests of
//!   its data and windows, device class, number type, threads, and the sources listed in `build.rs`.
//!   A finished trial is never run again, in any study.
//! - **A run folder is the truth.** `recipe.toml`, `env.json`, `metrics.jsonl`, `events.jsonl`,
//!   `checkpoints/`, `outcome.json`; files are replaced by rename; one process writes to a home at a
//!   time. The ledger, pages and TensorBoard's event files can be deleted and made again.
//! - **The contract comes first.** Its digest is checked whenever it is read, and a report whose
//!   verdict is not what the outcomes say is refused.
//! - **What was submitted is what runs.** A submitted study is a snapshot under its digest; it runs once
//!   whatever is killed, within limits that a person set or a cost that a person approved.
//! - **A diverged trial is an outcome.** It is ranked last and never left out.
//! - **Sums do not depend on who computed them.** Work is cut by shape, never by the number of
//!   threads.
//! - **Tokens are the text.** The bytes of a text's tokens add up to it, whatever the tokenizer, but
//!   for a space that it may put before it; one that loses or changes a character is refused, for
//!   bits per byte could not be compared.
//! - **A lane is a run.** Packed runs share a program and nothing else: each has its folder, its id and its
//!   end, and one that diverges is left as it was.
//! - **A graph knows no step.** What differs from step to step is in the device's memory before the step
//!   begins; launches and their arguments are always the same.
//! - **Errors name place, problem and remedy** ([`error`]); bad input changes nothing.
//!
//! # What differs from a first design
//!
//! - JSON is read with exact floats (`float_roundtrip`): the usual parser may be off by one unit in
//!   the last place, and a verdict recomputed from outcomes then differs from the one written down.
//! - A study is refused as blind only if it is so at the lowest likely spread (the 95% limit):
//!   three or four seeds say too little of σ to refuse on their estimate.
//! - f32 products use our own AVX-512 kernel where the processor has it. The `gemm` crate's is as
//!   fast, but every thread of every call packed both matrices anew: an eighth of a small model's
//!   step. It stays for f64 and for other processors.
//! - A step on a CPU goes in passes of about 2,048 tokens ([`data::BatchConfig::rows_in_pass`]): as
//!   fast as the whole batch at once, in a sixth of the memory.
//! - `--dtype bf16` rounds what products read, in linear layers and in attention, on its way into
//!   the kernel. Activations stay f32, so nothing else had to be written twice.
//! - The GPU is driven by cudarc directly, not through candle's CUDA backend: that compiles kernels that we
//!   never launch, links CUDA at start, and allocates and records events for every tensor. What is
//!   composed goes through the host there.
//! - Adam's numbers of a lane are `Lane` fields in device memory, and a finished step is judged on the
//!   device: the host looks at up to 32 steps at once.
//! - Figures are drawn by our own few hundred lines of SVG: the plotting crate that was tried put
//!   points on whole pixels and drew plateaus where a curve leaves the frame.
//!
//! # Left out on purpose, for now
//!
//! More than one device, and tokenizers that lose or change characters. No GPU has run the kernels yet:
//! the tests run them on the CPU, and `benches/gpu/check.sh` waits for one. No tool and no answer of
//! a model approves anything, edits a limit, or writes code that runs: a person does.
pub mod anomalies;
pub mod bench;
pub mod calibration;
pub mod checkpoint;
pub mod claude;
pub mod cli;
pub mod data;
pub mod device;
pub mod digest;
pub mod error;
pub mod eval;
pub mod files;
pub mod hf;
pub mod home;
pub mod jobs;
pub mod laws;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod ops;
pub mod optim;
pub mod params;
pub mod pool;
pub mod profile;
pub mod real;
pub mod recipe;
pub mod report;
pub mod rng;
pub mod run;
pub mod run_dir;
pub mod schedule;
pub mod session;
pub mod stats;
pub mod study;
pub mod tape;
pub mod tensorboard;
pub mod toml_file;
pub mod train;
pub mod trunk;
