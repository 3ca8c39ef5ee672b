//! The `stratafs` program.

fn main() {}
