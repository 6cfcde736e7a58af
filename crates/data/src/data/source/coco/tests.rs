use std::fs;

use super::*;
use crate::data::Sample;
use crate::data::fixtures;

/// Two images of the size of `rgb8.png`; the id 90 comes before 7 in the file, but not in the classes.
fn scene(change: impl Fn(&str) -> String) -> tempfile::TempDir {
    let scene = tempfile::tempdir().unwrap();
    fs::create_dir(scene.path().join("photos")).unwrap();
    let bytes = fixtures::bytes("rgb8.png");
    let (width, height) = crate::data::decode(&bytes).unwrap().dimensions();
    for name in ["a", "b", "c"] {
        fs::write(scene.path().join(format!("photos/{name}.png")), &bytes).unwrap();
    }
    let image = |id: u32, name: &str| {
        format!("{{\"id\": {id}, \"file_name\": \"{name}.png\", \"width\": {width}, \"height\": {height}}}")
    };
    let text = format!(
        "{{\"info\": {{}}, \"images\": [{}, {}],\n\"annotations\": [\n\
         {{\"id\": 1, \"image_id\": 12, \"category_id\": 90, \"bbox\": [1, 2, 4, 6], \"area\": 24.0, \"iscrowd\": 0, \"segmentation\": [[1, 2, 3]]}},\n\
         {{\"id\": 2, \"image_id\": 12, \"category_id\": 7, \"bbox\": [0, 0, 5, 5], \"area\": 7.5, \"iscrowd\": 1}}],\n\
         \"categories\": [{{\"id\": 90, \"name\": \"tram\"}}, {{\"id\": 7, \"name\": \"car\", \"supercategory\": \"x\"}}]}}",
        image(12, "a"),
        image(13, "b")
    );
    fs::write(scene.path().join("train.json"), change(&text)).unwrap();
    scene
}

fn read(scene: &tempfile::TempDir, settings: &str) -> Result<Dataset> {
    let text = format!("file = \"train.json\"\nroot = \"photos\"\n{settings}");
    let settings: Coco = toml::from_str(&text).unwrap();
    DataFormat::read(&settings, &|path| Ok(scene.path().join(path)))
}

fn told(scene: &tempfile::TempDir, settings: &str) -> String {
    let error = read(scene, settings).unwrap_err();
    let one = |error: &Error| match &error.hint {
        Some(hint) => format!("{} ({hint})", error.message),
        None => error.message.clone(),
    };
    let all: Vec<String> = std::iter::once(&error).chain(&error.others).map(one).collect();
    all.join("\n").replace(&format!("{}/", scene.path().display()), "")
}

#[test]
fn categories_are_classes_in_the_order_of_their_ids() {
    let dataset = read(&scene(str::to_owned), "").unwrap();
    assert_eq!(
        (&dataset.classes[..], &dataset.category_ids[..]),
        (&["car".to_owned(), "tram".to_owned()][..], &[7, 90][..])
    );
    let [a, b] = &dataset.samples[..] else { panic!("{dataset:?}") };
    let (width, height) = crate::data::decode(&fixtures::bytes("rgb8.png")).unwrap().dimensions();
    let (width, height) = (f64::from(width), f64::from(height));
    let area = BoxArea { left: 1.0 / width, top: 2.0 / height, right: 5.0 / width, bottom: 8.0 / height };
    assert_eq!(a.label.boxes()[0], LabelledBox::new(1, area));
    assert_eq!((a.label.boxes()[1].crowd, a.label.boxes()[1].pixel_area), (true, Some(7.5)));
    assert_eq!(b.label.boxes(), []);
    assert_eq!(dataset.box_sizes, Some([2, 0, 0]));
    let other = read(&scene(str::to_owned), "classes = [\"tram\"]").unwrap();
    assert_eq!((other.samples[0].label.boxes().len(), &other.category_ids[..]), (1, &[90][..]));
}

