//! What `Batches` draws, and in which order.

use crate::{counted_corpora, mixture};
use std::{collections::BTreeSet, sync::Arc, thread};
use windtunnel::data::{Batch, Batches, Corpus};

const T: usize = 16;

fn batches(parts: &[(f64, &Arc<Corpus>)], rows: usize, seed: u64) -> Batches {
    Batches::new(mixture(parts), T, rows, seed).unwrap()
}

/// The first input of every row that came from corpus `idx`, over steps 0..steps.
fn firsts(batches: &Batches, idx: usize, steps: u64) -> Vec<u32> {
    let rows = |batch: Batch| {
        let rows = batch.inputs.chunks(T).zip(batch.corpus_of_row.clone());
        let rows = rows.filter(|(_, corpus)| *corpus == idx);
        rows.map(|(row, _)| row[0]).collect::<Vec<_>>()
    };
    (0..steps).flat_map(|step| rows(batches.at(step))).collect()
}

#[test]
fn a_batch_depends_on_seed_and_step_alone() {
    let home = tempfile::tempdir().unwrap();
    let corpora = counted_corpora(home.path(), &[2000, 3000]);
    let parts = [(0.4, &corpora[0]), (0.6, &corpora[1])];
    let in_order = batches(&parts, 8, 1);
    // 8 rows: step 600 lies beyond the first mark of 4096 rows.
    let steps: Vec<u64> = (0..40).chain(505..520).chain([600, 1500]).collect();
    let expected: Vec<Batch> = steps.iter().map(|step| in_order.at(*step)).collect();
    assert!(expected.windows(2).all(|pair| pair[0] != pair[1]));

    let backwards = batches(&parts, 8, 1);
    for (step, batch) in steps.iter().zip(&expected).rev() {
        assert_eq!(&backwards.at(*step), batch, "step {step}, backwards");
        assert_eq!(
            &batches(&parts, 8, 1).at(*step),
            batch,
            "step {step}, fresh"
        );
        assert_ne!(&batches(&parts, 8, 2).at(*step), batch, "step {step}, seed");
    }
    let elsewhere = batches(&parts, 8, 1);
    let there = steps.clone();
    let elsewhere =
        thread::spawn(move || there.iter().map(|s| elsewhere.at(*s)).collect::<Vec<_>>());
    assert_eq!(elsewhere.join().unwrap(), expected);
}

#[test]
fn rows_in_a_step_do_not_change_what_is_drawn_or_in_which_order() {
    let home = tempfile::tempdir().unwrap();
    let corpora = counted_corpora(home.path(), &[2000, 3000]);
    let parts = [(0.4, &corpora[0]), (0.6, &corpora[1])];
    let tokens = |rows: usize| -> Vec<u32> {
        let batches = batches(&parts, rows, 5);
        (0..240 / rows as u64)
            .flat_map(|s| batches.at(s).inputs)
            .collect()
    };
    assert_eq!(tokens(8), tokens(3));
}

#[test]
fn other_weights_draw_the_same_windows_in_the_same_order() {
    let home = tempfile::tempdir().unwrap();
    let c = counted_corpora(home.path(), &[900, 1100, 1300]);
    // Some hundred rows: several epochs of every corpus.
    let drawn = |weights: [f64; 3]| -> [Vec<u32>; 3] {
        let parts = [
            (weights[0], &c[0]),
            (weights[1], &c[1]),
            (weights[2], &c[2]),
        ];
        let batches = batches(&parts, 10, 7);
        [0, 1, 2].map(|idx| firsts(&batches, idx, 150))
    };
    let even = drawn([1.0 / 3.0; 3]);
    assert!(even.iter().all(|drawn| drawn.len() >= 450));
    for weights in [[0.1, 0.9, 0.0], [0.7, 0.1, 0.2], [0.0, 0.0, 1.0]] {
        for (other, even) in drawn(weights).iter().zip(&even) {
            let n = other.len().min(even.len());
            assert_eq!(other[..n], even[..n], "{weights:?}");
        }
    }
}

