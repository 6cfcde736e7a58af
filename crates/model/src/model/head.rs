//! The heads, shared by all architectures: what stands between features and class scores.
//!
//! Every tensor of a head lies below the module that the architecture calls its own: `fc`, `classifier.1`, `heads.head`.
//! What a PyTorch user puts there:
//!
//! ```python
//! # linear
//! nn.Linear(features, classes)
//! # mlp, hidden = [512]; torchvision's VGG has such a one
//! nn.Sequential(nn.Linear(features, 512), nn.ReLU(), nn.Dropout(p), nn.Linear(512, classes))
//! # projection, of SimCLR
//! nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, width))
//! # embedding
//! class Head(nn.Module):
//!     def __init__(self):
//!         super().__init__()
//!         self.embedding = nn.Linear(features, dimension, bias=not batch_norm)
//!         self.norm = nn.BatchNorm1d(dimension) if batch_norm else nn.Identity()
//!         self.classifier = nn.Linear(dimension, classes, bias=False)
//!     def forward(self, x):
//!         embedding = F.normalize(self.norm(self.embedding(F.dropout(x, p, self.training))))
//!         return scale * F.linear(embedding, F.normalize(self.classifier.weight))
//! # with classifier = false, there is no self.classifier, and the embedding is returned
//! ```
//!
//! With dropout, the linear head is `nn.Linear` behind an `nn.Dropout` that has no name here.

use super::activations::{Activations, EMBEDDINGS, LOGITS};
use super::layers::{BatchNorm, Linear};
use super::network::{Architecture, Backbone, BuildOptions, Head};
use super::pass::Pass;
use super::scope::{Form, Scope};
use crate::autograd::Value;
use crate::error::Result;
use crate::ops::Activation;
use crate::pipeline::{self, HeadActivation};

/// From features [N, C] to class scores [N, classes].
pub struct ClassificationHead {
    kind: HeadKind,
    dropout: f64,
}

enum HeadKind {
    Linear(Linear),
    /// The last one gives the scores.
    Mlp(Vec<Linear>, Activation),
    Embedding(EmbeddingLayers),
}

/// Scores are cosines times `scale`, as in Wang et al., *NormFace* (ACM MM 2017); batch normalisation before the norm is
/// taken as in Deng et al., *ArcFace* (CVPR 2019), §3.1.
struct EmbeddingLayers {
    linear: Linear,
    norm: Option<BatchNorm>,
    /// A row for each class, of which the direction alone counts. Without, the embedding is the output.
    classifier: Option<Linear>,
    scale: f64,
}

impl Backbone {
    /// Puts the head that the settings ask for behind the last layer.
    pub fn with_head(self, options: &BuildOptions) -> Architecture {
        let Self { mut scope, network, features, head } = self;
        scope.form(Form::Vector);
        scope.channels(features);
        let settings = &options.settings.head;
        let head = ClassificationHead::declare(&mut scope, head, features, options.classes, settings);
        Architecture { scope, network, head: Box::new(head) }
    }
}

impl ClassificationHead {
    /// Declares the head as the layer and module `module`.
    pub fn declare(
        scope: &mut Scope,
        module: &str,
        features: usize,
        classes: usize,
        settings: &pipeline::Head,
    ) -> Self {
        scope.layer(module);
        scope.head(module);
        let kind = match settings {
            pipeline::Head::Linear(_) => HeadKind::Linear(scope.linear(module, features, classes)),
            pipeline::Head::Mlp(mlp) => scope.within(module, |scope| {
                let inputs = [&[features], &mlp.hidden[..]].concat();
                let outputs = mlp.hidden.iter().chain([&classes]);
                // An activation and dropout stand between two linear layers.
                let place = |(index, (inputs, outputs)): (usize, (&usize, &usize))| {
                    scope.linear(&(3 * index).to_string(), *inputs, *outputs)
                };
                let layers = inputs.iter().zip(outputs).enumerate().map(place).collect();
                HeadKind::Mlp(layers, activation(mlp.activation))
            }),
            pipeline::Head::Embedding(embedding) => scope.within(module, |scope| {
                let (dimension, scale) = (embedding.dimension, embedding.scale);
                let (linear, norm) = if embedding.batch_norm {
                    let linear = scope.linear_without_bias("embedding", features, dimension);
                    (linear, Some(scope.batch_norm_1d("norm", dimension)))
                } else {
                    (scope.linear("embedding", features, dimension), None)
                };
                let classifier =
                    embedding.classifier.then(|| scope.cosine_classifier("classifier", dimension, classes));
                HeadKind::Embedding(EmbeddingLayers { linear, norm, classifier, scale })
            }),
            pipeline::Head::Projection(projection) => scope.within(module, |scope| {
                let hidden = scope.linear("0", features, projection.hidden);
                let output = scope.linear("2", projection.hidden, projection.width);
                HeadKind::Mlp(vec![hidden, output], Activation::Relu)
            }),
            // Validation refuses it where there is no detector, which builds it itself.
            pipeline::Head::Detect(_) => HeadKind::Linear(scope.linear(module, features, classes)),
        };
        Self { kind, dropout: settings.dropout() }
    }

