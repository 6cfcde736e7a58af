//! Lists of class names, formatted for messages.

use crate::sanitize;

/// The name of a class if its folder may not be read.
pub const UNKNOWN: &str = "?";

/// Whether the names of all classes are known.
pub fn is_known(classes: &[String]) -> bool {
    classes.iter().all(|class| class != UNKNOWN)
}

/// The first names of a list, in their order.
pub fn list(classes: &[String]) -> String {
    const SHOWN: usize = 6;
    sanitize::list(classes, SHOWN)
}

/// The most likely classes with their probabilities, for people.
pub(super) fn most_likely_in_words(classes: &[String], probabilities: &[f32]) -> String {
    const SHOWN: usize = 3;
    let mut ranked: Vec<(&String, f32)> = classes.iter().zip(probabilities.iter().copied()).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let shown = ranked.iter().take(SHOWN);
    let shown = shown.map(|(class, p)| format!("{} {:.1} %", sanitize::line(class), p * 100.0));
    shown.collect::<Vec<String>>().join(", ")
}
