use crate::{
    compare::{Case, close, params, round},
    device::Device,
};
use std::sync::Arc;
use windtunnel::{
    device::{Backend, Precision},
    ops::cross_entropy::{IGNORE, Score, Tame},
    params::{Init, Param, Spec},
    pool::Pool,
    rng::Rng,
    tape::{Mode, Shape, Tape, Value},
};

/// A classifier of (K, rows, C) over V ids.
struct Classifier {
    case: Case,
    targets: Vec<u32>,
    denominators: Vec<f64>,
    tame: Tame,
}

/// What came of one.
#[derive(Debug, PartialEq)]
struct Found {
    losses: Vec<f64>,
    dx: Vec<f32>,
    dw: Vec<f32>,
}

const PLAIN: Tame = Tame {
    cap: 0.0,
    z_loss: 0.0,
};
const TAMED: Tame = Tame {
    cap: 3.0,
    z_loss: 0.05,
};

impl Classifier {
    fn new((k, rows, c): (usize, usize, usize), vocab: usize, tame: Tame) -> Self {
        let x = Shape { k, rows, cols: c };
        let w = Spec::new("w", &[vocab, c], Init::Zeros);
        let mut rng = Rng::named(8, "targets");
        let ignored = |i: usize| i % 5 == 3;
        let target = |i| match ignored(i) {
            true => IGNORE,
            // The last id too, which ends a row that may be no whole pack.
            false if i % 4 == 0 => vocab as u32 - 1,
            false => (rng.normal().abs() * 1e4) as u32 % vocab as u32,
        };
        Self {
            case: Case::new(&[x], &[w]),
            targets: (0..k * rows).map(target).collect(),
            denominators: (0..k).map(|k| (rows + 3 * k) as f64).collect(),
            tame,
        }
    }

    fn cpu(&self) -> Tape<f32> {
        Tape::new(params(&self.case), Backend::Fused, Arc::new(Pool::new(1)))
    }

    fn device(&self, gpu: &Device, precision: Precision) -> Tape<f32> {
        Tape::on_device(params(&self.case), &gpu.gpu(), precision).unwrap()
    }

    fn begin(&self, tape: &mut Tape<f32>, mode: Mode) -> (Value, Param) {
        tape.begin(mode);
        let mut rng = Rng::named(5, "inputs");
        let shape = self.case.inputs[0];
        // Logits of a few units.
        let scale = 2.0 / (shape.cols as f64).sqrt();
        let x: Vec<f32> = (0..shape.len())
            .map(|_| round((scale * rng.normal()) as f32))
            .collect();
        let x = tape.leaf(shape, &x).unwrap();
        (x, tape.params.handles().next().unwrap())
    }

    /// Losses and gradients of a training pass, over a gradient that x has already.
    fn train(&self, tape: &mut Tape<f32>) -> Found {
        let (x, w) = self.begin(tape, Mode::Train);
        tape.zero_grads().unwrap();
        tape.clear_losses().unwrap();
        let earlier = vec![round(1e-3); self.case.inputs[0].len()];
        tape.seed_grad(x, &earlier).unwrap();
        tape.classifier(x, w, (&self.targets, &self.denominators), self.tame)
            .unwrap();
        tape.backward().unwrap();
        tape.download_grads().unwrap();
        Found {
            losses: tape.take_losses().unwrap(),
            dx: tape.grad_to_host(x).unwrap().unwrap(),
            dw: tape.params.grads.to_vec(),
        }
    }

    fn scores(&self, tape: &mut Tape<f32>) -> Vec<Score> {
        let (x, w) = self.begin(tape, Mode::Eval);
        tape.scores(x, w, &self.targets, self.tame).unwrap()
    }
}

fn compare(name: &str, found: &Found, expected: &Found, tolerance: f64) {
    for (k, (found, expected)) in found.losses.iter().zip(&expected.losses).enumerate() {
        let apart = (found - expected).abs();
        assert!(
            apart <= tolerance * expected.abs(),
            "{name}, loss {k}: {found} {expected}"
        );
    }
    close(&format!("{name}, dx"), &found.dx, &expected.dx, tolerance);
    close(&format!("{name}, dw"), &found.dw, &expected.dw, tolerance);
}

/// Rows for a warp, and for a block; rows that end within a pack.
const SIZES: [((usize, usize, usize), usize); 6] = [
    ((1, 7, 1), 2),
    ((1, 30, 16), 65),
    ((3, 37, 7), 65),
    ((3, 9, 24), 257),
    ((2, 5, 8), 2_100),
    ((1, 4, 3), 50_257),
];

#[test]
fn losses_and_gradients_of_small_and_large_vocabularies() {
    for (shape, vocab) in SIZES {
        for tame in [PLAIN, TAMED] {
            let it = Classifier::new(shape, vocab, tame);
            let cpu = it.train(&mut it.cpu());
            // V numbers of f32 that are added one after the other: off by V·2⁻²⁴ at most, here by a
            // sixteenth of it. In bf16 logits have eight bits: one of 8 is off by 1/64 at most, and so is
            // a loss.
            let sums = 2e-6 + vocab as f64 * 0.5f64.powi(28);
            for (precision, tolerance) in [(Precision::F32, sums), (Precision::Bf16, 2e-2)] {
                let name = format!("{shape:?} of {vocab}, {tame:?}, {}", precision.name());
                let gpu = Device::new();
                let found = it.train(&mut it.device(&gpu, precision));
                compare(&name, &found, &cpu, tolerance);
                gpu.set_order(1);
                let again = it.train(&mut it.device(&gpu, precision));
                assert!(again == found, "{name}: another order of threads");
            }
        }
    }
}

