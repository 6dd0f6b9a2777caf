//! Each table: which studies are simulated, what is counted, what must hold.

use super::{
    Gate, Row, Table, Unit,
    simulated::{Came, Design, Noise, each},
};
use crate::{
    rng::Rng,
    stats::{
        anytime::{Anytime, PRECISION},
        chances::{self, Fixed},
        multiplicity::{ELond, Spending},
        paired::{Moments, paired},
        power::power,
        variance::Spread,
    },
    study::verdict::{Call, Looks},
};

/// The fixed design that sequential ones are compared with: 90% power at one standard deviation.
const FIXED: usize = 13;
/// The most seeds of a sequential study.
const CAP: usize = 22;
const ALPHA: f64 = 0.05;

pub fn all(seed: u64, studies: usize) -> Vec<Table> {
    let run = Run { seed, studies };
    vec![
        run.false_alarms(),
        run.several_arms(),
        run.coverage(),
        run.equivalence(),
        run.seeds_used(),
        run.priors(),
        run.promises(),
        run.streams(),
    ]
}

struct Run {
    seed: u64,
    studies: usize,
}

impl Run {
    fn came(&self, name: &str, design: &Design) -> Vec<Came> {
        each(self.studies, |idx| design.study(self.seed, name, idx))
    }

    fn count(&self, name: &str, design: &Design, hit: impl Fn(&Came) -> bool) -> usize {
        self.came(name, design).iter().filter(|c| hit(c)).count()
    }

    fn false_alarms(&self) -> Table {
        let mut rows = Vec::new();
        for noise in Noise::ALL {
            let promised = noise == Noise::Gaussian;
            for n in [3, 8, FIXED] {
                let design = Design {
                    noise,
                    ..Design::fixed(n)
                };
                let alarms = self.count(&format!("fixed.{n}"), &design, |c| c.alarm);
                let gate = if promised {
                    Gate::Near(ALPHA)
                } else {
                    Gate::Reported
                };
                let what = format!("fixed, {n} seeds, {}", noise.name());
                rows.push(Row::share(what, alarms, self.studies, gate));
            }
            let design = Design {
                noise,
                ..Design::anytime(CAP)
            };
            let alarms = self.count("anytime", &design, |c| c.alarm);
            let gate = if promised {
                Gate::AtMost(ALPHA)
            } else {
                Gate::Reported
            };
            let what = format!("anytime, {CAP} seeds at most, {}", noise.name());
            rows.push(Row::share(what, alarms, self.studies, gate));
        }
        let peeked = self.peeking();
        rows.push(
            Row::share(
                "t test after every seed from 3 to 20, Gaussian",
                peeked,
                self.studies,
                Gate::Reported,
            )
            .noted("what the anytime rule is for"),
        );
        Table {
            title: "False alarms when nothing differs: margin 0, one arm, α = 5%".into(),
            rows,
        }
    }

    /// Null studies in which an ordinary t test is below α at some look.
    fn peeking(&self) -> usize {
        let alarms = each(self.studies, |idx| {
            let mut rng = Rng::named(self.seed, &format!("calibrate.peeking.{idx}"));
            let differences: Vec<f64> = (0..20).map(|_| rng.normal()).collect();
            let below =
                |n: usize| paired(&differences[..n], 1.0 - ALPHA).is_some_and(|d| d.p < ALPHA);
            (3..=20).any(below)
        });
        alarms.into_iter().filter(|alarm| *alarm).count()
    }

    fn several_arms(&self) -> Table {
        let designs = [
            ("fixed, 8 seeds", Design::fixed(8)),
            ("anytime", Design::anytime(CAP)),
        ];
        let rows = designs.into_iter().map(|(name, design)| {
            let design = Design { arms: 4, ..design };
            let alarms = self.count(&format!("arms.{name}"), &design, |c| c.alarm);
            let what = format!("{name}, 4 arms");
            Row::share(what, alarms, self.studies, Gate::AtMost(ALPHA))
        });
        Table {
            title: "Any false alarm among several null arms that share a control".into(),
            rows: rows.collect(),
        }
    }

    fn coverage(&self) -> Table {
        let mut rows = Vec::new();
        for (noise, alpha) in [
            (Noise::Gaussian, ALPHA),
            (Noise::Gaussian, ALPHA / 4.0),
            (Noise::HeavyTails, ALPHA),
            (Noise::Skewed, ALPHA),
            (Noise::Unequal, ALPHA),
        ] {
            for (name, design) in [
                ("fixed, 8 seeds", Design::fixed(8)),
                ("anytime, at its stop", Design::anytime(CAP)),
            ] {
                let fixed = design.looks == Looks::Once;
                let design = Design {
                    noise,
                    alpha,
                    effect: 1.0,
                    ..design
                };
                let held = self.count(&format!("coverage.{name}.{alpha}"), &design, |c| c.covers);
                let gate = match noise {
                    Noise::Gaussian if fixed => Gate::Near(1.0 - alpha),
                    Noise::Gaussian => Gate::AtLeast(1.0 - alpha),
                    _ => Gate::Reported,
                };
                let what = format!(
                    "{name}, {}% interval, {}",
                    100.0 * (1.0 - alpha),
                    noise.name()
                );
                rows.push(Row::share(what, held, self.studies, gate));
            }
        }
        Table {
            title: "Intervals that hold a true effect of 1σ".into(),
            rows,
        }
    }

