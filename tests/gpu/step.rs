//! Optimizer steps on the device against those of the host, lane by lane.

use crate::{
    compare::close,
    device::{Device, same_in_any_order},
    lanes::{Held, Lanes, config},
};
use windtunnel::{
    device::Precision,
    error::Kind,
    ops::cuda::step::SLOTS,
    optim::{DeviceOptimizer, OptimizerConfig, OptimizerKind},
};

/// Of numbers of a step in f32, relative to the largest: rates and corrections are rounded once more.
const TOLERANCE: f64 = 2e-6;

const KINDS: [OptimizerKind; 4] = [
    OptimizerKind::Adamw,
    OptimizerKind::Sgd,
    OptimizerKind::Lion,
    OptimizerKind::Muon,
];

/// Four steps of these lanes are the host's.
fn agree(kind: OptimizerKind, lanes: &[usize], precision: Precision, tolerance: f64) {
    let mut lanes = Lanes::of_kind(&Device::new().gpu(), kind, lanes, precision);
    for step in 1..=4 {
        let place = format!(
            "{kind:?} of {} in {}, step {step}",
            lanes.seeds.len(),
            precision.name()
        );
        lanes.step(step);
        let norms = lanes.step_on_host(step);
        for (k, seen) in lanes.seen(step).into_iter().enumerate() {
            let loss = lanes.loss(k, step);
            assert_eq!(
                (seen.step, seen.loss, seen.frozen),
                (step, loss, None),
                "{place}"
            );
            assert!(
                (seen.norm / norms[k] - 1.0).abs() < 1e-6,
                "{place}: {} of {}",
                seen.norm,
                norms[k]
            );
        }
        let (device, host) = (lanes.held(), lanes.on_host());
        close(
            &format!("{place}: weights"),
            &device.values,
            &host.values,
            tolerance,
        );
        close(
            &format!("{place}: average"),
            &device.average,
            &host.average,
            tolerance,
        );
        close(
            &format!("{place}: first moment"),
            &device.first,
            &host.first,
            TOLERANCE,
        );
        close(
            &format!("{place}: second moment"),
            &device.second,
            &host.second,
            TOLERANCE,
        );
        lanes.assert_shadow();
    }
}

#[test]
fn a_step_of_every_kind_is_the_hosts() {
    for kind in KINDS {
        for lanes in [&[1][..], &[0, 1, 2]] {
            for precision in [Precision::F32, Precision::Bf16] {
                // Muon's directions are rounded to bf16 there: 2⁻⁹ in each of the iteration's products,
                // of a step that is a thousandth to a tenth of the weights.
                let tolerance = match (kind, precision) {
                    (OptimizerKind::Muon, Precision::Bf16) => 1e-3,
                    (OptimizerKind::Muon, _) => 1e-5,
                    _ => TOLERANCE,
                };
                agree(kind, lanes, precision, tolerance);
            }
        }
    }
}

#[test]
fn plain_sgd_remembers_nothing_and_moves_as_on_the_host() {
    let configs: Vec<_> = (0..3)
        .map(|k| OptimizerConfig {
            momentum: Some(0.0),
            ..config(OptimizerKind::Sgd, k)
        })
        .collect();
    let gpu = Device::new().gpu();
    let of = (&configs[..], &[0, 1, 2][..]);
    let mut lanes = Lanes::new(&gpu, of, Precision::Bf16, &[0.0; 3]);
    for step in 1..=3 {
        lanes.step(step);
        lanes.step_on_host(step);
    }
    let (device, host) = (lanes.held(), lanes.on_host());
    assert!(device.first.is_empty() && device.second.is_empty() && device.average.is_empty());
    close("weights", &device.values, &host.values, TOLERANCE);
    lanes.assert_shadow();
}

#[test]
fn the_order_of_threads_does_not_matter() {
    for kind in [OptimizerKind::Adamw, OptimizerKind::Muon] {
        for precision in [Precision::F32, Precision::Bf16] {
            same_in_any_order(|gpu| {
                let mut lanes = Lanes::of_kind(&gpu.gpu(), kind, &[0, 1], precision);
                lanes.step(1);
                lanes.step(2);
                (lanes.held(), lanes.seen(2))
            });
        }
    }
}

