//! Pipeline files, and the tables and annotations that they name.

use std::fs;
use std::path::Path;
use std::time::Duration;

use defrost::pipeline::{self, DiagnosticReport, LoadOptions, Resolved};
use defrost::plan::{self, DiskAccess};

use super::support::{Bounds, bounded, fuzz};

/// A settings tree takes some hundred bytes per byte of dense text, and is copied for each run of a matrix.
const TOML: Bounds = Bounds { memory: 96 << 20, memory_per_byte: 4000, time: Duration::from_secs(10) };
const CSV: Bounds = Bounds { memory: 96 << 20, memory_per_byte: 1000, time: Duration::from_secs(10) };

/// Everything that a command does with a pipeline file before it computes; errors are rendered as for a user.
fn read(file: &Path, depth: DiskAccess) {
    let options = LoadOptions {
        set: Vec::new(),
        device: None,
        threads: None,
        only: Vec::new(),
        inputs: depth == DiskAccess::Inputs,
        env: &|_| None,
    };
    let checked = |report: DiagnosticReport| {
        let report = report.brief();
        assert!(
            (1..=50).contains(&report.diagnostics.len()),
            "{} errors are shown",
            report.diagnostics.len()
        );
        let text = report.render(true);
        let hidden =
            |c: char| c.is_control() && c != '\n' && c != '\u{1b}' || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!text.contains(hidden), "{text:?}");
        serde_json::to_string(&report.diagnostics).expect("diagnostics are plain data");
    };
    match pipeline::load_without_patterns(file, &options) {
        Err(report) => checked(report),
        Ok(runs) => {
            // The first and last run of a matrix; the others are similar.
            let ends = [runs.first(), runs.last()];
            ends.into_iter()
                .flatten()
                .for_each(|run: &Resolved| drop(plan::resolve(run, depth).map_err(checked)));
        }
    }
}

#[test]
fn pipeline_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.toml");
    fuzz("toml", 300, TOML, |text| {
        fs::write(&file, text).unwrap();
        read(&file, DiskAccess::Offline);
    });
}

#[test]
fn tables_of_images() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.toml");
    fs::create_dir(folder.path().join("a")).unwrap();
    fs::write(folder.path().join("a/1.png"), "").unwrap();
    let pipelines = ["class_column = \"class\"", "labels_column = \"class\""].map(|column| {
        format!(
            "name = \"t\"\n[data.d]\nformat = \"csv\"\nfile = \"t.csv\"\n{column}\nsplit = {{ column = \"part\" }}\n\
             [model.m]\narch = \"resnet18\"\n[stage.a]\nkind = \"init_weights\"\n[stage.b]\nkind = \"evaluate\"\nfrom = \"a\"\n"
        )
    });
    fuzz("csv", 300, CSV, |table| {
        fs::write(folder.path().join("t.csv"), table).unwrap();
        for pipeline in &pipelines {
            fs::write(&file, pipeline).unwrap();
            read(&file, DiskAccess::Inputs);
        }
    });
}

/// Reads a data set with boxes, one of whose files is hostile.
fn boxes(settings: &str, folder: &Path) {
    let file = folder.join("p.toml");
    let text = format!(
        "name = \"t\"\n[data.d]\n{settings}\n[model.m]\narch = \"resnet18\"\n[stage.a]\nkind = \"init_weights\"\n"
    );
    fs::write(&file, text).unwrap();
    read(&file, DiskAccess::Inputs);
}

/// A folder with one image.
fn one_image() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("images")).unwrap();
    fs::create_dir_all(folder.path().join("labels")).unwrap();
    let png = include_bytes!("../fixtures/data/grey1.png");
    fs::write(folder.path().join("images/1.png"), png).unwrap();
    folder
}

#[test]
fn yolo_labels() {
    let folder = one_image();
    let settings = "format = \"yolo\"\nroot = \".\"\nclasses = [\"a\", \"b\"]\nsplit.require_classes = false";
    fuzz("yolo", 300, CSV, |text| {
        fs::write(folder.path().join("labels/1.txt"), text).unwrap();
        boxes(settings, folder.path());
        boxes(&format!("{settings}\nclip = true"), folder.path());
    });
}

