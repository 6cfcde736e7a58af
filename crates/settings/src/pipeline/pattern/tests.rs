use proptest::prelude::*;

use super::*;

fn matches(pattern: &str, name: &str) -> bool {
    Pattern::parse(pattern).unwrap().matches_name(name)
}

fn refusal(pattern: &str) -> String {
    let PatternError { message, help, .. } = Pattern::parse(pattern).unwrap_err();
    help.map_or(message.clone(), |help| format!("{message}; {help}"))
}

#[test]
fn a_name_is_a_module_and_all_below_it() {
    assert!(matches("layer1", "layer1.0.conv1.weight") && matches("fc.weight", "fc.weight"));
    assert!(!matches("layer1", "layer10.0.conv1.weight") && !matches("conv1", "layer1.0.conv1.weight"));
    assert!(!matches("layer1.0.conv", "layer1.0.conv1.weight"));
}

#[test]
fn a_wildcard_crosses_dots_and_names_modules_too() {
    assert!(matches("*", "fc.bias") && matches("layer*.bias", "layer4.2.bn1.bias"));
    assert!(matches("*.bn1", "layer1.0.bn1.weight") && matches("*.bn1.*", "layer1.0.bn1.weight"));
    assert!(!matches("*.bn1", "bn1.weight") && !matches("*.bn1", "layer1.0.bn10.weight"));
    assert!(matches("*bn1", "bn1.weight") && matches("layer*.0", "layer2.1.downsample.0.weight"));
    assert!(!matches("*.bn", "layer1.0.bn1.weight") && !matches("*.weight", "fc.weights"));
    // A dot is a dot.
    assert!(!matches("fc.weight", "fcxweight"));
}

#[test]
fn ranges_count_and_sets_hold_characters() {
    let blocks: Vec<usize> =
        (0..16).filter(|n| matches("_blocks.{9..12}", &format!("_blocks.{n}._bn1.bias"))).collect();
    assert_eq!(blocks, [9, 10, 11, 12]);
    assert!(matches("layer[2-4].*", "layer3.0.bn1.bias") && !matches("layer[2-4]", "layer1.0.bn1.bias"));
    assert!(matches("_bn[a1]", "_bn1.weight"));
}

#[test]
fn a_regular_expression_is_searched_for() {
    assert!(matches(r"re:bn\d\.", "layer1.0.bn2.weight") && matches(r"!re:^fc\.", "fc.weight"));
    assert!(!matches(r"re:^bn\d\.", "layer1.0.bn2.weight"));
}

