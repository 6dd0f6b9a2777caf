//! The figures of a study's report, as SVG text.
//!
//! Written by hand: a figure needs sub-pixel coordinates, clipping at the frame and titles for
//! screen readers. Text is measured by a cautious table, as the reader's sans-serif is unknown.
//! The first arm, the control, is black.

mod curves;
pub(super) mod differences;
mod iso_flop;
mod simplex;
pub(crate) mod svg;

pub use curves::{ArmCurves, Curve, curves_svg, tokens};
pub use differences::{Differences, differences_svg};
pub use iso_flop::iso_flop_svg;
pub use simplex::mixture_svg;

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics unless every tag is closed in order, every attribute quoted and nothing left bare.
    fn assert_well_formed(svg: &str) {
        let mut open = Vec::new();
        for part in svg.split('<').skip(1) {
            let (tag, text) = part.split_once('>').expect("a tag ends");
            assert!(!text.contains(['>', '"', '\'']), "{text}");
            for entity in text.split('&').skip(1) {
                let name = entity.split_once(';').expect("an entity ends").0;
                assert!(["lt", "gt", "amp", "quot", "#39"].contains(&name), "{name}");
            }
            assert_eq!(tag.matches('\'').count() % 2, 0, "{tag}");
            let name = tag.trim_start_matches('/').split([' ', '/']).next();
            let name = name.expect("a split has a first part");
            match (tag.starts_with('/'), tag.ends_with('/')) {
                (true, _) => assert_eq!(open.pop(), Some(name)),
                (false, false) => open.push(name),
                (false, true) => {}
            }
        }
        assert!(open.is_empty(), "{open:?}");
        for word in ["NaN", "inf", "'-0.00'"] {
            assert!(!svg.contains(word), "{word}");
        }
    }

    fn curve(seed: u64, values: &[f64]) -> Curve {
        let tokens = |i: usize| i as f64 * 1e5;
        let points = values.iter().enumerate().map(|(i, v)| (tokens(i), *v));
        Curve {
            seed,
            points: points.collect(),
        }
    }

    fn arms<'a>() -> [ArmCurves<'a>; 2] {
        let arm = |name, shift: f64| ArmCurves {
            name,
            curves: (1..=3)
                .map(|s| curve(s, &[8.0, 3.0, 2.0 + shift, 1.5 + shift + s as f64 * 0.01]))
                .collect(),
        };
        [arm("control", 0.0), arm("a <b> & \"c\" 'd'\u{1}", 0.1)]
    }

    fn differences(values: &[f64], interval: Option<(f64, f64, f64)>) -> Differences<'static> {
        Differences {
            arm: "x < \"y\" & 'z'",
            values: (1..).zip(values.iter().copied()).collect(),
            interval,
        }
    }

    #[test]
    fn every_arm_and_seed_is_drawn_and_names_are_escaped() {
        let svg = curves_svg(&arms(), "bits <per> byte");
        assert_well_formed(&svg);
        let escaped = "a &lt;b&gt; &amp; &quot;c&quot; &#39;d&#39; ";
        for name in ["control", escaped] {
            for trial in ["seed 1", "seed 2", "seed 3", "mean"] {
                assert!(svg.contains(&format!("<title>{name}, {trial}</title>")));
            }
        }
        assert!(!svg.contains("class='end'"), "no trial ended early");
        let svg = differences_svg(&[differences(&[0.1, -0.2], None)], 0.01, "bits");
        assert_well_formed(&svg);
        for dot in ["seed 1: +0.1", "seed 2: -0.2"] {
            let title = format!("<title>x &lt; &quot;y&quot; &amp; &#39;z&#39;, {dot}</title>");
            assert!(svg.contains(&title), "{title}");
        }
    }

    #[test]
    fn a_seed_that_diverged_is_marked_and_ends_the_mean() {
        let mut arms = arms();
        arms[1].curves[1].points[2].1 = f64::NAN;
        arms[1].curves[1].points.truncate(3);
        let svg = curves_svg(&arms, "loss");
        assert_well_formed(&svg);
        assert_eq!(svg.matches("class='end'").count(), 1);
        assert!(svg.contains("(1 of 3 ended early)"));
        let points = |title: &str| {
            let path = svg.lines().find(|line| line.contains(title));
            path.expect("the curve is there").matches('L').count() + 1
        };
        assert_eq!(points("control, mean"), 4);
        assert_eq!(points("d&#39; , mean"), 2);
        assert_eq!(points("d&#39; , seed 1"), 4);
    }

    #[test]
    fn no_input_makes_a_broken_figure() {
        let hard = [
            &[f64::NAN, f64::INFINITY, f64::NEG_INFINITY][..],
            &[],
            &[0.0],
            &[0.0; 40],
            &[1e-5, -2e-5],
            &[5e-324, -5e-324],
            &[1e300, -1e300, 1e99, -1e99],
            &[3.0, 3.0 + 1e-15],
        ];
        for values in hard {
            let arm = ArmCurves {
                name: "arm",
                curves: vec![curve(1, values), curve(2, &[])],
            };
            assert_well_formed(&curves_svg(&[arm], "loss"));
            let numbers = values.first().map(|v| (-*v, *v, *v));
            for margin in [0.0, 1e-5, 0.01, 1e9, f64::NAN, f64::INFINITY] {
                let svg = differences_svg(&[differences(values, numbers)], margin, "loss");
                assert_well_formed(&svg);
            }
        }
        assert_well_formed(&curves_svg(&[], ""));
        assert_well_formed(&differences_svg(&[], 0.0, ""));
    }

    #[test]
    fn what_has_no_interval_says_so_and_has_no_whisker() {
        let interval = Some((-0.02, -0.01, 0.0));
        let with = differences_svg(&[differences(&[-0.01, -0.01], interval)], 0.01, "bits");
        assert!(with.contains("−0.0100") && with.contains("[−0.0200, 0.0000]"));
        let without = differences_svg(&[differences(&[-0.01], None)], 0.01, "bits");
        assert!(without.contains("no interval") && without.contains("(1 seed)"));
        let diamonds = |svg: &str| svg.matches("m-5 0l5 -5").count();
        assert_eq!(
            (diamonds(&with), diamonds(&without)),
            (2, 1),
            "one is the key's"
        );
        for svg in [with, without] {
            for text in ["better", "worse", "margin ±0.01", ">bits<"] {
                assert!(svg.contains(text), "{text}");
            }
        }
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        assert_eq!(curves_svg(&arms(), "loss"), curves_svg(&arms(), "loss"));
        let svg = || differences_svg(&[differences(&[0.1; 9], None)], 0.01, "loss");
        assert_eq!(svg(), svg());
    }
}
