use crate::compare::{Case, agree, device_tape};
use windtunnel::{
    device::{Backend, Precision},
    ops::activation::Activation,
    pool::Pool,
    tape::{Mode, Shape, Tape},
};

const ALL: [Activation; 4] = [
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Relu2,
    Activation::Swiglu,
];

#[test]
fn every_activation_on_whole_packs_and_on_ragged_rows() {
    for activation in ALL {
        for (k, rows, cols) in [(1, 1, 1), (1, 7, 13), (3, 5, 8), (3, 33, 64), (2, 70, 100)] {
            let cols = cols * activation.fan_in();
            let case = Case::new(&[Shape { k, rows, cols }], &[]);
            let name = format!("{activation:?} of {k}×{rows}×{cols}");
            agree(&name, &case, &|tape, x, _| {
                tape.activation(x[0], activation)
            });
        }
    }
}

#[test]
fn gradients_of_two_activations_of_one_value_add_up() {
    for activation in ALL {
        let case = Case::new(
            &[Shape {
                k: 3,
                rows: 5,
                cols: 26,
            }],
            &[],
        );
        agree(&format!("{activation:?} twice"), &case, &|tape, x, _| {
            let a = tape.activation(x[0], activation)?;
            let b = tape.activation(x[0], activation)?;
            tape.composed(&[a, b], &[], |x, _| &x[0] + &x[1])
        });
    }
}

/// Far out, and where exponentials overflow.
#[test]
fn large_numbers_and_what_is_none_come_out_as_on_the_cpu() {
    let xs = [
        -1e30,
        -300.0,
        -100.0,
        -88.0,
        -20.0,
        -6.0,
        -0.0,
        6.0,
        20.0,
        100.0,
        300.0,
        f32::NAN,
    ];
    for activation in ALL {
        let twice = activation.fan_in();
        let mut xs = xs.to_vec();
        if twice == 2 {
            // Gates at both ends; values of a size that keeps the product finite.
            xs.extend([-3.0; 12]);
        }
        let case = Case::new(
            &[Shape {
                k: 1,
                rows: 1,
                cols: xs.len(),
            }],
            &[],
        );
        let run = |mut tape: Tape<f32>| {
            tape.begin(Mode::Train);
            let x = tape.leaf(case.inputs[0], &xs).unwrap();
            let y = tape.activation(x, activation).unwrap();
            let found = tape.to_host(y).unwrap();
            tape.seed_grad(y, &vec![0.5; found.len()]).unwrap();
            tape.backward().unwrap();
            (found, tape.grad_to_host(x).unwrap().unwrap())
        };
        let pool = std::sync::Arc::new(Pool::new(1));
        let cpu = run(Tape::new(
            crate::compare::params(&case),
            Backend::Fused,
            pool,
        ));
        let device = run(device_tape(&case, Precision::F32, 0));
        for (what, device, cpu) in [
            ("value", &device.0, &cpu.0),
            ("gradient", &device.1, &cpu.1),
        ] {
            let place = format!("{activation:?}, {what}");
            assert_eq!(device[11].is_nan(), cpu[11].is_nan(), "{place}");
            // Each beside itself, since they are of very different sizes.
            for i in (0..11).filter(|i| cpu[*i].is_finite()) {
                let apart = (device[i] - cpu[i]).abs();
                assert!(
                    apart <= 1e-6 + 1e-5 * cpu[i].abs(),
                    "{place} of {}: {} {}",
                    xs[i],
                    device[i],
                    cpu[i]
                );
            }
        }
    }
}
