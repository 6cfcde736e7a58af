//! A small SVG writer: shapes and text in named colours, as deterministic text.
//!
//! Every colour is written twice: as the value for a white page, and as a class. A page that embeds the drawing can
//! restyle it, for example for a dark theme. The file alone needs no style sheet.

use std::fmt::Write;

use super::text::{coordinate, escape};

/// The meaning of a mark. The palette is that of Okabe and Ito, which is safe for all kinds of colour vision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    Paper,
    /// Titles and values.
    Ink,
    /// Axis labels and other secondary text.
    Muted,
    Grid,
    Axis,
    Train,
    Validation,
    /// The cells of a heat map, with variable opacity.
    Heat,
    /// Text on an opaque cell.
    OnHeat,
    /// One of several runs or classes; the colours repeat after [`SERIES`].
    Series(usize),
    /// The box of a class on an image, by the index of the class; the colours repeat after [`BOXES`].
    Box(usize),
    /// Text on a [`Paint::Box`].
    OnBox(usize),
}

/// The runs with a colour of their own: name and colour.
pub const SERIES: [(&str, &str); 7] = [
    ("series-0", "#0072b2"),
    ("series-1", "#d55e00"),
    ("series-2", "#009e73"),
    ("series-3", "#cc79a7"),
    ("series-4", "#e69f00"),
    ("series-5", "#56b4e9"),
    ("series-6", "#57606a"),
];

/// The classes with a box colour of their own: name, colour, and the text colour with the higher contrast on it. The
/// first seven are those of Okabe and Ito; the others repeat their hues, darker or lighter.
pub const BOXES: [(&str, &str, &str); 14] = [
    ("box-0", "#e69f00", INK),
    ("box-1", "#0072b2", WHITE),
    ("box-2", "#009e73", INK),
    ("box-3", "#d55e00", INK),
    ("box-4", "#cc79a7", INK),
    ("box-5", "#56b4e9", INK),
    ("box-6", "#f0e442", INK),
    ("box-7", "#7a4b00", WHITE),
    ("box-8", "#7fc4ff", INK),
    ("box-9", "#00553e", WHITE),
    ("box-10", "#ffb380", INK),
    ("box-11", "#8a2f63", WHITE),
    ("box-12", "#003a66", WHITE),
    ("box-13", "#b8f0d8", INK),
];
const INK: &str = "#1b1f24";
const WHITE: &str = "#ffffff";

impl Paint {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Ink => "ink",
            Self::Muted => "muted",
            Self::Grid => "grid",
            Self::Axis => "axis",
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Heat => "heat",
            Self::OnHeat => "on-heat",
            Self::Series(index) => SERIES[index % SERIES.len()].0,
            Self::Box(class) => BOXES[class % BOXES.len()].0,
            Self::OnBox(_) => "on-box",
        }
    }

    fn color(self) -> &'static str {
        match self {
            Self::Paper | Self::OnHeat => WHITE,
            Self::Ink => INK,
            Self::Muted => "#57606a",
            Self::Grid => "#e4e8ec",
            Self::Axis => "#8c959f",
            Self::Train => "#0072b2",
            Self::Validation => "#d55e00",
            Self::Heat => "#08519c",
            Self::Series(index) => SERIES[index % SERIES.len()].1,
            Self::Box(class) => BOXES[class % BOXES.len()].1,
            Self::OnBox(class) => BOXES[class % BOXES.len()].2,
        }
    }
}

/// The anchor of a text, relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// The style of a text.
#[derive(Clone, Copy, Debug)]
pub struct Font {
    pub size: f64,
    pub bold: bool,
    pub paint: Paint,
    pub anchor: Anchor,
    /// Degrees, clockwise, around its anchor point.
    pub rotation: f64,
}

impl Font {
    pub fn new(size: f64, paint: Paint, anchor: Anchor) -> Self {
        Self { size, bold: false, paint, anchor, rotation: 0.0 }
    }

    pub fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub fn rotated(self, rotation: f64) -> Self {
        Self { rotation, ..self }
    }
}

/// The style of a line.
#[derive(Clone, Copy, Debug)]
pub struct Stroke {
    pub paint: Paint,
    pub width: f64,
    pub dash: Dash,
}

/// The pattern of a line. Lines of one colour differ in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dash {
    Solid,
    Dashed,
    Dotted,
}

impl Stroke {
    pub fn new(paint: Paint, width: f64) -> Self {
        Self { paint, width, dash: Dash::Solid }
    }

    pub fn dashed(self) -> Self {
        self.with(Dash::Dashed)
    }

    pub fn with(self, dash: Dash) -> Self {
        Self { dash, ..self }
    }

    fn attributes(self) -> String {
        let (name, color, width) = (self.paint.name(), self.paint.color(), coordinate(self.width));
        let dashes = match self.dash {
            Dash::Solid => "",
            Dash::Dashed => r#" stroke-dasharray="4 3""#,
            Dash::Dotted => r#" stroke-dasharray="0.1 3""#,
        };
        format!(r#"class="stroke-{name}" stroke="{color}" stroke-width="{width}"{dashes}"#)
    }
}

/// A drawing. Coordinates are pixels from the upper left corner.
#[derive(Clone, Debug, PartialEq)]
pub struct Svg {
    title: String,
    width: f64,
    height: f64,
    body: String,
}

impl Svg {
    /// An empty drawing. Screen readers read the title.
    pub fn new(title: &str, width: f64, height: f64) -> Self {
        let mut svg = Self::transparent(title, width, height);
        svg.rectangle([0.0, 0.0], [width, height], Paint::Paper, 1.0);
        svg
    }

