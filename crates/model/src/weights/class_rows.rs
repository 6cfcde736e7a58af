//! Rows of the last layers for a head with other classes: taken from the file's classes by name.
//!
//! The last layers have one row per class, so the rows of a class can be moved to another place. Rows without a class in
//! the file are initialised at random.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::{LoadRules, WeightsFile, initialize};
use crate::error::{Error, Result};
use crate::model::{Description, TensorId, TensorSpec};
use crate::pipeline::ClassRows;
use crate::pipeline::suggest::closest_name;
use crate::sanitize;

/// The number of classes that a message lists.
const SHOWN: usize = 20;

/// The tensors with one row per class, found by comparing the model for `classes` classes with one for many more: some
/// architectures make hidden layers wider for more classes, but none as wide as that.
pub fn class_tensors(classes: usize, describe: impl Fn(usize) -> Description) -> Vec<TensorId> {
    const MANY_MORE: usize = 4096;
    let (own, larger) = (describe(classes), describe(classes + MANY_MORE));
    let larger: BTreeMap<&str, usize> =
        larger.tensors.iter().map(|spec| (spec.name.as_str(), rows(&spec.shape))).collect();
    let grows = |spec: &TensorSpec| {
        rows(&spec.shape) == classes && larger.get(spec.name.as_str()) == Some(&(classes + MANY_MORE))
    };
    (0..own.tensors.len()).filter(|&id| grows(&own.tensors[id])).collect()
}

/// The number of rows; 0 for a scalar.
pub(super) fn rows(shape: &[usize]) -> usize {
    shape.first().copied().unwrap_or(0)
}

/// Which class of a file each class of the head starts from.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassMapping {
    /// For each class of the head, the row in the file.
    pub(super) rows: Vec<Option<usize>>,
    /// The classes of the head and those of the file.
    classes: Vec<String>,
    file_classes: Vec<String>,
}

impl ClassMapping {
    /// The mapping that the rules ask for. `None` if they ask for none, or the classes of the head are not known.
    ///
    /// # Errors
    /// The file's classes are not known, a name is not among the classes, several classes have the wanted name, or no
    /// class would be taken.
    pub fn new(source: &WeightsFile, rules: &LoadRules) -> Result<Option<Self>> {
        let (Some(wanted), Some(classes)) = (&rules.class_rows, &rules.classes) else { return Ok(None) };
        let path = source.path().display();
        let file_classes = file_classes(source, rules)?;
        let rows = match wanted {
            ClassRows::ByName => by_name(classes, &file_classes)
                .map_err(|error| error.within(format!("`class_rows` cannot be read from `{path}`")))?,
            ClassRows::Table(table) => by_table(table, classes, &file_classes)
                .map_err(|error| error.within(format!("`class_rows` does not fit `{path}`")))?,
        };
        if rows.iter().all(Option::is_none) {
            return Err(Error::usage(format!(
                "no class in `{path}` has the name of a class of the data set: the file has {}, the data set {}",
                sanitize::list(&file_classes, SHOWN),
                sanitize::list(classes, SHOWN),
            ))
            .hint("name the classes to take, such as `class_rows = { tram = \"train\" }`, or replace `class_rows` by `reinit = [\"@head\"]`"));
        }
        Ok(Some(Self { rows, classes: classes.clone(), file_classes }))
    }

    /// How many classes start from the file.
    pub fn taken(&self) -> usize {
        self.rows.iter().flatten().count()
    }

    /// The classes that start at random.
    pub fn fresh(&self) -> Vec<&str> {
        let classes = self.classes.iter().zip(&self.rows);
        classes.filter(|(_, row)| row.is_none()).map(|(class, _)| class.as_str()).collect()
    }

    /// Which classes start from the file, and which at random.
    pub fn sentence(&self) -> String {
        let pairs = self.classes.iter().zip(&self.rows);
        let taken: Vec<String> = pairs
            .filter_map(|(class, row)| Some((class, &self.file_classes[(*row)?])))
            .map(|(class, file)| if class == file { class.clone() } else { format!("{class} (from {file})") })
            .collect();
        let start = format!(
            "{} of {} classes start from the file: {}",
            self.taken(),
            self.classes.len(),
            sanitize::list(&taken, SHOWN)
        );
        match self.fresh() {
            fresh if fresh.is_empty() => start,
            fresh => format!("{start}; the others start at random: {}", sanitize::list(&fresh, SHOWN)),
        }
    }

