//! Rank agreement of two lists of numbers.

/// Spearman's correlation: Pearson's of the ranks, ties at their mean rank. `None` when the lists
/// differ in length, hold fewer than two numbers or one that is not finite, or one is constant.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() || a.len() < 2 || !a.iter().chain(b).all(|v| v.is_finite()) {
        return None;
    }
    pearson(&ranks(a), &ranks(b))
}

/// Kendall's tau-b: agreeing less disagreeing pairs, with ties taken out of the count. `None` as for
/// [`spearman`].
pub fn kendall(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() || a.len() < 2 || !a.iter().chain(b).all(|v| v.is_finite()) {
        return None;
    }
    let (mut agreement, mut in_a, mut in_b) = (0i64, 0u64, 0u64);
    for i in 0..a.len() {
        for j in 0..i {
            let sign = |x: f64, y: f64| i64::from(x > y) - i64::from(x < y);
            let (p, q) = (sign(a[i], a[j]), sign(b[i], b[j]));
            agreement += p * q;
            in_a += p.unsigned_abs();
            in_b += q.unsigned_abs();
        }
    }
    let pairs = (in_a as f64 * in_b as f64).sqrt();
    (pairs > 0.0).then(|| agreement as f64 / pairs)
}

fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let n = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        ab += (x - mean_a) * (y - mean_b);
        aa += (x - mean_a).powi(2);
        bb += (y - mean_b).powi(2);
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

/// 1 for the smallest; equal numbers share the mean of their ranks.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|i, j| values[*i].total_cmp(&values[*j]));
    let mut ranks = vec![0.0; values.len()];
    let mut from = 0;
    while from < order.len() {
        let value = values[order[from]];
        let same = order[from..].iter().take_while(|i| values[**i] == value);
        let to = from + same.count().max(1);
        // The mean of ranks from + 1 to `to`.
        let rank = 0.5 * (from + 1 + to) as f64;
        order[from..to].iter().for_each(|i| ranks[*i] = rank);
        from = to;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlations_of_a_worked_example() {
        // Ties in both: by hand, ranks 1 2.5 2.5 4 and 1 3 3 3.
        let (a, b) = ([1.0, 2.0, 2.0, 3.0], [0.0, 5.0, 5.0, 5.0]);
        assert_eq!(ranks(&a), [1.0, 2.5, 2.5, 4.0]);
        assert_eq!(ranks(&b), [1.0, 3.0, 3.0, 3.0]);
        // Σ(a − 2.5)(b − 2.5) = 2.25 + 0 + 0 + .75 = 3, of √(4.5 · 3).
        let expected = 3.0 / (4.5f64 * 3.0).sqrt();
        assert!((spearman(&a, &b).unwrap() - expected).abs() < 1e-12);
        // 3 of 6 pairs agree, one is tied in a alone, 3 in b: 3 / √(5 · 3).
        assert!((kendall(&a, &b).unwrap() - 3.0 / 15f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn order_alone_counts_and_a_constant_has_none() {
        let a = [0.1, 0.5, 0.2, 9.0];
        let same: Vec<f64> = a.iter().map(|x: &f64| x.powi(3) + 1.0).collect();
        let turned: Vec<f64> = a.iter().map(|x| -x).collect();
        for measure in [spearman, kendall] {
            assert!((measure(&a, &same).unwrap() - 1.0).abs() < 1e-12);
            assert!((measure(&a, &turned).unwrap() + 1.0).abs() < 1e-12);
            assert_eq!(measure(&a, &[2.0; 4]), None);
            assert_eq!(measure(&a, &[1.0, f64::NAN, 2.0, 3.0]), None);
            assert_eq!(measure(&a, &a[1..]), None);
        }
    }
}