    fn scores(&self, pass: &mut Pass, features: Value) -> Result<Value> {
        match &self.kind {
            HeadKind::Linear(linear) => {
                let features = pass.dropout(features, self.dropout)?;
                pass.linear(linear, &features)
            }
            HeadKind::Mlp(layers, activation) => {
                let mut value = features;
                for (index, layer) in layers.iter().enumerate() {
                    if index > 0 {
                        value = pass.activation(&value, *activation)?;
                        value = pass.dropout(value, self.dropout)?;
                    }
                    value = pass.linear(layer, &value)?;
                }
                Ok(value)
            }
            HeadKind::Embedding(embedding) => {
                let features = pass.dropout(features, self.dropout)?;
                let Some(classifier) = &embedding.classifier else {
                    return embedding.forward(pass, &features, 1.0);
                };
                let directions = embedding.forward(pass, &features, embedding.scale)?;
                pass.cosines(classifier, &directions)
            }
        }
    }
}

impl Head for ClassificationHead {
    fn outputs(&self) -> &'static [&'static str] {
        match &self.kind {
            HeadKind::Embedding(embedding) if embedding.classifier.is_none() => &[EMBEDDINGS],
            _ => &[LOGITS],
        }
    }

    fn forward(&self, pass: &mut Pass, features: Activations) -> Result<Activations> {
        Ok(self.scores(pass, features.only()?)?.into())
    }

    fn embeds(&self) -> bool {
        true
    }

    /// Of unit length where the head is made for it, else the features.
    fn embed(&self, pass: &mut Pass, features: Activations) -> Result<Value> {
        let features = features.only()?;
        match &self.kind {
            HeadKind::Linear(_) | HeadKind::Mlp(..) => Ok(features),
            HeadKind::Embedding(embedding) => embedding.forward(pass, &features, 1.0),
        }
    }
}

impl EmbeddingLayers {
    fn forward(&self, pass: &mut Pass, features: &Value, length: f64) -> Result<Value> {
        let mut value = pass.linear(&self.linear, features)?;
        if let Some(norm) = &self.norm {
            value = pass.batch_norm(norm, &value)?;
        }
        pass.normalize_rows(&value, length)
    }
}

