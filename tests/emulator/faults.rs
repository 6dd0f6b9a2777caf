//! Mistakes in kernels and launches are errors that say where.

use super::*;
use windtunnel::{device::gpu::Dtype, error::Kind};

/// A launch of one block with `shared` bytes.
fn filled(shared: u32, n: u32) -> Result<()> {
    let gpu = gpu();
    let x = room(&gpu, 1);
    gpu.launch(Launch {
        kernel: "dynamic_shared_filled",
        grid: [1, 1, 1],
        threads: 32,
        shared,
        args: &[at(&x), Arg::U32(n)],
    })
}

#[track_caller]
fn says(why: &str, parts: &[&str]) {
    for part in parts {
        assert!(why.contains(part), "{why:?} does not say {part:?}");
    }
}

#[test]
fn a_step_past_dynamic_shared_memory_is_found() {
    filled(256, 64).unwrap();
    filled(36, 9).unwrap();
    // Into the page behind; and into what is left of its last 16 bytes.
    let far = filled(256, 65).unwrap_err().problem;
    says(
        &far,
        &[
            "dynamic_shared_filled",
            "block (0, 0, 0)",
            "thread 0",
            "no memory",
        ],
    );
    let near = filled(36, 10).unwrap_err().problem;
    says(
        &near,
        &[
            "dynamic_shared_filled",
            "past its 36 bytes of shared memory",
        ],
    );
}

#[test]
fn more_than_48_kib_of_dynamic_shared_memory_may_be_asked_for_up_to_what_a_block_has() {
    filled(227 << 10, (227 << 10) / 4).unwrap();
    let why = filled((227 << 10) + 1, 1).unwrap_err().problem;
    says(&why, &["232449 bytes of shared memory", "at most 232448"]);
}

#[test]
fn a_step_past_an_array_is_found_by_its_line() {
    let gpu = gpu();
    let x = room(&gpu, 1);
    one_block(&gpu, "static_shared_filled", 32, &[at(&x), Arg::U32(16)]).unwrap();
    let why = fault(&gpu, "static_shared_filled", 32, &[at(&x), Arg::U32(17)]);
    says(
        &why,
        &["thread 16", "selftest.cu:", "no element 0x10", "float [16]"],
    );
}

#[test]
fn a_step_past_an_allocation_is_found() {
    for (from, n, where_) in [
        (0, 101, "byte 400 of 400"),
        (u32::MAX - 3000, 1, "no memory"),
    ] {
        let gpu = gpu();
        let x = room(&gpu, 100);
        one_block(&gpu, "filled", 32, &[at(&x), Arg::U32(0), Arg::U32(100)]).unwrap();
        let args = [at(&x), Arg::U32(from), Arg::U32(n)];
        let why = fault(&gpu, "filled", 32, &args);
        says(&why, &["kernel filled", where_]);
    }
}

#[test]
fn an_address_of_what_was_freed_is_found() {
    let gpu = gpu();
    let x = room(&gpu, 100);
    let args = [at(&x), Arg::U32(0), Arg::U32(1)];
    drop(x);
    says(
        &fault(&gpu, "filled", 32, &args),
        &["byte 0 of 400 bytes that are freed"],
    );
}

#[test]
fn a_wide_load_from_an_address_that_is_no_multiple_of_its_width_is_found() {
    let gpu = gpu();
    let (x, y) = (
        gpu.slab(Dtype::F32, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]),
        room(&gpu, 4),
    );
    one_block(&gpu, "wide_load", 1, &[at(&x), at(&y), Arg::U32(4)]).unwrap();
    assert_eq!(gpu.numbers(Dtype::F32, &y), [5.0, 6.0, 7.0, 8.0]);
    let why = fault(&gpu, "wide_load", 1, &[at(&x), at(&y), Arg::U32(2)]);
    says(&why, &["selftest.cu:", "misaligned", "Pack"]);
}

