use crate::compare::{Case, agree};
use std::sync::Arc;
use windtunnel::{
    ops::norm::{Norm, NormKind},
    params::{Init, Spec},
    rng::Rng,
};

struct Sizes {
    k: usize,
    sequences: usize,
    t: usize,
    vocab: usize,
    cols: usize,
}

fn case(sizes: &Sizes) -> Case {
    let &Sizes {
        k, t, vocab, cols, ..
    } = sizes;
    let table = |name: &str, rows: usize| Spec::new(name, &[rows, cols], Init::Zeros);
    let one = Spec::new("one", &[cols], Init::Zeros);
    // More positions than a sequence has.
    let mut case = Case::new(&[], &[table("wte", vocab), table("wpe", t + 3), one]);
    case.position.keys = vec![[0; 2]; k];
    case
}

fn tokens(sizes: &Sizes, seed: u64) -> Arc<[u32]> {
    let mut rng = Rng::named(seed, "tokens");
    let len = sizes.k * sizes.sequences * sizes.t;
    (0..len)
        .map(|_| rng.below(sizes.vocab as u64) as u32)
        .collect()
}

#[test]
fn rows_of_tokens_and_positions_add_up_and_gather_their_gradients() {
    let sizes = |k, sequences, t, vocab, cols| Sizes {
        k,
        sequences,
        t,
        vocab,
        cols,
    };
    for sizes in [
        sizes(1, 1, 1, 1, 1),
        sizes(3, 2, 5, 7, 7),
        sizes(3, 3, 9, 65, 132),
        sizes(1, 2, 33, 50, 260),
        // Buckets long enough for every thread of a large block, and more loads than are under way at once.
        sizes(1, 3, 100, 3, 64),
        sizes(1, 11, 64, 2, 100),
        sizes(1, 20, 33, 1, 5),
    ] {
        let name = format!(
            "K {}, B {}, T {}, V {}, C {}",
            sizes.k, sizes.sequences, sizes.t, sizes.vocab, sizes.cols
        );
        let ids = tokens(&sizes, 1);
        agree(&name, &case(&sizes), &|tape, _, p| {
            tape.embed(&ids, sizes.t, p[0], Some(p[1]))
        });
        // Twice, so that the second gradient is added to the first; once without positions.
        let more = tokens(&sizes, 2);
        agree(&format!("{name}, twice"), &case(&sizes), &|tape, _, p| {
            let x = tape.embed(&ids, sizes.t, p[0], Some(p[1]))?;
            let y = tape.embed(&more, sizes.t, p[0], None)?;
            let norm = Norm {
                kind: NormKind::Rms,
                eps: 1e-5,
                weight: p[2],
                bias: None,
            };
            Ok(tape.add_norm(x, Some(y), norm)?.0)
        });
    }
}

#[test]
fn more_tokens_than_blocks_are_all_summed() {
    let sizes = Sizes {
        k: 1,
        sequences: 4,
        t: 300,
        vocab: 1500,
        cols: 4,
    };
    // 7 and 1500 share no factor, so that no token comes twice.
    let ids: Arc<[u32]> = (0..1200).map(|i| i * 7 % 1500).collect();
    agree("distinct tokens", &case(&sizes), &|tape, _, p| {
        tape.embed(&ids, sizes.t, p[0], None)
    });
}