    fn equivalence(&self) -> Table {
        let margin = 1.2;
        let designs = [
            (
                format!("fixed, {FIXED} seeds"),
                Design::fixed(FIXED),
                ALPHA / 2.0,
            ),
            ("anytime".into(), Design::anytime(CAP), ALPHA),
        ];
        let mut rows = Vec::new();
        for (name, design, most) in designs {
            for (truth, effect) in [("at the margin", margin), ("none", 0.0)] {
                let design = Design {
                    margin,
                    effect,
                    ..design
                };
                let called = self.count(&format!("equivalence.{name}.{truth}"), &design, |c| {
                    c.call == Call::Equivalent
                });
                let gate = if effect == 0.0 {
                    Gate::Reported
                } else {
                    Gate::AtMost(most)
                };
                let what = format!("{name}, true effect {truth}");
                rows.push(Row::share(what, called, self.studies, gate));
            }
        }
        Table {
            title: format!("Called equivalent, margin {margin}σ"),
            rows,
        }
    }

    fn seeds_used(&self) -> Table {
        let rows = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0].into_iter().map(|effect| {
            let design = Design {
                effect,
                ..Design::anytime(CAP)
            };
            let came = self.came("seeds", &design);
            let seeds: Vec<f64> = came.iter().map(|c| c.seeds as f64).collect();
            let seeds = Moments::of(&seeds);
            let fixed = FIXED as f64;
            let gate = match effect {
                1.0 => Gate::AtMost(1.05 * fixed),
                2.0 => Gate::AtMost(0.55 * fixed),
                _ => Gate::Reported,
            };
            let right = came.iter().filter(|c| c.call == Call::Worse).count();
            let percent = |share: f64| 100.0 * share;
            let note = format!(
                "{:.0}% of {FIXED}; called worse {:.1}%, by the fixed rule {:.1}%",
                percent(seeds.mean / fixed),
                percent(right as f64 / self.studies as f64),
                percent(chances::fixed(&fixed_rule(FIXED, 0.0), effect, &Spread::known(1.0)).worse)
            );
            let what = format!("anytime, true effect {effect}σ");
            Row::new(
                what,
                (seeds.mean, Unit::Seeds),
                seeds.standard_error(),
                gate,
            )
            .noted(note)
        });
        Table {
            title: format!(
                "Seeds used, {CAP} at most, margin 0; a fixed {FIXED} have {:.0}% power at 1σ",
                100.0 * power(FIXED, 1.0, ALPHA)
            ),
            rows: rows.collect(),
        }
    }

    /// Why the prior is what it is.
    fn priors(&self) -> Table {
        let effects = [1.0, 1.5, 2.0];
        let rows = [0.1, 0.2, PRECISION, 0.5, 1.0, 2.0]
            .into_iter()
            .map(|precision| {
                let rule = Anytime {
                    precision,
                    ..Anytime::new(ALPHA, 0.0)
                };
                let seeds =
                    effects.map(|e| chances::anytime(&rule, CAP, e, &Spread::known(1.0)).pairs);
                let mean = seeds.iter().sum::<f64>() / seeds.len() as f64;
                let used = if precision == PRECISION {
                    ", in use"
                } else {
                    ""
                };
                let what = format!("precision {precision:.2}{used}");
                let note = format!(
                    "{:.2}, {:.2} and {:.2} at 1, 1.5 and 2σ",
                    seeds[0], seeds[1], seeds[2]
                );
                // By bounds on the spread of stopping times at 1σ, which is the widest.
                Row::new(what, (mean, Unit::Seeds), 0.03, Gate::Reported).noted(note)
            });
        Table {
            title:
                "Mean seeds over effects of 1, 1.5 and 2σ by the precision of the t-mixture's prior"
                    .into(),
            rows: rows.collect(),
        }
    }

    fn promises(&self) -> Table {
        let mut rows = Vec::new();
        for effect in [1.0, 1.5, 2.0] {
            for plan in [Plan::Fixed, Plan::Anytime] {
                let design = Design {
                    margin: PLAN_MARGIN,
                    effect,
                    ..plan.design()
                };
                let row = |what: &str, kept, promised, by: Option<f64>| {
                    let what = format!("{}, true effect {effect}σ, {what}", plan.name());
                    let gate = by.map_or(Gate::Reported, |by| Gate::Kept { promised, by });
                    let row = Row::share(what, kept, self.studies, gate);
                    match by {
                        Some(_) => row,
                        None => row.noted(format!("promised {:.2}%", 100.0 * promised)),
                    }
                };
                let worse = |came: &Came| came.call == Call::Worse;
                let kept = self.count(&format!("promises.{}", plan.name()), &design, worse);
                rows.push(row(
                    "σ known",
                    kept,
                    plan.promise(effect, &Spread::known(1.0)),
                    Some(0.05),
                ));
                let drawn = Design {
                    spread_df: Some(10.0),
                    ..design
                };
                let name = format!("promises.drawn.{}", plan.name());
                let of_drawn = self.count(&name, &drawn, worse);
                let promised = plan.promise(effect, &Spread { sd: 1.0, df: 10.0 });
                rows.push(row(
                    "σ as 11 seeds leave it",
                    of_drawn,
                    promised,
                    Some(0.05),
                ));
                for (seeds, by) in [(31, Some(0.05)), (11, None)] {
                    let promises = each(BANKS, |i| plan.promise(effect, &bank(i, seeds)));
                    let promised = promises.iter().sum::<f64>() / BANKS as f64;
                    rows.push(row(
                        &format!("mean over banks of {seeds} seeds"),
                        kept,
                        promised,
                        by,
                    ));
                }
            }
        }
        Table {
            title: format!(
                "Came out \"worse\", against the plan's chance of it: margin {PLAN_MARGIN}σ, {PLAN_SEEDS} seeds fixed or {CAP} at most"
            ),
            rows,
        }
    }

    fn streams(&self) -> Table {
        let (level, length, nulls) = (0.10, 40, 0.8);
        let streams = (self.studies / 20).max(1);
        let mut rows = Vec::new();
        for (name, spending) in [
            ("length unknown", Spending::Open),
            ("length planned", Spending::Planned(length)),
        ] {
            let came = each(streams, |idx| {
                self.stream(idx, length, nulls, ELond::new(level, spending))
            });
            let shares: Vec<f64> = came.iter().map(Stream::false_share).collect();
            let shares = Moments::of(&shares);
            let (found, real) = came
                .iter()
                .fold((0, 0), |(f, r), s| (f + s.found, r + s.real));
            let note = format!(
                "{streams} streams; {:.0}% of the true effects of 1.5σ found",
                100.0 * f64::from(found) / f64::from(real.max(1))
            );
            let what = format!("e-LOND, {length} studies, {name}");
            let value = (shares.mean, Unit::Share);
            rows.push(
                Row::new(what, value, shares.standard_error(), Gate::AtMost(level)).noted(note),
            );
        }
        Table {
            title: format!(
                "False discoveries among discoveries in a stream of anytime studies, {:.0}% nulls, level {:.0}%",
                100.0 * nulls,
                100.0 * level
            ),
            rows,
        }
    }

    /// A campaign: each study runs at the level that the stream gives it.
    fn stream(&self, idx: usize, length: usize, nulls: f64, mut stream: ELond) -> Stream {
        let mut rng = Rng::named(self.seed, &format!("calibrate.stream.{idx}"));
        let mut came = Stream::default();
        for study_idx in 0..length {
            let null = rng.uniform() < nulls;
            let design = Design {
                alpha: stream.level(),
                margin: 0.3,
                effect: if null { 0.0 } else { 1.5 },
                ..Design::anytime(CAP)
            };
            let study = design.study(self.seed, &format!("stream.{idx}"), study_idx);
            came.real += u32::from(!null);
            match (stream.test(study.log_e), null) {
                (true, true) => came.wrong += 1,
                (true, false) => came.found += 1,
                _ => {}
            }
        }
        came
    }
}