#[test]
fn a_lane_of_a_pack_is_the_lane_alone_bit_for_bit() {
    for kind in KINDS {
        let run = |which: &[usize]| {
            let mut lanes = Lanes::of_kind(&Device::new().gpu(), kind, which, Precision::Bf16);
            for step in 1..=3 {
                lanes.step(step);
            }
            lanes
        };
        let packed = run(&[0, 1, 2]);
        for k in 0..3 {
            let alone = run(&[k]);
            let (of_pack, of_one) = (packed.held_of(k), alone.held_of(0));
            if kind == OptimizerKind::Muon && !Device::new().is_emulated() {
                // cuBLASLt may take another algorithm for another number of matrices.
                close("Muon's lane", &of_pack.values, &of_one.values, 1e-3);
                continue;
            }
            assert!(of_pack == of_one, "{kind:?}: lane {k}");
            assert_eq!(packed.seen(3)[k], alone.seen(3)[0], "{kind:?}: lane {k}");
        }
    }
}

/// Five steps of three lanes, with something that happens to the third and the fourth; and what lane 1
/// held before them.
fn five_steps(kind: OptimizerKind, accident: impl Fn(&mut Lanes)) -> (Lanes, Held) {
    let mut lanes = Lanes::of_kind(&Device::new().gpu(), kind, &[0, 1, 2], Precision::Bf16);
    let mut before = None;
    for step in 1..=5 {
        lanes.draw(step);
        lanes.send(step);
        if step == 3 {
            before = Some(lanes.held_of(1));
        }
        if step == 3 || step == 4 {
            accident(&mut lanes);
        }
        lanes.optimizer.step(&lanes.device).unwrap();
    }
    (lanes, before.unwrap())
}

fn nan_in_a_gradient(lanes: &mut Lanes) {
    let last = lanes.params.handles().last().unwrap();
    lanes.params.grad_mut(last, 1)[12] = f32::NAN;
    let grads = &lanes.device.grads;
    lanes.device.upload(grads, &lanes.params.grads).unwrap();
}

fn endless_loss(lanes: &mut Lanes) {
    let at = lanes.device.losses.at() + 8;
    lanes.gpu.upload(at, &f64::INFINITY.to_ne_bytes()).unwrap();
}

#[test]
fn a_lane_that_is_not_finite_stays_as_it_was_and_disturbs_no_other() {
    for kind in KINDS {
        let (undisturbed, _) = five_steps(kind, |_| {});
        for accident in [nan_in_a_gradient, endless_loss] {
            let (lanes, before) = five_steps(kind, accident);
            assert!(
                lanes.held_of(1) == before,
                "{kind:?}: what the lane was before"
            );
            assert!(lanes.held_of(1) != undisturbed.held_of(1), "{kind:?}");
            for k in [0, 2] {
                assert!(
                    lanes.held_of(k) == undisturbed.held_of(k),
                    "{kind:?}: lane {k}"
                );
            }
            lanes.assert_shadow();
            let all = lanes.optimizer.seen(1..=5).unwrap();
            for (k, lane) in all.iter().enumerate() {
                let frozen = lane.iter().map(|seen| seen.frozen);
                let expected = (1..=5).map(|step| (k == 1 && step >= 3).then_some(3));
                assert!(frozen.eq(expected), "{kind:?}: {lane:?}");
            }
            let third = all[1][2];
            assert!(
                !(third.loss.is_finite() && third.norm.is_finite()),
                "{third:?}"
            );
            assert_eq!(
                all[1][4].loss,
                lanes.loss(1, 5),
                "a frozen lane is still reported"
            );
        }
    }
}

#[test]
fn steps_wait_in_a_ring_and_are_read_at_once() {
    let gpu = Device::new();
    let mut lanes = Lanes::of_kind(&gpu.gpu(), OptimizerKind::Sgd, &[0, 2], Precision::F32);
    let last = SLOTS + 6;
    for step in 1..=last {
        lanes.send(step);
        gpu.mark();
        lanes.optimizer.step(&lanes.device).unwrap();
        let counts = gpu.counts();
        assert_eq!(
            (counts.allocations, counts.uploads, counts.downloads),
            (0, 0, 0)
        );
        assert_eq!(counts.launches, 3);
    }
    gpu.mark();
    let seen = lanes.optimizer.seen(last - SLOTS + 1..=last).unwrap();
    assert_eq!(gpu.counts().downloads, 1);
    for (k, lane) in seen.iter().enumerate() {
        assert_eq!(lane.len(), SLOTS as usize);
        for (seen, step) in lane.iter().zip(last - SLOTS + 1..) {
            assert_eq!((seen.step, seen.loss), (step, lanes.loss(k, step)));
        }
    }
    // Cleared by the step, for the next.
    let mut losses = [1; 16];
    lanes
        .gpu
        .download(lanes.device.losses.at(), &mut losses)
        .unwrap();
    assert_eq!(losses, [0; 16]);
}

