//! Muon's iteration on the device, on matrices whose result is known.

use crate::{compare::close, device::Device};
use windtunnel::{
    device::Precision,
    ops::cuda::OnDevice,
    optim::{DeviceOptimizer, Optimizer, OptimizerConfig, OptimizerKind},
    params::{Init, Params, Spec},
    pool::Pool,
    rng::Rng,
};

/// A shape (rows, cols), and the numbers.
type Matrix<'a> = ([usize; 2], &'a [f32]);

/// The step of 1 against these gradients from weights of zero: in f32 on the host, and on a device.
fn moved(matrices: &[Matrix], precision: Precision) -> [Vec<Vec<f32>>; 2] {
    let config = OptimizerConfig {
        kind: OptimizerKind::Muon,
        lr: 1.0,
        momentum: Some(0.0),
        nesterov: Some(false),
        weight_decay: 0.0,
        max_grad_norm: 0.0,
        ..Default::default()
    };
    let name = |i: usize| format!("transformer.h.{i}.mlp.c_fc.weight");
    let named = matrices.iter().enumerate();
    let specs = named.map(|(i, (shape, _))| Spec::new(name(i), shape, Init::Zeros));
    let mut params = Params::<f32>::new(1, specs.collect());
    let handles: Vec<_> = params.handles().collect();
    for (p, (_, numbers)) in handles.iter().zip(matrices) {
        params.grad_mut(*p, 0).copy_from_slice(numbers);
    }
    let mut host = Optimizer::new(&params, &config);
    let gpu = Device::new().gpu();
    let mut device = OnDevice::new(&gpu, &params, precision).unwrap();
    device.upload_values(&params.values).unwrap();
    device.upload(&device.grads, &params.grads).unwrap();
    let optimizer = DeviceOptimizer::new(&device, &params, &host).unwrap();
    let set = |k: usize, lane: &mut _| optimizer.set_lane(k, lane, (1, 1.0));
    device.set_lanes(set).unwrap();
    optimizer.step(&device).unwrap();
    host.step((&mut params, 0), (1, 1.0), 1.0, &Pool::new(1));
    let all = |params: &Params<f32>| {
        let values = handles.iter().map(|p| params.value(*p, 0).to_vec());
        values.collect::<Vec<Vec<f32>>>()
    };
    let on_host = all(&params);
    device.download(&device.values, &mut params.values).unwrap();
    [on_host, all(&params)]
}

fn on_device(matrices: &[Matrix], precision: Precision) -> Vec<Vec<f32>> {
    let [_, device] = moved(matrices, precision);
    device
}

fn diagonal(rows: usize, cols: usize, numbers: &[f32]) -> Vec<f32> {
    let mut matrix = vec![0.0; rows * cols];
    for (i, x) in numbers.iter().enumerate() {
        matrix[i * cols + i] = *x;
    }
    matrix
}

/// On a diagonal matrix the iteration is the quintic, number by number; what was taken in f64 is the
/// result in either number type, within its rounding.
#[test]
fn a_diagonal_goes_through_the_quintic_five_times() {
    let singular = [3.0, 4.0, 0.01];
    let norm = singular.iter().map(|x| x * x).sum::<f64>().sqrt();
    let quintic = |x: f64| 3.4445 * x - 4.7750 * x.powi(3) + 2.0315 * x.powi(5);
    let expected = singular.map(|x| (0..5).fold(x / norm, |x, _| quintic(x)));
    for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::Bf16, 3e-2)] {
        for (rows, cols) in [(3, 3), (3, 5), (5, 3), (8, 16), (16, 8)] {
            let place = format!("{rows}×{cols} in {}", precision.name());
            let x = diagonal(rows, cols, &singular.map(|x| x as f32));
            let scale = (rows as f64 / cols as f64).max(1.0).sqrt();
            let expected = expected.map(|x| (-scale * x) as f32);
            let y = on_device(&[([rows, cols], &x)], precision);
            close(&place, &y[0], &diagonal(rows, cols, &expected), tolerance);
        }
    }
}

fn random(shape: [usize; 2], name: &str) -> Vec<f32> {
    let mut rng = Rng::named(1, name);
    (0..shape[0] * shape[1])
        .map(|_| rng.normal() as f32)
        .collect()
}

/// By the norm of the difference, relative to that of what is expected.
fn apart(found: &[f32], expected: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x).powi(2);
    let of = found
        .iter()
        .zip(expected)
        .map(|(x, y)| square(x - y))
        .sum::<f64>();
    (of / expected.iter().map(|y| square(*y)).sum::<f64>()).sqrt()
}

/// Wide, tall and square ones, two of a shape, whole packs and odd rows; gradients of very different
/// sizes do not meet.
#[test]
fn matrices_of_all_shapes_are_the_hosts_each_for_itself() {
    let shapes = [[24, 40], [9, 7], [24, 40], [40, 24], [16, 16], [9, 7]];
    let sizes = [1.0, 1e3, 1e-3, 1.0, 1e-2, 1e2];
    let numbers = shapes.iter().zip(sizes).enumerate();
    let numbers: Vec<Vec<f32>> = numbers
        .map(|(i, (shape, size))| {
            let x = random(*shape, &format!("matrix {i}"));
            x.iter().map(|x| size * x).collect()
        })
        .collect();
    let matrices = shapes.iter().zip(&numbers);
    let matrices: Vec<Matrix> = matrices.map(|(shape, x)| (*shape, &x[..])).collect();
    for (precision, tolerance) in [
        (Precision::F32, 1e-5),
        (Precision::Tf32, 6e-3),
        (Precision::Bf16, 3e-2),
    ] {
        let [host, device] = moved(&matrices, precision);
        for (i, (device, host)) in device.iter().zip(&host).enumerate() {
            let apart = apart(device, host);
            assert!(
                apart < tolerance,
                "matrix {i} in {}: {apart}",
                precision.name()
            );
        }
    }
}

#[test]
fn no_gradient_is_no_update_and_no_division_by_zero() {
    for precision in [Precision::F32, Precision::Bf16] {
        let y = on_device(&[([2, 3], &[0.0; 6]), ([2, 3], &[1.0; 6])], precision);
        assert!(y[0].iter().all(|x| *x == 0.0), "{:?}", y[0]);
        assert!(y[1].iter().all(|x| *x < 0.0), "{:?}", y[1]);
    }
}
