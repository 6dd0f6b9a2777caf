//! Caps: weights that keep them, and whole rows of which no corpus gives more than its cap.
//!
//! A run is a few stretches (phases) with so many rows each. A capped corpus is drawn less in every
//! stretch, by one factor for the whole run, and what it gives up goes to the others in proportion to
//! their weights there: iterative proportional fitting, with caps in the place of totals. Whole rows
//! then come from the weights by the largest remainders, and the last few by augmenting paths
//! (Edmonds & Karp 1972), which also tell beforehand whether caps can be met at all.

use super::weighting::{bounded, proportional};

/// Rows that each corpus gives in each stretch: by stretch, then corpus.
pub type Rows = Vec<Vec<u64>>;

/// Adds rows to `given` until each stretch has its number of them, or no more fit: none from a
/// corpus that is not `allowed` in a stretch, and of no corpus more than its cap. Gives the number
/// of rows that are missing in the end, which is the smallest possible.
pub fn fill(given: &mut Rows, rows: &[u64], allowed: &[Vec<bool>], caps: &[u64]) -> u64 {
    let mut room: Vec<u64> = (0..caps.len())
        .map(|idx| caps[idx].saturating_sub(given.iter().map(|of| of[idx]).sum()))
        .collect();
    let mut missing = 0;
    for (stretch, wanted) in rows.iter().enumerate() {
        let mut left = wanted.saturating_sub(given[stretch].iter().sum());
        while left > 0 {
            let Some(path) = path(stretch, given, allowed, &room) else {
                missing += left;
                break;
            };
            left -= shift(&path, left, given, &mut room);
        }
    }
    missing
}

/// The shortest way to one more row for `stretch`: (stretch, corpus) pairs, of which each stretch
/// takes its corpus's rows from the next, and the last takes what its corpus has left.
fn path(
    stretch: usize,
    given: &Rows,
    allowed: &[Vec<bool>],
    room: &[u64],
) -> Option<Vec<(usize, usize)>> {
    let (n_stretches, n_corpora) = (given.len(), room.len());
    // Who takes a corpus's rows, and whose rows a stretch gives up.
    let mut taker: Vec<Option<usize>> = vec![None; n_corpora];
    let mut gives: Vec<Option<usize>> = vec![None; n_stretches];
    let mut queue = std::collections::VecDeque::from([stretch]);
    while let Some(at) = queue.pop_front() {
        for idx in 0..n_corpora {
            if !allowed[at][idx] || taker[idx].is_some() {
                continue;
            }
            taker[idx] = Some(at);
            if room[idx] > 0 {
                return Some(way_back(stretch, idx, &taker, &gives));
            }
            for other in 0..n_stretches {
                if given[other][idx] > 0 && gives[other].is_none() && other != stretch {
                    gives[other] = Some(idx);
                    queue.push_back(other);
                }
            }
        }
    }
    None
}

/// The path that ends with corpus `last`, from `stretch` on.
fn way_back(
    stretch: usize,
    last: usize,
    taker: &[Option<usize>],
    gives: &[Option<usize>],
) -> Vec<(usize, usize)> {
    let mut path = Vec::new();
    let mut corpus = Some(last);
    while let Some(idx) = corpus {
        let Some(at) = taker[idx] else { break };
        path.push((at, idx));
        corpus = if at == stretch { None } else { gives[at] };
    }
    path.reverse();
    path
}

/// Moves as many rows along a path as it carries, at most `wanted`; gives their number.
fn shift(path: &[(usize, usize)], wanted: u64, given: &mut Rows, room: &mut [u64]) -> u64 {
    let Some((_, last)) = path.last() else {
        return 0;
    };
    let carried = path.windows(2).map(|pair| given[pair[1].0][pair[0].1]);
    let n = carried.fold(wanted.min(room[*last]), u64::min);
    for pair in path.windows(2) {
        given[pair[1].0][pair[0].1] -= n;
    }
    for (stretch, corpus) in path {
        given[*stretch][*corpus] += n;
    }
    room[*last] -= n;
    n
}

/// The least factor on a capped corpus's weight; where less would be needed, [`whole_rows`] goes
/// without it.
const LEAST_FACTOR: f64 = 1e-9;
/// Rounds over all corpora, at most. They are far fewer unless caps can only just be met.
const ROUNDS: usize = 2000;

