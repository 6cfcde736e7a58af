//! A leaf room: text cells of CSV tables, which a spreadsheet must show and never run.
//!
//! Excel, LibreOffice and Google Sheets take a cell that begins with `=`, `+`, `-` or `@` as a formula, quoted or not, and
//! the names of classes and files may come from strangers. As OWASP advises ("CSV Injection"), such a cell gets an
//! apostrophe in front. All other text, and every number, is written as it is.

use std::borrow::Cow;

/// The character put in front of a cell that would be run.
const MARK: char = '\'';

/// A name as it is written into a table.
pub fn text(name: &str) -> Cow<'_, str> {
    if is_formula(name) { Cow::Owned(format!("{MARK}{name}")) } else { Cow::Borrowed(name) }
}

/// The name that [`text`] wrote.
pub fn name(cell: &str) -> &str {
    cell.strip_prefix(MARK).filter(|_| is_formula(cell)).unwrap_or(cell)
}

/// Whether a spreadsheet would run it. Names that begin with marks of their own get one more, so that each cell reads
/// back as one name alone.
pub fn is_formula(text: &str) -> bool {
    let text = text.trim_start_matches(MARK);
    // With the full-width signs, which Excel takes as well, and what spreadsheets skip ahead of a sign.
    let begins = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    begins && !is_number(text)
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) && text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn formulas_become_text_and_nothing_else_changes() {
        for formula in
            ["=1", "=HYPERLINK(\"http://x\")", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "＝1", "-", "+inf"]
        {
            assert_eq!(text(formula), format!("'{formula}"));
        }
        for plain in ["", "ant", "-1", "+1", "-0.5e-3", "1=1", "a/=b.png", "'tis", "'", "...", "−1"] {
            assert_eq!(text(plain), plain);
            assert_eq!(name(plain), plain);
        }
        assert_eq!(text("'=1"), "''=1");
    }

    proptest! {
        #[test]
        fn every_cell_reads_back_as_its_name(text in "['=+@1-]{0,6}|.*") {
            let cell = super::text(&text).into_owned();
            prop_assert_eq!(name(&cell), &text);
        }
    }
}
