//! Training on a device: against the CPU, packed against alone, graphs against launches, stopped against
//! whole, with too little memory, and with a device that goes away.

use crate::{compare::close, device::Device};
use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};
use tempfile::TempDir;
use windtunnel::{
    calibration::AtOnce,
    device::{Compute, DeviceChoice, Precision},
    error::{Kind, Result},
    metrics::{Outcome, Record, StepRecord},
    ops::cuda::graphs::Key,
    recipe::Recipe,
    session::{Effort, Session, Trial},
    study::{
        proposal::Study,
        runner::{Watched, run_study},
        sides::{Asked, Jobs, choose},
    },
    train::{Job, Progress, Trainer, need, pack::train_in_memory, train, train_pack},
};

/// Small, with all that a step can have: dropout, micro-batches, two corpora of which one has answers,
/// warm-up, evaluations between checkpoints.
const RECIPE: &str = r#"
seed = 7
[data]
tokenizer = "char"
vocabulary = ["tales", "facts"]
mixture = [{ corpus = "tales", weight = 2 }, { corpus = "facts", weight = 1 }]
[model]
n_layer = 2
n_head = 2
n_embd = 32
block_size = 20
dropout = 0.1
bias = true
activation = "gelu_tanh"
[batch]
rows = 4
rows_per_pass = 2
[budget]
steps = 6
[eval]
every = 3
windows = 3
corpora = [{ corpus = "tales" }, { corpus = "facts", weight = 3 }]
[checkpoint]
every = 3
keep = 9
"#;

/// Lanes that differ in all that lanes may differ in.
const LANES: [&[&str]; 3] = [
    &[],
    &[
        "seed=8",
        "optimizer.lr=3e-3",
        "optimizer.betas=[0.8,0.9]",
        "model.dropout=0.3",
    ],
    &[
        "seed=9",
        "optimizer.weight_decay=0.5",
        "optimizer.max_grad_norm=0.1",
        "model.dropout=0",
    ],
];

struct Place {
    _home: TempDir,
    session: Session,
    trials: Vec<Trial>,
}

impl Place {
    /// Runs on this device: of each, changes of its own beside those that all have.
    fn new(compute: Compute, all: &[&str], own: &[&[&str]]) -> Self {
        let home = TempDir::new().unwrap();
        let session = Session::new(&home.path().join("home"), compute);
        let trial = |own: &&[&str]| {
            let changes: Vec<String> = all.iter().chain(*own).map(|s| s.to_string()).collect();
            let file = home.path().join("recipe.toml");
            std::fs::write(&file, RECIPE).unwrap();
            let (recipe, _) = Recipe::load(&file, &changes).unwrap();
            session.resolve(&recipe).unwrap()
        };
        Self {
            trials: own.iter().map(trial).collect(),
            session,
            _home: home,
        }
    }

    fn on(device: &Device, precision: Precision, all: &[&str], own: &[&[&str]]) -> Self {
        let compute = Compute::gpu(device.gpu())
            .multiplying_in(precision)
            .unwrap();
        Self::new(compute, all, own)
    }

    /// The same runs in the same home, on another device.
    fn moved(self, device: &Device) -> Self {
        let class = self.session.compute.clone();
        let compute = Compute::gpu(device.gpu()).multiplying_in(class.precision);
        Self {
            session: Session::new(&self.session.home, compute.unwrap()),
            ..self
        }
    }

    fn jobs<'a>(&'a self, stop: &'a AtomicBool) -> Vec<Job<'a>> {
        let trials = self.trials.iter();
        trials.map(|trial| self.session.job(trial, stop)).collect()
    }

    fn alone(&self) -> Vec<Outcome> {
        let stop = AtomicBool::new(false);
        let jobs = self.jobs(&stop);
        jobs.into_iter()
            .map(|job| train(job, &mut |_| {}).unwrap())
            .collect()
    }

