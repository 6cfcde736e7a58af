//! What a person may have meant.

/// The candidate closest to `word`, if close enough to be meant. Case, `-` and `_` make no distance.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let fold = |text: &str| text.to_lowercase().replace('-', "_");
    let folded = fold(word);
    let allowed = (folded.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&folded, &fold(candidate)), candidate))
        // A word of which nothing remains is not misspelt but another word.
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Either "did you mean", or the list of what there is: `valid keys: …`.
pub fn help<'a>(word: &str, what: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    if let Some(meant) = closest(word, candidates.iter().copied()) {
        return Some(format!("did you mean `{meant}`?"));
    }
    if candidates.is_empty() { None } else { Some(format!("{what}: {}", list(candidates))) }
}

/// `` `a`, `b`, `c` ``
pub fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
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
}