fn activation(activation: HeadActivation) -> Activation {
    match activation {
        HeadActivation::Relu => Activation::Relu,
        HeadActivation::Silu => Activation::Silu,
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::autograd::Tape;
    use crate::model::scope::NormSettings;
    use crate::model::{Description, Model, NormMode, StateDict, TensorRole, TensorSpec};
    use crate::ops;
    use crate::ops::testing::{Fixture, assert_close, normal, numbers, weighted_sum};

    const FEATURES: usize = 6;
    const CLASSES: usize = 3;

    fn settings(text: &str) -> pipeline::Head {
        toml::from_str(text).unwrap()
    }

    fn declare(settings: &pipeline::Head) -> (Description, ClassificationHead) {
        // Lite0's norms: those of a head are not the architecture's.
        let mut scope = Scope::new("test", NormSettings { eps: 1e-3, momentum: 0.01 });
        let head = ClassificationHead::declare(&mut scope, "fc", FEATURES, CLASSES, settings);
        (scope.finish(), head)
    }

    /// `tests/fixtures/ops/make_losses.py` has the modules of this file's first lines.
    #[test]
    fn pytorchs_modules_agree_in_training_and_in_inference() {
        let fixture = Fixture::open("heads");
        let heads = [
            ("mlp", "kind = \"mlp\"\nhidden = [5, 4]\nactivation = \"silu\""),
            ("embedding", "kind = \"embedding\"\ndimension = 4\nscale = 8"),
            ("plain", "kind = \"embedding\"\ndimension = 4\nscale = 8\nbatch_norm = false"),
        ];
        for (name, text) in heads {
            let (description, head) = declare(&settings(text));
            let tensor = |spec: &TensorSpec| fixture.get(&format!("{name}.{}", spec.name));
            let state = StateDict { tensors: description.tensors.iter().map(tensor).collect() };
            let trainable: Vec<bool> =
                description.tensors.iter().map(|spec| spec.role.is_parameter()).collect();
            let norms = vec![NormMode::Training; description.norms.len()];
            let features = Value::constant(fixture.get("features"));
            let mut pass = Pass::training(&state, &trainable, &norms, 0, 0, &[0; 7]);
            let scores = head.scores(&mut pass, features.clone()).unwrap();
            let same = |what: &str, actual: &Tensor| {
                assert_close(what, actual, &fixture.get(&format!("{name}.{what}")), 1e-12);
            };
            same("training", scores.tensor());
            let loss = weighted_sum(pass.tape(), &scores, &fixture.get("weights"));
            let (gradients, buffers) = pass.backward(&loss).unwrap();
            for (id, gradient) in gradients {
                same(&format!("{}.grad", description.tensors[id].name), &gradient.unwrap());
            }
            for (id, buffer) in state.updated(&buffers).unwrap() {
                let moved = fixture.get(&format!("{name}.{}.moved", description.tensors[id].name));
                let same = numbers(&buffer).iter().zip(numbers(&moved)).all(|(a, b)| (a - b).abs() < 1e-12);
                assert!(same, "{name} {}", description.tensors[id].name);
            }
            let mut pass = Pass::inference(&state);
            same("inference", head.scores(&mut pass, features.clone()).unwrap().tensor());
            same("embeddings", head.embed(&mut pass, features.into()).unwrap().tensor());
        }
    }

    #[test]
    fn names_lie_below_the_architectures_own() {
        let names = |arch: &str, head: &str, classes| {
            let spec = toml::from_str(&format!("arch = \"{arch}\"\n[head]\n{head}")).unwrap();
            let Description { tensors, head, .. } = Model::build(&spec, classes).description;
            let own = |spec: &&TensorSpec| spec.name.starts_with(&head[0]);
            let line = |spec: &TensorSpec| format!("{} {:?}", spec.name, spec.shape);
            let below: Vec<String> = tensors.iter().filter(own).map(line).collect();
            let parameters: usize =
                tensors.iter().filter(|spec| spec.role.is_parameter()).map(TensorSpec::elements).sum();
            (below, parameters)
        };
        let (below, parameters) = names("resnet18", "kind = \"embedding\"\ndimension = 512", 9);
        assert_eq!(
            below,
            [
                "fc.embedding.weight [512, 512]",
                "fc.norm.weight [512]",
                "fc.norm.bias [512]",
                "fc.norm.running_mean [512]",
                "fc.norm.running_var [512]",
                "fc.norm.num_batches_tracked []",
                "fc.classifier.weight [9, 512]",
            ]
        );
        assert_eq!(parameters, 11_176_512 + 512 * 512 + 2 * 512 + 9 * 512);
        let (below, _) = names("mobilenet_v2", "kind = \"mlp\"\nhidden = [8]", 2);
        assert_eq!(
            below,
            [
                "classifier.1.0.weight [8, 1280]",
                "classifier.1.0.bias [8]",
                "classifier.1.3.weight [2, 8]",
                "classifier.1.3.bias [2]",
            ]
        );
    }

    #[test]
    fn embeddings_have_unit_length_and_scores_are_scaled_cosines() {
        let (description, head) = declare(&settings("kind = \"embedding\"\ndimension = 4\nscale = 30"));
        let tensor = |spec: &TensorSpec| match spec.role {
            TensorRole::RunningVar => Tensor::ones(spec.shape.as_slice(), DType::F64, &Device::Cpu).unwrap(),
            _ => normal(&spec.name, &spec.shape),
        };
        let state = StateDict { tensors: description.tensors.iter().map(tensor).collect() };
        let mut pass = Pass::inference(&state);
        let features = Value::constant(normal("features", &[5, FEATURES]));
        let embeddings = head.embed(&mut pass, features.clone().into()).unwrap();
        let lengths = embeddings.tensor().sqr().unwrap().sum(1).unwrap();
        assert!(numbers(&lengths).iter().all(|length| (length - 1.0).abs() < 1e-12));
        let scores = head.scores(&mut pass, features).unwrap();
        let directions = ops::normalize_rows(
            &mut Tape::new(),
            &Value::constant(state.tensors[description.tensors.len() - 1].clone()),
            30.0,
        );
        let cosines = embeddings.tensor().matmul(&directions.unwrap().tensor().t().unwrap()).unwrap();
        assert_close("scores", scores.tensor(), &cosines, 1e-12);
    }
}