    fn packed(&self) -> Result<Vec<Outcome>> {
        train_pack(&self.jobs(&AtomicBool::new(false)), &mut |_, _| {})
    }

    /// Losses of steps and of evaluations, and gradient norms, of every run, in order.
    fn curves(&self) -> Vec<Vec<f32>> {
        let curve = |trial: &Trial| {
            let records = trial.dir.records().unwrap().into_iter();
            let numbers = records.flat_map(|record| match record {
                Record::Step(step) => vec![step.loss, step.grad_norm],
                Record::Eval(eval) => vec![eval.loss, eval.bpb],
                _ => Vec::new(),
            });
            numbers.map(|x| x as f32).collect()
        };
        self.trials.iter().map(curve).collect()
    }

    fn trainer(&self) -> Trainer {
        self.try_trainer().unwrap()
    }

    fn try_trainer(&self) -> Result<Trainer> {
        let runs = self
            .trials
            .iter()
            .map(|trial| (&trial.run, trial.data.clone()));
        Trainer::packed(&runs.collect::<Vec<_>>(), &self.session.compute)
    }
}

fn cpu() -> Compute {
    Compute::open(DeviceChoice::Cpu, 1).unwrap()
}

/// Losses of the lanes in `n` steps.
fn losses(trainer: &mut Trainer, n: usize) -> Vec<f64> {
    let mut losses = Vec::new();
    while losses.len() < n * trainer.k() {
        let left = n - losses.len() / trainer.k();
        for row in trainer.train_steps(left).unwrap() {
            let steps = row.into_iter().flatten();
            losses.extend(steps.map(|step: std::result::Result<StepRecord, _>| step.unwrap().loss));
        }
    }
    losses
}

#[test]
fn a_run_on_the_device_is_the_cpus() {
    let cpu = Place::new(cpu(), &[], &LANES[..1]);
    cpu.alone();
    for (precision, tolerance) in [
        (Precision::F32, 2e-4),
        (Precision::Tf32, 5e-3),
        (Precision::Bf16, 2e-2),
    ] {
        let device = Device::new();
        let place = Place::on(&device, precision, &[], &LANES[..1]);
        place.alone();
        close(
            precision.name(),
            &place.curves()[0],
            &cpu.curves()[0],
            tolerance,
        );
    }
}

#[test]
fn every_kind_of_optimizer_and_model_trains_as_on_the_cpu() {
    let ways: [&[&str]; 5] = [
        &["optimizer.kind=muon", "eval.ema=0.9"],
        &["optimizer.kind=sgd", "optimizer.lr=0.1"],
        &["optimizer.kind=lion", "optimizer.lr=3e-4"],
        &[
            "model.norm=rms",
            "model.positions=rotary",
            "model.qk_norm=true",
            "model.n_kv_head=1",
            "model.activation=swiglu",
            "model.tied=false",
            "model.bias=false",
            "model.window=9",
        ],
        &[
            "model.variant=value_embeddings",
            "model.logit_cap=15",
            "model.z_loss=1e-3",
        ],
    ];
    for way in ways {
        let all = [way, &["budget.steps=3", "eval.every=0"][..]].concat();
        let cpu = Place::new(cpu(), &all, &LANES[..1]);
        cpu.alone();
        let place = Place::on(&Device::new(), Precision::F32, &all, &LANES[..1]);
        place.alone();
        close(
            &format!("{way:?}"),
            &place.curves()[0],
            &cpu.curves()[0],
            1e-3,
        );
    }
}

