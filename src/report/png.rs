//! Our own SVG figures as PNG, for readers that see no SVG.

use crate::error::{Error, Result};
use resvg::{
    tiny_skia::{Color, Pixmap, Transform},
    usvg::{
        Options, Tree,
        fontdb::{Database, Source},
    },
};
use std::sync::{Arc, LazyLock};

/// The longest side that models are shown without being scaled down again, in pixels.
pub const LONGEST: u32 = 2000;

/// The font that every picture is set in, wherever it is drawn: the machine's own are not looked at.
const FAMILY: &str = "DejaVu Sans";

static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    fonts.load_font_source(Source::Binary(Arc::new(dejavu::sans::regular())));
    fonts.load_font_source(Source::Binary(Arc::new(dejavu::sans::bold())));
    fonts.set_sans_serif_family(FAMILY);
    fonts.set_monospace_family(FAMILY);
    Arc::new(fonts)
});

/// A figure as PNG, `width` pixels wide on white; narrower where it would be taller than
/// [`LONGEST`]. Errors when the text is no SVG.
pub fn png(svg: &str, width: u32) -> Result<Vec<u8>> {
    let options = Options {
        font_family: FAMILY.into(),
        fontdb: FONTS.clone(),
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options).map_err(|e| failed(e.to_string()))?;
    let size = tree.size();
    let longest = LONGEST as f32;
    let scale = (width as f32).min(longest) / size.width();
    let scale = scale.min(longest / size.height());
    let pixels = |length: f32| (length * scale).round().clamp(1.0, longest) as u32;
    let mut picture = Pixmap::new(pixels(size.width()), pixels(size.height()))
        .ok_or_else(|| failed("it has no extent".into()))?;
    picture.fill(Color::WHITE);
    let to_pixels = Transform::from_scale(scale, scale);
    resvg::render(&tree, to_pixels, &mut picture.as_mut());
    picture.encode_png().map_err(|e| failed(e.to_string()))
}

fn failed(what: String) -> Error {
    Error::failed(
        "a figure",
        format!("cannot be drawn as PNG: {what}"),
        "`windtunnel report` writes the same figures as SVG; please report this figure",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SVG: &str = "<svg xmlns='http://www.w3.org/2000/svg' width='760' height='400' viewBox='0 0 760 400' font-family='sans-serif' font-size='40'>";

    fn drawn(body: &str, width: u32) -> Pixmap {
        Pixmap::decode_png(&png(&format!("{SVG}{body}</svg>"), width).unwrap()).unwrap()
    }

    fn dark(picture: &Pixmap) -> usize {
        let pixels = picture.pixels().iter();
        pixels.filter(|pixel| pixel.red() < 100).count()
    }

    #[test]
    fn a_figure_has_the_width_asked_for_and_a_white_ground() {
        let picture = drawn("", 1520);
        assert_eq!((picture.width(), picture.height()), (1520, 800));
        assert!(
            picture
                .pixels()
                .iter()
                .all(|p| p.red() == 255 && p.alpha() == 255)
        );
    }

    #[test]
    fn words_are_drawn_on_a_machine_without_fonts() {
        let words = drawn("<text x='10' y='100'>σ = 0.014 (×10⁻⁵) − ± →</text>", 760);
        assert!(dark(&words) > 500, "{} dark pixels", dark(&words));
    }

    #[test]
    fn a_tall_figure_stays_within_what_a_model_is_shown() {
        let tall = SVG.replace("400", "4000");
        let picture = Pixmap::decode_png(&png(&format!("{tall}</svg>"), 1520).unwrap()).unwrap();
        assert_eq!((picture.width(), picture.height()), (380, LONGEST));
    }

    #[test]
    fn what_is_no_svg_is_an_error() {
        assert!(png("no figure", 100).unwrap_err().problem.contains("PNG"));
    }
}
