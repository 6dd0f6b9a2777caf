//! Fewer points of a curve that look the same: the lowest and highest of each stretch.

use super::chart::At;

/// At most `most` of the points, in order: the first, the last, and of each of equally many in
/// between the lowest and the highest, so that no peak is lost. All of them when they are so few.
pub fn thin(points: &[At], most: usize) -> Vec<At> {
    let most = most.max(4);
    let ([first, middle @ .., last], true) = (points, points.len() > most) else {
        return points.to_vec();
    };
    let stretches = (most - 2) / 2;
    let mut kept = vec![*first];
    for i in 0..stretches {
        let (from, to) = (
            i * middle.len() / stretches,
            (i + 1) * middle.len() / stretches,
        );
        let stretch = &middle[from..to];
        let by = |a: &&At, b: &&At| a.1.total_cmp(&b.1);
        let (low, high) = (stretch.iter().min_by(by), stretch.iter().max_by(by));
        let mut pair: Vec<At> = low.into_iter().chain(high).copied().collect();
        pair.sort_by(|a, b| a.0.total_cmp(&b.0));
        pair.dedup();
        kept.extend(pair);
    }
    kept.push(*last);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_and_ends_stay() {
        let mut points: Vec<At> = (0..10_000)
            .map(|i| (f64::from(i), f64::from(i % 7)))
            .collect();
        points[4321].1 = 99.0;
        points[8765].1 = -99.0;
        for most in [4, 5, 40, 401, 9_999] {
            let few = thin(&points, most);
            assert!(
                few.len() <= most && few.is_sorted_by(|a, b| a.0 < b.0),
                "{most}"
            );
            assert_eq!((few[0], few[few.len() - 1]), (points[0], points[9_999]));
            assert!(few.contains(&points[4321]) && few.contains(&points[8765]));
            assert!(few.iter().all(|point| points.contains(point)));
        }
    }

    #[test]
    fn a_short_curve_is_left_alone() {
        for n in 0..6 {
            let points: Vec<At> = (0..n).map(|i| (f64::from(i), 1.0)).collect();
            assert_eq!(thin(&points, 6), points);
        }
        assert_eq!(thin(&[(0.0, 1.0); 3], 0).len(), 3);
    }
}
