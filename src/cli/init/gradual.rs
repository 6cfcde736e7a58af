//! Writes a schedule that gradually unfreezes an architecture from its head down: Howard and Ruder, *Universal Language
//! Model Fine-tuning for Text Classification* (ACL 2018), §3.3, with the learning rates of §3.2.

use std::ops::Range;

use defrost::model::{Description, Model, TensorSpec};
use defrost::{pipeline, report};

const TEMPLATE: &str = include_str!("gradual.toml");
/// The learning rate of the head.
const RATE: f64 = 1e-3;
/// The factor between the learning rates of a group and the next deeper one.
const RATIO: f64 = 2.6;
/// Epochs before each unfreezing, and after the last.
const EPOCHS: usize = 2;
const LAST_EPOCHS: usize = 5;
/// The maximum number of groups of the backbone. Deeper layers unfreeze together with the last group.
const MOST_GROUPS: usize = 5;

pub fn stages(arch: pipeline::Arch) -> String {
    let description = Model::build(&pipeline::Model::of(arch), 2).description;
    let groups = groups(&description);
    let mut lines = Vec::new();
    for (place, group) in groups.iter().enumerate() {
        let names: Vec<&str> =
            description.layers[group.clone()].iter().map(|layer| layer.name.as_str()).collect();
        let named = match names[..] {
            [only] => only.to_owned(),
            [first, .., last] => format!("{first} … {last}"),
            [] => String::new(),
        };
        let rate = RATE / RATIO.powi(place as i32 + 1);
        let entry = format!(
            "  {{ after_epochs = {}, last = {}, lr = {rate:.1e} }},",
            EPOCHS * (place + 1),
            description.layers.len() - group.start,
        );
        lines.push(format!("{entry:<56}# {named}"));
    }
    TEMPLATE
        .replace("GROUPS", &lines.join("\n"))
        .replace("EPOCHS", &(EPOCHS * groups.len() + LAST_EPOCHS).to_string())
        .replace("RATE", &report::shortest(RATE))
}

/// The layers of the backbone in groups, the one below the head first. Neighbours in one module unfreeze together. A
/// module with more than half of the network's layers unfreezes in four parts.
fn groups(description: &Description) -> Vec<Range<usize>> {
    let in_head = |(id, tensor): (usize, &TensorSpec)| description.in_head(id).then_some(tensor.layer);
    let head = description.parameters().filter_map(in_head).min().unwrap_or(description.layers.len());
    let module =
        |layer: usize| description.layers[layer].name.rsplit_once('.').map_or("", |(module, _)| module);
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut end = head;
    while end > 0 {
        let alike = |layer: &usize| !module(end - 1).is_empty() && module(*layer) == module(end - 1);
        let start = (0..end).rev().take_while(alike).last().unwrap_or(end - 1);
        let parts = if 2 * (end - start) > description.layers.len() { 4 } else { 1 };
        let bound = |part: usize| start + (end - start) * part / parts;
        groups.extend((0..parts).rev().map(|part| bound(part)..bound(part + 1)));
        end = start;
    }
    if groups.len() > MOST_GROUPS {
        groups[MOST_GROUPS - 1].start = 0;
        groups.truncate(MOST_GROUPS);
    }
    groups
}
