//! The mathematics of verdicts against outside numbers: `tests/fixtures/make_stats.py` made
//! `stats.json` with SciPy, statsmodels, mpmath, online-fdr and savvi; its versions are in it.

use serde::Deserialize;
use windtunnel::{
    rng::Rng,
    stats::{
        anytime::{known_sigma_boundary, log_e, radius},
        equivalence::two_one_sided,
        multiplicity::{ELond, Spending, benjamini_hochberg, bonferroni, holm},
        paired::{paired, t_quantile},
        power::power,
        sign::sign_test,
        variance::Spread,
    },
};

#[derive(Deserialize)]
struct Fixture {
    quantiles: Quantiles,
    intervals: Vec<Interval>,
    equivalence: Vec<Equivalence>,
    multiplicity: Vec<Multiplicity>,
    signs: Vec<Sign>,
    power: Vec<Power>,
    mixture: Vec<Mixture>,
    savvi: Vec<Mixture>,
    radii: Vec<RadiusRow>,
    published: Published,
    elond: Stream,
    boundary: Boundary,
}

#[derive(Deserialize)]
struct Quantiles {
    student: Vec<Student>,
    chi_squared: Vec<ChiSquared>,
}

#[derive(Deserialize)]
struct Student {
    df: usize,
    p: f64,
    t: f64,
}

#[derive(Deserialize)]
struct ChiSquared {
    df: f64,
    p: f64,
    x: f64,
}

#[derive(Deserialize)]
struct Interval {
    differences: Vec<f64>,
    confidence: f64,
    mean: f64,
    sd: f64,
    low: f64,
    high: f64,
    p: f64,
}

#[derive(Deserialize)]
struct Equivalence {
    differences: Vec<f64>,
    margin: f64,
    p: f64,
    p_above_lower: f64,
    p_below_upper: f64,
}

#[derive(Deserialize)]
struct Multiplicity {
    p: Vec<f64>,
    bonferroni: Vec<f64>,
    holm: Vec<f64>,
    benjamini_hochberg: Vec<f64>,
}

#[derive(Deserialize)]
struct Sign {
    wins: usize,
    losses: usize,
    p: f64,
}

#[derive(Deserialize)]
struct Power {
    n: usize,
    effect: f64,
    alpha: f64,
    power: f64,
}

#[derive(Deserialize)]
struct Mixture {
    n: usize,
    t: f64,
    precision: f64,
    log_e: f64,
}

#[derive(Deserialize)]
struct RadiusRow {
    n: usize,
    precision: f64,
    alpha: f64,
    radius: f64,
}

#[derive(Deserialize)]
struct Published {
    n: usize,
    df: usize,
    alpha: f64,
    precision: f64,
    coefficients: Vec<Coefficient>,
}

