//! What the fuzzers do with bytes: one module a target, each with `run(&[u8])`, which panics where
//! the code under test does, or where it breaks a promise.

pub mod auth_file;
pub mod bundle;
pub mod checkpoint_archive;
pub mod checkpoint_json;
pub mod checkpoint_message;
pub mod elf;
pub mod erofs;
pub mod estargz;
pub mod filter;
pub mod hosts;
pub mod image_documents;
pub mod layer_index;
mod promises;
pub mod registry_header;
pub mod soci;
pub mod span_table;
pub mod start_trace;
pub mod tar;
pub mod toc;
pub mod tree;
pub mod zstd_chunked;