#[test]
fn yolo_yaml_files() {
    let folder = one_image();
    fs::write(folder.path().join("labels/1.txt"), "0 0.5 0.5 0.2 0.2\n").unwrap();
    fs::write(folder.path().join("list.txt"), "./images/1.png\n").unwrap();
    fuzz("yaml", 300, CSV, |text| {
        fs::write(folder.path().join("data.yaml"), text).unwrap();
        boxes("format = \"yolo\"\nfile = \"data.yaml\"", folder.path());
    });
}

#[test]
fn coco_files() {
    let folder = one_image();
    fuzz("coco", 300, CSV, |text| {
        fs::write(folder.path().join("t.json"), text).unwrap();
        boxes("format = \"coco\"\nfile = \"t.json\"\nroot = \"images\"", folder.path());
    });
}

#[test]
fn voc_files() {
    let folder = one_image();
    fuzz("voc", 300, CSV, |text| {
        fs::write(folder.path().join("images/1.xml"), text).unwrap();
        boxes("format = \"voc\"\nroot = \"images\"", folder.path());
    });
}

/// Long files of labels, generated here instead of committed.
#[test]
fn long_label_files() {
    bounded(3 << 30, Duration::from_secs(120), || {
        let folder = one_image();
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
        let yolo = "format = \"yolo\"\nfile = \"data.yaml\"";
        for text in [
            "[".repeat(1_000_000),
            "a: ".repeat(300_000),
            "- ".repeat(500_000),
            "x: &a [*a]\n".repeat(50_000),
        ] {
            write("data.yaml", text);
            boxes(yolo, folder.path());
        }
        let voc = "format = \"voc\"\nroot = \"images\"";
        for text in
            ["<a>".repeat(500_000), format!("<annotation>{}</annotation>", "<object/>".repeat(300_000))]
        {
            write("images/1.xml", text);
            boxes(voc, folder.path());
        }
        let coco = "format = \"coco\"\nfile = \"t.json\"\nroot = \"images\"";
        for text in ["[".repeat(1_000_000), format!("{{\"images\": [], \"x\": {}", "{\"a\":".repeat(500_000))]
        {
            write("t.json", text);
            boxes(coco, folder.path());
        }
        write("data.yaml", "train: images\nnames: [a]\n".to_owned());
        for text in ["0 ".repeat(2_000_001), "0 0.5 0.5 0.1 0.1\n".repeat(300_000), "9 0 0\n".repeat(500_000)]
        {
            write("labels/1.txt", text);
            boxes(yolo, folder.path());
        }
    });
}

/// Long files, generated here instead of committed.
#[test]
fn long_pipeline_files() {
    bounded(3 << 30, Duration::from_secs(120), || {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p.toml");
        let head = include_str!("corpus/toml/minimal.toml");
        let list = |key: &str, one: &str, count: usize| format!("{head}{key} = [{}]\n", one.repeat(count));
        for text in [
            format!("{head}{}", "= \n".repeat(100_000)),
            format!("{head}{}", "x = 1.e-3\n".repeat(50_000)),
            format!("{head}{}", "[stage.fit]\nepochs = 3\n".repeat(30_000)),
            format!("{head}{}", "[[matrix]]\npath = \"seed\"\nvalues = [1]\n".repeat(20_000)),
            format!("{head}x = {}{}\n", "[".repeat(500_000), "]".repeat(500_000)),
            format!("{head}x = {}{}\n", "{ a = ".repeat(100_000), "}".repeat(100_000)),
            format!("{head}{}x = 1\n", "a.".repeat(500_000)),
            format!("{head}[{}x]\n", "a.".repeat(500_000)),
            format!("{head}x = \"{}\n", "\\".repeat(1_000_000)),
            format!("{head}x = '''{}\n", "\n".repeat(1_000_000)),
            list("freeze", "\"@head\", ", 100_000),
            list("freeze", "\"{0..1000}.{0..1000}\", ", 1000),
            list("freeze", "\"re:(a*)*{1000}\", ", 1000),
            list("groups", "{ match = [\"fc\"], lr = 0.1 }, ", 50_000),
            list("unfreeze", "{ after_epochs = 1, last = 1 }, ", 50_000),
        ] {
            fs::write(&file, text).unwrap();
            read(&file, DiskAccess::Offline);
        }
    });
}
