//! Checks of data sets that no schema can express: settings of a split that exclude each other.

use regex::Regex;

use super::data::AvailableSplits;
use super::pattern::regex_error;
use super::unchecked::UncheckedPipeline;
use super::{CocoSplit, Split, TableSplit, VocSplit, label_checks};

/// The split of an image folder, and of other data sets that are split by folders.
pub fn folder(draft: &mut UncheckedPipeline, path: &str) {
    let at = format!("{path}.split");
    let Some(split) = draft.read::<Split>(&at) else { return };
    let given = by_folders(&split);
    parts(draft, &at, &split, given);
}

fn by_folders(split: &Split) -> Option<OtherSplitSetting> {
    split.folders.as_ref().map(|folders| OtherSplitSetting {
        by: "folders",
        does: "the folders determine the split of each image",
        parts: given(folders.validation.is_some(), folders.test.is_some()),
    })
}

/// The place and the split of images with YOLO's text files.
pub fn yolo(draft: &mut UncheckedPipeline, path: &str) {
    let is_given = |key: &str| draft.get(&format!("{path}.{key}")).is_some();
    let missing = match (is_given("file"), is_given("root"), is_given("classes")) {
        (false, false, _) => Some((
            "file",
            "set `file` (the data set's `data.yaml`), or `root` (the folder of `images` and `labels`) and `classes`",
        )),
        (false, true, false) => Some((
            "classes",
            "without a `data.yaml`, list the names of all classes in the order of their numbers",
        )),
        _ => None,
    };
    if let Some((key, help)) = missing {
        let place = draft.span(path);
        draft.report(place, "incomplete", format!("missing key `{key}`"), help.to_owned());
    }
    folder(draft, path);
}

/// The split of images in COCO's JSON files.
pub fn coco(draft: &mut UncheckedPipeline, path: &str) {
    let at = format!("{path}.split");
    let Some(split) = draft.read::<CocoSplit>(&at) else { return };
    let given = split.files.as_ref().map(|files| OtherSplitSetting {
        by: "files",
        does: "the files determine the split of each image",
        parts: given(files.validation.is_some(), files.test.is_some()),
    });
    if let Some(folders) = &split.folders {
        let files = split.files.as_ref();
        let unused = [
            (
                "validation",
                folders.validation.is_some(),
                files.is_some_and(|files| files.validation.is_some()),
            ),
            ("test", folders.test.is_some(), files.is_some_and(|files| files.test.is_some())),
        ];
        for (key, folder, file) in unused {
            if folder && !file {
                let message = format!("`folders.{key}` has no effect without `files.{key}`");
                let place = draft.key_span(&format!("{at}.folders.{key}"));
                let help = "a folder only says where the images of a JSON file are";
                draft.report(place, "no-effect", message, help.to_owned());
            }
        }
    }
    parts(draft, &at, &split.shares(), given);
}

/// The split of images with Pascal VOC's XML files.
pub fn voc(draft: &mut UncheckedPipeline, path: &str) {
    let at = format!("{path}.split");
    let Some(split) = draft.read::<VocSplit>(&at) else { return };
    parts(draft, &at, &split.shares(), by_folders(&split.shares()));
}

/// The split of a table.
pub fn table(draft: &mut UncheckedPipeline, path: &str) {
    label_checks::table(draft, path);
    let at = format!("{path}.split");
    let Some(split) = draft.read::<TableSplit>(&at) else { return };
    let given = match (&split.column, &split.files) {
        (Some(_), Some(_)) => {
            let message = "`column` and `files` both determine the split of each image".to_owned();
            let place = draft.key_span(&format!("{at}.files"));
            draft.report(place, "conflict", message, "keep one of them".to_owned());
            return;
        }
        (Some(_), None) => Some(OtherSplitSetting {
            by: "column",
            does: "the column determines the split of each image",
            parts: AvailableSplits::BY_THE_DATA,
        }),
        (None, Some(files)) => Some(OtherSplitSetting {
            by: "files",
            does: "the tables determine the split of each image",
            parts: given(files.validation.is_some(), files.test.is_some()),
        }),
        (None, None) => None,
    };
    parts(draft, &at, &split.shares(), given);
}

fn given(validation: bool, test: bool) -> AvailableSplits {
    AvailableSplits { train: true, validation, test }
}

/// The setting that splits images other than by fraction.
struct OtherSplitSetting {
    by: &'static str,
    does: &'static str,
    /// The splits besides training that it provides.
    parts: AvailableSplits,
}