/// Weights of each phase with one factor on each capped corpus, at most 1, such that no corpus's
/// weights times `masses` (a phase's rows) sum to more than its cap. An infinite cap is none.
pub fn fitted(masses: &[f64], weights: &[Vec<f64>], caps: &[f64]) -> Vec<Vec<f64>> {
    if let ([mass], [only]) = (masses, weights) {
        let most: Vec<f64> = caps.iter().map(|cap| (cap / mass).min(1.0)).collect();
        let kept = bounded(only, &vec![0.0; only.len()], &most);
        // Where caps can't be met the caller has refused them; these weights break none of them.
        return vec![kept.unwrap_or(most)];
    }
    let mut factors = vec![1.0; caps.len()];
    for _ in 0..ROUNDS {
        let mut moved = 0f64;
        for idx in (0..caps.len()).filter(|idx| caps[*idx].is_finite()) {
            let factor = factor_of(idx, masses, weights, &factors, caps[idx]);
            moved = moved.max((factor / factors[idx] - 1.0).abs());
            factors[idx] = factor;
        }
        if moved < 1e-13 {
            break;
        }
    }
    let scaled = |of: &Vec<f64>| {
        let scaled = of.iter().zip(&factors).map(|(w, factor)| w * factor);
        proportional(&scaled.collect::<Vec<_>>())
    };
    weights.iter().map(scaled).collect()
}

/// The factor at which one corpus meets its cap while the others keep theirs.
fn factor_of(idx: usize, masses: &[f64], weights: &[Vec<f64>], factors: &[f64], cap: f64) -> f64 {
    let others = |of: &Vec<f64>| -> f64 {
        let all = of.iter().zip(factors).enumerate();
        all.filter(|(i, _)| *i != idx)
            .map(|(_, (w, f))| w * f)
            .sum()
    };
    let phases: Vec<(f64, f64, f64)> = masses
        .iter()
        .zip(weights)
        .filter(|(_, of)| of[idx] > 0.0)
        .map(|(mass, of)| (*mass, of[idx], others(of)))
        .collect();
    let rows = |factor: f64| -> f64 {
        let of = |(mass, weight, others): &(f64, f64, f64)| {
            mass * factor * weight / (factor * weight + others)
        };
        phases.iter().map(of).sum()
    };
    if rows(1.0) <= cap {
        return 1.0;
    }
    let (mut low, mut high) = (LEAST_FACTOR, 1.0);
    for _ in 0..80 {
        let middle = (low * high).sqrt();
        match rows(middle) <= cap {
            true => low = middle,
            false => high = middle,
        }
    }
    low
}

