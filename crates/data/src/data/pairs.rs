//! Reads a list of image pairs: a table with the columns `first` and `second`, such as defrost's `hardest_pairs.csv`.

use std::collections::BTreeMap;

use super::Split;
use super::dataset::Dataset;
use crate::csv_cells;
use crate::error::{Error, InputErrors, Result};

/// The pairs that `text` lists, each as two positions in the samples of a split.
///
/// # Errors
/// A table without these columns or without rows, an image that is not in the split, or an image paired with itself.
pub fn read_pairs(text: &str, dataset: &Dataset, split: Split) -> Result<Vec<(usize, usize)>> {
    let places: BTreeMap<&str, usize> = dataset
        .split(split)
        .into_iter()
        .map(|sample| (dataset.samples[sample].path.as_str(), sample))
        .collect();
    let mut table = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let unreadable = |error: csv::Error| Error::usage(format!("not a table of pairs: {error}"));
    let header = table.headers().map_err(unreadable)?.clone();
    let column = |name: &str| {
        header.iter().position(|column| column == name).ok_or_else(|| {
            Error::usage(format!("the table of pairs has no column `{name}`"))
                .hint("the first line must name the columns: `first,second`")
        })
    };
    let columns = [column("first")?, column("second")?];
    let (mut pairs, mut mistakes) = (Vec::new(), InputErrors::default());
    for row in table.records() {
        let row = row.map_err(unreadable)?;
        let line = row.position().map_or(0, |position| position.line());
        let found = columns.map(|column| {
            let path = row.get(column).unwrap_or_default();
            let place = places.get(path).or_else(|| places.get(csv_cells::name(path)));
            place.copied().ok_or_else(|| {
                Error::usage(format!("line {line}: `{path}` is not an image of the {} split", split.name()))
                    .hint("write paths relative to the data set's `root`, such as `person_1/1.jpg`")
            })
        });
        match found {
            [Ok(first), Ok(second)] if first == second => {
                let path = &dataset.samples[first].path;
                let error = Error::usage(format!("line {line}: `{path}` is paired with itself"));
                mistakes.add("image paired with itself", error);
            }
            [Ok(first), Ok(second)] => pairs.push((first, second)),
            found => found
                .into_iter()
                .filter_map(Result::err)
                .for_each(|error| mistakes.add("image outside the split", error)),
        }
    }
    mistakes.into_result()?;
    match pairs.is_empty() {
        true => Err(Error::usage("the table lists no pairs")),
        false => Ok(pairs),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::data::{Label, Sample};

    #[test]
    fn pairs_are_images_of_the_part_and_every_mistake_is_at_its_line() {
        let sample = |path: &str, class, split| Sample {
            path: path.to_owned(),
            label: Label::Class(class),
            split,
            digest: None,
        };
        let dataset = Dataset {
            root: PathBuf::new(),
            classes: vec!["ada".to_owned(), "bo".to_owned()],
            samples: vec![
                sample("ada/1.jpg", 0, Split::Test),
                sample("ada/2.jpg", 0, Split::Train),
                sample("bo/1.jpg", 1, Split::Test),
                sample("bo/2.jpg", 1, Split::Test),
                sample("=1.jpg", 1, Split::Test),
            ],
            ..Dataset::default()
        };
        let read = |text: &str| read_pairs(text, &dataset, Split::Test);
        let text =
            "same,first,second\nno, ada/1.jpg ,bo/2.jpg\nyes,bo/2.jpg,bo/1.jpg\nno,ada/1.jpg,'=1.jpg\n";
        assert_eq!(read(text).unwrap(), [(0, 3), (3, 2), (0, 4)]);
        for (text, mistake) in [
            ("first,second\nada/1.jpg,ada/2.jpg\n", "line 2: `ada/2.jpg` is not an image of the test split"),
            (
                "first,second\nada/1.jpg,bo/1.jpg\nbo/1.jpg,bo/1.jpg\n",
                "line 3: `bo/1.jpg` is paired with itself",
            ),
            ("a,b\nada/1.jpg,bo/1.jpg\n", "the table of pairs has no column `first`"),
            ("first,second\n", "the table lists no pairs"),
            ("first,second\nada/1.jpg\n", "not a table of pairs"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.message.starts_with(mistake), "{error}");
        }
    }
}
