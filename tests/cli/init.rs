//! `defrost init`: its output validates, and it overwrites nothing.

use std::fs;
use std::path::Path;

use assert_cmd::Command;

use crate::detection::squares;
use crate::examples::{detectors, zeros};

fn defrost(folder: &Path, args: &[&str]) -> (i32, String) {
    let output = Command::cargo_bin("defrost").unwrap().current_dir(folder).args(args).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// Files with image names; nothing here reads them.
fn images(root: &Path, folders: &[&str], each: usize) {
    for folder in folders {
        fs::create_dir_all(root.join(folder)).unwrap();
        (0..each).for_each(|i| fs::write(root.join(folder).join(format!("{i}.png")), "").unwrap());
    }
}

/// Upper case too. What `validate` would reject is rejected here, where it is easy to fix.
#[test]
fn folders_of_parts_are_recognised_and_unusable_ones_refused() {
    for (folders, split, evaluated) in [
        (
            &["Train", "Val", "TEST"][..],
            r#"{ folders = { train = "Train", validation = "Val", test = "TEST" } }"#,
            "test",
        ),
        (&["Training", "Testing"], r#"folders = { train = "Training", test = "Testing" } }"#, "test"),
        (&[""], "{ validation = 0.2, test = 0.1, seed = ", "test"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let classes: Vec<String> = folders
            .iter()
            .flat_map(|part| {
                ["a", "b"].map(|class| format!("{part}/{class}").trim_start_matches('/').to_owned())
            })
            .collect();
        images(&folder.path().join("photos"), &classes.iter().map(String::as_str).collect::<Vec<_>>(), 30);
        let (code, text) = defrost(folder.path(), &["init", "new", "--data", "photos"]);
        assert_eq!(code, 0, "{text}");
        let text = fs::read_to_string(folder.path().join("new/pipeline.toml")).unwrap();
        assert!(text.contains(split) && text.contains(&format!("split = \"{evaluated}\"")), "{text}");
        zeros(&folder.path().join("new/weights.pth"), "resnet50");
        let file = "stage.pretrained.file=weights.pth";
        let (code, text) = defrost(folder.path(), &["validate", "new/pipeline.toml", "--set", file]);
        assert_eq!(code, 0, "{text}");
    }
    let folder = tempfile::tempdir().unwrap();
    images(&folder.path().join("photos"), &["ant", "bee"], 4);
    fs::create_dir(folder.path().join("photos/cow")).unwrap();
    let (code, text) = defrost(folder.path(), &["init", "new", "--data", "photos"]);
    assert!(code == 2 && text.contains("--data: the class folder `cow` has no images"), "{text}");
    images(&folder.path().join("flat"), &["only"], 4);
    let (code, text) = defrost(folder.path(), &["init", "new", "--data", "flat"]);
    assert!(code == 2 && text.contains("needs a folder for each of at least two classes"), "{text}");
    assert!(!folder.path().join("new").exists());
}

#[test]
fn the_starter_validates_without_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = defrost(folder.path(), &["init", "turtles"]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = defrost(folder.path(), &["validate", "turtles/pipeline.toml", "--no-inputs"]);
    assert_eq!((code, text.as_str()), (0, "ok: turtles/pipeline.toml: 5 stages\n"));
    let schema = fs::read_to_string(folder.path().join("turtles/pipeline.schema.json")).unwrap();
    assert_eq!(schema, include_str!("../../schemas/pipeline.schema.json"));
}

#[test]
fn what_is_given_is_found_from_where_the_file_lies() {
    let folder = tempfile::tempdir().unwrap();
    images(&folder.path().join("photos"), &["train/a", "train/b", "val/a", "val/b"], 1);
    zeros(&folder.path().join("ResNet-34.pth"), "resnet34");
    let (code, text) =
        defrost(folder.path(), &["init", "deep/er", "--data", "photos", "--weights", "ResNet-34.pth"]);
    assert_eq!(code, 0, "{text}");
    let text = fs::read_to_string(folder.path().join("deep/er/pipeline.toml")).unwrap();
    for expected in [
        "name = \"er\"",
        "root       = \"../../photos\"",
        "file   = \"../../ResNet-34.pth\"",
        "arch = \"resnet34\"",
        "split      = { folders = { train = \"train\", validation = \"val\" } }",
        "split = \"validation\"",
    ] {
        assert!(text.contains(expected), "no {expected} in\n{text}");
    }
    let resolved = defrost(folder.path(), &["validate", "deep/er/pipeline.toml", "--no-inputs"]);
    assert_eq!(resolved.0, 0, "{}", resolved.1);
}

/// The result would be invalid, so it writes nothing.
#[test]
fn weights_of_another_architecture_are_refused_with_the_one_they_fit() {
    let folder = tempfile::tempdir().unwrap();
    zeros(&folder.path().join("resnet18.pth"), "resnet18");
    fs::write(folder.path().join("torn.pth"), "").unwrap();
    let init = |args: &[&str]| defrost(folder.path(), &[&["init", "new"], args].concat());
    let (code, text) = init(&["--arch", "vit_b_16", "--weights", "resnet18.pth"]);
    assert!(
        code == 2 && text.contains("--weights: the weights in `resnet18.pth` do not fit `vit_b_16`"),
        "{text}"
    );
    assert!(text.contains("hint: use `--arch resnet18`, which the weights fit"), "{text}");
    let (code, text) = init(&["--weights", "torn.pth"]);
    assert!(code == 2 && text.contains("torn.pth"), "{text}");
    assert!(!folder.path().join("new").exists());
    assert_eq!(init(&["--weights", "resnet18.pth"]).0, 0);
}

#[test]
fn nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pipeline.toml"), "mine").unwrap();
    let (code, text) = defrost(folder.path(), &["init"]);
    assert_eq!(code, 2);
    assert!(text.contains("already exists"), "{text}");
    assert_eq!(fs::read_to_string(folder.path().join("pipeline.toml")).unwrap(), "mine");
    assert!(!folder.path().join("pipeline.schema.json").exists());
    let (code, text) = defrost(folder.path(), &["init", "new", "--data", "nowhere"]);
    assert_eq!(code, 2);
    assert!(text.contains("`nowhere` does not exist") && !folder.path().join("new").exists(), "{text}");
}

#[test]
fn a_gradual_schedule_thaws_any_architecture_from_its_head_down() {
    let folder = tempfile::tempdir().unwrap();
    let entries = |arch: &str| {
        let (code, text) = defrost(folder.path(), &["init", arch, "--schedule", "gradual", "--arch", arch]);
        assert_eq!(code, 0, "{text}");
        let file = format!("{arch}/pipeline.toml");
        let (code, text) = defrost(folder.path(), &["validate", &file, "--no-inputs"]);
        assert_eq!((code, text), (0, format!("ok: {file}: 3 stages\n")));
        // With classes its parameter table needs no images; at the end everything trains.
        let set = "data.images.classes=[\"a\", \"b\"]";
        let (code, text) = defrost(folder.path(), &["params", &file, "--set", set]);
        assert!(code == 0 && text.contains("frozen     0 tensors"), "{text}");
        let text = fs::read_to_string(folder.path().join(file)).unwrap();
        text.lines().filter(|line| line.contains("after_epochs")).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(entries("resnet50"), @r#"
        { after_epochs = 2, last = 4, lr = 3.8e-4 },          # layer4.0 … layer4.2
        { after_epochs = 4, last = 10, lr = 1.5e-4 },         # layer3.0 … layer3.5
        { after_epochs = 6, last = 14, lr = 5.7e-5 },         # layer2.0 … layer2.3
        { after_epochs = 8, last = 17, lr = 2.2e-5 },         # layer1.0 … layer1.2
        { after_epochs = 10, last = 18, lr = 8.4e-6 },        # stem
        "#);
    insta::assert_snapshot!(entries("efficientnet_lite0"), @r#"
        { after_epochs = 2, last = 2, lr = 3.8e-4 },          # _conv_head
        { after_epochs = 4, last = 6, lr = 1.5e-4 },          # _blocks.12 … _blocks.15
        { after_epochs = 6, last = 10, lr = 5.7e-5 },         # _blocks.8 … _blocks.11
        { after_epochs = 8, last = 14, lr = 2.2e-5 },         # _blocks.4 … _blocks.7
        { after_epochs = 10, last = 19, lr = 8.4e-6 },        # stem … _blocks.3
        "#);
    insta::assert_snapshot!(entries("efficientnet_b0"), @r#"
        { after_epochs = 2, last = 2, lr = 3.8e-4 },          # features.8
        { after_epochs = 4, last = 3, lr = 1.5e-4 },          # features.7.0
        { after_epochs = 6, last = 7, lr = 5.7e-5 },          # features.6.0 … features.6.3
        { after_epochs = 8, last = 10, lr = 2.2e-5 },         # features.5.0 … features.5.2
        { after_epochs = 10, last = 19, lr = 8.4e-6 },        # features.0 … features.4.2
        "#);
    insta::assert_snapshot!(entries("mobilenet_v2"), @r#"
        { after_epochs = 2, last = 6, lr = 3.8e-4 },          # features.14 … features.18
        { after_epochs = 4, last = 11, lr = 1.5e-4 },         # features.9 … features.13
        { after_epochs = 6, last = 16, lr = 5.7e-5 },         # features.4 … features.8
        { after_epochs = 8, last = 20, lr = 2.2e-5 },         # features.0 … features.3
        "#);
    let (code, text) = defrost(folder.path(), &["init", "x", "--arch", "resnet51"]);
    assert_eq!(code, 2);
    assert!(text.contains("unknown architecture `resnet51`"), "{text}");
}

const LABEL: &str = "<annotation><size><width>64</width><height>48</height></size><object><name>NAME</name>\
                     <bndbox><xmin>5</xmin><ymin>5</ymin><xmax>25</xmax><ymax>30</ymax></bndbox></object></annotation>";

/// Each of the three formats is recognised, and its starter validates as it is.
#[test]
fn images_with_boxes_get_a_starter_for_detection() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    squares(path, 10);
    let yaml = "train: images/train\nval: images/val\nnames: [red, blue]\n";
    fs::write(path.join("squares/data.yaml"), yaml).unwrap();
    for folder in ["voc/JPEGImages", "voc/Annotations", "coco"] {
        fs::create_dir_all(path.join(folder)).unwrap();
    }
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for number in 0..30 {
        let picture = image::RgbImage::from_pixel(64, 48, image::Rgb([number as u8; 3]));
        picture.save(path.join(format!("voc/JPEGImages/{number}.png"))).unwrap();
        picture.save(path.join(format!("coco/{number}.png"))).unwrap();
        let label = LABEL.replace("NAME", ["car", "tram"][number % 2]);
        fs::write(path.join(format!("voc/Annotations/{number}.xml")), label).unwrap();
        images.push(format!(
            "{{\"id\": {number}, \"file_name\": \"{number}.png\", \"width\": 64, \"height\": 48}}"
        ));
        annotations.push(format!(
            "{{\"id\": {number}, \"image_id\": {number}, \"category_id\": {}, \"bbox\": [5, 5, 20, 25]}}",
            1 + number % 2
        ));
    }
    let json = format!(
        "{{\"images\": [{}], \"annotations\": [{}], \"categories\": [{{\"id\": 1, \"name\": \"car\"}}, {{\"id\": 2, \"name\": \"tram\"}}]}}",
        images.join(", "),
        annotations.join(", ")
    );
    fs::write(path.join("coco/all.json"), json).unwrap();
    fs::create_dir(path.join("weights")).unwrap();
    detectors(&path.join("weights"));
    for (data, name, expected) in [
        ("squares", "a", "file       = \"../squares/data.yaml\"\nimage_size"),
        ("squares/data.yaml", "b", "file       = \"../squares/data.yaml\""),
        ("voc", "c", "root       = \"../voc\"\nsplit      = { seed = 0, test = 0.1,"),
        ("coco/all.json", "d", "file       = \"../coco/all.json\"\nsplit      = { "),
    ] {
        let weights = ["--weights", "weights/yolo11n.safetensors"];
        let (code, text) = defrost(path, &[&["init", name, "--data", data][..], &weights].concat());
        assert_eq!(code, 0, "{text}");
        let file = format!("{name}/pipeline.toml");
        let text = fs::read_to_string(path.join(&file)).unwrap();
        assert!(text.contains(expected) && text.contains("arch = \"yolo11n\""), "{data}:\n{text}");
        let (code, said) = defrost(path, &["validate", &file]);
        assert_eq!(code, 0, "{data}: {said}\n{text}");
        assert!(!text.contains("restore_batch_norm"));
    }
    let fused = ["--weights", "weights/yolo11n-fused.safetensors"];
    let (code, text) = defrost(path, &[&["init", "fused", "--data", "squares"][..], &fused].concat());
    assert_eq!(code, 0, "{text}");
    assert!(fs::read_to_string(path.join("fused/pipeline.toml")).unwrap().contains("restore_batch_norm"));
    assert_eq!(defrost(path, &["validate", "fused/pipeline.toml"]).0, 0);
    let refused = |arguments: &[&str]| {
        let (code, text) = defrost(path, &[&["init", "new", "--data"], arguments].concat());
        assert_eq!(code, 2, "{text}");
        text
    };
    assert!(refused(&["squares", "--arch", "resnet50"]).contains("use `--arch yolo11n`"));
    assert!(refused(&["squares", "--schedule", "gradual"]).contains("is for networks that classify"));
    fs::remove_file(path.join("squares/data.yaml")).unwrap();
    assert!(refused(&["squares"]).contains("but no `data.yaml`"));
    assert!(refused(&["voc/JPEGImages/0.png"]).contains("is no data set"));
    assert!(!path.join("new").exists());
}

/// Real pictures, of two classes in turn.
fn pictures(root: &Path, names: impl Iterator<Item = String>) {
    for (number, name) in names.enumerate() {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::from_pixel(8, 6, image::Rgb([number as u8; 3])).save(path).unwrap();
    }
}

/// `init` succeeds, and what it writes validates with its data and weights. Returns the file.
fn starter(folder: &Path, name: &str, args: &[&str]) -> String {
    let (code, text) = defrost(folder, &[&["init", name], args].concat());
    assert_eq!(code, 0, "{text}");
    let file = format!("{name}/pipeline.toml");
    let written = fs::read_to_string(folder.join(&file)).unwrap();
    let (code, said) = defrost(folder, &["validate", &file]);
    assert_eq!(code, 0, "{said}\n{written}");
    written
}

fn refused(folder: &Path, args: &[&str]) -> String {
    let (code, text) = defrost(folder, &[&["init", "refused"], args].concat());
    assert_eq!(code, 2, "{text}");
    assert!(!folder.join("refused").exists(), "{text}");
    text
}

/// Columns, root and splits of a table are found by what is in them.
#[test]
fn tables_get_a_starter_with_their_columns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let names: Vec<String> = (0..60).map(|number| format!("{number}.png")).collect();
    pictures(&path.join("birds/photos"), names.iter().cloned());
    zeros(&path.join("resnet18.pth"), "resnet18");
    let weights = ["--weights", "resnet18.pth"];
    let table = |file: &str, header: &str, row: &dyn Fn(usize, &str) -> String| {
        let rows: Vec<String> = names.iter().enumerate().map(|(number, name)| row(number, name)).collect();
        fs::write(path.join(file), format!("{header}\n{}\n", rows.join("\n"))).unwrap();
    };
    let start = |name: &str, file: &str, more: &[&str]| {
        starter(path, name, &[&["--data", file], &weights[..], more].concat())
    };
    let class = |number: usize| ["wren", "robin"][number % 2];

    table("birds/classes.csv", "file,species,note", &|n, name| format!("{name},{},{n}", class(n)));
    let text = start("a", "birds/classes.csv", &[]);
    for line in [
        "file         = \"../birds/classes.csv\"",
        "root         = \"../birds/photos\"",
        "path_column  = \"file\"",
        "class_column = \"species\"                  # 2 classes",
        "split        = { seed = 0, test = 0.1, validation = 0.2 }",
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
    let part = |n: usize| ["train", "train", "val", "test"][n / 2 % 4];
    table("birds/parts.csv", "name,img,kind,part", &|n, name| {
        format!("bird {n},photos/{name},{},{}", class(n), part(n))
    });
    let text = start("b", "birds/parts.csv", &[]);
    assert!(text.contains("split        = { column = \"part\" }"), "{text}");
    assert!(text.contains("class_column = \"kind\"") && !text.contains("root "), "{text}");
    assert!(text.contains("split = \"test\""), "{text}");

    let tags = |n: usize| ["wet;small", "small", "wet", ""][n % 4];
    table("birds/tags.csv", "path,tags", &|n, name| format!("{name},{}", tags(n)));
    let text = start("c", "birds/tags.csv", &[]);
    assert!(text.contains("labels_column = \"tags\"") && text.contains("separator     = \";\""), "{text}");
    assert!(text.contains("kind = \"bce\"") && text.contains("validation/map"), "{text}");

    table("birds/flags.csv", "path,wet,small", &|n, name| format!("{name},{},{}", n % 2, n / 2 % 2));
    let text = start("d", "birds/flags.csv", &[]);
    assert!(text.contains("label_columns = [\"wet\", \"small\"]"), "{text}");

    // A table for each split.
    let all = names.iter().enumerate().map(|(n, name)| format!("{name},{}", class(n)));
    let all: Vec<String> = all.collect();
    for (file, rows) in [("train", &all[..40]), ("val", &all[40..50]), ("test", &all[50..])] {
        fs::write(path.join(format!("birds/{file}.csv")), format!("path,class\n{}\n", rows.join("\n")))
            .unwrap();
    }
    let text = start("e", "birds/train.csv", &[]);
    assert!(
        text.contains("files = { test = \"../birds/test.csv\", validation = \"../birds/val.csv\" }"),
        "{text}"
    );

    // The user's word counts.
    table("birds/two.csv", "path,class,family", &|n, name| format!("{name},{},{}", class(n), n / 30));
    let text = start("f", "birds/two.csv", &["--class-column", "family", "--root", "birds/photos"]);
    assert!(text.contains("class_column = \"family\""), "{text}");
}

#[test]
fn a_table_that_cannot_be_read_says_what_was_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    pictures(path, (1..5).map(|number| format!("{number}.png")));
    let said = |text: &str, more: &[&str]| {
        fs::write(path.join("t.csv"), text).unwrap();
        refused(path, &[&["--data", "t.csv"], more].concat())
    };
    for (table, message, hint) in [
        (
            "id,age\nx1,3\nx2,4\n",
            "no column has image files: `t.csv` has `id` (`x1`), `age` (`3`)",
            "such as `x1.jpg`",
        ),
        ("photo,class\na.heic,x\n", "no column has image files", "add a column `path`"),
        (
            "file,class\na.heic,x\nb.heic,y\n",
            "no column has image files",
            "`a.heic` is a HEIC file, which is not read",
        ),
        ("path\n1.png\n2.png\n", "no column has classes", "--class-column NAME"),
        (
            "path,a,b\n1.png,u,v\n2.png,u,w\n1.png,s,v\n2.png,s,w\n",
            "several columns may have",
            "`a` (2 values), `b` (2 values)",
        ),
        (
            "path,class\nq/1.png,x\nq/2.png,y\n",
            "`q/1.png`, the first image of `t.csv`, is not in `.`",
            "--root DIR",
        ),
        ("path;class\n1.png;x\n", "the 2 columns of `t.csv` are separated by \";\"", "by commas"),
        ("path,class\n", "has no rows below its first line", "one row per image"),
        (
            "path,class,split\n1.png,x,train\n2.png,y,train\n3.png,x,test\n4.png,y,test\n",
            "no row of `t.csv` has `validation`",
            "`@best` needs",
        ),
    ] {
        let text = said(table, &[]);
        assert!(text.contains(message) && text.contains(hint), "{table}: {text}");
    }
    let text = said("path,class\n1.png,x\n", &["--class-column", "kind"]);
    assert!(text.contains("there is no column `kind`") && text.contains("`class` (`x`)"), "{text}");
    let text = refused(path, &["--class-column", "kind"]);
    assert!(text.contains("`--class-column` is for tables"), "{text}");
}

#[test]
fn folders_without_images_or_classes_say_what_was_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir_all(path.join("empty")).unwrap();
    assert!(refused(path, &["--data", "empty"]).contains("--data: `empty` is empty"));
    fs::create_dir_all(path.join("phone/cat")).unwrap();
    for file in ["phone/cat/1.HEIC", "phone/cat/2.HEIC", "phone/notes.txt"] {
        fs::write(path.join(file), "").unwrap();
    }
    let text = refused(path, &["--data", "phone"]);
    assert!(text.contains("`phone` has no images, only 2 .HEIC files, 1 .txt file"), "{text}");
    assert!(
        text.contains("hint: HEIC files are not read: convert them, for example with `heif-convert"),
        "{text}"
    );
    pictures(&path.join("flat"), (0..3).map(|number| format!("{number}.png")));
    let text = refused(path, &["--data", "flat"]);
    assert!(
        text.contains("`flat` has 3 images, but no folders of classes") && text.contains("--data TABLE.csv"),
        "{text}"
    );
    fs::write(path.join("flat/labels.csv"), "path,class\n").unwrap();
    assert!(refused(path, &["--data", "flat"]).contains("give it: `--data flat/labels.csv`"));
}

/// The name of the file says nothing, or something wrong.
#[test]
fn the_architecture_is_the_one_that_the_weights_fit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    images(&path.join("photos"), &["ant", "bee"], 30);
    for (file, arch) in [("model.pth", "resnet34"), ("resnet50.pth", "resnet18"), ("best.pth", "vit_s_16")] {
        zeros(&path.join(file), arch);
        let text = starter(path, arch, &["--data", "photos", "--weights", file]);
        assert!(
            text.contains(&format!("arch = \"{arch}\"")) && text.contains("# the weights fit it"),
            "{text}"
        );
    }
    let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat();
    fs::write(path.join("other.safetensors"), file).unwrap();
    let text = refused(path, &["--data", "photos", "--weights", "other.safetensors"]);
    assert!(text.contains("`other.safetensors` fits none of the") && text.contains("--arch NAME"), "{text}");
    let text = starter(path, "given", &["--arch", "resnet34", "--weights", "model.pth", "--data", "photos"]);
    assert!(text.contains("arch = \"resnet34\"\n"), "{text}");
}

#[test]
fn image_settings_are_those_of_timms_config_beside_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    images(&path.join("photos"), &["ant", "bee"], 30);
    zeros(&path.join("model.pth"), "resnet18");
    let config = |settings: &str| {
        let text = format!("{{\"architecture\": \"resnet18\", \"pretrained_cfg\": {{{settings}}}}}");
        fs::write(path.join("config.json"), text).unwrap();
    };
    let args = ["--data", "photos", "--weights", "model.pth"];
    config(
        "\"input_size\": [3, 288, 288], \"interpolation\": \"bicubic\", \"crop_pct\": 0.95, \
         \"mean\": [0.5, 0.5, 0.5], \"std\": [0.5, 0.5, 0.5]",
    );
    let text = starter(path, "a", &args);
    for line in [
        "image_size = 288                          # `input_size` of the weights' config.json",
        "resize     = 303                          # 288 / 0.95, its `crop_pct`; it resizes bicubic, and defrost bilinear",
        "normalize  = \"inception\"                  # its `mean` and `std`",
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
    config("\"mean\": [0.4, 0.5, 0.6], \"std\": [0.2, 0.2, 0.25]");
    let text = starter(path, "b", &args);
    assert!(text.contains("normalize  = { mean = [0.4, 0.5, 0.6], std = [0.2, 0.2, 0.25] }"), "{text}");
    assert!(text.contains("image_size = 224") && !text.contains("resize "), "{text}");
    for (settings, cause) in [
        ("\"input_size\": [3, 224, 256]", "its `input_size` is 256 × 224, and images are squares here"),
        ("\"input_size\": [3, 224, 224], \"crop_pct\": 1.5", "its `crop_pct` is 1.5"),
        ("\"mean\": [0.5], \"std\": [0.5]", "its `mean` is [0.5], not three numbers"),
        ("\"mean\": [0, 0, 0], \"std\": [1, 0, 1]", "its `std` has a number that is not above 0"),
        ("\"mean\": [", "cannot read `config.json`: "),
    ] {
        config(settings);
        let text = refused(path, &args);
        assert!(text.contains(cause) && text.contains("config.json"), "{settings}: {text}");
    }
    // That of another program, such as transformers.
    fs::write(path.join("config.json"), "{\"architectures\": [\"X\"], \"hidden_size\": 4}").unwrap();
    assert!(
        starter(path, "c", &args).contains("normalize  = \"imagenet\"                   # as in pretraining")
    );
}

/// The published weights of EfficientNet-Lite have statistics of their own, as do encoders.
#[test]
fn the_statistics_are_those_of_the_architectures_weights() {
    let folder = tempfile::tempdir().unwrap();
    for (arch, normalize) in [
        ("efficientnet_lite0", "efficientnet_lite"),
        ("clip_vit_b32", "clip"),
        ("siglip_base_patch16_224", "inception"),
        ("resnet50", "imagenet"),
    ] {
        let (code, text) = defrost(folder.path(), &["init", arch, "--arch", arch]);
        assert_eq!(code, 0, "{text}");
        let text = fs::read_to_string(folder.path().join(arch).join("pipeline.toml")).unwrap();
        assert!(text.contains(&format!("normalize  = \"{normalize}\"")), "{text}");
    }
}

/// A word of the template in a path is not taken for one.
#[test]
fn names_like_words_of_the_template_stay() {
    let folder = tempfile::tempdir().unwrap();
    images(&folder.path().join("DATA ARCH/STAGES"), &["ant", "bee"], 30);
    zeros(&folder.path().join("FILE.pth"), "resnet18");
    let text = starter(folder.path(), "NAME", &["--data", "DATA ARCH/STAGES", "--weights", "FILE.pth"]);
    assert!(
        text.contains("root       = \"../DATA ARCH/STAGES\"") && text.contains("name = \"NAME\""),
        "{text}"
    );
}
