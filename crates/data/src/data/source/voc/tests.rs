use std::fs;

use super::*;
use crate::data::fixtures;
use crate::data::{BoxArea, Sample, Split};

fn size() -> (u32, u32) {
    crate::data::decode(&fixtures::bytes("rgb8.png")).unwrap().dimensions()
}

fn xml(objects: &str) -> String {
    let (width, height) = size();
    format!(
        "<?xml version=\"1.0\"?>\n<annotation>\n<filename>other.jpg</filename>\n<size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n{objects}\n</annotation>\n"
    )
}

fn object(name: &str, [left, top, right, bottom]: [&str; 4], more: &str) -> String {
    format!(
        "<object><name>{name}</name>{more}<bndbox><xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>\n"
    )
}

/// Images and the text of their XML files, in the folder of both.
fn scene(files: &[(&str, String)]) -> tempfile::TempDir {
    let scene = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = |extension: &str| scene.path().join(format!("{name}.{extension}"));
        fs::create_dir_all(file("png").parent().unwrap()).unwrap();
        fs::write(file("png"), fixtures::bytes("rgb8.png")).unwrap();
        fs::write(file("xml"), text).unwrap();
    }
    scene
}

fn read(scene: &tempfile::TempDir, settings: &str) -> Result<Dataset> {
    let settings: Voc = toml::from_str(&format!("root = \".\"\n{settings}")).unwrap();
    DataFormat::read(&settings, &|_| Ok(scene.path().to_owned()))
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
fn the_first_pixel_is_stated_or_told() {
    let objects = object("tram", ["3", "2", "8", "7"], "")
        + &object(" car ", ["1", "1", "2", "2"], "<difficult>1</difficult>");
    let scene = scene(&[("a", xml(&objects)), ("b", xml(""))]);
    let (width, height) = size();
    let side = |place: f64, length: u32| place / f64::from(length);
    let area = |left: f64, top: f64| BoxArea {
        left: side(left, width),
        top: side(top, height),
        right: side(8.0, width),
        bottom: side(7.0, height),
    };
    let dataset = read(&scene, "").unwrap();
    assert_eq!(dataset.classes, ["car", "tram"]);
    let boxes = dataset.samples[0].label.boxes();
    assert_eq!(
        (boxes[0], boxes[1].class, boxes[1].difficult),
        (LabelledBox::new(1, area(2.0, 1.0)), 0, true)
    );
    assert_eq!(dataset.warnings.len(), 1, "{:?}", dataset.warnings);
    assert!(dataset.warnings[0].starts_with("coordinates are taken to start at 1"));
    let dataset = read(&scene, "first_pixel = 0\ndifficult = \"keep\"").unwrap();
    let boxes = dataset.samples[0].label.boxes();
    assert_eq!((boxes[0], boxes[1].difficult), (LabelledBox::new(1, area(3.0, 2.0)), false));
    assert_eq!(dataset.warnings, Vec::<String>::new());
}

#[test]
fn its_own_layout_and_lists_are_read() {
    let scene = tempfile::tempdir().unwrap();
    for folder in ["JPEGImages", "Annotations", "ImageSets/Main"] {
        fs::create_dir_all(scene.path().join(folder)).unwrap();
    }
    for name in ["1", "2", "3", "4"] {
        fs::write(scene.path().join(format!("JPEGImages/{name}.png")), fixtures::bytes("rgb8.png")).unwrap();
        let text = xml(&object("car", ["1", "1", "5", "5"], ""));
        fs::write(scene.path().join(format!("Annotations/{name}.xml")), text).unwrap();
    }
    let list =
        |name: &str, text: &str| fs::write(scene.path().join("ImageSets/Main").join(name), text).unwrap();
    list("train.txt", "1\r\n2 -1\n");
    list("val.txt", "3\n");
    list("car_train.txt", "4 1\n");
    let splits = |dataset: &Dataset| {
        dataset.samples.iter().map(|Sample { path, split, .. }| (path.clone(), *split)).collect::<Vec<_>>()
    };
    let named = |name: &str, split| (format!("JPEGImages/{name}.png"), split);
    let dataset = read(&scene, "first_pixel = 1").unwrap();
    let expected = [named("1", Split::Train), named("2", Split::Train), named("3", Split::Validation)];
    assert_eq!(splits(&dataset), expected);
    assert_eq!(
        dataset.warnings,
        ["1 image is in no list of `ImageSets/Main` and left out, such as `JPEGImages/4.png`"]
    );
    let all = read(&scene, "first_pixel = 1\nsplit.image_sets = false").unwrap();
    assert_eq!(all.split(Split::Train).len(), 4);
    list("val.txt", "3\n9\n1\n");
    insta::assert_snapshot!(told(&scene, "first_pixel = 1"), @r"
    `ImageSets/Main/val.txt`, line 2: there is no image `9` (restore the image, or set `split.image_sets = false`)
    `JPEGImages/1.png` is in the training split and in the validation split (an image that was trained on cannot measure the model: name it in one split)
    ");
    insta::assert_snapshot!(told(&scene, "split.validation = 0.5").replace(&scene.path().display().to_string(), "."), @r"`split.validation` and `ImageSets/Main/val.txt` both make the validation split (remove `split.validation`, or set `split.image_sets = false`)");
}

#[test]
fn every_mistake_is_at_its_line() {
    let objects = [
        object("", ["1", "1", "5", "5"], ""),
        object("car", ["x", "1", "5", "5"], ""),
        object("car", ["5", "1", "1", "5"], ""),
        object("car", ["0", "1", "5", "5"], ""),
        object("car", ["9001", "1", "9005", "5"], ""),
        object("car", ["1", "1", "5", "5"], "<difficult>2</difficult>"),
        "<object><name>car</name></object>\n".to_owned(),
        "<object><name>car</name><part><bndbox/></part><bndbox><xmin>1</xmin></bndbox></object>\n".to_owned(),
    ];
    let (width, height) = size();
    let other =
        xml(&object("car", ["1", "1", "5", "5"], "")).replace(&format!("<width>{width}<"), "<width>9999<");
    let scene = scene(&[
        ("a", xml(&objects.concat())),
        ("b", "<annotation><size>".to_owned()),
        ("c", "<html/>".to_owned()),
        ("d", other),
        ("e", "<!DOCTYPE a [<!ENTITY x \"y\">]><annotation/>".to_owned()),
    ]);
    let told = told(&scene, "first_pixel = 1")
        .replace(&format!("{width} × {height}"), "W × H")
        .replace(&format!("9999 × {height}"), "9999 × H");
    insta::assert_snapshot!(told, @r"
    `a.xml`, line 5: an object without a name
    `a.xml`, line 6: `xmin` is `x`, not a number
    `a.xml`, line 7: `xmin` (5) is larger than `xmax` (1) (exchange them if the box is right otherwise)
    `a.xml`, line 8: `xmin` is 0, but the first pixel is 1 (set `first_pixel = 0` if all files start at 0)
    `a.xml`, line 10: `difficult` is `2`, neither 0 nor 1
    `a.xml`, line 11: the object `car` has no `bndbox`
    `a.xml`, line 12: `bndbox` has no `ymin`
    `b.xml`, line 1: this is not XML: the root node was opened but never closed
    `c.xml` has no `annotation` (set `root` to a folder with XML files in Pascal VOC's format)
    `e.xml`, line 1: this is not XML: XML with DTD detected
    `d.xml`: `d.png` has W × H pixels, but its annotations are for 9999 × H (use the images that were annotated, or scale the boxes with them)
    `a.xml`, line 9: the box is outside of `a.png` (correct it: boxes are probably those of another image, or of another size of it)
    ");
}

#[test]
fn a_photo_on_its_side_is_told_from_a_wrong_size() {
    let scene = tempfile::tempdir().unwrap();
    let name = "orientation_6.jpg";
    let bytes = fixtures::bytes(name);
    let (width, height) = crate::data::decode(&bytes).unwrap().dimensions();
    fs::write(scene.path().join("a.jpg"), bytes).unwrap();
    let text = |[width, height]: [u32; 2]| {
        format!(
            "<annotation><size><width>{width}</width><height>{height}</height></size>{}</annotation>",
            object("car", ["1", "1", "5", "5"], "")
        )
    };
    fs::write(scene.path().join("a.xml"), text([width, height])).unwrap();
    assert_eq!(read(&scene, "first_pixel = 1").unwrap().warnings, Vec::<String>::new());
    fs::write(scene.path().join("a.xml"), text([height, width])).unwrap();
    let warnings = read(&scene, "first_pixel = 1").unwrap().warnings;
    assert!(warnings[0].starts_with("1 image has an EXIF orientation on its side"), "{warnings:?}");
    assert_eq!(
        read(&scene, "first_pixel = 1\nexif_orientation = false").unwrap().warnings,
        Vec::<String>::new()
    );
}

#[test]
fn objects_of_other_classes_are_left_out() {
    let objects = object("tram", ["3", "2", "8", "7"], "") + &object("car", ["1", "1", "2", "2"], "");
    let scene = scene(&[("a", xml(&objects)), ("b", xml(&object("car", ["1", "1", "2", "2"], "")))]);
    let dataset = read(&scene, "first_pixel = 1\nclasses = [\"tram\"]").unwrap();
    assert_eq!((dataset.samples[0].label.boxes().len(), dataset.samples[0].label.boxes()[0].class), (1, 0));
    assert_eq!(dataset.box_sizes, Some([1, 0, 0]));
    let warned =
        "1 image shows only objects of classes that are left out and will be background, such as `b.png`";
    assert_eq!(dataset.warnings, [warned]);
    let message = told(&scene, "first_pixel = 1\nclasses = [\"bus\"]");
    assert!(message.starts_with("no box is of the class `bus`"), "{message}");
}

#[test]
fn folders_outside_of_the_root_are_named_by_their_split() {
    let both = object("tram", ["3", "2", "8", "7"], "") + &object("car", ["1", "1", "2", "2"], "");
    let (scene, elsewhere) = (scene(&[("learn/a", xml(&both))]), tempfile::tempdir().unwrap());
    for (folder, name, bytes) in
        [("JPEGImages", "b.png", fixtures::bytes("rgb8.png")), ("Annotations", "b.xml", xml(&both).into())]
    {
        fs::create_dir(elsewhere.path().join(folder)).unwrap();
        fs::write(elsewhere.path().join(folder).join(name), bytes).unwrap();
    }
    let folder = elsewhere.path().display();
    let split = format!("split = {{ folders = {{ train = \"learn\", test = \"{folder}\" }} }}");
    let dataset = read(&scene, &split).unwrap();
    let paths: Vec<&str> = dataset.samples.iter().map(|sample| sample.path.as_str()).collect();
    assert_eq!(paths, ["learn/a.png", "test/JPEGImages/b.png"]);
    assert_eq!(dataset.samples[1].label.boxes().len(), 2);
}
