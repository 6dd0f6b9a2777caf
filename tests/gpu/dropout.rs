use crate::compare::{Case, Found, agree, on_cpu, on_device};
use windtunnel::{
    device::Precision,
    tape::{Mode, Shape},
};

fn case(k: usize, rows: usize, cols: usize) -> Case {
    Case::new(&[Shape { k, rows, cols }], &[])
}

fn zeros(found: &Found) -> [Vec<bool>; 2] {
    let zeros = |of: &[f32]| of.iter().map(|x| *x == 0.0).collect();
    [zeros(&found.y), zeros(&found.inputs[0])]
}

#[test]
fn the_same_elements_are_dropped_as_on_the_cpu() {
    // Rows whose packs begin with a call of Philox, and rows whose don't.
    for (k, rows, cols, first_row) in [
        (1, 6, 64, 0),
        (3, 6, 64, 5),
        (3, 4, 7, 3),
        (1, 130, 33, 1),
        (3, 2, 1, 2),
        (1, 34, 256, 2),
    ] {
        let mut case = case(k, rows, cols);
        case.position.first_row = first_row;
        let name = format!("K {k}, {rows} rows of {cols} from sequence {first_row}");
        agree(&name, &case, &|tape, x, _| tape.dropout(x[0], 0.3, 2));
        let cpu = on_cpu(&case, &|tape, x, _| tape.dropout(x[0], 0.3, 2));
        for precision in [Precision::F32, Precision::Bf16] {
            let device = on_device(&case, precision, 0, &|tape, x, _| {
                tape.dropout(x[0], 0.3, 2)
            });
            assert!(
                zeros(&device) == zeros(&cpu),
                "{name}, {}",
                precision.name()
            );
        }
        let dropped = zeros(&cpu)[0].iter().filter(|zero| **zero).count();
        assert!(
            dropped > 0 && dropped < k * rows * cols,
            "{name}: {dropped}"
        );
    }
}

#[test]
fn sites_differ_and_so_may_their_probabilities() {
    agree("two sites", &case(3, 8, 16), &|tape, x, _| {
        let y = tape.dropout(x[0], 0.5, 4)?;
        tape.dropout(y, 0.1, 4)
    });
}

#[test]
fn a_lane_has_the_probability_that_the_pass_gives_it() {
    let mut case = case(3, 8, 16);
    case.position.dropout = vec![0.0, 0.5, 0.9];
    agree("per lane", &case, &|tape, x, _| tape.dropout(x[0], 0.9, 4));
    let found = on_device(&case, Precision::F32, 0, &|tape, x, _| {
        tape.dropout(x[0], 0.9, 4)
    });
    let dropped = zeros(&found)[0].clone();
    let of_lanes = dropped
        .chunks(128)
        .map(|lane| lane.iter().filter(|zero| **zero).count());
    let of_lanes: Vec<usize> = of_lanes.collect();
    assert!(
        of_lanes[0] == 0 && of_lanes[1] < of_lanes[2] && of_lanes[1] > 0,
        "{of_lanes:?}"
    );
}

#[test]
fn evaluation_drops_nothing() {
    let mut case = case(1, 4, 8);
    case.mode = Mode::Eval;
    let found = on_device(&case, Precision::F32, 0, &|tape, x, _| {
        tape.dropout(x[0], 0.5, 2)
    });
    assert!(found.y.iter().all(|x| *x != 0.0));
}