/// What a stream of studies came to.
#[derive(Debug, Clone, Copy, Default)]
struct Stream {
    found: u32,
    wrong: u32,
    real: u32,
}

impl Stream {
    fn false_share(&self) -> f64 {
        f64::from(self.wrong) / f64::from((self.wrong + self.found).max(1))
    }
}

fn fixed_rule(n: usize, margin: f64) -> Fixed {
    Fixed {
        n,
        alpha: ALPHA,
        margin,
    }
}

const PLAN_SEEDS: usize = 8;
const PLAN_MARGIN: f64 = 0.25;

/// A design whose promises are put to the test.
#[derive(Debug, Clone, Copy)]
enum Plan {
    Fixed,
    Anytime,
}

impl Plan {
    fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Anytime => "anytime",
        }
    }

    fn design(self) -> Design {
        match self {
            Self::Fixed => Design::fixed(PLAN_SEEDS),
            Self::Anytime => Design::anytime(CAP),
        }
    }

    /// The chance of "worse" that `plan` would state.
    fn promise(self, effect: f64, spread: &Spread) -> f64 {
        match self {
            Self::Fixed => chances::fixed(&fixed_rule(PLAN_SEEDS, PLAN_MARGIN), effect, spread),
            Self::Anytime => {
                chances::anytime(&Anytime::new(ALPHA, PLAN_MARGIN), CAP, effect, spread)
            }
        }
        .worse
    }
}

/// Banks over which promises are averaged.
const BANKS: usize = 16;

/// What a bank of so many seeds may say of a standard deviation of 1, evenly over its chances.
fn bank(idx: usize, seeds: usize) -> Spread {
    let df = (seeds - 1) as f64;
    // An estimate is s = σ·√(χ²/df), which is how σ follows from s, read backwards.
    let sd = 1.0 / Spread { sd: 1.0, df }.quantile((idx as f64 + 0.5) / BANKS as f64);
    Spread { sd, df }
}
