//! Training on answers alone: which targets count, and what the loss then is.

use crate::{documents, opened, quiz, source};
use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};
use windtunnel::{
    data::{Batches, Targets, TokenizerKind, mixture::Mixture, split::Part},
    device::{Backend, Compute, DeviceChoice},
    metrics::{Outcome, Record, StepRecord},
    model::{Gpt, GptConfig, Positions},
    ops::cross_entropy::IGNORE,
    params::{Init, Params, Spec},
    pool::Pool,
    recipe::Recipe,
    session::{Session, Trial},
    tape::{Mode, Tape},
    train::train,
};

#[test]
fn only_tokens_of_answers_count_and_all_else_stays_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let source = source(&quiz(4, 600), Some(":"));
    let (corpus, _) = opened(home.path(), &source, TokenizerKind::Byte);
    let mixture = || Mixture::of(vec![(1.0, corpus.clone())]);
    let all = Batches::new(mixture(), 16, 5, 9).unwrap();
    let some = all.clone().counting(Targets::Answers).unwrap();
    assert!(all.clone().counting(Targets::All).unwrap().at(3) == all.at(3));
    let train = corpus.train();
    let mut is_answer = vec![false; train.len()];
    for answer in corpus.answers(Part::Train) {
        is_answer[answer].fill(true);
    }
    let (mut counted, mut seen) = (0, 0);
    for step in 0..40 {
        let (all, some) = (all.at(step), some.at(step));
        assert_eq!(
            (&all.inputs, &all.corpus_of_row),
            (&some.inputs, &some.corpus_of_row)
        );
        assert_eq!(all.counted(), 80);
        counted += some.counted();
        for row in 0..5 {
            // A row of 17 tokens is somewhere in the part; where else it is, the marks agree or not.
            let at = row * 16..(row + 1) * 16;
            let tokens: Vec<u16> = all.inputs[at.clone()].iter().map(|id| *id as u16).collect();
            let last = all.targets[at.end - 1] as u16;
            let marked = |start: &usize| {
                let window = &train[*start..start + 17];
                window[..16] == tokens && window[16] == last && {
                    let pairs = some.targets[at.clone()].iter().enumerate();
                    pairs
                        .clone()
                        .all(|(i, target)| match is_answer[start + 1 + i] {
                            true => *target == u32::from(window[i + 1]),
                            false => *target == IGNORE,
                        })
                }
            };
            seen += usize::from((0..train.len() - 16).any(|start| marked(&start)));
        }
    }
    assert_eq!(seen, 200);
    let share = is_answer.iter().filter(|is| **is).count() as f64 / train.len() as f64;
    assert!(
        (counted as f64 / 3200.0 - share).abs() < 0.05,
        "{counted} {share}"
    );
}

#[test]
fn a_corpus_without_answers_is_refused_unless_it_has_no_weight() {
    let home = tempfile::tempdir().unwrap();
    let text = quiz(5, 300);
    let asked = opened(home.path(), &source(&text, Some(":")), TokenizerKind::Byte).0;
    for (prefix, reason) in [
        (None, "does not say"),
        (Some("?"), "no answer in its training"),
    ] {
        let bare = opened(home.path(), &source(&text, prefix), TokenizerKind::Byte).0;
        let batches = |weight: f64| {
            let parts = vec![(1.0 - weight, asked.clone()), (weight, bare.clone())];
            let batches = Batches::new(Mixture::of(parts), 8, 4, 1).unwrap();
            batches.counting(Targets::Answers).map(|_| ())
        };
        let error = batches(0.5).unwrap_err();
        assert!(
            error.exit_code() == 2 && error.place == "data.targets",
            "{error}"
        );
        assert!(
            error.problem.contains("\"quiz\"") && error.problem.contains(reason),
            "{error}"
        );
        batches(0.0).unwrap();
    }
}

/// A model of three variants over a vocabulary of 7, with options that change logits.
fn model(backend: Backend) -> (Gpt, Tape<f64>) {
    let config = GptConfig {
        n_layer: 1,
        n_head: 2,
        n_embd: 8,
        block_size: 6,
        positions: Positions::Rotary,
        logit_cap: 3.0,
        ..Default::default()
    };
    let (gpt, mut specs): (Gpt, Vec<Spec>) = Gpt::new(&config, 7);
    for spec in &mut specs {
        spec.init = Init::Normal(0.6);
    }
    let mut params = Params::new(3, specs);
    (0..3).for_each(|k| params.init(k, k as u64));
    (gpt, Tape::new(params, backend, Arc::new(Pool::new(2))))
}

/// Three variants of four rows; the second row of each has no target at all.
fn batch() -> (Arc<[u32]>, Vec<u32>) {
    let tokens = (0..72).map(|i| i * i % 7).collect();
    let target = |i: u32| match i % 24 / 6 == 1 || i % 5 < 2 {
        true => IGNORE,
        false => i * 3 % 7,
    };
    (tokens, (0..72).map(target).collect())
}

