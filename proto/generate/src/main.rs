//! Writes the Rust code of the gRPC interfaces in `proto/`.

use std::path::Path;

const OFFERED: [&str; 3] = ["snapshots.proto", "diff.proto", "health.proto"];
const CALLED: [&str; 4] = ["content.proto", "images.proto", "leases.proto", "version.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let protos = here.parent().ok_or("no parent folder")?;
    let out = protos.join("../src/service/api/generated");
    std::fs::create_dir_all(&out)?;
    let files = OFFERED.iter().chain(&CALLED);
    let descriptors = protox::compile(files, [protos])?;
    tonic_prost_build::configure()
        .out_dir(&out)
        .include_file("mod.rs")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
