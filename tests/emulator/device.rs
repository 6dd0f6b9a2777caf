//! Memory, failures, counts and graphs.

use super::*;
use crate::emulated::Counts;
use std::panic::{AssertUnwindSafe, catch_unwind};
use windtunnel::{
    device::gpu::{Dtype, Slabs},
    error::Kind,
};

/// Adds one to a number by way of a kernel: 7 in its place.
fn seven(gpu: &Emulated, slab: &Slab) -> Result<()> {
    one_block(gpu, "filled", 32, &[at(slab), Arg::U32(0), Arg::U32(1)])
}

#[test]
fn memory_ends_where_a_test_says_and_comes_back_when_freed() {
    let gpu = gpu();
    gpu.set_memory(1000);
    let x = room(&gpu, 200);
    assert_eq!(gpu.memory().unwrap(), (200, 1000));
    let error = Slab::new(&gpu.device(), 201).unwrap_err();
    assert_eq!(error.kind, Kind::Memory);
    assert!(error.problem.contains("201"), "{error}");
    let rest = Slab::new(&gpu.device(), 200).unwrap();
    drop(x);
    assert_eq!(gpu.memory().unwrap(), (800, 1000));
    drop(rest);
    assert_eq!(gpu.used(), 0);
}

#[test]
fn new_memory_is_nan_until_it_is_written() {
    let gpu = gpu();
    let x = room(&gpu, 5);
    assert!(gpu.numbers(Dtype::F32, &x).iter().all(|x| x.is_nan()));
    assert!(gpu.numbers(Dtype::Bf16, &x).iter().all(|x| x.is_nan()));
    gpu.zero(x.at(), 8).unwrap();
    assert_eq!(gpu.numbers(Dtype::F32, &x)[..2], [0.0, 0.0]);
}

#[test]
fn a_write_beside_an_allocation_is_found_at_the_next_look() {
    for (offset, where_) in [(12_i64, "byte 12"), (-4, "byte -4")] {
        let gpu = gpu();
        let x = room(&gpu, 3);
        let beside = Arg::At((x.at() as i64 + offset) as u64);
        one_block(&gpu, "filled", 32, &[beside, Arg::U32(0), Arg::U32(1)]).unwrap();
        let looked = catch_unwind(AssertUnwindSafe(|| gpu.wait()));
        let why = *looked.unwrap_err().downcast::<String>().unwrap();
        assert!(why.contains(where_), "{why}");
        // Its end would find it once more.
        std::mem::forget(x);
    }
}

#[test]
fn copies_uploads_and_downloads_stay_inside() {
    let gpu = gpu();
    let (x, y) = (gpu.slab(Dtype::F32, &[1.0, 2.0, 3.0]), room(&gpu, 3));
    gpu.copy(x.at() + 4, y.at(), 8).unwrap();
    assert_eq!(gpu.numbers(Dtype::F32, &y)[..2], [2.0, 3.0]);
    let mut bytes = [0; 16];
    let too_far = [
        gpu.upload(x.at(), &bytes),
        gpu.download(x.at(), &mut bytes),
        gpu.copy(x.at(), y.at(), 16),
    ];
    for result in too_far {
        let why = result.unwrap_err().problem;
        assert!(why.contains("byte 15 of 12 bytes"), "{why}");
    }
}

#[test]
fn a_device_that_vanishes_fails_everything_from_then_on() {
    let gpu = gpu();
    let x = gpu.slab(Dtype::F32, &[0.0]);
    gpu.vanish_after(2);
    seven(&gpu, &x).unwrap();
    gpu.zero(x.at(), 4).unwrap();
    let error = seven(&gpu, &x).unwrap_err();
    assert_eq!(error.kind, Kind::Failed);
    assert!(error.problem.contains("gone"), "{error}");
    let mut bytes = [0; 4];
    assert!(gpu.download(x.at(), &mut bytes).is_err());
    assert!(gpu.upload(x.at(), &bytes).is_err());
    assert!(gpu.alloc(4).is_err() && gpu.wait().is_err() && gpu.memory().is_err());
    assert!(gpu.begin_capture().is_err());
    // Memory is given back all the same.
    drop(x);
    assert_eq!(gpu.used(), 0);
}

#[test]
fn a_kernel_that_fails_is_the_end_of_its_device() {
    let gpu = gpu();
    let x = room(&gpu, 1);
    let first = fault(&gpu, "filled", 32, &[at(&x), Arg::U32(0), Arg::U32(9000)]);
    assert_eq!(seven(&gpu, &x).unwrap_err().problem, first);
}

#[test]
fn what_was_asked_for_is_counted() {
    let gpu = gpu();
    let mut slabs = Slabs::new(gpu.device());
    let x = slabs.take(4).unwrap();
    gpu.mark();
    seven(&gpu, &x).unwrap();
    seven(&gpu, &x).unwrap();
    gpu.zero(x.at(), 4).unwrap();
    gpu.wait().unwrap();
    slabs.give(x);
    let x = slabs.take(3).unwrap();
    let want = Counts {
        launches: 2,
        zeros: 1,
        waits: 1,
        ..Counts::default()
    };
    assert_eq!(gpu.counts(), want);
    gpu.numbers(Dtype::F32, &x);
    assert_eq!(gpu.counts().downloads, 1);
}

#[test]
fn a_graph_does_its_work_when_replayed_and_as_often_as_that() {
    let gpu = gpu();
    let x = gpu.slab(Dtype::F32, &[0.0; 2]);
    gpu.begin_capture().unwrap();
    gpu.copy(x.at(), x.at() + 4, 4).unwrap();
    seven(&gpu, &x).unwrap();
    let graph = gpu.end_capture().unwrap();
    assert_eq!(gpu.numbers(Dtype::F32, &x), [0.0, 0.0]);
    graph.replay().unwrap();
    assert_eq!(gpu.numbers(Dtype::F32, &x), [7.0, 0.0]);
    graph.replay().unwrap();
    assert_eq!(gpu.numbers(Dtype::F32, &x), [7.0, 7.0]);
    assert_eq!(gpu.counts().replays, 2);
    gpu.vanish_after(1);
    assert!(graph.replay().is_err());
}

#[test]
fn a_capture_ends_in_an_error_after_what_it_does_not_allow() {
    let gpu = gpu();
    let x = gpu.slab(Dtype::F32, &[0.0]);
    let mut bytes = [0; 4];
    for name in ["an allocation", "an upload", "a download", "a wait"] {
        gpu.begin_capture().unwrap();
        let done = match name {
            "an allocation" => gpu.alloc(4).map(drop),
            "an upload" => gpu.upload(x.at(), &bytes),
            "a download" => gpu.download(x.at(), &mut bytes),
            _ => gpu.wait(),
        };
        assert!(done.unwrap_err().problem.contains(name));
        let error = gpu.end_capture().unwrap_err();
        assert!(error.problem.contains(name), "{error}");
        // The device itself goes on.
        seven(&gpu, &x).unwrap();
    }
    assert!(gpu.end_capture().is_err());
}

#[test]
fn a_device_without_graphs_says_so_and_works_on() {
    let gpu = gpu();
    gpu.set_graphs(false);
    let x = gpu.slab(Dtype::F32, &[0.0]);
    assert!(gpu.begin_capture().is_err());
    seven(&gpu, &x).unwrap();
    assert_eq!(gpu.numbers(Dtype::F32, &x), [7.0]);
}
