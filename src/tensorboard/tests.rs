//! Event files, read back by a reader that shares no code with the writer.

use super::*;
use crate::{
    data::Realised,
    metrics::{Averaged, CorpusEval, DataRecord, EvalRecord},
};
use events::{Field, fields, messages, read};
use std::collections::BTreeMap;

#[path = "../../tests/support/events.rs"]
mod events;

fn step(step: u64) -> Record {
    Record::Step(StepRecord {
        targets: None,
        step,
        tokens: step * 768,
        loss: 4.0 / step as f64,
        lr: 1e-3,
        grad_norm: 1.5,
        ms: 500.0,
    })
}

fn eval(step: u64, loss: f64) -> Record {
    let corpus = CorpusEval {
        accuracy: None,
        answers: None,
        answer_loss: None,
        loss,
        bpb: loss / 2.0,
        tokens: 100,
        bytes: 120,
    };
    Record::Eval(EvalRecord {
        step,
        tokens: step * 768,
        loss,
        bpb: 1.25,
        val: BTreeMap::from([("täles/tokens".into(), corpus), ("tokens".into(), corpus)]),
        ema: Some(Averaged {
            loss: 2.0,
            bpb: 1.0,
        }),
    })
}

fn data(step: u64) -> Record {
    let corpora = vec![Realised {
        corpus: "sums".into(),
        tokens: step * 768,
        epochs: 0.5,
        share: 1.0,
        declared: None,
        phases: Vec::new(),
    }];
    Record::Data(DataRecord { step, corpora })
}

fn tags(record: &Record) -> Vec<String> {
    scalars(record).into_iter().map(|(tag, _)| tag).collect()
}

#[test]
fn every_number_has_a_tag_of_its_own() {
    let train = ["loss", "lr", "grad_norm", "tokens_per_second"].map(|t| format!("train/{t}"));
    assert_eq!(tags(&step(3)), train);
    assert_eq!(scalars(&step(3))[3].1, 1536.0);
    let of_eval = [
        "val/loss",
        "val/bpb",
        "val/tokens/loss",
        "val/tokens/bpb",
        "val/täles/tokens/loss",
        "val/täles/tokens/bpb",
        "ema/loss",
        "ema/bpb",
    ];
    assert_eq!(tags(&eval(3, 1.0)), of_eval);
    assert_eq!(tags(&data(3)), ["data/sums/epochs", "data/sums/share"]);
    for not_finite in [f64::NAN, f64::INFINITY] {
        let left = tags(&eval(3, not_finite));
        assert_eq!(left, ["val/bpb", "ema/loss", "ema/bpb"]);
    }
}

#[test]
fn a_new_field_of_an_evaluation_gets_its_tag_by_itself() {
    let value =
        serde_json::json!({ "tales": { "loss": 1.0, "tokens": 9, "answers": { "exact": 0.5 } } });
    let mut scalars = Vec::new();
    leaves("val", &value, &mut scalars);
    let tag = |tag: &str, value| (tag.to_string(), value);
    assert_eq!(
        scalars,
        [
            tag("val/tales/loss", 1.0),
            tag("val/tales/answers/exact", 0.5)
        ]
    );
}

#[test]
fn what_is_written_is_read_back_under_its_step() {
    let folder = tempfile::tempdir().unwrap();
    let begun = now();
    let mut file = EventFile::begin(folder.path(), "seed = 1\n<b>\n", &[], 5.0).unwrap();
    let records = [step(1), step(2), eval(2, 1.0), data(2), step(300)];
    records.iter().for_each(|r| file.write(r).unwrap());
    file.flush().unwrap();
    let expected: Vec<_> = records
        .iter()
        .flat_map(|r| {
            let scalars = scalars(r).into_iter();
            scalars.map(|(tag, value)| (r.step(), tag, value as f32))
        })
        .collect();
    let read = read(folder.path());
    assert!(read.iter().all(|e| (begun..=now()).contains(&e.0)));
    let read: Vec<_> = read
        .into_iter()
        .map(|(_, step, tag, v)| (step, tag, v))
        .collect();
    assert_eq!(read, expected);

    let bytes = fs::read(&existing(folder.path()).unwrap()[0]).unwrap();
    let head: Vec<_> = messages(&bytes).into_iter().take(HEAD).collect();
    assert_eq!(fields(head[0])[2], (3, Field::Bytes(b"brain.Event:2")));
    assert_eq!(fields(head[1])[2], (7, Field::Bytes(&[8, 1])));
    let recipe = "    seed = 1\n    <b>\n";
    assert!(
        head[2]
            .windows(recipe.len())
            .any(|w| w == recipe.as_bytes())
    );
}

#[test]
fn a_file_cut_anywhere_goes_on_with_the_same_events_under_a_later_name() {
    let records = [step(1), eval(1, 1.0), step(2), step(3)];
    let written = tempfile::tempdir().unwrap();
    let mut file = EventFile::begin(written.path(), "", &[], 9e8).unwrap();
    for record in &records {
        file.file
            .write_all(&framed(1e9 + record.step() as f64, record))
            .unwrap();
    }
    file.flush().unwrap();
    let before = existing(written.path()).unwrap().remove(0);
    let bytes = fs::read(&before).unwrap();
    for cut in (0..bytes.len()).step_by(3).chain([bytes.len()]) {
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join(before.file_name().unwrap());
        fs::write(&old, &bytes[..cut]).unwrap();
        // The run goes on from step 2: what followed is stale.
        let mut file = EventFile::begin(folder.path(), "", &records[..3], 1e9).unwrap();
        assert!(file.path > old);
        file.write(&step(3)).unwrap();
        drop(file);
        let read = read(folder.path());
        let steps: Vec<u64> = read.iter().map(|event| event.1).collect();
        assert!(steps.is_sorted());
        let losses = read.iter().filter(|event| event.2 == "train/loss");
        assert_eq!(losses.count(), 3, "cut at {cut}");
        if cut == bytes.len() {
            let at: Vec<f64> = read.iter().map(|event| event.0 - 1e9).collect();
            assert!(
                at.iter()
                    .zip(&steps)
                    .all(|(at, step)| *step == 3 || *at == *step as f64)
            );
        } else if cut == 0 {
            // No time was kept: two steps of half a second.
            assert_eq!(read.iter().find(|e| e.1 == 2).unwrap().0, 1e9 + 1.0);
        }
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_that_names_it() {
    let Err(error) = EventFile::begin(Path::new("/proc/none"), "", &[], 0.0) else {
        panic!("written")
    };
    assert!(error.place.contains("/proc/none"), "{error}");
}
