//! Blocks, threads, barriers, warps, shared memory, rounding.

use super::*;
use crate::emulated::numbers;
use windtunnel::{device::gpu::Dtype, rng::philox};

const ORDERS: [u64; 5] = [0, 1, 2, 3, 4];

fn row_sums(kernel: &'static str, order: u64) -> Vec<u32> {
    let gpu = gpu();
    gpu.set_order(order);
    let x = gpu.slab(Dtype::F32, &random("rows", 3 * 700));
    let sums = room(&gpu, 3);
    let args = [at(&x), at(&sums), Arg::U32(700)];
    let launch = Launch {
        kernel,
        grid: [3, 1, 1],
        threads: 256,
        shared: 0,
        args: &args,
    };
    gpu.launch(launch).unwrap();
    words(&gpu, &sums)
}

#[test]
fn a_barrier_makes_every_order_of_threads_give_the_same_bits() {
    let sums = row_sums("row_sums", 0);
    for order in ORDERS {
        assert_eq!(row_sums("row_sums", order), sums);
    }
    let x = random("rows", 3 * 700);
    for (row, &sum) in x.chunks_exact(700).zip(&sums) {
        let want: f64 = row.iter().map(|&x| f64::from(x)).sum();
        assert!((f64::from(f32::from_bits(sum)) - want).abs() < 1e-4);
    }
}

#[test]
fn a_missing_barrier_shows_as_nan_or_as_other_bits_in_another_order() {
    let sums = row_sums("row_sums_racing", 0);
    assert!(sums.iter().all(|&sum| f32::from_bits(sum).is_nan()));

    let neighbours = |order| {
        let gpu = gpu();
        gpu.set_order(order);
        let x = gpu.slab(Dtype::F32, &random("neighbours", 256));
        one_block(&gpu, "neighbours_racing", 256, &[at(&x)]).unwrap();
        words(&gpu, &x)
    };
    for order in &ORDERS[1..] {
        assert_ne!(neighbours(*order), neighbours(0));
    }
    assert_eq!(neighbours(1), neighbours(1));
}

#[test]
fn blocks_come_in_other_orders_too() {
    let last = |order| {
        let gpu = gpu();
        gpu.set_order(order);
        let x = room(&gpu, 1);
        let launch = Launch {
            kernel: "last_block",
            grid: [3, 4, 5],
            threads: 32,
            shared: 0,
            args: &[at(&x)],
        };
        gpu.launch(launch).unwrap();
        gpu.numbers(Dtype::F32, &x)[0]
    };
    assert_eq!(last(0), 432.0);
    assert!(ORDERS.iter().any(|&order| last(order) != 432.0));
}

#[test]
fn every_thread_of_every_block_knows_where_it_is() {
    let gpu = gpu();
    gpu.set_order(7);
    let out = room(&gpu, 2 * 3 * 4 * 33);
    let launch = Launch {
        kernel: "where",
        grid: [2, 3, 4],
        threads: 33,
        shared: 0,
        args: &[at(&out)],
    };
    gpu.launch(launch).unwrap();
    for (i, word) in words(&gpu, &out).into_iter().enumerate() {
        let (thread, block) = (i % 33, i / 33);
        let want = (block % 2) + ((block / 2 % 3) << 8) + ((block / 6) << 16) + (thread << 24);
        assert_eq!(word as usize, want);
    }
}

#[test]
fn shuffles_exchange_within_a_warp() {
    for order in ORDERS {
        let gpu = gpu();
        gpu.set_order(order);
        let out = room(&gpu, 384);
        one_block(&gpu, "shuffles", 64, &[at(&out)]).unwrap();
        let out = gpu.numbers(Dtype::F32, &out);
        for thread in 0..64 {
            let (lane, warp) = (thread % 32, thread / 32 * 32);
            let sum: usize = (warp..warp + 32).sum();
            let want = [
                warp + (lane ^ 5),
                warp + 7,
                if lane < 29 { thread + 3 } else { thread },
                if lane < 3 { thread } else { thread - 3 },
                sum,
            ];
            for (i, want) in want.into_iter().enumerate() {
                assert_eq!(out[64 * i + thread], want as f32, "{i}");
            }
            assert_eq!(out[320 + thread], -(warp as f32));
        }
    }
}