/// One lane's products are a batch's here, so not a bit differs on the emulated device. cuBLASLt may
/// choose another algorithm for another count: on a GPU the sums of two orders are apart by rounding,
/// which six steps carry on.
#[test]
fn packed_lanes_are_what_each_is_alone() {
    for precision in [Precision::F32, Precision::Bf16] {
        let device = Device::new();
        let alone = Place::on(&device, precision, &[], &LANES);
        alone.alone();
        let packed = Place::on(&device, precision, &[], &LANES);
        packed.packed().unwrap();
        let tolerance = match (device.is_emulated(), precision) {
            (true, _) => 0.0,
            (false, Precision::F32) => 1e-4,
            (false, _) => 2e-2,
        };
        for (lane, (packed, alone)) in packed.curves().iter().zip(alone.curves()).enumerate() {
            close(
                &format!("lane {lane}, {}", precision.name()),
                packed,
                &alone,
                tolerance,
            );
        }
    }
}

#[test]
fn a_replayed_graph_is_the_launches_that_it_was_made_of() {
    let device = Device::new();
    let place = Place::on(&device, Precision::Bf16, &[], &LANES);
    place.packed().unwrap();
    let mut trainer = place.trainer();
    losses(&mut trainer, 3);
    assert_eq!(trainer.why_not_a_graph(Key::Step), None);

    let without = Device::without_graphs();
    let launched = Place::on(&without, Precision::Bf16, &[], &LANES);
    launched.packed().unwrap();
    let mut trainer = launched.trainer();
    losses(&mut trainer, 3);
    assert!(trainer.why_not_a_graph(Key::Step).is_some());
    assert_eq!(place.curves(), launched.curves());
}

#[test]
fn a_stopped_run_goes_on_with_the_same_bits() {
    let device = Device::new();
    let whole = Place::on(&device, Precision::Bf16, &[], &LANES);
    whole.packed().unwrap();
    for step in [2, 3, 5] {
        let place = Place::on(&device, Precision::Bf16, &[], &LANES);
        let stop = AtomicBool::new(false);
        let mut hear = |_, event: Progress| {
            if let Progress::Step(record) = event
                && record.step >= step
            {
                stop.store(true, Ordering::Relaxed);
            }
        };
        if let Err(error) = train_pack(&place.jobs(&stop), &mut hear) {
            assert_eq!(error.kind, Kind::Interrupted);
        }
        place.packed().unwrap();
        assert_eq!(place.curves(), whole.curves(), "stopped after step {step}");
    }
}

/// Planned, probed, packed, trained and judged as `windtunnel run` does it.
#[test]
fn a_study_on_the_device_is_packed_and_judged() {
    let device = Device::new();
    let place = Place::on(&device, Precision::F32, &[], &[]);
    let folder = place._home.path();
    std::fs::write(folder.join("recipe.toml"), RECIPE).unwrap();
    let study = "name = \"slow\"\nbase = \"recipe.toml\"\n[hypothesis]\nclaim = \"It matters.\"\n\
                 [decision]\nmargin = 0.5\nseeds = 3\n[arms.plain]\ncontrol = true\n\
                 [arms.slow]\nfactor = \"optimizer.lr\"\nset = { \"optimizer.lr\" = 1e-6 }\n";
    let file = folder.join("slow.toml");
    std::fs::write(&file, study).unwrap();
    let study = Study::load_rung(&file, &["budget.steps=4".to_string()], None).unwrap();
    let asked = Asked {
        jobs: Jobs::Auto,
        pack: 0,
        threads: None,
        cores: 2,
        effort: Effort::Quick,
    };
    let mut session = place.session;
    let compute = session.compute.clone();
    let choice = choose(&mut session, &study, asked, &|_| compute.clone()).unwrap();
    assert_eq!(choice.sides.jobs, 1);
    let at = AtOnce { jobs: 1, pack: 0 };
    session.keep().unwrap();
    let stop = AtomicBool::new(false);
    let packs = Mutex::new(Vec::new());
    let (_, verdict) = run_study(&session, &choice.planned, (at, &stop), &|_, watched| {
        if let Watched::Progress(Progress::Started { pack, .. }) = watched {
            packs.lock().unwrap().push(pack);
        }
    })
    .unwrap();
    assert_eq!(*packs.lock().unwrap(), [6; 6]);
    assert_eq!(verdict.seeds, 3);
    // Steps of almost no size against steps that learn.
    let effect = verdict.arms[0].effect.as_ref().unwrap();
    assert!(effect.mean > 0.0, "{effect:?}");
}

