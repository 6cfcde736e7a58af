//! An XML file with the objects of one image.

use std::io::ErrorKind;
use std::path::Path;

use roxmltree::{Document, Node, ParsingOptions};

use crate::Error;
use crate::data::BoxArea;
use crate::regular_file::{self, ReadRefusal};

/// The maximum size of a file in bytes, and the maximum number of its nodes.
const LARGEST_XML: u64 = 1 << 26;
const MOST_NODES: u32 = 4_000_000;
/// The most mistakes of one file that are reported; the rest have the same cause.
const MOST_MISTAKES: usize = 50;

/// An object of an image.
pub struct VocObject {
    pub name: String,
    /// In pixels, from the corner of the first pixel.
    pub area: BoxArea,
    pub difficult: bool,
    pub line: i64,
}

/// The content of a file.
#[derive(Default)]
pub struct VocText {
    pub exists: bool,
    /// Width and height of the image, if the file has them: some tools write 0.
    pub size: Option<[u32; 2]>,
    pub objects: Vec<VocObject>,
    /// Each with its kind.
    pub mistakes: Vec<(&'static str, Error)>,
}

/// A mistake in an object, with its kind.
type Mistake = (&'static str, Error);

impl VocText {
    /// Reads a file; one that does not exist has no objects. `first` is the number of the first pixel.
    pub fn read(file: &Path, first: f64) -> Self {
        match regular_file::read(file, LARGEST_XML) {
            Ok(bytes) => Self::parse(&bytes, file, first),
            Err(ReadRefusal::Io(error))
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Self::default()
            }
            Err(refused) => Self::wrong(Error::usage(format!("cannot read `{}`: {refused}", file.display()))),
        }
    }

    fn wrong(error: Error) -> Self {
        Self { exists: true, mistakes: vec![("XML file", error)], ..Self::default() }
    }

    fn parse(bytes: &[u8], file: &Path, first: f64) -> Self {
        let Ok(text) = std::str::from_utf8(bytes) else {
            let error = Error::usage(format!("`{}` is not UTF-8 text", file.display()));
            return Self::wrong(error.hint("save it as UTF-8"));
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let options = ParsingOptions { nodes_limit: MOST_NODES, ..ParsingOptions::default() };
        let document = match Document::parse_with_options(text, options) {
            Ok(document) => document,
            Err(error) => {
                let line = error.pos().row;
                let cause = error.to_string();
                let cause = cause.split(" at ").next().unwrap_or(&cause);
                let place = format!("`{}`, line {line}", file.display());
                return Self::wrong(Error::usage(format!("this is not XML: {cause}")).within(place));
            }
        };
        let root = document.root_element();
        let mut read = Self { exists: true, ..Self::default() };
        if root.tag_name().name() != "annotation" {
            let error = Error::usage(format!("`{}` has no `annotation`", file.display()));
            return Self::wrong(error.hint("set `root` to a folder with XML files in Pascal VOC's format"));
        }
        read.size = child(root, "size").and_then(|size| Some([side(size, "width")?, side(size, "height")?]));
        // Lines are counted on the way: the document would count them from its start for each object.
        let (mut counted, mut line) = (0, 1);
        for node in root.children().filter(|node| node.has_tag_name("object")) {
            let start = node.range().start;
            line += text[counted..start].bytes().filter(|byte| *byte == b'\n').count() as i64;
            counted = start;
            match object(node, first) {
                Ok((name, area, difficult)) => read.objects.push(VocObject { name, area, difficult, line }),
                Err((kind, error)) => {
                    read.mistakes.push((kind, error.within(format!("`{}`, line {line}", file.display()))));
                    if read.mistakes.len() >= MOST_MISTAKES {
                        break;
                    }
                }
            }
        }
        read
    }
}

fn object(node: Node, first: f64) -> Result<(String, BoxArea, bool), Mistake> {
    let name = text_of(node, "name").unwrap_or_default();
    if name.is_empty() {
        return Err(("object without a name", Error::usage("an object without a name")));
    }
    let difficult = match text_of(node, "difficult").as_deref() {
        None | Some("" | "0" | "false" | "False") => false,
        Some("1" | "true" | "True") => true,
        Some(other) => {
            return Err((
                "difficult",
                Error::usage(format!("`difficult` is `{}`, neither 0 nor 1", brief(other))),
            ));
        }
    };
    let Some(area) = child(node, "bndbox") else {
        return Err((
            "object without a box",
            Error::usage(format!("the object `{}` has no `bndbox`", brief(&name))),
        ));
    };
    let side = |key: &'static str| {
        let text =
            text_of(area, key).ok_or_else(|| ("box", Error::usage(format!("`bndbox` has no `{key}`"))))?;
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| ("box", Error::usage(format!("`{key}` is `{}`, not a number", brief(&text)))))
    };
    let (left, top, right, bottom) = (side("xmin")?, side("ymin")?, side("xmax")?, side("ymax")?);
    for (low, high, axis) in [(left, right, 'x'), (top, bottom, 'y')] {
        if low > high {
            let error = Error::usage(format!("`{axis}min` ({low}) is larger than `{axis}max` ({high})"));
            return Err(("box", error.hint("exchange them if the box is right otherwise")));
        }
    }
    if first > 0.0 && (left == 0.0 || top == 0.0) {
        let key = if left == 0.0 { "xmin" } else { "ymin" };
        let error = Error::usage(format!("`{key}` is 0, but the first pixel is 1"));
        return Err((
            "coordinate before the first pixel",
            error.hint("set `first_pixel = 0` if all files start at 0"),
        ));
    }
    // The last pixel is inside: with numbers from 1, its far side has its own number.
    Ok((name, BoxArea { left: left - first, top: top - first, right, bottom }, difficult))
}

/// A side of the image. Some tools write `640.0`.
fn side(size: Node, key: &str) -> Option<u32> {
    let side = text_of(size, key)?.parse::<f64>().ok()?;
    (side >= 1.0 && side <= f64::from(u32::MAX) && side.fract() == 0.0).then_some(side as u32)
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn text_of(node: Node, name: &str) -> Option<String> {
    child(node, name).map(|child| child.text().unwrap_or_default().trim().to_owned())
}

fn brief(text: &str) -> String {
    match text.chars().count() > 40 {
        true => text.chars().take(40).chain(['…']).collect(),
        false => text.to_owned(),
    }
}