    /// The tensor of the model: rows of the file where there are any, else the initialised ones.
    pub(super) fn tensor(&self, spec: &TensorSpec, file: &Tensor, seed: u64) -> Result<Tensor> {
        let mut numbers: Vec<f32> = initialize(spec, seed)?.flatten_all()?.to_vec1()?;
        let given: Vec<f32> = file.flatten_all()?.to_vec1()?;
        let width = numbers.len() / self.rows.len().max(1);
        for (row, from) in self.rows.iter().enumerate().filter_map(|(row, from)| Some((row, (*from)?))) {
            numbers[row * width..][..width].copy_from_slice(&given[from * width..][..width]);
        }
        Ok(Tensor::from_vec(numbers, spec.shape.as_slice(), &Device::Cpu)?)
    }

    /// The number of rows that the file's tensors need.
    pub(super) fn file_rows(&self) -> usize {
        self.file_classes.len()
    }
}

/// The classes that the file records, or the setting lists.
fn file_classes(source: &WeightsFile, rules: &LoadRules) -> Result<Vec<String>> {
    let (path, listed) = (source.path().display(), &rules.file_classes);
    match source.classes() {
        None if listed.is_empty() => Err(Error::usage(format!(
            "`class_rows` needs the names of the classes in `{path}`, which the file does not record"
        ))
        .hint("list them in the order of the outputs: `file_classes = [\"person\", …]`")),
        None => Ok(listed.clone()),
        Some(recorded) if listed.is_empty() || listed == recorded => Ok(recorded.to_vec()),
        Some(recorded) => Err(Error::usage(format!(
            "`file_classes` differs from the classes that `{path}` records: {}",
            sanitize::list(recorded, SHOWN)
        ))
        .hint("remove `file_classes`")),
    }
}

/// As names are compared: without surrounding spaces, in lower case.
fn plain(name: &str) -> String {
    name.trim().to_lowercase()
}

fn by_name(classes: &[String], file_classes: &[String]) -> Result<Vec<Option<usize>>> {
    let ambiguous = |whose: &str, one: &str, other: &str| {
        Error::usage(format!("the classes `{one}` and `{other}` of {whose} have the same name"))
            .hint("name the classes to take, such as `class_rows = { tram = \"train\" }`")
    };
    let mut own: BTreeMap<String, &str> = BTreeMap::new();
    for class in classes {
        if let Some(other) = own.insert(plain(class), class) {
            return Err(ambiguous("the data set", other, class));
        }
    }
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    for (row, class) in file_classes.iter().enumerate() {
        let name = plain(class);
        if !own.contains_key(&name) {
            continue;
        }
        if let Some(other) = rows.insert(name, row) {
            return Err(ambiguous("the file", &file_classes[other], class));
        }
    }
    Ok(classes.iter().map(|class| rows.get(&plain(class)).copied()).collect())
}

fn by_table(
    table: &BTreeMap<String, String>,
    classes: &[String],
    file_classes: &[String],
) -> Result<Vec<Option<usize>>> {
    let place = |name: &str, among: &[String], whose: &str| {
        let mut places = (0..among.len()).filter(|&place| among[place] == name);
        match (places.next(), places.next()) {
            (Some(place), None) => Ok(place),
            (Some(_), Some(_)) => Err(Error::usage(format!("{whose} has several classes `{name}`"))
                .hint("a class is found by its name: give each one its own")),
            (None, _) => {
                let near = closest_name(name, among.iter().map(String::as_str));
                let near = near.map(|near| format!("did you mean `{near}`?"));
                Err(Error::usage(format!("{whose} has no class `{name}`")).hint(
                    near.unwrap_or_else(|| format!("its classes are {}", sanitize::list(among, SHOWN))),
                ))
            }
        }
    };
    let mut rows = vec![None; classes.len()];
    for (own, file) in table {
        rows[place(own, classes, "the data set")?] = Some(place(file, file_classes, "the file")?);
    }
    Ok(rows)
}