#[test]
#[should_panic(expected = "are in the ring")]
fn a_step_that_was_overwritten_is_not_taken_for_another() {
    let mut lanes = Lanes::of_kind(
        &Device::new().gpu(),
        OptimizerKind::Sgd,
        &[0],
        Precision::F32,
    );
    for step in 1..=SLOTS + 1 {
        lanes.send(step);
        lanes.optimizer.step(&lanes.device).unwrap();
    }
    lanes.seen(1);
}

#[test]
fn a_captured_step_is_replayed_with_the_numbers_of_each_step() {
    for kind in [OptimizerKind::Adamw, OptimizerKind::Muon] {
        let mut eager = Lanes::of_kind(&Device::new().gpu(), kind, &[0, 1], Precision::Bf16);
        let mut replayed = Lanes::of_kind(&Device::new().gpu(), kind, &[0, 1], Precision::Bf16);
        // What a first product has to look up is no work for a graph.
        eager.step(1);
        replayed.step(1);
        replayed.gpu.begin_capture().unwrap();
        replayed.optimizer.step(&replayed.device).unwrap();
        let graph = replayed.gpu.end_capture().unwrap();
        for step in 2..=4 {
            eager.step(step);
            replayed.draw(step);
            replayed.send(step);
            graph.replay().unwrap();
        }
        assert!(eager.held() == replayed.held(), "{kind:?}");
        assert_eq!(eager.seen(4), replayed.seen(4));
    }
}

#[test]
fn what_was_saved_goes_on_bit_for_bit() {
    for kind in KINDS {
        let mut whole = Lanes::of_kind(&Device::new().gpu(), kind, &[0, 1], Precision::Bf16);
        for step in 1..=2 {
            whole.step(step);
        }
        let mut again = Lanes::of_kind(&Device::new().gpu(), kind, &[0, 1], Precision::Bf16);
        whole
            .device
            .download(&whole.device.values, &mut again.params.values)
            .unwrap();
        whole
            .optimizer
            .download(&whole.device, &mut again.host)
            .unwrap();
        again.device.upload_values(&again.params.values).unwrap();
        again.optimizer.upload(&again.device, &again.host).unwrap();
        for step in 3..=4 {
            whole.step(step);
            again.step(step);
        }
        assert!(whole.held() == again.held(), "{kind:?}");
        again.assert_shadow();
    }
}

#[test]
fn the_average_takes_the_weights_place_and_gives_it_back() {
    for precision in [Precision::F32, Precision::Bf16] {
        let gpu = Device::new().gpu();
        let mut lanes = Lanes::of_kind(&gpu, OptimizerKind::Lion, &[0, 2], precision);
        lanes.step(1);
        assert!(
            lanes.held().values == lanes.held().average,
            "the first step's weights"
        );
        lanes.step(2);
        let (before, at) = (lanes.held(), lanes.device.values.at());
        assert!(before.values != before.average);
        assert!(lanes.optimizer.swap_average(&lanes.device).unwrap());
        assert!(lanes.held().values == before.average && lanes.held().average == before.values);
        lanes.assert_shadow();
        assert_eq!(
            lanes.device.values.at(),
            at,
            "a graph that reads them finds them"
        );
        assert!(lanes.optimizer.swap_average(&lanes.device).unwrap());
        assert!(lanes.held() == before);
        lanes.assert_shadow();
    }
}

#[test]
fn without_an_average_there_is_none_to_swap() {
    let of = (&[config(OptimizerKind::Lion, 0)][..], &[0][..]);
    let lanes = Lanes::new(&Device::new().gpu(), of, Precision::F32, &[0.0]);
    let before = lanes.held();
    assert!(!lanes.optimizer.swap_average(&lanes.device).unwrap());
    assert!(lanes.held() == before);
}

#[test]
fn what_is_said_to_be_held_is_what_was_allocated() {
    for kind in KINDS {
        let gpu = Device::new();
        let lanes = Lanes::of_kind(&gpu.gpu(), kind, &[0, 1], Precision::Bf16);
        let before = gpu.used();
        let again = DeviceOptimizer::new(&lanes.device, &lanes.params, &lanes.host).unwrap();
        let held = gpu.used() - before;
        assert!(
            again.bytes() as u64 <= held && held < again.bytes() as u64 + (64 << 10),
            "{kind:?}: {held}"
        );
    }
}

#[test]
fn no_memory_is_an_error_that_says_so() {
    let gpu = Device::new();
    let lanes = Lanes::of_kind(&gpu.gpu(), OptimizerKind::Muon, &[0, 1], Precision::F32);
    gpu.set_memory(gpu.used() + 1000);
    let refused = DeviceOptimizer::new(&lanes.device, &lanes.params, &lanes.host);
    let refused = refused.err().expect("there is no memory for it");
    assert_eq!(refused.kind, Kind::Memory);
}
