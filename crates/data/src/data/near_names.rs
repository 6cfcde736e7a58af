//! Detects class names that are probably one class in two spellings, or a placeholder for an empty cell.
//!
//! There are few rules, each almost always right: `bus` and `buses`, `class1` and `class2` are not reported.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Placeholders that programs write for an empty cell.
const EMPTY: [&str; 8] = ["", "nan", "null", "n/a", "#n/a", "<na>", "nil", "undefined"];

/// The rule for one different letter: the class must be this rare relative to the other. It must also have few
/// images, and the names must be long enough to exclude chance.
const RARE: usize = 20;
const FEW: usize = 10;
const LONG: usize = 6;

/// The maximum number of name pairs to compare letter by letter. Larger sets, such as a hundred thousand people, use
/// numbers as names.
const MOST_PAIRS: usize = 10_000_000;

/// Two names that are probably the same, or one that is probably not a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearNames {
    pub names: Vec<String>,
    pub why: NearNameReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NearNameReason {
    /// They differ in case, white space, `-` and `_`, or in the Unicode form of an accent.
    Spelling,
    /// They differ in one letter, and one has few images.
    OneLetter,
    /// A placeholder for an empty cell.
    Empty,
}

/// `counts` has the images of each class per split.
pub fn near_names(names: &[String], counts: &[[usize; 3]]) -> Vec<NearNames> {
    let mut found = Vec::new();
    let mut spelt: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for name in names {
        if EMPTY.contains(&name.trim().to_lowercase().as_str()) {
            found.push(NearNames { names: vec![name.clone()], why: NearNameReason::Empty });
        }
        spelt.entry(folded(name)).or_default().push(name);
    }
    for same in spelt.into_values().filter(|same| same.len() > 1) {
        let names = same.into_iter().cloned().collect();
        found.push(NearNames { names, why: NearNameReason::Spelling });
    }
    let images: Vec<usize> = counts.iter().map(|parts| parts.iter().sum()).collect();
    let long = |place: &usize| images[*place] > 0 && names[*place].chars().count() >= LONG;
    let (rare, others): (Vec<usize>, Vec<usize>) =
        (0..names.len()).filter(long).partition(|place| images[*place] <= FEW);
    if rare.len() * others.len() > MOST_PAIRS {
        return found;
    }
    for rare in rare {
        let meant = others.iter().find(|&&other| {
            images[rare] * RARE <= images[other] && one_letter_apart(&names[rare], &names[other])
        });
        if let Some(&meant) = meant {
            let names = vec![names[rare].clone(), names[meant].clone()];
            found.push(NearNames { names, why: NearNameReason::OneLetter });
        }
    }
    found
}

/// A name without case, white space, `-`, `_`, and with accents in one Unicode form.
fn folded(name: &str) -> String {
    let shown = |c: &char| !c.is_whitespace() && !matches!(c, '-' | '_' | '\u{200b}' | '\u{feff}');
    composed(&name.to_lowercase()).chars().filter(shown).collect()
}

/// Composes a letter and a combining mark (NFD, which macOS uses for file names) to one character (NFC). The table
/// covers European languages; a full one would be a dependency.
fn composed(text: &str) -> String {
    const MARKS: [(char, &str, &str); 8] = [
        ('\u{300}', "aeiou", "àèìòù"),
        ('\u{301}', "aeiouyclnrsz", "áéíóúýćĺńŕśź"),
        ('\u{302}', "aeioucghjswy", "âêîôûĉĝĥĵŝŵŷ"),
        ('\u{303}', "anoiu", "ãñõĩũ"),
        ('\u{308}', "aeiouy", "äëïöüÿ"),
        ('\u{30a}', "au", "åů"),
        ('\u{30c}', "cdenrstz", "čďěňřšťž"),
        ('\u{327}', "cstgklnr", "çşţģķļņŗ"),
    ];
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let mark = MARKS.iter().find(|(mark, ..)| *mark == c);
        let whole = mark.and_then(|(_, plain, marked)| {
            let last = out.chars().next_back()?;
            plain.chars().zip(marked.chars()).find(|(plain, _)| *plain == last).map(|(_, marked)| marked)
        });
        match whole {
            Some(whole) => {
                out.pop();
                out.push(whole);
            }
            None => out.push(c),
        }
    }
    out
}

/// Whether one letter inserted, removed or replaced, or two swapped, turn one name into the other. Differences
/// in digits or a final s do not count.
fn one_letter_apart(one: &str, other: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let start = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[start..], &b[start..]);
    let end = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[..a.len() - end], &b[..b.len() - end]);
    let letters = a.iter().chain(b).all(|c| c.is_alphabetic());
    let plural = end == 0 && matches!((a, b), (['s'], []) | ([], ['s']));
    letters
        && !plural
        && match (a, b) {
            ([_], []) | ([], [_]) | ([_], [_]) => true,
            ([a, b], [c, d]) => a == d && b == c,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[(&str, usize)]) -> Vec<(Vec<String>, NearNameReason)> {
        let counts: Vec<[usize; 3]> = names.iter().map(|(_, images)| [*images, 0, 0]).collect();
        let names: Vec<String> = names.iter().map(|(name, _)| (*name).to_owned()).collect();
        near_names(&names, &counts).into_iter().map(|near| (near.names, near.why)).collect()
    }

    #[test]
    fn one_name_in_two_spellings_is_found() {
        for (one, other) in [
            ("Bee", "bee"),
            ("bee", "bee "),
            ("green turtle", "green_turtle"),
            ("caf\u{e9}", "cafe\u{301}"),
            ("fa\u{e7}ade", "FAC\u{327}ADE"),
        ] {
            let expected = vec![(vec![one.to_owned(), other.to_owned()], NearNameReason::Spelling)];
            assert_eq!(found(&[(one, 50), (other, 50)]), expected, "{one} {other}");
        }
        for name in ["NaN", " ", "null", "N/A"] {
            assert_eq!(found(&[(name, 3), ("bee", 50)]), [(vec![name.to_owned()], NearNameReason::Empty)]);
        }
    }

    #[test]
    fn a_rare_misspelling_is_found() {
        for rare in ["logerhead", "loggerheda", "loggerhaed", "loggerheat"] {
            let expected = vec![(vec![rare.to_owned(), "loggerhead".to_owned()], NearNameReason::OneLetter)];
            assert_eq!(found(&[("loggerhead", 312), (rare, 2)]), expected, "{rare}");
        }
    }

    #[test]
    fn other_classes_are_left_in_peace() {
        for names in [
            [("bus", 100), ("buses", 100)],
            [("cafe", 100), ("caf\u{e9}", 100)],
            [("vehicles", 400), ("vehicle", 2)],
            [("turtle 1", 400), ("turtle 2", 2)],
            [("class1", 400), ("class11", 2)],
            [("loggerhead", 300), ("logerhead", 40)],
            [("cat", 400), ("bat", 2)],
            [("none", 10), ("happy", 10)],
        ] {
            assert_eq!(found(&names), [], "{names:?}");
        }
    }
}
