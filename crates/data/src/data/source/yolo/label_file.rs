//! A label file: one object per line, as `class centre_x centre_y width height` in fractions of the image.

use std::fmt::Write;
use std::io::ErrorKind;
use std::path::Path;

use crate::Error;
use crate::data::source::boxed::FoundBox;
use crate::data::{BoxArea, LabelledBox};
use crate::regular_file::{self, ReadRefusal};

/// The maximum size of a label file in bytes.
const LARGEST_LABELS: u64 = 1 << 26;
/// The most mistakes of one file that are reported; the rest have the same cause.
const MOST_MISTAKES: usize = 50;
/// Coordinates may be wrong by this much, from rounding.
const TOLERANCE: f64 = 0.01;

/// What labels must fit.
pub struct LabelRules {
    /// The number of classes.
    pub classes: usize,
    /// Whether coordinates outside of the image are clipped.
    pub clip: bool,
}

/// The content of a label file.
#[derive(Default)]
pub struct LabelText {
    pub exists: bool,
    pub objects: Vec<FoundBox>,
    /// Each with its kind.
    pub mistakes: Vec<(&'static str, Error)>,
}

/// A mistake in a line: its kind, and what to do about it.
struct Mistake(&'static str, String, Option<&'static str>);

/// An object's form in a file.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Box,
    Polygon,
}

impl LabelText {
    /// Reads a file; one that does not exist has no objects.
    pub fn read(file: &Path, rules: &LabelRules) -> Self {
        let bytes = match regular_file::read(file, LARGEST_LABELS) {
            Ok(bytes) => bytes,
            Err(ReadRefusal::Io(error))
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Self::default();
            }
            Err(refused) => {
                let error = Error::usage(format!("cannot read `{}`: {refused}", file.display()));
                return Self {
                    exists: true,
                    mistakes: vec![("labels that cannot be read", error)],
                    ..Self::default()
                };
            }
        };
        Self::parse(&bytes, file, rules)
    }

    pub fn parse(bytes: &[u8], file: &Path, rules: &LabelRules) -> Self {
        let mut read = Self { exists: true, ..Self::default() };
        let Ok(text) = std::str::from_utf8(bytes) else {
            let error = Error::usage(format!("`{}` is not UTF-8 text", file.display()));
            read.mistakes.push(("not text", error.hint("save it as UTF-8")));
            return read;
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut first: Option<(Form, usize)> = None;
        // Lines end with LF, CRLF, or CR alone.
        for (number, line) in text.replace("\r\n", "\n").split(['\n', '\r']).enumerate() {
            let number = number + 1;
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields.is_empty() {
                continue;
            }
            let parsed = object(&fields, rules).and_then(|(object, form)| match first {
                Some((other, line)) if other != form => Err(Mistake(
                    "boxes and polygons",
                    format!("a {} in a file with a {} in line {line}", form.in_words(), other.in_words()),
                    Some("use one form in a file: `class x y width height`, or a polygon of three points or more"),
                )),
                _ => {
                    first.get_or_insert((form, number));
                    Ok(object)
                }
            });
            match parsed {
                Ok(object) => read.objects.push(FoundBox { object, number: number as i64 }),
                Err(Mistake(kind, message, hint)) => {
                    let error = Error::usage(message).within(format!("`{}`, line {number}", file.display()));
                    let error = if let Some(hint) = hint { error.hint(hint) } else { error };
                    read.mistakes.push((kind, error));
                    if read.mistakes.len() >= MOST_MISTAKES {
                        break;
                    }
                }
            }
        }
        read
    }
}

impl Form {
    fn in_words(self) -> &'static str {
        match self {
            Self::Box => "box",
            Self::Polygon => "polygon",
        }
    }
}

