pub(crate) mod chain;
mod damage;
mod data;
mod file;
mod links;
mod model;
pub(crate) mod properties;
mod rules;
mod scale;
