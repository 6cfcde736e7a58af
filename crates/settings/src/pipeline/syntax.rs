//! Help for syntax errors: what other languages write, as TOML writes it.

use super::source_text::Span;

/// The help for a syntax error, if it is a known mistake.
pub fn help(place: &Span) -> Option<String> {
    let (line, span) = place.line();
    if let Some(literal) = quoted(line, span.start).filter(|text| text.contains('\\')) {
        return Some(backslashes(literal));
    }
    let word = word(line, span.start);
    match word {
        "True" | "TRUE" | "yes" | "Yes" | "on" | "On" => return Some("write `true`".into()),
        "False" | "FALSE" | "no" | "No" | "off" | "Off" => return Some("write `false`".into()),
        "None" | "none" | "null" | "nil" | "~" => {
            return Some("TOML has no null: remove the setting to use its default".into());
        }
        _ => {}
    }
    if let Some(number) = number(word).or_else(|| decimal_comma(line)) {
        return Some(format!("write `{number}`"));
    }
    if let Some((key, value)) =
        line.split_once(':').filter(|(key, _)| is_key(key.trim()) && !line.contains('='))
    {
        return Some(match value.trim() {
            "" => format!("this is YAML: write `[{}]`", key.trim()),
            value => format!("this is YAML: write `{} = {value}`", key.trim()),
        });
    }
    let starts_value = line[..offset(line, word)].trim_end().ends_with(['=', '[', ',']);
    let plain = |c: char| c.is_alphanumeric() || "_-./@*$~:%{}!".contains(c);
    (starts_value
        && word.starts_with(|c: char| !c.is_ascii_digit())
        && !word.is_empty()
        && word.chars().all(plain))
    .then(|| format!("write text in quotes: `\"{word}\"`"))
}

/// A number that other languages write differently (`1.e-3`, `.001`, `1_000.`, `+.5`, `0,5`, `007`, `1e-3f`), as TOML
/// writes it. `None` for a number that is TOML already, and for other text.
pub fn number(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() > 40 || toml::de::DeValue::parse(text).is_ok() {
        return None;
    }
    let (sign, body) = match text.strip_prefix(['+', '-']) {
        Some(body) if text.starts_with('-') => ("-", body),
        Some(body) => ("", body),
        None => ("", text),
    };
    let body = body.strip_suffix(['f', 'F', 'd', 'L']).unwrap_or(body);
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (body, None),
    };
    let (whole, fraction) = match mantissa.split_once(['.', ',']) {
        Some((whole, fraction)) => (whole, fraction),
        None => (mantissa, ""),
    };
    let exponent = match exponent {
        None => String::new(),
        Some(exponent) => {
            let digits = exponent.trim_start_matches(['+', '-']);
            let sign = if exponent.starts_with('-') { "-" } else { "" };
            format!("e{sign}{}", digits_of(digits).filter(|digits| !digits.is_empty())?)
        }
    };
    let (whole, fraction) = (digits_of(whole)?, digits_of(fraction)?);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = match whole.trim_start_matches(['0', '_']) {
        "" => "0",
        digits => digits,
    };
    let fraction = match fraction.as_str() {
        // An integer is valid where a float is expected, but not the other way round.
        "" if exponent.is_empty() => String::new(),
        "" => ".0".to_owned(),
        digits => format!(".{digits}"),
    };
    let number = format!("{sign}{whole}{fraction}{exponent}");
    toml::de::DeValue::parse(&number).is_ok().then_some(number)
}

/// Digits, with underscores where TOML allows them; `None` for anything else.
fn digits_of(text: &str) -> Option<String> {
    let digits = text.chars().all(|c| c.is_ascii_digit() || c == '_');
    let groups: Vec<&str> = text.split('_').filter(|group| !group.is_empty()).collect();
    digits.then(|| groups.join("_"))
}

/// The help for backslashes, which start an escape in double quotes.
fn backslashes(literal: &str) -> String {
    match literal.contains('\'') {
        true => "double each backslash, or write `/`: in double quotes `\\` starts an escape".to_owned(),
        false => format!("write it in single quotes, or with `/`: `'{literal}'`"),
    }
}

/// The text between the double quotes around a byte of a line.
fn quoted(line: &str, at: usize) -> Option<&str> {
    let mut start = None;
    let mut escaped = false;
    for (place, byte) in line.bytes().enumerate() {
        match (byte, start) {
            (b'"', None) => start = Some(place + 1),
            (b'"', Some(begin)) if !escaped => {
                if (begin..=place).contains(&at) {
                    return Some(&line[begin..place]);
                }
                start = None;
            }
            _ => {}
        }
        escaped = byte == b'\\' && !escaped && start.is_some();
    }
    // A last backslash escapes the closing quote.
    let rest = &line[start.filter(|begin| *begin <= at)?..];
    Some(rest.trim_end().trim_end_matches(['}', ']', ' ']).trim_end_matches('"'))
}

/// The characters around a byte of a line up to the next space or punctuation of TOML.
fn word(line: &str, at: usize) -> &str {
    let parts =
        |c: char| c.is_whitespace() || matches!(c, '=' | ',' | '[' | ']' | '{' | '}' | '#' | '"' | '\'');
    let start = line[..at].rfind(parts).map_or(0, |place| place + 1);
    let start = (start..=at).find(|&place| line.is_char_boundary(place)).unwrap_or(at);
    let end = line[at..].find(parts).map_or(line.len(), |length| at + length);
    &line[start..end]
}

/// The offset of a part of a line in it.
fn offset(line: &str, part: &str) -> usize {
    part.as_ptr() as usize - line.as_ptr() as usize
}

/// The number in `lr = 0,5`, with a decimal point.
fn decimal_comma(line: &str) -> Option<String> {
    line.split('=').skip(1).find_map(|value| {
        let value = value.trim_start();
        let end = value
            .find(|c: char| !matches!(c, '0'..='9' | ',' | '+' | '-' | 'e' | 'E'))
            .unwrap_or(value.len());
        let (whole, fraction) = value[..end].split_once(',')?;
        let digits = whole.ends_with(|c: char| c.is_ascii_digit())
            && fraction.starts_with(|c: char| c.is_ascii_digit());
        digits.then(|| number(&value[..end])).flatten()
    })
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_other_languages_are_written_as_toml_has_them() {
        for (written, meant) in [
            ("1.e-3", "1.0e-3"),
            (".001", "0.001"),
            ("1_000.", "1_000"),
            ("+.5", "0.5"),
            ("-.5", "-0.5"),
            ("5.", "5"),
            ("5.e", ""),
            ("007", "7"),
            ("1__0", "1_0"),
            ("_1", "1"),
            ("1e-3f", "1.0e-3"),
            ("0,5", "0.5"),
            (".e5", ""),
            (".", ""),
            ("e5", ""),
            ("1.2.3", ""),
            ("1/3", ""),
            ("one", ""),
            ("1e-3", ""),
            ("12", ""),
        ] {
            assert_eq!(number(written).as_deref().unwrap_or_default(), meant, "{written}");
        }
    }
}
