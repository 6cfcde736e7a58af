//! Makes external text, such as names of classes and files, safe to show.
//!
//! A line break in a name could imitate a separate line, terminals execute escape sequences, and characters that
//! change the text direction hide text. Such characters are shown as Rust escapes them: `\n`, `\u{202e}`.

use std::borrow::Cow;
use std::fmt::Write;

/// One line: a name, a path, a value. Line breaks are escaped too.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_, _| false)
}

/// A message whose continuation lines are indented by two spaces. Other line breaks are escaped, so that no name
/// begins a line.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character, rest| character == '\n' && rest.starts_with("  "))
}

/// Program output: lines with the program's colours. Names in it must be escaped with [`line`] first.
pub fn printed(text: &str) -> Cow<'_, str> {
    escaped(text, |character, rest| character == '\n' || character == '\u{1b}' && is_style(rest))
}

/// A document of many lines, such as a page, with its layout.
pub fn document(text: &str) -> Cow<'_, str> {
    escaped(text, |character, _| matches!(character, '\n' | '\r' | '\t'))
}

/// The first names in backticks, and how many more there are: `` `a`, `b` and 3 more ``. At most `most` are shown.
pub fn list(names: impl IntoIterator<Item = impl AsRef<str>>, most: usize) -> String {
    let mut names = names.into_iter();
    let shown: Vec<String> = names.by_ref().take(most).map(|name| format!("`{}`", name.as_ref())).collect();
    match names.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A number with its noun: `1 image`, `3 images`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Whether an escape sequence only sets colour or weight.
fn is_style(rest: &str) -> bool {
    let Some(codes) = rest.strip_prefix('[') else { return false };
    codes.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m')
}

/// Characters that are invisible, or change how others are shown.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Soft hyphen; direction marks, embeddings, overrides and isolates.
            '\u{ad}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
            // Zero width, except the two that join letters and emoji.
            | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{feff}'
            // Line and paragraph separators, annotations, tags.
            | '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn escaped(text: &str, kept: impl Fn(char, &str) -> bool) -> Cow<'_, str> {
    // Most text contains none of them.
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for (place, character) in text.char_indices() {
        if is_hidden(character) && !kept(character, &text[place + character.len_utf8()..]) {
            write!(shown, "{}", character.escape_default()).expect("a String takes any text");
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_shortened_and_nouns_agree_with_their_number() {
        assert_eq!(list(["a", "b"], 2), "`a`, `b`");
        assert_eq!(list(["a", "b", "c", "d"], 1), "`a` and 3 more");
        assert_eq!([0, 1, 2].map(|number| count(number, "image")), ["0 images", "1 image", "2 images"]);
    }

    #[test]
    fn what_is_not_shown_is_escaped_and_everything_else_stays() {
        assert_eq!(
            line("gr\u{202e}neerf\u{1b}[2J\r\n\t\u{7f}\u{9b}"),
            r"gr\u{202e}neerf\u{1b}[2J\r\n\t\u{7f}\u{9b}"
        );
        for plain in ["Grünfink", "עורב", "غراب", "鳥", "🏳️\u{200d}🌈", "a\\nb", ""] {
            assert!(matches!(line(plain), Cow::Borrowed(same) if same == plain), "{plain}");
        }
    }

    #[test]
    fn a_name_begins_no_line_of_a_message() {
        let forged = "no class `a\nerror: b`\n  missing  `c`";
        assert_eq!(lines(forged), "no class `a\\nerror: b`\n  missing  `c`");
    }

    #[test]
    fn a_document_keeps_its_lines() {
        assert_eq!(document("<p>\ta\r\n\u{202e}\0</p>"), "<p>\ta\r\n\\u{202e}\\u{0}</p>");
    }

    #[test]
    fn a_program_prints_lines_and_colours_and_nothing_else() {
        assert_eq!(
            printed("\x1b[1;31merror\x1b[0m:\n\ta\x1b[2J\x1b]0;t\x07"),
            "\x1b[1;31merror\x1b[0m:\n\\ta\\u{1b}[2J\\u{1b}]0;t\\u{7}"
        );
    }
}
