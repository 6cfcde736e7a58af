//! Converts SVG to PNG with embedded fonts, so the bytes are the same on every machine.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use super::Svg;
use crate::error::{Error, Result};

/// Pixels per unit of the drawing, for screens and print.
const SCALE: f32 = 2.0;

/// Inter, reduced to Latin, Greek and Cyrillic. Letters of other scripts are missing in PNG files, not in SVG.
static FONTS: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| {
    let mut fonts = fontdb::Database::new();
    fonts.load_font_data(include_bytes!("../../assets/fonts/Inter-Regular.ttf").to_vec());
    fonts.load_font_data(include_bytes!("../../assets/fonts/Inter-SemiBold.ttf").to_vec());
    Arc::new(fonts)
});

/// Renders a drawing as the bytes of a PNG file.
pub fn png(svg: &Svg) -> Result<Vec<u8>> {
    pixels(svg, SCALE)?.encode_png().map_err(|error| failed(&error))
}

fn failed(cause: &dyn std::fmt::Display) -> Error {
    Error::failed(format!("cannot render a picture: {cause}"))
}

/// Renders a drawing with `scale` pixels per unit. The pixels are RGBA, premultiplied.
pub(super) fn pixels(svg: &Svg, scale: f32) -> Result<Pixmap> {
    let options = Options { fontdb: Arc::clone(&FONTS), font_family: "Inter".into(), ..Options::default() };
    let tree = Tree::from_str(&svg.document(), &options).map_err(|error| failed(&error))?;
    let size = tree.size().to_int_size().scale_by(scale).ok_or_else(|| failed(&"it is too large"))?;
    let mut pixels = Pixmap::new(size.width(), size.height()).ok_or_else(|| failed(&"it is too large"))?;
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
    Ok(pixels)
}

#[cfg(test)]
mod tests {
    use super::super::svg::{Anchor, Font, Paint};
    use super::*;

    fn drawing(text: &str, bold: bool) -> Vec<u8> {
        let mut svg = Svg::new("a test", 120.0, 40.0);
        let font = Font::new(16.0, Paint::Ink, Anchor::Start);
        svg.text([4.0, 24.0], text, if bold { font.bold() } else { font });
        png(&svg).unwrap()
    }

    #[test]
    fn draws_text_in_both_weights_at_twice_the_size() {
        let bytes = drawing("Größe ναι да", false);
        assert_eq!(bytes, drawing("Größe ναι да", false));
        assert_ne!(bytes, drawing("Größe ναι да", true));
        assert_ne!(bytes, drawing("", false));
        let image = image::load_from_memory(&bytes).unwrap();
        assert_eq!((image.width(), image.height()), (240, 80));
    }
}
