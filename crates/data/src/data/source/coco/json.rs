//! The parts of a COCO file that are needed. It is read as a stream: COCO's own training file has 450 MB, most of them
//! outlines of objects, which are skipped.

use std::fmt;
use std::io::BufReader;
use std::path::Path;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::{Error, Result, regular_file};

/// The maximum size of a file in bytes.
const LARGEST_JSON: u64 = 1 << 33;

#[derive(Deserialize)]
pub struct CocoFile {
    pub images: Vec<CocoImage>,
    #[serde(default)]
    pub annotations: Vec<CocoAnnotation>,
    #[serde(default)]
    pub categories: Vec<CocoCategory>,
}

#[derive(Deserialize)]
pub struct CocoImage {
    pub id: CocoId,
    pub file_name: String,
    #[serde(default)]
    pub width: Option<f64>,
    #[serde(default)]
    pub height: Option<f64>,
}

#[derive(Deserialize)]
pub struct CocoAnnotation {
    #[serde(default)]
    pub id: Option<CocoId>,
    #[serde(default)]
    pub image_id: Option<CocoId>,
    #[serde(default)]
    pub category_id: Option<CocoId>,
    #[serde(default, deserialize_with = "numbers")]
    pub bbox: Option<Vec<f64>>,
    #[serde(default)]
    pub area: Option<f64>,
    #[serde(default, deserialize_with = "flag")]
    pub iscrowd: bool,
}

#[derive(Deserialize)]
pub struct CocoCategory {
    pub id: CocoId,
    pub name: String,
}

/// An id: a number, or in the files of some tools a text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CocoId {
    Number(i64),
    Text(String),
}

impl CocoId {
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(_) => None,
        }
    }
}

impl fmt::Display for CocoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "`{text}`"),
        }
    }
}

impl CocoFile {
    /// # Errors
    /// A usage error with file, line and column.
    pub fn read(file: &Path) -> Result<Self> {
        let cannot = |refused: regular_file::ReadRefusal| Error::io("read", file, refused.into()).as_usage();
        let opened = regular_file::open(file).map_err(cannot)?;
        let length = opened.metadata().map_err(|error| Error::io("read", file, error).as_usage())?.len();
        if length > LARGEST_JSON {
            return Err(cannot(regular_file::ReadRefusal::TooLarge(LARGEST_JSON)));
        }
        use std::io::Read;
        let mut reader = BufReader::with_capacity(1 << 18, opened.take(length));
        skip_byte_order_mark(&mut reader).map_err(|error| Error::io("read", file, error).as_usage())?;
        serde_json::from_reader(reader).map_err(|error| wrong(file, &error))
    }
}

fn skip_byte_order_mark(reader: &mut impl std::io::BufRead) -> std::io::Result<()> {
    if reader.fill_buf()?.starts_with(b"\xEF\xBB\xBF") {
        reader.consume(3);
    }
    Ok(())
}

fn wrong(file: &Path, error: &serde_json::Error) -> Error {
    let place = format!("`{}`, line {}, column {}", file.display(), error.line(), error.column());
    let text = error.to_string();
    let cause = text.split(" at line ").next().unwrap_or(&text);
    let message = Error::usage(format!("this is not a COCO file: {cause}")).within(place);
    if cause.contains("missing field `images`") {
        return message.hint("name the file with `images`, `annotations` and `categories`");
    }
    if error.is_data() && cause.contains("invalid type: map, expected") || cause.contains("invalid length") {
        return message
            .hint("a list of results is not a data set: name the file with `images` and `annotations`");
    }
    match error.is_syntax() && cause.starts_with("expected value") {
        true => message.hint("numbers such as `NaN` and `Infinity` are not JSON"),
        false => message,
    }
}

impl<'de> Deserialize<'de> for CocoId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = CocoId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id: a whole number or a text")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<CocoId, E> {
                i64::try_from(number).map(CocoId::Number).map_err(|_| E::custom("an id that is too large"))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<CocoId, E> {
                Ok(CocoId::Number(number))
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<CocoId, E> {
                match number.fract() == 0.0 && number.abs() < 9e15 {
                    true => Ok(CocoId::Number(number as i64)),
                    false => Err(E::custom("an id that is not a whole number")),
                }
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<CocoId, E> {
                // `"7"` and `7` are one id, as some tools write both.
                Ok(text.parse().map_or_else(|_| CocoId::Text(text.to_owned()), CocoId::Number))
            }
        }
        deserializer.deserialize_any(IdVisitor)
    }
}

/// A list of numbers, of any length: its length is checked with the place of the annotation.
fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<f64>>, D::Error> {
    struct NumbersVisitor;
    impl<'de> Visitor<'de> for NumbersVisitor {
        type Value = Option<Vec<f64>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("`bbox`: four numbers")
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut numbers = Vec::with_capacity(4);
            while numbers.len() < 8 {
                match items.next_element()? {
                    Some(number) => numbers.push(number),
                    None => return Ok(Some(numbers)),
                }
            }
            while items.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Some(numbers))
        }
    }
    deserializer.deserialize_any(NumbersVisitor)
}

/// 0 or 1, or a boolean.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    struct FlagVisitor;
    impl Visitor<'_> for FlagVisitor {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("`iscrowd`: 0 or 1")
        }

        fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<bool, E> {
            Ok(flag)
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<bool, E> {
            Ok(false)
        }

        fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<bool, E> {
            match number {
                0 | 1 => Ok(number == 1),
                _ => Err(E::custom("`iscrowd` is neither 0 nor 1")),
            }
        }

        fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<bool, E> {
            match number == 0.0 || number == 1.0 {
                true => Ok(number == 1.0),
                false => Err(E::custom("`iscrowd` is neither 0 nor 1")),
            }
        }
    }
    deserializer.deserialize_any(FlagVisitor)
}
