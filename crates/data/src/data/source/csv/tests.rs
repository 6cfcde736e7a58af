use std::fs;

use super::*;

const CLASS: &str = "class_column = \"kind\"\n";

/// Six empty images below `photos`, and tables by name.
fn scene(tables: &[(&str, &str)]) -> tempfile::TempDir {
    let scene = tempfile::tempdir().unwrap();
    for path in ["cat/1.jpg", "cat/2.png", "cat/a,b.jpg", "dog/1.JPG", "dog/2.jpg", "owl/1.jpg"] {
        let path = scene.path().join("photos").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }
    for (name, text) in tables {
        fs::write(scene.path().join(name), text).unwrap();
    }
    scene
}

fn read(scene: &tempfile::TempDir, settings: &str) -> Result<Dataset> {
    let class = if settings.contains("label") { "" } else { CLASS };
    let settings: Csv = toml::from_str(&format!("file = \"t.csv\"\n{class}{settings}")).unwrap();
    let mut tables = vec![(Split::Train, scene.path().join("t.csv"))];
    let files = settings.split.files.clone();
    let files =
        files.iter().flat_map(|files| [(Split::Validation, &files.validation), (Split::Test, &files.test)]);
    tables.extend(files.filter_map(|(split, file)| Some((split, scene.path().join(file.as_ref()?)))));
    Dataset::of_tables(&settings, &tables, &scene.path().join("photos"))
}

/// Path, classes and part of each sample.
fn samples(dataset: &Dataset) -> Vec<(&str, Vec<&str>, Split)> {
    let mut all = Vec::new();
    for Sample { path, label, split, .. } in &dataset.samples {
        let classes = label.classes();
        let classes = classes.iter().map(|class| dataset.classes[*class as usize].as_str()).collect();
        all.push((path.as_str(), classes, *split));
    }
    all
}

#[test]
fn rows_are_samples_with_the_part_they_name() {
    let text = "\u{feff}id, path ,kind,part\r\n7,./dog\\1.JPG,dog,val\r\n\r\n8,\"cat/a,b.jpg\", cat,train\r\n9,dog/2.jpg,dog,train\r\n10,owl/1.jpg,owl,test\r\n";
    let scene = scene(&[("t.csv", text)]);
    let lacking = "split = { column = \"part\", require_classes = false }\n";
    let dataset = read(&scene, &format!("{lacking}classes = [\"cat\", \"dog\", \"owl\"]")).unwrap();
    assert_eq!(dataset.warnings, ["no training image has `owl`: the model cannot learn to predict it"]);
    assert_eq!(
        samples(&dataset),
        [
            ("cat/a,b.jpg", vec!["cat"], Split::Train),
            ("dog/1.JPG", vec!["dog"], Split::Validation),
            ("dog/2.jpg", vec!["dog"], Split::Train),
            ("owl/1.jpg", vec!["owl"], Split::Test),
        ]
    );
    let dataset = read(&scene, &format!("{lacking}classes = [\"dog\", \"cat\"]")).unwrap();
    assert_eq!(dataset.classes, ["dog", "cat"]);
    assert_eq!(dataset.samples.len(), 3);
}

#[test]
fn parts_may_have_tables_of_their_own() {
    let train = "path,kind\ncat/1.jpg,cat\ndog/1.JPG,dog\n";
    let test = "kind,path\ncat,cat/2.png\n";
    let scene = scene(&[("t.csv", train), ("test.csv", test)]);
    let error = read(&scene, "split.files = { test = \"test.csv\" }").unwrap_err();
    assert_eq!(error.message, "the test split has no image of class `dog`");
    let settings = "split = { require_classes = false, files = { test = \"test.csv\" } }";
    let dataset = read(&scene, settings).unwrap();
    assert_eq!(dataset.counts(), [[1, 0, 1], [1, 0, 0]]);
    fs::write(scene.path().join("test.csv"), "path,kind\ncat/2.png,cat\ncat/1.jpg,cat\n").unwrap();
    let error = read(&scene, settings).unwrap_err();
    assert!(
        error.message.contains("test.csv`, line 3: `cat/1.jpg` is already listed in")
            && error.message.ends_with("t.csv`, line 2"),
        "{error}"
    );
}

#[test]
fn an_image_may_have_any_number_of_labels() {
    let rows = "cat/1.jpg,small; furry,1,True,0\ndog/1.JPG,,0,False,0\ndog/2.jpg,small,0,true,0\n";
    let scene = scene(&[("t.csv", &format!("path,tags,furry,small,wet\n{rows}"))]);
    let expected = [
        ("cat/1.jpg", vec!["furry", "small"], Split::Train),
        ("dog/1.JPG", vec![], Split::Train),
        ("dog/2.jpg", vec!["small"], Split::Train),
    ];
    let listed = read(&scene, "labels_column = \"tags\"").unwrap();
    assert!(listed.is_multi_label() && samples(&listed) == expected);
    assert_eq!(listed.counts(), [[1, 0, 0], [2, 0, 0]]);
    let flagged = read(&scene, "label_columns = [\"furry\", \"small\"]").unwrap();
    assert_eq!(flagged, listed);
    let one = read(&scene, "labels_column = \"tags\"\nclasses = [\"small\"]").unwrap();
    let shown: Vec<Vec<u32>> = one.samples.iter().map(|sample| sample.label.classes().into_owned()).collect();
    assert_eq!(shown, [&[0][..], &[], &[0]], "an image without the label is an image all the same");
}

