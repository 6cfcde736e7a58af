//! Text cells of CSV files, protected from execution by spreadsheets.
//!
//! Excel, LibreOffice and Google Sheets treat a cell that begins with `=`, `+`, `-` or `@` as a formula, quoted
//! or not, and names of classes and files may be hostile. As OWASP advises ("CSV Injection"), such a cell gets a
//! leading apostrophe. All other text, and every number, is written unchanged.

use std::borrow::Cow;

/// The character in front of a cell that would be a formula.
const MARK: char = '\'';

/// The cell for a name.
pub fn text(name: &str) -> Cow<'_, str> {
    if is_formula(name) { Cow::Owned(format!("{MARK}{name}")) } else { Cow::Borrowed(name) }
}

/// The name in a cell written by [`text`].
pub fn name(cell: &str) -> &str {
    cell.strip_prefix(MARK).filter(|_| is_formula(cell)).unwrap_or(cell)
}

/// Whether a spreadsheet would treat it as a formula. Names that begin with apostrophes before such a character
/// get one more, so that reading back is exact.
pub fn is_formula(text: &str) -> bool {
    let text = text.trim_start_matches(MARK);
    // Including full-width signs, which Excel accepts too, and characters that spreadsheets skip before a sign.
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
