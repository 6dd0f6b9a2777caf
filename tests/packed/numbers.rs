//! Numbers: what a pack computes is what each of its runs computes alone.

use super::{Place, assert_same};
use windtunnel::train::{Trainer, pack};

/// All that may differ within a pack, none of it twice the same.
const LANES: [&[&str]; 5] = [
    &[],
    &[
        "seed=8",
        "optimizer.lr=4e-3",
        "optimizer.weight_decay=0",
        "schedule.kind=linear",
        "schedule.warmup=0.5",
    ],
    &[
        "init_seed=3",
        "data_seed=9",
        "model.dropout=0",
        "optimizer.max_grad_norm=0.05",
        "data.token_noise=0.2",
    ],
    &[
        "seed=9",
        "model.dropout=0.4",
        "data.mixture=[{ corpus = \"facts\" }]",
        "data.targets=answers",
        "optimizer.max_grad_norm=0",
    ],
    &[
        "schedule.kind=wsd",
        "optimizer.rates.embedding=0",
        "optimizer.rates.vector=3",
        "data.phases=[{ at = 0.5, mixture = [{ corpus = \"tales\" }] }]",
    ],
];

#[test]
fn lanes_that_differ_in_all_that_may_equal_each_alone() {
    let alone = Place::new(1, &[], &LANES).alone();
    let packed = Place::new(1, &[], &LANES).packed();
    assert_same(&alone, &packed);
    let numbers = packed.numbers();
    for (lane, one) in numbers.iter().enumerate() {
        let same = |other: &super::Numbers| other.checkpoints == one.checkpoints;
        assert!(!numbers[..lane].iter().any(same), "lane {lane} is another");
    }
}

#[test]
fn the_threads_that_share_a_pack_change_no_bit_of_it() {
    let few = &["budget.steps=4", "eval.every=2", "eval.windows=4"];
    let alone = Place::new(2, few, &LANES[1..4]).alone();
    assert_same(&alone, &Place::new(2, few, &LANES[1..4]).packed());
}

/// Optimizers, and of each two lanes' changes beside a lane without any.
const OPTIMIZERS: [(&[&str], [&[&str]; 2]); 5] = [
    (
        &["eval.ema=0.9"],
        [
            &["optimizer.betas=[0.8, 0.99]", "eval.ema=0.5"],
            &["optimizer.eps=1e-3", "optimizer.lr=1e-2"],
        ],
    ),
    (
        &["optimizer.kind=muon", "eval.ema=0.8"],
        [
            &["optimizer.momentum=0.5", "optimizer.nesterov=false"],
            &["optimizer.adamw_lr=1e-2", "optimizer.weight_decay=0"],
        ],
    ),
    (
        &["optimizer.kind=sgd", "optimizer.lr=0.1"],
        [
            &["optimizer.momentum=0.5", "optimizer.weight_decay=0.5"],
            &["optimizer.nesterov=true", "optimizer.max_grad_norm=0.1"],
        ],
    ),
    (
        &["optimizer.kind=sgd", "optimizer.momentum=0"],
        [&["seed=2"], &["optimizer.lr=0.1"]],
    ),
    (
        &["optimizer.kind=lion", "optimizer.lr=1e-4"],
        [&["optimizer.betas=[0.5, 0.6]"], &["optimizer.lr=3e-4"]],
    ),
];

#[test]
fn every_optimizer_moves_each_lane_by_its_own_numbers() {
    for (all, [one, other]) in OPTIMIZERS {
        let lanes = [&[], one, other];
        let alone = Place::new(1, all, &lanes).alone();
        assert_same(&alone, &Place::new(1, all, &lanes).packed());
    }
}

#[test]
fn models_of_other_shapes_pack_as_well() {
    let shapes: [&[&str]; 3] = [
        // Nothing is dropped in any lane; a batch in one pass; a head of its own.
        &[
            "model.dropout=0",
            "batch.rows_per_pass=6",
            "model.tied=false",
        ],
        &[
            "model.positions=rotary",
            "model.norm=rms",
            "model.activation=swiglu",
            "model.n_kv_head=1",
            "model.qk_norm=true",
            "model.window=7",
            "model.logit_cap=5.0",
            "model.z_loss=1e-3",
        ],
        &[
            "model.init=mup",
            "model.base_width=10",
            "model.variant=value_embeddings",
        ],
    ];
    for all in shapes {
        let lanes: [&[&str]; 3] = [&[], &["seed=8"], &["optimizer.lr=1e-2"]];
        let alone = Place::new(1, all, &lanes).alone();
        assert_same(&alone, &Place::new(1, all, &lanes).packed());
    }
}

