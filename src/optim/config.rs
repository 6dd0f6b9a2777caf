//! The `[optimizer]` table: kinds, their keys, and each kind's defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    Adamw,
    Sgd,
    Lion,
    /// For the matrices of the blocks; AdamW for all else.
    Muon,
}

impl OptimizerKind {
    /// As a recipe writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Adamw => "adamw",
            Self::Sgd => "sgd",
            Self::Lion => "lion",
            Self::Muon => "muon",
        }
    }

    /// The optional keys that it reads; the others must be left out.
    pub fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Adamw => &["betas", "eps"],
            Self::Sgd => &["momentum", "nesterov"],
            Self::Lion => &["betas"],
            Self::Muon => &["betas", "eps", "momentum", "nesterov", "adamw_lr"],
        }
    }
}

/// The `[optimizer]` table of a recipe. AdamW's defaults are nanoGPT's, Lion's its paper's, Muon's
/// those of `torch.optim.Muon`. A key that its kind has no use for must be left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// Which rule moves the weights.
    pub kind: OptimizerKind,
    /// Peak learning rate.
    pub lr: f64,
    /// AdamW, also Muon's: of the first and second moment, 0.9 and 0.95 unless written. Lion: of
    /// the update and the momentum, 0.9 and 0.99.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub betas: Option<[f64; 2]>,
    /// AdamW, also Muon's: 1e-8 unless written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eps: Option<f64>,
    /// SGD: 0.9 unless written. Muon: 0.95.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// SGD: false unless written. Muon: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nesterov: Option<bool>,
    /// Muon: AdamW's peak rate, for all that is no matrix of a block; `lr` unless written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adamw_lr: Option<f64>,
    /// On matrices and embeddings; vectors (norms, biases) have none. Decoupled from the gradient,
    /// but for SGD, where it is added to it as in `torch.optim.SGD`.
    pub weight_decay: f64,
    /// Largest global gradient norm; 0 turns clipping off.
    pub max_grad_norm: f64,
    /// Factors on the rate, by group of parameters.
    pub rates: Rates,
}

/// The `[optimizer.rates]` table: factors on the learning rate, by group; 0 freezes a group.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    /// Token embeddings, which are the head too where it is tied, and position embeddings.
    pub embedding: f64,
    /// A head with weights of its own.
    pub head: f64,
    /// Matrices of the blocks.
    pub matrix: f64,
    /// Gains and biases.
    pub vector: f64,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            embedding: 1.0,
            head: 1.0,
            matrix: 1.0,
            vector: 1.0,
        }
    }
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::Adamw,
            lr: 1e-3,
            betas: None,
            eps: None,
            momentum: None,
            nesterov: None,
            adamw_lr: None,
            weight_decay: 0.1,
            max_grad_norm: 1.0,
            rates: Rates::default(),
        }
    }
}

impl OptimizerConfig {
    /// As written, or the kind's default; so are the next four.
    pub fn betas(&self) -> [f64; 2] {
        self.betas.unwrap_or(match self.kind {
            OptimizerKind::Lion => [0.9, 0.99],
            _ => [0.9, 0.95],
        })
    }

    pub fn eps(&self) -> f64 {
        self.eps.unwrap_or(1e-8)
    }

    pub fn momentum(&self) -> f64 {
        self.momentum.unwrap_or(match self.kind {
            OptimizerKind::Muon => 0.95,
            _ => 0.9,
        })
    }

    pub fn nesterov(&self) -> bool {
        self.nesterov.unwrap_or(self.kind == OptimizerKind::Muon)
    }

    pub fn adamw_lr(&self) -> f64 {
        self.adamw_lr.unwrap_or(self.lr)
    }

    /// The optional keys, and whether each was written.
    pub fn written(&self) -> [(&'static str, bool); 5] {
        [
            ("betas", self.betas.is_some()),
            ("eps", self.eps.is_some()),
            ("momentum", self.momentum.is_some()),
            ("nesterov", self.nesterov.is_some()),
            ("adamw_lr", self.adamw_lr.is_some()),
        ]
    }

    /// The same with every key that its kind reads filled in.
    pub fn resolved(&self) -> Self {
        let reads = |key: &str| self.kind.keys().contains(&key);
        Self {
            betas: reads("betas").then(|| self.betas()),
            eps: reads("eps").then(|| self.eps()),
            momentum: reads("momentum").then(|| self.momentum()),
            nesterov: reads("nesterov").then(|| self.nesterov()),
            adamw_lr: reads("adamw_lr").then(|| self.adamw_lr()),
            ..self.clone()
        }
    }
}
