use crate::device::Device;
use windtunnel::{
    bench::{
        Bench, Config,
        device::{Sizes, copy_bytes_per_second, product_flops},
    },
    device::{Compute, Precision},
    error::Kind,
};

const SMALL: Sizes = Sizes {
    product: 12,
    copied_bytes: 4096,
};

#[test]
fn rates_of_a_product_and_a_copy_are_measured_in_every_number_type_and_nothing_is_kept() {
    let gpu = Device::new();
    let device = gpu.gpu();
    for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
        gpu.mark();
        let flops = product_flops(&device, precision, (SMALL, 0.0)).unwrap();
        assert!(flops.is_finite() && flops > 0.0, "{precision:?}: {flops}");
        // A block of ten to begin with and three that count, each waited for.
        let counts = gpu.counts();
        assert_eq!((counts.products, counts.waits), (40, 4), "{precision:?}");
    }
    gpu.mark();
    let copied = copy_bytes_per_second(&device, (SMALL, 0.0)).unwrap();
    assert!(copied.is_finite() && copied > 0.0);
    assert_eq!(gpu.counts().copies, 40);
    assert_eq!(gpu.used(), 0);
}

#[test]
fn ops_of_a_step_are_timed_one_by_one() {
    let gpu = Device::new();
    let compute = Compute::gpu(gpu.gpu());
    let mut subject = Config::A.subject().unwrap();
    subject.run.model.n_layer = 1;
    subject.run.model.block_size = 16;
    subject.run.batch.rows = 2;
    let bench = Bench::packed(subject, 2, compute).unwrap();
    let ops = bench.ops_on(&gpu.gpu(), 0.0, 1.0).unwrap();
    let shares: f64 = ops.iter().map(|op| op.share).sum();
    assert!((shares - 1.0).abs() < 1e-9);
    for name in [
        "linear dx",
        "attention backward",
        "norm forward",
        "optimizer, batch",
    ] {
        let op = ops.iter().find(|op| op.op == name);
        assert!(op.is_some_and(|op| op.ms > 0.0), "{name} of {ops:?}");
    }
}

#[test]
fn a_device_too_full_to_be_measured_says_so() {
    let gpu = Device::new();
    gpu.set_memory(1 << 10);
    let device = gpu.gpu();
    let errors = [
        product_flops(
            &device,
            Precision::F32,
            (
                Sizes {
                    product: 64,
                    ..SMALL
                },
                0.0,
            ),
        ),
        copy_bytes_per_second(&device, (SMALL, 0.0)),
    ];
    for error in errors {
        assert_eq!(error.unwrap_err().kind, Kind::Memory);
    }
    assert_eq!(gpu.used(), 0);
}
