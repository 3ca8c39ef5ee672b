mod kernel;
mod limits;
mod made;
mod properties;
mod scale;
