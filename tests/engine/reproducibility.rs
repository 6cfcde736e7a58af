//! The values of random draws in `docs/reproducibility.md` are those of the program.

use std::path::Path;

use defrost::data::shuffled;
use defrost::pipeline::ImageFolder;
use defrost::random::{Purpose, Stream, name_hash};

/// The rows of the page's tables, by subject.
fn rows() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reproducibility.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, example) = text.split_once("## An example").expect("the page ends with an example");
    let cells = |line: &str| {
        let (what, numbers) = line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")?;
        Some((what.to_owned(), numbers.to_owned()))
    };
    let is_row = |(what, _): &(String, String)| what != "what" && !what.starts_with("---");
    example.lines().filter_map(cells).filter(is_row).collect()
}

fn written<T: ToString>(numbers: impl IntoIterator<Item = T>) -> String {
    numbers.into_iter().map(|number| number.to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_worked_example_is_what_the_program_draws() {
    let path = "cat/1.png";
    let stream = |purpose| Stream::new(0, purpose, 0, name_hash(path));
    let order = |epoch| written(shuffled(&(0..10).collect::<Vec<_>>(), 0, epoch));
    let mut augment = stream(Purpose::Augment);
    let mut erase = augment.with_purpose(Purpose::Erase);
    let mut rand_augment = augment.with_purpose(Purpose::RandAugment);
    let (mut mix, mut dropout) = (stream(Purpose::Mix), stream(Purpose::Dropout));
    let mut depth = stream(Purpose::StochasticDepth);
    let mut weights = Stream::new(0, Purpose::Initialize, 0, name_hash("fc.weight"));
    let expected = [
        ("the order of epoch 0", order(0)),
        ("the order of epoch 1", order(1)),
        ("the hash of its path", name_hash(path).to_string()),
        (
            "brightness, contrast, saturation, hue, angle, flips",
            written((0..7).map(|_| augment.uniform_f64())),
        ),
        ("the order of the four jitters", written(augment.permutation(4))),
        ("the first try of a crop: area, ratio", written((0..2).map(|_| augment.uniform_f64()))),
        ("and `below(65)`, `below(33)` after them", written([65, 33].map(|bound| augment.below(bound)))),
        ("random erasing", written((0..3).map(|_| erase.uniform_f64()))),
        (
            "RandAugment: change, direction, change, direction",
            written([14, 2, 14, 2].map(|bound| rand_augment.below(bound))),
        ),
        ("mixing: which, and the next `uniform_f64`", format!("{} {}", mix.below(2), mix.uniform_f64())),
        ("dropout", written((0..4).map(|_| f64::from(dropout.uniform())))),
        ("stochastic depth", written((0..2).map(|_| f64::from(depth.uniform())))),
    ];
    let rows = rows();
    for ((what, numbers), (expected, drawn)) in rows.iter().zip(&expected) {
        assert_eq!((what.as_str(), numbers), (*expected, drawn));
    }
    let rest: Vec<(&str, &str)> =
        rows[expected.len()..].iter().map(|(what, numbers)| (what.as_str(), numbers.as_str())).collect();
    let [(_, place), (_, with_seed), (parameter, draws)] = rest[..] else { panic!("{rest:?}") };
    assert_eq!((parameter, draws), ("`fc.weight`", &*written((0..2).map(|_| weights.uniform_f64()))));

    // The split tells on which side of a fraction a path falls; the page's value lies between.
    for (seed, place) in [(0, place), (1, with_seed)] {
        let place: f64 = place.parse().unwrap();
        let is_test = |test: f64| part(path, seed, test) == defrost::data::Split::Test;
        assert!(is_test(place + 1e-12) && !is_test(place), "seed {seed}: {place}");
    }
}

/// The split of a path if the given fraction is for the test.
fn part(path: &str, seed: u64, test: f64) -> defrost::data::Split {
    let root = tempfile::tempdir().unwrap();
    // Other paths, so that no split is empty.
    let others = (2..80).flat_map(|number| ["cat", "dog"].map(|class| format!("{class}/{number}.png")));
    for name in std::iter::once(path.to_owned()).chain(others) {
        let file = root.path().join(&name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "").unwrap();
    }
    let folder: ImageFolder = toml::from_str(&format!(
        "root = \"x\"\nsplit = {{ test = {test}, validation = 0.1, seed = {seed} }}"
    ))
    .unwrap();
    let dataset = defrost::data::Dataset::scan(&folder, root.path()).unwrap();
    dataset.samples.iter().find(|sample| sample.path == path).unwrap().split
}