#[test]
fn a_lane_that_diverges_is_frozen_and_the_others_do_not_notice() {
    let device = Device::new();
    let lanes = [
        LANES[0],
        &["optimizer.lr=1e30", "optimizer.max_grad_norm=0"][..],
        LANES[2],
    ];
    let place = Place::on(&device, Precision::F32, &[], &lanes);
    let outcomes = place.packed().unwrap();
    let undisturbed = Place::on(&device, Precision::F32, &[], &lanes);
    let alone = undisturbed.alone();
    let tolerance = if device.is_emulated() { 0.0 } else { 1e-4 };
    for (lane, (packed, alone)) in place.curves().iter().zip(undisturbed.curves()).enumerate() {
        if lane != 1 {
            close(&format!("lane {lane}"), packed, &alone, tolerance);
        }
    }
    assert_eq!(outcomes[1].ending, alone[1].ending);
    assert!(outcomes[1].eval().is_none());
    assert!(outcomes[0].eval().is_some() && outcomes[2].eval().is_some());
}

#[test]
fn what_is_computed_twice_is_the_same_in_less_memory() {
    let device = Device::new();
    let place = Place::on(
        &device,
        Precision::Bf16,
        &["model.activation=swiglu"],
        &LANES[..1],
    );
    let run = &place.trials[0].run;
    let cut = |frugal| need::Cut {
        rows_per_pass: 4,
        frugal,
    };
    let need = |frugal| need::Need::of(run, 1, Precision::Bf16, cut(frugal)).unwrap();
    assert!(need(true).activations < need(false).activations);
    let mut plain = place.trainer();
    let mut frugal = place.trainer();
    frugal.be_frugal();
    assert_eq!(losses(&mut frugal, 4), losses(&mut plain, 4));
    assert!(frugal.memory_bytes() < plain.memory_bytes());
}

#[test]
fn a_device_that_is_not_there_any_more_loses_nothing() {
    let device = Device::new();
    // After some steps, an evaluation and a checkpoint.
    device.vanish_after(800);
    let place = Place::on(&device, Precision::F32, &[], &LANES[..1]);
    let error = place.packed().unwrap_err();
    assert_eq!(error.kind, Kind::Failed, "{error}");
    assert_eq!(error.exit_code(), 4);
    assert!(place.trials[0].dir.outcome().unwrap().is_none());
    let place = place.moved(&Device::new());
    place.packed().unwrap();
    let whole = Place::on(&Device::new(), Precision::F32, &[], &LANES[..1]);
    whole.packed().unwrap();
    assert_eq!(place.curves(), whole.curves());
}

#[test]
fn a_pack_that_does_not_fit_is_trained_in_halves() {
    let whole = Place::on(&Device::new(), Precision::F32, &[], &LANES);
    whole.packed().unwrap();
    let run = &whole.trials[0].run;
    let cut = need::Cut {
        rows_per_pass: 2,
        frugal: false,
    };
    let peak = |lanes| {
        need::Need::of(run, lanes, Precision::F32, cut)
            .unwrap()
            .peak
    };
    let device = Device::new();
    device.set_memory(peak(2) + peak(1) / 2);
    let place = Place::on(&device, Precision::F32, &[], &LANES);
    assert_eq!(place.packed().unwrap_err().kind, Kind::Memory);
    let stop = AtomicBool::new(false);
    train_in_memory(&place.jobs(&stop), &mut |_, _| {}).unwrap();
    assert_eq!(place.curves(), whole.curves());
    assert_eq!(
        need::pack_that_fits(run, &place.session.compute).unwrap(),
        2
    );
}