#[test]
fn shared_memory_begins_as_nan_in_every_block() {
    let gpu = gpu();
    let out = gpu.slab(Dtype::F32, &[0.0; 32]);
    for _ in 0..2 {
        one_block(&gpu, "static_shared_unset", 32, &[at(&out)]).unwrap();
        assert!(gpu.numbers(Dtype::F32, &out).iter().all(|x| x.is_nan()));
    }
    let launch = Launch {
        kernel: "dynamic_shared_unset",
        grid: [2, 1, 1],
        threads: 32,
        shared: 64,
        args: &[at(&out)],
    };
    gpu.launch(launch).unwrap();
    let out = gpu.numbers(Dtype::Bf16, &out);
    assert!(out[..32].iter().all(|x| x.is_nan()));
}

#[test]
fn threads_that_have_left_are_not_waited_for() {
    for order in ORDERS {
        let gpu = gpu();
        gpu.set_order(order);
        let x = gpu.slab(Dtype::F32, &[0.0]);
        let args = [at(&x), Arg::U32(40)];
        one_block(&gpu, "barrier_after_some_left", 64, &args).unwrap();
        assert_eq!(gpu.numbers(Dtype::F32, &x), [1.0]);
    }
}

#[test]
fn bf16_is_the_nearest_number_and_the_even_one_of_two() {
    let gpu = gpu();
    let mut x = random("rounded", 200);
    // Halfway to an even and to an odd neighbour, beside halfway, the largest, the smallest.
    for bits in [
        0x3f80_8000,
        0x3f81_8000,
        0x3f80_7fff,
        0x3f80_8001,
        0x7f7f_ffff,
        1,
    ] {
        x.push(f32::from_bits(bits));
    }
    x.extend([
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NAN,
        f32::from_bits(0x7f80_0001),
    ]);
    let n = x.len();
    let (from, one, two) = (gpu.slab(Dtype::F32, &x), room(&gpu, n), room(&gpu, n));
    let args = [at(&from), at(&one), at(&two), Arg::U32(n as u32)];
    one_block(&gpu, "rounded", 32, &args).unwrap();
    let one = words(&gpu, &one);
    for (i, (&x, two)) in x.iter().zip(words(&gpu, &two)).enumerate() {
        let bits = (one[i / 2] >> (i % 2 * 16)) as u16;
        assert_eq!(bits, numbers::to_bf16(x), "{x}");
        assert_eq!(
            (two as u16, (two >> 16) as u16),
            (bits, numbers::to_bf16(-x))
        );
        let y = numbers::of_bf16(bits);
        assert_eq!(y.is_nan(), x.is_nan());
        // Eight bits of mantissa, the first of which is not written.
        assert!(!(x.is_normal() && y.is_finite()) || (x - y).abs() <= x.abs() / 256.0);
    }
    let known = [0x3f80, 0x3f82, 0x3f80, 0x3f81, 0x7f80, 0];
    let rounded: Vec<_> = x[200..206].iter().map(|&x| numbers::to_bf16(x)).collect();
    assert_eq!(rounded, known);
}

#[test]
fn kernels_draw_the_random_numbers_that_the_host_draws() {
    let gpu = gpu();
    let (counter, key) = ([1, u32::MAX, 3, 0x8000_0000], [0xdead_beef, 7]);
    let words_at = gpu.slab_of(&bytes_of(&counter));
    let args = [at(&words_at), Arg::U32(key[0]), Arg::U32(key[1])];
    one_block(&gpu, "counters", 1, &args).unwrap();
    assert_eq!(words(&gpu, &words_at), philox(key, counter));
}