#[test]
fn a_corpus_of_weight_0_changes_nothing_wherever_it_stands() {
    let home = tempfile::tempdir().unwrap();
    let c = counted_corpora(home.path(), &[900, 1100, 1300]);
    let without = batches(&[(0.3, &c[0]), (0.7, &c[1])], 10, 3);
    for at in 0..3 {
        let mut parts = vec![(0.3, &c[0]), (0.7, &c[1])];
        parts.insert(at, (0.0, &c[2]));
        let with = batches(&parts, 10, 3);
        for step in 0..100 {
            let (a, b) = (without.at(step), with.at(step));
            assert_eq!((a.inputs, a.targets), (b.inputs, b.targets), "{at}");
            assert!(!b.corpus_of_row.contains(&at));
        }
        assert_eq!(with.realised(100)[at].tokens, 0);
    }
    // Nor has it to be long enough for a block.
    let parts = [(1.0, &c[0]), (0.0, &c[1])];
    let long = Batches::new(mixture(&[(0.0, &c[0]), (1.0, &c[1])]), 800, 1, 1);
    assert!(c[0].train().len() < 801 && long.is_ok());
    let error = Batches::new(mixture(&parts), 800, 1, 1).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(
        error.problem.contains("\"a\"") && error.remedy.contains("at most 764"),
        "{error}"
    );
}

/// Starts of `epochs` epochs of windows of `t` tokens from one corpus of counted characters.
fn epochs(corpus: &Arc<Corpus>, t: usize, epochs: usize) -> Vec<Vec<u32>> {
    let windows = (corpus.train().len() / t - 1).max(1);
    let batches = Batches::new(mixture(&[(1.0, corpus)]), t, 1, 11).unwrap();
    let start = |row: usize| batches.at(row as u64).inputs[0];
    let epoch = |e: usize| (e * windows..(e + 1) * windows).map(start).collect();
    (0..epochs).map(epoch).collect()
}

#[test]
fn an_epoch_visits_every_window_once_at_an_offset_and_in_an_order_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let corpus = &counted_corpora(home.path(), &[5000])[0];
    let tokens = corpus.train().len() as u32;
    let epochs = epochs(corpus, T, 6);
    let mut offsets = BTreeSet::new();
    let mut orders = BTreeSet::new();
    for starts in &epochs {
        let mut sorted = starts.clone();
        sorted.sort_unstable();
        let offset = sorted[0];
        let expected: Vec<u32> = (0..starts.len() as u32)
            .map(|i| offset + i * T as u32)
            .collect();
        assert_eq!(sorted, expected);
        assert_ne!(&sorted, starts);
        let last = sorted[sorted.len() - 1] + T as u32;
        // Less than two windows at both ends together are left out.
        assert!(last < tokens && tokens - starts.len() as u32 * T as u32 <= 2 * T as u32);
        offsets.insert(offset);
        orders.insert(starts.iter().map(|s| s - offset).collect::<Vec<_>>());
    }
    assert_eq!((offsets.len(), orders.len()), (6, 6));
}

#[test]
fn in_time_every_token_of_the_training_part_is_read() {
    let home = tempfile::tempdir().unwrap();
    let corpus = &counted_corpora(home.path(), &[400])[0];
    let mut seen = BTreeSet::new();
    for start in epochs(corpus, T, 200).concat() {
        seen.extend(start..=start + T as u32);
    }
    let all: BTreeSet<u32> = (0..corpus.train().len() as u32).collect();
    assert_eq!(seen, all);
}

#[test]
fn windows_stay_within_the_training_part_and_targets_are_inputs_shifted_by_one() {
    let home = tempfile::tempdir().unwrap();
    // The training part has 85 tokens: blocks that leave one window, one and a half, and five.
    let corpus = &counted_corpora(home.path(), &[100])[0];
    let tokens = corpus.train().len();
    assert_eq!(tokens, 85);
    for t in [84, 83, 60, 43, 42, 41, 28, 16, 1] {
        let batches = Batches::new(mixture(&[(1.0, corpus)]), t, 7, 2).unwrap();
        let mut highest = 0;
        for batch in (0..100).map(|step| batches.at(step)) {
            assert_eq!((batch.inputs.len(), batch.targets.len()), (7 * t, 7 * t));
            for (row, targets) in batch.inputs.chunks(t).zip(batch.targets.chunks(t)) {
                assert!(row.windows(2).all(|pair| pair[1] == pair[0] + 1));
                assert!(
                    row.iter()
                        .zip(targets)
                        .all(|(input, target)| *target == input + 1)
                );
                highest = highest.max(targets[t - 1]);
            }
        }
        // The last token of the part is reached, and never passed.
        assert_eq!(highest as usize, tokens - 1, "block of {t}");
    }
    let error = Batches::new(mixture(&[(1.0, corpus)]), 85, 1, 1).unwrap_err();
    assert!(error.remedy.contains("at most 84"), "{error}");
}