fn parts(draft: &mut UncheckedPipeline, at: &str, split: &Split, given: Option<OtherSplitSetting>) {
    group(draft, at, split);
    if split.all.is_some() {
        return all_in_one(draft, at, split, given);
    }
    if let Some(OtherSplitSetting { by, does, parts }) = given {
        let usual = Split::default();
        let (validation, test) = (split.validation != usual.validation, split.test != usual.test);
        // Splits without a folder or table may take a fraction of the training images.
        let shares = validation && !parts.validation || test && !parts.test || split.folds.is_some();
        let idle = [
            ("validation", validation && parts.validation),
            ("test", test && parts.test),
            ("method", split.method != usual.method && !shares),
            ("seed", split.seed != usual.seed && !shares),
            ("group", split.group != usual.group && !shares),
            ("folds", split.folds.is_some() && parts.validation),
        ];
        for (key, _) in idle.iter().filter(|(_, idle)| *idle) {
            let message = format!("`{key}` has no effect: {does}");
            let place = draft.key_span(&format!("{at}.{key}"));
            draft.report(place, "conflict", message, format!("remove `{key}` or `{by}`"));
        }
    }
    folds(draft, at, split);
    if split.validation < 1.0 && split.test < 1.0 && split.validation + split.test >= 1.0 {
        let message = format!(
            "validation ({}) and test ({}) leave no images for training",
            split.validation, split.test
        );
        draft.report(draft.span(at), "conflict", message, "their sum must be below 1".to_owned());
    }
}

fn group(draft: &mut UncheckedPipeline, at: &str, split: &Split) {
    if let Some(group) = &split.group {
        let place = draft.span(&format!("{at}.group"));
        match Regex::new(group) {
            Err(error) => draft.report(place, "bad-regex", regex_error(&error), None),
            Ok(regex) if regex.captures_len() < 2 => {
                let message = "`group` has no capture group, so no images are grouped".to_owned();
                let help =
                    format!("put the part that identifies the group in parentheses, such as `({group})`");
                draft.report(place, "bad-regex", message, help);
            }
            Ok(_) => {}
        }
    }
}

/// A data set whose images are all in one split: nothing else splits them.
fn all_in_one(draft: &mut UncheckedPipeline, at: &str, split: &Split, given: Option<OtherSplitSetting>) {
    let usual = Split::default();
    let idle = [
        ("validation", split.validation != usual.validation),
        ("test", split.test != usual.test),
        ("method", split.method != usual.method),
        ("seed", split.seed != usual.seed),
        ("folds", split.folds.is_some()),
        ("fold", split.fold.is_some()),
    ];
    let idle = idle.into_iter().filter(|(_, given)| *given).map(|(key, _)| key);
    for key in idle.chain(given.map(|given| given.by)) {
        let message = format!("`{key}` has no effect: `all` puts every image into one split");
        let place = draft.key_span(&format!("{at}.{key}"));
        draft.report(place, "conflict", message, format!("remove `{key}` or `all`"));
    }
}

/// The parts of a cross-validation, and the one that is held out.
fn folds(draft: &mut UncheckedPipeline, at: &str, split: &Split) {
    let (folds, fold) = match (split.folds, split.fold) {
        (None, None) => return,
        (Some(folds), fold) => (folds, fold),
        (None, Some(_)) => {
            let place = draft.key_span(&format!("{at}.fold"));
            let message = "`fold` has no effect without `folds`".to_owned();
            let help = "set the number of parts, such as `folds = 5`".to_owned();
            return draft.report(place, "no-effect", message, help);
        }
    };
    let place = draft.key_span(&format!("{at}.folds"));
    if split.validation > 0.0 {
        let message = "`folds` and `validation` both determine the validation split".to_owned();
        draft.report(
            place,
            "conflict",
            message,
            "remove `validation`: one of the parts is held out".to_owned(),
        );
    } else if fold.is_none() {
        let values: Vec<String> = (1..=folds.min(10)).map(|fold| fold.to_string()).collect();
        let message = "`folds` needs a `fold`, the part that is held out for validation".to_owned();
        let more = if folds > 10 { ", …" } else { "" };
        let help = format!(
            "set `fold = 1`, and for a run of each part add `[[matrix]]` with `path = \"{at}.fold\"` and \
             `values = [{}{more}]`",
            values.join(", ")
        );
        draft.report(place, "incomplete", message, help);
    } else if let Some(fold) = fold.filter(|fold| *fold > folds) {
        let place = draft.span(&format!("{at}.fold"));
        let message = format!("there is no part {fold}: `folds` is {folds}");
        draft.report(place, "conflict", message, format!("use a number from 1 to {folds}"));
    }
}
