//! One op on two tapes: the CPU's and the emulated device's.

use crate::device::Device;
use std::sync::Arc;
use windtunnel::{
    device::{Backend, Precision},
    error::Result,
    params::{Param, Params, Spec},
    pool::Pool,
    rng::Rng,
    tape::{Mode, PassPosition, Shape, Tape, Value},
};

/// What an op is tried on.
pub struct Case {
    pub inputs: Vec<Shape>,
    pub params: Vec<Spec>,
    pub mode: Mode,
    pub position: PassPosition,
    /// How far apart the two may be, relative to the largest number of the tensor.
    pub tolerance: [f64; 2],
}

impl Case {
    pub fn new(inputs: &[Shape], params: &[Spec]) -> Self {
        let k = inputs.first().map_or(1, |shape| shape.k);
        Self {
            inputs: inputs.to_vec(),
            params: params.to_vec(),
            mode: Mode::Train,
            position: PassPosition {
                keys: (0..k as u32).map(|k| [7 + k, 11]).collect(),
                step: 3,
                ..Default::default()
            },
            tolerance: [1e-5, 2e-2],
        }
    }
}

/// What came of an op: its result, the gradients of its inputs, and the arena of its parameters'.
#[derive(Debug, PartialEq)]
pub struct Found {
    pub y: Vec<f32>,
    pub inputs: Vec<Vec<f32>>,
    pub params: Vec<f32>,
}

type OpFn<'a> = &'a dyn Fn(&mut Tape<f32>, &[Value], &[Param]) -> Result<Value>;

/// Runs `op` on random inputs and parameters of one tape, and goes back from random gradients of its
/// result. Inputs and gradients are numbers of bf16, so that both tapes read the same.
pub fn run(case: &Case, mut tape: Tape<f32>, op: OpFn) -> Found {
    tape.begin(case.mode);
    tape.position = case.position.clone();
    tape.zero_grads().unwrap();
    let mut rng = Rng::named(5, "inputs");
    let mut random =
        |n: usize| -> Vec<f32> { (0..n).map(|_| round(rng.normal() as f32)).collect() };
    let inputs: Vec<Value> = case
        .inputs
        .iter()
        .map(|shape| tape.leaf(*shape, &random(shape.len())).unwrap())
        .collect();
    let params: Vec<Param> = tape.params.handles().collect();
    let y = op(&mut tape, &inputs, &params).unwrap();
    let result = tape.to_host(y).unwrap();
    if case.mode == Mode::Train {
        tape.seed_grad(y, &random(result.len())).unwrap();
        tape.backward().unwrap();
        tape.download_grads().unwrap();
    }
    let gradient = |x: &Value| tape.grad_to_host(*x).unwrap().unwrap_or_default();
    Found {
        inputs: inputs.iter().map(gradient).collect(),
        y: result,
        params: tape.params.grads.to_vec(),
    }
}

/// The nearest number of bf16.
pub fn round(x: f32) -> f32 {
    windtunnel::real::Real::bf16(x)
}

/// The parameters of a case, drawn, as numbers of bf16.
pub fn params(case: &Case) -> Params<f32> {
    let k = case.position.keys.len();
    let mut params = Params::new(k, case.params.clone());
    let mut rng = Rng::named(6, "params");
    params.values.fill_with(|| round(rng.normal() as f32));
    params
}

pub fn on_cpu(case: &Case, op: OpFn) -> Found {
    let pool = Arc::new(Pool::new(1));
    run(case, Tape::new(params(case), Backend::Fused, pool), op)
}

pub fn on_device(case: &Case, precision: Precision, order: u64, op: OpFn) -> Found {
    run(case, device_tape(case, precision, order), op)
}

/// A tape with a case's parameters on an emulated device whose threads run in this order.
pub fn device_tape(case: &Case, precision: Precision, order: u64) -> Tape<f32> {
    let gpu = Device::new();
    gpu.set_order(order);
    Tape::on_device(params(case), &gpu.gpu(), precision).unwrap()
}

/// The op on the device is the CPU's, in both number types, and the same bits whatever the order in
/// which threads run.
pub fn agree(name: &str, case: &Case, op: OpFn) {
    let cpu = on_cpu(case, op);
    for (precision, tolerance) in [Precision::F32, Precision::Bf16]
        .into_iter()
        .zip(case.tolerance)
    {
        let device = on_device(case, precision, 0, op);
        let place = format!("{name}, {}", precision.name());
        close(&format!("{place}: result"), &device.y, &cpu.y, tolerance);
        for (i, (device, cpu)) in device.inputs.iter().zip(&cpu.inputs).enumerate() {
            close(
                &format!("{place}: gradient of input {i}"),
                device,
                cpu,
                tolerance,
            );
        }
        close(
            &format!("{place}: gradients of parameters"),
            &device.params,
            &cpu.params,
            tolerance,
        );
        assert!(
            on_device(case, precision, 1, op) == device,
            "{place}: another order of threads"
        );
    }
}

/// Every number is as close as `tolerance` times the largest.
pub fn close(place: &str, found: &[f32], expected: &[f32], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{place}: length");
    let largest = expected.iter().fold(0.0f32, |top, x| top.max(x.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let apart = f64::from((found - expected).abs());
        // Not a number is not close to anything.
        assert!(
            apart <= tolerance * f64::from(largest),
            "{place}: {found} instead of {expected} at {i}"
        );
    }
}
