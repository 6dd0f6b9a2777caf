//! Folders: each run of a pack has its own, whole at every moment.

use super::{Place, assert_same};
use std::fs;
use std::sync::atomic::AtomicBool;
use windtunnel::{
    error::{Error, Kind},
    train::{pack::in_halves, train_pack},
};

const LANES: [&[&str]; 3] = [&[], &["seed=8"], &["seed=9", "optimizer.lr=1e-2"]];

#[test]
fn a_pack_that_was_stopped_ends_with_the_same_bits() {
    let alone = Place::new(1, &[], &LANES).alone();
    // Before, on and between checkpoints, on an evaluation, and the last step but one.
    for stops in [&[1][..], &[4], &[5, 6], &[12, 13]] {
        let packed = Place::new(1, &[], &LANES);
        for stop in stops {
            let error = packed.stopped_at(*stop);
            assert_eq!(error.kind, Kind::Interrupted);
            assert!(error.place.contains("2 packed with it"), "{error}");
        }
        let packed = packed.packed();
        for (alone, packed) in alone.numbers().iter().zip(packed.numbers()) {
            assert_eq!(alone.records, packed.records, "{stops:?}");
            let [alone, packed] = [&alone.checkpoints, &packed.checkpoints].map(|all| all.last());
            assert!(alone == packed, "{stops:?}: the weights differ");
        }
        assert_eq!(
            packed.kinds(2)[..3],
            ["start", "interrupted", "resume"].map(String::from)
        );
    }
}

#[test]
fn runs_that_were_left_at_different_steps_go_on_in_packs_of_equal_ones() {
    let alone = Place::new(1, &[], &LANES).alone();
    let packed = Place::new(1, &[], &LANES);
    packed.stopped_at(9);
    // As after a kill between two saves: lane 1 has not come to step 9, lane 0 has not begun.
    let newest = |idx: usize, step: u64| {
        let folder = packed.trials[idx].dir.checkpoints();
        windtunnel::checkpoint::path(&folder, step)
    };
    fs::remove_file(newest(1, 9)).unwrap();
    fs::remove_dir_all(packed.trials[0].dir.path()).unwrap();
    let packed = packed.packed();
    for (alone, packed) in alone.numbers().iter().zip(packed.numbers()) {
        assert_eq!(alone.records, packed.records);
        assert!(alone.checkpoints.last() == packed.checkpoints.last());
    }
    for idx in 0..3 {
        let environment = packed.trials[idx].dir.environment().unwrap();
        assert_eq!(environment.pack, 1, "each went on alone");
    }
}

#[test]
fn runs_that_have_ended_are_not_run_again() {
    let packed = Place::new(1, &[], &LANES);
    let job = |idx: usize| &packed.trials[idx];
    let stop = AtomicBool::new(false);
    let one = [packed.session.job(job(1), &stop)];
    let first = train_pack(&one, &mut |_, _| {}).unwrap();
    let mut heard = [0; 3];
    let all = train_pack(&packed.jobs(&stop), &mut |lane, _| heard[lane] += 1).unwrap();
    assert_eq!(all[1], first[0]);
    assert!(
        heard[0] > 14 && heard[1] == 0 && heard[0] == heard[2],
        "{heard:?}"
    );
    assert_eq!(packed.pack().unwrap(), all);
    assert_eq!(packed.kinds(0), ["start", "finish"]);
    let packs = packed
        .trials
        .iter()
        .map(|t| t.dir.environment().unwrap().pack);
    assert_eq!(packs.collect::<Vec<_>>(), [2, 1, 2]);
}

#[test]
fn costs_of_a_pack_are_shares_that_add_up() {
    let packed = Place::new(1, &[], &LANES);
    let begun = std::time::Instant::now();
    let outcomes = packed.pack().unwrap();
    let passed = begun.elapsed().as_secs_f64();
    let seconds: Vec<f64> = outcomes.iter().map(|o| o.cost.seconds).collect();
    let sum: f64 = seconds.iter().sum();
    assert!(sum > 0.0 && sum < passed, "{seconds:?} of {passed}");
    assert!(
        seconds.iter().all(|s| (s / seconds[0] - 1.0).abs() < 1e-9),
        "{seconds:?}"
    );
    assert_eq!(outcomes[0].cost.tokens, 14 * 6 * 24);
}

