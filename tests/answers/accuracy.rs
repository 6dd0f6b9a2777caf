//! How many answers a model gets right, against a count by hand from its logits.

use crate::{opened, quiz, source};
use std::sync::Arc;
use windtunnel::{
    data::{
        Batches, Corpus, EvalWindows, TokenizerKind,
        answers::spans,
        mixture::Mixture,
        split::{Part, split},
    },
    device::Backend,
    eval::evaluate,
    metrics::CorpusEval,
    model::{Gpt, GptConfig},
    ops::{cross_entropy::IGNORE, grad_norm::grad_norm},
    optim::{Optimizer, OptimizerConfig},
    params::{Init, Params},
    pool::Pool,
    tape::{Mode, Tape},
};

fn model(t: usize, vocab: usize, spread: f64, backend: Backend) -> (Gpt, Tape<f32>) {
    let config = GptConfig {
        n_layer: 1,
        n_head: 2,
        n_embd: 16,
        block_size: t,
        ..Default::default()
    };
    let (gpt, mut specs) = Gpt::new(&config, vocab);
    specs
        .iter_mut()
        .for_each(|spec| spec.init = Init::Normal(spread));
    let mut params = Params::new(1, specs);
    params.init(0, 5);
    (gpt, Tape::new(params, backend, Arc::new(Pool::new(2))))
}

/// A model that has seen enough of the corpus to be right now and then.
fn taught(t: usize, corpus: &Arc<Corpus>, vocab: usize, backend: Backend) -> (Gpt, Tape<f32>) {
    let (gpt, mut tape) = model(t, vocab, 0.1, backend);
    let parts = vec![(1.0, corpus.clone())];
    let batches = Batches::new(Mixture::of(parts), t, 8, 1).unwrap();
    let mut optimizer = Optimizer::new(&tape.params, &OptimizerConfig::default());
    let pool = Pool::new(1);
    for step in 0..80 {
        let batch = batches.at(step);
        tape.zero_grads().unwrap();
        tape.begin(Mode::Train);
        let pass = (&batch.inputs.into(), &batch.targets[..]);
        gpt.loss(&mut tape, pass, t, (8 * t) as f64).unwrap();
        tape.backward().unwrap();
        let norm = grad_norm(&tape.params, &pool)[0];
        optimizer.step((&mut tape.params, 0), (step + 1, 1e-2), norm, &pool);
    }
    (gpt, tape)
}

/// By hand: whether the model, given the true text before it, would write a token, and its nats.
fn foreseen(gpt: &Gpt, tape: &mut Tape<f32>, inputs: &[u32], target: u32) -> (bool, f64) {
    tape.begin(Mode::Eval);
    let tokens: Arc<[u32]> = inputs.into();
    let logits = gpt.logits(tape, &tokens, inputs.len()).unwrap();
    let logits = tape.to_host(logits).unwrap();
    let row = &logits[logits.len() - gpt.vocab_size()..];
    let chosen = row[target as usize];
    let others = row
        .iter()
        .enumerate()
        .filter(|(id, _)| *id != target as usize);
    let total: f64 = row.iter().map(|z| f64::from(z - chosen).exp()).sum();
    (others.into_iter().all(|(_, z)| *z < chosen), total.ln())
}

#[test]
fn accuracy_and_answer_loss_are_what_the_logits_say() {
    let home = tempfile::tempdir().unwrap();
    let source = source(&quiz(8, 500), Some(":"));
    let (corpus, tokenizer) = opened(home.path(), &source, TokenizerKind::Char);
    // A token is a byte: the answers of the validation part, found in its text.
    let parts = split(source.text.whole().unwrap(), &source.split).unwrap();
    let (mut answers, mut starts, mut at) = (Vec::new(), Vec::new(), 0);
    for document in &parts[Part::Validation as usize] {
        let found = spans(document.0, ":").into_iter();
        answers.extend(found.map(|span| (at, at + span.start..at + span.end)));
        starts.push(at);
        at += document.0.len();
    }
    let part: Vec<u32> = corpus
        .validation()
        .iter()
        .map(|id| u32::from(*id))
        .collect();
    assert_eq!(at, part.len());
    for (t, limit) in [(32, 0), (7, 0), (50, 9), (64, 0)] {
        for backend in [Backend::Fused, Backend::Composed(candle_core::Device::Cpu)] {
            let windows = EvalWindows::new(corpus.clone(), t, limit, &tokenizer).unwrap();
            let windows = Arc::new(windows);
            let (gpt, mut tape) = taught(t, &corpus, tokenizer.vocab_size(), backend);
            let all = [(1.0, windows.clone())];
            let record = evaluate(&gpt, &mut tape, &all, 3, (0, 0)).unwrap();

            let (mut right, mut n, mut tokens, mut nats) = (0, 0, 0, 0.0);
            let mut counted = vec![false; part.len()];
            for (start, row) in rows(&windows, &part, t) {
                let places = (0..t).filter(|i| row[*i] != IGNORE).map(|i| start + 1 + i);
                let places: Vec<usize> = places.collect();
                places.iter().for_each(|place| {
                    assert!(!std::mem::replace(&mut counted[*place], true));
                });
                for (document, answer) in &answers {
                    let whole = answer.clone().all(|token| places.contains(&token));
                    if !whole || (*document < start && answer.start - start < t / 2) {
                        continue;
                    }
                    let scores = answer
                        .clone()
                        .map(|token| foreseen(&gpt, &mut tape, &part[start..token], part[token]));
                    let scores: Vec<(bool, f64)> = scores.collect();
                    n += 1;
                    right += usize::from(scores.iter().all(|(likeliest, _)| *likeliest));
                    tokens += scores.len();
                    nats += scores.iter().map(|(_, nats)| nats).sum::<f64>();
                }
            }
            let eval = record.val["quiz"];
            assert!(n > 10 && right > 0 && right < n, "{right} of {n}");
            assert_eq!(eval.answers, Some(n as u64), "blocks of {t}");
            assert_eq!(eval.accuracy, Some(right as f64 / n as f64));
            let loss = eval.answer_loss.unwrap();
            assert!((loss - nats / tokens as f64).abs() < 1e-4, "{loss}");
        }
    }
}

