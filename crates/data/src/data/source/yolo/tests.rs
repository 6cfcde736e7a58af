use std::fs;
use std::path::Path;

use super::*;
use crate::data::fixtures;
use crate::data::{BoxArea, Label, Sample};
use crate::error::ErrorKind;

const YAML: &str = "train: images/train\nval: images/val\nnames: [car, tram]\n";
const PLAIN: &[(&str, &str)] =
    &[("train/a", "0 0.5 0.5 0.2 0.4\n1 0.25 0.5 0.1 0.1\n"), ("val/b", "1 0.5 0.5 1 1\n0 0.1 0.1 0.1 0.1")];

/// Images and their labels; a name without extension is a PNG file.
fn scene(yaml: &str, labels: &[(&str, &str)]) -> tempfile::TempDir {
    let scene = tempfile::tempdir().unwrap();
    fs::write(scene.path().join("data.yaml"), yaml).unwrap();
    for (name, text) in labels {
        write(scene.path(), &format!("images/{name}.png"), &fixtures::bytes("rgb8.png"));
        write(scene.path(), &format!("labels/{name}.txt"), text.as_bytes());
    }
    scene
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn read(scene: &tempfile::TempDir, settings: &str) -> Result<Dataset> {
    let file = if settings.contains("root") { "" } else { "file = \"data.yaml\"\n" };
    let settings: Yolo = toml::from_str(&format!("{file}{settings}")).unwrap();
    DataFormat::read(&settings, &|path| Ok(scene.path().join(path)))
}

/// The message and hints of all errors, with the folder left out.
fn told(scene: &tempfile::TempDir, settings: &str) -> String {
    let error = read(scene, settings).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage);
    let one = |error: &Error| match &error.hint {
        Some(hint) => format!("{} ({hint})", error.message),
        None => error.message.clone(),
    };
    let all: Vec<String> = std::iter::once(&error).chain(&error.others).map(one).collect();
    all.join("\n")
        .replace(&format!("{}/", scene.path().display()), "")
        .replace(&scene.path().display().to_string(), ".")
}

/// The path and the split of each image, with the class and the sides of its boxes.
#[expect(clippy::type_complexity)]
fn boxes(dataset: &Dataset) -> Vec<(&str, Split, Vec<(u32, [f64; 4])>)> {
    let sides = |BoxArea { left, top, right, bottom }: BoxArea| {
        [left, top, right, bottom].map(|side| (side * 1e6).round() / 1e6)
    };
    let boxes = |sample: &Sample| {
        sample.label.boxes().iter().map(|object| (object.class, sides(object.area))).collect::<Vec<_>>()
    };
    dataset.samples.iter().map(|sample| (sample.path.as_str(), sample.split, boxes(sample))).collect()
}

#[test]
fn labels_are_beside_images_in_a_folder_of_their_own() {
    let scene = scene(YAML, PLAIN);
    write(scene.path(), "images/train/background.png", &fixtures::bytes("rgb8.png"));
    // Of other programs.
    write(scene.path(), "labels/train.cache", b"\0");
    write(scene.path(), "images/train/a.npy", b"\0");
    let dataset = read(&scene, "").unwrap();
    assert_eq!(
        (&dataset.classes[..], &dataset.ignored[..]),
        (&["car".to_owned(), "tram".to_owned()][..], &[][..])
    );
    assert_eq!(
        boxes(&dataset),
        [
            (
                "images/train/a.png",
                Split::Train,
                vec![(0, [0.4, 0.3, 0.6, 0.7]), (1, [0.2, 0.45, 0.3, 0.55])]
            ),
            ("images/train/background.png", Split::Train, vec![]),
            (
                "images/val/b.png",
                Split::Validation,
                vec![(1, [0.0, 0.0, 1.0, 1.0]), (0, [0.05, 0.05, 0.15, 0.15])]
            ),
        ]
    );
    assert_eq!(dataset.warnings, Vec::<String>::new());
    let sizes: usize = dataset.box_sizes.unwrap().iter().sum();
    assert_eq!(sizes, 4);
    // Without a YAML file; other order and number of classes with one.
    let folders = "split.folders = { train = \"images/train\", validation = \"images/val\" }\n";
    let other = read(&scene, &format!("root = \".\"\nclasses = [\"car\", \"tram\"]\n{folders}")).unwrap();
    assert_eq!(boxes(&other), boxes(&dataset));
    let one = read(&scene, "classes = [\"tram\"]").unwrap();
    assert_eq!(boxes(&one)[0].2, [(0, [0.2, 0.45, 0.3, 0.55])]);
}

