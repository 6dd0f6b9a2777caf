use crate::compare::{Case, agree};
use windtunnel::{
    ops::{
        norm::{Norm, NormKind},
        rotary::{Placing, Turned},
    },
    params::{Init, Spec},
    tape::Shape,
};

#[test]
fn heads_are_normed_and_turned_and_the_rest_is_left_alone() {
    // (K, heads, D, columns after the heads): whole packs of a power of two and not, ragged ones, more
    // than a warp's.
    for (k, heads, dim, rest) in [
        (1, 3, 64, 64),
        (3, 2, 32, 32),
        (1, 5, 48, 48),
        (3, 3, 40, 40),
        (1, 2, 6, 5),
        (3, 1, 2, 0),
        (1, 9, 128, 0),
        (1, 1, 512, 512),
        (3, 4, 16, 7),
    ] {
        let (t, sequences) = (5, 2);
        let turned = Turned { heads, dim, t };
        let shape = Shape {
            k,
            rows: sequences * t,
            cols: heads * dim + rest,
        };
        for placing in [(true, Some(100.0)), (true, None), (false, Some(1e4))] {
            let (norm, base) = placing;
            let placing = Placing { norm, base };
            let name = format!("{turned:?} and {rest}, {placing:?}");
            agree(&name, &Case::new(&[shape], &[]), &|tape, x, _| {
                tape.place(x[0], turned, placing)
            });
        }
    }
}

#[test]
fn an_odd_head_is_normed() {
    for (heads, dim, rest) in [(2, 7, 3), (3, 1, 0)] {
        let turned = Turned { heads, dim, t: 3 };
        let shape = Shape {
            k: 3,
            rows: 6,
            cols: heads * dim + rest,
        };
        agree(
            &format!("{turned:?}"),
            &Case::new(&[shape], &[]),
            &|tape, x, _| tape.head_norm(x[0], turned),
        );
    }
}

#[test]
fn gradients_of_several_places_add_up_in_their_input() {
    for (dim, rest) in [(32, 32), (10, 3)] {
        let turned = Turned {
            heads: 2,
            dim,
            t: 4,
        };
        let shape = Shape {
            k: 3,
            rows: 8,
            cols: 2 * dim + rest,
        };
        let one = Spec::new("one", &[shape.cols], Init::Zeros);
        agree(
            &format!("D {dim}"),
            &Case::new(&[shape], &[one]),
            &|tape, x, p| {
                let low = tape.rotary(x[0], turned, 10.0)?;
                let high = tape.rotary(x[0], turned, 1e4)?;
                let norm = Norm {
                    kind: NormKind::Rms,
                    eps: 1e-5,
                    weight: p[0],
                    bias: None,
                };
                let sum = tape.add_norm(low, Some(high), norm)?.0;
                let normed = tape.head_norm(x[0], turned)?;
                Ok(tape.add_norm(sum, Some(normed), norm)?.0)
            },
        );
    }
}

#[test]
fn nothing_to_do_is_the_value_itself() {
    let turned = Turned {
        heads: 1,
        dim: 8,
        t: 2,
    };
    let nothing = Placing {
        norm: false,
        base: None,
    };
    let shape = Shape {
        k: 1,
        rows: 2,
        cols: 8,
    };
    agree("nothing", &Case::new(&[shape], &[]), &|tape, x, _| {
        let y = tape.place(x[0], turned, nothing)?;
        assert_eq!(y, x[0]);
        tape.scale(y, 2.0)
    });
}
