use super::*;

const TRUTH: Chinchilla = Chinchilla {
    e: 1.7,
    a: 400.0,
    b: 1500.0,
    alpha: 0.34,
    beta: 0.35,
};

fn planted(noise: f64) -> Vec<Point> {
    let mut rng = Rng::named(1, "scaling");
    let point = |i: i32, j: i32, rng: &mut Rng| {
        let (n, d) = (3e7 * 2f64.powi(i), 4e8 * 2f64.powi(j));
        Point {
            parameters: n,
            tokens: d,
            flops: 6.0 * n * d,
            loss: TRUTH.loss(n, d) * (noise * rng.normal()).exp(),
        }
    };
    let pairs = (0..8).flat_map(|i| (0..8).map(move |j| (i, j)));
    pairs.map(|(i, j)| point(i, j, &mut rng)).collect()
}

#[test]
fn a_planted_law_comes_back_and_lies_in_its_intervals() {
    let exact = fit(&planted(0.0)).unwrap();
    assert!(exact.objective_sum < 1e-10, "{exact:?}");
    assert!((exact.law.e - TRUTH.e).abs() < 1e-3 && (exact.law.alpha - 0.34).abs() < 1e-3);
    let points = planted(0.004);
    let fitted = fit(&points).unwrap();
    let others = resampled(&points, &fitted, 100, 1);
    let found = Intervals::of(&fitted.law, &others);
    for (estimate, truth) in [(found.e, 1.7), (found.alpha, 0.34), (found.beta, 0.35)] {
        let reach = 2.0 * (estimate.interval.high - estimate.interval.low);
        assert!(reach > 0.0 && (estimate.interval.value - truth).abs() < reach);
        assert!(estimate.standard_error > 0.0 && estimate.standard_error < 0.1);
    }
}

#[test]
fn the_optimum_is_the_least_loss_at_its_budget() {
    let flops = 1e21;
    let (n, d) = TRUTH.optimum(flops);
    assert!((6.0 * n * d / flops - 1.0).abs() < 1e-12);
    let least = TRUTH.loss(n, d);
    for factor in [0.5, 0.9, 1.1, 2.0] {
        assert!(TRUTH.loss(n * factor, d / factor) > least);
    }
    let slope = (TRUTH.optimum(2.0 * flops).0 / n).ln() / 2f64.ln();
    assert!((slope - TRUTH.parameter_exponent()).abs() < 1e-9);
}

#[test]
fn columns_are_found_by_name_and_the_third_number_follows() {
    let read = |text| points(&Table::parse("r.csv", text).unwrap());
    let a = read("Model Size,Training FLOP,loss\n2,24,3\n").unwrap();
    let b = read("N,D,Loss\n2,2,3\n").unwrap();
    let c = read("tokens,flops,val_loss\n2,24,3\n").unwrap();
    assert!(a == b && b == c, "{a:?} {b:?} {c:?}");
    for (text, words) in [
        ("N,loss\n1,2\n", "tokens or for FLOPs"),
        ("D,loss\n1,2\n", "for parameters"),
        ("N,D\n1,2\n", "the loss"),
        ("N,D,loss\n1,2,0\n", "r.csv:2: loss is 0"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn runs_of_one_size_and_few_runs_are_refused() {
    let all = planted(0.0);
    assert!(fit(&all[..5]).is_err());
    let one_size: Vec<Point> = all
        .iter()
        .copied()
        .filter(|p| p.parameters == 3e7)
        .collect();
    assert!(fit(&one_size).unwrap_err().to_string().contains("one size"));
}

#[test]
fn the_lowest_ratios_are_taken_out() {
    let mut points = planted(0.0);
    let dropped = drop_lowest_ratio(&mut points, 3);
    let ratio = |p: &Point| p.tokens / p.parameters;
    let most = dropped.iter().map(ratio).fold(0.0, f64::max);
    assert_eq!((dropped.len(), points.len()), (3, 61));
    assert!(points.iter().all(|p| ratio(p) >= most));
}
