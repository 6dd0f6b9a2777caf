//! The tensor cores' instructions, by the tables of the PTX ISA; asynchronous copies.

use super::*;
use crate::emulated::numbers::{of_bf16, to_bf16};
use windtunnel::device::gpu::Dtype;

/// Where an element stands.
type RowCol = (usize, usize);

/// "Matrix Fragments for mma.m16n8k16 with floating point type": the elements that a lane holds of
/// A (16×16), B (16×8), and C or D (16×8).
fn held(lane: usize) -> ([RowCol; 8], [RowCol; 4], [RowCol; 4]) {
    let (group, thread) = (lane >> 2, lane % 4);
    let a = [
        (group, thread * 2),
        (group, thread * 2 + 1),
        (group + 8, thread * 2),
        (group + 8, thread * 2 + 1),
        (group, thread * 2 + 8),
        (group, thread * 2 + 9),
        (group + 8, thread * 2 + 8),
        (group + 8, thread * 2 + 9),
    ];
    let b = [
        (thread * 2, group),
        (thread * 2 + 1, group),
        (thread * 2 + 8, group),
        (thread * 2 + 9, group),
    ];
    let d = [
        (group, thread * 2),
        (group, thread * 2 + 1),
        (group + 8, thread * 2),
        (group + 8, thread * 2 + 1),
    ];
    (a, b, d)
}

/// Two elements in one register, the first in its low half.
fn pack(low: f32, high: f32) -> u32 {
    u32::from(to_bf16(low)) | u32::from(to_bf16(high)) << 16
}

fn product(a: &[f32], b: &[f32]) -> Vec<f32> {
    let cell = |i: usize, j: usize| (0..16).map(|k| a[16 * i + k] * b[8 * k + j]).sum();
    (0..128).map(|i| cell(i / 8, i % 8)).collect()
}

#[test]
fn every_element_has_one_lane_that_holds_it() {
    let mut seen = [vec![0; 256], vec![0; 128], vec![0; 128]];
    for lane in 0..32 {
        let (a, b, d) = held(lane);
        a.into_iter()
            .for_each(|(row, col)| seen[0][16 * row + col] += 1);
        b.into_iter()
            .for_each(|(row, col)| seen[1][8 * row + col] += 1);
        d.into_iter()
            .for_each(|(row, col)| seen[2][8 * row + col] += 1);
    }
    assert!(seen.iter().flatten().all(|&times| times == 1));
}

#[test]
fn a_tensor_core_multiplies_what_the_lanes_hold() {
    let (a, b, c) = (whole("a", 256), whole("b", 128), whole("c", 128));
    let (mut ra, mut rb, mut rd) = (Vec::new(), Vec::new(), Vec::new());
    for lane in 0..32 {
        let (of_a, of_b, of_d) = held(lane);
        let x = |i: usize| a[16 * of_a[i].0 + of_a[i].1];
        let y = |i: usize| b[8 * of_b[i].0 + of_b[i].1];
        ra.extend((0..4).map(|i| pack(x(2 * i), x(2 * i + 1))));
        rb.extend((0..2).map(|i| pack(y(2 * i), y(2 * i + 1))));
        rd.extend(of_d.map(|(row, col)| c[8 * row + col]));
    }
    for order in [0, 1, 2] {
        let gpu = gpu();
        gpu.set_order(order);
        let (da, db) = (gpu.slab_of(&bytes_of(&ra)), gpu.slab_of(&bytes_of(&rb)));
        let dd = gpu.slab(Dtype::F32, &rd);
        one_block(&gpu, "tensor_core", 32, &[at(&da), at(&db), at(&dd)]).unwrap();
        let out = gpu.numbers(Dtype::F32, &dd);
        let want = product(&a, &b);
        for lane in 0..32 {
            for (i, (row, col)) in held(lane).2.into_iter().enumerate() {
                let cell = 8 * row + col;
                assert_eq!(out[4 * lane + i], c[cell] + want[cell]);
            }
        }
    }
}

/// "Warp-level matrix load instruction: ldmatrix": thread t has elements 2·(t % 4) and the next of row
/// t / 4 of each matrix; of each column with `.trans`.
#[test]
fn matrices_are_loaded_as_tensor_cores_want_them() {
    let x: Vec<f32> = (0..256).map(|i| i as f32).collect();
    for (kernel, strides) in [("matrices", [8, 1]), ("matrices_transposed", [1, 8])] {
        let gpu = gpu();
        gpu.set_order(5);
        let (from, out) = (gpu.slab(Dtype::Bf16, &x), room(&gpu, 128));
        one_block(&gpu, kernel, 32, &[at(&from), at(&out)]).unwrap();
        for (i, word) in words(&gpu, &out).into_iter().enumerate() {
            let (thread, matrix) = (i / 4, i % 4);
            let element = |j: usize| 64 * matrix + thread / 4 * strides[0] + j * strides[1];
            let two = [of_bf16(word as u16), of_bf16((word >> 16) as u16)];
            let first = thread % 4 * 2;
            assert_eq!(
                two,
                [element(first) as f32, element(first + 1) as f32],
                "{kernel}"
            );
        }
    }
}

#[test]
fn a_tile_goes_through_shared_memory_into_a_product() {
    let (a, b) = (whole("tile a", 256), whole("tile b", 128));
    for order in [0, 1, 2] {
        let gpu = gpu();
        gpu.set_order(order);
        let (da, db) = (gpu.slab(Dtype::Bf16, &a), gpu.slab(Dtype::Bf16, &b));
        let d = room(&gpu, 128);
        one_block(&gpu, "tile_product", 32, &[at(&da), at(&db), at(&d)]).unwrap();
        assert_eq!(gpu.numbers(Dtype::F32, &d), product(&a, &b));
    }
}

fn copied(kernel: &'static str) -> Vec<f32> {
    let gpu = gpu();
    let x: Vec<f32> = (1..=12).map(|i| i as f32).collect();
    let (x, y) = (gpu.slab(Dtype::F32, &x), room(&gpu, 12));
    one_block(&gpu, kernel, 1, &[at(&x), at(&y)]).unwrap();
    gpu.numbers(Dtype::F32, &y)
}

#[test]
fn a_copy_is_there_once_its_group_is_waited_for_and_not_before() {
    let all = [
        1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0, 9.0, 10.0, 11.0, 12.0,
    ];
    assert_eq!(copied("copies_awaited"), all);
    let but_one = copied("copies_but_one");
    assert_eq!(but_one[..8], all[..8]);
    assert!(but_one[8..].iter().all(|x| x.is_nan()));
    assert!(copied("copies_unawaited").iter().all(|x| x.is_nan()));
}

#[test]
fn a_copy_into_what_is_still_read_shows_in_some_order() {
    let read = |order| {
        let gpu = gpu();
        gpu.set_order(order);
        let (x, y) = (gpu.slab(Dtype::F32, &[2.0; 4]), room(&gpu, 64));
        one_block(&gpu, "copy_too_early", 64, &[at(&x), at(&y)]).unwrap();
        words(&gpu, &y)
    };
    assert!((1..5).any(|order| read(order) != read(0)));
}

#[test]
fn a_copy_reads_nothing_where_nothing_is_there() {
    let gpu = gpu();
    let x = gpu.slab(Dtype::F32, &[1.0; 4]);
    let args = |there| [at(&x), Arg::U32(4), Arg::U32(there)];
    one_block(&gpu, "copy_from_afar", 1, &args(0)).unwrap();
    let why = fault(&gpu, "copy_from_afar", 1, &args(1));
    assert!(why.contains("byte 16 of 16 bytes"), "{why}");
}