#[test]
fn dirt_that_does_not_change_a_label_is_corrected_and_counted() {
    let text = "\u{feff}0 0.5 0.5 0.2 0.4\r\n\r\n1.0 0.1 0.5 0.4 0.2  \r\n0 0.5 0.5 0.2 0.4\r\n1 0.5 0.5 0 0.5\r\n0 0.6 0.6 0.1 0.1";
    let scene = scene(YAML, &[("train/a", text), PLAIN[1]]);
    let dataset = read(&scene, "").unwrap();
    let expected = vec![(0, [0.4, 0.3, 0.6, 0.7]), (1, [0.0, 0.4, 0.3, 0.6]), (0, [0.55, 0.55, 0.65, 0.65])];
    assert_eq!(boxes(&dataset)[0].2, expected);
    insta::assert_debug_snapshot!(dataset.warnings, @r#"
    [
        "1 box is listed twice and used once, such as in `images/train/a.png`",
        "1 box reaches beyond its image and is clipped, such as in `images/train/a.png`",
        "1 box has no area and is left out, such as in `images/train/a.png`",
    ]
    "#);
}

#[test]
fn every_mistake_of_a_label_is_at_its_line() {
    let lines = [
        "2 0.5 0.5 0.1 0.1",
        "7 0.5 0.5 0.1 0.1",
        "0.5 0.5 0.1 0.1",
        "0 0.5 0.5 0.1 0.1 0.98",
        "0,0.5,0.5,0.1,0.1",
        "0 nan 0.5 0.1 0.1",
        "0.5 0.5 0.1 0.1 0",
        "-1 0.5 0.5 0.1 0.1",
        "0 1.2 0.5 0.1 0.1",
        "0 0.5 0.5 -0.1 0.1",
        "0 320 240 50 60",
        "car 0.5 0.5 0.1 0.1",
        "0 0.1 0.1 0.2 0.1 0.2 0.2",
        "0 0.5",
        "0 1 2 3 4 5 6 7",
    ];
    let scene = scene(YAML, &[("train/a", &format!("0 0.5 0.5 0.1 0.1\n{}", lines.join("\n"))), PLAIN[1]]);
    insta::assert_snapshot!(told(&scene, ""), @r"
    `labels/train/a.txt`, line 2: the class is 2, but there are classes 0 to 1 (numbers of classes start at 0: these labels probably start at 1)
    `labels/train/a.txt`, line 3: the class is 7, but there are classes 0 to 1 (correct the class, or add its name)
    `labels/train/a.txt`, line 4: 4 fields instead of 5 (add the class as the first field: `class x y width height`)
    `labels/train/a.txt`, line 5: 6 fields instead of 5 (remove the last field: these are probably predictions, with a score in each line)
    `labels/train/a.txt`, line 6: `0,0.5,0.5,0.1,0.1`: fields are separated by spaces (replace commas and semicolons by spaces)
    `labels/train/a.txt`, line 7: `nan` is not a number
    `labels/train/a.txt`, line 8: the class is `0.5` (the class is the first field, a whole number: it is probably missing, or another field)
    `labels/train/a.txt`, line 9: the class is `-1` (classes are whole numbers from 0)
    `labels/train/a.txt`, line 10: x is 1.2, outside of the image (0 to 1) (correct it, or set `clip = true` to clip such boxes to their images)
    `labels/train/a.txt`, line 11: width is -0.1, negative or above 1 (correct it, or set `clip = true` to clip such boxes to their images)
    `labels/train/a.txt`, line 12: x is 320, outside of the image (0 to 1) (divide x and width by the width of the image, y and height by its height: these are pixels)
    `labels/train/a.txt`, line 13: `car` is not a number (write the number of the class, not its name)
    `labels/train/a.txt`, line 14: a polygon in a file with a box in line 1 (use one form in a file: `class x y width height`, or a polygon of three points or more)
    `labels/train/a.txt`, line 15: 2 fields; a box has 5, and a polygon has a class and pairs of numbers
    `labels/train/a.txt`, line 16: 8 fields; a box has 5, and a polygon has a class and pairs of numbers
    ");
}

#[test]
fn coordinates_outside_are_clipped_if_asked() {
    let scene =
        scene(YAML, &[("train/a", "0 1.1 0.5 0.4 0.2\n1 0.5 0.5 0.1 0.1\n1 0.5 0.5 -0.1 0.1"), PLAIN[1]]);
    assert!(told(&scene, "").contains("`labels/train/a.txt`, line 1: x is 1.1"));
    let dataset = read(&scene, "clip = true").unwrap();
    assert_eq!(boxes(&dataset)[0].2, [(0, [0.9, 0.4, 1.0, 0.6]), (1, [0.45, 0.45, 0.55, 0.55])]);
    insta::assert_debug_snapshot!(dataset.warnings, @r#"
    [
        "1 box reaches beyond its image and is clipped, such as in `images/train/a.png`",
        "1 box has no area and is left out, such as in `images/train/a.png`",
    ]
    "#);
}

#[test]
fn polygons_become_boxes() {
    let scene =
        scene(YAML, &[("train/a", "0 0.1 0.2 0.3 0.2 0.3 0.6 0.2 0.7\n1 0.5 0.5 0.6 0.5 0.6 0.9"), PLAIN[1]]);
    let dataset = read(&scene, "").unwrap();
    assert_eq!(boxes(&dataset)[0].2, [(0, [0.1, 0.2, 0.3, 0.7]), (1, [0.5, 0.5, 0.6, 0.9])]);
}

#[test]
fn images_and_labels_must_fit_each_other() {
    let mut all = Vec::new();
    // Two images with one label file.
    let twice = scene(YAML, PLAIN);
    write(twice.path(), "images/train/a.jpg", b"");
    all.push(told(&twice, ""));
    // No labels at all.
    let none = scene(YAML, PLAIN);
    fs::remove_dir_all(none.path().join("labels")).unwrap();
    all.push(told(&none, ""));
    let empty = scene(YAML, &[("train/a", ""), ("val/b", "")]);
    all.push(told(&empty, ""));
    insta::assert_snapshot!(all.join("\n---\n"), @r"
    `images/train/a.jpg` and `images/train/a.png` share the labels `labels/train/a.txt` (rename or remove one of them: each image needs labels of its own)
    ---
    none of the 2 images has a label file (`images/train/a.png` needs `labels/train/a.txt`: correct the folders or the names)
    ---
    none of the 2 images has a box (check that the labels are those of these images)
    ");
    // Most of them.
    let few = scene(YAML, PLAIN);
    for name in ["c", "d", "e"] {
        write(few.path(), &format!("images/train/{name}.png"), &fixtures::bytes("rgb8.png"));
        write(few.path(), &format!("labels/train/other{name}.txt"), b"");
    }
    insta::assert_debug_snapshot!(told_warnings(&few), @r#"
    [
        "3 of 5 label files have no image, such as `labels/train/otherc.txt`",
        "3 of 5 images have no label file and are used as background, such as `images/train/c.png`",
    ]
    "#);
}

fn told_warnings(scene: &tempfile::TempDir) -> Vec<String> {
    let warnings = read(scene, "").unwrap().warnings.into_iter();
    warnings.map(|text| text.replace(&format!("{}/", scene.path().display()), "")).collect()
}

#[test]
fn lists_name_images_in_any_form() {
    let yaml = "path: .\ntrain:\n  - lists/train.txt\n  - images/more\nvalidation: lists/val.txt\ntest:\nnames:\n  0: car\n  1: tram\nnc: 2\n";
    let scene = scene(yaml, &[PLAIN[0], PLAIN[1], ("more/c", "0 0.5 0.5 0.1 0.1")]);
    let absolute = scene.path().join("images/val/b.png");
    write(scene.path(), "lists/train.txt", b"\xEF\xBB\xBFimages/train/a.png\r\n\r\n");
    write(scene.path(), "lists/val.txt", absolute.to_str().unwrap().as_bytes());
    let dataset = read(&scene, "").unwrap();
    let found: Vec<(&str, Split)> =
        dataset.samples.iter().map(|sample| (sample.path.as_str(), sample.split)).collect();
    let expected = [
        ("images/more/c.png", Split::Train),
        ("images/train/a.png", Split::Train),
        ("images/val/b.png", Split::Validation),
    ];
    assert_eq!(found, expected);
    write(scene.path(), "lists/val.txt", b"./../images/val/b.png\n");
    assert_eq!(read(&scene, "").unwrap(), dataset);
    write(
        scene.path(),
        "lists/val.txt",
        b"images/val/b.png\nimages/val/c.png\n../x.png\nimages/val/b.xyz\nimages/train/a.png\n",
    );
    insta::assert_snapshot!(told(&scene, ""), @r"
    `./lists/val.txt`, line 3: `../x.png` is outside of `.` (set `root` to the folder that contains all images)
    `./lists/val.txt`, line 4: `images/val/b.xyz` is not a .jpg, .jpeg, .jpe, .jfif, .png, .webp, .bmp, .tif, .tiff, .gif, .pnm, .ppm, .pgm or .pbm file
    `images/train/a.png` is in the training split and in the validation split (an image that was trained on cannot measure the model: name it in one split)
    `./lists/val.txt`, line 2: `images/val/c.png` is not in `.` (set `root` to the folder that the paths are relative to, or restore the images)
    ");
}

#[test]
fn mistakes_in_a_yaml_file_are_at_their_lines() {
    let mut all = Vec::new();
    for yaml in [
        "train: images/train\n",
        "train: images/train\nnames: [car, car]\n",
        "train: images/train\nnames:\n  0: car\n  2: tram\n",
        "train: images/train\nnc: 3\nnames: [car, tram]\n",
        "train: images/nowhere\nnames: [car, tram]\n",
        "path: ../nowhere\ntrain: images/train\nnames: [car, tram]\n",
        "val: images/val\nnames: [car, tram]\n",
        "train: images/train\nval: images/train\nnames: [car, tram]\n",
        "train: images/train\nkpt_shape: [17, 3]\nnames: [car, tram]\n",
        "train: [images/train\nnames: x\n",
        "- a\n- b\n",
    ] {
        all.push(told(&scene(yaml, PLAIN), ""));
    }
    all.push(told(&scene(YAML, PLAIN), "split.validation = 0.2"));
    all.push(told(&scene(YAML, PLAIN), "classes = [\"trams\"]"));
    all.push(told(&scene(YAML, PLAIN), "root = \".\"\nclasses = [\"car\", \"tram\"]"));
    insta::assert_snapshot!(all.join("\n---\n"), @r#"
    `data.yaml` has no `names` (list the names of the classes by number: `names: [car, tram]`)
    ---
    `data.yaml`, line 2: the class `car` is listed twice
    ---
    `data.yaml`, line 3: the class 1 has no name, but there is a class 2 (number the classes from 0, without gaps)
    ---
    `data.yaml`, line 2: `nc` is 3, but `names` has 2 classes (correct `nc`, or remove it)
    ---
    `data.yaml`, line 1: `images/nowhere` does not exist (paths are relative to the data set's folder: correct `path` in the YAML file, or set `root`)
    ---
    `data.yaml`, line 1: `path`: `../nowhere` is not a folder (a relative `path` starts at the folder of the YAML file: correct it, or set `root`)
    ---
    `data.yaml` has no `train` (name the folder or the list of the training images, or set `split.folders`)
    ---
    `images/train/a.png` is in the training split and in the validation split (an image that was trained on cannot measure the model: name it in one split)
    ---
    `data.yaml`, line 2: `kpt_shape`: the labels have key points, which are not read (convert the labels to boxes: class, centre, width and height)
    ---
    `data.yaml`, line 2: this is not YAML: illegal placement of ':' indicator
    ---
    `data.yaml` has no keys such as `train` and `names` (name the data set's YAML file in `file`)
    ---
    `split.validation` and `data.yaml`, line 2 both make the validation split (remove `split.validation`, or leave the images to the training split in `split.folders`)
    ---
    the data set has no class `trams` (did you mean `tram`?)
    ---
    the images in `.` are in folders of splits (write `split = { folders = { train = "images/train", validation = "images/val" } }`)
    "#);
}

#[test]
fn exports_with_paths_above_their_file_are_read() {
    let scene = scene("train: ../images/train\nval: ../images/val\nnames: [car, tram]\n", PLAIN);
    let dataset = read(&scene, "").unwrap();
    assert_eq!(dataset.samples.len(), 2);
    assert_eq!(dataset.warnings.len(), 2, "{:?}", dataset.warnings);
}

#[test]
fn a_set_is_split_by_fractions_class_by_class() {
    let labels: Vec<(String, String)> = (0..40)
        .map(|i| (format!("train/{i:02}"), format!("{} 0.5 0.5 0.2 0.2\n0 0.3 0.3 0.1 0.1", i % 2)))
        .collect();
    let labels: Vec<(&str, &str)> =
        labels.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let scene = scene("train: images/train\nnames: [car, tram]\n", &labels);
    let dataset = read(&scene, "split = { validation = 0.25, test = 0.25, method = \"balanced\" }").unwrap();
    assert_eq!(dataset.split(Split::Validation).len(), 10);
    assert!(dataset.counts().iter().all(|parts| parts.iter().all(|images| *images > 0)));
    assert!(matches!(dataset.samples[0].label, Label::Boxes(_)));
}

#[test]
fn many_equal_mistakes_are_counted() {
    let labels: Vec<(String, String)> =
        (0..60).map(|i| (format!("train/{i:02}"), "9 0.5 0.5 0.2 0.2\n".repeat(100))).collect();
    let labels: Vec<(&str, &str)> =
        labels.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let error = read(&scene("train: images/train\nnames: [car, tram]\n", &labels), "").unwrap_err();
    assert_eq!(error.others.last().unwrap().message, "2960 more errors (class that has no name: 2960)");
}

#[test]
fn folders_outside_of_the_root_are_named_by_their_split() {
    let scene = scene(YAML, PLAIN);
    let path = scene.path().display();
    fs::create_dir(scene.path().join("empty")).unwrap();
    let expected = ["train/a.png", "validation/b.png"];
    let settings = "root = \"empty\"\nclasses = [\"car\", \"tram\"]\n";
    for folders in [
        format!("train = \"{path}/images/train\", validation = \"{path}/images/val\""),
        "train = \"../images/train\", validation = \"../images/val\"".to_owned(),
    ] {
        let dataset = read(&scene, &format!("{settings}split = {{ folders = {{ {folders} }} }}")).unwrap();
        let paths: Vec<&str> = dataset.samples.iter().map(|sample| sample.path.as_str()).collect();
        assert_eq!(paths, expected);
        assert_eq!(dataset.samples[0].label.boxes().len(), 2, "its labels are next to the folder `images`");
        assert!(dataset.file(1).ends_with("images/val/b.png") && dataset.file(1).is_file());
    }
    // A list of images still needs a root that contains them.
    write(scene.path(), "val.txt", b"../images/val/b.png\n");
    let split = "split = { folders = { train = \"../images/train\", validation = \"../val.txt\" } }";
    assert!(told(&scene, &format!("{settings}{split}")).contains("is outside of"));
    // Of several folders of a split, each has a name of its own.
    write(scene.path(), "data.yaml", b"train: [images/train, images/val]\nnames: [car, tram]\n");
    let listed: Yolo = toml::from_str("file = \"data.yaml\"\nroot = \"empty\"").unwrap();
    let resolve = |path: &str| Ok(scene.path().join(path));
    assert!(DataFormat::read(&listed, &resolve).unwrap_err().message.contains("does not exist"));
    write(scene.path(), "data.yaml", b"train: [../images/train, ../images/val]\nnames: [car, tram]\n");
    let dataset = DataFormat::read(&listed, &resolve).unwrap();
    let paths: Vec<&str> = dataset.samples.iter().map(|sample| sample.path.as_str()).collect();
    assert_eq!(paths, ["train-2/b.png", "train/a.png"]);
}
