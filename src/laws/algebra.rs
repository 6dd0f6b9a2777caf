//! Least squares with a ridge: features are centred and scaled, the penalty is chosen by the
//! leave-one-out error, which for a linear smoother needs no refitting (Allen 1974, PRESS).

use super::threads::quantile_of_sorted;

/// Penalties that are tried, in units of a feature's own variance. The smallest is there for
/// features that add up to one and so leave a direction free.
const PENALTIES: [f64; 10] = [1e-8, 1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1, 1.0];

/// y ≈ intercept + Σ coefficients · features.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Ridge {
    pub intercept: f64,
    pub coefficients: Vec<f64>,
    /// Of the ones tried, the penalty with the least leave-one-out error.
    pub penalty: f64,
}

impl Ridge {
    /// Fits rows of equal length to `y`, one for each row. `penalty` fixes what would be chosen.
    pub fn fit(rows: &[Vec<f64>], y: &[f64], penalty: Option<f64>) -> Self {
        let scaled = Scaled::of(rows, y);
        let tried: Vec<f64> = penalty.map_or(PENALTIES.to_vec(), |p| vec![p]);
        let mut best: Option<(f64, f64, Vec<f64>)> = None;
        for penalty in tried {
            let Some((error, beta)) = scaled.solve(penalty) else {
                continue;
            };
            if best.as_ref().is_none_or(|b| error < b.0) {
                best = Some((error, penalty, beta));
            }
        }
        let (_, penalty, beta) = best.unwrap_or((0.0, 1.0, vec![0.0; scaled.n_columns]));
        scaled.unscale(penalty, &beta)
    }

    pub fn predict(&self, features: &[f64]) -> f64 {
        let terms = self.coefficients.iter().zip(features);
        self.intercept + terms.map(|(c, x)| c * x).sum::<f64>()
    }
}

/// Rows with mean 0 and variance 1 in every column; constant columns are 0.
struct Scaled {
    rows: Vec<f64>,
    n_rows: usize,
    n_columns: usize,
    means: Vec<f64>,
    sds: Vec<f64>,
    y: Vec<f64>,
    y_mean: f64,
    /// Products of columns with each other, and with y.
    gram: Vec<f64>,
    moments: Vec<f64>,
}

impl Scaled {
    fn of(rows: &[Vec<f64>], y: &[f64]) -> Self {
        let (n_rows, n_columns) = (rows.len(), rows.first().map_or(0, Vec::len));
        let n = n_rows.max(1) as f64;
        let y_mean = y.iter().sum::<f64>() / n;
        let y: Vec<f64> = y.iter().map(|v| v - y_mean).collect();
        let mean = |j: usize| rows.iter().map(|row| row[j]).sum::<f64>() / n;
        let means: Vec<f64> = (0..n_columns).map(mean).collect();
        let variance = |j: usize| {
            let squares = rows.iter().map(|row| (row[j] - means[j]).powi(2));
            squares.sum::<f64>() / n
        };
        let sds: Vec<f64> = (0..n_columns).map(|j| variance(j).sqrt()).collect();
        let mut scaled = Vec::with_capacity(n_rows * n_columns);
        for row in rows {
            let each = row.iter().zip(means.iter().zip(&sds));
            scaled.extend(each.map(|(x, (mean, sd))| match *sd > 1e-12 {
                true => (x - mean) / sd,
                false => 0.0,
            }));
        }
        let mut gram = vec![0.0; n_columns * n_columns];
        let mut moments = vec![0.0; n_columns];
        for (row, y) in scaled.chunks_exact(n_columns.max(1)).zip(&y) {
            for (i, a) in row.iter().enumerate() {
                moments[i] += a * y;
                for (sum, b) in gram[i * n_columns..].iter_mut().zip(&row[..=i]) {
                    *sum += a * b;
                }
            }
        }
        Self {
            rows: scaled,
            n_rows,
            n_columns,
            means,
            sds,
            y,
            y_mean,
            gram,
            moments,
        }
    }

    /// The mean squared leave-one-out error and the coefficients at a penalty.
    fn solve(&self, penalty: f64) -> Option<(f64, Vec<f64>)> {
        let n = self.n_columns;
        let mut matrix = self.gram.clone();
        (0..n).for_each(|i| matrix[i * n + i] += penalty * self.n_rows as f64);
        cholesky(&mut matrix, n)?;
        let mut beta = self.moments.clone();
        forward(&matrix, n, &mut beta);
        backward(&matrix, n, &mut beta);
        let mut sum = 0.0;
        let mut half = vec![0.0; n];
        for (row, y) in self.rows.chunks_exact(n.max(1)).zip(&self.y) {
            half.copy_from_slice(row);
            forward(&matrix, n, &mut half);
            // The mean takes a degree of freedom, too.
            let leverage = half.iter().map(|x| x * x).sum::<f64>() + 1.0 / self.n_rows as f64;
            let fitted: f64 = row.iter().zip(&beta).map(|(x, b)| x * b).sum();
            sum += ((y - fitted) / (1.0 - leverage).max(1e-9)).powi(2);
        }
        let error = sum / self.n_rows as f64;
        error.is_finite().then_some((error, beta))
    }