#[derive(Deserialize)]
struct Coefficient {
    name: String,
    estimate: f64,
    standard_error: f64,
    t: f64,
    p: f64,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct Stream {
    alpha: f64,
    tests: Vec<Tested>,
}

#[derive(Deserialize)]
struct Tested {
    e: f64,
    level: f64,
    discovered: bool,
}

#[derive(Deserialize)]
struct Boundary {
    studies: f64,
    alpha: f64,
    looks: usize,
    crossed: Vec<Crossed>,
}

#[derive(Deserialize)]
struct Crossed {
    rho: f64,
    share: f64,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/stats.json")).unwrap()
}

/// Both sides are double precision; what is between them are different ways to sum and to search.
const CLOSE: f64 = 1e-8;

#[track_caller]
fn close(ours: f64, theirs: f64, within: f64) {
    let off = (ours - theirs).abs() / theirs.abs().max(1.0);
    assert!(off <= within, "{ours} against {theirs}");
}

#[test]
fn quantiles_are_scipys() {
    let quantiles = fixture().quantiles;
    for row in quantiles.student {
        close(t_quantile(row.df, row.p), row.t, CLOSE);
    }
    for row in quantiles.chi_squared {
        // A spread's quantile at p is s·√(df/χ²) at 1 − p.
        let spread = Spread {
            sd: 1.0,
            df: row.df,
        };
        close(row.df / spread.quantile(1.0 - row.p).powi(2), row.x, CLOSE);
    }
}

#[test]
fn paired_intervals_are_scipys() {
    for row in fixture().intervals {
        let ours = paired(&row.differences, row.confidence).unwrap();
        for (ours, theirs) in [
            (ours.mean, row.mean),
            (ours.sd, row.sd),
            (ours.low, row.low),
            (ours.high, row.high),
            (ours.p, row.p),
        ] {
            close(ours, theirs, CLOSE);
        }
    }
}

#[test]
fn two_one_sided_tests_are_statsmodels() {
    for row in fixture().equivalence {
        let ours = two_one_sided(&row.differences, row.margin).unwrap();
        close(ours.p, row.p, CLOSE);
        close(ours.p_above_lower, row.p_above_lower, CLOSE);
        close(ours.p_below_upper, row.p_below_upper, CLOSE);
    }
}

#[test]
fn adjusted_p_values_are_statsmodels() {
    for row in fixture().multiplicity {
        for (ours, theirs) in [
            (bonferroni(&row.p), row.bonferroni),
            (holm(&row.p), row.holm),
            (benjamini_hochberg(&row.p), row.benjamini_hochberg),
        ] {
            assert_eq!(ours.len(), theirs.len());
            for (ours, theirs) in ours.into_iter().zip(theirs) {
                close(ours, theirs, CLOSE);
            }
        }
    }
}

#[test]
fn sign_tests_are_scipys_binomial_ones() {
    for row in fixture().signs {
        close(sign_test(row.wins, row.losses), row.p, CLOSE);
    }
}

#[test]
fn power_is_that_of_scipys_noncentral_t() {
    for row in fixture().power {
        // Ours is a sum over 300 points.
        close(power(row.n, row.effect, row.alpha), row.power, 1e-6);
    }
}

#[test]
fn e_values_are_the_prior_averaged_over_ratios_of_t_densities() {
    let fixture = fixture();
    for row in fixture.mixture.iter().chain(&fixture.savvi) {
        let ours = log_e(row.t * row.t, row.n, row.n - 1, row.precision);
        close(ours, row.log_e, CLOSE);
    }
}

#[test]
fn radii_are_where_the_e_value_reaches_one_over_alpha() {
    for row in fixture().radii {
        let ours = radius(row.n, row.n - 1, row.precision, row.alpha);
        close(ours / row.radius, 1.0, CLOSE);
    }
    // And nothing is excluded by fewer differences than could ever reach it.
    assert!(radius(3, 2, 1.0 / 3.0, 0.05).is_infinite());
    assert!(radius(1, 0, 1.0 / 3.0, 0.05).is_infinite());
}

#[test]
fn the_t_mixture_gives_the_published_example_of_lindon() {
    let published = fixture().published;
    let half = radius(
        published.n,
        published.df,
        published.precision,
        published.alpha,
    );
    for row in published.coefficients {
        // t is printed with three decimals: p moves by this much within them.
        let p = |t: f64| (-log_e(t * t, published.n, published.df, published.precision)).exp();
        let (most, least) = (p(row.t - 0.0005), p(row.t + 0.0005));
        // and p itself with three digits.
        assert!(
            least * 0.995 <= row.p && row.p <= most * 1.005,
            "{}: {least} to {most} against {}",
            row.name,
            row.p
        );
        let within = half * 0.5e-5 + 0.5e-5;
        assert!((row.estimate - half * row.standard_error - row.low).abs() < within);
        assert!((row.estimate + half * row.standard_error - row.high).abs() < within);
    }
}

#[test]
fn e_lond_decides_as_online_fdr_does() {
    let stream = fixture().elond;
    let mut ours = ELond::new(stream.alpha, Spending::Open);
    for row in stream.tests {
        close(ours.level(), row.level, CLOSE);
        let log_e = (row.e > 0.0).then(|| row.e.ln());
        assert_eq!(ours.test(log_e), row.discovered);
    }
}

#[test]
fn the_known_sigma_boundary_is_crossed_as_often_as_numpy_saw_and_by_alpha_at_most() {
    let crossed = |rho: f64, alpha: f64, looks: usize, studies: usize| {
        let mut rng = Rng::named(1, "boundary");
        let boundary: Vec<f64> = (0..=looks)
            .map(|n| known_sigma_boundary(n, 1.0, rho, alpha))
            .collect();
        let crossings = (0..studies).filter(|_| {
            let mut sum = 0.0;
            (1..=looks).any(|n| {
                sum += rng.normal();
                sum.abs() >= boundary[n]
            })
        });
        crossings.count() as f64 / studies as f64
    };
    let theirs = fixture().boundary;
    for row in theirs.crossed {
        let studies = 40_000;
        let ours = crossed(row.rho, theirs.alpha, theirs.looks, studies);
        let variance = row.share * (1.0 - row.share);
        let error = (variance * (1.0 / studies as f64 + 1.0 / theirs.studies)).sqrt();
        assert!(
            (ours - row.share).abs() < 3.0 * error,
            "{ours} {}",
            row.share
        );
    }
    let long = crossed(1.0, 0.05, 2000, 2000);
    let three_errors = 3.0 * (0.05 * 0.95 / 2000.0_f64).sqrt();
    assert!(long > 0.02 && long < 0.05 + three_errors, "{long}");
}
