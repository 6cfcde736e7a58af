//! Checks that the files named by rows exist.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::csv_rows::CsvRow;
use crate::Error;
use crate::error::InputErrors;
use crate::regular_file::{self, ReadRefusal};

/// The maximum number of missing files in a message.
const NAMED: usize = 4;

/// Reports rows with unreadable files; one error covers all missing files.
pub fn require(rows: &[CsvRow], root: &Path, mistakes: &mut InputErrors) -> Vec<(String, String)> {
    let mut missing = Vec::new();
    for row in rows {
        let file = root.join(&row.path);
        match regular_file::refusal(&file) {
            None => {}
            Some(ReadRefusal::Io(error)) if is_missing(&error) => missing.push(row),
            Some(refused) => {
                let error = Error::usage(format!("cannot read `{}`: {refused}", file.display()));
                let hint =
                    "restore it or remove the row, or set `broken = \"skip\"` to leave out such images";
                mistakes.add("image that cannot be read", error.within(row.place()).hint(hint));
            }
        }
    }
    if let [first, rest @ ..] = &missing[..] {
        let message = format!("`{}` is not in `{}`{}", first.path, root.display(), others(rest));
        let error = Error::usage(message).within(first.place()).hint(hint(&missing, root));
        mistakes.add("missing image", error);
    }
    Vec::new()
}

/// Removes the rows with unreadable files. Returns their paths, each with the cause.
pub fn leave_out(rows: &mut Vec<CsvRow>, root: &Path) -> Vec<(String, String)> {
    let mut unreadable = Vec::new();
    rows.retain(|row| match regular_file::refusal(&root.join(&row.path)) {
        None => true,
        Some(refused) => {
            unreadable.push((row.path.clone(), refused.to_string()));
            false
        }
    });
    unreadable.sort();
    unreadable
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn others(rows: &[&CsvRow]) -> String {
    let named: Vec<String> =
        rows.iter().take(NAMED).map(|row| format!("`{}` (line {})", row.path, row.line)).collect();
    match rows.len().saturating_sub(NAMED) {
        _ if rows.is_empty() => String::new(),
        0 => format!(", nor {}", named.join(", ")),
        1 => format!(", nor {} and 1 more image", named.join(", ")),
        more => format!(", nor {} and {more} more images", named.join(", ")),
    }
}

/// Suggests what the paths probably should be.
fn hint(missing: &[&CsvRow], root: &Path) -> String {
    let mut names = FolderNames::default();
    let differing: Vec<String> =
        missing.iter().filter_map(|row| names.in_other_case(root, &row.path)).collect();
    if let Some(first) = differing.first() {
        return match (differing.len(), missing.len()) {
            (1, 1) => format!("write `{first}`, as the file is named: names are case-sensitive"),
            (count, all) => {
                format!(
                    "write names as the files have them, such as `{first}`: {count} of {all} differ only in case"
                )
            }
        };
    }
    let above = root.parent().filter(|above| above.join(&missing[0].path).is_file());
    match above {
        Some(above) => {
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            format!("set `root` to the folder that the paths are relative to: `{}`", above.display())
        }
        None => "set `root` to the folder that the paths are relative to".to_owned(),
    }
}

/// The content of folders, by name in lower case. Each folder is read once.
#[derive(Default)]
struct FolderNames(HashMap<PathBuf, HashMap<String, String>>);

impl FolderNames {
    /// The path of a file that differs only in case.
    fn in_other_case(&mut self, root: &Path, path: &str) -> Option<String> {
        let (mut folder, mut found) = (root.to_owned(), Vec::new());
        for part in path.split('/') {
            let name = match folder.join(part).exists() {
                true => part.to_owned(),
                false => self.of(&folder).get(&part.to_lowercase())?.clone(),
            };
            folder.push(&name);
            found.push(name);
        }
        Some(found.join("/"))
    }

    fn of(&mut self, folder: &Path) -> &HashMap<String, String> {
        self.0.entry(folder.to_owned()).or_insert_with(|| {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
            names.map(|name| (name.to_lowercase(), name)).collect()
        })
    }
}