#[test]
fn a_folder_that_cannot_be_written_ends_the_pack_and_the_others_are_saved() {
    let alone = Place::new(1, &[], &LANES).alone();
    let packed = Place::new(1, &[], &LANES);
    // A file where lane 1's checkpoints are to be.
    let dir = &packed.trials[1].dir;
    fs::create_dir_all(dir.path()).unwrap();
    fs::write(dir.checkpoints(), "in the way").unwrap();
    let error = packed.pack().unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    assert!(
        error.place.contains(&dir.path().display().to_string()),
        "{error}"
    );
    for idx in [0, 2] {
        let saved = windtunnel::checkpoint::steps(&packed.trials[idx].dir.checkpoints());
        assert_eq!(saved, [4], "lane {idx}");
        assert_eq!(packed.kinds(idx), ["start", "interrupted"]);
    }
    assert_eq!(packed.kinds(1), ["start"]);
    // Mended, it goes on.
    fs::remove_file(dir.checkpoints()).unwrap();
    let packed = packed.packed();
    for (alone, packed) in alone.numbers().iter().zip(packed.numbers()) {
        assert_eq!(alone.records, packed.records);
        assert!(alone.checkpoints.last() == packed.checkpoints.last());
    }

    // Where a folder can't even be made, nothing begins.
    let packed = Place::new(1, &[], &LANES);
    let dir = &packed.trials[2].dir;
    fs::create_dir_all(dir.path().parent().unwrap()).unwrap();
    fs::write(dir.path(), "in the way").unwrap();
    let error = packed.pack().unwrap_err();
    assert!(
        error.place.contains(&dir.path().display().to_string()),
        "{error}"
    );
    assert!(!packed.trials[0].dir.path().join("outcome.json").exists());
}

#[test]
fn lanes_keep_their_own_trunks_and_begin_on_those_that_are_there() {
    let wsd: &[&str] = &["schedule.kind=wsd", "schedule.warmup_steps=2"];
    // Of one seed, cooldowns of two lengths: trunks of 10 and of 7 steps; and of another seed.
    let lanes: [&[&str]; 3] = [
        &["schedule.cooldown=0.3"],
        &["schedule.cooldown=0.5", "seed=8"],
        &["schedule.cooldown=0.5", "seed=9", "optimizer.lr=1e-2"],
    ];
    let alone = Place::new(1, wsd, &lanes).alone();
    let packed = Place::new(1, wsd, &lanes).packed();
    assert_same(&alone, &packed);
    for trial in &packed.trials {
        assert!(trial.trunk.as_ref().unwrap().is_whole());
    }
    // Others that cool down otherwise begin where those did: at two different steps.
    let shapes: Vec<Vec<&str>> = lanes
        .iter()
        .map(|lane| [*lane, &["schedule.cooldown_shape=sqrt"]].concat())
        .collect();
    let shapes: Vec<&[&str]> = shapes.iter().map(Vec::as_slice).collect();
    let alone = Place::new(1, &[wsd, &["checkpoint.trunk=false"]].concat(), &shapes).alone();
    let later: Vec<_> = shapes
        .iter()
        .map(|own| super::trial(&packed.session, &[wsd, own].concat()))
        .collect();
    let packed = Place {
        trials: later,
        ..packed
    }
    .packed();
    let steps = packed
        .numbers()
        .into_iter()
        .map(|n| n.outcome.branched.unwrap().step);
    assert_eq!(steps.collect::<Vec<_>>(), [10, 7, 7]);
    for (alone, packed) in alone.numbers().iter().zip(packed.numbers()) {
        assert_eq!(alone.records, packed.records);
        assert!(alone.checkpoints.last() == packed.checkpoints.last());
    }
}

#[test]
fn a_pack_too_large_for_the_memory_is_halved_until_it_fits_and_its_folders_say_so() {
    let alone = Place::new(1, &[], &LANES).alone();
    let packed = Place::new(1, &[], &LANES);
    let stop = AtomicBool::new(false);
    let jobs = packed.jobs(&stop);
    let mut asked = Vec::new();
    let memory = || Error::new(Kind::Memory, "the device", "it is full", "use less");
    let outcomes = in_halves(&jobs, 0, &mut |first, jobs| {
        asked.push((first, jobs.len()));
        match jobs.len() {
            1 => train_pack(jobs, &mut |_, _| {}),
            _ => Err(memory()),
        }
    });
    assert_eq!(asked, [(0, 3), (0, 2), (0, 1), (1, 1), (2, 1)]);
    assert_eq!(outcomes.unwrap().len(), 3);
    assert_same(&alone, &packed);
    let kinds = |idx: usize| packed.kinds(idx);
    assert_eq!(kinds(0), ["halved", "halved", "start", "finish"]);
    assert_eq!(kinds(2), ["halved", "start", "finish"]);
    // Only one that does not fit alone is an error; so is all that is no lack of memory.
    let other = Place::new(1, &[], &LANES);
    let jobs = other.jobs(&stop);
    let mut calls = 0;
    let failed = in_halves(&jobs, 0, &mut |_, _| {
        calls += 1;
        Err(memory())
    });
    assert_eq!((failed.unwrap_err(), calls), (memory(), 3));
    let failed = in_halves(&jobs, 0, &mut |_, _| Err(Error::failed("a", "b", "c")));
    assert_eq!(failed.unwrap_err().kind, Kind::Failed);
}