#[test]
fn a_masked_loss_is_the_mean_over_what_counts() {
    for backend in [Backend::Fused, Backend::Composed(candle_core::Device::Cpu)] {
        let (gpt, mut tape) = model(backend);
        let (tokens, targets) = batch();
        tape.begin(Mode::Eval);
        let logits = gpt.logits(&mut tape, &tokens, 6).unwrap();
        let logits = tape.to_host(logits).unwrap();
        tape.begin(Mode::Train);
        let counted: Vec<f64> = targets
            .chunks(24)
            .map(|t| t.iter().filter(|id| **id != IGNORE).count() as f64)
            .collect();
        assert!(counted[0] > 8.0 && counted[0] < 16.0);
        let losses = gpt.loss(&mut tape, (&tokens, &targets), 6, 1.0).unwrap();
        for k in 0..3 {
            let mut nats = 0.0;
            for i in (24 * k..24 * (k + 1)).filter(|i| targets[*i] != IGNORE) {
                let row = &logits[7 * i..7 * (i + 1)];
                let total: f64 = row.iter().map(|z| z.exp()).sum();
                nats += total.ln() - row[targets[i] as usize];
            }
            let (got, want) = (losses[k] / counted[k], nats / counted[k]);
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
    }
}

const RECIPE: &str = r#"
seed = 3
[data]
tokenizer = "char"
mixture = [{ corpus = "mine" }]
targets = "answers"
[model]
n_layer = 1
n_head = 2
n_embd = 16
block_size = 16
[batch]
rows = 4
[budget]
steps = 30
[eval]
every = 10
"#;

fn trial(session: &Session, changes: &[&str]) -> Trial {
    let path = session.home.with_extension("recipe.toml");
    fs::write(&path, RECIPE).unwrap();
    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
    session
        .resolve(&Recipe::load(&path, &changes).unwrap().0)
        .unwrap()
}

/// A session with a corpus "mine" of this text and this prefix.
fn session(home: &Path, text: &str, prefix: &str) -> Session {
    let session = Session::new(home, Compute::open(DeviceChoice::Cpu, 1).unwrap());
    let file = home.join("mine.txt");
    fs::write(&file, text).unwrap();
    let mut added = session.library.to_add("mine", &file).unwrap();
    added.answers = Some(prefix.into());
    session.library.add("mine", &added).unwrap();
    session
}

fn trained(session: &Session, trial: &Trial) -> (Outcome, Vec<StepRecord>) {
    let stop = AtomicBool::new(false);
    let outcome = train(session.job(trial, &stop), &mut |_| {}).unwrap();
    let steps = trial.dir.records().unwrap().into_iter();
    let steps = steps.filter_map(|record| match record {
        Record::Step(step) => Some(step),
        _ => None,
    });
    (outcome, steps.collect())
}

#[test]
fn a_step_says_how_many_targets_counted_and_its_loss_does_not_depend_on_the_passes() {
    let home = tempfile::tempdir().unwrap();
    let text = documents("facts", 60_000).join("\n\n");
    let session = session(home.path(), &text, "Answer: ");
    let whole = trained(&session, &trial(&session, &[])).1;
    let parts = trained(&session, &trial(&session, &["batch.rows_per_pass=1"])).1;
    assert_eq!(whole.len(), 30);
    let mut without = 0;
    for (one, other) in whole.iter().zip(&parts) {
        assert_eq!(one.targets, other.targets);
        assert!(
            (one.loss - other.loss).abs() < 1e-5,
            "{} {}",
            one.loss,
            other.loss
        );
        assert!(one.targets.unwrap() < 64);
        without += usize::from(one.targets == Some(0));
    }
    println!("{without} of 30 steps have no answer");
    let mean = |steps: &[StepRecord]| steps.iter().map(|s| s.loss).sum::<f64>() / 5.0;
    assert!(mean(&whole[25..]) < mean(&whole[..5]) + 0.1);
    assert_eq!(whole[29].tokens, 30 * 64);
}

#[test]
fn steps_without_any_answer_have_no_loss_and_do_no_harm() {
    let home = tempfile::tempdir().unwrap();
    // One answer in some thousand characters.
    let mut text = String::new();
    for i in 0..60 {
        text += &"a long way to go\n".repeat(40);
        text += &format!("Answer: {}\n\n", i % 7);
    }
    let session = session(home.path(), &text, "Answer: ");
    let trial = trial(&session, &["eval.every=5"]);
    let (outcome, steps) = trained(&session, &trial);
    let none: Vec<&StepRecord> = steps.iter().filter(|s| s.targets == Some(0)).collect();
    assert!(none.len() > 5 && none.len() < 30, "{}", none.len());
    assert!(
        none.iter()
            .all(|step| step.loss == 0.0 && step.grad_norm == 0.0)
    );
    let eval = outcome.eval().unwrap();
    assert!(eval.loss.is_finite() && eval.val["mine"].answers.is_some());
}

#[test]
fn a_recipe_that_does_not_mask_is_written_and_addressed_as_before() {
    let home = tempfile::tempdir().unwrap();
    let session = session(home.path(), &quiz(7, 300), ":");
    let masked = trial(&session, &[]);
    let all = trial(&session, &["data.targets=all"]);
    assert_ne!(masked.id, all.id);
    assert!(masked.run.to_toml().contains("targets = \"answers\""));
    assert!(!all.run.to_toml().contains("targets"));
    assert!(!all.run.identity().to_string().contains("targets"));
    let (_, steps) = trained(&session, &all);
    let line = serde_json::to_string(&steps[0]).unwrap();
    assert!(!line.contains("targets"), "{line}");
    let path = home.path().join("wrong.toml");
    fs::write(&path, RECIPE.replace("\"answers\"", "\"anwsers\"")).unwrap();
    let error = Recipe::load(&path, &[]).unwrap_err();
    assert!(
        error.exit_code() == 2 && error.to_string().contains("answers"),
        "{error}"
    );
}
