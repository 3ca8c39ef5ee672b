//! Any bytes as a span table: refused, or read and written again to the same.

use stratafs::compress::SpanTable;

/// Decodes `data`.
pub fn run(data: &[u8]) {
    let Ok(table) = SpanTable::decode(data) else { return };
    assert_eq!(SpanTable::decode(&table.encode()).as_ref(), Ok(&table));
    for span in &table.spans {
        let point = &table.points[span.point as usize];
        assert!(point.out_offset <= span.out_offset && point.in_offset <= table.blob_size);
    }
    for offset in [0, 1, table.size / 2, table.size.wrapping_sub(1)] {
        assert_eq!(table.find(offset).is_some(), offset < table.size);
    }
}