#[test]
fn a_division_by_zero_and_a_stack_that_is_full_are_found() {
    let gpu = gpu();
    let x = gpu.slab_of(&bytes_of(&[12]));
    one_block(&gpu, "divided", 1, &[at(&x), Arg::U32(4)]).unwrap();
    assert_eq!(words(&gpu, &x), [3]);
    says(
        &fault(&gpu, "divided", 1, &[at(&x), Arg::U32(0)]),
        &["divided", "by zero"],
    );

    let gpu = self::gpu();
    let x = gpu.slab(Dtype::F32, &[1.0]);
    one_block(&gpu, "deep", 1, &[at(&x), Arg::U32(3)]).unwrap();
    says(
        &fault(&gpu, "deep", 1, &[at(&x), Arg::U32(1000)]),
        &["deep", "128 KiB of stack"],
    );
}

#[test]
fn threads_that_wait_for_ever_are_found() {
    for order in 0..4 {
        let with_order = |kernel, args: &dyn Fn(&Slab) -> Vec<Arg>| {
            let gpu = gpu();
            gpu.set_order(order);
            let x = gpu.slab(Dtype::F32, &[1.0]);
            fault(&gpu, kernel, 64, &args(&x))
        };
        let one = |x: &Slab| vec![at(x)];
        let warp = with_order("warp_without_some", &one);
        says(
            &warp,
            &["kernel warp_without_some", "62 threads", "do not come"],
        );
        let barrier = with_order("barrier_without_some", &|x| vec![at(x), Arg::U32(8)]);
        says(
            &barrier,
            &["barrier_without_some", "8 threads", "do not come"],
        );

        let gpu = gpu();
        gpu.set_order(order);
        let x = gpu.slab(Dtype::F32, &[1.0]);
        let why = fault(&gpu, "warp_at_different_things", 32, &[at(&x)]);
        says(&why, &["different instructions"]);
    }
}

#[test]
fn a_warp_of_fewer_than_32_threads_has_no_warp_instructions() {
    let gpu = gpu();
    let out = room(&gpu, 384);
    says(
        &fault(&gpu, "shuffles", 48, &[at(&out)]),
        &["fewer than 32 threads"],
    );
}

#[test]
fn arguments_arrive_as_they_were_given() {
    let gpu = gpu();
    let out = room(&gpu, 6);
    let args = [
        at(&out),
        Arg::U32(u32::MAX),
        Arg::U64(1 << 40 | 3),
        Arg::F32(2.75),
    ];
    one_block(&gpu, "all_arguments", 1, &args).unwrap();
    assert_eq!(words(&gpu, &out), [u32::MAX, 0, 3, 256, 11, 0]);
}

#[test]
fn a_launch_that_does_not_fit_its_kernel_is_refused() {
    let launched = |kernel, grid, threads, args: &[Arg]| {
        let gpu = gpu();
        let launch = Launch {
            kernel,
            grid,
            threads,
            shared: 0,
            args,
        };
        let error = gpu.launch(launch).unwrap_err();
        assert_eq!(error.kind, Kind::Failed);
        error.problem
    };
    let no = Arg::At(0);
    let two = Arg::U32(2);
    let one = [1, 1, 1];
    says(&launched("no_such", one, 1, &[]), &["no kernel no_such"]);
    says(
        &launched("filled", one, 33, &[no, two, two]),
        &["33 threads", "1 to 32"],
    );
    says(&launched("filled", one, 0, &[no, two, two]), &["0 threads"]);
    says(
        &launched("filled", one, 32, &[no, two]),
        &["2 arguments", "takes 3"],
    );
    let kinds = launched("filled", one, 32, &[no, two, Arg::U64(2)]);
    says(&kinds, &["argument 2 is a u64", "takes a u32"]);
    says(
        &launched("filled", [1, 65536, 1], 32, &[no, two, two]),
        &["65536", "65535"],
    );
    says(
        &launched("filled", [0, 1, 1], 32, &[no, two, two]),
        &["(0, 1, 1)"],
    );
}