/// Where each window begins in the part, and its targets.
fn rows(windows: &EvalWindows, part: &[u32], t: usize) -> Vec<(usize, Vec<u32>)> {
    let mut found = Vec::new();
    let mut from = 0;
    for batch in windows.batches(1) {
        let is_there = |start: &usize| {
            part[*start..start + t] == batch.inputs[..]
                && (0..t).all(|i| [IGNORE, part[start + 1 + i]].contains(&batch.targets[i]))
        };
        let masked = batch.targets.iter().take_while(|id| **id == IGNORE).count();
        // Windows come in order, each from where the last one ends, but for a masked head.
        let start = match masked {
            0 => (from..part.len() - t).find(is_there).unwrap(),
            _ => part.len() - 1 - t,
        };
        assert!(is_there(&start));
        found.push((start, batch.targets));
        from = start + t;
    }
    found
}

#[test]
fn the_loss_of_a_corpus_does_not_depend_on_whether_it_has_answers() {
    let home = tempfile::tempdir().unwrap();
    let text = quiz(9, 400);
    let eval = |answers: Option<&str>, backend: Backend| -> CorpusEval {
        let (corpus, tokenizer) = opened(home.path(), &source(&text, answers), TokenizerKind::Char);
        let windows = Arc::new(EvalWindows::new(corpus, 24, 0, &tokenizer).unwrap());
        let (gpt, mut tape) = model(24, tokenizer.vocab_size(), 0.5, backend);
        let record = evaluate(&gpt, &mut tape, &[(1.0, windows)], 4, (0, 0)).unwrap();
        record.val["quiz"]
    };
    let composed = || Backend::Composed(candle_core::Device::Cpu);
    let (with, without) = (eval(Some(":"), Backend::Fused), eval(None, Backend::Fused));
    assert!((with.loss - without.loss).abs() < 1e-6 && with.tokens == without.tokens);
    assert_eq!(
        (without.answers, without.accuracy, without.answer_loss),
        (None, None, None)
    );
    let other = eval(Some(":"), composed());
    assert!((with.loss - other.loss).abs() < 1e-5 && with.answers == other.answers);
    // A prefix that is nowhere: none were judged, and there is no share of none.
    let none = eval(Some("?"), Backend::Fused);
    assert_eq!(
        (none.answers, none.accuracy, none.answer_loss),
        (Some(0), None, None)
    );
}

#[test]
fn a_model_that_finds_all_tokens_alike_gets_nothing_right() {
    let home = tempfile::tempdir().unwrap();
    let (corpus, tokenizer) = opened(
        home.path(),
        &source(&quiz(10, 300), Some(":")),
        TokenizerKind::Char,
    );
    let windows = Arc::new(EvalWindows::new(corpus, 32, 0, &tokenizer).unwrap());
    for backend in [Backend::Fused, Backend::Composed(candle_core::Device::Cpu)] {
        let (gpt, mut tape) = model(32, tokenizer.vocab_size(), 0.0, backend);
        let windows = [(1.0, windows.clone())];
        let record = evaluate(&gpt, &mut tape, &windows, 4, (0, 0)).unwrap();
        let eval = record.val["quiz"];
        assert_eq!(eval.accuracy, Some(0.0));
        let uniform = (tokenizer.vocab_size() as f64).ln();
        assert!((eval.answer_loss.unwrap() - uniform).abs() < 1e-5);
    }
}

#[test]
fn records_without_answers_are_read_and_written_as_before() {
    let old = r#"{"loss":1.5,"bpb":2.0,"tokens":10,"bytes":12}"#;
    let eval: CorpusEval = serde_json::from_str(old).unwrap();
    assert_eq!(eval.accuracy, None);
    assert_eq!(serde_json::to_string(&eval).unwrap(), old);
    assert_eq!(eval.answers_in_words(), "");
}
