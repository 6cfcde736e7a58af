//! What no schema can say of data sets: settings of a split that exclude each other.

use regex::Regex;

use super::data::Parts;
use super::draft::Draft;
use super::shape::reason;
use super::{Split, TableSplit, label_checks};

/// The split of an image folder.
pub fn folder(draft: &mut Draft, path: &str) {
    let at = format!("{path}.split");
    let Some(split) = draft.read::<Split>(&at) else { return };
    let given = split.folders.as_ref().map(|folders| Given {
        by: "folders",
        does: "the folders say which image is where",
        parts: Parts { validation: folders.validation.is_some(), test: folders.test.is_some() },
    });
    parts(draft, &at, &split, given);
}

/// The split of a table.
pub fn table(draft: &mut Draft, path: &str) {
    label_checks::table(draft, path);
    let at = format!("{path}.split");
    let Some(split) = draft.read::<TableSplit>(&at) else { return };
    let given = match (&split.column, &split.files) {
        (Some(_), Some(_)) => {
            let message = "`column` and `files` both say which image is where".to_owned();
            let place = draft.key(&format!("{at}.files"));
            draft.report(place, "conflict", message, "keep one of them".to_owned());
            return;
        }
        (Some(_), None) => Some(Given {
            by: "column",
            does: "the column says which image is where",
            parts: Parts { validation: true, test: true },
        }),
        (None, Some(files)) => Some(Given {
            by: "files",
            does: "the tables say which image is where",
            parts: Parts { validation: files.validation.is_some(), test: files.test.is_some() },
        }),
        (None, None) => None,
    };
    parts(draft, &at, &split.shares(), given);
}

/// The setting that parts images otherwise than by share.
struct Given {
    by: &'static str,
    does: &'static str,
    /// The parts beside training that it gives.
    parts: Parts,
}

fn parts(draft: &mut Draft, at: &str, split: &Split, given: Option<Given>) {
    if let Some(Given { by, does, parts }) = given {
        let usual = Split::default();
        let (validation, test) = (split.validation != usual.validation, split.test != usual.test);
        // Parts that are not given may have a share of the training images.
        let shares = validation && !parts.validation || test && !parts.test;
        let idle = [
            ("validation", validation && parts.validation),
            ("test", test && parts.test),
            ("method", split.method != usual.method && !shares),
            ("seed", split.seed != usual.seed && !shares),
            ("group", split.group != usual.group && !shares),
        ];
        for (key, _) in idle.iter().filter(|(_, idle)| *idle) {
            let message = format!("`{key}` has no effect: {does}");
            let place = draft.key(&format!("{at}.{key}"));
            draft.report(place, "conflict", message, format!("remove `{key}` or `{by}`"));
        }
    }
    if split.validation < 1.0 && split.test < 1.0 && split.validation + split.test >= 1.0 {
        let message = format!(
            "validation ({}) and test ({}) leave no image for training",
            split.validation, split.test
        );
        draft.report(draft.place(at), "conflict", message, "their sum must be below 1".to_owned());
    }
    if let Some(group) = &split.group {
        let place = draft.place(&format!("{at}.group"));
        match Regex::new(group) {
            Err(error) => draft.report(place, "bad-regex", reason(&error), None),
            Ok(regex) if regex.captures_len() < 2 => {
                let message = "`group` captures nothing, so no images stay together".to_owned();
                let help = format!("put what they share in parentheses, such as `({group})`");
                draft.report(place, "bad-regex", message, help);
            }
            Ok(_) => {}
        }
    }
}
