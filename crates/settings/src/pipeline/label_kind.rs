//! The kinds of annotations that images have.

/// The kind of annotation that all images of a data set have, and that a loss learns from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LabelKind {
    /// One class; in recognition, the identity.
    #[default]
    Class,
    /// Any number of labels.
    Labels,
    /// Any number of objects, each with a class and a box around it.
    Boxes,
}

impl LabelKind {
    /// What a data set of this kind is or has, after its name.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Class => "has one class per image",
            Self::Labels => "is multi-label",
            Self::Boxes => "has boxes",
        }
    }
}
