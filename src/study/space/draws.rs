//! Random orders, gamma variables, compositions.

use crate::rng::Rng;

/// The numbers below n in a random order (Fisher and Yates).
pub fn shuffled(n: usize, rng: &mut Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, rng.below(i as u64 + 1) as usize);
    }
    order
}

/// Logarithm of a draw from the gamma distribution of a shape (Marsaglia and Tsang 2000), which for
/// small shapes is too small for a number.
pub fn log_gamma(shape: f64, rng: &mut Rng) -> f64 {
    if shape < 1.0 {
        let u = 1.0 - rng.uniform();
        return log_gamma(shape + 1.0, rng) + u.ln() / shape;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = rng.normal();
        let v = (1.0 + c * x).powi(3);
        let u = 1.0 - rng.uniform();
        if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return (d * v).ln();
        }
    }
}

/// Every way to share `n` whole parts among `k`, at most one more than `most` of them.
pub fn compositions(n: usize, k: usize, most: usize) -> Vec<Vec<usize>> {
    if k == 1 {
        return vec![vec![n]];
    }
    let rest = (0..=n).flat_map(|first| {
        compositions(n - first, k - 1, most)
            .into_iter()
            .map(move |mut rest| {
                rest.insert(0, first);
                rest
            })
    });
    rest.take(most + 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_draws_have_their_mean_and_variance() {
        let mut rng = Rng::named(1, "test");
        for shape in [0.05, 0.7, 1.0, 6.0] {
            let n = 200_000;
            let draws: Vec<f64> = (0..n).map(|_| log_gamma(shape, &mut rng).exp()).collect();
            let mean = draws.iter().sum::<f64>() / n as f64;
            let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
            assert!((mean / shape - 1.0).abs() < 0.05, "{shape}: mean {mean}");
            assert!(
                (variance / shape - 1.0).abs() < 0.1,
                "{shape}: variance {variance}"
            );
        }
    }

    #[test]
    fn there_are_as_many_compositions_as_binomials_say() {
        assert_eq!(compositions(4, 3, 100).len(), 15);
        assert_eq!(compositions(4, 4, 10).len(), 11);
        assert!(
            compositions(5, 4, 100)
                .iter()
                .all(|parts| parts.iter().sum::<usize>() == 5)
        );
    }
}
