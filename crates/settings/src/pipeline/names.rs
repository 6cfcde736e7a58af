//! Rules for names, and the nearest valid name.

/// The help for an invalid name. `joints` are the characters that may join words. Some names start with a letter,
/// others with a letter or digit.
pub fn help(name: &str, joints: &str, letter_first: bool) -> String {
    let parts: Vec<String> = joints.chars().map(|c| format!("`{c}`")).collect();
    let start = if letter_first { "a letter" } else { "a letter or digit" };
    let (last, others) = parts.split_last().expect("names have at least one joining character");
    let rule = format!(
        "a name consists of ASCII letters, digits, {} and {last}, and starts with {start}",
        others.join(", ")
    );
    match valid(name, joints, letter_first) {
        Some(valid) => format!("{rule}: write `{valid}`"),
        None => rule,
    }
}

/// The nearest valid name, if any characters remain.
fn valid(name: &str, joints: &str, letter_first: bool) -> Option<String> {
    let mut valid = String::new();
    for character in name.chars().take(100) {
        match plain(character) {
            Some(letters) => valid.push_str(letters),
            None if character.is_ascii_alphanumeric() || joints.contains(character) => valid.push(character),
            None if valid.ends_with('-') => {}
            None => valid.push('-'),
        }
    }
    let first = |c: char| if letter_first { c.is_ascii_alphabetic() } else { c.is_ascii_alphanumeric() };
    let valid = valid.trim_start_matches(|c: char| !first(c)).trim_end_matches('-');
    (!valid.is_empty()).then(|| valid.to_owned())
}

/// Latin letters without their diacritics.
fn plain(character: char) -> Option<&'static str> {
    Some(match character {
        'ä' | 'æ' => "ae",
        'ö' | 'œ' => "oe",
        'ü' => "ue",
        'Ä' | 'Æ' => "Ae",
        'Ö' | 'Œ' => "Oe",
        'Ü' => "Ue",
        'ß' => "ss",
        'à' | 'á' | 'â' | 'ã' | 'å' => "a",
        'ç' | 'č' | 'ć' => "c",
        'è' | 'é' | 'ê' | 'ë' | 'ě' => "e",
        'É' | 'È' | 'Ê' => "E",
        'ì' | 'í' | 'î' | 'ï' => "i",
        'ñ' | 'ń' => "n",
        'ò' | 'ó' | 'ô' | 'õ' | 'ø' => "o",
        'ř' => "r",
        'š' | 'ś' => "s",
        'ù' | 'ú' | 'û' | 'ů' => "u",
        'ý' | 'ÿ' => "y",
        'ž' | 'ź' | 'ż' => "z",
        'ł' => "l",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_of_a_name_is_suggested() {
        let rule =
            "a name consists of ASCII letters, digits, `.`, `_` and `-`, and starts with a letter or digit";
        assert_eq!(help("Vögel / Küste", "._-", false), format!("{rule}: write `Voegel-Kueste`"));
        assert_eq!(help("2nd try", "._-", false), format!("{rule}: write `2nd-try`"));
        assert_eq!(help("鳥", "._-", false), rule);
        assert!(help("2nd try!", "_-", true).ends_with("starts with a letter: write `nd-try`"));
    }
}
