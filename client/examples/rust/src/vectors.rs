//! The layout of ../vectors.json.

use anyhow::{Context, Result};
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Vectors {
    pub model: Model,
    pub alpha: f64,
    pub window: Window,
    pub tolerance: f32,
    pub context: StoredContext,
    pub step: Step,
}

#[derive(Deserialize)]
pub struct Model {
    pub name: String,
    pub num_layers: u32,
    pub num_query_heads: u32,
    pub num_kv_heads: u32,
    pub head_dim: u32,
}

#[derive(Deserialize)]
pub struct Window {
    pub sink: u32,
    pub recent: u32,
}

#[derive(Deserialize)]
pub struct StoredContext {
    pub tokens: Vec<u32>,
    pub layers: Vec<KeysAndValues>,
}

#[derive(Deserialize)]
pub struct KeysAndValues {
    pub key: Vec<f32>,
    pub value: Vec<f32>,
}

#[derive(Deserialize)]
pub struct Step {
    pub layers: Vec<StepLayer>,
}

#[derive(Deserialize)]
pub struct StepLayer {
    pub query: Vec<f32>,
    pub key: Vec<f32>,
    pub value: Vec<f32>,
    pub full: Expected,
    pub dipr: Expected,
}

#[derive(Deserialize)]
pub struct Expected {
    pub output: Vec<f32>,
    pub log_sum_exp: Vec<f32>,
    pub tokens_attended: u64,
}

impl Vectors {
    pub fn read(path: &str) -> Result<Self> {
        let text = std::fs::read_to_string(path).context(path.to_owned())?;
        Ok(serde_json::from_str(&text)?)
    }
}
