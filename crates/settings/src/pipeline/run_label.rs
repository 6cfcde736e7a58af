//! Labels of the runs of a matrix, such as `arch=resnet50, seed=1`: one part per axis.

use super::suggest;

const SEPARATOR: &str = ", ";

/// Whether a text is valid in a label, so that a pattern can select it.
pub(super) fn is_label(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && !text.contains([',', '*', '\n'])
}

/// One part: `arch=resnet50`, or only the value if the axis has no name.
pub fn part(name: Option<&str>, value: &str) -> String {
    name.map_or_else(|| value.to_owned(), |name| format!("{name}={value}"))
}

/// A label with one more part.
pub(super) fn join(label: Option<&str>, part: &str) -> String {
    label.map_or_else(|| part.to_owned(), |label| format!("{label}{SEPARATOR}{part}"))
}

/// The axis and the value of each part. The axis is empty if it has no name.
pub fn parts(label: &str) -> impl Iterator<Item = (&str, &str)> {
    label.split(SEPARATOR).map(|part| part.split_once('=').unwrap_or(("", part)))
}

/// Whether a pattern selects the run with this label. Each part of the pattern, such as `arch=resnet*` or `resnet50`,
/// must match a part of the label. `*` matches any characters.
pub fn selects(pattern: &str, label: &str) -> bool {
    let fits = |wanted: &str| {
        let mut parts = label.split(SEPARATOR);
        parts.any(|part| {
            matches(wanted, part) || part.split_once('=').is_some_and(|(_, value)| matches(wanted, value))
        })
    };
    !pattern.trim().is_empty() && pattern.split(',').all(|wanted| fits(wanted.trim()))
}

/// The help for a pattern that selects no label.
pub(super) fn help<'a>(pattern: &str, labels: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    suggest::help(pattern, "the runs are", labels)
}

/// `*` matches any characters; other characters match themselves.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(head) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match left.find(piece) {
            Some(at) => left = &left[at + piece.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_choose_by_parts_values_and_stars() {
        let label = "arch=resnet50, seed=1";
        for pattern in [
            label,
            "seed=1",
            "1",
            "arch=resnet*",
            "seed=1,arch=resnet50",
            "*50",
            "a*h=r*n*0",
            "*",
            "resnet*, *1",
        ] {
            assert!(selects(pattern, label), "{pattern}");
        }
        for pattern in
            ["", "seed=11", "seed=", "resnet", "50", "seed=1, seed=2", "arch=*18", "a*h=r*n*1", ","]
        {
            assert!(!selects(pattern, label), "{pattern}");
        }
        assert!(!matches("ab*ba", "aba"), "the ends do not overlap");
        assert_eq!(parts("arch=a, tiny").collect::<Vec<_>>(), [("arch", "a"), ("", "tiny")]);
    }
}