#[test]
fn a_pack_of_one_is_a_run_and_half_of_a_pack_needs_less_memory() {
    let place = Place::new(1, &[], &LANES);
    let runs: Vec<_> = place
        .trials
        .iter()
        .map(|t| (&t.run, t.data.clone()))
        .collect();
    let held = |n: usize| {
        let mut trainer = Trainer::packed(&runs[..n], &place.session.compute).unwrap();
        assert_eq!(trainer.train_steps(2).unwrap().len(), 2);
        assert_eq!((trainer.k(), trainer.step()), (n, 2));
        trainer.memory_bytes()
    };
    let (one, two, four) = (held(1), held(2), held(4));
    assert!(one < two && two < four, "{one} {two} {four}");
    // What is not there once for each lane is small.
    assert!(four > 3 * one, "{one} {four}");
}

#[test]
fn a_lane_that_diverges_is_left_as_it_was_and_the_others_do_not_notice() {
    // Lane 1 leaves the numbers in its second or third step, lane 3 in the same way but later.
    let lanes: [&[&str]; 4] = [
        &[],
        &["optimizer.lr=1e38", "schedule.warmup=0"],
        &["seed=8"],
        &["seed=9", "optimizer.lr=1e37", "schedule.warmup=0.5"],
    ];
    // So that the step before is written down.
    let all = ["log.every=1"];
    let alone = Place::new(1, &all, &lanes).alone();
    let packed = Place::new(1, &all, &lanes).packed();
    assert_same(&alone, &packed);
    let ended = packed
        .numbers()
        .into_iter()
        .map(|n| n.outcome.eval().is_some());
    assert_eq!(ended.collect::<Vec<_>>(), [true, false, true, false]);

    // In the trainer: nothing comes of a lane after it diverged, and its weights do not move.
    let runs: Vec<_> = packed
        .trials
        .iter()
        .map(|t| (&t.run, t.data.clone()))
        .collect();
    let mut trainer = Trainer::packed(&runs[..2], &packed.session.compute).unwrap();
    let weights = |trainer: &Trainer| {
        let params = trainer.saved(1).params;
        let bits = params.handles().flat_map(|p| params.value(p, 1).to_vec());
        bits.map(f32::to_bits).collect::<Vec<_>>()
    };
    let mut frozen = None;
    for step in 1..=8 {
        let row = trainer.train_step().unwrap();
        assert!(matches!(&row[0], Some(Ok(record)) if record.step == step));
        match (&row[1], &frozen) {
            (Some(Ok(_)), None) => assert_eq!(trainer.done(1), step),
            (Some(Err(diverged)), None) => {
                assert_eq!((diverged.step, trainer.done(1)), (step, step - 1));
                frozen = Some((step - 1, weights(&trainer)));
            }
            (None, Some((at, before))) => {
                assert_eq!((trainer.done(1), &weights(&trainer)), (*at, before));
            }
            other => panic!("step {step}: {other:?}"),
        }
    }
    assert!(frozen.is_some());
    // Of a pack whose lanes have all diverged there are no more steps.
    let mut trainer = Trainer::packed(&runs[1..2], &packed.session.compute).unwrap();
    let rows = trainer.train_steps(50).unwrap();
    assert!(rows.len() < 10 && rows.last().unwrap()[0].as_ref().unwrap().is_err());
    assert!(trainer.train_steps(50).unwrap().is_empty());
}

#[test]
fn who_may_share_a_pack_is_decided_by_shapes_and_by_what_all_stop_for() {
    let key = |changes: &[&str]| {
        let place = Place::new(1, &[], &[changes]);
        let trial = &place.trials[0];
        pack::key(&trial.run, &trial.data)
    };
    let plain = key(&[]);
    for lane in LANES {
        assert_eq!(plain, key(lane), "{lane:?}");
    }
    for change in [
        "model.n_embd=40",
        "model.bias=false",
        "model.window=5",
        "batch.rows=4",
        "batch.rows_per_pass=1",
        "budget.steps=15",
        "optimizer.kind=sgd",
        "eval.every=7",
        "eval.windows=12",
        "eval.ema=0.9",
        "eval.corpora=[{ corpus = \"tales\" }]",
        "checkpoint.every=3",
        "log.every=1",
        "data.tokenizer=byte",
        "data.vocabulary=[\"tales\", \"facts\", \"sums\"]",
    ] {
        assert_ne!(plain, key(&[change]), "{change}");
    }
    // What SGD remembers depends on its momentum; another momentum is as much.
    let sgd = |momentum: &str| key(&["optimizer.kind=sgd", momentum]);
    let [half, third, none] = ["0.5", "0.3", "0"].map(|m| sgd(&format!("optimizer.momentum={m}")));
    assert_eq!(half, third);
    assert_ne!(half, none);
    let averaged = ["0.9", "0.5"].map(|ema| key(&[&format!("eval.ema={ema}")]));
    assert_eq!(averaged[0], averaged[1]);
}