    /// An empty drawing without paper, to be laid over an image.
    pub fn transparent(title: &str, width: f64, height: f64) -> Self {
        Self { title: title.to_owned(), width, height, body: String::new() }
    }

    /// A standalone file.
    pub fn document(&self) -> String {
        self.element(r#" xmlns="http://www.w3.org/2000/svg""#)
    }

    /// An element for an HTML page, without the name space declaration.
    pub fn inline(&self) -> String {
        self.element("")
    }

    fn element(&self, name_space: &str) -> String {
        let (width, height) = (coordinate(self.width), coordinate(self.height));
        format!(
            "<svg{name_space} width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             font-family=\"Inter, Helvetica, Arial, sans-serif\">\n<title>{}</title>\n{}</svg>\n",
            escape(&self.title),
            self.body
        )
    }

    /// A filled rectangle; `opacity` from 0 to 1.
    pub fn rectangle(&mut self, at: [f64; 2], size: [f64; 2], paint: Paint, opacity: f64) {
        let ([x, y], [width, height]) = (at.map(coordinate), size.map(coordinate));
        let (name, color) = (paint.name(), paint.color());
        let opacity = if opacity < 1.0 { format!(r#" fill-opacity="{opacity:.3}""#) } else { String::new() };
        self.write(format_args!(
            r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" class="fill-{name}" fill="{color}"{opacity}/>"#
        ));
    }

    /// The outline of a rectangle.
    pub fn frame(&mut self, at: [f64; 2], size: [f64; 2], stroke: Stroke) {
        let ([x, y], [width, height], stroke) =
            (at.map(coordinate), size.map(coordinate), stroke.attributes());
        self.write(format_args!(
            r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="none" {stroke}/>"#
        ));
    }

    pub fn line(&mut self, from: [f64; 2], to: [f64; 2], stroke: Stroke) {
        let ([x1, y1], [x2, y2], stroke) = (from.map(coordinate), to.map(coordinate), stroke.attributes());
        self.write(format_args!(r#"<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" {stroke}/>"#));
    }

    pub fn polyline(&mut self, points: &[[f64; 2]], stroke: Stroke) {
        let points: Vec<String> = points.iter().map(|point| point.map(coordinate).join(",")).collect();
        let (points, stroke) = (points.join(" "), stroke.attributes());
        self.write(format_args!(
            r#"<polyline points="{points}" fill="none" stroke-linejoin="round" stroke-linecap="round" {stroke}/>"#
        ));
    }

    /// A filled dot.
    pub fn dot(&mut self, at: [f64; 2], radius: f64, paint: Paint) {
        let ([x, y], radius, name, color) =
            (at.map(coordinate), coordinate(radius), paint.name(), paint.color());
        self.write(format_args!(
            r#"<circle cx="{x}" cy="{y}" r="{radius}" class="fill-{name}" fill="{color}"/>"#
        ));
    }

    /// A ring filled with the background colour.
    pub fn ring(&mut self, at: [f64; 2], radius: f64, stroke: Stroke) {
        let ([x, y], radius) = (at.map(coordinate), coordinate(radius));
        let (paper, stroke) =
            (Paint::Paper.color(), stroke.attributes().replace("class=\"", "class=\"fill-paper "));
        self.write(format_args!(r#"<circle cx="{x}" cy="{y}" r="{radius}" fill="{paper}" {stroke}/>"#));
    }

    /// A line of text with its baseline at the point.
    pub fn text(&mut self, at: [f64; 2], text: &str, font: Font) {
        self.text_with_title(at, text, None, font);
    }

    /// A text with a tooltip, such as the full form of a shortened name.
    pub fn text_with_title(&mut self, at: [f64; 2], text: &str, title: Option<&str>, font: Font) {
        let ([x, y], size) = (at.map(coordinate), coordinate(font.size));
        let (name, color) = (font.paint.name(), font.paint.color());
        let anchor = match font.anchor {
            Anchor::Start => "",
            Anchor::Middle => r#" text-anchor="middle""#,
            Anchor::End => r#" text-anchor="end""#,
        };
        let weight = if font.bold { r#" font-weight="600""# } else { "" };
        let turn = match font.rotation {
            0.0 => String::new(),
            degrees => format!(r#" transform="rotate({} {x} {y})""#, coordinate(degrees)),
        };
        let title = title.map(|title| format!("<title>{}</title>", escape(title))).unwrap_or_default();
        let text = escape(text);
        self.write(format_args!(
            r#"<text x="{x}" y="{y}" font-size="{size}"{weight}{anchor}{turn} class="fill-{name}" fill="{color}">{title}{text}</text>"#
        ));
    }

    fn write(&mut self, element: std::fmt::Arguments) {
        writeln!(self.body, "{element}").expect("a String takes any text");
    }
}