#[test]
fn files_of_splits_have_folders_of_their_own() {
    let scene = scene(str::to_owned);
    let text = fs::read_to_string(scene.path().join("train.json")).unwrap();
    fs::create_dir(scene.path().join("photos/val")).unwrap();
    fs::copy(scene.path().join("photos/a.png"), scene.path().join("photos/val/c.png")).unwrap();
    let other =
        text.replace("\"a.png\"", "\"c.png\"").replace("13,", "14,").replace("\"b.png\"", "\"../b.png\"");
    fs::write(scene.path().join("val.json"), &other).unwrap();
    let settings = "split = { files = { validation = \"val.json\" }, folders = { train = \".\", validation = \"val\" } }";
    assert!(
        told(&scene, settings).starts_with("`b.png` is in the training split and in the validation split")
    );
    fs::write(scene.path().join("val.json"), other.replace("../b.png", "c.png")).unwrap();
    assert!(told(&scene, settings).starts_with("`val/c.png` is listed twice"));
    fs::copy(scene.path().join("photos/a.png"), scene.path().join("photos/val/d.png")).unwrap();
    fs::write(scene.path().join("val.json"), other.replace("../b.png", "d.png")).unwrap();
    let dataset = read(&scene, settings).unwrap();
    let found: Vec<(&str, Split)> =
        dataset.samples.iter().map(|Sample { path, split, .. }| (path.as_str(), *split)).collect();
    let (train, validation) = (Split::Train, Split::Validation);
    assert_eq!(
        found,
        [("a.png", train), ("b.png", train), ("val/c.png", validation), ("val/d.png", validation)]
    );
}

