//! `defrost embed`: a model's embeddings of images, in files for other tools.

use safetensors::SafeTensors;

use crate::project::{Project, document};

/// The tensor of a file and the names in its metadata.
fn read(project: &Project, file: &str) -> (Vec<usize>, Vec<f32>, Vec<String>) {
    let bytes = std::fs::read(project.path().join(file)).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let names = serde_json::from_str(&header.metadata().as_ref().unwrap()["defrost.files"]).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = tensors.tensor("embeddings").unwrap();
    let numbers = tensor.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
    (tensor.shape().to_vec(), numbers.collect(), names)
}

#[test]
fn a_folder_becomes_a_tensor_a_table_or_a_document_with_the_same_numbers() {
    let project = Project::finished();
    let embed = |rest: &[&str]| project.defrost(&[&["embed", "colours"], rest].concat());
    let output = embed(&["photos", "--out", "all.safetensors"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let (shape, numbers, names) = read(&project, "all.safetensors");
    assert_eq!(shape[0], names.len());
    assert!(names.is_sorted() && names.len() > 32, "more than a batch: {names:?}");
    let dimension = shape[1];
    assert!(
        String::from_utf8(output.stdout).unwrap().contains(&format!("embeddings of dimension {dimension}"))
    );

    // A single image, and the same image in another batch: the same bits.
    let last = names.last().unwrap();
    let answer = document(&embed(&[last.as_str(), names[0].as_str(), "--json"]));
    assert_eq!(answer["dimension"], dimension);
    for (entry, name) in answer["embeddings"].as_array().unwrap().iter().zip([last, &names[0]]) {
        assert_eq!(entry["file"], name.as_str());
        let at = names.iter().position(|other| other == name).unwrap();
        let printed: Vec<f32> = serde_json::from_value(entry["embedding"].clone()).unwrap();
        assert_eq!(printed, numbers[at * dimension..(at + 1) * dimension]);
    }

    assert_eq!(embed(&["photos", "--out", "all.csv"]).status.code(), Some(0));
    assert_eq!(embed(&["photos", "--out", "all.npy"]).status.code(), Some(0));
    let file = std::fs::read(project.path().join("all.npy")).unwrap();
    let start = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
    assert!(file.starts_with(b"\x93NUMPY\x01\x00") && start % 64 == 0 && file[start - 1] == b'\n');
    let header = String::from_utf8(file[10..start].to_vec()).unwrap();
    let shape = format!("'shape': ({}, {dimension}), }}", names.len());
    assert!(header.starts_with("{'descr': '<f4', 'fortran_order': False, ") && header.contains(&shape));
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    assert!(file[start..] == bytes);
    let listed = std::fs::read_to_string(project.path().join("all.npy.files.txt")).unwrap();
    assert_eq!(listed.lines().collect::<Vec<_>>(), names);
    let table = std::fs::read_to_string(project.path().join("all.csv")).unwrap();
    let mut rows = csv::Reader::from_reader(table.as_bytes());
    assert_eq!(&rows.headers().unwrap()[1], "embedding 0");
    let read: Vec<(String, Vec<f32>)> = rows.deserialize().map(Result::unwrap).collect();
    assert_eq!(read.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), names);
    assert_eq!(read.into_iter().flat_map(|(_, row)| row).collect::<Vec<f32>>(), numbers);
}

/// A frozen backbone equals that of the starting weights, and so do its embeddings.
#[test]
fn weights_that_nothing_trained_embed_too() {
    let project = Project::finished();
    let embed = |stage: &[&str]| {
        document(&project.defrost(&[&["embed", "colours", "photos/red", "--json"], stage].concat()))
    };
    let (start, frozen) = (embed(&["--stage", "start"]), embed(&["--stage", "frozen@last"]));
    assert_eq!(start["checkpoint"], "stages/start/model.safetensors");
    assert_eq!(start["embeddings"], frozen["embeddings"]);
    assert_eq!(start["embeddings"].as_array().unwrap().len(), 12);

    let output = project.defrost(&["embed", "colours", "photos/red", "--json", "--stage", "start@best"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("stage `start` is not a train stage") && text.contains("`--stage start`"),
        "{text}"
    );

    // In a run without a train stage, the loaded weights are used without `--stage`.
    let pipeline = project.text();
    let (data, _) = pipeline.split_once("[defaults.train]").unwrap();
    project.write(&format!("{}\n[stage.start]\nkind = \"init_weights\"\n", data.replace("colours", "bare")));
    let bare = project.defrost(&["run", "colours.toml", "--json"]);
    assert!(bare.status.success(), "{}", String::from_utf8_lossy(&bare.stderr));
    let alone = document(&project.defrost(&["embed", "bare", "photos/red", "--json"]));
    assert_eq!(alone["embeddings"], start["embeddings"]);
    let output = project.defrost(&["predict", "bare", "photos/red"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("no stage of the run has a model") && text.contains("kind = \"train\""), "{text}");
    for command in [
        &["lr-find", "colours.toml", "--stage", "start"][..],
        &["params", "colours.toml", "--stage", "start"],
    ] {
        let output = project.defrost(command);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("is not a train stage") && !text.trim_end().ends_with(':'), "{text}");
        assert!(!text.contains("stages are \n") && !text.trim_end().ends_with("are"), "{text}");
    }
}

#[test]
fn what_cannot_be_embedded_is_named() {
    let project = Project::finished();
    std::fs::write(project.path().join("notes.png"), "no picture").unwrap();
    let output = project.defrost(&[
        "embed",
        "colours",
        "notes.png",
        "photos/red/00.png",
        "--out",
        "some.csv",
        "--json",
    ]);
    assert_eq!(output.status.code(), Some(2));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["embeddings"][0]["file"], "photos/red/00.png", "the good ones are answered");
    assert!(answer["errors"][0].as_str().unwrap().contains("notes.png"));
    std::fs::create_dir(project.path().join("empty")).unwrap();
    let cases: [(&[&str], &str); 4] = [
        (&["photos/red/00.png"], "`--out` or `--json` is required"),
        (&["photos/red/00.png", "--out", "some.parquet"], "is no .safetensors, .csv or .npy file"),
        (&["empty", "--out", "some.csv"], "`empty` has no JPEG, PNG, WebP, BMP, TIFF, GIF or PNM file"),
        (&["photos", "--out", "some.csv", "--stage", "frosen"], "no stage `frosen`"),
    ];
    for (arguments, mistake) in cases {
        let output = project.defrost(&[&["embed", "colours"], arguments].concat());
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(mistake), "{text}");
    }
}