/// Whole rows nearest to these, by stretch and corpus: each stretch's rows in all, no corpus above
/// its cap, none from a corpus that is not allowed. Where the caps can't be met, as many as fit.
pub fn whole_rows(wanted: &[Vec<f64>], rows: &[u64], allowed: &[Vec<bool>], caps: &[u64]) -> Rows {
    let mut room = caps.to_vec();
    let mut given: Rows = Vec::new();
    for (of, rows) in wanted.iter().zip(rows) {
        let mut left = *rows;
        let mut whole = Vec::new();
        for (wanted, room) in of.iter().zip(&mut room) {
            // A sum that was rounded below a whole number is that number.
            let n = ((wanted + 1e-6).floor() as u64).min(left).min(*room);
            (left, *room) = (left - n, *room - n);
            whole.push(n);
        }
        given.push(whole);
    }
    // Then the largest remainders, each at most once.
    for (stretch, of) in wanted.iter().enumerate() {
        let mut left = rows[stretch] - given[stretch].iter().sum::<u64>();
        let mut order: Vec<usize> = (0..of.len()).filter(|idx| allowed[stretch][*idx]).collect();
        let remainder = |idx: &usize| of[*idx] - given[stretch][*idx] as f64;
        order.sort_by(|a, b| remainder(b).total_cmp(&remainder(a)));
        for idx in order {
            if left > 0 && room[idx] > 0 {
                given[stretch][idx] += 1;
                (left, room[idx]) = (left - 1, room[idx] - 1);
            }
        }
    }
    fill(&mut given, rows, allowed, caps);
    given
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn rows_are_found_by_taking_them_from_where_others_can_stand_in() {
        // Both stretches may draw the first corpus, the first one the second too.
        let allowed = [vec![true, true], vec![true, false]];
        let mut given = vec![vec![0; 2]; 2];
        assert_eq!(fill(&mut given, &[10, 10], &allowed, &[10, 10]), 0);
        assert_eq!(given, [[0, 10], [10, 0]]);
        let mut given = vec![vec![0; 2]; 2];
        assert_eq!(fill(&mut given, &[10, 10], &allowed, &[7, 100]), 3);
    }

    #[test]
    fn one_factor_keeps_a_cap_over_several_phases() {
        let weights = vec![vec![0.5, 0.5, 0.0], vec![0.25, 0.25, 0.5]];
        let caps = [30.0, f64::INFINITY, f64::INFINITY];
        let kept = fitted(&[100.0, 100.0], &weights, &caps);
        let rows: f64 = kept.iter().map(|of| 100.0 * of[0]).sum();
        assert!((rows - 30.0).abs() < 1e-6, "{kept:?}");
        // The others keep their proportions, and the factor is the same in both.
        assert!((kept[1][2] / kept[1][1] - 2.0).abs() < 1e-9);
        let odds = |of: &Vec<f64>| of[0] / of[1];
        assert!((odds(&kept[0]) - odds(&kept[1])).abs() < 1e-9);
    }

    /// Random stretches, weights and caps: rows come out whole, in full, under the caps, and near.
    #[test]
    fn whole_rows_add_up_keep_every_cap_and_stay_near_the_weights() {
        let mut rng = Rng::named(3, "test.apportion");
        let (mut met, mut refused) = (0, 0);
        for _ in 0..400 {
            let (n, m) = (1 + rng.below(4) as usize, 1 + rng.below(5) as usize);
            let rows: Vec<u64> = (0..n).map(|_| 1 + rng.below(5000)).collect();
            let weights: Vec<Vec<f64>> = (0..n)
                .map(|_| {
                    let mut of: Vec<f64> = (0..m)
                        .map(|_| rng.uniform() * (rng.below(4) > 0) as u64 as f64)
                        .collect();
                    of[rng.below(m as u64) as usize] += 0.1;
                    proportional(&of)
                })
                .collect();
            let total: u64 = rows.iter().sum();
            let caps: Vec<u64> = (0..m)
                .map(|_| match rng.below(3) {
                    0 => u64::MAX,
                    _ => 1 + rng.below(total),
                })
                .collect();
            let allowed: Vec<Vec<bool>> = weights
                .iter()
                .map(|of| of.iter().map(|w| *w > 0.0).collect())
                .collect();
            let mut any = vec![vec![0; m]; n];
            if fill(&mut any, &rows, &allowed, &caps) > 0 {
                refused += 1;
                continue;
            }
            met += 1;
            let masses: Vec<f64> = rows.iter().map(|n| *n as f64).collect();
            let limit = |cap: &u64| match *cap {
                u64::MAX => f64::INFINITY,
                cap => cap as f64,
            };
            let kept = fitted(
                &masses,
                &weights,
                &caps.iter().map(limit).collect::<Vec<_>>(),
            );
            let wanted: Vec<Vec<f64>> = kept
                .iter()
                .zip(&masses)
                .map(|(of, mass)| of.iter().map(|w| w * mass).collect())
                .collect();
            let given = whole_rows(&wanted, &rows, &allowed, &caps);
            for (idx, cap) in caps.iter().enumerate() {
                assert!(given.iter().map(|of| of[idx]).sum::<u64>() <= *cap);
            }
            for stretch in 0..n {
                assert_eq!(given[stretch].iter().sum::<u64>(), rows[stretch]);
                for idx in 0..m {
                    assert!(allowed[stretch][idx] || given[stretch][idx] == 0);
                    let off = given[stretch][idx] as f64 - wanted[stretch][idx];
                    let near = 3.0 + 0.005 * rows[stretch] as f64;
                    assert!(off.abs() <= near, "{off} {caps:?} {weights:?} {rows:?}");
                }
            }
        }
        assert!(met > 100 && refused > 20, "{met} {refused}");
    }
}
