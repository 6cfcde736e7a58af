//! Suggestions of what the user may have meant.

use super::diagnostics::Diagnostic;
use crate::sanitize;

/// The most errors that get a suggestion. Searching for similar words takes time, and further errors are not shown.
const MOST: usize = 200;
/// The most names of a list that are shown.
const SHOWN: usize = 40;
/// The most candidates that are compared, and the longest word in bytes. Names that people write are fewer and shorter.
const CANDIDATES: usize = 2000;
const LONGEST: usize = 100;

/// Whether there are too many errors for further suggestions.
pub fn has_many_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.len() >= MOST
}

/// The candidate most similar to `word`, if it is similar enough. Case, `-` and `_` are ignored.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest(word, candidates).map(|(candidate, _)| candidate)
}

/// As [`closest`], for dotted names: if the whole name is not similar to any, its last part may be (`conv1.weigth`,
/// `backbone.layer4`).
pub fn closest_name<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let tail = || name.split_once('.').and_then(|(_, tail)| closest_name(tail, candidates.clone()));
    closest(name, candidates.clone()).or_else(tail)
}

/// The most similar candidate and its distance.
fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<(&'a str, usize)> {
    if word.len() > LONGEST {
        return None;
    }
    let folded = fold(word);
    let length = folded.chars().count();
    let allowed = (length / 3).max(1);
    let distance = |candidate: &str| {
        if candidate.len() > LONGEST {
            return None;
        }
        let folded_candidate = fold(candidate);
        let other = folded_candidate.chars().count();
        // The distance is at least the difference of the lengths.
        let near = length.abs_diff(other) <= allowed;
        let distance = near.then(|| strsim::damerau_levenshtein(&folded, &folded_candidate))?;
        // If no character of a word is kept, it is another word, not a misspelt one.
        (distance <= allowed && distance < other).then_some(distance)
    };
    let near = candidates.into_iter().take(CANDIDATES).filter_map(|c| Some((c, distance(c)?)));
    near.min_by_key(|(_, distance)| *distance)
}

/// A word as it is compared.
pub fn fold(text: &str) -> String {
    text.to_lowercase().replace(['-', ' '], "_")
}

/// Either "did you mean", or the list of valid names: `valid keys: …`.
pub fn help<'a>(word: &str, what: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    if let Some(meant) = closest(word, candidates.iter().copied()) {
        return Some(format!("did you mean `{meant}`?"));
    }
    if candidates.is_empty() { None } else { Some(format!("{what}: {}", list(candidates))) }
}

/// Names for a sentence: `` `a`, `b`, `c` ``; of many, the first.
pub fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    sanitize::list(names, SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_meant_and_far_ones_are_not() {
        let keys = ["epochs", "batch_size", "optimizer", "lr"];
        assert_eq!(closest("epoch", keys), Some("epochs"));
        assert_eq!(closest("BatchSize", keys), Some("batch_size"));
        assert_eq!(closest("batch-size", keys), Some("batch_size"));
        assert_eq!(closest("rl", keys), Some("lr"));
        assert_eq!(closest("x", keys), None);
        assert_eq!(closest("momentum", keys), None);
    }

    #[test]
    fn of_dotted_names_a_part_may_be_meant() {
        let names = ["layer1", "layer1.0.conv1", "layer4", "conv1.weight", "fc"];
        assert_eq!(closest_name("conv1.weigth", names), Some("conv1.weight"));
        assert_eq!(closest_name("backbone.layer4", names), Some("layer4"));
        assert_eq!(closest_name("model.layer1.0.conv_1", names), Some("layer1.0.conv1"));
        assert_eq!(closest_name("classifier", names), None);
    }

    #[test]
    fn of_a_long_list_the_first_are_told() {
        let names: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        assert!(list(names.iter().map(String::as_str)).ends_with("`39` and 10 more"));
        assert_eq!(list(["a", "b"]), "`a`, `b`");
    }
}