fn object(fields: &[&str], rules: &LabelRules) -> Result<(LabelledBox, Form), Mistake> {
    if fields.iter().any(|field| field.contains([',', ';'])) {
        return Err(Mistake(
            "separators",
            format!("`{}`: fields are separated by spaces", shortened(fields)),
            Some("replace commas and semicolons by spaces"),
        ));
    }
    let form = match fields.len() {
        5 => Form::Box,
        4 => {
            return Err(Mistake(
                "number of fields",
                "4 fields instead of 5".to_owned(),
                Some("add the class as the first field: `class x y width height`"),
            ));
        }
        6 => {
            return Err(Mistake(
                "number of fields",
                "6 fields instead of 5".to_owned(),
                Some("remove the last field: these are probably predictions, with a score in each line"),
            ));
        }
        count if count >= 7 && count % 2 == 1 => Form::Polygon,
        count => {
            return Err(Mistake(
                "number of fields",
                format!("{count} fields; a box has 5, and a polygon has a class and pairs of numbers"),
                None,
            ));
        }
    };
    let mut numbers = Vec::with_capacity(fields.len());
    for field in fields {
        match field.parse::<f64>() {
            Ok(number) if number.is_finite() => numbers.push(number),
            _ => {
                let hint = match field.chars().any(char::is_alphabetic) && numbers.is_empty() {
                    true => Some("write the number of the class, not its name"),
                    false => None,
                };
                return Err(Mistake("no number", format!("`{}` is not a number", shortened(&[field])), hint));
            }
        }
    }
    let class = class(numbers[0], fields[0], rules)?;
    let places = &numbers[1..];
    if !rules.clip {
        require_inside(places, &fields[1..], form)?;
    }
    let area = match (form, places) {
        (Form::Box, &[x, y, width, height]) => BoxArea {
            left: x - width / 2.0,
            top: y - height / 2.0,
            right: x + width / 2.0,
            bottom: y + height / 2.0,
        },
        _ => {
            let ends = |axis: usize| {
                places
                    .iter()
                    .skip(axis)
                    .step_by(2)
                    .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), place| {
                        (least.min(*place), most.max(*place))
                    })
            };
            let ((left, right), (top, bottom)) = (ends(0), ends(1));
            BoxArea { left, top, right, bottom }
        }
    };
    Ok((LabelledBox::new(class, area), form))
}

fn class(number: f64, field: &str, rules: &LabelRules) -> Result<u32, Mistake> {
    let field = shortened(&[field]);
    if number.fract() != 0.0 || number < 0.0 {
        let hint = match (0.0..1.0).contains(&number) {
            true => "the class is the first field, a whole number: it is probably missing, or another field",
            false => "classes are whole numbers from 0",
        };
        return Err(Mistake("class", format!("the class is `{field}`"), Some(hint)));
    }
    match number < rules.classes as f64 {
        true => Ok(number as u32),
        false => {
            let last = rules.classes.saturating_sub(1);
            let hint = match number == rules.classes as f64 {
                true => "numbers of classes start at 0: these labels probably start at 1",
                false => "correct the class, or add its name",
            };
            let message = match rules.classes {
                1 => format!("the class is {field}, but there is only class 0"),
                _ => format!("the class is {field}, but there are classes 0 to {last}"),
            };
            Err(Mistake("class that has no name", message, Some(hint)))
        }
    }
}

fn require_inside(places: &[f64], fields: &[&str], form: Form) -> Result<(), Mistake> {
    const CLIP: &str = "correct it, or set `clip = true` to clip such boxes to their images";
    let inside = -TOLERANCE..=1.0 + TOLERANCE;
    let names = ["x", "y", "width", "height"];
    for (place, (value, field)) in places.iter().zip(fields).enumerate() {
        let is_length = form == Form::Box && place >= 2;
        if inside.contains(value) && !(is_length && *value < 0.0) {
            continue;
        }
        let mut message = match form {
            Form::Box => names[place].to_owned(),
            Form::Polygon => names[place % 2].to_owned(),
        };
        let bounds = if is_length { "negative or above 1" } else { "outside of the image (0 to 1)" };
        write!(message, " is {}, {bounds}", shortened(&[field])).expect("text can be written");
        let hint = match places.iter().filter(|value| **value > 2.0).count() >= 2 {
            true => {
                "divide x and width by the width of the image, y and height by its height: these are pixels"
            }
            false => CLIP,
        };
        return Err(Mistake("coordinate outside of the image", message, Some(hint)));
    }
    Ok(())
}

/// Fields for a message.
fn shortened(fields: &[&str]) -> String {
    let text = fields.join(" ");
    match text.chars().count() > 40 {
        true => text.chars().take(40).chain(['…']).collect(),
        false => text,
    }
}
