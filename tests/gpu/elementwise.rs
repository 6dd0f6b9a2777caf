use crate::compare::{Case, agree};
use windtunnel::tape::Shape;

#[test]
fn a_constant_factor_scales_values_and_gradients_and_gradients_add_up() {
    for (k, rows, cols) in [(1, 7, 13), (3, 5, 8)] {
        let case = Case::new(&[Shape { k, rows, cols }], &[]);
        agree("scale", &case, &|tape, x, _| tape.scale(x[0], 0.3));
        // Twice the same input, so that its gradient is a sum.
        agree("scale twice", &case, &|tape, x, _| {
            let y = tape.scale(x[0], 0.5)?;
            tape.scale(y, 3.0)
        });
    }
}