#[test]
fn every_mistake_is_at_its_line() {
    for (text, settings, mistake) in [
        ("file,kind\na.jpg,cat\n", "", "line 1: there is no column `path`"),
        ("path,kind,kind\n", "", "line 1: two columns are named `kind`"),
        ("path,kind\ncat/1.jpg,cat\n\n\ncat/9.jpg,cat\ncat/8.jpg,dog\n", "", "line 5: `cat/9.jpg` is not in"),
        ("path,kind\ncat/1.jpg,cat\n./cat/1.jpg,dog\n", "", "line 3: `cat/1.jpg` is already listed in"),
        ("path,kind\ncat/1.jpg,\n", "", "line 2: `cat/1.jpg` has no class"),
        ("path,kind\n,cat\n", "", "line 2: a row without a path"),
        ("path,kind\n../photos/cat/1.jpg,cat\n", "", "line 2: `../photos/cat/1.jpg` is outside"),
        ("path,kind\n/etc/1.jpg,cat\n", "", "line 2: `/etc/1.jpg` is outside"),
        (
            "path,kind\ncat/1,cat\n",
            "",
            "line 2: `cat/1` is not a .jpg, .jpeg, .jpe, .jfif, .png, .webp, .bmp, .tif, .tiff, .gif, .pnm, .ppm, .pgm or .pbm file",
        ),
        ("path,kind\ncat/1.jpg,cat\ncat/a,b.jpg,cat\n", "", "line 3: 3 fields, but the first line names 2"),
        ("path,kind\n\"cat/1.jpg,cat\ncat/2.png,cat\n", "", "line 2: a quoted field continues"),
        ("path,kind\ncat/1.jpg,ca\"t\n", "", "line 2: a quotation mark inside a field"),
        (
            "path,kind\ncat/1.jpg,cat\n",
            "",
            "the table needs rows of at least two classes, but has only `cat`",
        ),
        ("path,kind\n", "", "the table needs rows of at least two classes, but has none"),
        (
            "path,kind\ncat/1.jpg,cat\ndog/1.JPG,dog\n",
            "classes = [\"cat\", \"dgo\"]",
            "no row has the class `dgo`",
        ),
        (
            "path,kind,part\ncat/1.jpg,cat,dev\n",
            "split = { column = \"part\" }",
            "line 2: unknown split `dev`",
        ),
        (
            "path,kind,part\ncat/1.jpg,cat,test\ndog/1.JPG,dog,test\n",
            "split = { column = \"part\" }",
            "no row of the table is in the training split",
        ),
        ("path,a\ncat/1.jpg,x;;y\n", "labels_column = \"a\"", "line 2: an empty label in `x;;y`"),
        ("path,a\ncat/1.jpg,x;y;x\n", "labels_column = \"a\"", "line 2: the label `x` occurs twice"),
        ("path,a\ncat/1.jpg,\n", "labels_column = \"a\"", "no row has a label"),
        (
            "path,a\ncat/1.jpg,x;z|y\n",
            "labels_column = \"a\"\nseparator = \"|\"",
            "the label `x;z` contains `;`",
        ),
        ("path,a\ncat/1.jpg,2\n", "label_columns = [\"a\"]", "line 2: `a` is `2`, but must be 0 or 1"),
        ("path,a\ncat/1.jpg,\n", "label_columns = [\"a\"]", "line 2: `a` is ``, but must be 0 or 1"),
        ("path,a\ncat/1.jpg,0\n", "label_columns = [\"a\"]", "no row has the label `a`"),
        ("path,a\ncat/1.jpg,x\n", "labels_column = \"a\"\nclasses = [\"z\"]", "no row has the label `z`"),
    ] {
        let error = read(&scene(&[("t.csv", text)]), settings).unwrap_err();
        assert!(error.message.contains(mistake), "{text}: {error}");
        assert_eq!(error.kind, crate::error::ErrorKind::Usage);
    }
    let semicolons = scene(&[("t.csv", "path;kind\ncat/1.jpg;cat\n")]);
    let hint = read(&semicolons, "").unwrap_err().hint.unwrap();
    assert_eq!(hint, "separate the columns by commas instead of \";\"");
    let latin = scene(&[]);
    fs::write(latin.path().join("t.csv"), b"path,kind\ncat/1.jpg,caf\xe9\n").unwrap();
    assert!(read(&latin, "").unwrap_err().message.ends_with("line 2: this is not UTF-8 text"));
    assert!(read(&scene(&[]), "").unwrap_err().message.starts_with("cannot read"));
}
