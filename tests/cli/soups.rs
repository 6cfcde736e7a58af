//! Averaged weights: the mean of several stages is a stage like any other.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use crate::project::{Project, Run, document};

/// Two fine-tunings of one frozen stage, their mean, and its evaluation.
fn project() -> Project {
    let project = Project::new();
    let text = project.text();
    let start = text.find("[stage.finetune]").unwrap();
    let finetune = text[start..text.find("[stage.test]").unwrap()].to_owned();
    let other = finetune.replace("[stage.finetune]", "[stage.other]").replace("lr = 1e-3", "lr = 2e-3");
    project.write(&format!(
        "{}\n{other}\n[stage.soup]\nkind = \"load_weights\"\naverage = [\"finetune@last\", \"other@last\"]\n",
        text.replace("from = \"finetune@best\"\n", "from = \"soup\"\n")
    ));
    project
}

fn tensors(run: &Run, file: &str) -> BTreeMap<String, Tensor> {
    let path = run.directory.join("stages").join(file);
    candle_core::safetensors::load(path, &Device::Cpu).unwrap().into_iter().collect()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn the_mean_of_two_stages_has_the_bits_of_what_both_left_frozen() {
    let project = project();
    let run = project.run(&[]);
    let [one, other, soup] =
        ["finetune/last.safetensors", "other/last.safetensors", "soup/model.safetensors"]
            .map(|file| tensors(&run, file));
    let (mut equal, mut averaged) = (0, 0);
    for (name, mean) in soup.iter().filter(|(_, tensor)| tensor.dtype() == DType::F32) {
        let [a, b, mean] = [&one[name], &other[name], mean].map(values);
        for ((a, b), mean) in a.iter().zip(&b).zip(&mean) {
            assert_eq!(((f64::from(*a) + f64::from(*b)) / 2.0) as f32, *mean, "{name}");
        }
        match a == b {
            true => equal += 1,
            false => averaged += 1,
        }
    }
    assert!(equal > 50 && averaged > 5, "{equal} equal and {averaged} averaged tensors");
    assert!(run.metrics("test")["accuracy"].as_f64().is_some());

    // Only what depends on a member runs again.
    project.edit("lr = 2e-3", "lr = 4e-3");
    let plan = document(&project.defrost(&["plan", "colours.toml", "--json"]));
    let misses: Vec<&str> = plan["stages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|stage| stage["status"] == "miss")
        .map(|stage| stage["name"].as_str().unwrap())
        .collect();
    assert_eq!(misses, ["other", "soup", "test"]);
}

#[test]
fn members_of_another_architecture_are_refused_at_their_place() {
    let project = project();
    let text = project.text();
    let text = text.replace("[defaults.train]", "[model.wide]\narch = \"resnet18\"\n\n[defaults.train]");
    let start = "[stage.start]\nkind = \"init_weights\"\n";
    let text = text.replace(
        start,
        &format!("{start}model = \"net\"\n\n[stage.odd]\nkind = \"init_weights\"\nmodel = \"wide\"\n"),
    );
    let text = text.replace(
        "average = [\"finetune@last\", \"other@last\"]",
        "model = \"net\"\naverage = [\"finetune@last\", \"odd\"]",
    );
    project.write(&text);
    let output = project.defrost(&["validate", "colours.toml"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("average") && message.contains("\"odd\""), "{message}");
}
