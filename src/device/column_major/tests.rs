use super::*;
use crate::device::gpu::Epilogue;

/// Numbers that differ from place to place, and never a sum that two orders could round apart.
fn numbers(len: usize, seed: usize) -> Vec<f32> {
    (0..len)
        .map(|i| ((i * 7 + seed * 13) % 11) as f32 - 5.0)
        .collect()
}

fn matrix((row, each): (usize, usize), transposed: bool) -> Matrix {
    Matrix {
        at: 0,
        dtype: Dtype::F32,
        row,
        each,
        transposed,
    }
}

/// 3 products of 4×5 by 5×6, with gaps after rows and matrices.
fn product([a_transposed, b_transposed]: [bool; 2]) -> Product {
    let (rows, depth, cols) = (4, 5, 6);
    let a_row = if a_transposed { rows } else { depth } + 2;
    let b_row = if b_transposed { depth } else { cols } + 3;
    Product {
        count: 3,
        rows,
        cols,
        depth,
        alpha: 0.5,
        a: matrix((a_row, a_row * 6 + 1), a_transposed),
        b: matrix((b_row, b_row * 7 + 2), b_transposed),
        d: matrix((cols + 1, (cols + 1) * rows + 5), false),
        add: false,
        epilogue: Epilogue::Plain,
        tf32: false,
    }
}

/// As the trait says it: row by row.
fn by_rows(p: &Product, a: &[f32], b: &[f32], d: &mut [f32]) {
    let at = |m: &Matrix, k: usize, (row, col): (usize, usize)| match m.transposed {
        false => k * m.each + row * m.row + col,
        true => k * m.each + col * m.row + row,
    };
    for k in 0..p.count {
        for (row, col) in (0..p.rows).flat_map(|r| (0..p.cols).map(move |c| (r, c))) {
            let terms = (0..p.depth).map(|i| a[at(&p.a, k, (row, i))] * b[at(&p.b, k, (i, col))]);
            let sum = p.alpha * terms.sum::<f32>();
            let target = &mut d[at(&p.d, k, (row, col))];
            *target = sum + if p.add { *target } else { 0.0 };
        }
    }
}

/// As cuBLASLt says it: column by column, op(A)·op(B) with A of m×k and B of k×n.
fn by_columns(plan: &Plan, alpha: f32, [left, right]: [&[f32]; 2], d: &mut [f32]) {
    let (m, n) = (plan.target.rows, plan.target.cols);
    let inner = |l: &Layout, first: bool| match first == l.transposed {
        true => l.rows,
        false => l.cols,
    };
    let depth = inner(&plan.left, true);
    assert_eq!(depth, inner(&plan.right, false), "op(A) and op(B) fit");
    let at = |l: &Layout, k: usize, (row, col): (usize, usize)| {
        let (row, col) = match l.transposed {
            false => (row, col),
            true => (col, row),
        };
        assert!(row < l.rows && col < l.cols && l.column >= l.rows);
        k * l.each + col * l.column + row
    };
    for k in 0..plan.count {
        for (row, col) in (0..m).flat_map(|r| (0..n).map(move |c| (r, c))) {
            let terms = (0..depth)
                .map(|i| left[at(&plan.left, k, (row, i))] * right[at(&plan.right, k, (i, col))]);
            let sum = alpha * terms.sum::<f32>();
            let target = &mut d[at(&plan.target, k, (row, col))];
            *target = sum + if plan.add { *target } else { 0.0 };
        }
    }
}

#[test]
fn column_by_column_is_the_same_product() {
    for transposed in [[false, false], [true, false], [false, true], [true, true]] {
        for add in [false, true] {
            let p = Product {
                add,
                ..product(transposed)
            };
            let (a, b) = (numbers(3 * p.a.each, 1), numbers(3 * p.b.each, 2));
            let mut expected = numbers(3 * p.d.each, 3);
            let mut found = expected.clone();
            by_rows(&p, &a, &b, &mut expected);
            let plan = Plan::of(&p).unwrap();
            by_columns(&plan, p.alpha, [&b, &a], &mut found);
            assert_eq!(found, expected, "{transposed:?}, add {add}");
        }
    }
}

#[test]
fn a_single_row_may_lie_anyhow_and_others_may_not_overlap() {
    let mut p = product([false, false]);
    (p.count, p.rows, p.a.row) = (1, 1, 0);
    let plan = Plan::of(&p).unwrap();
    assert_eq!((plan.right.column, plan.right.each), (p.depth, 0));
    p.b.row = 3;
    assert!(
        Plan::of(&p)
            .unwrap_err()
            .problem
            .contains("rows of 6 lie 3 apart")
    );
}

#[test]
fn what_no_device_is_made_to_do_is_refused() {
    let mut mixed = product([false, false]);
    mixed.b.dtype = Dtype::Bf16;
    assert!(Plan::of(&mixed).is_err());
    let mut rounded = product([false, false]);
    rounded.d.dtype = Dtype::Bf16;
    assert!(Plan::of(&rounded).is_err());
    let mut sum = product([false, false]);
    (sum.add, sum.epilogue) = (true, Epilogue::GeluBack { before: 0x100 });
    assert!(Plan::of(&sum).is_err());
    sum.add = false;
    assert!(Plan::of(&sum).is_ok());
}

#[test]
fn what_lies_beside_the_target_is_fused_where_the_library_can_reach_it() {
    let mut p = product([false, false]);
    (p.d.row, p.d.each) = (8, 64);
    p.epilogue = Epilogue::Gelu {
        before: 0x1010,
        bias: None,
    };
    assert!(Plan::of(&p).unwrap().may_fuse());
    for odd in [
        Product {
            d: Matrix { row: 12, ..p.d },
            ..p
        },
        Product {
            d: Matrix { each: 68, ..p.d },
            ..p
        },
        Product {
            epilogue: Epilogue::GeluBack { before: 0x1008 },
            ..p
        },
    ] {
        assert!(!Plan::of(&odd).unwrap().may_fuse(), "{odd:?}");
        assert!(Plan::of(&odd).unwrap().bare().may_fuse());
    }
    // Of a single matrix nobody steps to the next.
    let single = Product {
        count: 1,
        d: Matrix { each: 68, ..p.d },
        ..p
    };
    assert!(Plan::of(&single).unwrap().may_fuse());
}

#[test]
fn alignment_is_the_address_s_own_up_to_what_allocations_have() {
    let of = |at| {
        let mut p = product([false, false]);
        p.d.at = at;
        Plan::of(&p).unwrap().target.alignment
    };
    assert_eq!(
        [of(0), of(0x1000), of(0x1010), of(0x1002)],
        [256, 256, 16, 2]
    );
}