#[test]
fn what_is_no_pattern_is_told_why() {
    insta::assert_snapshot!(
        ["", "!", "@heads", "@stem", "_blocks.[10-12]", "layer[34]", "b.[]", "b.[0..9]", "b.{3..1}", "b.{1,2}",
         "b.{01..2}", "b.{0..5000}", "b.{1..2}*", "b.{1..2", "b]", "layer?", "a.!b", "re:(", "re:[z-a]"]
            .map(|pattern| format!("{pattern:16} {}", refusal(pattern)))
            .join("\n"),
        @"
                     the pattern is empty; write a name such as `layer1`, or `*` for all parameters
    !                the pattern is empty; write a name such as `layer1`, or `*` for all parameters
    @heads           unknown alias `@heads`; did you mean `@head`?
    @stem            unknown alias `@stem`; the aliases are `@head`, `@neck`, `@backbone`, `@norm`, `@bias`, `@adapter`
    _blocks.[10-12]  `[10-12]` in `_blocks.[10-12]` matches one character, not a number; write a range of numbers: `{10..12}`
    layer[34]        `[34]` in `layer[34]` matches one character, not a number; write a range of numbers: `{0..12}`
    b.[]             `[]` in `b.[]` is not a set of characters; write a set as `[ab]` or `[1-4]`, a range of numbers as `{0..12}`
    b.[0..9]         `[0..9]` in `b.[0..9]` is not a set of characters; write a set as `[ab]` or `[1-4]`, a range of numbers as `{0..12}`
    b.{3..1}         the range `{3..1}` in `b.{3..1}` is reversed; write `{1..3}`
    b.{1,2}          `{1,2}` in `b.{1,2}` is not a numeric range; write a range as `{0..12}`, both ends included
    b.{01..2}        `{01..2}` in `b.{01..2}` is not a numeric range; write a range as `{0..12}`, both ends included
    b.{0..5000}      the range `{0..5000}` in `b.{0..5000}` is wider than 1000; use a narrower range
    b.{1..2}*        in `b.{1..2}*` the range `{1..2}` is next to `*` and could match a part of a number; put a `.` between them
    b.{1..2          `{` in `b.{1..2` is not closed; add `}`
    b]               unmatched `]` in `b]`; write a range as `{0..12}`
    layer?           `?` is not allowed inside a pattern: `layer?`; write `*` for any characters
    a.!b             `!` is not allowed inside a pattern: `a.!b`; write it at the start, or remove it
    re:(             invalid regular expression: unclosed group
    re:[z-a]         invalid regular expression: invalid character class range, the start must be <= the end
    "
    );
}

#[test]
fn what_matches_nothing_is_met_with_a_suggestion() {
    let names =
        ["layer1", "layer1.0", "layer1.0.conv1", "layer1.0.conv1.weight", "layer4", "fc", "fc.weight"];
    let suggestion = |text: &str| Pattern::parse(text).unwrap().suggestion(names);
    assert_eq!(suggestion("layr4").as_deref(), Some("layer4"));
    assert_eq!(suggestion("!layer_1").as_deref(), Some("!layer1"));
    assert_eq!(suggestion("*.conv9").as_deref(), Some("*.conv1"));
    assert_eq!(suggestion("!layer1.*.conv1.wieght").as_deref(), Some("!layer1.*.conv1.weight"));
    assert_eq!(suggestion("layer9.*.conv2"), None, "no such suggestion would match");
    assert_eq!(suggestion("conv*"), None);
    assert_eq!(suggestion("backbone.fc").as_deref(), Some("fc"));
    assert_eq!(suggestion("classifier").as_deref(), Some("@head"));
    assert_eq!(suggestion("!BatchNorm").as_deref(), Some("!@norm"));
    assert_eq!(suggestion("stem"), None);
}

/// One piece of a pattern and, for the naive matcher, what it means.
#[derive(Clone, Debug)]
enum Piece {
    Text(&'static str),
    Any,
    Range(u32, u32),
    Set(char, char),
}

fn naive(pieces: &[Piece], name: &str) -> bool {
    let Some((piece, rest)) = pieces.split_first() else { return name.is_empty() };
    match piece {
        Piece::Text(text) => name.strip_prefix(text).is_some_and(|name| naive(rest, name)),
        Piece::Any => (0..=name.len()).any(|skip| naive(rest, &name[skip..])),
        Piece::Range(first, last) => {
            (*first..=*last).any(|n| name.strip_prefix(&n.to_string()).is_some_and(|name| naive(rest, name)))
        }
        Piece::Set(first, last) => {
            name.starts_with(|c| (*first..=*last).contains(&c)) && naive(rest, &name[1..])
        }
    }
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "b1", "1", "layer", "weight", "bn"]).prop_map(Piece::Text),
        1 => Just(Piece::Any),
        1 => (0u32..12, 0u32..12).prop_map(|(a, b)| Piece::Range(a.min(b), a.max(b))),
        1 => Just(Piece::Set('1', '4')),
    ]
}

proptest! {
    #[test]
    fn agrees_with_a_naive_matcher(
        parts in prop::collection::vec(piece(), 1..4),
        names in prop::collection::vec("(a|b1|1|2|11|layer|weight|bn)(\\.(a|1|4|11|weight|bn)){0,3}", 1..20),
    ) {
        // Dots between the pieces, as in names; a dot also keeps ranges and stars apart.
        let mut pieces = Vec::new();
        for part in parts {
            if !pieces.is_empty() {
                pieces.push(Piece::Text("."));
            }
            pieces.push(part);
        }
        let text: String = pieces.iter().map(|piece| match piece {
            Piece::Text(text) => (*text).to_owned(),
            Piece::Any => "*".to_owned(),
            Piece::Range(first, last) => format!("{{{first}..{last}}}"),
            Piece::Set(first, last) => format!("[{first}-{last}]"),
        }).collect();
        let below = [&pieces[..], &[Piece::Text("."), Piece::Any]].concat();
        for name in names {
            let expected = naive(&pieces, &name) || naive(&below, &name);
            prop_assert_eq!(matches(&text, &name), expected, "{} on {}", text, name);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[!@*{}.a0-9\\[\\]?é-]{0,12}|re:.{0,8}") {
        if let Ok(pattern) = Pattern::parse(&text) {
            pattern.suggestion(["layer1", "fc"]);
        }
    }
}