#[test]
fn rows_in_chunks_are_rows_at_once() {
    let it = Classifier::new((3, 37, 7), 65, TAMED);
    let gpu = Device::new();
    let whole = it.train(&mut it.device(&gpu, Precision::F32));
    for rows in [1, 10, 36] {
        let mut tape = it.device(&gpu, Precision::F32);
        tape.limit_logits(rows * 3 * 72 * 4);
        gpu.mark();
        let found = it.train(&mut tape);
        // Forward, and a gradient for each factor.
        let chunks = 37usize.div_ceil(rows) as u64;
        assert_eq!(gpu.counts().products, 3 * chunks);
        compare(&format!("chunks of {rows}"), &found, &whole, 1e-6);
    }
}

#[test]
fn scores_are_the_cpus_and_a_tie_is_nobodys() {
    for (shape, vocab) in SIZES {
        let it = Classifier::new(shape, vocab, Tame { cap: 0.0, ..TAMED });
        let cpu = it.scores(&mut it.cpu());
        let found = it.scores(&mut it.device(&Device::new(), Precision::F32));
        assert_eq!(found.len(), cpu.len());
        for (i, (found, cpu)) in found.iter().zip(&cpu).enumerate() {
            let apart = (found.nats - cpu.nats).abs();
            assert!(apart <= 2e-6 * cpu.nats.abs(), "{i}: {found:?} {cpu:?}");
            assert_eq!(found.likeliest, cpu.likeliest, "{i} of {shape:?}, {vocab}");
        }
    }
    // Two rows of the head are equal: each other's tie, in both number types.
    let mut it = Classifier::new((1, 2, 8), 65, PLAIN);
    it.targets = vec![64, 64];
    for precision in [Precision::F32, Precision::Bf16] {
        let score = |other: f32| {
            let mut params = params(&it.case);
            params.values.fill(0.0);
            let w = params.handles().next().unwrap();
            let mut tape = Tape::on_device(params, &Device::new().gpu(), precision).unwrap();
            tape.params.value_mut(w, 0)[64 * 8..].fill(1.0);
            tape.params.value_mut(w, 0)[8..16].fill(other);
            tape.upload_values().unwrap();
            tape.begin(Mode::Eval);
            let x = tape.leaf(it.case.inputs[0], &[0.5; 16]).unwrap();
            tape.scores(x, w, &it.targets, PLAIN).unwrap()[1].likeliest
        };
        assert!(
            !score(1.0) && score(0.5) && !score(2.0),
            "{}",
            precision.name()
        );
    }
}

#[test]
fn losses_of_passes_add_up_until_they_are_taken_and_nothing_waits_in_between() {
    let it = Classifier::new((3, 9, 24), 65, PLAIN);
    let gpu = Device::new();
    let mut tape = it.device(&gpu, Precision::F32);
    let once = it.train(&mut tape).losses;
    let mut pass = || {
        let (x, w) = it.begin(&mut tape, Mode::Eval);
        tape.classifier(x, w, (&it.targets, &it.denominators), it.tame)
            .unwrap();
    };
    pass();
    gpu.mark();
    pass();
    let counts = gpu.counts();
    // x and its targets are sent; what stays the same is not.
    assert_eq!((counts.uploads, counts.downloads, counts.waits), (2, 0, 0));
    assert_eq!(counts.allocations, 0);
    let twice = tape.take_losses().unwrap();
    for (once, twice) in once.iter().zip(&twice) {
        assert!(
            (2.0 * once - twice).abs() <= 1e-15 * twice,
            "{once} {twice}"
        );
    }
    assert_eq!(tape.take_losses().unwrap(), [0.0; 3]);
}

#[test]
fn a_lane_that_is_not_a_number_leaves_the_others_as_they_are() {
    let it = Classifier::new((3, 9, 24), 65, TAMED);
    let gpu = Device::new();
    let whole = it.train(&mut it.device(&gpu, Precision::F32));
    let mut tape = it.device(&gpu, Precision::F32);
    let w = tape.params.handles().next().unwrap();
    tape.params.value_mut(w, 1)[5] = f32::NAN;
    tape.upload_values().unwrap();
    let found = it.train(&mut tape);
    assert!(found.losses[1].is_nan());
    for k in [0, 2] {
        assert_eq!(found.losses[k], whole.losses[k]);
        let (dx, dw) = (9 * 24, 65 * 24);
        assert_eq!(found.dx[k * dx..][..dx], whole.dx[k * dx..][..dx]);
        assert_eq!(found.dw[k * dw..][..dw], whole.dw[k * dw..][..dw]);
    }
}