    fn unscale(&self, penalty: f64, beta: &[f64]) -> Ridge {
        let each = beta.iter().zip(&self.sds);
        let coefficients: Vec<f64> = each
            .map(|(b, sd)| if *sd > 1e-12 { b / sd } else { 0.0 })
            .collect();
        let shift: f64 = coefficients
            .iter()
            .zip(&self.means)
            .map(|(c, m)| c * m)
            .sum();
        Ridge {
            intercept: self.y_mean - shift,
            coefficients,
            penalty,
        }
    }
}

/// Turns the lower half of a symmetric n × n matrix into its Cholesky factor. `None` when it is not
/// positive definite.
fn cholesky(matrix: &mut [f64], n: usize) -> Option<()> {
    for i in 0..n {
        for j in 0..=i {
            let (head, row) = matrix.split_at(i * n);
            let other = if j == i {
                &row[..j]
            } else {
                &head[j * n..j * n + j]
            };
            let sum: f64 = row[..j].iter().zip(other).map(|(a, b)| a * b).sum();
            let left = row[j] - sum;
            if i == j {
                if left <= 0.0 || !left.is_finite() {
                    return None;
                }
                matrix[i * n + i] = left.sqrt();
            } else {
                matrix[i * n + j] = left / matrix[j * n + j];
            }
        }
    }
    Some(())
}

/// Solves L x = b in place.
fn forward(l: &[f64], n: usize, b: &mut [f64]) {
    for i in 0..n {
        let sum: f64 = l[i * n..i * n + i]
            .iter()
            .zip(&*b)
            .map(|(a, x)| a * x)
            .sum();
        b[i] = (b[i] - sum) / l[i * n + i];
    }
}

/// Solves Lᵀ x = b in place.
fn backward(l: &[f64], n: usize, b: &mut [f64]) {
    for i in (0..n).rev() {
        b[i] /= l[i * n + i];
        let (x, row) = (b[i], &l[i * n..i * n + i]);
        b[..i].iter_mut().zip(row).for_each(|(y, a)| *y -= a * x);
    }
}

/// The line through points of equal weight: (intercept, slope). `None` when they share one x.
pub fn line(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let n = points.len() as f64;
    let x = points.iter().map(|p| p.0).sum::<f64>() / n;
    let y = points.iter().map(|p| p.1).sum::<f64>() / n;
    let spread: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    let together: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let slope = together / spread;
    slope.is_finite().then_some((y - slope * x, slope))
}

/// The lower and upper limits of the middle `confidence` of some numbers; those that are not finite
/// are left out. `None` when nothing is left.
pub fn middle(values: &[f64], confidence: f64) -> Option<(f64, f64)> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let tail = 0.5 * (1.0 - confidence);
    let (low, high) = (
        quantile_of_sorted(&sorted, tail)?,
        quantile_of_sorted(&sorted, 1.0 - tail)?,
    );
    Some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn planted_coefficients_come_back_even_where_columns_add_up_to_one() {
        let mut rng = Rng::named(1, "ridge");
        let rows: Vec<Vec<f64>> = (0..60)
            .map(|_| {
                let raw: Vec<f64> = (0..4).map(|_| rng.uniform()).collect();
                let sum: f64 = raw.iter().sum();
                raw.iter().map(|x| x / sum).collect()
            })
            .collect();
        let truth = |r: &[f64]| 2.0 + 1.0 * r[0] - 3.0 * r[1] + 0.5 * r[2];
        let y: Vec<f64> = rows.iter().map(|r| truth(r)).collect();
        let fit = Ridge::fit(&rows, &y, None);
        for row in &rows {
            assert!((fit.predict(row) - truth(row)).abs() < 1e-5);
        }
        // Outside of the runs, too: coefficients differ from the truth by a constant alone.
        let corner = [0.0, 0.0, 0.0, 1.0];
        assert!((fit.predict(&corner) - 2.0).abs() < 1e-4);
    }

    #[test]
    fn leave_one_out_errors_are_those_of_leaving_each_out() {
        let mut rng = Rng::named(2, "press");
        let rows: Vec<Vec<f64>> = (0..12)
            .map(|_| (0..3).map(|_| rng.normal()).collect())
            .collect();
        let y: Vec<f64> = rows.iter().map(|r| r[0] - r[2] + rng.normal()).collect();
        // Without a penalty the shortcut is exact: scales and means do not matter.
        let (quick, _) = Scaled::of(&rows, &y).solve(1e-12).unwrap();
        let slow: f64 = (0..12)
            .map(|out| {
                let (mut r, mut v) = (rows.clone(), y.clone());
                r.remove(out);
                v.remove(out);
                let fit = Ridge::fit(&r, &v, Some(1e-12));
                (fit.predict(&rows[out]) - y[out]).powi(2) / 12.0
            })
            .sum();
        assert!((quick - slow).abs() < 1e-6 * slow, "{quick} {slow}");
    }

    #[test]
    fn fewer_runs_than_features_are_no_obstacle() {
        let rows = vec![vec![1.0, 0.0, 0.0], vec![0.0, 1.0, 0.0]];
        let fit = Ridge::fit(&rows, &[1.0, 3.0], None);
        assert!(fit.coefficients.iter().all(|c| c.is_finite()));
        assert!(Ridge::fit(&[], &[], None).coefficients.is_empty());
    }
}
