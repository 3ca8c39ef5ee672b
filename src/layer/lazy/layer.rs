use crate::compress::SpanTable;
use crate::layer::Toc;

/// What the table of contents of a lazy format says of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lazy {
    /// The files.
    pub toc: Toc,
    /// How to have their content.
    pub table: SpanTable,
    /// The packed windows that the span table refers to.
    pub windows: Vec<u8>,
    /// Where in the blob that ends which is wanted first, where the format says it.
    pub prefetch: Option<u64>,
}