#[test]
fn every_mistake_is_told() {
    let changes: [(&str, &str); 15] = [
        ("\"image_id\": 12, \"category_id\": 90", "\"image_id\": 99, \"category_id\": 90"),
        ("\"category_id\": 90", "\"category_id\": 5"),
        ("[1, 2, 4, 6]", "[1, 2, 4]"),
        ("[1, 2, 4, 6]", "[30, 20, -4, 6]"),
        ("[1, 2, 4, 6]", "[5000, 5000, 4, 6]"),
        ("[1, 2, 4, 6]", "null"),
        ("[1, 2, 4, 6]", "[NaN, 2, 4, 6]"),
        ("\"id\": 13", "\"id\": 12"),
        ("a.png", "z.png"),
        ("a.png", "../../z.png"),
        ("a.png", "a.xyz"),
        ("\"name\": \"tram\"", "\"name\": \"car\""),
        ("\"images\"", "\"pictures\""),
        ("\"width\": ", "\"width\": 1"),
        ("\"iscrowd\": 1", "\"iscrowd\": 2"),
    ];
    let all = changes.map(|(from, to)| {
        let scene = scene(|text| text.replace(from, to));
        format!("{from} -> {to}\n{}", told(&scene, "").replace(&scene.path().display().to_string(), "."))
    });
    insta::assert_snapshot!(all.join("\n---\n"), @r#"
    "image_id": 12, "category_id": 90 -> "image_id": 99, "category_id": 90
    `train.json`, annotation 1: there is no image with the id 99
    ---
    "category_id": 90 -> "category_id": 5
    `train.json`, annotation 1: there is no category with the id 5
    ---
    [1, 2, 4, 6] -> [1, 2, 4]
    `train.json`, annotation 1: `bbox` has 3 numbers (write `bbox` as x, y, width and height in pixels)
    ---
    [1, 2, 4, 6] -> [30, 20, -4, 6]
    `train.json`, annotation 1: `bbox` has width -4 and height 6 (write `bbox` as x, y, width and height in pixels, not as two corners)
    ---
    [1, 2, 4, 6] -> [5000, 5000, 4, 6]
    `train.json`, annotation 1: the box is outside of `a.png` (correct it: boxes are probably those of another image, or of another size of it)
    ---
    [1, 2, 4, 6] -> null
    `train.json`, annotation 1: there is no `bbox` (write `bbox` as x, y, width and height in pixels)
    ---
    [1, 2, 4, 6] -> [NaN, 2, 4, 6]
    `train.json`, line 3, column 55: this is not a COCO file: expected value (numbers such as `NaN` and `Infinity` are not JSON)
    ---
    "id": 13 -> "id": 12
    `train.json`: two images have the id of `b.png`
    ---
    a.png -> z.png
    `train.json`: `z.png` is not in `photos` (set `root` to the folder that the paths are relative to, or restore the images)
    ---
    a.png -> ../../z.png
    `train.json`: `../../z.png` is outside of `photos` (set `root` to the folder that contains all images)
    ---
    a.png -> a.xyz
    `train.json`: `a.xyz` is not a .jpg, .jpeg, .jpe, .jfif, .png, .webp, .bmp, .tif, .tiff, .gif, .pnm, .ppm, .pgm or .pbm file
    ---
    "name": "tram" -> "name": "car"
    `train.json`: the categories 7 and 90 are both named `car` (give them different names, or merge them)
    ---
    "images" -> "pictures"
    `train.json`, line 5, column 91: this is not a COCO file: missing field `images` (name the file with `images`, `annotations` and `categories`)
    ---
    "width":  -> "width": 1
    `train.json`: `a.png` has 19 × 13 pixels, but its annotations are for 119 × 13 (use the images that were annotated, or scale the boxes with them)
    `train.json`: `b.png` has 19 × 13 pixels, but its annotations are for 119 × 13 (use the images that were annotated, or scale the boxes with them)
    ---
    "iscrowd": 1 -> "iscrowd": 2
    `train.json`, line 4, column 92: this is not a COCO file: `iscrowd` is neither 0 nor 1
    "#);
    let results = scene(|_| "[{\"image_id\": 1, \"bbox\": [1, 2, 3, 4], \"score\": 0.5}]".to_owned());
    insta::assert_snapshot!(told(&results, ""), @r"`train.json`, line 1, column 2: this is not a COCO file: invalid type: map, expected a sequence (a list of results is not a data set: name the file with `images` and `annotations`)");
}

#[test]
fn dirt_is_corrected_and_counted() {
    let scene = scene(|text| {
        text.replace("[1, 2, 4, 6]", "[-3, 2, 8, 6]")
            .replace("7.5", "700")
            .replace("\"area\": 24.0, \"iscrowd\": 0", "\"area\": 48")
    });
    let dataset = read(&scene, "").unwrap();
    assert_eq!(
        (dataset.samples[0].label.boxes()[0].area.left, dataset.samples[0].label.boxes()[1].pixel_area),
        (0.0, None)
    );
    let warnings: Vec<String> = dataset
        .warnings
        .iter()
        .map(|text| text.replace(&format!("{}/", scene.path().display()), ""))
        .collect();
    insta::assert_debug_snapshot!(warnings, @r#"
    [
        "`train.json`: the `area` of 1 annotation is not positive or larger than the box; the area of the box is used",
        "1 box reaches beyond its image and is clipped, such as in `a.png`",
    ]
    "#);
}

#[test]
fn a_size_that_the_file_lacks_is_in_the_header() {
    let whole = read(&scene(str::to_owned), "").unwrap();
    let without = read(&scene(|text| text.replace("\"width\"", "\"w\"")), "").unwrap();
    assert_eq!(without.samples, whole.samples);
}

#[test]
fn images_outside_of_the_root_are_named_by_their_split() {
    let scene = scene(str::to_owned);
    let (elsewhere, text) = (tempfile::tempdir().unwrap(), scene.path().join("train.json"));
    fs::rename(scene.path().join("photos/c.png"), elsewhere.path().join("c.png")).unwrap();
    let other = fs::read_to_string(text).unwrap().replace("a.png", "c.png");
    let other =
        other.replace(&other[other.find(", {\"id\": 13").unwrap()..other.find("],\n\"ann").unwrap()], "");
    fs::write(scene.path().join("val.json"), other).unwrap();
    let folder = elsewhere.path().display();
    let settings = format!(
        "split = {{ files = {{ validation = \"val.json\" }}, folders = {{ train = \".\", validation = \"{folder}\" }} }}"
    );
    let dataset = read(&scene, &settings).unwrap();
    let paths: Vec<&str> = dataset.samples.iter().map(|sample| sample.path.as_str()).collect();
    assert_eq!(paths, ["a.png", "b.png", "validation/c.png"]);
    assert_eq!(dataset.file(2), elsewhere.path().join("c.png"));
}
