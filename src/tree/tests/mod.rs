mod chain;
mod damage;
mod file;
mod links;
mod model;
mod properties;
mod rules;
mod scale;
